"""A case's masks: read once, onto the CT's grid, with every fault of the case told at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff
from numpy.typing import NDArray

from smiler.domain.cells import parse_cell
from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput, Faults
from smiler.domain.evidence import Code, Fields, Relations, derive
from smiler.domain.geometry import Geometry
from smiler.domain.organs import Organ, OrganSet
from smiler.formats import labels as labels_module
from smiler.formats import volumes
from smiler.formats.labels import LabelOptions, Labels, read_case_labels
from smiler.formats.nifti import ReadOptions, grid_of, read_ct, read_labels, write_ct, write_labels

SHAPE = (6, 5, 8)
GEOMETRY = grid_of(Geometry.canonical(SHAPE, (2.0, 0.7, 0.8))).geometry
ORGANS = OrganSet((Organ("liver"), Organ("tumour", part_of="liver"), Organ("spleen"), Organ("pancreas")))
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def boxes() -> NDArray[np.uint8]:
    """Liver 1 (z, y, x) with a tumour 2 inside, spleen 3, something else 9."""
    volume = np.zeros(SHAPE, np.uint8)
    volume[1:5, 1:4, 1:4] = 1
    volume[2, 2, 2] = 2
    volume[2:4, 1:3, 6] = 3
    volume[0, 0, 0] = 9
    return volume


def cohort(folder: Path, cells: Mapping[str, str], organs: OrganSet = ORGANS) -> Cohort:
    """One case `c1` whose cells are written as in the ledger; its label map is `map.nii.gz`."""
    write_ct(folder / "ct.nii.gz", np.zeros(SHAPE, np.int16), GEOMETRY)
    if not (folder / "map.nii.gz").exists():
        write_labels(folder / "map.nii.gz", boxes(), grid_of(GEOMETRY))
    case = Case("c1", "p1", "ct.nii.gz", {key: parse_cell(text) for key, text in cells.items()})
    return Cohort(folder, organs, (case,))


def read(folder: Path, cells: Mapping[str, str], **options: Any) -> Labels:
    of = cohort(folder, cells)
    return read_case_labels(of, of.cases[0], GEOMETRY, LabelOptions(**options))


def mask(folder: Path, name: str, where: Any, value: int = 1) -> None:
    array = np.zeros(SHAPE, np.uint8)
    array[where] = value
    write_labels(folder / name, array, grid_of(GEOMETRY))


def bit(array: NDArray[np.int32], organ: str) -> NDArray[np.int32]:
    return array >> ORGANS.index(organ) & 1


def test_cells_become_bits(tmp_path: Path) -> None:
    labels = read(
        tmp_path,
        {"liver": "map.nii.gz#1+2", "tumour": "map.nii.gz#2", "spleen": "absent", "pancreas": "auto:map.nii.gz#3"},
    )
    assert (labels.drawn.dtype, labels.proposed.dtype, labels.known.dtype) == (np.int32,) * 3
    assert np.array_equal(bit(labels.drawn, "liver"), np.isin(boxes(), (1, 2)))
    assert np.array_equal(bit(labels.drawn, "tumour"), boxes() == 2)
    assert np.array_equal(labels.proposed, np.where(boxes() == 3, 8, 0))
    assert labels.known.tolist() == [0b0111] * 6
    assert labels.notes == ()


def test_an_expert_counts_only_on_the_annotated_slices(tmp_path: Path) -> None:
    labels = read(tmp_path, {"liver": "map.nii.gz#1@2:4", "spleen": "map.nii.gz#3"})
    assert bit(labels.known, "liver").tolist() == [0, 0, 1, 1, 0, 0]
    assert bit(labels.known, "spleen").all()
    inside = (boxes() == 1) & (np.arange(6) // 2 == 1)[:, None, None]
    assert np.array_equal(bit(labels.drawn, "liver"), inside)
    assert labels.notes == ("case c1, organ liver, file map.nii.gz: 18 voxels outside the annotated slices ignored",)


def test_a_case_without_masks_is_all_unknown(tmp_path: Path) -> None:
    labels = read(tmp_path, {})
    assert [np.count_nonzero(bits) for bits in (labels.drawn, labels.proposed, labels.known)] == [0, 0, 0]


def test_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []

    def counted(path: Path, options: ReadOptions, geometry: Geometry) -> Any:
        seen.append(path)
        return volumes.read_labels(path, options, geometry)

    monkeypatch.setattr(labels_module, "read_labels", counted)
    read(tmp_path, {"liver": "map.nii.gz#1", "tumour": "map.nii.gz#2", "spleen": "auto:map.nii.gz#3"})
    assert seen == [tmp_path / "map.nii.gz"]


def test_where_the_ignored_label_is_nobody_looked(tmp_path: Path) -> None:
    labels = read(tmp_path, {"liver": "map.nii.gz#1+2~3", "pancreas": "absent"})
    assert np.array_equal(labels.drawn < 0, boxes() == 3)
    assert np.array_equal(labels.drawn & 1, np.isin(boxes(), (1, 2)))
    fields = Fields(labels.drawn, np.broadcast_to(labels.known[:, None, None], SHAPE), np.zeros(SHAPE, np.int32))
    codes = derive(fields, Relations.of(ORGANS), np)
    liver, pancreas = codes[0], codes[3]
    assert (liver[boxes() == 3] == Code.UNKNOWN).all()
    assert (pancreas[boxes() == 3] == Code.UNKNOWN).all()
    assert (liver[boxes() == 0] == Code.NEGATIVE).all()
    assert (pancreas[boxes() == 1] == Code.NEGATIVE).all()
    assert labels.unclaimed == {"map.nii.gz": (9,)}


def test_thirty_one_organs_fit(tmp_path: Path) -> None:
    organs = OrganSet.of(*(f"organ{k}" for k in range(31)))
    of = cohort(tmp_path, {"organ0": "map.nii.gz#1", "organ30": "map.nii.gz#3"}, organs)
    labels = read_case_labels(of, of.cases[0], GEOMETRY)
    assert np.array_equal(labels.drawn >> 30 & 1, boxes() == 3)
    assert np.array_equal(labels.drawn & 1, boxes() == 1)
    assert (labels.known >> 30 & 1).all()


def test_the_bits_feed_the_rule_of_evidence(tmp_path: Path) -> None:
    labels = read(tmp_path, {"liver": "map.nii.gz#1+2", "spleen": "absent"})
    fields = Fields(labels.drawn, np.broadcast_to(labels.known[:, None, None], SHAPE), np.zeros(SHAPE, np.int32))
    codes = derive(fields, Relations.of(ORGANS), np)
    liver = np.isin(boxes(), (1, 2))
    assert np.array_equal(codes[0], np.where(liver, Code.POSITIVE, Code.NEGATIVE))
    assert np.array_equal(codes[3], np.where(liver, Code.EXCLUDED, Code.UNKNOWN))


# 1 and 7: files and values


def test_every_fault_of_a_case_is_told_at_once(tmp_path: Path) -> None:
    mask(tmp_path, "cut.nii.gz", np.s_[1:3])
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "cut.nii.gz").read_bytes()[:-20])
    floats = np.zeros(SHAPE[::-1], np.float32)
    floats[1, 1, 1] = 2.9999
    nib.save(nib.Nifti1Image(floats, grid_of(GEOMETRY).affine), tmp_path / "floats.nii.gz")
    cells = {"liver": "cut.nii.gz", "tumour": "map.nii.gz#7", "spleen": "floats.nii.gz", "pancreas": "gone.nii.gz"}
    with pytest.raises(Faults) as caught:
        read(tmp_path, cells)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "case c1, organ liver, file cut.nii.gz: the file is truncated" in lines[0]
    assert (
        "organ tumour, file map.nii.gz: the organ is annotated and its mask is empty; got no voxel of label 7"
        in lines[1]
    )
    assert "organ spleen, file floats.nii.gz: a label is not a whole number; got 2.9999" in lines[2]
    assert "organ pancreas, file gone.nii.gz: the file does not exist" in lines[3]


def test_255_counts_as_the_mask_with_a_note(tmp_path: Path) -> None:
    mask(tmp_path, "liver.nii.gz", np.s_[1:3], value=255)
    labels = read(tmp_path, {"liver": "liver.nii.gz"})
    assert np.count_nonzero(labels.drawn == 1) == 2 * 5 * 8
    assert labels.notes == ("case c1, organ liver, file liver.nii.gz: voxels of value 255 count as liver",)


def test_a_label_map_taken_as_one_mask_is_noted(tmp_path: Path) -> None:
    assert "voxels of value 1, 2, 3, 9 count as liver" in read(tmp_path, {"liver": "map.nii.gz"}).notes[0]


def test_values_that_no_cell_claims_are_listed(tmp_path: Path) -> None:
    mask(tmp_path, "spleen.nii.gz", 0, value=255)
    for cells, expected in (
        ({"liver": "map.nii.gz#1+2", "spleen": "spleen.nii.gz"}, {"map.nii.gz": (3, 9)}),
        ({"liver": "map.nii.gz#1", "spleen": "map.nii.gz#3", "tumour": "auto:map.nii.gz#2+9"}, {}),
        ({"liver": "map.nii.gz#1", "spleen": "map.nii.gz"}, {}),
        ({"liver": "absent"}, {}),
    ):
        of = cohort(tmp_path, cells)
        options = LabelOptions(overlap="first")
        assert read_case_labels(of, of.cases[0], GEOMETRY, options).unclaimed == expected


# 8 and 9: geometry


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (np.diag([-1.0, 1, 1, 1]), "mask axes RPS, CT axes LPS, 5.6 mm apart"),
        (np.eye(4) + 1.0 * np.outer([1, 0, 0, 0], [0, 0, 0, 1]), "mask axes LPS, CT axes LPS, 1 mm apart"),
        (np.eye(4) + 0.002 * np.outer([0, 0, 1, 0], [0, 0, 0, 1]), "0.002 mm apart"),
    ],
)
def test_a_mask_on_another_grid_is_refused(tmp_path: Path, change: NDArray[np.float64], words: str) -> None:
    own = boxes().transpose(2, 1, 0)
    nib.save(nib.Nifti1Image(own, change @ np.array(grid_of(GEOMETRY).affine)), tmp_path / "other.nii.gz")
    with pytest.raises(BadInput) as caught:
        read(tmp_path, {"liver": "other.nii.gz"})
    assert "case c1, organ liver, file other.nii.gz: the mask does not lie on the CT's grid" in str(caught.value)
    assert words in str(caught.value)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(boxes()[1:], np.eye(4)), tmp_path / "other.nii.gz")
    with pytest.raises(BadInput, match="sizes differ"):
        read(tmp_path, {"liver": "other.nii.gz"})


def test_a_distance_below_a_micrometre_is_accepted(tmp_path: Path) -> None:
    affine = np.array(grid_of(GEOMETRY).affine)
    affine[0, 3] += 5e-4
    nib.save(nib.Nifti1Image(boxes().transpose(2, 1, 0), affine), tmp_path / "other.nii.gz")
    read(tmp_path, {"liver": "other.nii.gz#1"})


@pytest.mark.parametrize("axes", [(2, 0, 1), (1, 0, 2), (0, 1, 2)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)])
def test_permuted_axes_give_the_identical_result(tmp_path: Path, axes: Any, signs: Any) -> None:
    expected = read(tmp_path, {"liver": "map.nii.gz#1", "spleen": "map.nii.gz#3"})
    orientation = np.array([axes, signs]).T
    own = boxes().transpose(2, 1, 0)
    affine = np.array(grid_of(GEOMETRY).affine) @ inv_ornt_aff(orientation, own.shape)
    nib.save(nib.Nifti1Image(apply_orientation(own, orientation), affine), tmp_path / "turned.nii.gz")
    labels = read(tmp_path, {"liver": "turned.nii.gz#1", "spleen": "turned.nii.gz#3"})
    assert np.array_equal(labels.drawn, expected.drawn)
    assert np.array_equal(labels.known, expected.known)
    assert labels.notes == ()


# 10: empty masks


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("empty.nii.gz", "no voxel;"),
        ("map.nii.gz#7", "no voxel of label 7;"),
        ("map.nii.gz#3@0:2", "no voxel of label 3 on the annotated slices, 4 on others;"),
    ],
)
def test_an_empty_annotation_must_be_absent(tmp_path: Path, cell: str, words: str) -> None:
    mask(tmp_path, "empty.nii.gz", np.s_[:0])
    with pytest.raises(BadInput) as caught:
        read(tmp_path, {"spleen": cell})
    text = str(caught.value)
    assert text.startswith(
        f"case c1, organ spleen, file {cell.split('#')[0]}: the organ is annotated and its mask is empty"
    )
    assert words in text
    assert "write absent" in text


def test_an_empty_proposal_is_noted(tmp_path: Path) -> None:
    labels = read(tmp_path, {"spleen": "auto:map.nii.gz#7"})
    assert labels.notes == ("case c1, organ spleen, file map.nii.gz: the proposal has no voxel",)


def test_a_slice_range_beyond_the_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"organ liver.*ends beyond the volume; got 2:7, the volume has 6 slices"):
        read(tmp_path, {"liver": "map.nii.gz#1@2:7"})


# 11: organs that exclude each other


def overlapping(folder: Path) -> dict[str, str]:
    mask(folder, "liver.nii.gz", np.s_[1:4])
    mask(folder, "spleen.nii.gz", np.s_[3:5])
    mask(folder, "tumour.nii.gz", np.s_[2:4, :2])
    return {"liver": "liver.nii.gz", "spleen": "spleen.nii.gz", "tumour": "tumour.nii.gz"}


def test_exclusive_organs_that_share_voxels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Faults) as caught:
        read(tmp_path, overlapping(tmp_path))
    first, second = str(caught.value).splitlines()
    assert first.startswith("case c1, organ liver, spleen, file liver.nii.gz and spleen.nii.gz: two organs")
    assert "got 40 voxels" in first
    assert "overlap = first" in first
    assert "organ tumour, spleen" in second
    assert "got 16 voxels" in second


def test_the_organ_declared_first_keeps_shared_voxels(tmp_path: Path) -> None:
    labels = read(tmp_path, overlapping(tmp_path), overlap="first")
    assert [int(np.count_nonzero(bit(labels.drawn, key))) for key in ORGANS.keys] == [120, 32, 40, 0]
    assert not (bit(labels.drawn, "liver") & bit(labels.drawn, "spleen")).any()
    assert (bit(labels.drawn, "tumour") & bit(labels.drawn, "liver")).sum() == 32
    assert labels.notes[0] == "case c1: 40 voxels of both liver and spleen kept by the one declared first"


def test_an_organ_that_loses_every_voxel_is_refused(tmp_path: Path) -> None:
    mask(tmp_path, "spleen.nii.gz", np.s_[2, 2, 2])
    with pytest.raises(
        BadInput, match=r"organ spleen, file spleen\.nii\.gz: other organs take every voxel of it; got 1"
    ):
        read(tmp_path, {"liver": "map.nii.gz#1+2", "spleen": "spleen.nii.gz"}, overlap="first")


def test_overlap_outside_the_known_slices_is_none(tmp_path: Path) -> None:
    cells = overlapping(tmp_path) | {"spleen": "spleen.nii.gz@4:6"}
    assert np.count_nonzero(bit(read(tmp_path, cells).drawn, "spleen")) == 40


def test_proposals_may_overlap_what_is_drawn(tmp_path: Path) -> None:
    labels = read(tmp_path, {"liver": "map.nii.gz#1", "spleen": "auto:map.nii.gz#1"})
    assert np.array_equal(bit(labels.drawn, "liver"), bit(labels.proposed, "spleen"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data beside the repository")
def test_a_real_label_map_becomes_bits() -> None:
    organs = OrganSet.of("spleen", "liver", "stomach", "pancreas", "aorta")
    name = "example_ct_3mm_seg_v1_104classes.nii.gz"
    cells = {"spleen": f"{name}#1", "liver": f"{name}#5", "pancreas": f"auto:{name}#10", "aorta": "absent"}
    case = Case("ts", "ts", "example_ct_3mm.nii.gz", {key: parse_cell(text) for key, text in cells.items()})
    of = Cohort(SHARED / "totalsegmentator_example", organs, (case,))
    ct = read_ct(of.image_path(case))
    labels = read_case_labels(of, case, ct.geometry)
    array = read_labels(of.folder / name)[0]
    assert np.array_equal(labels.drawn, np.where(array == 1, 1, 0) + np.where(array == 5, 2, 0))
    assert np.array_equal(labels.proposed, np.where(array == 10, 8, 0))
    assert labels.known.tolist() == [0b10011] * len(array)
    assert {6, 7} <= set(labels.unclaimed[name])
