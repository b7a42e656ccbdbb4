"""Small sources in every layout, made on disk for the tests of the importers."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from smiler.domain.errors import BadInput
from smiler.formats import ImportOptions
from smiler.formats.importing import import_into

ABSENT = ImportOptions(absent_means="absent")
EXPERT = ImportOptions(taken_as="expert")
"""What must be said of layouts that are a program's, too."""
ABDOMINAL = (
    *("spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "pancreas", "adrenal_right"),
    *("adrenal_left", "aorta", "inferior_vena_cava", "portal_vein_and_splenic_vein"),
)


def volume(path: Path, values: Sequence[int] = (), planes: Mapping[int, int] | None = None) -> Path:
    """A 6-slice NIfTI: voxel (0, 0, 0), (0, 0, 1), ... hold `values`; slice z is filled with planes[z]."""
    array = np.zeros((4, 5, 6), dtype=np.uint8)
    array[: len(values), 1, 2] = values
    for z, value in (planes or {}).items():
        array[:, :, z] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    image: Any = nib.Nifti1Image  # nibabel has no types
    image = image(array, np.diag([-1.0, -1.0, 2.0, 1.0]))
    nib.save(image, path)
    return path


def files_of(source: Path, case: str) -> list[Path]:
    return [path for path in source.rglob("*.nii.gz") if case in str(path.relative_to(source))]


def nnunet(root: Path, cases: Mapping[str, Sequence[int]], labels: Mapping[str, Any], **more: Any) -> Path:
    for name, values in cases.items():
        volume(root / "imagesTr" / f"{name}_0000.nii.gz")
        volume(root / "labelsTr" / f"{name}.nii.gz", values)
    root.mkdir(exist_ok=True)
    manifest = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"} | more
    (root / "dataset.json").write_text(json.dumps(manifest))
    return root


def msd(root: Path, cases: Mapping[str, Sequence[int]], labels: Mapping[str, str], missing: Sequence[str] = ()) -> Path:
    for name, values in cases.items():
        volume(root / "imagesTr" / f"{name}.nii.gz")
        volume(root / "labelsTr" / f"{name}.nii.gz", values)
    root.mkdir(exist_ok=True)
    names = [*cases, *missing]
    rows = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    manifest = {"modality": {"0": "CT"}, "labels": {"0": "background", **labels}, "training": rows}
    (root / "dataset.json").write_text(json.dumps(manifest))
    return root


def totalsegmentator(root: Path, cases: Mapping[str, Mapping[str, Sequence[int]]]) -> Path:
    for name, masks in cases.items():
        volume(root / name / "ct.nii.gz")
        (root / name / "segmentations").mkdir()
        for organ, values in masks.items():
            volume(root / name / "segmentations" / f"{organ}.nii.gz", values)
    return root


def plain(root: Path, cases: Sequence[str]) -> Path:
    for name in cases:
        volume(root / "images" / f"{name}_0000.nii.gz")
        volume(root / "masks" / "Liver" / f"{name}.nii.gz", [1])
    return root


MAKE: Mapping[str, Callable[[Path, Sequence[str]], Path]] = {
    "nnunet": lambda root, ids: nnunet(root, {i: [1] for i in ids}, {"background": 0, "Liver": 1}),
    "msd": lambda root, ids: msd(root, {i: [1] for i in ids}, {"1": "Liver"}),
    "totalsegmentator": lambda root, ids: totalsegmentator(root, {i: {"Liver": [1]} for i in ids}),
    "folder": plain,
}


def ledger(cohort: Path, source: Path) -> str:
    """cases.csv with the source's folder as SRC."""
    return (cohort / "cases.csv").read_text().replace(str(source), "SRC")


def refusal(source: Path, cohort: Path, options: ImportOptions | None = None, fmt: str | None = None) -> str:
    """The text of the refusal; the cohort's folder is as it was."""
    before = {p: p.read_bytes() for p in cohort.rglob("*") if p.is_file()}
    with pytest.raises(BadInput) as caught:
        import_into(source, cohort, options, fmt)
    assert cohort.exists() == bool(before)
    assert {p: p.read_bytes() for p in cohort.rglob("*") if p.is_file()} == before
    return str(caught.value).replace(str(source), "SRC")
