"""A file's own grid: which way its axes run, and how its array turns into canonical order and back."""

import itertools
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
from nibabel import quaternions
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry
from smiler.formats.nifti_header import KINDS, SIZES, Header, fields, parse

Orientation = Literal["refuse", "sform", "qform", "none"]
T = TypeVar("T", bound=np.generic)
FORMS_APART_MM = 0.01
"""How far sform and qform may lie apart: direction cosines with six decimals and float32 over 1 m stay below it."""
FARTHEST_MM = 1e9
"""No number of an affine is larger: what is, is taken for infinite."""
_rotation: Any = quaternions.quat2mat
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_XFORM_CODES = range(6)


@dataclass(frozen=True)
class Grid:
    """Where a file's voxels lie. Canonical order is (z, y, x): from the feet up, to the back, to the patient's left.

    geometry: of the canonical array.
    axes, flips: canonical axis a is the file's axis axes[a], reversed where flips[a].
    affine: the file's own, from its index (i, j, k, 1) to RAS mm.
    header: the file's header bytes, so that what is written beside it lies on exactly the same grid.
    notes: what had to be decided to orient it.
    """

    geometry: Geometry
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    affine: tuple[tuple[float, ...], ...]
    header: bytes = field(repr=False, compare=False)
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """The file's own shape (i, j, k)."""
        i, j, k = (self.geometry.shape[self.axes.index(own)] for own in range(3))
        return i, j, k

    @property
    def axis_codes(self) -> str:
        """Where the file's own axes point, e.g. 'LAS'."""
        codes = "".join(code if not flip else _OPPOSITE[code] for code, flip in zip("SPL", self.flips, strict=True))
        return "".join(codes[self.axes.index(own)] for own in range(3))

    def canonical(self, own: NDArray[T]) -> NDArray[T]:
        """(i, j, k) as a view (z, y, x)."""
        return own.transpose(self.axes)[self._steps]

    def own(self, canonical: NDArray[T]) -> NDArray[T]:
        """(z, y, x) as a view (i, j, k)."""
        return canonical[self._steps].transpose([self.axes.index(own) for own in range(3)])

    @property
    def _steps(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)


_OPPOSITE = dict(zip("RLAPIS", "LRPASI", strict=True))


def off_the_grid(mask: Grid, ct: Geometry, ct_codes: str) -> BadInput:
    """The fault of a mask that does not lie on the CT's grid, with both axis codes."""
    apart = mask.geometry.distance_mm(ct)
    how = f"{apart:.4g} mm apart" if np.isfinite(apart) else "sizes differ"
    got = f"mask axes {mask.axis_codes}, CT axes {ct_codes}, {how}: mask {mask.geometry}, CT {ct}"
    do = "see whether it is this CT's mask; if so: smiler audit --fix-geometry copy (or resample)"
    return BadInput("the mask does not lie on the CT's grid", where="", got=got, do=do)


def grid_from(header: Header, orientation: Orientation, where: str) -> Grid:
    """Orient a file by its header; BadInput for a NaN, singular, sheared or ambiguous affine."""
    with np.errstate(all="ignore"):  # what is not finite is refused by name
        affine, notes = _affine(fields(header.block), header.shape, orientation, where)
    try:
        Geometry.of(header.shape, affine)  # refuses singular and sheared affines
    except BadInput as error:
        raise BadInput(error.what, where=where, got=error.got, do=error.do) from error
    axes, flips, geometry = _canonical(header.shape, affine)
    rows = tuple(tuple(float(v) for v in row) for row in affine)
    return Grid(geometry, axes, flips, rows, header.block, notes)


def grid_of(geometry: Geometry) -> Grid:
    """The grid of a new NIfTI file for canonical arrays of this geometry: axes x, y, z and one float32 sform.

    Its geometry agrees with the given one up to float32. BadInput if the geometry is not in canonical order.
    """
    if geometry.axis_codes != "SPL":
        raise BadInput(
            "not the geometry of a canonical array", where="NIfTI", got=str(geometry), do="reorient it first"
        )
    z, y, x = geometry.shape
    return grid_of_affine((x, y, z), _LPS @ geometry.matrix[:, [2, 1, 0, 3]], "NIfTI")


def grid_of_affine(
    shape: tuple[int, int, int], ras: NDArray[np.float64], where: str, notes: tuple[str, ...] = ()
) -> Grid:
    """The grid of an array (i, j, k) that came without a NIfTI header. ras: from its index (i, j, k, 1) to RAS mm.

    NIfTI-1 counts to 32767; what is larger gets the header of NIfTI-2.
    """
    size = 348 if max(shape) <= np.iinfo(np.int16).max else 540
    header = KINDS[size]()
    header.set_data_shape(shape)
    header.set_sform(ras, code=1)
    header["pixdim"][1:4] = np.linalg.norm(ras[:3, :3], axis=0)
    header["xyzt_units"] = 2
    header["vox_offset"] = SIZES[size]
    if size == 348:
        header["magic"] = b"n+1"
    block = bytes(header.binaryblock)
    return replace(grid_from(parse(block, where), "refuse", where), notes=notes)


def _canonical(
    shape: tuple[int, ...], ras: NDArray[np.float64]
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool], Geometry]:
    """The file's axis nearest to each of z, y, x (largest sum of cosines), its direction, and the new geometry."""
    lps = _LPS @ ras
    cosines = np.abs(lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0))
    z, y, x = max(itertools.permutations(range(3)), key=lambda p: float(sum(cosines[2 - a, p[a]] for a in range(3))))
    matrix, flips = np.array(lps), []
    for a, own in enumerate((z, y, x)):
        flip = bool(lps[2 - a, own] < 0)
        matrix[:, a] = -lps[:, own] if flip else lps[:, own]
        matrix[:, 3] += lps[:, own] * (shape[own] - 1) if flip else 0.0
        flips.append(flip)
    geometry = Geometry.of((shape[z], shape[y], shape[x]), matrix + 0.0)
    return (z, y, x), (flips[0], flips[1], flips[2]), geometry


def _affine(
    values: Any, shape: tuple[int, ...], orientation: Orientation, where: str
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    present = [form for form in ("sform", "qform") if _code(values, form, where) > 0]
    if not present:
        return _from_zooms(values, orientation, where)
    if len(present) == 1:
        return _form(values, present[0], where), ()
    chosen = orientation if orientation in present else "sform"
    try:
        apart, allowed = _apart(values, shape, where)
    except BadInput:
        if orientation not in present:
            raise
        apart, allowed = float("inf"), 0.0
    if apart <= allowed:
        return _form(values, chosen, where), ()
    if orientation not in present:
        raise BadInput(
            "sform and qform disagree",
            where=where,
            got=f"{apart:.4g} mm between them",
            do="say which is right with orientation = sform or qform",
        )
    return _form(values, chosen, where), (f"sform and qform lie {apart:.4g} mm apart: {chosen} used, as asked",)


def _code(values: Any, form: str, where: str) -> int:
    code = int(values[f"{form}_code"])
    if code not in _XFORM_CODES:
        raise BadInput(f"{form}_code is not 0 to 5", where=where, got=str(code))
    return code


def _form(values: Any, form: str, where: str) -> NDArray[np.float64]:
    affine = np.asarray(values.get_sform() if form == "sform" else _qform(values, where), dtype=np.float64)
    if not (np.abs(affine) < FARTHEST_MM).all():  # also true for NaN
        got = np.array2string(affine[:3]).replace("\n", "")
        raise BadInput(f"the affine ({form}) is not finite", where=where, got=got, do="mend the header")
    return affine


def _qform(values: Any, where: str) -> NDArray[np.float64]:
    copy = values.copy()
    if copy["pixdim"][0] == 0:  # the standard: a qfac of 0 means 1
        copy["pixdim"][0] = 1
    try:
        return np.array(copy.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError, FloatingPointError) as error:
        raise BadInput("the affine (qform) is not valid", where=where, got=str(error)) from error


def _apart(values: Any, shape: tuple[int, ...], where: str) -> tuple[float, float]:
    """Largest distance between the corners of the two forms in mm, and how much of it rounding explains.

    The quaternion's real part is recovered as a = sqrt(1 - b2 - c2 - d2) from float32 numbers. Their rounding changes
    a2 by up to 2 * sqrt(3) * 2**-25, so that for half turns (a = 0: the usual order of a scanner) the rotation is only
    known to 6e-4 rad, which is 0.3 mm over half a metre. The first voxel's place does not depend on the rotation.
    """
    sform, qform = _form(values, "sform", where), _form(values, "qform", where)
    vector = np.array([values[f"quatern_{q}"] for q in "bcd"], dtype=np.float64)
    real = float(np.sqrt(max(0.0, 1.0 - float(vector @ vector))))
    # nibabel takes a2 < 4e-7 for 0, which is right for reading and too coarse for comparing
    zooms = values["pixdim"][1:4] * np.array([1, 1, -1 if values["pixdim"][0] == -1 else 1])
    qform[:3, :3] = _rotation([real, *vector]) * zooms
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in shape))], dtype=np.float64)
    apart = np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1)
    half_angle = np.sqrt(real**2 + 2 * np.sqrt(3) * 2**-25) - real
    diagonal = float(np.linalg.norm(corners[-1, :3] * np.linalg.norm(sform[:3, :3], axis=0)))
    rounding = 2 * float(half_angle) * diagonal if apart[0] <= FORMS_APART_MM else 0.0
    return float(apart.max()), FORMS_APART_MM + rounding


def _from_zooms(values: Any, orientation: Orientation, where: str) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if orientation != "none":
        raise BadInput(
            "the file does not say where its voxels lie: neither sform nor qform",
            where=where,
            do="set orientation = none to read its axes as right, anterior, superior",
        )
    affine = np.diag([*np.array(values["pixdim"][1:4], dtype=np.float64), 1.0])
    if not np.isfinite(affine).all() or min(np.diag(affine)) <= 0:
        raise BadInput("the voxel size is not positive", where=where, got=str(values["pixdim"][1:4]))
    return affine, ("neither sform nor qform: axes read as right, anterior, superior, as asked",)
