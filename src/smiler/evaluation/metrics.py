"""Metrics: how well a predicted organ mask agrees with an expert's, by overlap and by surface distance.

Masks are boolean arrays (z, y, x); spacing is (z, y, x) in mm and is always passed.

The surface of a mask is the set of its voxels that share a face with a voxel outside it; beyond the array everything
is outside. The distance of a surface voxel to the other surface is the Euclidean distance in mm between voxel centres.
Every surface voxel weighs the same: it stands for the surface elements of Nikolov et al.

    dice   2 |P & R| / (|P| + |R|)                                                        no unit, 1 is best
    nsd    share of both surfaces' voxels within the tolerance of the other surface       no unit, 1 is best
    hd95   the larger of the two directed 95th percentiles (interpolated) of distance     mm, 0 is best

Where a mask is empty (dropping such a pair would make a model that predicts nothing look good):

    both empty   dice = nsd = 1, hd95 = 0
    one empty    dice = nsd = 0, hd95 = the diagonal of the whole image in mm, outer voxel corner to outer voxel corner

Source: Nikolov et al., "Deep learning to achieve clinically applicable segmentation of head and neck anatomy for
radiotherapy", arXiv 1809.04430 (2018); "Clinically applicable segmentation [...]", J Med Internet Res 23(7):e26151
(2021).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

# edt, because it is exact and its time depends on the organ's box alone, not on how bad the prediction is. A liver in a
# box of 100 x 256 x 256 voxels takes it 0.5 s, SciPy's transform 3.3 s, a KD-tree of surface voxels 0.15 to 0.4 s, but
# 61 s for a prediction that fills the image. MONAI gives the same numbers (see the tests), is slower and loads torch.
import edt
import numpy as np
import numpy.typing as npt

from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry

Mask: TypeAlias = npt.NDArray[np.bool_]
Spacing: TypeAlias = tuple[float, float, float]
Distances: TypeAlias = npt.NDArray[np.float64]

TOLERANCE_MM: dict[str, float] = {
    "liver": 5.0,
    "pancreas": 5.0,
    "stomach": 5.0,
    "spleen": 3.0,
    "kidney_left": 3.0,
    "kidney_right": 3.0,
    "gallbladder": 2.0,
    "aorta": 2.0,
    "inferior_vena_cava": 2.0,
    "adrenal_left": 2.0,
    "adrenal_right": 2.0,
    "esophagus": 3.0,
    "duodenum": 7.0,
}
"""NSD tolerance in mm, by organ key."""

OTHER_TOLERANCE_MM = 3.0
"""NSD tolerance in mm of an organ that the table doesn't name."""

ROUNDING_MM = 1e-4
"""A distance this little above the tolerance is within it: distances and stored spacings have single precision."""


def tolerance(organ: str) -> float:
    """NSD tolerance in mm for an organ key."""
    return TOLERANCE_MM.get(organ, OTHER_TOLERANCE_MM)


@dataclass(frozen=True, eq=False)
class Comparison:
    """One organ in one volume as two masks (z, y, x), and what the metrics share: everything is computed once.

    `spacing` is (z, y, x) in mm, `tolerance_mm` is NSD's. `whole`: the image's shape (z, y, x), where the masks are cut
    out of it and hold all of the organ; else their own. Raises BadInput for masks that aren't boolean, aren't 3-D
    or differ in shape, for a spacing that isn't three positive numbers and for a negative tolerance.
    """

    prediction: Mask
    reference: Mask
    spacing: Spacing
    tolerance_mm: float
    whole: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_masks(self.prediction, self.reference)
        _check_lengths(self.spacing, self.tolerance_mm)

    @cached_property
    def cut(self) -> tuple[Mask, Mask]:
        """Prediction and reference in their common bounding box, with a margin of one voxel of outside."""
        box = _common_box(self.prediction, self.reference)
        return np.pad(self.prediction[box], 1), np.pad(self.reference[box], 1)

    @cached_property
    def distances(self) -> tuple[Distances, Distances]:
        """Distance in mm of each surface voxel of the prediction to the reference's surface, and the other way round.

        A mask without voxels has no distances, and the distances to it are infinite.
        """
        predicted, drawn = (_surface(mask) for mask in self.cut)
        return _directed(predicted, drawn, self.spacing), _directed(drawn, predicted, self.spacing)

    @property
    def diagonal_mm(self) -> float:
        """Length in mm of the whole image's diagonal, from outer voxel corner to outer voxel corner."""
        return Geometry.canonical(self.whole or self.prediction.shape, self.spacing).diagonal_mm


def _dice(pair: Comparison) -> float:
    predicted, drawn = pair.cut
    total = np.count_nonzero(predicted) + np.count_nonzero(drawn)
    return float(2 * np.count_nonzero(predicted & drawn) / total) if total else 1.0


def _nsd(pair: Comparison) -> float:
    distances = np.concatenate(pair.distances)
    return float(np.mean(distances <= pair.tolerance_mm + ROUNDING_MM)) if distances.size else 1.0


def _hd95(pair: Comparison) -> float:
    present = [d for d in pair.distances if d.size]
    if len(present) == 1:
        return pair.diagonal_mm
    return max((float(np.percentile(d, 95)) for d in present), default=0.0)


METRICS: dict[str, Callable[[Comparison], float]] = {"dice": _dice, "nsd": _nsd, "hd95": _hd95}
"""Every metric by name. A new one is a function of a Comparison and an entry here: scores, tables and pages follow."""


@dataclass(frozen=True)
class Scale:
    """How a metric is written: its title, its unit, whether it is a share that people read in points of 100."""

    title: str
    unit: str = ""
    share: bool = False
    digits: int = 2

    @property
    def factor(self) -> int:
        """From the stored number to what people read."""
        return 100 if self.share else 1

    @property
    def heading(self) -> str:
        """Title and unit, as a column's head."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


SCALES: dict[str, Scale] = {
    "dice": Scale("Dice", share=True),
    "nsd": Scale("NSD", share=True),
    "hd95": Scale("HD95", unit="mm", digits=0),
}
"""Of some metrics; any other is written as it is, under its own name."""


def scale(metric: str) -> Scale:
    """How a metric of METRICS is written."""
    return SCALES.get(metric) or Scale(metric)


def column(metric: str) -> str:
    """A metric's column in tables and JSON: its name and unit."""
    unit = scale(metric).unit
    return f"{metric}_{unit}" if unit else metric


def columns() -> dict[str, Scale]:
    """Every metric's column, and how it is written."""
    return {column(name): scale(name) for name in METRICS}


def score_all(
    prediction: Mask, reference: Mask, spacing: Spacing, organ: str, whole: tuple[int, ...] = ()
) -> dict[str, float]:
    """Every metric of METRICS for one organ: masks (z, y, x), spacing in mm, the organ's own tolerance.

    Masks that are cut out of an image of shape `whole` (z, y, x), with all of the organ in them, score the same.
    """
    comparison = Comparison(prediction, reference, spacing, tolerance(organ), whole)
    return {name: metric(comparison) for name, metric in METRICS.items()}


def dice(prediction: Mask, reference: Mask) -> float:
    """Dice overlap of two masks (z, y, x), 0 to 1; a share of voxels, so the spacing doesn't matter."""
    return _dice(Comparison(prediction, reference, spacing=(1.0, 1.0, 1.0), tolerance_mm=0.0))


def nsd(prediction: Mask, reference: Mask, spacing: Spacing, tolerance_mm: float) -> float:
    """Symmetric normalised surface Dice of two masks (z, y, x), 0 to 1; spacing and tolerance in mm."""
    return _nsd(Comparison(prediction, reference, spacing, tolerance_mm))


def hd95(prediction: Mask, reference: Mask, spacing: Spacing) -> float:
    """95 % Hausdorff distance in mm of two masks (z, y, x): the larger of both directed percentiles."""
    return _hd95(Comparison(prediction, reference, spacing, tolerance_mm=0.0))


def _check_masks(prediction: Mask, reference: Mask) -> None:
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 3:
            raise BadInput(
                "a mask must be a boolean array (z, y, x)",
                where=name,
                got=f"{getattr(mask, 'dtype', type(mask).__name__)} of shape {np.shape(mask)}",
                do="compare the label map with one organ's label first: labels == value",
            )
    if prediction.shape != reference.shape:
        raise BadInput(
            "prediction and reference must have the same shape",
            where="prediction, reference",
            got=f"{prediction.shape} and {reference.shape}",
            do="resample the prediction to the reference's grid",
        )


def _check_lengths(spacing: Spacing, tolerance_mm: float) -> None:
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise BadInput(
            "a spacing must be three positive numbers",
            where="spacing",
            got=str(spacing),
            do="pass the voxel size (z, y, x) in mm",
        )
    if not (np.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise BadInput(
            "a tolerance can't be negative or endless",
            where="tolerance_mm",
            got=str(tolerance_mm),
            do="pass a length in mm, such as tolerance(organ)",
        )


def _common_box(prediction: Mask, reference: Mask) -> tuple[slice, slice, slice]:
    """Smallest box that holds both masks (z, y, x); an empty one where both are empty."""
    z = extent(np.logical_or.reduce(prediction, axis=(1, 2)) | np.logical_or.reduce(reference, axis=(1, 2)))
    plane = np.logical_or.reduce(prediction[z], axis=0) | np.logical_or.reduce(reference[z], axis=0)
    return z, extent(np.logical_or.reduce(plane, axis=1)), extent(np.logical_or.reduce(plane, axis=0))


def extent(line: Mask) -> slice:
    """From the first to the last true element of a line (n,)."""
    where = np.flatnonzero(line)
    return slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 0)


def _surface(mask: Mask) -> Mask:
    """Voxels of a mask (z, y, x) with a face neighbour outside; the array's outermost layer must be empty."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        kept, seen = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        kept[1:] &= seen[:-1]
        kept[:-1] &= seen[1:]
    return mask & ~inner


def _directed(source: Mask, target: Mask, spacing: Spacing) -> Distances:
    """Distance in mm of each true voxel of `source` to the nearest of `target`, both (z, y, x)."""
    if not target.any():
        return np.full(np.count_nonzero(source), np.inf)
    field = edt.edt(~target, anisotropy=spacing)
    return np.asarray(field[source], dtype=np.float64)
