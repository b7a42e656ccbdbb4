"""Which round's network is measured."""

import pytest

from smiler.experiments.trial import choose_round


@pytest.mark.parametrize(
    ("rounds", "chosen"),
    [
        ([[0.5, 0.6, 0.7]], 0),
        ([[0.5, 0.6, 0.7], [0.4, 0.5, 0.6]], 0),  # every pair is worse afterwards
        ([[0.5, 0.9, 0.7], [0.5, 0.6, 0.7]], 1),  # one pair's luck
        ([[0.9, 0.51, 0.71, 0.61], [0.2, 0.5, 0.7, 0.6]], 1),
        ([[0.5, 0.6, 0.7], [0.7, 0.8, 0.9], [0.1, 0.2, 0.3]], 1),
        ([[0.5], [0.4]], 1),  # one pair tells nothing
        ([[], []], 1),
    ],
)
def test_the_last_round_unless_another_is_clearly_better(rounds: list[list[float]], chosen: int) -> None:
    validation = [
        {"round": number, "by_pair": {str(i): dice for i, dice in enumerate(row)}} for number, row in enumerate(rounds)
    ]
    assert choose_round(validation, len(rounds) - 1) == chosen


def test_without_validation_it_is_the_last() -> None:
    assert choose_round([], 3) == 3
