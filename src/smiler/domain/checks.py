"""Checks that requests make of themselves: whoever asks, the command or Python, is refused with the same sentence."""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from smiler.domain.errors import BadInput


def check_number(value: Any, where: str, low: float, high: float = math.inf, *, whole: bool = False) -> None:
    """BadInput unless `value` is a (whole) number from low to high; NaN is none."""
    number = float(value) if isinstance(value, Integral if whole else Real) else math.nan
    if math.isfinite(number) and low <= number <= high and not isinstance(value, bool):
        return
    what = "not a whole number in its range" if whole else "not a number in its range"
    upper = f"to {high:g}" if high < math.inf else "on"
    raise BadInput(what, where=where, got=repr(value)[:80], do=f"give one from {low:g} {upper}")


def check_choice(value: Any, where: str, what: str, known: Iterable[str]) -> None:
    """BadInput unless `value` is one of the known names."""
    names = tuple(known)
    if value not in names:
        raise BadInput(f"no such {what}", where=where, got=repr(value)[:80], do=f"choose among {', '.join(names)}")


def check_once(names: Iterable[Any], where: str) -> None:
    """BadInput if something is named twice."""
    seen: set[Any] = set()
    for name in names:
        if name in seen:
            raise BadInput("named twice", where=where, got=repr(name)[:80], do="name each once")
        seen.add(name)
