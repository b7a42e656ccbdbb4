"""What is compared and how large: one frozen set of sizes, the same for every peer."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

ORGANS = ("liver", "stomach", "pancreas", "spleen", "kidney_right", "kidney_left", "gallbladder", "aorta")
NETWORKS = {
    "unet": ("network.name=unet",),
    "deeplab34": ("network.name=deeplab", "network.depth=34"),
}
WINDOW_HU = (-160, 240)
COARSE_MM = 1.5
"""In-plane spacing of the second prediction, smiler's usual working grid: all go there and back to the file's grid."""


@dataclass(frozen=True)
class Settings:
    """Sizes in voxels (z, y, x); `steps` are timed after `warm` untimed ones; `learn` steps make the shared weights.

    `spacing_mm`: in-plane spacing of the working grid; 0 stands for the spacing of the predicted volume, so that
    networks see its slices as they are.
    """

    cases: int = 8
    cohort_zyx: tuple[int, int, int] = (32, 512, 512)
    volume_zyx: tuple[int, int, int] = (100, 512, 512)
    patch: int = 256
    batch: int = 8
    learn: int = 150
    warm: int = 5
    steps: int = 20
    repeats: int = 3
    alpha: float = 0.5
    seed: int = 0
    threads: int = os.cpu_count() or 1

    def save(self, work: Path) -> None:
        """Beside the data that they made."""
        (work / "settings.json").write_text(json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, work: Path) -> Settings:
        """Those of a work folder."""
        table = json.loads((work / "settings.json").read_text())
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})


SIZES = {
    "full": Settings(),
    "short": Settings(6, (24, 512, 512), (50, 512, 512), learn=60, warm=2, steps=10, repeats=1),
    "small": Settings(4, (16, 256, 256), (40, 256, 256), patch=128, learn=120, steps=10, repeats=1, threads=1),
    "tiny": Settings(3, (12, 96, 96), (10, 96, 96), patch=64, learn=6, warm=1, steps=3, repeats=1, threads=1),
}
