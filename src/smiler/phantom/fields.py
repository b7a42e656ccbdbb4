"""Smooth random fields: displacements, lumpy surfaces and textures."""

import numpy as np
from scipy import ndimage

from smiler.phantom.arrays import FloatArray


def _spline_weights(length: int, step_mm: float, knot_mm: float) -> FloatArray:
    """Cubic B-spline weights (sample, knot) of `length` samples `step_mm` apart."""
    position = np.arange(length) * step_mm / knot_mm
    knots = np.arange(int(np.ceil(position[-1])) + 4) - 1.0
    d = np.abs(position[:, None] - knots[None, :])
    near = 2 / 3 - d**2 + d**3 / 2
    far = np.clip(2 - d, 0, None) ** 3 / 6
    return np.where(d < 1, near, far).astype(np.float32)


def smooth_field(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    knot_mm: float,
) -> FloatArray:
    """A (z, y, x) field with mean 0, sd 1 and no detail finer than about `knot_mm`."""
    weights = [_spline_weights(n, step, knot_mm) for n, step in zip(shape, spacing, strict=True)]
    knots = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    field = np.einsum("zi,ijk->zjk", weights[0], knots, optimize=True)
    field = np.einsum("yj,zjk->zyk", weights[1], field, optimize=True)
    field = np.einsum("xk,zyk->zyx", weights[2], field, optimize=True)
    variance = np.prod([np.mean(np.sum(w**2, axis=1)) for w in weights])
    return np.asarray(field / np.sqrt(variance), dtype=np.float32)


def grain(rng: np.random.Generator, shape: tuple[int, int, int], sigma: tuple[float, float, float]) -> FloatArray:
    """White noise blurred by `sigma` voxels (z, y, x) and brought back to sd 1."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, sigma, mode="wrap", truncate=3.0)
    return np.asarray(noise / noise.std(), dtype=np.float32)
