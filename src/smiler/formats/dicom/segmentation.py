"""DICOM-SEG: segments as masks on a CT's grid, and masks as a SEG object with SNOMED CT codes (through highdicom)."""

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from smiler.domain.errors import BadInput
from smiler.domain.geometry import TOLERANCE_MM, Geometry
from smiler.domain.provenance import tool_version
from smiler.formats.dicom.objects import UNREADABLE, Object
from smiler.formats.dicom.segments import TRACKING, Segment
from smiler.formats.dicom.series import Series
from smiler.formats.dicom.stacking import Stacker

_ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
_SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}
_LESIONS = {"108369006": "Neoplasm", "367643001": "Cyst"}


def describe(found: Object) -> list[dict[str, Any]]:
    """Per segment: number, names it may be known by, SNOMED code, side, algorithm type, and whether it has pixels."""
    frames = found.header.get("PerFrameFunctionalGroupsSequence") or ()
    shared = (found.header.get("SharedFunctionalGroupsSequence") or ()) if frames else ()
    drawn = {_number(group) for group in (*frames, *shared) if "SegmentIdentificationSequence" in group}
    if found.header.get("SegmentationType") == "LABELMAP":
        drawn = {int(row.SegmentNumber) for row in found.header.SegmentSequence}
    told = []
    for row in found.header.get("SegmentSequence") or ():
        kind = (row.get("SegmentedPropertyTypeCodeSequence") or [None])[0]
        side = (kind.get("SegmentedPropertyTypeModifierCodeSequence") or [None])[0] if kind is not None else None
        told.append(
            {
                "number": int(row.SegmentNumber),
                "key": str(row.get("TrackingID") or "").removeprefix(TRACKING)
                if str(row.get("TrackingID") or "").startswith(TRACKING)
                else "",
                "names": [str(row.get("SegmentLabel") or ""), str(kind.CodeMeaning) if kind is not None else ""],
                "snomed": str(kind.CodeValue) if kind is not None else "",
                "side": str(side.CodeMeaning).lower() if side is not None else "",
                "kind": str(row.get("SegmentAlgorithmType") or ""),
                "drawn": int(row.SegmentNumber) in drawn,
            }
        )
    return told


def read_segmentation(found: Object, geometry: Geometry) -> Stacker:
    """Every segment on the CT's canonical grid; labels are segment numbers.

    BadInput for a fractional segmentation, or one that does not lie on the CT's grid.
    """
    where = str(found.path)
    kind = str(found.header.get("SegmentationType"))
    if kind not in ("BINARY", "LABELMAP"):
        raise BadInput("only binary segmentations say what is drawn", where=where, got=kind, do="threshold it first")
    try:
        seg: Any = hd.seg.segread(io.BytesIO(found.entry.read()))
    except UNREADABLE as error:
        raise BadInput("the segmentation can't be read", where=where, got=ascii(str(error)[:200])[1:-1]) from error
    target = hd.VolumeGeometry(geometry.matrix, geometry.shape, coordinate_system="PATIENT")
    stack = Stacker(geometry.shape)
    for row in describe(found):
        mask = np.zeros(geometry.shape, dtype=bool)
        if row["drawn"]:
            mask = _segment(seg, row["number"], target, geometry, where)
        stack.add(row["number"], mask)
    return stack


def _segment(seg: Any, number: int, target: Any, geometry: Geometry, where: str) -> NDArray[np.bool_]:
    try:
        volume = seg.get_volume(segment_numbers=[number], allow_missing_positions=True, dtype=np.uint8)
        volume = volume.with_array(volume.array[..., 0])
        if 1 in volume.spatial_shape:
            volume = _thick(volume, geometry)
        before = int(np.count_nonzero(volume.array))
        matched = volume.match_geometry(target, tol=TOLERANCE_MM)
    except UNREADABLE as error:
        got = ascii(str(error)[:200])[1:-1]
        do = "give the CT series on which it was drawn"
        raise BadInput("the segmentation does not lie on the CT's grid", where=where, got=got, do=do) from error
    mask: NDArray[np.bool_] = matched.array > 0
    if int(np.count_nonzero(mask)) != before:
        got = f"{before - int(np.count_nonzero(mask))} voxels of segment {number}"
        raise BadInput("the segmentation reaches beyond the CT", where=where, got=got)
    return mask


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
    )
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
