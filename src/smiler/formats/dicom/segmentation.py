"""DICOM-SEG: segments as masks on a CT's grid, and masks as a SEG object with SNOMED CT codes (through highdicom)."""

import hashlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from smiler.domain.errors import BadInput
from smiler.domain.geometry import TOLERANCE_MM, Geometry
from smiler.domain.provenance import tool_version
from smiler.formats.dicom.objects import LABELMAP_CLASS, UNREADABLE, Object
from smiler.formats.dicom.segments import TRACKING, Segment
from smiler.formats.dicom.series import Series
from smiler.formats.dicom.stacking import Stacker
from smiler.formats.dicom.texts import charset_for, mend_values

_ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
_SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}
_LESIONS = {"108369006": "Neoplasm", "367643001": "Cyst"}


def describe(found: Object) -> list[dict[str, Any]]:
    """Per segment: number, names it may be known by, SNOMED code, side, algorithm type, and whether it has pixels.

    The background of a label map is no segment.
    """
    rows = found.header.get("SegmentSequence") or ()
    if _is_labelmap(found):
        rows = [row for row in rows if not _is_background(row, found)]
        drawn = {int(row.SegmentNumber) for row in rows}
    else:
        drawn = set(_frame_numbers(found))
    return [_describe(row, int(row.SegmentNumber) in drawn) for row in rows]


def _describe(row: Any, drawn: bool) -> dict[str, Any]:
    kind = (row.get("SegmentedPropertyTypeCodeSequence") or [None])[0]
    side = (kind.get("SegmentedPropertyTypeModifierCodeSequence") or [None])[0] if kind is not None else None
    tracking = str(row.get("TrackingID") or "")
    return {
        "number": int(row.SegmentNumber),
        "key": tracking.removeprefix(TRACKING) if tracking.startswith(TRACKING) else "",
        "names": [str(row.get("SegmentLabel") or ""), str(kind.CodeMeaning) if kind is not None else ""],
        "snomed": str(kind.CodeValue) if kind is not None else "",
        "side": str(side.CodeMeaning).lower() if side is not None else "",
        "kind": str(row.get("SegmentAlgorithmType") or ""),
        "algorithm": str(row.get("SegmentAlgorithmName") or "").strip(),
        "drawn": drawn,
    }


def _is_labelmap(found: Object) -> bool:
    return str(found.header.get("SegmentationType")) == "LABELMAP" or found.sop_class == LABELMAP_CLASS


def _background(found: Object) -> int:
    value = found.header.get("PixelPaddingValue")
    return value if isinstance(value, int) else 0


def _is_background(row: Any, found: Object) -> bool:
    """The number that fills the rest of the map; 0 can stand for nothing else where it is called so."""
    kind = (row.get("SegmentedPropertyTypeCodeSequence") or [None])[0]
    names = (row.get("SegmentLabel"), kind.get("CodeMeaning") if kind is not None else None)
    called = any("background" in str(name or "").lower() for name in names)
    number = int(row.SegmentNumber)
    return number == found.header.get("PixelPaddingValue", -1) or (number == 0 and called)


def _frame_numbers(found: Object) -> list[int]:
    """Numbers of the segments that have a frame."""
    frames = found.header.get("PerFrameFunctionalGroupsSequence") or ()
    shared = (found.header.get("SharedFunctionalGroupsSequence") or ()) if frames else ()
    return [_number(group) for group in (*frames, *shared) if "SegmentIdentificationSequence" in group]


def read_segmentation(found: Object, geometry: Geometry) -> Stacker:
    """Every segment on the CT's canonical grid; labels are segment numbers.

    A segment that can't be used is told in `unusable`. BadInput if that is true of all of them, or for voxels of
    segments that nobody described.
    """
    where = str(found.path)
    try:
        seg: Any = hd.seg.segread(io.BytesIO(found.entry.read()))
    except UNREADABLE as error:
        raise BadInput("the segmentation can't be read", where=where, got=ascii(str(error)[:200])[1:-1]) from error
    rows, stack = describe(found), Stacker(geometry.shape)
    if _is_labelmap(found):
        _add_labelmap(stack, seg, found, geometry)
        return stack
    strange = sorted(set(_frame_numbers(found)) - {row["number"] for row in rows})
    if strange:
        raise _undescribed(strange, where)
    first: BadInput | None = None
    for row in rows:
        try:
            mask = np.zeros(geometry.shape, dtype=bool)
            if row["drawn"]:
                mask = _segment(seg, row["number"], geometry, where)
            stack.add(row["number"], mask)
        except BadInput as error:
            first = first or error
            stack.refuse(row["number"], error)
    if str(found.header.get("SegmentationType")) == "FRACTIONAL":
        stack.notes.append("a fractional segmentation that holds two values only is read as a binary one")
    stack.refuse_unless_any(sum(row["drawn"] for row in rows), first)
    return stack


def _undescribed(numbers: Sequence[int], where: str) -> BadInput:
    got, do = ", ".join(map(str, numbers)), "describe each number in SegmentSequence"
    return BadInput("the segmentation holds segments that nobody described", where=where, got=got, do=do)


def _add_labelmap(stack: Stacker, seg: Any, found: Object, geometry: Geometry) -> None:
    """All segments at once: a label map's numbers are its codes."""
    where, rows, background = str(found.path), describe(found), _background(found)
    try:
        values = set(np.unique(seg.pixel_array).tolist())
    except UNREADABLE as error:
        raise BadInput("the segmentation can't be read", where=where, got=ascii(str(error)[:200])[1:-1]) from error
    numbers = [row["number"] for row in rows]
    if strange := sorted(values - set(numbers) - {background}):
        raise _undescribed(strange, where)
    if not numbers:
        return
    if 0 in numbers:
        got = f"segment 0, {rows[numbers.index(0)]['names'][0]!a}"
        raise BadInput("number 0 of a label map stands for an organ", where=where, got=got, do="give it another number")

    def read() -> Any:
        return seg.get_volume(segment_numbers=numbers, combine_segments=True, allow_missing_positions=True)

    before, matched = _matched(read, geometry, where)
    stack.codes = matched.astype(np.uint16)
    stack.codes[matched == background] = 0
    stack.meaning = [(), *((number,) for number in range(1, int(max(numbers)) + 1))]
    counts = np.bincount(stack.codes.ravel(), minlength=len(stack.meaning))
    beyond = [(n, int(before[n] - counts[n])) for n in numbers if n < len(before) and before[n] != counts[n]]
    first = None
    for number, lost in beyond:
        fault = _beyond(lost, number, where)
        first = first or fault
        stack.refuse(number, fault)
    stack.refuse_unless_any(len(values - {background}), first)


def _beyond(lost: int, number: int, where: str) -> BadInput:
    return BadInput("the segmentation reaches beyond the CT", where=where, got=f"{lost} voxels of segment {number}")


def _segment(seg: Any, number: int, geometry: Geometry, where: str) -> NDArray[np.bool_]:
    def read() -> Any:
        options = {"allow_missing_positions": True, "rescale_fractional": False, "dtype": np.uint8}
        volume = seg.get_volume(segment_numbers=[number], **options)
        return volume.with_array(volume.array[..., 0])

    before, matched = _matched(read, geometry, where)
    values = np.flatnonzero(before)[1 if before[0] else 0 :]
    top = int(seg.get("MaximumFractionalValue") or 1)
    if len(values) > 1 or (len(values) and values[0] * 2 < top):
        got = f"segment {number}, {len(values)} values above 0, {values[0]} to {values[-1]} of {top}"
        raise BadInput("only binary segmentations say what is drawn", where=where, got=got, do="threshold it first")
    mask: NDArray[np.bool_] = matched > 0
    lost = int(before[1:].sum()) - int(np.count_nonzero(mask))
    if lost:
        raise _beyond(lost, number, where)
    return mask


def _matched(read: Callable[[], Any], geometry: Geometry, where: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """How many voxels each number has where it was drawn, and the numbers on the CT's grid."""
    target = hd.VolumeGeometry(geometry.matrix, geometry.shape, coordinate_system="PATIENT")
    try:
        volume = read()
        if 1 in volume.spatial_shape:
            volume = _thick(volume, geometry)
        before = np.bincount(volume.array.ravel())
        return before, volume.match_geometry(target, tol=TOLERANCE_MM).array
    except UNREADABLE as error:
        got = ascii(str(error)[:200])[1:-1]
        do = "give the CT series on which it was drawn"
        raise BadInput("the segmentation does not lie on the CT's grid", where=where, got=got, do=do) from error


def _thick(volume: Any, geometry: Geometry) -> Any:
    """A segment on one plane doesn't know how far apart planes are: the CT does."""
    matrix = np.array(volume.affine)
    axis = volume.spatial_shape.index(1)
    direction = matrix[:3, axis] / np.linalg.norm(matrix[:3, axis])
    columns = geometry.matrix[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    nearest = int(np.argmax(np.abs((columns / lengths).T @ direction)))
    matrix[:3, axis] = direction * lengths[nearest]
    return hd.Volume(volume.array, matrix, coordinate_system="PATIENT")


def write_segmentation(series: Series, bits: NDArray[np.int32], segments: Sequence[Segment], name: str) -> bytes:
    """A SEG object in bytes. bits: (k, rows, columns) as the series, bit i is segment i.

    A segment without a voxel is described and has no frame: looked for, and not there.
    """
    if series.shifts_mm.any():
        raise BadInput("a tilted series has no grid for a segmentation", where=str(series.path), do="write NIfTI")
    sources = sources_of(series)
    charset = charset_for(sources[0], [segment.title for segment in segments])
    array = _frames(series, bits, len(segments))
    entropy = [str(sources[0].SOPInstanceUID), name, hashlib.blake2b(np.ascontiguousarray(bits).data).hexdigest()]
    descriptions = [_description(i + 1, segment, entropy) for i, segment in enumerate(segments)]
    seg = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=array,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(entropy_srcs=[*entropy, "series"]),
        series_number=900,
        sop_instance_uid=generate_uid(entropy_srcs=[*entropy, "object"]),
        instance_number=1,
        manufacturer="smiler",
        manufacturer_model_name="smiler",
        software_versions=tool_version(),
        device_serial_number="-",
        content_label="ORGANS",
        series_description="smiler: organs",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=bool(array.any()),
        specific_character_set=None,  # set below: pydicom knows more of them than highdicom
    )
    if charset is not None:
        seg.SpecificCharacterSet = charset
    stream = io.BytesIO()
    seg.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _frames(series: Series, bits: NDArray[np.int32], count: int) -> NDArray[np.uint8]:
    """Segments as highdicom wants them, frames as the sources have them: a multi-frame object's in its own order.

    (k, rows, columns) of segment numbers where no two segments share a voxel, else (k, rows, columns, segments).
    """
    many = [source for source in series.sources if int(source.header.get("NumberOfFrames") or 1) > 1]
    if many and len(series.sources) > 1:
        raise BadInput("a segmentation refers to one multi-frame object", where=str(series.path), do="write NIfTI")
    if many:
        whole = np.zeros((int(many[0].header.NumberOfFrames), *bits.shape[1:]), dtype=np.int32)
        whole[[plane.frame for plane in series.planes]] = bits
        bits = whole
    if count < 256 and not (bits & (bits - 1)).any():
        flat = np.zeros(bits.shape, dtype=np.uint8)
        for i in range(count):
            flat[(bits >> i & 1).astype(bool)] = i + 1
        return flat
    return np.stack([(bits >> i & 1).astype(np.uint8) for i in range(count)], axis=-1)


def _description(number: int, segment: Segment, entropy: Sequence[str]) -> Any:
    lesion = segment.snomed in _LESIONS
    if segment.snomed:
        code = Code(segment.snomed, "SCT", _LESIONS.get(segment.snomed, segment.title))
    else:
        code = Code(segment.key[:16], "99SMILER", segment.title)
    made_by = None
    if segment.kind != "MANUAL":
        family = Code("123109", "DCM", "Manual Processing") if segment.kind == "SEMIAUTOMATIC" else _NETWORK
        made_by = hd.AlgorithmIdentificationSequence("smiler", family, tool_version())
    described = hd.seg.SegmentDescription(
        number,
        segment.title[:64],
        _ABNORMAL if lesion else _ANATOMY,
        code,
        segment.kind,
        made_by,
        tracking_uid=generate_uid(entropy_srcs=[*entropy, segment.key]),
        tracking_id=TRACKING + segment.key,
        anatomic_regions=[Code(segment.region[0], "SCT", segment.region[1])] if segment.region[0] else None,
    )
    side = next((code for word, code in _SIDES.items() if segment.key.endswith(f"_{word}")), None)
    if side is not None:
        concept = hd.sr.CodedConcept.from_code(side)
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [concept]
    return described


_NETWORK = Code("123110", "DCM", "Artificial Intelligence")


def sources_of(series: Series) -> list[Any]:
    """Headers of the series in the order of its slices, with what an anonymiser took away and a SEG must refer to."""
    fill = dict.fromkeys(_TYPE_2, "")
    made = {key: generate_uid(entropy_srcs=[series.sources[0].uid, key]) for key in _UIDS}
    headers = []
    for source in series.sources:
        header = source.header
        for key, value in fill.items():
            if key not in header:
                setattr(header, key, value)
        for key, uid in made.items():
            if not header.get(key):
                setattr(header, key, uid)
        header.SeriesInstanceUID = series.sources[0].header.SeriesInstanceUID  # slices may each have one of their own
        mend_values(header)
        if not header.get("SOPInstanceUID"):
            header.SOPInstanceUID = source.uid or generate_uid(entropy_srcs=[str(source.path)])
        if not header.get("SOPClassUID"):
            header.SOPClassUID = source.sop_class
        headers.append(header)
    return headers


_TYPE_2 = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


def _number(frame: Any) -> int:
    return int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
