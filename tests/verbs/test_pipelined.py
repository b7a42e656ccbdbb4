"""Predict and relabel with several CT in flight: byte for byte what one after the other writes, also when it fails."""

import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from proc import hear_ctrl_c

from smiler.domain.cells import annotated
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry
from smiler.evaluation.truth import Truth
from smiler.formats.nifti import grid_of, write_ct, write_labels
from smiler.phantom import PhantomOptions, generate
from smiler.verbs.evaluate import ScoreRun
from smiler.verbs.model_at import ModelAt, usual_workers
from smiler.verbs.predict import PredictImage, PredictRequest, predict
from smiler.verbs.predict_image import MARK
from smiler.verbs.relabel import CompleteCase, RelabelRequest, relabel
from smiler.verbs.run import RunFolder
from smiler.workers.base import InProcess, Staged, Workers
from smiler.workers.pipelined import Pipelined

PLENTY = 10**12
BUFFERS = 8 << 20
IMAGES = 6


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, but for the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may become longer than `size` bytes: writes beyond it fail as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """CT of several sizes."""
    folder = tmp_path_factory.mktemp("images")
    phantom = generate(3, PhantomOptions(shape=(16, 64, 64)))
    for number in range(IMAGES):
        hu = np.tile(np.roll(phantom.hu, number, axis=2), (1 + number % 3, 2, 1))
        write_ct(folder / f"ct{number}.nii.gz", hu, Geometry.canonical(hu.shape, phantom.spacing))
    return sorted(folder.iterdir())


VERBS: dict[str, Callable[[Any, list[Path], Path, Workers], object]] = {
    "masks": lambda tiny, images, out, workers: predict(tiny.model, images, PredictRequest(out), workers=workers),
    "maps": lambda tiny, images, out, workers: predict(
        tiny.model, images, PredictRequest(out, labelmap=True, probabilities=True), workers=workers
    ),
    "all": lambda tiny, _, out, workers: relabel(tiny.model, tiny.cohort, RelabelRequest(out), workers=workers),
    "safest": lambda tiny, _, out, workers: relabel(
        tiny.model, tiny.cohort, RelabelRequest(out, 0.5, "mc_dropout"), workers=workers
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_the_same_bytes_whatever_is_in_flight(tiny: Any, images: list[Path], verb: str, tmp_path: Path) -> None:
    kinds: dict[str, Workers] = {"serial": InProcess(), "little": Pipelined(0), "plenty": Pipelined(PLENTY)}
    for name, workers in kinds.items():
        VERBS[verb](tiny, images, tmp_path / name / "out", workers)
    serial = tree(tmp_path / "serial")
    assert len(serial) > len(tiny.cohort)
    assert tree(tmp_path / "little") == serial
    assert tree(tmp_path / "plenty") == serial


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_finished_is_not_done_again(tiny: Any, images: list[Path], verb: str, tmp_path: Path) -> None:
    VERBS[verb](tiny, images[:3], tmp_path / "out", InProcess())
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*/*.nii.gz")}
    VERBS[verb](tiny, images, tmp_path / "out", Pipelined(PLENTY))
    assert {path: path.stat().st_ino for path in before} == before


def damage(image: Path, folder: Path) -> Path:
    (folder / "broken.nii.gz").write_bytes(image.read_bytes()[:5000])
    return folder / "broken.nii.gz"


def failed(run: Callable[[], object]) -> str:
    with pytest.raises(BadInput) as caught:
        run()
    return str(caught.value)


def test_a_broken_file_in_the_middle(tiny: Any, images: list[Path], tmp_path: Path) -> None:
    several = [*images[:2], damage(images[0], tmp_path), *images[2:]]
    kinds: dict[str, Workers] = {"serial": InProcess(), "plenty": Pipelined(PLENTY)}
    runs = {
        name: failed(lambda out=tmp_path / name, workers=workers: VERBS["masks"](tiny, several, out, workers))
        for name, workers in kinds.items()
    }
    assert runs["plenty"] == runs["serial"]
    assert "broken.nii.gz: the file is truncated" in runs["serial"]
    assert tree(tmp_path / "plenty") == tree(tmp_path / "serial")
    assert {path.parent.name for path in tmp_path.glob("plenty/*/provenance.json")} == {"ct0", "ct1"}


def test_a_full_disk_leaves_what_one_after_the_other_leaves(tiny: Any, images: list[Path], tmp_path: Path) -> None:
    VERBS["masks"](tiny, images, tmp_path / "whole", InProcess())
    largest = {image.stem[:3]: size_of(tmp_path / "whole" / image.stem[:3]) for image in images}
    assert largest["ct0"] < largest["ct1"]
    for name, workers in {"serial": InProcess(), "plenty": Pipelined(PLENTY)}.items():
        with room_for(largest["ct0"]):
            told = failed(lambda out=tmp_path / name, workers=workers: VERBS["masks"](tiny, images, out, workers))
        assert "ct1" in told
        assert "cannot write the file" in told
        assert {path.parent.name for path in tmp_path.glob(f"{name}/*/provenance.json")} == {"ct0"}
        assert not [path for path in tree(tmp_path / name) if ".tmp" in path]
        VERBS["masks"](tiny, images, tmp_path / name, workers)
        assert tree(tmp_path / name) == tree(tmp_path / "whole")


def size_of(folder: Path) -> int:
    """Of its largest file."""
    return max(path.stat().st_size for path in folder.iterdir())


@dataclass(frozen=True)
class Noted(PredictImage):
    """The real work; `notes` gets every beginning of a reading and every end of a writing."""

    notes: tuple[list[int], ...] = ([],)

    def read(self, item: tuple[str, Path]) -> Any:
        self.notes[0].append(self.memory(item))
        return super().read(item)

    def write(self, made: Any) -> Any:
        time.sleep(0.05)  # time enough to read the next but one, if that may be
        done = super().write(made)
        self.notes[0].append(-1)
        return done


@pytest.mark.parametrize(("volumes", "most"), [(1, 1), (2.5, 2), (10, 3)])
def test_volumes_in_flight_fit_into_the_memory(
    tiny: Any, images: list[Path], volumes: float, most: int, tmp_path: Path
) -> None:
    alike = [(f"{number}", images[0]) for number in range(6)]
    work = Noted(tiny.model, PredictRequest(tmp_path), notes=([],))
    size = work.memory(alike[0])
    assert len(list(Pipelined(int(volumes * size)).map(work, alike))) == 6
    assert most == max(np.cumsum(np.sign(work.notes[0])))


WORKS: dict[str, Callable[[Any, Cohort, Path], Staged[Any, Any, Any, Any]]] = {
    "masks": lambda tiny, _, out: PredictImage(tiny.model, PredictRequest(out)),
    "label map": lambda tiny, _, out: PredictImage(tiny.model, PredictRequest(out, labelmap=True)),
    "maps": lambda tiny, _, out: PredictImage(tiny.model, PredictRequest(out, probabilities=True)),
    "all": lambda tiny, large, out: CompleteCase(tiny.model, large, RelabelRequest(out)),
    "safest": lambda tiny, large, out: CompleteCase(tiny.model, large, RelabelRequest(out, 0.5)),
    "scores": lambda tiny, large, _: ScoreRun(
        ModelAt.find(tiny.run, "cpu"), RunFolder(tiny.run).recipe(), Truth(large)
    ),
}


@pytest.fixture(scope="module")
def large(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """One CT of two million voxels, of which the spleen is drawn."""
    folder = tmp_path_factory.mktemp("large")
    hu = np.tile(generate(3, PhantomOptions(shape=(16, 64, 64))).hu, (3, 3, 3))
    geometry = Geometry.canonical(hu.shape, (2.0, 1.0, 1.0))
    write_ct(folder / "ct.nii.gz", hu, geometry)
    write_labels(folder / "spleen.nii.gz", (hu > 100).astype(np.uint8), grid_of(geometry))
    return Cohort(folder, tiny.cohort.organs, (Case("ct", "ct", "ct.nii.gz", {"spleen": annotated("spleen.nii.gz")}),))


@pytest.mark.parametrize("kind", WORKS)
def test_a_volume_takes_no_more_than_its_header_promised(tiny: Any, large: Cohort, kind: str, tmp_path: Path) -> None:
    """What numpy holds at most (the network's tensors are not traced), but for buffers of a fixed size."""
    work = WORKS[kind](tiny, large, tmp_path)
    path = large.image_path(large.cases[0])
    case = large.cases[0]
    item = ("ct", path) if isinstance(work, PredictImage) else case if isinstance(work, ScoreRun) else (0, case)
    tracemalloc.start()
    try:
        work(item)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < work.memory(item) + BUFFERS
    assert PredictImage(tiny.model, PredictRequest(tmp_path)).memory(("", tmp_path / "none.nii.gz")) == 0


@pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="no signals")
def test_ctrl_c_leaves_nothing_half_written(tiny: Any, images: list[Path], tmp_path: Path) -> None:
    hear_ctrl_c()
    links = [tmp_path / "in" / f"ct{number:02}.nii.gz" for number in range(60)]
    (tmp_path / "in").mkdir()
    for number, link in enumerate(links):
        link.symlink_to(images[number % IMAGES])
    words = ["predict", tiny.run, *links, "--out", tmp_path / "out", "--device", "cpu"]
    command = [sys.executable, "-m", "smiler", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        try:
            deadline = time.monotonic() + 200
            while not list(tmp_path.glob("out/*/provenance.json")):
                assert program.poll() is None, program.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.002)
            program.send_signal(signal.SIGINT)
            told = program.communicate(timeout=60)[1]
        finally:
            program.kill()
    assert program.returncode == 130, told
    assert "Traceback" not in told
    found = tree(tmp_path / "out")
    assert not [name for name in found if ".tmp" in name]
    finished = {Path(name).parent for name in found if name.endswith("provenance.json")}
    assert {Path(name).parent for name in found if name != MARK} == finished
    assert 1 <= len(finished) < len(links)
    names = [path for path in links if Path(path.name.removesuffix(".nii.gz")) in finished]
    predict(tiny.model, names, PredictRequest(tmp_path / "serial"), workers=InProcess())
    assert {k: v for k, v in tree(tmp_path / "serial").items() if k != "volumes.csv"} == found


@pytest.mark.parametrize(("device", "usual"), [("cpu", InProcess), ("cuda", Pipelined), ("mps", Pipelined)])
def test_only_beside_a_gpu_is_the_next_case_read_meanwhile(tiny: Any, device: str, usual: type[Workers]) -> None:
    assert type(usual_workers(replace(ModelAt.find(tiny.run, "cpu"), device=device))) is usual
    assert type(usual_workers(tiny.model)) is InProcess
