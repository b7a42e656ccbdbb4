"""DICOM series written by script: a CT with any orientation, spacing and fault."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

Mend = Callable[[int, Dataset], None]


@dataclass
class Slices:
    """A CT of `hu` (k, rows, columns); slice k lies at origin + k * spacing_z * normal."""

    hu: NDArray[np.int16]
    right: tuple[float, float, float] = (1, 0, 0)
    down: tuple[float, float, float] = (0, 1, 0)
    origin: tuple[float, float, float] = (-20.0, -30.0, 40.0)
    spacing: tuple[float, float, float] = (2.5, 1.25, 0.75)
    syntax: UID = ExplicitVRLittleEndian
    slope: float | None = 1.0
    intercept: float | None = -1024.0
    series: str = field(default_factory=lambda: generate_uid(entropy_srcs=["series"]))
    mend: Mend | None = None

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.right, self.down)

    def dataset(self, k: int) -> Dataset:
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[self.series, str(k)])
        ds.SeriesInstanceUID, ds.StudyInstanceUID = self.series, generate_uid(entropy_srcs=["study"])
        ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame"])
        ds.PatientID, ds.PatientName, ds.Modality = "P1", "Test^Patient", "CT"
        ds.StudyDate = ds.StudyTime = ds.PatientBirthDate = ds.PatientSex = ""
        ds.StudyID = ds.AccessionNumber = ds.ReferringPhysicianName = ""
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SeriesNumber, ds.InstanceNumber = 3, k + 1
        ds.Rows, ds.Columns = self.hu.shape[1:]
        ds.PixelSpacing = [self.spacing[1], self.spacing[2]]
        ds.SliceThickness = 9.0  # wrong on purpose: nothing may believe it
        ds.ImageOrientationPatient = [*map(float, self.right), *map(float, self.down)]
        ds.ImagePositionPatient = [float(v) for v in np.array(self.origin) + k * self.spacing[0] * self.normal]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        if self.slope is not None:
            ds.RescaleSlope = self.slope
        if self.intercept is not None:
            ds.RescaleIntercept = self.intercept
        raw = np.rint((self.hu[k].astype(float) - (self.intercept or 0)) / (self.slope or 1))
        ds.PixelData = raw.astype("<u2").tobytes()
        if self.syntax != ExplicitVRLittleEndian:
            ds.compress(self.syntax, generate_instance_uid=False)
        if self.mend is not None:
            self.mend(k, ds)
        return ds

    def write(self, folder: Path, name: Callable[[int], str] = lambda k: f"image_{k}") -> Path:
        """One file a slice; by default named so that no alphabetical order is right."""
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(len(self.hu)):
            self.dataset(k).save_as(folder / name(k), enforce_file_format=True)
        return folder


def ct(shape: tuple[int, int, int] = (7, 10, 12), seed: int = 0) -> NDArray[np.int16]:
    """A volume in which every voxel tells where it is."""
    return np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)


def blobs(shape: tuple[int, int, int], organs: int, seed: int = 0) -> NDArray[np.int32]:
    """Overlapping random boxes with holes and single voxels, bit i is organ i."""
    rng = np.random.default_rng(seed)
    bits = np.zeros(shape, dtype=np.int32)
    for i in range(organs):
        for _ in range(3):
            low = [int(rng.integers(0, n)) for n in shape]
            box: Any = tuple(slice(a, a + int(rng.integers(1, n))) for a, n in zip(low, shape, strict=True))
            bits[box] ^= np.int32(1 << i)
    return bits


ORIENTATIONS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "axial, columns from the left": ((-1, 0, 0), (0, 1, 0)),
    "axial, rows from the back": ((1, 0, 0), (0, -1, 0)),
    "axial, prone": ((-1, 0, 0), (0, -1, 0)),
    "axial, rows and columns swapped": ((0, 1, 0), (1, 0, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "sagittal from the feet": ((0, -1, 0), (0, 0, 1)),
}


def enhanced(made: Slices, folder: Path, order: list[int], late: Slices | None = None) -> Path:
    """One multi-frame object with its frames in this order; those after the last slice are of `late`."""
    single = [made.dataset(k) for k in range(len(made.hu))]
    pixels = [(late if late and i >= len(made.hu) else made).dataset(k).PixelData for i, k in enumerate(order)]
    ds = copy.deepcopy(single[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    ds.NumberOfFrames = len(order)
    for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(ds, key)
    shared, orientation, measures, values = Dataset(), Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = single[0].ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = single[0].PixelSpacing, made.spacing[0]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence = [values]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in order:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = single[k].ImagePositionPatient
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.PixelData = b"".join(pixels)
    folder.mkdir(parents=True, exist_ok=True)
    ds.save_as(folder / "enhanced.dcm", enforce_file_format=True)
    return folder


def bare(ds: Dataset, path: Path, *, implicit: bool = True) -> Path:
    """A data set alone: no preamble, no 'DICM', no file meta information."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, implicit
    write_dataset(stream, ds)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stream.getvalue())
    return path


def segmentation(made: Slices, bits: NDArray[np.int32], names: dict[int, str], kind: str = "BINARY") -> Any:
    """A DICOM-SEG by another tool on these slices: segment `number` is bit `number - 1` of (k, rows, columns)."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    array: Any = np.stack([(bits >> (n - 1) & 1).astype(np.uint8) for n in names], axis=-1)
    if kind == "LABELMAP":
        array = sum((array[..., i] * np.uint8(i + 1) for i in range(len(names))), np.zeros(bits.shape, np.uint8))
    if kind == "FRACTIONAL":
        array = array.astype(np.float32)
    rows = [
        hd.seg.SegmentDescription(i + 1, name, codes.SCT.Organ, codes.SCT.Organ, "MANUAL")
        for i, name in enumerate(names.values())
    ]
    return hd.seg.Segmentation(
        source_images=[made.dataset(k) for k in range(len(made.hu))],
        pixel_array=array,
        segmentation_type=kind,
        segment_descriptions=rows,
        series_instance_uid=generate_uid(),
        series_number=50,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="other",
        manufacturer_model_name="other",
        software_versions="1",
        device_serial_number="1",
        **({"fractional_type": "PROBABILITY"} if kind == "FRACTIONAL" else {}),
    )


Lines = list[tuple[str, NDArray[np.float64]]]


def outlines(made: Slices, mask: NDArray[np.bool_]) -> Lines:
    """Closed contours round a mask (k, rows, columns), halfway between voxel centres, in LPS mm."""
    from contourpy import contour_generator

    lines: Lines = []
    for k, plane in enumerate(mask):
        found: Any = contour_generator(z=np.pad(plane, 1).astype(float)).lines(0.5)
        for line in found:
            lines.append(("CLOSED_PLANAR", points(made, k, line[:-1] - 1)))
    return lines


def points(made: Slices, k: float, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 3) in LPS mm of points (n, 2), column and row, on slice k."""
    down, right = np.array(made.down, float) * made.spacing[1], np.array(made.right, float) * made.spacing[2]
    first = np.array(made.origin) + k * made.spacing[0] * made.normal
    return np.asarray(first + at[:, :1] * right + at[:, 1:] * down)


def structure_set(made: Slices, rois: list[tuple[str, Lines | None]], syntax: UID = ExplicitVRLittleEndian) -> Dataset:
    """An RTSTRUCT by another tool: ROIs by name, each with its contours, or without a Contour Sequence."""
    first = made.dataset(0)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PatientID, ds.Modality, ds.SeriesInstanceUID = first.PatientID, "RTSTRUCT", generate_uid()
    ds.StudyInstanceUID = first.StudyInstanceUID
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID, series.ContourImageSequence = first.SeriesInstanceUID, []
    for k in range(len(made.hu)):
        image = Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CTImageStorage, made.dataset(k).SOPInstanceUID
        series.ContourImageSequence.append(image)
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = first.FrameOfReferenceUID, [study]
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, lines) in enumerate(rois, start=1):
        roi, row = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "MANUAL"
        row.ReferencedROINumber = number
        if lines is not None:
            row.ContourSequence = []
            for kind, xyz in lines:
                contour = Dataset()
                contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(xyz)
                contour.ContourData = [f"{v:.3f}" for v in xyz.ravel()]
                row.ContourSequence.append(contour)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(row)
    return ds


def saved(ds: Dataset, path: Path) -> Path:
    """Write an object to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a long contour in explicit VR is written as UN, and told
        ds.save_as(path, enforce_file_format=True)
    return path
