"""training.compile: the weights of a plain training but for rounding, the same bits when resumed, plain keys."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
from shared_phantoms import Phantoms

from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.experiments.hide import hide
from smiler.recipe.recipe import load_recipe
from smiler.verbs.run import RunFolder
from smiler.verbs.train import TrainRequest, train

OPTIONS = (
    "training.steps=6",
    "training.checkpoint_minutes=0.0001",
    "training.precision='32'",
    "training.device=cpu",
    "training.learning_rate=0.001",
    "sampling.patch_size=32",
    "sampling.batch_size=2",
    "network.width=8",
    "network.dropout=0.3",
    "data.spacing_xy_mm=native",
)
needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="there is no C++ compiler"
)


@pytest.fixture(scope="module")
def cohort(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("compile")
    return hide(phantoms(folder / "all", 4), folder / "hidden", 0.5)


class PowerCut:
    """Progress that ends the program's work at its fourth step."""

    def track(self, items: Iterable[int], title: str, total: int) -> Iterator[int]:
        for count, item in enumerate(items):
            if title == "training" and count == 3:
                raise KeyboardInterrupt
            yield item

    def note(self, text: str) -> None:
        pass


def request(cohort: Cohort, run: Path, *, compiled: bool, resume: bool = False) -> TrainRequest:
    recipe = load_recipe("smile", None, [*OPTIONS, f"training.compile={str(compiled).lower()}"])
    return TrainRequest(cohort, run, recipe, resume=resume)


@needs_compiler
@pytest.mark.timeout(900)  # it waits for a C++ compiler most of its time
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_compiled_training_is_the_plain_one_but_for_rounding_and_resumes_exactly(
    cohort: Cohort, tmp_path: Path
) -> None:
    plain = train(request(cohort, tmp_path / "plain", compiled=False)).newest().tensors("model")
    whole = train(request(cohort, tmp_path / "whole", compiled=True)).newest()
    found = whole.tensors("model")
    assert set(found) == set(plain)
    ones, twos = (torch.cat([v.double().flatten() for v in each.values()]) for each in (plain, found))
    assert bool(torch.isfinite(twos).all())
    assert 0 < float((twos - ones).norm() / ones.norm()) < 0.01  # AdamW makes steps even of gradients that are rounding
    with pytest.raises(KeyboardInterrupt):
        train(request(cohort, tmp_path / "cut", compiled=True), PowerCut())
    assert RunFolder(tmp_path / "cut").newest().step == 3
    torch.compiler.reset()  # as a new process
    again = train(request(cohort, tmp_path / "cut", compiled=True, resume=True)).newest()
    assert again.model_hash == whole.model_hash


def test_without_a_compiler_one_sentence_says_so(cohort: Cohort, tmp_path: Path) -> None:
    words = [word for option in (*OPTIONS, "training.compile=true") for word in ("--set", option)]
    nothing = {"PATH": str(tmp_path), "CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "smiler", "train", str(cohort.folder), str(tmp_path / "run"), *words],
        env={**os.environ, **nothing, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == BadInput.exit_code
    told = " ".join(done.stderr.split())
    assert "error training.compile: it needs a C++ compiler" in told
    assert "install g++ or clang, or leave it false" in told
    assert "Traceback" not in told
