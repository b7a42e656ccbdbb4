"""Published data sets with a layout of their own: recognised, read with their label numbers, faults named."""

from pathlib import Path

import pytest
from sources import refusal, volume

from smiler.domain.cohort import Cohort
from smiler.formats import FORMATS, ImportOptions, detect
from smiler.formats.importing import import_into
from smiler.formats.layouts import LAYOUTS

FILES = {
    "btcv": ("Training/img/img{n:04d}.nii.gz", "Training/label/label{n:04d}.nii.gz"),
    "amos": ("imagesTr/amos_{n:04d}.nii.gz", "labelsTr/amos_{n:04d}.nii.gz"),
    "flare": ("images/FLARE22_Tr_{n:04d}_0000.nii.gz", "labels/FLARE22_Tr_{n:04d}.nii.gz"),
    "word": ("imagesTr/word_{n:04d}.nii.gz", "labelsTr/word_{n:04d}.nii.gz"),
    "lits": ("Batch 1/volume-{n}.nii", "Batch 1/segmentation-{n}.nii"),
    "kits": ("case_{n:05d}/imaging.nii.gz", "case_{n:05d}/segmentation.nii.gz"),
    "ctorg": ("volume-{n}.nii.gz", "labels-{n}.nii.gz"),
}


def make(name: str, root: Path, numbers: tuple[int, ...] = (1, 2, 10)) -> Path:
    """Cases in which every label of the data set has a voxel."""
    layout = next(layout for layout in LAYOUTS if layout.name == name)
    labels = sorted({label for values in layout.organs.values() for label in values})
    for n in numbers:
        image, mask = (root / text.format(n=n) for text in FILES[name])
        volume(image)
        volume(mask, planes=dict.fromkeys(range(6), 0) | dict(enumerate(labels[:6])))
        if len(labels) > 6:
            spread(mask, labels)
    return root


def spread(path: Path, labels: list[int]) -> None:
    """All labels in one slice."""
    import nibabel as nib
    import numpy as np

    array = np.zeros((4, 5, 6), dtype=np.uint8)
    array.reshape(-1)[: len(labels)] = labels
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 2.0, 1.0])), path)  # type: ignore[no-untyped-call,attr-defined]


def test_every_layout_has_files_here() -> None:
    assert set(FILES) == {layout.name for layout in LAYOUTS}


@pytest.mark.parametrize("name", FILES)
def test_a_layout_is_recognised_and_read_by_organ_name(name: str, tmp_path: Path) -> None:
    source = make(name, tmp_path / "src")
    assert detect(source).name == name
    cases = list(FORMATS[name].read(source, ImportOptions()))
    assert len(cases) == 3
    layout = next(layout for layout in LAYOUTS if layout.name == name)
    for case in cases:
        assert {organ: cell.labels for organ, cell in case.cells.items()} == dict(layout.organs)
        assert case.image.is_file()
        assert not case.empty
    import_into(source, tmp_path / "cohort")
    assert {case.image for case in Cohort.open(tmp_path / "cohort")} == {str(case.image) for case in cases}


@pytest.mark.parametrize("name", FILES)
def test_a_label_without_a_voxel_asks_and_an_undeclared_one_is_refused(name: str, tmp_path: Path) -> None:
    source = make(name, tmp_path / "src", (1,))
    mask = source / FILES[name][1].format(n=1)
    volume(mask, [1])
    assert "absent, or did nobody look?" in refusal(source, tmp_path / "cohort")
    volume(mask, [1, 77])
    assert "undeclared labels" in refusal(source, tmp_path / "cohort")
    mask.write_bytes(mask.read_bytes()[:60])
    assert "truncated" in refusal(source, tmp_path / "cohort") or "bytes" in refusal(source, tmp_path / "cohort")


def test_images_without_labels_and_mr_scans_are_left_out_and_counted(tmp_path: Path) -> None:
    source = make("amos", tmp_path / "src", (1, 507))
    volume(source / "imagesTr" / "amos_0003.nii.gz")
    (case,) = FORMATS["amos"].read(source, ImportOptions())
    assert case.id == "amos_0001"
    assert case.notes == ("1 images that are no CT left out", "1 images without a label map left out")


def test_tumours_lie_in_their_organ(tmp_path: Path) -> None:
    import_into(make("lits", tmp_path / "lits", (4,)), tmp_path / "cohort")
    import_into(make("kits", tmp_path / "kits", (4,)), tmp_path / "cohort")
    organs = Cohort.open(tmp_path / "cohort").organs
    assert organs["liver_tumor"].part_of == "liver"
    assert organs["kidney_tumor"].part_of == "kidney"
    assert "#1+2" in (tmp_path / "cohort" / "cases.csv").read_text()


def test_two_sources_with_the_same_ids_need_a_prefix(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    import_into(make("lits", tmp_path / "lits", (0, 1)), cohort)
    other = make("ctorg", tmp_path / "ctorg", (0, 1))
    assert "the cohort has these cases already; got 2: 0, 1" in refusal(other, cohort)
    import_into(other, cohort, ImportOptions(prefix="ctorg_"))
    cases = {case.id: case.patient for case in Cohort.open(cohort)}
    assert cases == {"0": "0", "1": "1", "ctorg_0": "ctorg_0", "ctorg_1": "ctorg_1"}
