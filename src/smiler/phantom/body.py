"""The body around the organs: skin, fat, muscle, skeleton, lungs, heart, and the table under it."""

import numpy as np
from scipy import ndimage

from smiler.phantom.arrays import BoolArray, FloatArray, LabelArray
from smiler.phantom.frame import CAVITY_HALF_WIDTH_MM, WALL_MM, Frame
from smiler.phantom.patient import Patient
from smiler.phantom.tissue import Tissue

SPINE_Y_MM = 38.0


def paint_body(frame: Frame, patient: Patient) -> LabelArray:
    """Tissue labels, uint8 (z, y, x), with the abdominal cavity left FREE for the organs."""
    labels = np.full(frame.shape, Tissue.AIR, np.uint8)
    girth = 0.97 + 0.04 * patient.visceral
    half = CAVITY_HALF_WIDTH_MM * girth
    front, back = -97.0 - 8 * (patient.visceral - 1), 73.0
    fat = patient.fat_mm
    cavity = _oval(frame, half, front, back)
    wall = _oval(frame, half + WALL_MM, front - 8, back + 33)
    body = _oval(frame, half + WALL_MM + fat, front - 8 - 0.9 * fat, back + 33 + 0.7 * fat)
    skin_mm = max(2.5, 0.7 * frame.spacing[2])
    labels[body < 0] = Tissue.SKIN
    labels[body < -skin_mm] = Tissue.FAT
    labels[wall < 0] = Tissue.MUSCLE
    _paint_muscle_fat(frame, labels, wall)
    labels[cavity < 0] = Tissue.FREE
    _paint_chest(frame, labels, cavity)
    _paint_ribs(frame, labels, _oval(frame, half + WALL_MM / 2, front - 4, back + 9))
    _paint_spine(frame, labels)
    _paint_table(frame, labels)
    return labels


def _oval(frame: Frame, half_width: float, front: float, back: float) -> FloatArray:
    """About the distance in mm to a rounded box in the axial plane, (z, y, x); negative inside."""
    middle, half_depth = (front + back) / 2, (back - front) / 2
    taper = 1 - np.float32(0.0009) * np.clip(frame.outer[0] - 130, 0, None)
    x = np.abs(frame.outer[2]) / (half_width * taper)
    y = np.abs(frame.outer[1] - middle) / half_depth
    power = x * x * np.sqrt(np.sqrt(x)) + y * y * np.sqrt(np.sqrt(y))
    return np.asarray((power - 1) * (half_depth / 2.25), dtype=np.float32)


def _paint_muscle_fat(frame: Frame, labels: LabelArray, wall: FloatArray) -> None:
    """Fat between the muscles: the back outside the erector spinae, and the linea alba."""
    _, y, x = frame.outer
    erector = ((np.abs(x) - 36) / 31) ** 2 + ((y - 80) / 25) ** 2 < 1
    flank = np.clip(0.16 * (np.abs(x) - 60), 4, 11) + 2 * frame.lumps
    back = (y > 48) & ~erector & (wall < -flank) & (np.abs(x) < 118)
    alba = (np.abs(x) < 5) & (y < 0)
    labels[(labels == Tissue.MUSCLE) & (back | alba)] = Tissue.FAT


def _dome_height(frame: Frame) -> FloatArray:
    """Height of the diaphragm in mm over every voxel, (z, y, x)."""
    _, y, x = frame.inner
    steep = np.where(y < -5, np.float32(24), np.float32(66))
    fall = ((y + 5) / 85) ** 2 * steep
    right = 190 - ((x + 62) / 78) ** 2 * 46
    left = 170 - ((x - 68) / 72) ** 2 * 44
    saddle = 158 - (x / 130) ** 2 * 40
    return np.asarray(np.maximum(np.maximum(right, left), saddle) - fall, dtype=np.float32)


def _paint_chest(frame: Frame, labels: LabelArray, cavity: FloatArray) -> None:
    z, y, x = frame.inner
    above = (cavity < 0) & (z > _dome_height(frame))
    heart = ((z - 204) / 52) ** 2 + ((y + 48) / 46) ** 2 + ((x - 22) / 62) ** 2 < 1
    mediastinum = (np.abs(x - 8) < 26) & (y > -10) & (y < 40)
    labels[above] = Tissue.LUNG
    diaphragm = ndimage.binary_dilation(labels == Tissue.FREE, np.ones((1, 3, 3), bool)) & above
    labels[diaphragm] = Tissue.MUSCLE
    labels[above & mediastinum & ~diaphragm] = Tissue.FAT
    labels[above & heart & ~diaphragm] = Tissue.HEART


def _paint_ribs(frame: Frame, labels: LabelArray, ring: FloatArray) -> None:
    """Ribs run down towards the front; the costal arch frees the upper abdomen."""
    z, y, x = frame.outer
    along = np.mod(z - 0.45 * y, 29.0)
    arch = z > 22 + np.clip(-y, 0, None) * 1.15
    rib = (np.abs(ring) < 4.2) & (along < 10.5) & arch & (np.abs(x) > 40)
    xiphoid = (np.abs(ring) < 5) & (np.abs(x) < 15) & (z > 160) & (y < 0)
    labels[rib | xiphoid] = Tissue.BONE_CORTEX
    labels[rib & (np.abs(ring) < 2.0) & (along > 3) & (along < 8)] = Tissue.BONE_MARROW


def _paint_spine(frame: Frame, labels: LabelArray) -> None:
    z, y, x = frame.outer
    y = y - np.float32(SPINE_Y_MM) - np.float32(0.05) * (z - 80)
    along = np.mod(z, 35.0)
    body = np.sqrt((x / 22.5) ** 2 + (y / 17) ** 2)
    canal = np.sqrt(x**2 + (y - 26) ** 2)
    spinous = (np.abs(x) < 3.5) & (y > 36) & (y < 60) & (along > 6) & (along < 26)
    transverse = (np.abs(x) < 42) & (np.abs(y - 22) < 4.5) & (along > 12) & (along < 22)
    arch = (canal < 14.5) & (along > 4)
    labels[spinous | transverse | arch] = Tissue.BONE_CORTEX
    labels[(canal < 12) & (y > 36)] = Tissue.BONE_CORTEX
    labels[body < 1] = Tissue.BONE_CORTEX
    labels[body < 0.88] = Tissue.BONE_MARROW
    labels[(body < 0.97) & (along < 8)] = Tissue.DISC
    labels[canal < 9] = Tissue.CANAL
    _paint_back_muscles(frame, labels, y)


def _paint_back_muscles(frame: Frame, labels: LabelArray, y: FloatArray) -> None:
    """Psoas, growing downwards beside the spine, and the crura of the diaphragm."""
    z, _, x = frame.outer
    size = np.clip(9 + (55 - z) * 0.16, 0.1, 24)
    side = np.abs(x) - (21 + 0.55 * size)
    psoas = (side / size) ** 2 + ((y - 6) / (1.25 * size)) ** 2 < 1
    quadratus = (np.abs(np.abs(x) - 66) < 16) & (np.abs(y - 24) < 7) & (z < 50)
    crus = (np.abs(np.abs(x - 4) - 21) < 4.5) & (np.abs(y + 20) < 15) & (z > 50) & (z < 150)
    soft = (labels == Tissue.FREE) & ((psoas & (z < 60)) | quadratus | crus)
    labels[soft] = Tissue.MUSCLE


def _paint_table(frame: Frame, labels: LabelArray) -> None:
    """A curved carbon shell filled with foam, a few mm under the patient's back."""
    rows = np.flatnonzero((labels != Tissue.AIR).any(axis=(0, 2)))
    pitch, x = frame.spacing[1], (frame.axes[2] / 190) ** 2
    top = (rows[-1] + 1) * pitch + 7 - 26 * x
    depth = (np.arange(frame.shape[1])[:, None] + 0.5) * pitch - top[None, :]
    air: BoolArray = labels == Tissue.AIR
    shell, foam = (depth > 0) & (depth < 34 - 26 * x), (depth > 6.5) & (depth < 27.5 - 26 * x)
    labels[air & shell] = Tissue.TABLE_SHELL
    labels[air & foam] = Tissue.TABLE_FOAM
