"""Options of a training on small phantoms that takes seconds."""

TINY = (
    "data.spacing_xy_mm=native",
    "network.width=8",
    "sampling.patch_size=32",
    "sampling.batch_size=2",
    "training.device=cpu",
    "training.precision=32",
)
