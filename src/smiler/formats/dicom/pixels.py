"""Pixels of a series: decoded slice by slice, rescaled to HU or left as they are."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array
from scipy import ndimage

from smiler.domain.errors import BadInput
from smiler.formats.dicom.objects import UNREADABLE, Object
from smiler.formats.dicom.series import Plane, Series
from smiler.formats.nifti_values import AIR_HU


def check_bytes(series: Series, max_bytes: int) -> None:
    """Refuse from the headers alone what would be too large, or can't be what the files hold."""
    needed = int(np.prod(series.shape)) * 2
    if needed > max_bytes:
        shape = "x".join(map(str, series.shape))
        got = f"{shape} voxels, {needed} bytes, {max_bytes} allowed"
        raise BadInput("the series is larger than allowed", where=str(series.path), got=got, do="raise max_bytes")


def check_whole(series: Series) -> None:
    """Every slice has its pixels; uncompressed ones are all there, or the file is truncated."""
    for source in series.sources:
        _check_length(source.header, source.pixel_bytes, str(source.path))


def hounsfield(series: Series, rescale: Literal["refuse", "none"]) -> tuple[NDArray[np.int16], tuple[str, ...]]:
    """HU int16 (k, rows, columns), and what was decided on the way."""
    out: NDArray[np.int16] = np.empty(0, dtype=np.int16)
    told: dict[str, int] = {}
    for k, (dataset, plane, raw) in enumerate(_each(series)):
        out = out if k else np.empty(series.shape, dtype=np.int16)  # not before a slice has shown that it is so large
        slope, intercept = _rescale(dataset, plane, rescale)
        values = raw.astype(np.float64) * slope + intercept
        padding = _padding(dataset, raw)
        if padding is not None and padding.any():
            values[padding] = AIR_HU
            told["padding set to -1024 HU"] = told.get("padding set to -1024 HU", 0) + int(padding.sum())
        if series.shifts_mm.any():
            values = _upright(values, series, k)
        low, high = np.iinfo(np.int16).min, np.iinfo(np.int16).max
        beyond = int(((values < low) | (values > high)).sum())
        if beyond:
            told["clipped to 16 bits"] = told.get("clipped to 16 bits", 0) + beyond
        out[k] = np.rint(np.clip(values, low, high))
    return out, tuple(f"{count} voxels {what}" for what, count in told.items())


def stored(series: Series) -> NDArray[np.uint16]:
    """The stored numbers (k, rows, columns), as a mask or label map has them; BadInput for negative ones."""
    out: NDArray[np.uint16] = np.empty(0, dtype=np.uint16)
    for k, (_, plane, raw) in enumerate(_each(series)):
        out = out if k else np.empty(series.shape, dtype=np.uint16)
        if raw.size and (int(raw.min()) < 0 or int(raw.max()) > np.iinfo(np.uint16).max):
            got = f"{raw.min()} to {raw.max()}"
            raise BadInput("a mask holds numbers from 0 to 65535", where=str(plane.source.path), got=got)
        out[k] = raw
    return out


def _each(series: Series) -> Any:
    """Per slice: data set, plane and raw pixels (rows, columns); a multi-frame object is decoded once."""
    last: tuple[Object, Any, Any] | None = None
    for plane in series.planes:
        if last is None or last[0] is not plane.source:
            dataset = plane.source.dataset()
            last = plane.source, dataset, _decoded(dataset, plane.source)
        raw = last[2]
        yield last[1], plane, raw[plane.frame] if raw.ndim == 3 else raw


def _decoded(dataset: Any, source: Object) -> Any:
    where = str(source.path)
    if dataset.get("SamplesPerPixel", 1) != 1:
        raise BadInput("a CT slice has one value a pixel", where=where, got=f"{dataset.SamplesPerPixel} samples")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    _check_length(dataset, len(dataset.PixelData) if "PixelData" in dataset else None, where)
    try:
        return pixel_array(dataset)
    except (RuntimeError, NotImplementedError) as error:
        if "missing dependencies" in str(error) or "not been implemented" in str(error):
            got = f"{getattr(syntax, 'name', syntax)} ({syntax})"
            do = "install what decodes it: pip install python-gdcm (or pylibjpeg-libjpeg), or convert the series"
            raise BadInput("no decoder for this transfer syntax", where=where, got=got, do=do) from error
        raise _damaged(where, error) from error
    except UNREADABLE as error:
        raise _damaged(where, error) from error


def _check_length(dataset: Any, there: int | None, where: str) -> None:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if there is None:
        raise BadInput("the slice has no pixels", where=where, do="get the file again")
    if syntax is None or syntax.is_compressed:
        return
    try:
        frames = int(dataset.get("NumberOfFrames") or 1)
        needed = int(dataset.Rows) * int(dataset.Columns) * frames * int(dataset.BitsAllocated) // 8
    except UNREADABLE as error:
        raise _damaged(where, error) from error
    if there < needed:
        got = f"{there} of {needed} bytes of pixels"
        raise BadInput("truncated: pixels are missing", where=where, got=got, do="get the file again")


def _damaged(where: str, error: BaseException) -> BadInput:
    got = ascii(f"{type(error).__name__}: {error}"[:200])[1:-1]
    return BadInput("the slice's pixels can't be decoded", where=where, got=got, do="get the file again")


def _rescale(dataset: Any, plane: Plane, rescale: str) -> tuple[float, float]:
    """Slope and intercept of a slice; a multi-frame object keeps them with the frame, or for all frames together."""
    holder, per_frame = dataset, dataset.get("PerFrameFunctionalGroupsSequence")
    shared = dataset.get("SharedFunctionalGroupsSequence")
    for groups in ([per_frame[plane.frame]] if per_frame else [], shared or []):
        if groups and groups[0].get("PixelValueTransformationSequence"):
            holder = groups[0].PixelValueTransformationSequence[0]
            break
    slope, intercept = holder.get("RescaleSlope"), holder.get("RescaleIntercept")
    if slope is None and intercept is None and rescale == "none":
        return 1.0, 0.0
    try:
        found = float(slope), float(intercept)
    except (TypeError, ValueError):
        found = 0.0, 0.0
    if found[0] == 0 or not np.isfinite(found).all():
        raise BadInput(
            "the slice can't be turned into HU: RescaleSlope or RescaleIntercept is missing or 0",
            where=str(plane.source.path),
            got=f"slope {slope}, intercept {intercept}",
            do="set reading.rescale = none if the stored numbers are HU already" if slope is None else "mend the files",
        )
    return found


def _padding(dataset: Any, raw: NDArray[Any]) -> NDArray[np.bool_] | None:
    low = dataset.get("PixelPaddingValue")
    if not isinstance(low, int):
        return None
    high = dataset.get("PixelPaddingRangeLimit")
    high = high if isinstance(high, int) else low
    return np.asarray((raw >= min(low, high)) & (raw <= max(low, high)))


def _upright(values: NDArray[np.float64], series: Series, k: int) -> NDArray[np.float64]:
    """The slice moved along its own axes onto the straight stack, linearly; what comes in from outside is air."""
    axes = series.affine[:3, 1:3]
    spacing = np.linalg.norm(axes, axis=0)
    pixels = (axes / spacing).T @ series.shifts_mm[k] / spacing
    moved: NDArray[np.float64] = ndimage.shift(values, pixels, order=1, mode="constant", cval=AIR_HU)
    return moved
