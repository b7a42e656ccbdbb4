"""Relabelling into a folder in which people have worked: what they said stays, and names never meet."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_spread import smiler

from smiler.curriculum.options import CurriculumOptions
from smiler.curriculum.relabel import Proposals, RelabelStep, relabel_store
from smiler.domain.cells import ABSENT, Cell, annotated
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.names import folded, pair_name
from smiler.domain.organs import Organ, OrganSet
from smiler.formats.nifti import read_labels
from smiler.prediction.options import PredictionOptions
from smiler.review.desk import Remark, at_desk
from smiler.review.errors import Pair
from smiler.review.ledger import Asked
from smiler.review.states import Decision, State
from smiler.review.verify import verify
from smiler.store.arrays import save_array
from smiler.store.store import StoreOptions, build_store
from smiler.verbs.relabel import RelabelRequest, relabel

KEYS = ("liver", "liver_tumor", "spleen", "stomach")


class Notes:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def track(self, items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
        yield from items

    def note(self, text: str) -> None:
        self.notes.append(text)


def rows(folder: Path) -> dict[tuple[str, str], str]:
    return {(case.id, key): str(case.cell(key)) for case in Cohort.open(folder) for key in KEYS}


def write_cells(folder: Path, changes: dict[tuple[str, str], Cell]) -> None:
    cohort = Cohort.open(folder)
    cells = [case.with_cells({k: cell for (c, k), cell in changes.items() if c == case.id}) for case in cohort]
    replace(cohort, cases=tuple(cells)).save()


@pytest.fixture
def out(tiny: Any, tmp_path: Path) -> Path:
    """A completed cohort."""
    relabel(tiny.model, tiny.cohort, RelabelRequest(tmp_path / "out"))
    return tmp_path / "out"


def test_what_experts_wrote_there_stays_and_the_rest_is_completed_anew(tiny: Any, out: Path) -> None:
    before = rows(out)
    proposals = sorted(pair for pair, cell in before.items() if cell.startswith("auto:"))
    accepted, absent, *others = proposals
    path = before[accepted].removeprefix("auto:")
    drawn = (out / path).read_bytes()
    write_cells(out, {accepted: annotated(path), absent: ABSENT, ("case0", "spleen"): ABSENT})
    told = Notes()
    relabel(replace(tiny.model, made_by="another model"), tiny.cohort, RelabelRequest(out), told)
    after = rows(out)
    assert (after[accepted], after[absent], after["case0", "spleen"]) == (path, "absent", "absent")
    assert (out / path).read_bytes() == drawn
    assert told.notes == [f"{out} says otherwise than the cohort, and stays: case0 spleen"]
    made_by = {}
    for case, key in others:
        if after[case, key]:
            about = (out / after[case, key].removeprefix("auto:")).with_name(f"{case}.{key}.json")
            made_by[case, key] = json.loads(about.read_text())["parents"]["model"]
    assert len(made_by) >= 4
    assert set(made_by.values()) == {"another model"}
    assert {pair for pair, cell in after.items() if pair not in proposals and cell != before[pair]} == {
        ("case0", "spleen")
    }


def test_rows_titles_and_comments_that_a_person_wrote_there_stay(tiny: Any, out: Path) -> None:
    toml = "# ours\n" + (out / "cohort.toml").read_text().replace('name = "tiny"', 'name = "of the third round"')
    (out / "cohort.toml").write_text(toml)
    with (out / "cases.csv").open("a") as stream:
        stream.write(f"more,patient9,{tiny.image},absent,,,\n")
    relabel(tiny.model, tiny.cohort, RelabelRequest(out))
    assert (out / "cohort.toml").read_text() == toml
    assert [case.id for case in Cohort.open(out)] == ["case0", "case1", "case2", "case3", "more"]
    assert rows(out)["more", "liver"] == "absent"


def test_an_experts_word_of_the_cohort_comes_before_a_proposal_there(tiny: Any, out: Path) -> None:
    pair = min(pair for pair, cell in rows(out).items() if cell.startswith("auto:"))
    case = tiny.cohort.case(pair[0]).with_cells({pair[1]: ABSENT})
    cohort = replace(tiny.cohort, cases=tuple(case if c.id == case.id else c for c in tiny.cohort))
    relabel(tiny.model, cohort, RelabelRequest(out))
    assert rows(out)[pair] == "absent"


def test_another_ct_of_the_same_id_is_refused(tiny: Any, out: Path) -> None:
    swapped = replace(tiny.cohort.cases[1], image=tiny.cohort.cases[0].image)
    before = (out / "cases.csv").read_bytes()
    with pytest.raises(BadInput, match=r"case case1: another CT has this id there; got .*case1.*choose another folder"):
        relabel(tiny.model, replace(tiny.cohort, cases=(swapped,)), RelabelRequest(out))
    assert (out / "cases.csv").read_bytes() == before


@pytest.mark.parametrize("sign", ["recipe.toml", "sweep.json", ".smiler-export"])
def test_a_run_a_sweep_or_an_export_is_no_place_for_a_cohort(tiny: Any, tmp_path: Path, sign: str) -> None:
    (tmp_path / sign).write_text("")
    with pytest.raises(BadInput, match=r"(a run|a sweep|an export) lies there; do: choose another folder"):
        relabel(tiny.model, tiny.cohort, RelabelRequest(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [sign]


def test_one_that_was_stopped_leaves_a_cohort_that_opens(tiny: Any, out: Path) -> None:
    class Stopping(Notes):
        def track(self, items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
            yield from items
            raise KeyboardInterrupt

    nothing = RelabelRequest(out, options=PredictionOptions(threshold=0.9999))
    before = rows(out)
    with pytest.raises(KeyboardInterrupt):
        relabel(tiny.model, tiny.cohort, nothing, Stopping())
    assert rows(out) == before
    relabel(tiny.model, tiny.cohort, nothing)
    assert not any(cell.startswith("auto:") for cell in rows(out).values())
    assert not list(out.rglob("*.nii.gz"))


# --- under review


def decide(folder: Path, decisions: dict[tuple[str, str], Decision]) -> dict[tuple[str, str], State]:
    """What a reviewer says, and the state of every pair then."""
    with at_desk(folder, print) as desk:
        for (case, organ), decision in decisions.items():
            pair = Pair(case, organ)
            head = desk.ledger.head(pair)
            asked = Asked.of("anna", f"{case} {organ}", pair, head.number if head else 0, decision)
            assert desk.decide(asked, pair, decision, Remark("", None)).status == 200
        return {(pair.case, pair.organ): head.state for pair, head in desk.ledger.heads().items()}


def test_a_review_there_is_refused_and_a_round_keeps_every_decision(tiny: Any, out: Path) -> None:
    said = {
        ("case3", "liver"): Decision.ACCEPT,
        ("case1", "liver"): Decision.ABSENT,
        ("case2", "spleen"): Decision.FLAG,
    }
    states = decide(out, said)
    files = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    done = smiler("relabel", tiny.run, tiny.cohort.folder, out, "--device", "cpu")
    assert done.code == 2
    assert f"{out}: a review lies there" in done.err.replace("\n", " ")
    assert "--round proposes anew and keeps every decision" in " ".join(done.err.split())
    assert {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()} == files
    assert smiler("relabel", tiny.run, out, out, "--round", "--device", "cpu").code == 0
    with at_desk(out, print) as desk:
        heads = {(pair.case, pair.organ): head.state for pair, head in desk.ledger.heads().items()}
    assert {pair: heads[pair] for pair in said} == {pair: states[pair] for pair in said}
    assert verify(out).ok


def test_every_kind_of_folder_is_known_by_what_smiler_writes(tiny: Any, out: Path, tmp_path: Path) -> None:
    from smiler.domain.folders import Kind, kinds_in
    from smiler.experiments.sweep import SWEEP
    from smiler.export.export import MARK

    decide(out, {})
    assert kinds_in(out) == [Kind.COHORT, Kind.REVIEW]
    assert kinds_in(tiny.run) == [Kind.RUN]
    (tmp_path / MARK).write_text("")
    (tmp_path / SWEEP).write_text("")
    assert kinds_in(tmp_path) == [Kind.EXPORT, Kind.SWEEP]


# --- names


def test_two_pairs_that_spell_alike_get_masks_of_their_own(tiny: Any, tmp_path: Path) -> None:
    """Case p1 and organ liver_tumor; case p1_liver and organ tumor."""
    model = tiny.model
    renamed = OrganSet((Organ("liver"), Organ("liver_tumor"), Organ("tumor"), Organ("stomach")))
    model = replace(model, facts=replace(model.facts, organs=renamed))
    images = [tiny.cohort.image_path(tiny.cohort.case(name)) for name in ("case2", "case3")]
    cases = tuple(Case(name, name, str(image)) for name, image in zip(("p1", "p1_liver"), images, strict=True))
    made = relabel(model, Cohort(tmp_path, renamed, cases), RelabelRequest(tmp_path / "out"))
    paths = [made.mask_path(case, key) for case in made for key in renamed.keys if case.cell(key).auto]
    assert len({folded(str(path)) for path in paths}) == len(paths) == 8
    for case, image in zip(made, images, strict=True):
        alone = relabel(
            model, Cohort(tmp_path, renamed, (Case("x", "x", str(image)),)), RelabelRequest(tmp_path / case.id)
        )
        for key in renamed.keys:
            expected, _ = read_labels(alone.mask_path(alone.case("x"), key))
            np.testing.assert_array_equal(read_labels(made.mask_path(case, key))[0], expected)


def test_no_two_pairs_have_one_name() -> None:
    cases = ["p1", "p1_liver", "p1.liver", "p1-judged", "p1.", "a.b", "a"]
    organs = ["liver", "liver_tumor", "tumor", "b", "judged", "uncertainty", "liver_uncertainty"]
    names = [
        f"{pair_name(case, organ)}{end}" for case in cases for organ in organs for end in (".json", "-uncertainty")
    ]
    names += [f"{case}-judged.json" for case in cases]
    assert len({folded(name) for name in names}) == len(names)


def test_what_a_round_rules_out_lies_apart_from_a_case_called_so(tiny: Any, tmp_path: Path) -> None:
    """Case a.cleared, and what is cleared of case a."""

    def proposals(folder: str, *names: str) -> Proposals:
        cases = zip(tiny.cohort.cases[2:], names, strict=True)
        cohort = replace(tiny.cohort, cases=tuple(replace(case, id=name) for case, name in cases))
        store = build_store(cohort, tmp_path / "cache", StoreOptions(tiny.model.facts.data))
        step = RelabelStep(1, 0.5, CurriculumOptions(rounds=1, negatives=0.4))
        return relabel_store(tiny.model, store, tmp_path / folder, step, Proposals(tmp_path, {}))

    plain, alike = proposals("plain", "a", "b"), proposals("alike", "a", "a.cleared")
    for name, other in (("a", "a"), ("b", "a.cleared")):
        np.testing.assert_array_equal(plain.bits(name)[:], alike.bits(other)[:])
        np.testing.assert_array_equal(plain.cleared(name)[:], alike.cleared(other)[:])
    assert plain.bits("b")[:].any()


def test_what_an_earlier_version_ruled_out_is_found(tiny: Any, tmp_path: Path) -> None:
    cleared = np.arange(8, dtype=np.int32).reshape(2, 2, 2)
    save_array(tmp_path / "proposals" / "a.cleared.b2nd", cleared)
    np.testing.assert_array_equal(Proposals(tmp_path, {"a": {}}).cleared("a")[:], cleared)
    assert Proposals(tmp_path, {"a": {}, "a.cleared": {}}).cleared("a") is None
