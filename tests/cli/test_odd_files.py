"""Odd content in every file that a command writes and another reads back: one sentence that names it, no traceback.

Each file gets contents that are no JSON, CSV or TOML; if it is JSON, also its own with one value of another kind.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from smiler.domain.errors import BadInput
from smiler.experiments import worker
from smiler.experiments.trial import TrialFolder
from smiler.report.tables import read_table

Smiler = Callable[..., Any]
NOTHING_OF_OURS = (
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"[" * 100_000,
    b'{"a":' * 150 + b"1" + b"}" * 150,
    b"\xff\xfe\x00\x01",
    b'{"x": "\\ud800"}',
    b"1" * 5000,
)
KINDS = (None, [None], {"a": None}, 10**400, float("nan"), "\ud800", "x" * 5000, -1)
LONG = "x" * 5000


@dataclass(frozen=True)
class Room:
    """A run with a round of relabelling, and what the commands made with it."""

    base: Path
    phantom: Path
    cohort: Path

    def __truediv__(self, name: str) -> Path:
        return self.base / name


@pytest.fixture(scope="module")
def room(
    world: Any, smiler: Smiler, quick_training: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Room:
    base = tmp_path_factory.mktemp("odd")
    made = Room(base, world.phantom, world.hidden)
    words = quick_training("--cache", str(made / "cache"), "--set", "curriculum.rounds=1")
    shutil.copytree(world.phantom, made / "noted", ignore=shutil.ignore_patterns(".*"))
    (made / "noted/labels/phantom000.json").write_text(json.dumps({"made_by": "relabel", "parents": {}, "facts": {}}))
    for line in (
        ["train", world.hidden, made / "run", *words],
        ["predict", made / "run", world.phantom / "images/phantom000.nii.gz", "--out", made / "masks"],
        ["relabel", made / "run", world.hidden, made / "completed"],
        ["evaluate", made / "run", world.phantom, "--out", made / "run"],
        ["audit", world.hidden, "--out", made / "audit"],
        ["export", world.phantom, made / "bids", "--format", "bids"],
        ["export", world.phantom, made / "nnunet", "--organs", "liver", "--data-sets", "one"],
        ["import", made / "bids", made / "imported"],
    ):
        result = smiler(*line)
        assert result.code == 0, result.err
    return made


Words = Callable[[Room], list[object]]
AGAIN: Words = lambda room: ["train", room.cohort, room / "run", "--resume", "--cache", room / "cache"]  # noqa: E731
PREDICT: Words = lambda room: [  # noqa: E731
    "predict", room / "run", room.phantom / "images/phantom000.nii.gz", "--out", room / "masks", "--organs", "liver"
]  # fmt: skip
REPORT: Words = lambda room: ["report", room / "run"]  # noqa: E731
JOBS: dict[str, tuple[str, Words]] = {
    "recipe": ("run/recipe.toml", PREDICT),
    "store": ("run/store.json", AGAIN),
    "run": ("run/provenance.json", lambda room: ["relabel", room / "run", room.cohort, room / "round", "--round"]),
    "events": ("run/events.jsonl", REPORT),
    "scores": ("run/scores.csv", REPORT),
    "checkpoint": ("run/rounds/1/checkpoints/step-*.json", PREDICT),
    "resumed checkpoint": ("run/checkpoints/step-*.json", AGAIN),
    "predicted": ("masks/phantom000/provenance.json", lambda room: [*PREDICT(room)[:-2]]),
    "completed": (
        "completed/completed/phantom001.liver.json",
        lambda room: ["relabel", room / "run", room.cohort, room / "completed"],
    ),
    "noted mask": (
        "noted/labels/phantom000.json",
        lambda room: ["export", room / "noted", room / "noted bids", "-f", "bids"],
    ),
    "ledger": ("noted/cases.csv", lambda room: ["hide", room / "noted", room / "hidden"]),
    "cohort": ("noted/cohort.toml", lambda room: ["hide", room / "noted", room / "hidden"]),
    "imports": (
        "imported/imports.jsonl",
        lambda room: ["import", room / "bids", room / "merged", "--prefix", "b", "--organs", "liver"],
    ),
    "exported": ("bids/smiler.json", lambda room: ["import", room / "bids", room / "again"]),
    "exported mask": ("bids/sub-phantom000/ct/*Liver_*.json", lambda room: ["import", room / "bids", room / "again"]),
    "data set": ("nnunet/*/dataset.json", lambda room: ["import", next((room / "nnunet").glob("D*")), room / "again"]),
    "audit": ("audit/audit.json", lambda room: ["report", room / "audit"]),
}
MADE_AGAIN: dict[str, tuple[str, Words]] = {
    "proposals": ("run/rounds/1/proposals/phantom001.json", AGAIN),
    "estimate": ("run/rounds/1/estimate.json", AGAIN),
    "store entry": ("cache/labels-*.json", AGAIN),
}
"""What is only kept to save time is made again, without a word."""


SLOW = ("events", "scores", "audit", "noted mask", "resumed checkpoint", "data set", "exported mask", "completed")
"""Of what takes long where it is fine, fewer contents are tried."""


@pytest.mark.parametrize("name", JOBS)
def test_what_is_nothing_of_ours_is_refused_by_its_name(smiler: Smiler, room: Room, name: str) -> None:
    path, words = found(room, *JOBS[name])
    with kept(path):
        for content in NOTHING_OF_OURS:
            if name == "noted mask" and content == b"null":
                continue  # says nothing
            path.write_bytes(content + b"\n{}" if name == "events" else content)  # its last line may be cut off
            forget(room)
            result = smiler(*words)
            said = result.err + result.out
            assert result.code == 2, (content[:20], said)
            assert "Traceback" not in said
            assert path.name in said, (content[:20], said)


@pytest.mark.parametrize("name", [name for name, (path, _) in JOBS.items() if path.endswith((".json", ".jsonl"))])
def test_a_value_of_another_kind_is_refused_or_does_not_matter(smiler: Smiler, room: Room, name: str) -> None:
    path, words = found(room, *JOBS[name])
    with kept(path) as good:
        for content in list(changed(path, good))[:: 5 if name in SLOW else 1]:
            path.write_bytes(content)
            forget(room)
            result = smiler(*words)
            said = result.err + result.out
            assert result.code in (0, 1, 2), (content[:80], said)
            assert "Traceback" not in said
            if result.code and name != "imports":
                assert path.name in said or "facts" in said or "organ" in said, (content[:80], said)


@pytest.mark.parametrize("name", MADE_AGAIN)
def test_what_is_damaged_and_can_be_made_again_is(smiler: Smiler, room: Room, name: str) -> None:
    path, words = found(room, *MADE_AGAIN[name])
    with kept(path) as good:
        for content in (b"", *NOTHING_OF_OURS[::3], *list(changed(path, good))[::6]):
            path.write_bytes(content)
            result = smiler(*words)
            assert result.code == 0, (content[:80], result.err)


def test_a_sweep_and_its_trials(smiler: Smiler, room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trial = TrialFolder(tmp_path / "trial")
    trial.path.mkdir()
    good = {"dice": 1.0, "round": 0, "validation": [], "relabel": [], "estimated": [], "train_seconds": 1.0}
    good |= {"measure_seconds": 1, "steps": 4, "threads": 1}
    (trial.path / "outcome.json").write_text(json.dumps(good))
    assert trial.outcome() == good
    asked = {"asked": [{"arms": ["full"], "alphas": [0.5], "seeds": [0], "run_folds": None}], "steps": 20}
    (tmp_path / "sweep").mkdir()
    sweep, order = tmp_path / "sweep/sweep.json", trial.path / "trial.json"
    for content in (*NOTHING_OF_OURS, *changed(sweep, json.dumps(asked).encode())):
        sweep.write_bytes(content)
        result = smiler("sweep", room.phantom, tmp_path / "sweep", "--steps", 20, "--folds", 2)
        assert result.code == 2
        assert "sweep" in result.err
    for content in (*NOTHING_OF_OURS, b"{}", *changed(order, json.dumps(good).encode())):
        order.write_bytes(content)
        assert worker.main([str(trial.path)]) == 2
        assert "trial.json" in capsys.readouterr().err
    for content in (*NOTHING_OF_OURS, b"{}", *changed(order, json.dumps({**good, "steps": []}).encode())):
        (trial.path / "outcome.json").write_bytes(content)
        with pytest.raises(BadInput, match=r"outcome\.json"):
            trial.outcome()


@pytest.mark.parametrize(
    "row", ["smile,0.5,,x,1,2", "smile,2,,50,40,60", "smile,0.5", "smile,0.5,,nan,1,2", "a,b,c,d,e,f,g"]
)
def test_a_table_of_a_sweep(row: str, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(f"arm,alpha,organ,dice,low,high\nsmile,0.5,,50,40,60\n{row}\n")
    with pytest.raises(BadInput, match=r"points\.csv, line 3"):
        read_table(path)


def found(room: Room, pattern: str, words: Words) -> tuple[Path, list[object]]:
    (path, *_) = sorted(room.base.glob(pattern))
    return path, words(room)


def forget(room: Room) -> None:
    """An import begins anew."""
    for name in ("again", "merged"):
        shutil.rmtree(room / name, ignore_errors=True)
    shutil.copytree(room / "imported", room / "merged")


class kept:
    """Puts the file's content back."""

    def __init__(self, path: Path) -> None:
        self.path, self.good = path, path.read_bytes()

    def __enter__(self) -> bytes:
        return self.good

    def __exit__(self, *_: object) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(self.good)


def changed(path: Path, good: bytes) -> Iterator[bytes]:
    """The content with one of its values, down to the second level, of two other kinds in turn; the value left out."""
    first, _, rest = good.partition(b"\n") if path.suffix == ".jsonl" else (good, b"", b"")
    value, turn = json.loads(first), 0
    for holder, key in _places(value):
        old = holder[key]
        for kind in (KINDS[turn % len(KINDS)], KINDS[(turn + 3) % len(KINDS)]):
            holder[key] = kind
            yield json.dumps(value).encode() + b"\n" + rest
        holder[key], turn = old, turn + 1
        if isinstance(holder, dict) and holder is value:
            yield json.dumps({name: one for name, one in value.items() if name != key}).encode() + b"\n" + rest


def _places(value: dict[str, Any]) -> list[tuple[Any, Any]]:
    inner = [(one, key) for one in value.values() if isinstance(one, dict | list) for key in _keys(one)[:4]]
    return [*((value, key) for key in value), *inner]


def _keys(value: Any) -> list[Any]:
    return list(value) if isinstance(value, dict) else list(range(len(value)))


@pytest.mark.parametrize(
    "words",
    [
        ["audit", LONG],
        ["audit", "COHORT", "--out", LONG],
        ["import", LONG, "OUT"],
        ["import", "COHORT", LONG, "-f", "folder", "--image", LONG],
        ["import", "COHORT", "OUT", "-f", "folder", "--image", "images", "--mask", f"liver={LONG}"],
        ["import", "COHORT", "OUT", "--labels", LONG],
        ["import", "COHORT", "OUT", "-f", "folder", "--image", "images", "--mask", "liver=labels", "--synonyms", LONG],
        ["train", LONG, "OUT"],
        ["train", "COHORT", LONG],
        ["train", "COHORT", "OUT", "--recipe", LONG],
        ["train", "COHORT", "OUT", "--cache", LONG],
        ["predict", LONG, "COHORT", "--out", "OUT"],
        ["predict", "RUN", LONG, "--out", "OUT"],
        ["predict", "RUN", "COHORT", "--out", LONG],
        ["relabel", LONG, "COHORT", "OUT"],
        ["relabel", "RUN", "COHORT", LONG],
        ["evaluate", LONG, "COHORT"],
        ["evaluate", "RUN", LONG],
        ["export", "COHORT", LONG],
        ["hide", "COHORT", LONG],
        ["report", LONG],
        ["review", LONG, "--verify"],
        ["sweep", LONG, "OUT"],
        ["phantom", LONG],
    ],
    ids=lambda words: " ".join(word if len(word) < 50 else "LONG" for word in words),
)
def test_a_name_of_5000_letters_is_refused_wherever_it_stands(
    smiler: Smiler, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"COHORT": world.phantom, "RUN": world.run, "OUT": tmp_path / "out"}
    result = smiler(*(places.get(word, word) for word in words))
    assert result.code == 2, result.err[:300]
    assert "Traceback" not in result.err
    assert "x" * 80 in result.err
