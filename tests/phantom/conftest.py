"""The patients that the phantom's tests look at, generated once."""

import pytest

from smiler.phantom import PhantomCase, generate


@pytest.fixture(scope="session")
def patients() -> list[PhantomCase]:
    """Twelve patients at the default size."""
    return [generate(seed) for seed in range(12)]
