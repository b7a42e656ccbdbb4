"""Import, export, import: voxels, geometry, statuses and provenance come back, from every layout."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import Slices, blobs, ct
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray

from smiler.audit.fix import fix_geometry
from smiler.domain.cells import Cell, parse_cell
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.files import write_json
from smiler.domain.geometry import Geometry
from smiler.domain.organs import Organ, OrganSet
from smiler.export import bids
from smiler.export.export import EXPORTS, Exported, export
from smiler.export.pieces import ExportRequest, origin_of
from smiler.formats import ImportOptions, detect
from smiler.formats.importing import import_into
from smiler.formats.labels import read_case_labels
from smiler.formats.nifti import write_labels
from smiler.formats.volumes import read_ct, read_header

ORGANS = OrganSet(
    (
        Organ("liver", "Liver", "10200004"),
        Organ("liver_tumor", part_of="liver"),
        Organ("vein", "A vein", overlaps=frozenset({"liver"})),
        Organ("spleen"),
        Organ("pancreas"),
    )
)
SHAPE = (6, 7, 8)


def boxes() -> NDArray[np.uint8]:
    """(z, y, x): liver 1 with a tumour 2, spleen 3, pancreas 4."""
    volume = np.zeros(SHAPE, dtype=np.uint8)
    volume[1:5, 1:5, 1:4] = 1
    volume[2, 2, 2] = 2
    volume[1:4, 1:3, 6] = 3
    volume[0, 5, 5] = 4
    return volume


def save(
    path: Path, array: NDArray[np.generic], codes: str = "LPS", spacing: tuple[float, ...] = (0.8, 0.7, 2.5)
) -> None:
    """A canonical array as a NIfTI file whose axes run as `codes` says."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = (30.5, -12.25, 7.0)
    own = array.transpose(2, 1, 0)
    turn = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(tuple(codes)))
    turned = nib.orientations.apply_orientation(own, turn)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(turned), affine @ inv_ornt_aff(turn, own.shape)), path)


def cohort(folder: Path, codes: str = "LPS", cells: dict[str, dict[str, str]] | None = None) -> Cohort:
    """Two cases: one with everything that a ledger can say, one with a model's masks."""
    rng = np.random.default_rng(3)
    vein = np.zeros(SHAPE, dtype=np.uint8)
    vein[0:6, 3, 2:6] = 1
    for name in ("a.1", "b_2"):
        save(folder / f"{name}.nii.gz", rng.integers(-1000, 1000, SHAPE).astype(np.int16), codes)
        save(folder / f"{name}_map.nii.gz", boxes(), codes)
        save(folder / f"{name}_vein.nii.gz", vein, codes)
    grid = read_header(folder / "b_2.nii.gz")
    for key, label in (("spleen", 3), ("pancreas", 4)):
        write_labels(folder / "completed" / f"b_2_{key}.nii.gz", (boxes() == label).astype(np.uint8), grid)
        facts = {"round": 2, "rule": "score", "organ": key}
        about = {"made_by": "relabel", "parents": {"model": "abc"}, "facts": facts}
        write_json(folder / "completed" / f"b_2_{key}.json", about)
    rows = cells or {
        "a.1": {
            "liver": "a.1_map.nii.gz#1+2",
            "liver_tumor": "a.1_map.nii.gz#2",
            "vein": "a.1_vein.nii.gz",
            "spleen": "a.1_map.nii.gz#3@1:4",
            "pancreas": "absent",
        },
        "b_2": {
            "liver": "b_2_map.nii.gz#1+2",
            "spleen": "completed/b_2_spleen.nii.gz",
            "pancreas": "auto:completed/b_2_pancreas.nii.gz",
        },
    }
    cases = [
        Case(name, f"patient {name[0]}", f"{name}.nii.gz", {key: parse_cell(text) for key, text in row.items()})
        for name, row in rows.items()
    ]
    made = Cohort(folder, ORGANS, tuple(cases), "test")
    made.save()
    return made


def told(of: Cohort) -> dict[str, object]:
    """All that a cohort says, without its files' names."""
    return {
        "patients": {case.id: case.patient for case in of},
        "statuses": {
            (case.id, key): _status(case.cell(key)) for case in of for key in case.cells if str(case.cell(key))
        },
        "relations": {organ.key: (organ.part_of, organ.overlaps, organ.title) for organ in of.organs},
        "order": of.organs.keys,
        "origins": {
            (case.id, key): origin_of(of, case, key) for case in of for key in case.cells if case.cell(key).path
        },
    }


def _status(cell: Cell) -> tuple[str, bool, tuple[str, ...]]:
    return cell.status.value, cell.auto, tuple(map(str, cell.ranges))


def voxels(of: Cohort) -> dict[tuple[str, str], NDArray[np.int32]]:
    """(case, organ) -> drawn, proposed and known of it."""
    found = {}
    for case in of:
        labels = read_case_labels(of, case, read_header(of.image_path(case)).geometry)
        for k, key in enumerate(of.organs.keys):
            known = np.broadcast_to((labels.known >> k & 1)[:, None, None], labels.drawn.shape)
            found[case.id, key] = np.stack([labels.drawn >> k & 1, labels.proposed >> k & 1, known])
    return found


def images(of: Cohort) -> dict[str, tuple[Geometry, bytes]]:
    return {case.id: ((ct := read_ct(of.image_path(case))).geometry, ct.hu.tobytes()) for case in of}


def back(done: Exported, folder: Path) -> Cohort:
    import_into(done.folder, folder)
    one_by_one = folder.with_name(folder.name + "-one")
    for source in done.folders:
        import_into(source, one_by_one)
    assert told(Cohort.open(one_by_one))["statuses"] == told(Cohort.open(folder))["statuses"]
    return Cohort.open(folder)


NIFTI = [kind for kind in EXPORTS if kind != "dicom"]


@pytest.mark.parametrize("kind", NIFTI)
@pytest.mark.parametrize("copy", [False, True])
def test_everything_comes_back(tmp_path: Path, kind: str, copy: bool) -> None:
    made = cohort(tmp_path / "c")
    done = export(made, kind, ExportRequest(tmp_path / "out", "all", copy_images=copy))
    assert all(detect(folder).name == kind for folder in done.folders)
    again = back(done, tmp_path / "again")
    assert told(again) == told(made)
    assert images(again) == images(made)
    before, after = voxels(made), voxels(again)
    for pair, fields in before.items():
        assert np.array_equal(fields, after[pair]), pair


@pytest.mark.parametrize("kind", NIFTI)
@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    axes=st.permutations(["LR", "AP", "SI"]),
    flips=st.lists(st.integers(0, 1), min_size=3, max_size=3),
    dtype=st.sampled_from([np.uint8, np.int16, np.float32]),
    spacing=st.tuples(*[st.sampled_from([0.5, 0.743, 1.25, 7.5])] * 3),
)
def test_every_orientation_spacing_and_type(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    axes: list[str],
    flips: list[int],
    dtype: type,
    spacing: tuple[float, ...],
) -> None:
    tmp_path, codes = tmp_path_factory.mktemp("t"), "".join(axis[flip] for axis, flip in zip(axes, flips, strict=True))
    save(
        tmp_path / "c" / "ct.nii.gz", np.random.default_rng(1).integers(-9, 99, SHAPE).astype(np.int16), codes, spacing
    )
    save(tmp_path / "c" / "map.nii.gz", boxes().astype(dtype), codes, spacing)
    cells = {"liver": parse_cell("map.nii.gz#1+2"), "spleen": parse_cell("map.nii.gz#3")}
    made = Cohort(tmp_path / "c", ORGANS, (Case("p1", "p1", "ct.nii.gz", cells),))
    made.save()
    again = back(export(made, kind, ExportRequest(tmp_path / "out")), tmp_path / "again")
    before, after = voxels(made), voxels(again)
    assert images(again) == images(made)
    for key in cells:
        assert np.array_equal(before["p1", key], after["p1", key])


def test_only_what_is_asked_for_is_exported(tmp_path: Path) -> None:
    made = cohort(tmp_path / "c")
    kept = {}
    for include in ("expert", "accepted", "all"):
        done = export(made, "totalsegmentator", ExportRequest(tmp_path / include, include))
        kept[include] = {
            p.name.removesuffix(".nii.gz") for p in (done.folders[0] / "b_2").rglob("segmentations/*.nii.gz")
        }
    assert kept == {
        "expert": {"liver"},
        "accepted": {"liver", "spleen"},
        "all": {"liver", "spleen", "pancreas"},
    }
    done = export(made, "totalsegmentator", ExportRequest(tmp_path / "one", organs=("vein",)))
    assert {p.name for p in done.folders[0].rglob("segmentations/*")} == {"vein.nii.gz"}


def test_one_nnunet_data_set_ignores_what_is_unknown_and_says_what_is_lost(tmp_path: Path) -> None:
    made = cohort(tmp_path / "c")
    done = export(made, "nnunet", ExportRequest(tmp_path / "out"), "one")
    assert any("voxels of liver are ignored" in note for note in done.notes)
    assert any("'not here' is ignored" in note for note in done.notes)
    (tmp_path / "out" / "smiler.json").unlink()
    (tmp_path / "out" / "Dataset001_test" / "smiler.json").unlink()  # as a data set of somebody else
    again = _import_plain(tmp_path)
    vein = np.zeros(SHAPE, dtype=bool)
    vein[0:6, 3, 2:6] = True
    truth = {"liver": np.isin(boxes(), (1, 2)), "liver_tumor": boxes() == 2, "vein": vein, "spleen": boxes() == 3}
    for case in again:
        labels = read_case_labels(again, case, read_header(again.image_path(case)).geometry)
        for k, key in enumerate(again.organs.keys):
            known = (labels.known >> k & 1).astype(bool)[:, None, None] & (labels.drawn >= 0)
            drawn = (labels.drawn >> k & 1).astype(bool)
            if key in truth:
                assert np.array_equal(drawn[known], truth[key][known]), (case.id, key)  # what is said is right
            assert known.any() or case.id == "b_2"


def _import_plain(tmp_path: Path) -> Cohort:
    import_into(tmp_path / "out", tmp_path / "again", ImportOptions(absent_means="absent", taken_as="expert"))
    return Cohort.open(tmp_path / "again")


def test_one_organ_a_data_set_loses_nothing(tmp_path: Path) -> None:
    done = export(cohort(tmp_path / "c"), "nnunet", ExportRequest(tmp_path / "out"))
    names = [
        "Dataset001_liver",
        "Dataset002_liver_tumor",
        "Dataset003_vein",
        "Dataset004_spleen",
        "Dataset005_pancreas",
    ]
    assert [folder.name for folder in done.folders] == names
    assert done.notes == ()


def test_a_complete_cohort_is_one_data_set_with_regions(tmp_path: Path) -> None:
    row = {"liver": "a.1_map.nii.gz#1+2", "liver_tumor": "a.1_map.nii.gz#2", "vein": "a.1_vein.nii.gz"}
    row |= {"spleen": "a.1_map.nii.gz#3", "pancreas": "a.1_map.nii.gz#4@0:3"}
    made = cohort(tmp_path / "c", cells={"a.1": row})
    done = export(made, "nnunet", ExportRequest(tmp_path / "out"))
    table = json.loads((tmp_path / "out" / "Dataset001_test" / "dataset.json").read_text())
    assert len(done.folders) == 1
    assert table["labels"]["ignore"] == max(v for v in table["labels"].values() if isinstance(v, int))
    assert len(table["regions_class_order"]) == 5
    again = back(done, tmp_path / "again")
    before, after = voxels(made), voxels(again)
    for key in ("spleen", "pancreas"):
        assert np.array_equal(before["a.1", key], after["a.1", key])


def test_an_export_never_overwrites_what_is_not_its_own(tmp_path: Path) -> None:
    made = cohort(tmp_path / "c")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").write_text("x")
    for out, words in ((tmp_path / "c", "a cohort lies there"), (tmp_path / "mine", "not empty and holds no export")):
        with pytest.raises(BadInput, match=words):
            export(made, "bids", ExportRequest(out))
    with pytest.raises(BadInput, match="no such kind of export"):
        export(made, "hdf5", ExportRequest(tmp_path / "new"))
    with pytest.raises(BadInput, match="no case is one"):
        export(made, "dicom", ExportRequest(tmp_path / "new"))
    export(made, "bids", ExportRequest(tmp_path / "new"))
    export(made, "bids", ExportRequest(tmp_path / "new"))


@pytest.mark.parametrize("kind", NIFTI)
@pytest.mark.parametrize("codes", ["RAS", "LPS", "SRA"])
def test_the_raw_arrays_of_ct_and_masks_fit_each_other(tmp_path: Path, kind: str, codes: str) -> None:
    save(tmp_path / "c" / "ct.nii", boxes().astype(np.int16), codes)
    save(tmp_path / "c" / "map.nii.gz", boxes(), codes)
    cells = {"spleen": parse_cell("map.nii.gz#3")}
    made = Cohort(tmp_path / "c", ORGANS, (Case("p1", "p1", "ct.nii", cells),))
    export(made, kind, ExportRequest(tmp_path / "out", organs=("spleen",)))
    found = sorted(path for path in (tmp_path / "out").rglob("*.nii.gz") if path.is_file())
    image = next(path for path in found if path.name.endswith(("_0000.nii.gz", "ct.nii.gz")))
    mask = next(path for path in found if "label" in str(path) or "segmentations" in str(path))
    ct, drawn = (np.asarray(nib.load(path).dataobj) for path in (image, mask))
    assert np.array_equal(ct == 3, drawn == 1)


def test_where_nobody_looked_survives_or_is_refused(tmp_path: Path) -> None:
    row = {"liver": "a.1_map.nii.gz#1+2~3", "pancreas": "a.1_map.nii.gz#4~3"}
    made = cohort(tmp_path / "c", cells={"a.1": row})
    again = back(
        export(made, "nnunet", ExportRequest(tmp_path / "out", organs=("liver", "pancreas"))), tmp_path / "again"
    )
    of = [
        (read_case_labels(c, c.cases[0], read_header(c.image_path(c.cases[0])).geometry), c.organs)
        for c in (made, again)
    ]
    for key in ("liver", "pancreas"):
        (one, a), (two, b) = of
        assert np.array_equal(one.drawn >> a.index(key) & 1, two.drawn >> b.index(key) & 1)
    assert np.array_equal(of[0][0].drawn < 0, of[1][0].drawn < 0)
    for kind in ("totalsegmentator", "bids"):
        with pytest.raises(BadInput, match=f"{kind} can't say where nobody looked; got"):
            export(made, kind, ExportRequest(tmp_path / kind))


def test_a_proposal_of_an_earlier_export_does_not_stay_behind(tmp_path: Path) -> None:
    made = cohort(tmp_path / "c")
    for kind in ("totalsegmentator", "bids"):
        export(made, kind, ExportRequest(tmp_path / kind, "all"))
        with pytest.raises(BadInput, match="another export lies there"):
            export(made, kind, ExportRequest(tmp_path / kind, "expert"))
        fewer = cohort(tmp_path / "c", cells={"b_2": {"liver": "b_2_map.nii.gz#1+2"}})
        export(fewer, kind, ExportRequest(tmp_path / kind, "all"))
        of_b = (
            path
            for path in (tmp_path / kind).rglob("*.nii.gz")
            if "ancreas" in path.name and re.search(r"/(b_2|sub-bx5F2)/", str(path))
        )
        assert not list(of_b)
        made = cohort(tmp_path / "c")


def test_the_ignore_label_follows_the_last(tmp_path: Path) -> None:
    export(cohort(tmp_path / "c"), "nnunet", ExportRequest(tmp_path / "out"), "one")
    labels = json.loads((tmp_path / "out" / "Dataset001_test" / "dataset.json").read_text())["labels"]
    numbers = sorted({n for value in labels.values() for n in (value if isinstance(value, list) else [value])})
    assert numbers == list(range(len(numbers)))
    assert labels["ignore"] == numbers[-1]
    values = {
        int(v)
        for p in (tmp_path / "out" / "Dataset001_test" / "labelsTr").glob("*.nii.gz")
        for v in np.unique(np.asarray(nib.load(p).dataobj))
    }
    assert values <= set(numbers)


def test_a_mended_proposal_is_still_a_models(tmp_path: Path) -> None:
    made = cohort(tmp_path / "c")
    path = tmp_path / "c" / "completed" / "b_2_spleen.nii.gz"
    image = nib.load(path)
    moved = image.affine.copy()
    moved[2, 3] += 1
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), path)
    assert len(fix_geometry(made, "copy")) == 1
    again = Cohort.open(tmp_path / "c")
    assert origin_of(again, again.case("b_2"), "spleen")[0] == "accepted"


def test_a_mask_drawn_into_an_export_is_told_and_not_dropped_in_silence(tmp_path: Path) -> None:
    done = export(cohort(tmp_path / "c"), "totalsegmentator", ExportRequest(tmp_path / "out", "expert"))
    masks = tmp_path / "out" / "b_2" / "segmentations"
    (masks / "vein.nii.gz").write_bytes((masks / "liver.nii.gz").read_bytes())
    report = import_into(done.folders[0], tmp_path / "again")
    assert any("smiler.json says unannotated of vein" in note for note in report.notes)


def test_a_dicom_export_comes_back_with_statuses_and_patients(tmp_path: Path) -> None:
    Slices(ct()).write(tmp_path / "c" / "study")
    late = Slices(ct(seed=2), series="1.2.77")
    late.write(tmp_path / "c" / "study", name=lambda k: f"late{k}")
    first = Path("study") / f"SeriesInstanceUID={Slices(ct()).series}"
    grid = read_header(tmp_path / "c" / first)
    bits = blobs(grid.geometry.shape, 2, seed=1)
    for k, key in enumerate(("liver", "spleen")):
        write_labels(
            tmp_path / "c" / f"{key}.nii.gz",
            ((bits & ~(bits >> 1 & 1) if k == 0 else bits) >> k & 1).astype(np.uint8),
            grid,
        )
    cells = {
        "liver": parse_cell("liver.nii.gz@0:4"),
        "spleen": parse_cell("spleen.nii.gz"),
        "pancreas": parse_cell("absent"),
    }
    made = Cohort(tmp_path / "c", ORGANS, (Case("x-1", "somebody", first.as_posix(), cells),))
    made.save()
    again = back(export(made, "dicom", ExportRequest(tmp_path / "out")), tmp_path / "again")
    assert told(again)["statuses"] == told(made)["statuses"]
    assert told(again)["patients"] == {"x-1": "somebody"}
    assert images(again) == images(made)
    before, after = voxels(made), voxels(again)
    for key in cells:
        assert np.array_equal(before["x-1", key], after["x-1", key]), key


# --- names


def test_bids_labels_of_ids_and_organs_that_look_alike_stay_apart() -> None:
    ids = ["a.b", "a_b", "ax2Eb", "aX2eb", "ax5Fb", "xx5F", "x_", "x78", "xx78", "a-b", "a" * 128, "a" * 127 + "."]
    ids += [".".join("ab" * 40), "_".join("ab" * 40)]
    labels = [bids.subject(name) for name in ids]
    assert all(label.isalnum() and len(label) <= 97 for label in labels)
    assert len({label.lower() for label in labels}) == len(ids)
    assert bids.subject("a.1") == "ax2E1"  # as earlier versions wrote it


def test_two_organs_of_one_camel_are_two_files(tmp_path: Path) -> None:
    organs = OrganSet((Organ("liver_1"), Organ("liver1"), Organ("spleen")))
    save(tmp_path / "c/p.nii.gz", np.zeros(SHAPE, np.int16), "LPS")
    grid = read_header(tmp_path / "c/p.nii.gz")
    for value, key in enumerate(organs.keys, start=1):
        write_labels(tmp_path / f"c/{key}.nii.gz", (boxes() == value).astype(np.uint8), grid)
    cells = {key: parse_cell(f"{key}.nii.gz") for key in organs.keys}
    made = Cohort(tmp_path / "c", organs, (Case("p", "p", "p.nii.gz", cells),))
    made.save()
    export(made, "bids", ExportRequest(tmp_path / "out"))
    import_into(tmp_path / "out", tmp_path / "back")
    back = Cohort.open(tmp_path / "back")
    for value, key in enumerate(organs.keys, start=1):
        assert np.array_equal(voxels(back)["p", key][0] > 0, boxes() == value)
    names = {path.name.lower() for path in (tmp_path / "out/sub-p/ct").glob("*_mask.nii.gz")}
    assert len(names) == 3


@pytest.mark.parametrize("kind", ["totalsegmentator", "bids"])
def test_a_case_called_like_the_table_beside_it(tmp_path: Path, kind: str) -> None:
    save(tmp_path / "c/p.nii.gz", np.zeros(SHAPE, np.int16), "LPS")
    save(tmp_path / "c/map.nii.gz", boxes(), "LPS")
    cells = {"liver": parse_cell("map.nii.gz#1")}
    made = Cohort(tmp_path / "c", ORGANS, (Case("Smiler.json", "p", "p.nii.gz", cells),))
    made.save()
    if kind == "bids":
        assert export(made, kind, ExportRequest(tmp_path / "out")).cases == ("Smiler.json",)
        return
    with pytest.raises(BadInput, match=r"case Smiler\.json: the case's folder would have the name of a file"):
        export(made, kind, ExportRequest(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_dicom_export_claims_no_expert_for_what_nobody_knows(tmp_path: Path) -> None:
    series = Slices(ct()).write(tmp_path / "c" / "study")
    grid = read_header(series)
    name = f"review/masks/{'0' * 64}.nii.gz"
    for path in (name, "drawn.nii.gz", "model.nii.gz"):
        write_labels(tmp_path / "c" / path, (blobs(grid.geometry.shape, 1, seed=1) & 1).astype(np.uint8), grid)
    write_json(tmp_path / "c" / "model.json", {"made_by": "relabel", "parents": {}, "facts": {}})
    others = {"spleen": {"liver", "vein"}, "vein": {"liver", "spleen"}}
    organs = OrganSet((Organ("liver"), *(Organ(key, overlaps=frozenset(row)) for key, row in others.items())))
    cells = {"liver": parse_cell(name), "spleen": parse_cell("drawn.nii.gz"), "vein": parse_cell("auto:model.nii.gz")}
    made = Cohort(tmp_path / "c", organs, (Case("x", "x", "study", cells),))
    made.save()
    export(made, "dicom", ExportRequest(tmp_path / "out", "all"))
    seg = pydicom.dcmread(tmp_path / "out" / "x" / "organs_seg.dcm")
    kinds = {row.TrackingID: row.SegmentAlgorithmType for row in seg.SegmentSequence}
    assert kinds == {"smiler:liver": "AUTOMATIC", "smiler:spleen": "MANUAL", "smiler:vein": "AUTOMATIC"}
    beside = json.loads((tmp_path / "out" / "x" / "organs_seg.json").read_text())["organs"]
    assert beside["liver"]["made_by"] == "unknown"
    (tmp_path / "out" / "smiler.json").unlink()  # as a study of somebody else: what is AUTOMATIC stays a proposal
    import_into(tmp_path / "out", tmp_path / "again")
    (case,) = Cohort.open(tmp_path / "again")
    assert {key: case.cell(key).auto for key in case.cells} == {"liver": True, "spleen": False, "vein": True}
