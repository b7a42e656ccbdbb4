"""Where the voxels of an array lie in the patient."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smiler.domain.errors import BadInput

TOLERANCE_MM = 1e-3
_CODES = (("R", "L"), ("A", "P"), ("I", "S"))


@dataclass(frozen=True)
class Geometry:
    """Shape (z, y, x) and the affine from voxel index (z, y, x, 1) to millimetres in LPS (left, posterior, superior).

    Finite, invertible, without shear: if it exists, it is valid.
    """

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise BadInput("a volume has three dimensions of at least one voxel", where="geometry", got=str(self.shape))
        matrix = np.asarray(self.affine, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
            raise BadInput("the affine is not a finite 4x4 matrix", where="geometry", got=_show(matrix))
        norms = np.linalg.norm(matrix[:3, :3], axis=0)
        if norms.min() < 1e-6 or abs(np.linalg.det(matrix[:3, :3] / norms)) < 1e-6:
            raise BadInput("the affine is singular: two axes run along one line", where="geometry", got=_show(matrix))
        unit = matrix[:3, :3] / norms
        shear = float(np.abs(unit.T @ unit - np.eye(3)).max())
        if not shear <= 1e-3:
            raise BadInput(
                "the affine is sheared: its axes are not at right angles",
                where="geometry",
                got=f"cosine {shear:.4f} between two axes",
                do="resample the volume to a rectangular grid (gantry tilt?)",
            )

    @classmethod
    def of(cls, shape: Sequence[int], affine: ArrayLike) -> "Geometry":
        """From any array-like 4x4 affine."""
        matrix = np.asarray(affine, dtype=np.float64)
        return cls((shape[0], shape[1], shape[2]), tuple(tuple(float(v) for v in row) for row in matrix))

    @classmethod
    def canonical(cls, shape: Sequence[int], spacing: Sequence[float]) -> "Geometry":
        """z from the feet up, y to the back, x to the patient's left; spacing (z, y, x) in mm."""
        matrix = np.zeros((4, 4))
        matrix[2, 0], matrix[1, 1], matrix[0, 2], matrix[3, 3] = *spacing, 1.0
        return cls.of(shape, matrix)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as a 4x4 array."""
        return np.asarray(self.affine, dtype=np.float64)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along (z, y, x) in mm."""
        z, y, x = np.linalg.norm(self.matrix[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml."""
        return float(np.prod(self.spacing)) / 1000.0

    @property
    def diagonal_mm(self) -> float:
        """Length of the image's diagonal in mm."""
        return float(np.linalg.norm(np.asarray(self.shape) * np.asarray(self.spacing)))

    @property
    def axis_codes(self) -> str:
        """Where each array axis points, e.g. 'SPL' for the canonical order."""
        columns = self.matrix[:3, :3] / np.linalg.norm(self.matrix[:3, :3], axis=0)
        rows = [int(np.argmax(np.abs(column))) for column in columns.T]
        return "".join(_CODES[row][int(column[row] > 0)] for row, column in zip(rows, columns.T, strict=True))

    def distance_mm(self, other: "Geometry") -> float:
        """Largest distance between corresponding corners of the two grids, infinite where shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        corners = np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in self.shape))], dtype=np.float64)
        apart = (corners @ (self.matrix - other.matrix).T)[:, :3]
        return float(np.linalg.norm(apart, axis=1).max())

    def agrees(self, other: "Geometry") -> bool:
        """Whether two arrays on these grids may meet: same shape, corners within 1e-3 mm."""
        return self.distance_mm(other) <= TOLERANCE_MM

    def __str__(self) -> str:
        z, y, x = self.spacing
        origin = ", ".join(f"{v:.2f}" for v in self.matrix[:3, 3])
        return f"{self.axis_codes} {self.shape} at {z:.3f}x{y:.3f}x{x:.3f} mm, origin ({origin})"


def _show(matrix: NDArray[np.float64]) -> str:
    return np.array2string(matrix, precision=4, suppress_small=True).replace("\n", "")
