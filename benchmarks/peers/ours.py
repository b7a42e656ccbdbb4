"""smiler: its own training loop and its own command."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers import data
from benchmarks.peers.measure import predicted, rate, timed
from benchmarks.peers.settings import Settings

from smiler.curriculum.rounds import fresh_network, make_objective
from smiler.networks.device import make_fabric
from smiler.sampling.batches import Batches
from smiler.training.fit import Stage, fit
from smiler.verbs.train import plan_of


class Clock:
    """A progress bar that only notes when each step began; the first step's beginning is the zeroth's end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def track(self, items: Iterable[Any], title: str, total: int) -> Iterator[Any]:  # noqa: ARG002
        for item in items:
            yield item
            self.ends.append(time.perf_counter())

    def note(self, text: str) -> None:
        """Nothing."""


def train(work: Path, network: str) -> dict[str, float]:
    """The real loop: store, batches read ahead, objective, optimiser, clipping, log."""
    settings = Settings.load(work)
    store, steps = data.store_of(work, network), settings.warm + settings.steps
    plan = plan_of(data.recipe(work, network, steps))
    fabric = make_fabric("cpu", plan.training.precision)
    batches, clock = Batches(store, plan.sampling, 0, 0), Clock()
    with tempfile.TemporaryDirectory(dir=work) as folder:
        stage = Stage(Path(folder), Path(folder) / "checkpoints", 0, steps, plan.training)
        fit(fabric, fresh_network(plan, store), batches, make_objective(plan, store), stage, clock)
    return rate(clock.ends, settings)


def predict(work: Path, network: str, engine: str = "eager") -> dict[str, float]:
    """What `smiler predict --labelmap` does, from the file to a label map on disk, in the precision of the run.

    A compiled network is told by its second volume; the first, which waits for the compiler, is `first_s`.
    """
    way = "" if engine == "eager" else f"-{engine}"
    command = command_of(work, work / "runs" / network, predicted(work, f"smiler{way}", network, "predict"), engine)
    first = timed(command)
    return first if engine == "eager" else timed(command) | {"first_s": first["seconds"]}


def coarse(work: Path, network: str) -> dict[str, float]:
    """The same by way of the coarse grid."""
    run = data.on_coarse_grid(work, network)
    return timed(command_of(work, run, predicted(work, "smiler", network, "coarse")))


def command_of(work: Path, run: Path, out: Path, engine: str = "eager") -> Callable[[], None]:
    """The command, ready to be timed."""
    import monai.networks.nets.basic_unet  # noqa: F401  imports count for no peer

    from smiler.verbs.model_at import ModelAt
    from smiler.verbs.predict import PredictRequest
    from smiler.verbs.predict import predict as run_prediction
    from smiler.verbs.run import recipe_of

    def command() -> None:
        shutil.rmtree(out, ignore_errors=True)
        recipe = recipe_of(run)
        request = PredictRequest(out, labelmap=True, options=recipe.prediction, reading=recipe.reading)
        run_prediction(ModelAt.find(run, "cpu", engine).open(), [work / "volume.nii.gz"], request)

    return command
