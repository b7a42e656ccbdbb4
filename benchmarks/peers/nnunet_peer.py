"""nnU-Net v2: its trainer, loader and augmentation, its predictor and export, around smiler's network.

A trainer that builds another network is nnU-Net's documented way of extending it. On a CPU nnU-Net itself computes in
float32; the common precision is put around it. Mirroring at test time is off: it would cost four times as much.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from benchmarks.peers.measure import (
    autocast,
    coarse_yx,
    fresh_network,
    images_per_second,
    predicted,
    timed,
    trained_network,
)
from benchmarks.peers.nnunet_data import TRAINING, WHOLE_SLICES, plans_path, point_to
from benchmarks.peers.settings import COARSE_MM, Settings
from torch import nn


def described(work: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plans and description of the data set."""
    about = plans_path(work).parent / "dataset.json"
    return json.loads(plans_path(work).read_text()), json.loads(about.read_text())


def trainer_of(made: nn.Module, augmentation: str) -> type[Any]:
    """nnU-Net's trainer, or its own variant without augmentation, that trains this network."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoDA import nnUNetTrainerNoDA

    base: Any = nnUNetTrainerNoDA if augmentation == "plain" else nnUNetTrainer

    class Ours(base):
        """One output, no deep supervision."""

        def __init__(self, plans: Any, configuration: str, fold: str, dataset_json: Any, device: Any) -> None:
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.enable_deep_supervision = False

        @staticmethod
        def build_network_architecture(plans_manager: Any, *_: Any, **__: Any) -> nn.Module:  # noqa: ARG004
            return made

    return Ours


def train(work: Path, network: str, workers: str, augmentation: str = "default") -> dict[str, float]:
    """Its loader and its step: loss, clipping and optimiser are its own."""
    point_to(work)
    os.environ |= {"nnUNet_n_proc_DA": workers}
    plans, dataset = described(work)
    made = fresh_network(work, network).train()
    kind = trainer_of(made, augmentation)
    trainer = kind(plans | {"continue_training": False}, TRAINING, "all", dataset, torch.device("cpu"))
    trainer.initialize()
    loader, _ = trainer.get_dataloaders()

    def step(batch: dict[str, Any]) -> None:
        with autocast(work):
            trainer.train_step(batch)

    return images_per_second(loader, step, Settings.load(work))


def predict(work: Path, network: str, way: str) -> dict[str, float]:
    """From the file to a label map on disk, as `nnUNetv2_predict` does it with and without further processes."""
    return through(work, network, "predict", way)


def coarse(work: Path, network: str) -> dict[str, float]:
    """The same by way of the coarse grid, with the resampling of its own plans."""
    stride = fresh_network(work, network).stride
    whole = [-(-edge // stride) * stride for edge in coarse_yx(work)]
    changes = {"inherits_from": TRAINING, "patch_size": whole, "spacing": [COARSE_MM] * 2}
    return through(work, network, "coarse", "sequential", changes)


def through(work: Path, network: str, kind: str, way: str, changes: dict[str, Any] | None = None) -> dict[str, float]:
    """Seconds from the file to the label map, in a configuration with `changes`."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    point_to(work)
    out = predicted(work, "nnunet", network, kind)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    plans, dataset = described(work)
    if changes:
        plans["configurations"][WHOLE_SLICES] = changes

    def run() -> None:
        made, manager = trained_network(work, network), PlansManager(plans)
        predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
        whole = manager.get_configuration(WHOLE_SLICES)
        predictor.manual_initialization(made, manager, whole, [made.state_dict()], dataset, "nnUNetTrainer", None)
        files, names = [[str(work / "volume.nii.gz")]], [str(out / "volume")]
        with autocast(work):
            if way == "sequential":
                predictor.predict_from_files_sequential(files, names)
            else:
                predictor.predict_from_files(
                    files, names, num_processes_preprocessing=1, num_processes_segmentation_export=1
                )

    return timed(run)
