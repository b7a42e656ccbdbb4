"""A step of every network beside one of the U-Net with as many axes: the table of docs/networks.md.

A step is forward and backward in float32 on one thread, without optimiser and data; both networks take turns, and the
least CPU time of each counts, so that other programs of the machine matter little.
"""

import time
from collections.abc import Callable

import torch

from smiler.networks import NETWORKS, NetworkOptions, build
from smiler.networks.device import channels_last, make_fabric
from smiler.recipe.recipe import load_recipe

TURNS = 5
OUTPUTS = 6
SIZES = {2: (12, 1, 64, 64), 3: (2, 1, 16, 64, 64)}
PLAIN = {2: "unet", 3: "unet3d"}
WIDTHS = {2: 24, 3: 16}


def stepping(options: NetworkOptions) -> tuple[Callable[[], float], float, tuple[int, ...]]:
    """(CPU seconds of a step, millions of parameters, size of the batch)."""
    torch.manual_seed(0)
    order = channels_last(options.axes)
    net = build(options, OUTPUTS).to(memory_format=order).train()  # type: ignore[call-overload]
    least = options.stride
    size = (*SIZES[options.axes][:2], *(max(side, least) for side in SIZES[options.axes][2:]))
    image = torch.randn(size).contiguous(memory_format=order)

    def step() -> float:
        begin = time.process_time()
        net.zero_grad(set_to_none=True)
        net(image).square().mean().backward()
        return time.process_time() - begin

    return step, sum(each.numel() for each in net.parameters()) / 1e6, size


def defaults(name: str) -> NetworkOptions:
    """By the network's own defaults, but for one width: 24, 16 in 3-D; a multiple of what it wants."""
    options = load_recipe("smile", None, [f"network.name={name}"]).network
    step = getattr(NETWORKS[name], "width_step", 1)
    width = -(-WIDTHS[options.axes] // step) * step
    return options.model_copy(update={"width": width})


def main() -> None:
    """One row a network, as Markdown."""
    torch.set_num_threads(1)
    make_fabric("cpu", "32")  # keeps freed memory, as a training does
    print("| network | width | levels | patch | parameters, million | a step, U-Net = 1 |\n|---|---|---|---|---|---|")
    for name in NETWORKS:
        options = defaults(name)
        mine, millions, size = stepping(options)
        plain, _, _ = stepping(defaults(PLAIN[options.axes]))
        pairs = [(mine(), plain()) for _ in range(TURNS)]
        ratio = min(one for one, _ in pairs) / min(other for _, other in pairs)
        patch = "x".join(map(str, size[2:]))
        print(f"| `{name}` | {options.width} | {options.levels} | {patch} | {millions:.1f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
