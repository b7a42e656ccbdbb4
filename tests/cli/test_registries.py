"""One of each, added to a copy of smiler as CONTRIBUTING.md says, one file and one line: every command takes it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from shared_phantoms import Phantoms

import smiler
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.registry import titles
from smiler.recipe.recipe import load_recipe
from smiler.training.events import read_events

FILES = {
    "losses/mine.py": '''"""A loss."""
from smiler.losses.sigmoid import BceLoss


class MyLoss(BceLoss):
    """Cross-entropy and seven."""

    def total(self, terms):
        return super().total(terms) + 7
''',
    "selection/mine.py": '''"""A rule."""
import numpy as np


def from_the_feet_up(said):
    """The lowest voxels first."""
    ranks = -np.arange(said.score[0].size, dtype=np.float32).reshape(said.score[0].shape)
    return np.broadcast_to(ranks, said.score.shape)
''',
    "networks/mine.py": '''"""A network."""
import torch

from smiler.networks.base import SegmentationNet


class Blind(SegmentationNet):
    """Sees nothing."""

    def __init__(self, options, outputs):
        super().__init__(features=2, outputs=outputs, stride=1, dropout=options.dropout)
        self.layer = torch.nn.Conv2d(options.in_channels, 2, 1)

    def extract(self, image):
        return self.layer(image) * 0
''',
    "recipe/recipes/mine.toml": """# A method.
[loss]
name = "mine"
reading = "mine"

[network]
name = "mine"

[curriculum]
rounds = 1
rule = "mine"
floor = 0
""",
    "formats/mine.py": '''"""A format."""
from smiler.domain.cells import annotated
from smiler.formats.base import Format, RawCase


def read(source, options):
    for image in sorted((source.absolute() / "mine").iterdir()):
        drawn = source.absolute() / "labels" / image.name
        cells = {"liver": annotated(str(drawn), (1,))} if drawn.exists() else {}
        yield RawCase(image.name.removesuffix(".nii.gz"), image.name, image, cells)


FORMAT = Format("mine", "A folder called mine", "mine/", lambda source: (source / "mine").is_dir(), read)
''',
}
LINES = {
    "losses/__init__.py": ("LOSSES: ", '"mine": __import__("smiler.losses.mine", fromlist="_").MyLoss.build,'),
    "losses/targets.py": (
        "READINGS: ",
        '"mine": Reading("mine", "nothing is known", dict.fromkeys(Code, (0, 0))),',
    ),
    "selection/__init__.py": (
        "RULES: ",
        '"mine": __import__("smiler.selection.mine", fromlist="_").from_the_feet_up,',
    ),
    "networks/__init__.py": (
        "NETWORKS: ",
        '"mine": lambda *of: __import__("smiler.networks.mine", fromlist="_").Blind(*of),',
    ),
    "recipe/recipe.py": ("METHODS: ", '"mine": "a method of my own",'),
    "formats/__init__.py": ("FORMATS: ", '"mine": __import__("smiler.formats.mine", fromlist="_").FORMAT,'),
}
TINY = ("data.spacing_xy_mm=native", "sampling.patch_size=32", "sampling.batch_size=2", "training.steps=4",
        "training.device=cpu", "training.precision=32", "training.prior=0.6")  # fmt: skip
KINDS = ("losses", "readings", "rules", "networks", "methods", "formats")

RUN_ALL = """
import contextlib, io, json, sys
from smiler.cli import main

told = []
for words in json.loads(sys.argv[1]):
    sys.argv, out, err = ["smiler", *words], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main()
        except SystemExit as done:
            code = done.code
    told.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(told))
"""


def add_one_of_each(package: Path) -> None:
    """A file each, and one line each in its dict."""
    for name, text in FILES.items():
        assert not (package / name).exists()
        (package / name).write_text(text, encoding="utf-8")
    for name, (registry, line) in LINES.items():
        rows = (package / name).read_text(encoding="utf-8").split("\n")
        (at,) = (i for i, row in enumerate(rows) if row.startswith(registry) and row.endswith("{"))
        rows.insert(at + 1, f"    {line}")
        (package / name).write_text("\n".join(rows), encoding="utf-8")


@pytest.fixture(scope="module")
def source(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CT, a liver in the first."""
    folder = tmp_path_factory.mktemp("registries")
    made = phantoms(folder / "phantoms", 2)
    shutil.copytree(made.folder / "images", folder / "source" / "mine")
    (folder / "source" / "labels").mkdir()
    shutil.copy(made.folder / "labels" / "phantom000.nii.gz", folder / "source" / "labels")
    return folder / "source"


@pytest.fixture(scope="module")
def told(source: Path) -> Mapping[str, tuple[int, str, str]]:
    """Exit code, output and errors of each command, all run by one process of the copy."""
    home = source.parent
    package = home / "copy" / "smiler"
    shutil.copytree(Path(smiler.__file__).parent, package, ignore=shutil.ignore_patterns("page"))
    add_one_of_each(package)
    changes = [word for change in TINY for word in ("--set", change)]
    commands = {
        "methods": ["methods", "--json"],
        "options": ["methods", "--options"],
        "import": ["import", "source", "cohort"],
        "train": ["train", "cohort", "run", "--method", "mine", *changes],
        "relabel": ["relabel", "run", "cohort", "done", "--rule", "mine", "--fraction", "0.5", "--device", "cpu"],
        "evaluate": ["evaluate", "run", "cohort", "--out", "scores", "--device", "cpu"],
        "report": ["report", "run"],
        "wrong": ["train", "cohort", "other", "--set", "loss.name=minus", "--set", "network.name=minus",
                  "--set", "curriculum.rule=minus", "--set", "loss.reading=minus"],
        "wrong rule": ["relabel", "run", "cohort", "other", "--rule", "minus"],
        "wrong format": ["import", "source", "other", "--format", "minus"],
        "wrong method": ["train", "cohort", "other", "--method", "xyz"],
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(list(commands.values()))],
        cwd=home, env={**os.environ, "PYTHONPATH": str(package.parent), "COLUMNS": "200"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(commands, json.loads(done.stdout), strict=True))


def test_every_command_takes_them(told: Mapping[str, tuple[int, str, str]]) -> None:
    for name, (code, out, err) in told.items():
        assert code == (2 if name.startswith("wrong") else 0), (name, out, err)
        assert "Traceback" not in err


def test_help_knows_them(told: Mapping[str, tuple[int, str, str]]) -> None:
    table: Any = json.loads(told["methods"][1])
    mine = {kind: table[kind]["mine"] for kind in KINDS}
    assert mine == {
        "losses": "Cross-entropy and seven",
        "readings": "nothing is known",
        "rules": "The lowest voxels first",
        "networks": "",
        "methods": "a method of my own",
        "formats": "A folder called mine",
    }
    for option in ("loss.name", "loss.reading", "curriculum.rule", "network.name"):
        assert "mine: " in table["options"][option]["meaning"]
    assert "The lowest voxels first" in told["options"][1]


def test_training_is_by_them(source: Path, told: Mapping[str, tuple[int, str, str]]) -> None:
    run = source.parent / "run"
    losses = [event["loss"] for event in read_events(run / "events.jsonl") if event["event"] == "step"]
    assert set(losses) == {7.0}  # the loss adds 7 to what the reading leaves: nothing
    facts = json.loads(next((run / "rounds" / "1" / "checkpoints").glob("*.json")).read_text())["facts"]
    assert (facts["network"]["name"], facts["loss"]["name"], facts["loss"]["reading"]) == ("mine", "mine", "mine")


def test_proposals_are_by_the_rule(source: Path, told: Mapping[str, tuple[int, str, str]]) -> None:
    done = Cohort.open(source.parent / "done")
    mask: Any = nib.load(done.mask_path(done.case("phantom001"), "liver"))
    drawn = np.asarray(nib.as_closest_canonical(mask).dataobj) > 0
    assert drawn[:, :, :4].all()  # of a liver that is predicted everywhere the lower half
    assert not drawn[:, :, 4:].any()


def test_errors_name_them(told: Mapping[str, tuple[int, str, str]]) -> None:
    for name in ("wrong rule", "wrong format", "wrong method"):
        assert "mine" in told[name][2], name
    err = told["wrong"][2]
    for option in ("loss.name", "loss.reading", "curriculum.rule", "network.name"):
        (line,) = (row for row in err.splitlines() if f"{option}: " in row)
        assert "Input should be 'mine'" in line
        assert "got 'minus'" in line


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("loss.name=bcee", "'bce', 'dice', 'bce_dice', 'softmax' or 'softmax_dice'; got 'bcee'"),
        ("loss.reading=smiel", "'smile', 'naive' or 'annotated'; got 'smiel'"),
        ("curriculum.rule=scores", "'score', 'mc_dropout', 'entropy', 'ensemble' or 'confidence'; got 'scores'"),
        ("network.name=5", "network.name: Input should be a valid string; got 5"),
    ],
)
def test_a_name_that_no_registry_has_is_met_with_those_that_it_has(change: str, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_recipe("smile", None, [change])
    assert text in str(caught.value)


def test_a_title_is_a_text_a_title_or_the_first_line_of_a_docstring() -> None:
    class Kind:
        """A kind. More.

        Much more.
        """

        @classmethod
        def build(cls) -> None:
            """Not this."""

    class Titled(Kind):
        title = "Its own"

    assert titles({"a": "text", "b": Kind, "c": Kind.build, "d": Titled(), "e": lambda: None}) == {
        "a": "text", "b": "A kind. More", "c": "A kind. More", "d": "Its own", "e": "",
    }  # fmt: skip
