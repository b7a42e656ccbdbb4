"""The floor: the bare network, on a batch that is already there, and over the slices of the volume.

It keeps freed memory as smiler does, so that what that saves is not counted as smiler's own.
"""

from pathlib import Path

import torch
from benchmarks.peers.measure import autocast, coarse_yx, fresh_network, images_per_second, timed, trained_network
from benchmarks.peers.settings import Settings

from smiler.networks.memory import keep_freed_memory


def train(work: Path, network: str) -> dict[str, float]:
    """Forward, backward and optimiser; no data, no loss."""
    keep_freed_memory()
    settings = Settings.load(work)
    made = fresh_network(work, network).train()
    optimizer = torch.optim.AdamW(made.parameters())
    image = torch.randn(settings.batch, 1, settings.patch, settings.patch).contiguous(memory_format=torch.channels_last)

    def step(_: int) -> None:
        with autocast(work):
            logits = made(image)
        logits.float().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return images_per_second(range(settings.warm + settings.steps), step, settings)


def predict(work: Path, network: str) -> dict[str, float]:
    """Logits of as many slices as the volume has, none of them kept."""
    _, height, width = Settings.load(work).volume_zyx
    return over_slices(work, network, height, width)


def coarse(work: Path, network: str) -> dict[str, float]:
    """The same on the coarse grid."""
    return over_slices(work, network, *coarse_yx(work))


def over_slices(work: Path, network: str, height: int, width: int) -> dict[str, float]:
    """Seconds for all slices of this size, which is filled up to what the network takes."""
    keep_freed_memory()
    settings = Settings.load(work)
    made = trained_network(work, network)
    depth = settings.volume_zyx[0]
    height, width = (-(-edge // made.stride) * made.stride for edge in (height, width))

    image = torch.randn(settings.batch, 1, height, width).contiguous(memory_format=torch.channels_last)

    def run() -> None:
        for start in range(0, depth, settings.batch):
            made(image[: depth - start])

    with torch.inference_mode(), autocast(work):
        return timed(run)
