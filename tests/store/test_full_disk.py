"""A disk that is full while a library writes: one clear error, the old file as it was, nothing half written."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from smiler.domain.errors import BadInput
from smiler.networks.checkpoint import find_checkpoint, save_checkpoint
from smiler.store.arrays import open_array, save_array

NOISE = np.random.default_rng(0).integers(0, 2**30, (8, 128, 128)).astype(np.int32)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may become longer than `size` bytes: writes beyond it fail as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_array_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.b2nd"
    save_array(path, NOISE[:1])
    with room_for(65536), pytest.raises(BadInput, match=r"a\.b2nd: cannot write the file.*check space"):
        save_array(path, NOISE)
    assert np.array_equal(open_array(path)[:], NOISE[:1])
    assert [found.name for found in tmp_path.iterdir()] == ["a.b2nd"]


def test_a_checkpoint_that_does_not_fit(tmp_path: Path) -> None:
    weights = {"model": {"weight": torch.zeros(10)}}
    save_checkpoint(tmp_path, 1, 9, {}, weights)
    large = {"model": {"weight": torch.zeros(100_000)}}
    with room_for(65536), pytest.raises(BadInput, match=r"model\.safetensors: cannot write the file.*check space"):
        save_checkpoint(tmp_path, 2, 9, {}, large)
    kept = find_checkpoint(tmp_path)
    assert kept is not None
    assert kept.step == 1
    assert kept.tensors("model")["weight"].shape == (10,)
    assert not [found for found in tmp_path.iterdir() if not found.name.startswith("step-0000001")]
