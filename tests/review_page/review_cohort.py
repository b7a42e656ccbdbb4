"""Small synthetic CTs for the browser tests, stored as RAS, LPS or LAS, and what the server stored of them."""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from smiler.domain.cohort import Cohort

SHAPE = (40, 36, 20)
SPACING_MM = (2.0, 2.0, 3.0)
BODY_HU, LIVER_HU, SPLEEN_HU = 20, 80, 140
ORGANS = ("liver", "spleen", "kidney")

Voxel = tuple[int, int, int]


def ball(centre: Voxel, radius: float) -> NDArray[np.uint8]:
    """A ball of voxels on the RAS+ grid, radius in voxels of the first axis."""
    i, j, k = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    squared = (i - centre[0]) ** 2 + (j - centre[1]) ** 2 + (1.5 * (k - centre[2])) ** 2
    return (squared <= radius**2).astype(np.uint8)


LIVER, SPLEEN = ball((26, 20, 10), 6), ball((10, 20, 10), 4)


def ct() -> NDArray[np.int16]:
    """HU without noise, so that a threshold says exactly which voxels it means."""
    hu = np.full(SHAPE, BODY_HU, np.int16)
    hu[LIVER > 0], hu[SPLEEN > 0] = LIVER_HU, SPLEEN_HU
    return hu


def write(voxels: NDArray[np.generic], orientation: str, path: Path) -> None:
    """Write RAS+ voxels as a NIfTI file of another orientation, not centred at the origin."""
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = (-31.0, 17.0, 5.0)
    turn = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(tuple(orientation)))
    image = nib.Nifti1Image(voxels, affine).as_reoriented(turn)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def make(folder: Path, cases: dict[str, str]) -> Path:
    """A cohort of cases (name: orientation) with a proposed liver and spleen, and nothing for the kidney."""
    rows = ["case,patient,image,liver,spleen,kidney"]
    for case, orientation in cases.items():
        write(ct(), orientation, folder / f"images/{case}.nii.gz")
        write(LIVER, orientation, folder / f"proposals/{case}_liver.nii.gz")
        write(SPLEEN, orientation, folder / f"proposals/{case}_spleen.nii.gz")
        cells = (f"auto:proposals/{case}_{organ}.nii.gz" for organ in ("liver", "spleen"))
        rows.append(f"{case},{case},images/{case}.nii.gz,{','.join(cells)},")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    (folder / "cohort.toml").write_text("format = 1\n" + "".join(f'[[organ]]\nkey = "{organ}"\n' for organ in ORGANS))
    return folder


@dataclass(frozen=True)
class Stored:
    """What the cohort says of one organ: its cell, and the mask's voxels as they lie in the file."""

    cell: str
    path: Path

    @classmethod
    def of(cls, folder: Path, case: str, organ: str) -> "Stored":
        cell = Cohort.open(folder).case(case).cell(organ)
        return cls(str(cell), folder / cell.path)

    def native(self) -> NDArray[np.uint8]:
        return np.asarray(nib.load(self.path).dataobj).astype(np.uint8)

    def affine(self) -> NDArray[np.float64]:
        return nib.load(self.path).affine


def on_native_grid(mask: NDArray[np.uint8], image: Path) -> NDArray[np.uint8]:
    """A RAS+ mask voxel by voxel on an image's own grid, by millimetres alone: independent of every reorientation."""
    native = nib.load(image)
    ras = nib.as_closest_canonical(native)
    to_native = np.linalg.inv(native.affine) @ ras.affine
    expected = np.zeros(native.shape, np.uint8)
    for voxel in np.argwhere(mask):
        i, j, k = np.rint(to_native @ [*voxel, 1])[:3].astype(int)
        expected[i, j, k] = 1
    return expected
