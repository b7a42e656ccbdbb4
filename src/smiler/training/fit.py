"""The training loop, from the first step to the last, readable from top to bottom."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from smiler.domain.errors import CheckFailed, Stopped
from smiler.domain.evidence import Relations, planes
from smiler.domain.progress import Progress, Silent
from smiler.losses.targets import Loss, Reading
from smiler.networks.base import SegmentationNet
from smiler.networks.checkpoint import (
    Checkpoint,
    find_checkpoint,
    load_weights,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    save_checkpoint,
)
from smiler.networks.compiled import trunk_compiled
from smiler.networks.device import channels_last, precision_used
from smiler.networks.processes import join, summed
from smiler.sampling.augment import Batch
from smiler.sampling.batches import Batches
from smiler.sampling.options import FEWER
from smiler.training.average import WeightAverage
from smiler.training.events import Events
from smiler.training.options import TrainingOptions
from smiler.training.plot import plot_progress
from smiler.training.recorded import WARM_UP, Recorded, recordable
from smiler.workers.memory import lacking

LOG_EVERY = 10


@dataclass(frozen=True)
class Objective:
    """What is minimised: a loss of a reading of the evidence of these organs."""

    loss: Loss
    reading: Reading
    relations: Relations
    pseudo_excludes: bool = False

    def __call__(self, network: Callable[[Tensor], Tensor], batch: Batch, fabric: Fabric | None = None) -> Tensor:
        """Scalar loss of one batch; with `fabric`, of the batch that all its processes have parts of.

        `network`: float32 logits of images, whatever it computes in.
        """
        targets = self.reading.targets(planes(batch.fields, self.relations, pseudo_excludes=self.pseudo_excludes))
        logits = network(batch.image.contiguous(memory_format=channels_last(batch.image.ndim - 2)))
        members = logits.chunk(len(logits) // len(batch.image))
        terms = [summed(self.loss.terms(part, targets), fabric) for part in members]
        return torch.stack([self.loss.total(each) for each in terms]).mean()


@dataclass(frozen=True)
class Stage:
    """One training: where it writes, how many steps, what its checkpoints must tell.

    With a `cycle`, it is a part of one training of that many steps, after `before` of them and after the checkpoint
    `previous`: same schedule, optimiser state, draws and dropout, so that rounds which add no evidence change nothing.
    """

    run: Path
    folder: Path
    number: int
    steps: int
    options: TrainingOptions
    facts: Mapping[str, Any] = field(default_factory=dict)
    before: int = 0
    cycle: int = 0
    previous: Checkpoint | None = None

    @property
    def goes_on(self) -> bool:
        """Whether another stage goes on from where this one ends."""
        return self.before + self.steps < self.cycle

    @property
    def seeds(self) -> tuple[int, int]:
        """(stage, first step) by which its random numbers are drawn."""
        return (0, self.before) if self.cycle else (self.number, 0)

    def learning_rate(self, step: int) -> float:
        """Rate of a step."""
        return learning_rate(self.before + step, self.cycle or self.steps, self.options)


def fit(
    fabric: Fabric,
    network: SegmentationNet,
    batches: Batches,
    objective: Objective,
    stage: Stage,
    progress: Progress | None = None,
) -> Checkpoint:
    """Train from the stage's newest checkpoint (or from the network as it is) to the stage's last step.

    The network ends with the average of its weights, which is what the checkpoint predicts with. Stops at SIGINT and
    SIGTERM with a checkpoint. The last weights do not depend on how often it stopped.
    """
    done = find_checkpoint(stage.folder)
    if done and done.finished:
        load_weights(network, done)
        return done
    trainer = _Trainer(fabric, network, stage)
    start = trainer.restore(done)
    stream = batches.steps(start, stage.steps, fabric.device)
    title = "training" if stage.number == 0 else f"training, round {stage.number}"
    compiling = trunk_compiled(network, fabric) if stage.options.compile else nullcontext()
    with lacking(f"{stage.run}, {title}", FEWER), compiling, _stop_requests() as asked:
        steps = (progress or Silent()).track(range(start, stage.steps), title, stage.steps - start)
        try:
            for step, batch in zip(steps, stream, strict=True):
                trainer.step(step, batch, objective)
                stopping, due = trainer.agreed(asked(), trainer.due())
                if stopping or due:
                    trainer.save(step + 1)
                if stopping:
                    raise Stopped(f"stopped at step {step + 1} of {stage.steps}; --resume goes on from here")
        finally:
            trainer.close()
    checkpoint = trainer.save(stage.steps)
    trainer.average.apply()
    return checkpoint


class _Trainer:
    """Network, optimiser and clock of one stage."""

    def __init__(self, fabric: Fabric, network: SegmentationNet, stage: Stage) -> None:
        self.fabric, self.stage, self.options = fabric, stage, stage.options
        self.plain = network.to(memory_format=channels_last(network.axes))  # type: ignore[call-overload]
        join(self.plain, fabric)
        on_gpu = fabric.device.type == "cuda"
        optimizer = torch.optim.AdamW(
            self.plain.parameters(),
            lr=torch.tensor(self.options.learning_rate, device=fabric.device) if on_gpu else self.options.learning_rate,
            weight_decay=self.options.weight_decay,
            fused=fabric.device.type in {"cpu", "cuda"} or None,  # on a CPU four times faster
            capturable=on_gpu,
        )
        self.network, self.optimizer = fabric.setup(self.plain, optimizer)
        self.average = WeightAverage(self.plain, self.options.average, stage.cycle or stage.steps)
        self.recorded: Recorded | None = None
        self.events = Events(stage.run / "events.jsonl")
        self.saved = time.monotonic()
        self.losses: list[Tensor] = []

    def restore(self, checkpoint: Checkpoint | None) -> int:
        """The step to begin with, after loading the checkpoint's weights and optimiser state."""
        start = checkpoint.step if checkpoint else 0
        state = checkpoint or (self.stage.previous if self.stage.before else None)
        if state:
            self.average.restore(state)
            restore_optimizer(self.optimizer, state.tensors("optimizer"))
        number = self.stage.number
        if self.fabric.is_global_zero:
            self.events.rewind(
                lambda event: (
                    event.get("stage", -1) < number or (event.get("stage") == number and event.get("step", 0) <= start)
                )
            )
        self.network.train()
        return start

    def step(self, step: int, batch: Batch, objective: Objective) -> None:
        """One optimiser step. Dropout is seeded by (seed, stage, step), so that a resumed run draws the same."""
        stage, first = self.stage.seeds
        torch.manual_seed(hash((self.options.seed, stage, first + step)) & 0x7FFFFFFF)
        rate = self.stage.learning_rate(step)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self.losses.append(self._work(step, objective)(batch))
        self.average.update(self.stage.before + step + 1)
        if self.recorded is not None and self.recorded.steps == WARM_UP + 1 and self.recorded.why:
            self.events.add("note", stage=self.stage.number, step=step + 1, text=f"not recorded: {self.recorded.why}")
        if (step + 1) % LOG_EVERY == 0 or step + 1 == self.stage.steps:
            self._log(step + 1, rate)

    def close(self) -> None:
        """Leave the network as an unrecorded training leaves it: another stage may go on with it."""
        if self.recorded is not None:
            self.recorded.close()

    def _work(self, step: int, objective: Objective) -> Callable[[Batch], Tensor]:
        """One step on a batch, recorded where that can be."""

        def work(batch: Batch) -> Tensor:
            loss = objective(self.network, batch, self.fabric)
            self.optimizer.zero_grad(set_to_none=True)
            self.fabric.backward(loss)
            self._clip(step)
            self.optimizer.step()
            return loss.detach()

        fabric = self.fabric
        if not self.options.graph or not recordable(fabric.device, precision_used(fabric), fabric.world_size):
            return work
        self.recorded = self.recorded or Recorded(self.plain, work)
        return self.recorded

    def _clip(self, step: int) -> None:
        """Scale gradients down to the norm; on a CPU those that are small enough are not gone through again."""
        most, parameters = self.options.clip_norm, [each for each in self.plain.parameters() if each.grad is not None]
        if self.fabric.device.type != "cpu":
            self.fabric.clip_gradients(self.network, self.optimizer, max_norm=most, error_if_nonfinite=False)
            return
        norm = nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
        if not math.isfinite(norm):
            raise CheckFailed(f"the gradient is not finite at step {step + 1}; try a smaller training.learning_rate")
        if norm > most:
            nn.utils.clip_grads_with_norm_(parameters, most, norm)

    def _log(self, step: int, rate: float) -> None:
        mean = float(torch.stack(self.losses).mean())
        self.losses.clear()
        if not math.isfinite(mean):
            raise CheckFailed(f"the loss is not finite at step {step}; try a smaller training.learning_rate")
        if self.fabric.is_global_zero:
            self.events.add("step", stage=self.stage.number, step=step, loss=round(mean, 5), lr=rate)
            if self.options.tensorboard:
                names = {f"loss/stage{self.stage.number}": mean, f"lr/stage{self.stage.number}": rate}
                self.events.scalars(step, names)

    def agreed(self, *wishes: bool) -> list[bool]:
        """What any process wishes, all do: they save and stop at the same step."""
        if self.fabric.world_size == 1:
            return list(wishes)
        counts = self.fabric.all_reduce(torch.tensor(wishes, dtype=torch.float32), reduce_op="sum")
        return [bool(count) for count in counts]

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self.saved > 60 * self.options.checkpoint_minutes

    def save(self, step: int) -> Checkpoint:
        """Write a checkpoint and the plot."""
        self.saved = time.monotonic()
        path = self.stage.folder / f"step-{step:07d}.json"
        if self.fabric.is_global_zero:
            unfinished = step < self.stage.steps or self.stage.goes_on
            parts = self.average.parts(unfinished=unfinished)
            if unfinished:
                parts["optimizer"] = optimizer_tensors(self.optimizer)
            path = save_checkpoint(self.stage.folder, step, self.stage.steps, self.stage.facts, parts)
            plot_progress(self.stage.run)
        self.fabric.barrier()
        return read_checkpoint(path)


def learning_rate(step: int, steps: int, options: TrainingOptions) -> float:
    """Learning rate of a step: a cosine to zero, with one_cycle after a linear rise over the first tenth."""
    warm = max(1, steps // 10) if options.schedule == "one_cycle" else 0
    if step < warm:
        return options.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return options.learning_rate * max(0.5 * (1 + math.cos(math.pi * done)), 1e-3)


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a question the loop can ask; a second SIGINT interrupts at once."""
    asked: list[int] = []
    old: dict[int, Any] = {}

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked and number == int(signal.SIGINT):
            raise KeyboardInterrupt
        asked.append(number)

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        try:
            old[number] = signal.signal(number, ask)
        except ValueError:  # not the main thread: whoever runs us handles signals
            break
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
