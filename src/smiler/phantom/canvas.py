"""The volume being painted: first come, first served, so exclusive organs never overlap."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from smiler.phantom.arrays import BoolArray, LabelArray
from smiler.phantom.frame import Frame
from smiler.phantom.shapes import FAR_MM, Shape
from smiler.phantom.tissue import Tissue

LARGEST_SWELLING_MM = 14.0


@dataclass(frozen=True)
class Canvas:
    """The tissue of every voxel, uint8 (z, y, x), and the frame it is painted in."""

    frame: Frame
    labels: LabelArray

    def fill(self, shape: Shape, tissue: Tissue, where: Tissue = Tissue.FREE) -> BoolArray:
        """Paint the shape's inside over voxels made of `where`; return the painted voxels."""
        region = self.labels[shape.window]
        inside = (shape.field <= 0) & (region == where)
        region[inside] = tissue
        return self._whole(shape, inside)

    def claim(self, shape: Shape, tissue: Tissue, volume_ml: float, fat_mm: float = 0.0) -> BoolArray:
        """Give an organ the free voxels of the shape, swollen or shrunk to reach `volume_ml`.

        Only the largest connected piece is kept and a layer of fat `fat_mm` thick is reserved
        around it. Returns the organ's mask, bool (z, y, x), with at least one voxel while the
        window has a free one.
        """
        region = self.labels[shape.window]
        free = region == Tissue.FREE
        field = np.where(free, shape.field, np.float32(FAR_MM))
        level = _level(field, round(volume_ml / self.frame.voxel_ml))
        inside = _largest_piece(free & (field <= level))
        region[inside] = tissue
        region[free & ~inside & (field <= level + fat_mm)] = Tissue.ORGAN_FAT
        return self._whole(shape, inside)

    def _whole(self, shape: Shape, inside: BoolArray) -> BoolArray:
        mask = np.zeros(self.labels.shape, bool)
        mask[shape.window] = inside
        return mask


def _level(field: np.ndarray[tuple[int, ...], np.dtype[np.float32]], voxels: int) -> float:
    """The field's value below which `voxels` voxels lie, kept within a plausible swelling."""
    flat = field.ravel()
    rank = min(max(voxels, 1), flat.size) - 1
    level = min(float(np.partition(flat, rank)[rank]), LARGEST_SWELLING_MM)
    return max(level, float(flat.min()))


def _largest_piece(mask: BoolArray) -> BoolArray:
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax(), dtype=bool)
