"""What is compared: methods, budgets, seeds, and the jobs that they make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

ORGANS = ("brainstem", "spinal_cord", "mandible", "parotid_left", "parotid_right")
"""The organs of openkbp that are drawn in every patient of train.txt and test.txt."""

BUDGETS = (10, 30, 60)
"""Minutes of CPU time of one core, preparation counted."""

ALPHAS = (0.0, 0.7)
"""Shares of annotations that are hidden."""

LEAST_STEPS = 100
"""A peer's batch is lowered where its own would not leave it so many steps."""


@dataclass(frozen=True)
class Method:
    """One line of the comparison: who trains (a module of this package), with what, in which settings.

    `data`: how hidden annotations reach it: `cohort` as they are, `background` as background, `ignore` by nnU-Net's
    ignore label, `organs` one network an organ on the cases in which it is annotated.
    """

    name: str
    tool: str
    network: str
    title: str
    colour: str
    data: str = "cohort"
    seeds: tuple[int, ...] = (0,)
    alphas: tuple[float, ...] = ALPHAS


WAYS = {"background": "background", "ignore": "ignore", "organs": "one network an organ"}
"""What nnU-Net has for hidden annotations."""


def _nnunet(network: str, colours: tuple[str, ...]) -> Iterator[Method]:
    """One configuration of it: full annotation, and hidden ones in each way."""
    short, title = network.removesuffix("_fullres"), f"nnU-Net {network}"
    yield Method(f"nnunet-{short}", "nnunet_peer", network, title, colours[0], "background", alphas=(0.0,))
    for (way, words), colour in zip(WAYS.items(), colours, strict=True):
        yield Method(f"nnunet-{short}-{way}", "nnunet_peer", network, f"{title}, {words}", colour, way, alphas=(0.7,))


METHODS = {
    method.name: method
    for method in (
        Method("smiler-unet", "ours", "unet", "smiler unet", "#0b6e4f", seeds=(0, 1)),
        Method("smiler-deeplab", "ours", "deeplab", "smiler deeplab", "#4caf50", seeds=(0, 1)),
        Method("smiler-unet3d", "ours", "unet3d", "smiler unet3d", "#8bc34a", seeds=(0, 1)),
        Method("monai-segresnet", "monai_peer", "segresnet", "MONAI SegResNet", "#2f6690", "background"),
        *_nnunet("2d", ("#b23a48", "#7b2d26", "#d1605e")),
        *_nnunet("3d_fullres", ("#e07a5f", "#c96e4b", "#f2b5a0")),
    )
}


@dataclass(frozen=True)
class Job:
    """One training, whose schedule ends at the budget, and the scores of its masks."""

    method: str
    alpha: float
    budget: float
    seed: int

    @property
    def name(self) -> str:
        """As its row is called."""
        return f"{self.method}-hidden{round(100 * self.alpha)}-{self.budget:g}min-seed{self.seed}"

    @classmethod
    def of(cls, name: str) -> Job:
        """The job of a name."""
        method, hidden, minutes, seed = name.rsplit("-", 3)
        if method not in METHODS:
            raise ValueError(f"no method {method!r}; there are {', '.join(METHODS)}")
        numbers = hidden.removeprefix("hidden"), minutes.removesuffix("min"), seed.removeprefix("seed")
        return cls(method, int(numbers[0]) / 100, float(numbers[1]), int(numbers[2]))


def jobs(budgets: tuple[float, ...] = BUDGETS) -> list[Job]:
    """All: short budgets first, full annotation before hidden, first seeds before second ones."""
    return sorted(_all(budgets), key=lambda job: (job.budget, job.alpha, job.seed))


def _all(budgets: tuple[float, ...]) -> Iterator[Job]:
    for method in METHODS.values():
        for alpha in method.alphas:
            for seed in method.seeds:
                yield from (Job(method.name, alpha, budget, seed) for budget in budgets)
