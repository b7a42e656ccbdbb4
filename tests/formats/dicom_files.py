"""DICOM series written by script: a CT with any orientation, spacing and fault."""

import copy
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
