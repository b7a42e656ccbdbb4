"""Which process of how many this is, by what a launcher says; and the precision of a trained network."""

import pytest

from smiler.networks.device import _launcher, as_trained, is_first_process, make_fabric, precision_used

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS")
NAMES += ("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, (0, 1, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (3, 4, 2)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (1, 2, 1)),
        ({"RANK": "3"}, (0, 1, 1)),  # somebody else's variable
        ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}, (5, 4, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (0, 1, 1)),  # in a job, without srun
    ],
)
def test_what_a_launcher_has_started(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], expected: tuple[int, int, int]
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert _launcher() == expected
    assert is_first_process() == (expected[0] == 0)


@pytest.mark.parametrize(
    ("trained", "device", "used"), [("32", "cpu", "32"), ("16", "cpu", "auto"), ("bf16", "cuda", "auto")]
)
def test_a_network_is_used_in_the_precision_it_was_trained_in(trained: str, device: str, used: str) -> None:
    assert as_trained(trained, device) == used


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_fabric_tells_its_precision(precision: str) -> None:
    assert precision_used(make_fabric("cpu", precision)) == precision
