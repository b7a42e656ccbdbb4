"""MONAI as its tutorials and its guide to fast training use it: dictionary transforms, cached data sets, DataLoader.

Indices of foreground are cached, crops are made several a volume, one affine map rotates, scales and shifts, and a
slice inferer predicts several slices a pass. Draws, strengths and grey values are smiler's.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import monai.transforms as mt
import numpy as np
import torch
from benchmarks.peers import data
from benchmarks.peers.measure import (
    autocast,
    fresh_network,
    grey_range,
    images_per_second,
    predicted,
    timed,
    trained_network,
)
from benchmarks.peers.settings import COARSE_MM, WINDOW_HU, Settings
from monai.data import CacheDataset, DataLoader, Dataset, PersistentDataset, decollate_batch
from monai.inferers import SliceInferer
from monai.losses import DiceCELoss
from torch.utils.data import RandomSampler

CROPS_A_VOLUME = 4
FOREGROUND_TO_BACKGROUND = 4


def reading(work: Path, keys: Sequence[str], spacing: float | None = None) -> list[Any]:
    """From files to a grid, else the common one, and grey values: the same in every epoch, and so can be cached."""
    spacing = spacing or float(data.facts_of(work)["spacing_mm"])
    modes = tuple("bilinear" if key == "image" else "nearest" for key in keys)
    low, high = grey_range(work)
    return [
        mt.LoadImaged(keys),
        mt.EnsureChannelFirstd(keys),
        mt.Orientationd(keys, axcodes="LPS", labels=None),
        mt.Spacingd(keys, pixdim=(spacing, spacing, -1), mode=modes),
        mt.ScaleIntensityRanged("image", a_min=WINDOW_HU[0], a_max=WINDOW_HU[1], b_min=low, b_max=high, clip=True),
    ]


def changing(settings: Settings) -> list[Any]:
    """Crops of single slices, and random changes as strong as smiler's."""
    keys, shift = ("image", "label"), 0.05 * settings.patch
    crop = mt.RandCropByPosNegLabeld(
        keys,
        label_key="label",
        spatial_size=(settings.patch, settings.patch, 1),
        pos=FOREGROUND_TO_BACKGROUND,
        neg=1,
        num_samples=CROPS_A_VOLUME,
        fg_indices_key="label_fg",
        bg_indices_key="label_bg",
    )
    affine = mt.RandAffined(
        keys,
        prob=1.0,
        rotate_range=float(np.deg2rad(12)),
        scale_range=(0.15, 0.15),
        translate_range=(shift, shift),
        mode=("bilinear", "nearest"),
        padding_mode="border",
    )
    return [
        crop,
        mt.SelectItemsd(keys),
        mt.SqueezeDimd(keys, dim=-1),
        affine,
        mt.RandScaleIntensityd("image", factors=0.15, prob=1.0),
        mt.RandShiftIntensityd("image", offsets=0.15, prob=1.0),
        mt.RandGaussianNoised("image", std=0.05, prob=1.0),
    ]


def training_set(work: Path, cache: str) -> Dataset:
    """All cases, cached in memory or on disk up to the first random transform."""
    keys, settings = ("image", "label"), Settings.load(work)
    padded = mt.SpatialPadd(keys, spatial_size=(settings.patch, settings.patch, 1))
    steps = [*reading(work, keys), padded, mt.FgBgToIndicesd("label"), *changing(settings)]
    cohort = data.cohort_of(work)
    files = [{"image": cohort.image_path(c), "label": work / "flat" / f"{c.id}.nii.gz"} for c in cohort]
    if cache == "disk":
        return PersistentDataset(files, mt.Compose(steps), cache_dir=work / "monai_train")
    return CacheDataset(files, mt.Compose(steps), progress=False)


def train(work: Path, network: str, cache: str, workers: str) -> dict[str, float]:
    """The usual loop. Epochs have no end here, so that short ones cost nothing."""
    settings, volumes = Settings.load(work), Settings.load(work).batch // CROPS_A_VOLUME
    cases = training_set(work, cache)
    endless = RandomSampler(cases, replacement=True, num_samples=volumes * 10_000)
    loader = DataLoader(cases, batch_size=volumes, sampler=endless, num_workers=int(workers))
    made = fresh_network(work, network).train()
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-3)
    loss_of = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)

    def step(batch: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(work):
            logits = made(batch["image"].contiguous(memory_format=torch.channels_last))
            loss = loss_of(logits.float(), batch["label"])
        loss.backward()
        optimizer.step()

    return images_per_second(loader, step, settings)


def predict(work: Path, network: str, cache: str = "") -> dict[str, float]:
    """Preprocessing, slices by the batch, inversion to the file's grid, argmax, file."""
    return through(work, network, "predict", cache=cache)


def coarse(work: Path, network: str) -> dict[str, float]:
    """The same by way of the coarse grid, which the inversion leaves by linear interpolation of each organ's logits."""
    return through(work, network, "coarse", COARSE_MM)


def through(work: Path, network: str, kind: str, spacing: float | None = None, cache: str = "") -> dict[str, float]:
    """Seconds from the file to the label map."""
    settings, out = Settings.load(work), predicted(work, "monai", network, kind)
    shutil.rmtree(out, ignore_errors=True)
    files = [{"image": work / "volume.nii.gz"}]
    stride = fresh_network(work, network).stride
    padded = mt.DivisiblePadd("image", k=(stride, stride, 1), mode="edge")
    before = mt.Compose([*reading(work, ("image",), spacing), padded])
    after = mt.Compose(
        [
            mt.Invertd("pred", transform=before, orig_keys="image", nearest_interp=False, to_tensor=True),
            mt.AsDiscreted("pred", argmax=True),
            mt.SaveImaged(
                "pred", output_dir=out, output_postfix="", output_dtype=np.uint8, separate_folder=False, resample=False
            ),
        ]
    )

    def run() -> None:
        made = trained_network(work, network)
        cases = PersistentDataset(files, before, cache_dir=work / "monai_predict") if cache else Dataset(files, before)
        with torch.inference_mode(), autocast(work):
            for batch in DataLoader(cases, batch_size=1):
                slices = SliceInferer(
                    roi_size=batch["image"].shape[2:4], sw_batch_size=settings.batch, spatial_dim=2, overlap=0
                )
                batch["pred"] = slices(batch["image"], lambda image: made(image.mT).mT)
                for case in decollate_batch(batch):
                    after(case)

    return timed(run)
