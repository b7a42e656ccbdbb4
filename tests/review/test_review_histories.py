"""What experts said never shrinks, and every change of it is told: random histories (`make test-histories`: 2,000)."""

import os

from histories import Histories
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

HISTORIES = int(os.environ.get("SMILER_HISTORIES", "100"))


def test_random_histories_lose_nothing_that_an_expert_said() -> None:
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=12,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
