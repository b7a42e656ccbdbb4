"""The commands as a user meets them: help with examples, exit codes, errors of one screen, JSON for scripts."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import typer.main

from smiler.cli.app import app
from smiler.domain.cohort import Cohort
from smiler.domain.locks import writing

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
Smiler = Callable[..., Any]


def process(*words: object) -> subprocess.CompletedProcess[str]:
    """`smiler WORDS...` in a process of its own."""
    command = [sys.executable, "-c", "from smiler.cli import main; main()", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def refused(result: Any, *texts: str, code: int = 2) -> None:
    """One screen that says what is wrong, on standard error, and the exit code for it."""
    words = " ".join(result.err.split())
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    assert len(result.err.splitlines()) <= 24
    assert result.out == ""
    for text in texts:
        assert text in words


def strict_json(text: str) -> Any:
    def no(name: str) -> Any:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=no)


# --- help


def test_there_are_the_commands_that_the_guide_names() -> None:
    wanted = {
        "demo",
        "import",
        "audit",
        "train",
        "relabel",
        "predict",
        "evaluate",
        "report",
        "review",
        "phantom",
        "hide",
        "methods",
    }
    assert wanted <= set(COMMANDS)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_help_names_every_command_and_where_to_begin(smiler: Smiler, flag: str) -> None:
    result = smiler(flag)
    assert result.code == 0
    assert "smiler demo" in result.out
    assert all(f" {command} " in result.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_shows_an_example_and_all_its_options(smiler: Smiler, command: str) -> None:
    short, long = smiler(command, "-h"), smiler(command, "--help")
    assert (short.code, long.code) == (0, 0)
    assert short.out == long.out
    assert f"Example: smiler {command} " in " ".join(short.out.split()).replace("│ ", "")
    assert "--json" in short.out


def test_no_command_at_all_shows_the_help(smiler: Smiler) -> None:
    result = smiler()
    assert "Usage: smiler" in result.out + result.err


def test_the_version_is_printed(smiler: Smiler) -> None:
    result = smiler("--version")
    assert result.code == 0
    assert result.out.startswith("smiler ")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from smiler.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'monai', 'lightning_fabric', 'scipy', 'matplotlib', 'nibabel'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))\n"
    )
    for words in (["--help"], ["train", "-h"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.splitlines()[-1] == "loaded: []"


# --- JSON for scripts


def test_the_cohort_commands_speak_json(smiler: Smiler, tmp_path: Path) -> None:
    made = smiler("phantom", tmp_path / "c", "--cases", 1, "--size", "8x32x32", "--json")
    table = strict_json(made.out)
    assert made.code == 0
    assert table["cases"] == 1
    assert tuple(table["organs"]) == Cohort.open(tmp_path / "c").organs.keys
    hidden = strict_json(smiler("hide", tmp_path / "c", tmp_path / "h", "--alpha", 1, "--json").out)
    assert set(hidden["annotated_share"]) == set(table["organs"])
    audit = strict_json(smiler("audit", tmp_path / "c", "--json").out)
    assert audit["organs"] == table["organs"]
    assert audit["faults"] == []


def test_import_speaks_json(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    case = tmp_path / "source" / "s1"
    (case / "segmentations").mkdir(parents=True)
    shutil.copy(world.phantom / "images" / "phantom000.nii.gz", case / "ct.nii.gz")
    image: Any = nib.load(case / "ct.nii.gz")
    mask = np.zeros(image.shape, np.uint8)
    mask[8:12, 8:12, 2:5] = 1
    nib.save(nib.Nifti1Image(mask, image.affine), case / "segmentations" / "spleen.nii.gz")
    result = smiler("import", tmp_path / "source", tmp_path / "c", "--as", "expert", "--json")
    assert result.code == 0, result.err
    assert strict_json(result.out)["added"] == ["s1"]
    assert smiler("audit", tmp_path / "c").code == 0


def test_training_speaks_json(smiler: Smiler, world: Any, tmp_path: Path, quick_training: Any) -> None:
    result = smiler("train", world.hidden, tmp_path / "run", *quick_training("--json"), "-m", "baseline")
    assert result.code == 0, result.err
    table = strict_json(result.out)
    assert table["run"] == str(tmp_path / "run")
    assert Path(table["checkpoint"]).exists()
    assert len(table["model"]) == 64


def test_using_a_run_speaks_json(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    predicted = smiler("predict", world.run, world.hidden, "--out", tmp_path / "p", "--device", "cpu", "--json")
    assert predicted.code == 0, predicted.err
    assert set(strict_json(predicted.out)) == {f"phantom{i:03d}" for i in range(4)}
    assert (tmp_path / "p" / "volumes.csv").exists()

    words = ("relabel", world.run, world.hidden, tmp_path / "r", "--device", "cpu", "--fraction", 0.5, "--json")
    relabelled = smiler(*words)
    assert relabelled.code == 0, relabelled.err
    table = strict_json(relabelled.out)
    found = Cohort.open(table["cohort"])
    assert table["proposed"] == {c.id: [k for k, cell in c.cells.items() if cell.auto] for c in found}

    scored = smiler("evaluate", world.run, world.truth, "--out", tmp_path / "e", "--device", "cpu", "--json")
    assert scored.code == 0, scored.err
    kinds = strict_json(scored.out)["learned"]
    assert set(kinds) == {"yes", "no"}
    trained, hidden = Cohort.open(world.hidden), Cohort.open(world.phantom)
    known = sum(bool(cell.path) or str(cell) == "absent" for case in trained for cell in case.cells.values())
    assert kinds["yes"]["scores"] == known
    assert kinds["no"]["scores"] == 4 * len(hidden.organs) - known
    for scores in kinds.values():
        assert set(scores) == {"scores", "dice", "nsd", "hd95_mm", "absence"}
        assert scores["dice"]["mean"]["n"] == 4
        for organ, absence in scores["absence"].items():
            assert absence["false_alarms"] == absence["cases"] - absence["right"]
            assert scores["dice"][organ].keys() == {"mean", "low", "high", "n"}
    assert (tmp_path / "e" / "scores.csv").read_text().splitlines()[0].endswith(",learned")
    masks = strict_json(smiler("evaluate", tmp_path / "p", world.truth, "--out", tmp_path / "e", "--json").out)
    assert set(masks["learned"]) == {"unknown"}
    assert masks["learned"]["unknown"]["scores"] == 4 * len(hidden.organs)


def test_methods_and_report_speak_json(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    table = strict_json(smiler("methods", "--json").out)
    assert {"baseline", "smile", "smiler"} <= set(table["methods"])
    assert table["options"]["training.steps"]["value"] == 3000
    shutil.copytree(world.run, tmp_path / "run")
    result = smiler("report", tmp_path / "run", "--json")
    assert result.code == 0, result.err
    assert Path(strict_json(result.out)["report"]).exists()


def test_several_runs_predict_together(
    smiler: Smiler, world: Any, quick_training: Callable[..., list[str]], tmp_path: Path
) -> None:
    words = quick_training("--set", "training.seed=7", "--set", "network.name=unet")
    trained = smiler("train", world.hidden, tmp_path / "other", "--method", "smile", *words)
    assert trained.code == 0, trained.err
    image = world.phantom / "images" / "phantom001.nii.gz"
    runs = (world.run, tmp_path / "other")
    predicted = smiler("predict", *runs, image, "-o", tmp_path / "p", "--device", "cpu", "--shifts", 1, "--json")
    assert predicted.code == 0, predicted.err
    assert list(strict_json(predicted.out)) == ["phantom001"]
    parents = json.loads((tmp_path / "p" / "phantom001" / "provenance.json").read_text())["parents"]
    assert set(parents) == {"image", "model", "model 1", "model 2"}


# --- the same without --json


def test_what_people_read(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    image = world.phantom / "images" / "phantom001.nii.gz"
    predicted = smiler("predict", world.run, image, "-o", tmp_path / "p", "--organs", "liver", "--device", "cpu")
    assert predicted.code == 0, predicted.err
    assert predicted.out.startswith("phantom001: liver ")
    relabelled = smiler("relabel", world.run, world.hidden, tmp_path / "r", "--device", "cpu")
    assert relabelled.code == 0, relabelled.err
    assert "completed cohort in" in relabelled.out
    scored = smiler("evaluate", world.run, world.truth, "-o", tmp_path, "--cases", "phantom001", "--device", "cpu")
    assert scored.code == 0, scored.err
    assert "every patient and organ" in scored.out
    first, second = scored.out.split("Scores on annotations that the network was trained on")
    assert "Scores on annotations that the network was not trained on" in first
    assert "they say nothing about other patients" in " ".join(second.split())
    assert "[" not in scored.out  # one patient: a mean, and a dash where its interval would be
    assert smiler("methods", "--options").code == 0


# --- exit codes and errors


def test_exit_codes_of_a_process() -> None:
    assert process("methods").returncode == 0
    done = process("audit", "no-such-folder")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error no-such-folder")
    assert "Traceback" not in done.stderr
    assert process("no-such-command").returncode == 2


def spoilt(world: Any, folder: Path, old: str, new: str) -> Path:
    """A copy of the complete cohort with one change of its ledger."""
    shutil.copytree(world.phantom, folder)
    ledger = folder / "cases.csv"
    assert old in ledger.read_text(encoding="utf-8")
    ledger.write_text(ledger.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    return folder


def test_an_audit_with_faults_ends_with_1(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    assert smiler("audit", world.phantom).code == 0
    cohort = spoilt(world, tmp_path / "c", "labels/phantom000.nii.gz#2", "labels/phantom000.nii.gz#200")
    result = smiler("audit", cohort)
    assert result.code == 1
    assert "1 fault" in result.out
    assert "case phantom000, organ stomach" in result.out
    as_json = smiler("audit", cohort, "--json")
    assert as_json.code == 1
    assert len(strict_json(as_json.out)["faults"]) == 1


def test_all_faults_of_a_ledger_are_on_one_screen(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    cohort = spoilt(world, tmp_path / "c", "images/phantom000", "images/gone")
    ledger = cohort / "cases.csv"
    ledger.write_text(ledger.read_text(encoding="utf-8").replace("labels/phantom001", "labels/lost"), encoding="utf-8")
    result = smiler("audit", cohort)
    refused(result, "faults", "row 2, column image: the file does not exist", "row 3, column liver")


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["audit", "{tmp}"], ["cohort.toml: not a cohort: the file does not exist"]),
        (["audit", "{truth}"], ["sealed truth", "train on the cohort from which"]),
        (["train", "{truth}", "{tmp}/run"], ["sealed truth: only evaluation may read it"]),
        (["train", "{hidden}", "{run}"], ["a run is here already", "--resume"]),
        (["train", "{hidden}", "{tmp}/r", "-m", "smilr"], ["no such method", "did you mean 'smiler'?"]),
        (["train", "{hidden}", "{tmp}/r", "-s", "training.step=5"], ["did you mean 'steps'?"]),
        (["train", "{hidden}", "{tmp}/r", "-s", "training.steps"], ["write training.steps=500"]),
        (["train", "{hidden}", "{tmp}/r", "--organs", "liver,heart"], ["no such organ", "'heart'"]),
        (["train", "{hidden}", "{tmp}/r", "--recipe", "{tmp}/gone.toml"], ["the recipe does not exist"]),
        (["train", "{hidden}", "{tmp}/r", "-s", "training.device=gpu5"], ["the device can't be used", "gpu5"]),
        (["predict", "{tmp}", "x.nii.gz", "-o", "{tmp}/o"], ["not a run folder", "train first"]),
        (["predict", "{run}", "{tmp}/gone.nii.gz", "-o", "{tmp}/o", "--device", "cpu"], ["gone.nii.gz"]),
        (["predict", "{run}", "{hidden}", "-o", "{tmp}/o", "--organs", "heart"], ["no such organ", "'heart'"]),
        (["predict", "{run}", "{run}", "-o", "{tmp}/o"], ["no image is given", "a run of smiler"]),
        (["predict", "{run}", "{run}", "{hidden}", "-o", "{tmp}/o"], ["the same model is given twice"]),
        (["train", "{hidden}", "{tmp}/r", "--folds", "5"], ["too few patients for so many folds"]),
        (["train", "{hidden}", "{run}", "--folds", "2"], ["a run lies there"]),
        (["train", "{hidden}", "{tmp}/r", "--splits", "{tmp}/gone.json"], ["gone.json"]),
        (["relabel", "{run}", "{hidden}", "{hidden}", "--device", "cpu"], ["a completed cohort is a new folder"]),
        (["relabel", "{run}", "{hidden}", "{tmp}/o", "--rule", "luck"], ["choose among score, mc_dropout"]),
        (["evaluate", "{tmp}/gone", "{truth}"], ["neither a run folder nor a folder of masks"]),
        (["evaluate", "{run}", "{truth}", "--cases", "nobody"], ["no such case", "'nobody'"]),
        (["evaluate", "{tmp}", "{truth}"], ["nothing to score"]),
        (["hide", "{phantom}", "{hidden}/.."], ["a hidden cohort is here already"]),
        (["phantom", "{phantom}"], ["a cohort is here already"]),
        (["phantom", "{tmp}/p", "--size", "big"], ["write it as 40x128x128"]),
        (["phantom", "{tmp}/p", "--size", "1x1x1"], ["out of range"]),
        (["import", "{tmp}", "{tmp}/c"], []),
        (["methods", "--options", "-m", "smilr"], ["no such method"]),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, list) else None,
)
def test_errors_say_what_to_do_on_one_screen(
    smiler: Smiler, world: Any, tmp_path: Path, words: list[str], texts: list[str]
) -> None:
    places = {"tmp": tmp_path, "run": world.run, "hidden": world.hidden, "truth": world.truth, "phantom": world.phantom}
    result = smiler(*(word.format(**places) for word in words))
    refused(result, *texts)
    assert not list(tmp_path.iterdir())  # neither a lock nor an empty folder


OTHERS = {
    "{run}": ("a run of smiler", "smiler predict {run} IMAGE --out MASKS"),
    "{tmp}/raw": ("what looks like a data set of nnU-Net or the Decathlon", "smiler import {tmp}/raw my-cohort"),
    "{tmp}/ct": (
        "a folder of volumes, such as a.nii.gz",
        "smiler import {tmp}/ct my-cohort, with --format folder --image",
    ),
    "{tmp}/empty": ("an empty folder", "smiler import SOURCE {tmp}/empty makes a cohort there"),
    "{tmp}/gone": ("there is nothing", ""),
    "{tmp}/ct/a.nii.gz": ("a file with one volume", "smiler predict RUN {tmp}/ct/a.nii.gz --out MASKS"),
}
A_COHORT = {"{hidden}": ("a cohort of smiler", "smiler train {hidden} RUN")}
OF_A_COHORT = [
    *(["audit", "X"], ["train", "X", "{tmp}/r"], ["export", "X", "{tmp}/o"], ["hide", "X", "{tmp}/o"]),
    *(["sweep", "X", "{tmp}/o"], ["review", "X", "--no-browser"], ["evaluate", "{run}", "X"]),
    *(["relabel", "{run}", "X", "{tmp}/o"], ["predict", "{run}", "X", "--out", "{tmp}/o"]),
]


@pytest.fixture
def places(world: Any, tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "empty").mkdir()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "dataset.json").write_text("{}")
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "a.nii.gz").write_bytes(b"")
    return {"tmp": tmp_path, "run": world.run, "hidden": world.hidden}


@pytest.mark.parametrize("words", OF_A_COHORT, ids=lambda words: words[0])
def test_what_is_no_cohort_is_called_by_its_name_with_the_next_command(
    smiler: Smiler, places: Any, words: list[str]
) -> None:
    for other, (what, do) in OTHERS.items():
        if words[0] == "predict" and other.endswith((".nii.gz", "gone")):
            continue  # an image, and told as one
        result = smiler(*(other.format(**places) if word == "X" else word.format(**places) for word in words))
        refused(result, what)
        assert words[0] == "predict" or do.format(**places) in " ".join(result.err.split())
        assert not (places["tmp"] / "o").exists()


@pytest.mark.parametrize("command", ["predict X a.nii.gz -o {tmp}/o", "relabel X {hidden} {tmp}/o"])
def test_what_is_no_run_is_called_by_its_name_with_the_next_command(smiler: Smiler, places: Any, command: str) -> None:
    words = command.split()
    for other, (what, do) in (OTHERS | A_COHORT).items():
        if other == "{run}":
            continue
        result = smiler(*(other.format(**places) if word == "X" else word.format(**places) for word in words))
        refused(result, "not a run folder", what)
        assert do.format(**places) in " ".join(result.err.split()) or "train first" in result.err


@pytest.mark.parametrize("words", [["evaluate", "X", "{hidden}"], ["import", "X", "{tmp}/c"], ["report", "X"]])
def test_a_cohort_where_something_else_is_wanted_is_called_by_its_name(
    smiler: Smiler, places: Any, words: list[str]
) -> None:
    result = smiler(*(word.replace("X", "{hidden}").format(**places) for word in words))
    refused(result, "a cohort of smiler", f"smiler audit {places['hidden']}")


def test_wrong_use_of_options_ends_with_2(smiler: Smiler) -> None:
    for words in (["no-such"], ["audit"], ["hide", "a", "b", "--alpha", "2"], ["audit", "a", "--no-such"]):
        result = smiler(*words)
        assert result.code == 2
        assert "Traceback" not in result.err


def test_marks_in_names_do_not_reach_the_terminal(smiler: Smiler, tmp_path: Path) -> None:
    result = smiler("audit", tmp_path / "[red]a\x1b[31m\u202eb")
    refused(result, "[red]a")
    assert "\x1b" not in result.err
    assert "\u202e" not in result.err


# --- what can't be learned


def without(cohort: Path, folder: Path, keep: Callable[[str, str], bool]) -> Path:
    """A copy of a cohort without some of its annotations."""
    shutil.copytree(cohort, folder)
    opened = Cohort.open(folder)
    cases = tuple(
        type(case)(case.id, case.patient, case.image, {k: c for k, c in case.cells.items() if keep(case.id, k)})
        for case in opened
    )
    type(opened)(folder, opened.organs, cases, opened.name).save()
    return folder


def test_an_organ_that_is_drawn_nowhere_is_refused_before_anything_is_computed(
    smiler: Smiler, world: Any, tmp_path: Path, quick_training: Any
) -> None:
    cohort = without(world.phantom, tmp_path / "c", lambda _, key: key != "spleen")
    result = smiler("train", cohort, tmp_path / "run", *quick_training())
    refused(result, "organ spleen: no case has a voxel drawn of the organ", "leave it out with --organs liver,stomach")
    assert not (tmp_path / "run" / "recipe.toml").exists()
    others = ",".join(key for key in Cohort.open(cohort).organs.keys if key != "spleen")
    assert smiler("train", cohort, tmp_path / "run", *quick_training("--organs", others)).code == 0


def test_a_case_without_any_annotation_is_told_and_trained_with(
    smiler: Smiler, world: Any, tmp_path: Path, quick_training: Any
) -> None:
    cohort = without(world.phantom, tmp_path / "c", lambda case, _: case != "phantom003")
    result = smiler("train", cohort, tmp_path / "run", *quick_training())
    assert result.code == 0, result.err
    assert "nothing is learned at first from cases without any annotation (1): phantom003" in result.err
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert losses
    assert np.isfinite(losses).all()


def test_a_cohort_without_cases_is_refused(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    shutil.copy(world.phantom / "cohort.toml", tmp_path / "cohort.toml")
    header = (world.phantom / "cases.csv").read_text(encoding="utf-8").splitlines()[0]
    (tmp_path / "cases.csv").write_text(f"{header}\n", encoding="utf-8")
    refused(smiler("train", tmp_path, tmp_path / "run"), "the cohort has no case")
    assert smiler("audit", tmp_path).code == 1


# --- two processes


def test_a_second_process_is_refused_where_one_is_writing(world: Any, tmp_path: Path, quick_training: Any) -> None:
    with writing(tmp_path / "run"):
        done = process("train", world.hidden, tmp_path / "run", *quick_training())
    assert done.returncode == 2
    assert "another process is writing here" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "command", ["hide", "phantom", "relabel", "export", "predict", "evaluate", "report", "audit", "demo", "sweep"]
)
def test_every_command_that_writes_a_folder_locks_it(smiler: Smiler, world: Any, tmp_path: Path, command: str) -> None:
    words = {
        "hide": ["hide", world.phantom, tmp_path],
        "phantom": ["phantom", tmp_path, "--cases", 1],
        "relabel": ["relabel", world.run, world.hidden, tmp_path, "--device", "cpu"],
        "export": ["export", world.phantom, tmp_path, "--format", "totalsegmentator"],
        "predict": ["predict", world.run, world.hidden, "--out", tmp_path, "--device", "cpu"],
        "evaluate": ["evaluate", world.run, world.truth, "--out", tmp_path, "--device", "cpu"],
        "report": ["report", tmp_path],
        "audit": ["audit", world.hidden, "--out", tmp_path],
        "demo": ["demo", "--out", tmp_path],
        "sweep": ["sweep", world.phantom, tmp_path, "--folds", 2],
    }[command]
    with writing(tmp_path):
        refused(smiler(*words), "another process is writing here", "wait for it or choose another folder")


def test_a_finished_run_goes_on_to_the_same_weights(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    shutil.copytree(world.run, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()}
    result = smiler("train", world.hidden, tmp_path / "run", "--resume")
    assert result.code == 0, result.err
    assert {path: path.read_bytes() for path in before} == before


# --- data in and out


def test_an_audit_leaves_a_page_a_picture_and_its_numbers(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    result = smiler("audit", world.hidden, "--out", tmp_path / "audit")
    assert result.code == 0, result.err
    assert {path.name for path in (tmp_path / "audit").iterdir()} == {"audit.json", "coverage.png", "report.html"}
    assert (tmp_path / "audit" / "coverage.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")
    assert "ignore-volume learns from" in page
    refused(smiler("audit", world.hidden, "--fix-geometry", "guess"), "--fix-geometry", "copy (the voxels are right)")


@pytest.mark.parametrize("kind", ["nnunet", "totalsegmentator", "bids"])
def test_an_export_is_imported_again(smiler: Smiler, world: Any, tmp_path: Path, kind: str) -> None:
    result = smiler("export", world.phantom, tmp_path / "out", "--format", kind, "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert smiler("import", told["folder"], tmp_path / "again").code == 0
    one, two = Cohort.open(world.phantom), Cohort.open(tmp_path / "again")
    assert [case.id for case in one] == [case.id for case in two] == told["cases"]
    for case in one:
        statuses = {key: case.status(key) for key in one.organs.keys}
        assert {key: two.case(case.id).status(key) for key in one.organs.keys} == statuses


def test_wrong_exports_end_with_2(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    refused(smiler("export", world.phantom, tmp_path / "o", "--format", "hdf5"), "no such kind of export", "nnunet")
    refused(smiler("export", world.phantom, tmp_path / "o", "--include", "none"), "--include", "expert, accepted, all")
    refused(smiler("export", world.phantom, tmp_path / "o", "--organs", "heart"), "no such organ")
    (tmp_path / "file").write_text("x")
    refused(smiler("export", world.phantom, tmp_path / "file"), "a file lies there")


def test_scores_of_training_annotations_are_called_so(smiler: Smiler, world: Any, tmp_path: Path) -> None:
    result = smiler("evaluate", world.run, world.hidden, "--out", tmp_path)
    assert "scores are of annotations that the network was trained on" in result.out.replace("\n", " ")


def test_how_files_are_read_can_be_said_to_every_command_about_cohorts(
    smiler: Smiler, world: Any, tmp_path: Path
) -> None:
    refused(
        smiler("audit", world.phantom, "--set", "training.steps=3"), "--set", "only options under reading and labels"
    )
    refused(smiler("audit", world.phantom, "--set", "reading.detlit=true"), "did you mean 'detilt'")
    assert smiler("audit", world.phantom, "--set", "labels.overlap=first").code == 0
    done = smiler(
        "export", world.phantom, tmp_path / "o", "-f", "bids", "--organs", "liver", "-s", "labels.overlap=first"
    )
    assert done.code == 0, done.err
