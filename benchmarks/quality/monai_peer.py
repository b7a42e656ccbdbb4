"""MONAI as its tutorials train a network for CT organs: SegResNet in 3-D, DiceCELoss, CacheDataset, sliding windows.

Spacing is the median of the training set. AdamW with a cosine over the budget. Mirroring is left out: the parotids
have sides. Hidden annotations are background, as a label map has no other word for them.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import monai.transforms as mt
import nibabel as nib
import numpy as np
import torch
from monai.data import CacheDataset, DataLoader, decollate_batch
from monai.inferers import SlidingWindowInferer
from monai.losses import DiceCELoss
from monai.networks.nets import SegResNet
from monai.utils import set_determinism
from torch.utils.data import RandomSampler

from benchmarks.quality.clock import Budget
from benchmarks.quality.data import raw_data, save_masks
from benchmarks.quality.nnunet_peer import autocast
from benchmarks.quality.settings import METHODS, ORGANS, Job
from smiler.domain.cohort import Cohort

KEYS = ("image", "label")
WINDOW_HU = (-250, 750)
PATCH = (64, 64, 64)
CROPS = 2
LEARNING_RATE = 1e-3


def network() -> torch.nn.Module:
    """SegResNet of the tutorials."""
    return SegResNet(
        blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1), init_filters=16, in_channels=1, out_channels=len(ORGANS) + 1
    ).to(memory_format=torch.channels_last_3d)


def reading(keys: tuple[str, ...], spacing: list[float]) -> list[Any]:
    """The same in every epoch, and so cached."""
    modes = tuple("bilinear" if key == "image" else "nearest" for key in keys)
    return [
        mt.LoadImaged(keys),
        mt.EnsureChannelFirstd(keys),
        mt.Orientationd(keys, axcodes="RAS", labels=None),
        mt.Spacingd(keys, pixdim=spacing, mode=modes),
        mt.ScaleIntensityRanged("image", a_min=WINDOW_HU[0], a_max=WINDOW_HU[1], b_min=0, b_max=1, clip=True),
    ]


def changing() -> list[Any]:
    """Crops by label, one affine map, grey values."""
    modes = {"mode": ("bilinear", "nearest"), "padding_mode": "border"}
    affine = mt.RandAffined(KEYS, prob=0.5, rotate_range=[0.2] * 3, scale_range=[0.15] * 3, **modes)
    crop = mt.RandCropByPosNegLabeld(KEYS, label_key="label", spatial_size=PATCH, pos=1, neg=1, num_samples=CROPS)
    return [
        crop,
        affine,
        mt.RandScaleIntensityd("image", factors=0.1, prob=0.5),
        mt.RandShiftIntensityd("image", offsets=0.1, prob=0.5),
        mt.RandGaussianNoised("image", std=0.02, prob=0.2),
    ]


def train(work: Path, folder: Path, cohort: Path, job: Job, budget: Budget) -> dict[str, Any]:
    """The usual loop until the budget ends; facts for the row."""
    shutil.rmtree(folder / "raw", ignore_errors=True)
    raw_data(Cohort.open(cohort), folder / "raw", METHODS[job.method].data)
    images = sorted((folder / "raw" / "imagesTr").iterdir())
    files = [
        {"image": str(path), "label": str(folder / "raw" / "labelsTr" / path.name.replace("_0000", ""))}
        for path in images
    ]
    zooms = np.median([nib.load(path).header.get_zooms()[:3] for path in images], axis=0)
    spacing = [round(float(edge), 3) for edge in zooms]
    precision = json.loads((work / "facts.json").read_text())["precision"]
    set_determinism(job.seed)
    padded = mt.SpatialPadd(KEYS, spatial_size=PATCH)
    cases = CacheDataset(
        files, mt.Compose([*reading(KEYS, spacing), padded, *changing()]), num_workers=1, progress=False
    )
    budget.part("preparation")
    endless = RandomSampler(cases, replacement=True, num_samples=1_000_000)
    made = network().train()
    optimizer = torch.optim.AdamW(made.parameters(), lr=LEARNING_RATE, weight_decay=1e-5)
    loss_of, begin, steps = DiceCELoss(to_onehot_y=True, softmax=True), budget.spent, 0
    for batch in DataLoader(cases, batch_size=1, sampler=endless, num_workers=0):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * budget.share(begin)))
        optimizer.zero_grad(set_to_none=True)
        with autocast(precision):
            logits = made(batch["image"].as_tensor().contiguous(memory_format=torch.channels_last_3d))
        loss_of(logits.float(), batch["label"].as_tensor()).backward()
        optimizer.step()
        steps += 1
        if budget.left <= 0:
            break
    budget.part("training")
    torch.save(made.state_dict(), folder / "network.pt")
    (folder / "spacing.json").write_text(json.dumps(spacing))
    facts = {"batch": CROPS, "patch": PATCH, "spacing_mm": spacing, "learning_rate": LEARNING_RATE}
    return {"steps": steps, "precision": precision} | facts


def predict(folder: Path, test: Path, out: Path, job: Job, precision: str) -> dict[str, Any]:  # noqa: ARG001
    """Sliding windows with half overlap and Gaussian weights, inverted to the file's own grid."""
    spacing, cohort = json.loads((folder / "spacing.json").read_text()), Cohort.open(test)
    made = network().eval()
    made.load_state_dict(torch.load(folder / "network.pt", weights_only=True))
    before = mt.Compose(reading(("image",), spacing))
    after = mt.Compose(
        [
            mt.Invertd("pred", transform=before, orig_keys="image", nearest_interp=False, to_tensor=True),
            mt.AsDiscreted("pred", argmax=True),
        ]
    )
    inferer = SlidingWindowInferer(PATCH, sw_batch_size=2, overlap=0.5, mode="gaussian")
    for case in cohort:
        path = cohort.image_path(case)
        batch = next(iter(DataLoader([before({"image": str(path)})], batch_size=1)))
        with torch.inference_mode(), autocast(precision):
            batch["pred"] = inferer(batch["image"], made).float()
        labels = after(decollate_batch(batch)[0])["pred"][0]
        save_masks(out / case.id, np.asarray(labels).astype(np.uint8), nib.load(path).affine)
    return {"test_time": "half overlap, Gaussian weights, no mirroring"}
