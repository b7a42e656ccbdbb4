"""The page's order of voxels and the canonical one: RAS+ (i, j, k) to the right, the front and the head."""

from typing import Any, TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from smiler.domain.geometry import Geometry

T = TypeVar("T", bound=np.generic)
Shape = tuple[int, int, int]
_image: Any = nib.Nifti1Image  # nibabel is not typed
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras(canonical: NDArray[T]) -> NDArray[T]:
    """(z, y, x) as a view (i, j, k), RAS+."""
    return canonical.transpose(2, 1, 0)[::-1, ::-1]


def canonical(ras_array: NDArray[T]) -> NDArray[T]:
    """(i, j, k), RAS+, as a view (z, y, x)."""
    return ras_array[::-1, ::-1].transpose(2, 1, 0)


def ras_shape(geometry: Geometry) -> Shape:
    """Shape (i, j, k) of a canonical geometry."""
    z, y, x = geometry.shape
    return x, y, z


def ras_spacing(geometry: Geometry) -> tuple[float, float, float]:
    """Voxel size along (i, j, k) in mm."""
    z, y, x = geometry.spacing
    return x, y, z


def ras_affine(geometry: Geometry) -> NDArray[np.float64]:
    """From (i, j, k, 1) to RAS mm."""
    _, y, x = geometry.shape
    turn = np.array([[0, 0, 1, 0], [0, -1, 0, y - 1], [-1, 0, 0, x - 1], [0, 0, 0, 1]], dtype=np.float64)
    affine: NDArray[np.float64] = _LPS @ geometry.matrix @ turn
    return affine


def nifti_bytes(ras_array: NDArray[Any], geometry: Geometry) -> bytes:
    """A NIfTI-1 file, not compressed, of an array on the RAS+ grid of a geometry."""
    image: Any = _image(np.asfortranarray(ras_array), ras_affine(geometry))
    image.header.set_xyzt_units("mm")
    raw: bytes = image.to_bytes()
    return raw
