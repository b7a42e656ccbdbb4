"""Real CT as it comes: 3D-IRCADb in its zip files, DICOM with JPEG 2000, label maps, and a Decathlon task in one."""

import os
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from sources import ABDOMINAL

from smiler.audit.audit import audit_cohort
from smiler.domain.cells import Status
from smiler.domain.cohort import Cohort
from smiler.formats import ImportOptions
from smiler.formats.dicom.client import write_masks
from smiler.formats.dicom.segments import segments_of
from smiler.formats.importing import import_into
from smiler.formats.labels import read_case_labels
from smiler.formats.numbering import label_table
from smiler.formats.volumes import read_header, read_labels

DATA = Path(os.environ.get("SMILER_REAL_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
pytestmark = pytest.mark.skipif(not (DATA / "3dircadb1_17").is_dir(), reason="no real CT: set SMILER_REAL_DATA")
EXAMPLE = DATA / "totalsegmentator_example"
MAPS = {
    "example_ct_3mm.nii.gz": ("example_ct_3mm_seg_v1_104classes.nii.gz", "totalsegmentator-v1"),
    "dicom": ("dicom_seg_v2_117classes.nii.gz", "totalsegmentator-v2"),
}


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("four") / "cohort"
    import_into(DATA / "3dircadb1_17", folder)
    import_into(DATA / "msd_task09_spleen", folder)
    for image, (labels, table) in MAPS.items():
        said = {"images": Path(image), "labelmaps": Path(labels), "labels": label_table(table)}
        chosen = ImportOptions(absent_means="unannotated", organs=ABDOMINAL, taken_as="expert", **said)
        import_into(EXAMPLE, folder, chosen, "folder")
    return Cohort.open(folder)


def test_four_volumes_with_four_label_sets_are_one_cohort_without_a_fault(four: Cohort) -> None:
    assert [case.id for case in four] == ["3dircadb1_17", "spleen_8", "example_ct_3mm", "dicom"]
    audit = audit_cohort(four)
    assert audit.ok, audit.faults


def test_patient_17_has_what_experts_drew_and_nothing_else(four: Cohort) -> None:
    case = four.case("3dircadb1_17")
    drawn = {key for key in four.organs.keys if case.status(key) is Status.ANNOTATED}
    assert drawn == {"liver", "liver_tumor", "portal_vein", "venous_system", "artery"}
    assert four.organs["liver_tumor"].part_of == "liver"
    assert all(case.status(key) is Status.UNANNOTATED for key in ("pancreas", "stomach", "spleen"))
    geometry = read_header(four.image_path(case)).geometry
    labels = read_case_labels(four, case, geometry)
    liver = labels.drawn >> four.organs.index("liver") & 1
    assert 1000 < liver.sum() * geometry.voxel_ml < 2500
    centre = geometry.matrix @ [*np.argwhere(liver).mean(axis=0), 1]
    middle = geometry.matrix @ [*(np.array(geometry.shape) - 1) / 2, 1]
    assert 20 < middle[0] - centre[0] < 120  # mm to the patient's right, where x falls
    tumour = labels.drawn >> four.organs.index("liver_tumor") & 1
    assert 20 < tumour.sum() * geometry.voxel_ml < 400


def test_masks_on_the_jpeg_2000_series_come_back_from_a_segmentation(four: Cohort, tmp_path: Path) -> None:
    case, out = four.case("dicom"), tmp_path / "organs.dcm"
    grid = read_header(four.image_path(case))
    labels = read_case_labels(four, case, grid.geometry)
    keys = [key for key in four.organs.keys if case.status(key) is Status.ANNOTATED]
    bits = np.zeros_like(labels.drawn)
    for i, key in enumerate(keys):
        bits |= (labels.drawn >> four.organs.index(key) & 1) << np.int32(i)
    write_masks(out, four.image_path(case), bits, grid, segments_of(four.organs, keys, "MANUAL"), "dicom-seg")
    volume = hd.seg.segread(out).get_volume(allow_missing_positions=True)
    back = read_labels(out, geometry=grid.geometry)
    for i in range(len(keys)):
        assert int(volume.array[..., i].sum()) == int((bits >> i & 1).sum()) > 0, keys[i]
        assert np.array_equal(back.mask([i + 1]), bits >> i & 1), keys[i]
