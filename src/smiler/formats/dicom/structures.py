"""RTSTRUCT: contours as masks on a CT's grid, and masks as contours.

A voxel is inside where its centre is; contours of one ROI on one plane are combined by exclusive or, so that a contour
in a contour is a hole. Contours are written halfway between voxel centres: they come back as the same voxels.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

from smiler.domain.errors import BadInput
from smiler.domain.geometry import Geometry
from smiler.domain.provenance import tool_version
from smiler.formats.dicom.objects import RTSTRUCT_CLASS, Object
from smiler.formats.dicom.segmentation import sources_of
from smiler.formats.dicom.segments import TRACKING, Segment
from smiler.formats.dicom.series import Series
from smiler.formats.dicom.stacking import Stacker
from smiler.formats.dicom.texts import charset_for

BETWEEN = 0.1
"""How far from a slice a contour may lie, in slices."""
FEWEST_NUMBERS = 9
"""A contour of less than three points encloses nothing."""
_NO_AREA = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")


def describe(found: Object) -> list[dict[str, Any]]:
    """Per ROI, in the file's order counted from 1: the names it may be known by, and whether it has a contour.

    marks: it has contours, and none encloses anything (an isocentre, a wire, a contour of two points).
    """
    told = []
    for number, roi in enumerate(_rois(found), start=1):
        about = str(roi.row.get("ROIDescription") or "")
        areas = [contour for contour in roi.contours if contour.encloses]
        told.append(
            {
                "number": number,
                "key": about.removeprefix(TRACKING) if about.startswith(TRACKING) else "",
                "names": [str(roi.row.get("ROIName") or "")],
                "snomed": "",
                "side": "",
                "kind": str(roi.row.get("ROIGenerationAlgorithm") or ""),
                "algorithm": str(roi.row.get("ROIGenerationDescription") or "").strip(),
                "drawn": bool(areas),
                "marks": bool(roi.contours) and not areas,
            }
        )
    return told


def read_structures(found: Object, geometry: Geometry) -> Stacker:
    """Every ROI on the CT's canonical grid; labels count the ROIs from 1 in the file's order.

    An ROI that can't be used is told in `unusable`. BadInput if that is true of all of them.
    """
    to_index = np.asarray(np.linalg.inv(geometry.matrix), dtype=np.float64)
    stack, rois = Stacker(geometry.shape), _rois(found)
    first: BadInput | None = None
    for number, roi in enumerate(rois, start=1):
        where = f"{found.path}, ROI {str(roi.row.get('ROIName') or number)!a}"
        try:
            stack.add(number, _mask(roi, to_index, geometry.shape, where))
        except BadInput as error:
            first = first or error
            stack.refuse(number, error)
            continue
        without = sum(not contour.encloses for contour in roi.contours)
        if without and without < len(roi.contours):
            name = str(roi.row.get("ROIName") or number)
            what = "1 contour that encloses" if without == 1 else f"{without} contours that enclose"
            stack.notes.append(f"ROI {name!a}: {what} nothing (points, open lines) left out")
    stack.refuse_unless_any(sum(any(c.encloses for c in roi.contours) for roi in rois), first)
    return stack


@dataclass(frozen=True)
class _Contour:
    """What one item of a Contour Sequence says: its kind, how many points it promises, its numbers."""

    kind: str
    points: int
    numbers: tuple[Any, ...]

    @property
    def encloses(self) -> bool:
        """Whether it may enclose anything."""
        return self.kind not in _NO_AREA and len(self.numbers) >= FEWEST_NUMBERS

    def array(self, where: str) -> NDArray[np.float64]:
        """Its points (n, 3) in LPS mm; BadInput unless they are whole and finite."""
        try:
            values = np.array([float(v) for v in self.numbers])
        except (TypeError, ValueError):
            values = np.array([np.nan])
        if values.size % 3 or not np.isfinite(values).all():
            raise BadInput("a contour is not a list of points", where=where, got=f"{len(self.numbers)} numbers")
        if values.size < 3 * self.points:
            got = f"{values.size // 3} of {self.points} points"
            raise BadInput("a contour is not whole", where=where, got=got, do="get the file again")
        return values.reshape(-1, 3)


@dataclass
class _ROI:
    """A row of the Structure Set ROI Sequence and its contours."""

    row: Any
    contours: list[_Contour]


def _rois(found: Object) -> list[_ROI]:
    contours: dict[int, list[_Contour]] = {}
    for row in found.header.get("ROIContourSequence") or ():
        own = contours.setdefault(int(row.ReferencedROINumber), [])
        for item in row.get("ContourSequence") or ():
            data = item.get("ContourData")
            values = () if data is None else tuple(data) if isinstance(data, Sequence | MultiValue) else (data,)
            count = item.get("NumberOfContourPoints")
            points = int(count) if isinstance(count, int) else 0
            own.append(_Contour(str(item.get("ContourGeometricType") or ""), points, values))
    rows = found.header.get("StructureSetROISequence") or ()
    return [_ROI(row, contours.get(int(row.ROINumber), [])) for row in rows]


def _mask(roi: _ROI, to_index: NDArray[np.float64], shape: tuple[int, int, int], where: str) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    for contour in roi.contours:
        if contour.encloses:
            points = contour.array(where)
            _draw(mask, (np.column_stack([points, np.ones(len(points))]) @ to_index.T)[:, :3], where)
    return mask


def _draw(mask: NDArray[np.bool_], points: NDArray[np.float64], where: str) -> None:
    """Toggle the voxels whose centres a contour (n, 3), in voxel indices, encloses."""
    axis = int(np.argmin(np.ptp(points, axis=0)))
    height = float(points[:, axis].mean())
    plane = round(height)
    if np.ptp(points[:, axis]) > BETWEEN or abs(height - plane) > BETWEEN:
        got = f"slices {points[:, axis].min():.2f} to {points[:, axis].max():.2f}"
        raise BadInput("a contour lies between the CT's slices", where=where, got=got, do="give the CT it was drawn on")
    others = [a for a in range(3) if a != axis]
    flat = points[:, others]
    rows, columns = (mask.shape[a] for a in others)
    beyond = (flat.min(axis=0) < -1).any() or (flat.max(axis=0) > (rows, columns)).any()
    if beyond or not 0 <= plane < mask.shape[axis]:
        raise BadInput("a contour reaches beyond the CT", where=where, got=f"slice {plane}")
    index: list[Any] = [slice(None)] * 3
    index[axis] = plane
    mask[tuple(index)] ^= enclosed(flat, (rows, columns))


def enclosed(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixel centres (rows, columns) a closed polygon (n, 2) encloses, by the even-odd rule.

    Each edge crosses the rows in [lower end, upper end); inside is where an odd number of crossings lies before.
    """
    start, end = points, np.roll(points, -1, axis=0)
    down = start[:, 0] > end[:, 0]
    low, high = np.where(down[:, None], end, start), np.where(down[:, None], start, end)
    first = np.clip(np.ceil(low[:, 0]), 0, shape[0]).astype(int)
    rows = np.maximum(np.clip(np.ceil(high[:, 0]), 0, shape[0]).astype(int) - first, 0)
    edge = np.repeat(np.arange(len(points)), rows)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(rows) - rows, rows)
    along = (row - low[edge, 0]) / (high[edge, 0] - low[edge, 0])
    column = low[edge, 1] + along * (high[edge, 1] - low[edge, 1])
    crossings = np.zeros((shape[0], shape[1] + 1), dtype=np.int64)
    np.add.at(crossings, (row, np.clip(np.ceil(column), 0, shape[1]).astype(int)), 1)
    return np.asarray(np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1)


def write_structures(series: Series, bits: NDArray[np.int32], segments: Sequence[Segment], name: str) -> bytes:
    """An RTSTRUCT object in bytes. bits: (k, rows, columns) as the series, bit i is ROI i + 1."""
    if series.shifts_mm.any():
        raise BadInput("a tilted series has no grid for contours", where=str(series.path), do="write NIfTI")
    sources = sources_of(series)
    first = sources[0]
    entropy = [
        str(first.SOPInstanceUID),
        name,
        hashlib.blake2b(np.ascontiguousarray(bits).data).hexdigest(),
        "rtstruct",
    ]
    ds = Dataset()
    for key in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate"):
        setattr(ds, key, first.get(key, ""))
    for key in ("StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
        setattr(ds, key, first.get(key, ""))
    charset = charset_for(first, [segment.title for segment in segments])
    if charset is not None:
        ds.SpecificCharacterSet = charset
    ds.SOPClassUID, ds.SOPInstanceUID = RTSTRUCT_CLASS, generate_uid(entropy_srcs=entropy)
    ds.Modality, ds.SeriesInstanceUID = "RTSTRUCT", generate_uid(entropy_srcs=[*entropy, "series"])
    ds.SeriesNumber, ds.InstanceNumber = 901, 1
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = "smiler", "smiler", tool_version()
    now = datetime.now()
    ds.StructureSetLabel, ds.StructureSetName = "ORGANS", "smiler: organs"
    ds.StructureSetDate, ds.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    ds.SeriesDescription = "smiler: organs"
    ds.ReferencedFrameOfReferenceSequence = [_frame_of_reference(sources)]
    ds.StructureSetROISequence = [_roi(i + 1, seg, first) for i, seg in enumerate(segments)]
    ds.ROIContourSequence = [_roi_contours(i, series, bits, sources) for i in range(len(segments))]
    ds.RTROIObservationsSequence = [_observation(i + 1, seg) for i, seg in enumerate(segments)]
    ds.ApprovalStatus = "UNAPPROVED"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # an explicit length of ContourData ends at 65,534 bytes
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _frame_of_reference(sources: Sequence[Any]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = sources[0].SeriesInstanceUID
    series.ContourImageSequence = [_reference(source) for source in sources]
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = sources[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = sources[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _reference(source: Any) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return image


def _roi(number: int, segment: Segment, first: Any) -> Dataset:
    roi = Dataset()
    roi.ROINumber, roi.ReferencedFrameOfReferenceUID = number, first.FrameOfReferenceUID
    roi.ROIName, roi.ROIDescription = segment.title[:64], TRACKING + segment.key
    roi.ROIGenerationAlgorithm = segment.kind
    return roi


def _observation(number: int, segment: Segment) -> Dataset:
    row = Dataset()
    row.ObservationNumber = row.ReferencedROINumber = number
    row.RTROIInterpretedType = "ORGAN"
    row.ROIInterpreter = ""
    if segment.snomed:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = segment.snomed, "SCT", segment.title[:64]
        row.RTROIIdentificationCodeSequence = [code]
    return row


def _roi_contours(i: int, series: Series, bits: NDArray[np.int32], sources: Sequence[Any]) -> Dataset:
    row = Dataset()
    row.ReferencedROINumber, rows = i + 1, []
    for k, plane in enumerate(bits):
        mask = plane >> i & 1
        if not mask.any():
            continue
        source = sources[min(k, len(sources) - 1)]
        lines: Any = contour_generator(z=np.pad(mask, 1).astype(np.float64)).lines(0.5)
        for line in lines:
            at = np.column_stack([np.full(len(line), k), line[:, 1] - 1, line[:, 0] - 1, np.ones(len(line))])
            contour = Dataset()
            contour.ContourImageSequence = [_reference(source)]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(line) - 1
            mm = (at @ series.affine.T)[:-1, :3]
            contour.ContourData = [f"{v:.4f}" for v in mm.ravel()]
            rows.append(contour)
    row.ContourSequence = rows
    return row
