"""Who drew what a review accepted: no note beside a proposal is an unknown origin, and never an expert."""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import pytest
from reviewing import AORTA, LIVER, SPLEEN, box_mask, cells, make_cohort, write

from smiler.audit.fix import fix_geometry
from smiler.domain.cells import parse_cell
from smiler.domain.cohort import Cohort
from smiler.domain.files import write_json
from smiler.domain.provenance import Provenance, beside
from smiler.experiments.hide import hide
from smiler.export.export import export
from smiler.export.pieces import ExportRequest, origin_of
from smiler.formats.importing import import_into
from smiler.review.desk import Desk, Remark, at_desk
from smiler.review.errors import Pair
from smiler.review.ledger import Asked
from smiler.review.masks import Mask
from smiler.review.states import Decision

RELABELLED = "0f" * 32


@pytest.fixture
def bare(folder: Path) -> Path:
    """A cohort whose proposals say nothing of what made them."""
    for note in (folder / "completed").glob("*.json"):
        note.unlink()
    return folder


@pytest.fixture
def desk(folder: Path) -> Iterator[Desk]:
    with at_desk(folder, lambda text: None) as opened:
        yield opened


def asked(desk: Desk, pair: Pair) -> Asked:
    head = desk.ledger.head(pair)
    return Asked.of("anna", uuid.uuid4().hex, pair, head.number if head else 0, "x")


def decide(desk: Desk, case: str, organ: str, *decisions: Decision) -> None:
    for decision in decisions:
        pair = Pair(case, organ)
        assert desk.decide(asked(desk, pair), pair, decision, Remark()).status == 200


def draw(desk: Desk, case: str, organ: str, array: object) -> None:
    pair = Pair(case, organ)
    mask = Mask.of(array, array.shape)  # type: ignore[arg-type,attr-defined]
    assert desk.correct(asked(desk, pair), pair, mask, Remark()).status == 200


def origin(folder: Path, case: str, organ: str) -> str:
    cohort = Cohort.open(folder)
    return origin_of(cohort, cohort.case(case), organ)[0]


def test_an_accepted_proposal_without_a_note_is_of_unknown_origin(bare: Path, desk: Desk) -> None:
    folder = bare
    decide(desk, "b", "liver", Decision.ACCEPT)
    assert origin(folder, "b", "liver") == "unknown"
    note = json.loads((folder / beside(cells(folder)["b"]["liver"])).read_text())["pairs"]["b"]["liver"]
    assert (note["made_by"], note["facts"]) == ("unknown", {"cell": "auto:completed/b_liver.nii.gz"})
    assert (origin(folder, "b", "spleen"), origin(folder, "a", "liver")) == ("proposed", "expert")


@pytest.mark.parametrize("kind", ["nnunet", "totalsegmentator", "bids"])
def test_no_exporter_calls_it_an_experts(bare: Path, desk: Desk, tmp_path: Path, kind: str) -> None:
    folder = bare
    decide(desk, "b", "liver", Decision.ACCEPT)
    cohort = Cohort.open(folder)
    export(cohort, kind, ExportRequest(tmp_path / "expert", "expert", ("liver",)))
    kept = json.loads((tmp_path / "expert" / "smiler.json").read_text())["cases"]
    assert not any(row["cells"] for row in kept.values() if row["case"] == "b")
    done = export(cohort, kind, ExportRequest(tmp_path / "out", "accepted", ("liver",)))
    notes = "".join(path.read_text() for path in done.folder.rglob("*.json"))
    assert '"made_by": "unknown"' in notes
    if kind == "bids":
        (mask,) = done.folder.glob("sub-b/ct/*_mask.json")
        assert json.loads(mask.read_text())["Origin"] == "unknown"
    import_into(done.folder, tmp_path / "again")
    assert origin(tmp_path / "again", "b", "liver") == "unknown"
    assert origin(tmp_path / "again", "a", "liver") == "expert"


def test_a_note_of_another_program_is_no_experts_word(folder: Path, desk: Desk) -> None:
    write_json(folder / "completed/b_liver.json", {"made_by": "nnunet", "model": "3d_fullres"})
    write_json(folder / "completed/b_spleen.json", {"tool": "something"})
    (folder / "completed/b_aorta.json").write_text("{broken")  # the ledger remembers the model
    for organ in ("liver", "spleen", "aorta"):
        decide(desk, "b", organ, Decision.ACCEPT)
    assert [origin(folder, "b", organ) for organ in ("liver", "spleen", "aorta")] == ["accepted", "unknown", "accepted"]


def test_a_note_can_not_say_that_a_proposal_was_decided_here(folder: Path) -> None:
    for made_by in ("review", "expert"):
        write_json(folder / "completed/b_liver.json", {"made_by": made_by, "parents": {}, "origin": "expert"})
        shutil.rmtree(folder / "review", ignore_errors=True)
        with at_desk(folder, lambda text: None) as desk:
            decide(desk, "b", "liver", Decision.ACCEPT, Decision.REOPEN)
            assert cells(folder)["b"]["liver"] == "auto:completed/b_liver.nii.gz"
            decide(desk, "b", "liver", Decision.ACCEPT)
        assert origin(folder, "b", "liver") == "accepted"
        decided = Cohort.open(folder)
        case = decided.case("b").with_cells({"liver": parse_cell("auto:completed/b_liver.nii.gz")})
        Cohort(folder, decided.organs, tuple(case if c.id == "b" else c for c in decided), "tiny").save()


def test_an_experts_mask_that_was_flagged_and_accepted_stays_an_experts(folder: Path, desk: Desk) -> None:
    decide(desk, "a", "liver", Decision.FLAG, Decision.ACCEPT)
    assert cells(folder)["a"]["liver"].startswith("review/masks/")
    assert origin(folder, "a", "liver") == "expert"


def test_a_proposal_that_came_to_a_flagged_organ_is_told_from_an_experts(folder: Path, desk: Desk) -> None:
    decide(desk, "b", "liver", Decision.FLAG)
    write(folder / "completed/b_liver_2.nii.gz", box_mask(1, 1, 1, 4, 4, 4), "LPS")
    Provenance("relabel", {"model": RELABELLED}, {"round": 3}).save(folder / "completed/b_liver_2.json")
    cohort = Cohort.open(folder)
    case = cohort.case("b").with_cells({"liver": parse_cell("auto:completed/b_liver_2.nii.gz")})
    Cohort(folder, cohort.organs, tuple(case if c.id == "b" else c for c in cohort), "tiny").save()
    desk.sheet.follow()
    decide(desk, "b", "liver", Decision.ACCEPT)
    assert origin(folder, "b", "liver") == "accepted"
    note = origin_of(Cohort.open(folder), Cohort.open(folder).case("b"), "liver")[1]
    assert note is not None
    assert note["facts"] == {"round": 3}


def test_one_file_of_two_origins_is_told_apart_by_organ(folder: Path, desk: Desk) -> None:
    decide(desk, "b", "liver", Decision.ACCEPT)
    draw(desk, "b", "tumour", LIVER)  # the whole liver: the same voxels, the same file
    assert cells(folder)["b"]["liver"] == cells(folder)["b"]["tumour"]
    assert (origin(folder, "b", "liver"), origin(folder, "b", "tumour")) == ("accepted", "expert")
    decide(desk, "b", "liver", Decision.REOPEN)
    draw(desk, "b", "liver", LIVER)
    assert origin(folder, "b", "liver") == "corrected"
    decide(desk, "b", "liver", Decision.REOPEN, Decision.ACCEPT)
    assert origin(folder, "b", "liver") == "accepted"


def test_a_correction_of_what_nobody_knows_is_a_correction_and_of_an_experts_mask_an_experts(
    bare: Path, desk: Desk
) -> None:
    folder = bare
    draw(desk, "b", "liver", box_mask(1, 1, 1, 4, 5, 4))
    draw(desk, "b", "liver", box_mask(1, 1, 1, 4, 4, 4))
    draw(desk, "a", "spleen", box_mask(7, 2, 1, 9, 5, 4))
    draw(desk, "d", "spleen", SPLEEN)
    found = [origin(folder, *pair) for pair in (("b", "liver"), ("a", "spleen"), ("d", "spleen"))]
    assert found == ["corrected", "expert", "expert"]


def test_a_cohort_of_an_earlier_version_without_notes(folder: Path, desk: Desk) -> None:
    decide(desk, "b", "aorta", Decision.ACCEPT)
    cell = cells(folder)["b"]["aorta"]
    (folder / beside(cell)).unlink()  # as version 1 stored what had no note
    assert origin(folder, "b", "aorta") == "unknown"
    write_json(folder / beside(cell), {"made_by": "review", "parents": {"mask": "1", "model": "2"}, "facts": {}})
    assert origin(folder, "b", "aorta") == "corrected"
    write_json(folder / beside(cell), {"made_by": "relabel", "parents": {"model": "2"}, "facts": {}})
    assert origin(folder, "b", "aorta") == "accepted"


def test_a_copy_of_an_accepted_mask_keeps_its_origin(made: Path, tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort").folder
    for note in (folder / "completed").glob("*.json"):
        note.unlink()
    with at_desk(folder, lambda text: None) as desk:
        decide(desk, "b", "aorta", Decision.ACCEPT)
        decide(desk, "c", "liver", Decision.ACCEPT)
    write(folder / "completed/away.nii.gz", AORTA, "LPS")
    hidden = hide(Cohort.open(folder), tmp_path / "hidden", 0.0)
    assert origin(hidden.folder, "b", "aorta") == "unknown"
    assert origin(hidden.folder, "a", "aorta") == "expert"
    mask = folder / cells(folder)["b"]["aorta"]
    write(mask, box_mask(0, 0, 0, 5, 5, 4), "RAS")  # elsewhere than the CT, whose axes are LPS
    image = nib.load(mask)
    moved = image.affine.copy()
    moved[0, 3] += 9
    nib.save(nib.Nifti1Image(image.dataobj[:], moved), mask)
    assert [row.case for row in fix_geometry(Cohort.open(folder), "copy")] == ["b"]
    assert cells(folder)["b"]["aorta"].startswith("fixed/")
    assert origin(folder, "b", "aorta") == "unknown"
