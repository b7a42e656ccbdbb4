"""Masks drawn on a DICOM series come back as DICOM-SEG and RTSTRUCT with exactly the same voxels."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from dicom_files import ORIENTATIONS, Slices, blobs, ct, enhanced
from matplotlib.path import Path as Path_
from numpy.typing import NDArray

from smiler.domain.cells import Status
from smiler.domain.cohort import Cohort
from smiler.domain.errors import BadInput
from smiler.domain.organs import OrganSet
from smiler.formats.anatomy import organ_of
from smiler.formats.dicom.client import KINDS, write_masks
from smiler.formats.dicom.segments import Drawn, segments_of
from smiler.formats.dicom.structures import enclosed
from smiler.formats.importing import import_into
from smiler.formats.volumes import read_header, read_labels

KEYS = ("liver", "liver_tumor", "kidney_left", "spleen")
ORGANS = OrganSet(tuple(organ_of(key, KEYS) for key in KEYS))


def written(
    tmp_path: Path, made: Slices, bits: NDArray[np.int32], kind: str, drawn: Drawn = "MANUAL"
) -> tuple[Path, Path]:
    """The series' folder and the masks' file; bits are canonical."""
    series = made.write(tmp_path / "ct")
    out = tmp_path / "masks" / "out.dcm"
    write_masks(out, series, bits, read_header(series), segments_of(ORGANS, KEYS, drawn), kind)
    return series, out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_voxels_come_back_exactly(tmp_path: Path, kind: str, name: str) -> None:
    made = Slices(ct(), *ORIENTATIONS[name])
    geometry = read_header(made.write(tmp_path / "ct")).geometry
    bits = blobs(geometry.shape, 3, seed=len(name))  # the spleen has no voxel
    _, out = written(tmp_path, made, bits, kind)
    back = read_labels(out, geometry=geometry)
    for i in range(4):
        assert np.array_equal(back.mask([i + 1]), bits >> i & 1), KEYS[i]


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_highdicom_reads_the_same_voxels_on_the_series(tmp_path: Path, name: str) -> None:
    made = Slices(ct(), *ORIENTATIONS[name])
    grid = read_header(made.write(tmp_path / "ct"))
    bits = blobs(grid.geometry.shape, 3, seed=3)
    series, out = written(tmp_path, made, bits, "dicom-seg")
    volume = hd.get_volume_from_series([pydicom.dcmread(file) for file in sorted(series.iterdir())])
    seg = hd.seg.segread(out)
    read = seg.get_volume(segment_numbers=[1, 2, 3], allow_missing_positions=True).match_geometry(volume.get_geometry())
    own = grid.own(bits)  # columns, rows, slices from the first along the normal
    there = volume.get_affine("LPS") @ [0, 0, 0, 1]
    flipped = not np.allclose(there[:3], made.origin, atol=1e-3)
    for i in range(3):
        expected = (own >> i & 1).transpose(2, 1, 0)[:: -1 if flipped else 1]
        assert np.array_equal(read.array[..., i], expected)


def test_codes_sides_and_absence_are_written(tmp_path: Path) -> None:
    geometry = read_header(Slices(ct()).write(tmp_path / "ct")).geometry
    _, out = written(tmp_path, Slices(ct()), blobs(geometry.shape, 3), "dicom-seg", "AUTOMATIC")
    seg = pydicom.dcmread(out)
    rows = seg.SegmentSequence
    assert [row.SegmentLabel for row in rows] == ["Liver", "Liver tumour", "Left kidney", "Spleen"]
    codes = [row.SegmentedPropertyTypeCodeSequence[0].CodeValue for row in rows]
    assert codes == ["10200004", "108369006", "64033007", "78961009"]
    side = rows[2].SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert (side.CodeValue, side.CodeMeaning) == ("7771000", "Left")
    assert rows[1].AnatomicRegionSequence[0].CodeValue == "10200004"
    assert {row.SegmentAlgorithmType for row in rows} == {"AUTOMATIC"}
    assert seg.SegmentationType == "BINARY"
    drawn = {
        int(f.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for f in seg.PerFrameFunctionalGroupsSequence
    }
    assert drawn == {1, 2, 3}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_drawn_at_all_comes_back_as_nothing(tmp_path: Path, kind: str) -> None:
    geometry = read_header(Slices(ct()).write(tmp_path / "ct")).geometry
    _, out = written(tmp_path, Slices(ct()), np.zeros(geometry.shape, dtype=np.int32), kind)
    assert not read_labels(out, geometry=geometry).mask([]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_one_voxel_on_one_slice_comes_back(tmp_path: Path, kind: str) -> None:
    geometry = read_header(Slices(ct()).write(tmp_path / "ct")).geometry
    bits = np.zeros(geometry.shape, dtype=np.int32)
    bits[4, 3, 5] = 1
    _, out = written(tmp_path, Slices(ct()), bits, kind)
    assert np.array_equal(read_labels(out, geometry=geometry).mask([1]), bits)


@pytest.mark.parametrize("kind", KINDS)
def test_a_segmentation_of_another_series_is_refused(tmp_path: Path, kind: str) -> None:
    geometry = read_header(Slices(ct()).write(tmp_path / "ct")).geometry
    _, out = written(tmp_path, Slices(ct()), blobs(geometry.shape, 3), kind)
    other = read_header(Slices(ct(), origin=(-20.3, -30.0, 41.0)).write(tmp_path / "other")).geometry
    with pytest.raises(BadInput, match=r"does not lie on the CT's grid|between the CT's slices|beyond"):
        read_labels(out, geometry=other)


def test_a_polygon_encloses_the_centres_that_a_point_by_point_test_says() -> None:
    rng = np.random.default_rng(4)
    for _ in range(60):
        points = rng.uniform(-0.9, 11.9, (int(rng.integers(3, 9)), 2))
        inside = Path_(points).contains_points([(y, x) for y in range(11) for x in range(12)]).reshape(11, 12)
        if not crosses_itself(points):
            assert np.array_equal(enclosed(points, (11, 12)), inside)


def crosses_itself(points: NDArray[np.float64]) -> bool:
    """Then even-odd and winding rules differ."""

    def side(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> bool:
        return bool((b[0] - a[0]) * (c[1] - a[1]) > (b[1] - a[1]) * (c[0] - a[0]))

    edges = list(zip(points, np.roll(points, -1, axis=0), strict=True))
    for i, (a, b) in enumerate(edges):
        for j, (c, d) in enumerate(edges):
            near = j in (i, (i + 1) % len(edges), (i - 1) % len(edges))
            if not near and side(a, c, d) != side(b, c, d) and side(a, b, c) != side(a, b, d):
                return True
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_masks_on_an_enhanced_object_lie_on_their_slices_whatever_its_frames_order(tmp_path: Path, kind: str) -> None:
    series = enhanced(Slices(ct()), tmp_path / "e", [3, 0, 6, 1, 5, 2, 4])
    grid = read_header(series)
    bits = blobs(grid.geometry.shape, 3, seed=2)
    write_masks(tmp_path / "o.dcm", series, bits, grid, segments_of(ORGANS, KEYS, "MANUAL"), kind)
    back = read_labels(tmp_path / "o.dcm", geometry=grid.geometry)
    for i in range(3):
        assert np.array_equal(back.mask([i + 1]), bits >> i & 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [("liver",), ("liver", "spleen")])
def test_one_segment_and_segments_that_do_not_overlap(tmp_path: Path, kind: str, keys: tuple[str, ...]) -> None:
    series = Slices(ct()).write(tmp_path / "ct")
    grid = read_header(series)
    bits = np.zeros(grid.geometry.shape, dtype=np.int32)
    bits[1:4, 2:6, 3:7] = 1
    if len(keys) > 1:
        bits[4, 2:6, 3:7] = 2
    write_masks(tmp_path / "ct" / "o.dcm", series, bits, grid, segments_of(ORGANS, keys, "MANUAL"), kind)
    back = read_labels(tmp_path / "ct" / "o.dcm", geometry=grid.geometry)
    for i in range(len(keys)):
        assert np.array_equal(back.mask([i + 1]), bits >> i & 1)
    import_into(tmp_path / "ct", tmp_path / "cohort")
    (case,) = Cohort.open(tmp_path / "cohort")
    assert all(case.cell(key).status is Status.ANNOTATED for key in keys)
