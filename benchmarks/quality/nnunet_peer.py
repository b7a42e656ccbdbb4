"""nnU-Net v2 as it is: its fingerprint, plans, networks, loss, augmentation, optimiser and sliding window.

What is changed, and told in the row: its poly schedule runs over the budget instead of 1,000 epochs, augmentation runs
in the same process, its validation after each epoch is left out, the batch is lowered where its own would not leave
100 steps, and on a CPU that multiplies bf16 it computes in bf16 by autocast, as smiler does (by itself: float32).
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from benchmarks.quality.clock import Budget, cpu_seconds
from benchmarks.quality.data import raw_data, save_masks
from benchmarks.quality.settings import LEAST_STEPS, METHODS, ORGANS, Job
from smiler.domain.cohort import Cohort

PLANS = "nnUNetPlans"
TIMED, TIMED_BATCH = 2, 2


def point_to(folder: Path) -> None:
    """nnU-Net finds its folders by the environment, read when it is imported."""
    for part in ("raw", "preprocessed", "results"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{part}"] = str(folder / part)
    os.environ |= {"nnUNet_def_n_proc": "1"}


def autocast(precision: str) -> AbstractContextManager[object]:
    """The precision of all."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")


def groups_of(job: Job) -> list[tuple[str, ...]]:
    """The organs of each network: one network of all, or one an organ."""
    return [(organ,) for organ in ORGANS] if METHODS[job.method].data == "organs" else [ORGANS]


def dataset_of(number: int) -> str:
    """Its name."""
    return f"Dataset{number:03d}_Quality"


def train(work: Path, folder: Path, cohort: Path, job: Job, budget: Budget) -> dict[str, Any]:
    """One network, or one an organ with an equal share of the budget each; facts for the row."""
    shutil.rmtree(folder / "nnunet", ignore_errors=True)
    point_to(folder / "nnunet")
    groups, facts = groups_of(job), []
    precision = json.loads((work / "facts.json").read_text())["precision"]
    for number, organs in enumerate(groups, start=1):
        raw_data(Cohort.open(cohort), folder / "nnunet" / "raw" / dataset_of(number), METHODS[job.method].data, organs)
        end = budget.seconds * number / len(groups)
        facts.append(_train_one(folder, number, job, _Share(budget, end), precision))
    return facts[0] if len(facts) == 1 else {"networks": facts, "steps": sum(fact["steps"] for fact in facts)}


class _Share:
    """A part of the budget that ends `end` seconds after the job's beginning."""

    def __init__(self, budget: Budget, end: float) -> None:
        self.budget, self.end, self.begin = budget, end, budget.spent

    @property
    def left(self) -> float:
        return self.end - self.budget.spent

    @property
    def used(self) -> float:
        """Of what was there when `begin` was set: 0 to 1."""
        return min(1.0, (self.budget.spent - self.begin) / max(self.end - self.begin, 1e-9))


def _train_one(folder: Path, number: int, job: Job, share: _Share, precision: str) -> dict[str, Any]:
    configuration = METHODS[job.method].network
    plans = _prepared(folder, number, configuration)
    share.budget.part("preparation")
    own = plans["configurations"][configuration]["batch_size"]
    begin = share.budget.spent
    seconds = own * _seconds_an_image(folder, plans, number, job, precision)
    pause = share.budget.spent - begin
    share.budget.pause(pause)
    batch = lowered(own, seconds, share.left)
    trainer, loader = _trainer(folder, _with_batch(plans, configuration, batch), number, job)
    share.begin, steps = share.budget.spent, 0
    while share.left > 0:
        _rate(trainer, share.used)
        _step(trainer, loader, precision)
        steps += 1
    share.budget.part("training")
    network = trainer.network
    torch.save(network.state_dict(), folder / f"network-{number}.pt")
    (folder / f"plans-{number}.json").write_text(json.dumps(plans))
    patch = plans["configurations"][configuration]["patch_size"]
    return {"steps": steps, "batch": batch, "planned_batch": own, "patch": patch, "precision": precision}


def _with_batch(plans: dict[str, Any], configuration: str, batch: int) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(plans))
    changed["configurations"][configuration]["batch_size"] = batch
    return changed


def _seconds_an_image(folder: Path, plans: dict[str, Any], number: int, job: Job, precision: str) -> float:
    """CPU seconds of a step and its augmentation, a patch; by a small batch."""
    trainer, loader = _trainer(folder, _with_batch(plans, METHODS[job.method].network, TIMED_BATCH), number, job)
    times = []
    for _ in range(TIMED):
        begin = cpu_seconds()
        _step(trainer, loader, precision)
        times.append(cpu_seconds() - begin)
    return min(times) / TIMED_BATCH


def lowered(batch: int, seconds: float, left: float) -> int:
    """The planned batch, or what makes 100 steps fit where one of it takes `seconds`; at least 1."""
    fitting = int(batch * left / (LEAST_STEPS * max(seconds, 1e-9)))
    return batch if fitting >= batch else max(1, fitting)


def _prepared(folder: Path, number: int, configuration: str) -> dict[str, Any]:
    """Its own plans, after its own planning and preprocessing."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    os.environ |= {"nnUNet_n_proc_DA": "1"}  # its planner refuses 0
    api.extract_fingerprints([number], num_processes=1, check_dataset_integrity=False, verbose=False)
    api.plan_experiments([number])
    plans: dict[str, Any] = json.loads((_preprocessed(folder, number) / f"{PLANS}.json").read_text())
    if configuration not in plans["configurations"]:
        raise RuntimeError(f"nnU-Net plans no {configuration} for these data")
    api.preprocess([number], PLANS, (configuration,), (1,))
    return plans


def _preprocessed(folder: Path, number: int) -> Path:
    return folder / "nnunet" / "preprocessed" / dataset_of(number)


def _trainer(folder: Path, plans: dict[str, Any], number: int, job: Job) -> tuple[Any, Any]:
    """Its trainer, ready, and its loader."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    os.environ |= {"nnUNet_n_proc_DA": "0"}  # in this process
    torch.manual_seed(job.seed)
    np.random.seed(job.seed)
    about = json.loads((_preprocessed(folder, number) / "dataset.json").read_text())
    given = json.loads(json.dumps(plans)) | {"continue_training": False}
    trainer = nnUNetTrainer(given, METHODS[job.method].network, "all", about, torch.device("cpu"))
    trainer.initialize()
    loader, _ = trainer.get_dataloaders()
    trainer.set_deep_supervision_enabled(True)
    trainer.network.train()
    return trainer, loader


def _step(trainer: Any, loader: Any, precision: str) -> None:
    with autocast(precision):
        trainer.train_step(next(loader))


def _rate(trainer: Any, used: float) -> None:
    """Its poly schedule, by the share of the budget instead of the epoch's."""
    for group in trainer.optimizer.param_groups:
        group["lr"] = trainer.initial_lr * max(1 - used, 0) ** 0.9


def predict(folder: Path, test: Path, out: Path, job: Job, precision: str) -> dict[str, Any]:
    """By its predictor with its defaults: half-overlapping windows, Gaussian weights, mirroring."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    cohort, configuration = Cohort.open(test), METHODS[job.method].network
    for number, organs in enumerate(groups_of(job), start=1):
        plans = json.loads((folder / f"plans-{number}.json").read_text())
        trainer, _ = _trainer(folder, plans, number, job)
        trainer.set_deep_supervision_enabled(False)
        weights = torch.load(folder / f"network-{number}.pt", weights_only=True)
        trainer.network.load_state_dict(weights)
        predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
        manager = PlansManager(plans)
        about = json.loads((_preprocessed(folder, number) / "dataset.json").read_text())
        axes = trainer.inference_allowed_mirroring_axes
        predictor.manual_initialization(
            trainer.network, manager, manager.get_configuration(configuration), [weights], about, "nnUNetTrainer", axes
        )
        labels = folder / f"labels-{number}"
        labels.mkdir(exist_ok=True)
        files = [[str(cohort.image_path(case))] for case in cohort]
        with autocast(precision):
            predictor.predict_from_files_sequential(files, [str(labels / case.id) for case in cohort])
        for case in cohort:
            made = nib.load(labels / f"{case.id}.nii.gz")
            save_masks(out / case.id, np.asarray(made.dataobj), nib.load(cohort.image_path(case)).affine, organs)
    return {"test_time": "nnU-Net's defaults: half overlap, Gaussian weights, mirroring over all axes"}
