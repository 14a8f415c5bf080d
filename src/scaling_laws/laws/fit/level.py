"""The level of every interval of one analysis: 90 %, or what was asked for.

Whether a law is identified is always judged by `LEVEL`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

LEVEL = 0.90
TWO_SIDED_90 = 1.6449
"""Standard deviations to either side of the middle 90 % of a normal law."""
_asked = [LEVEL]


def interval_level() -> float:
    """Of the intervals that are made now."""
    return _asked[-1]


def interval_words() -> str:
    """The level as it stands before "interval": 90 %."""
    return f"{100 * interval_level():g} %"


def interval_percentiles() -> tuple[float, float]:
    """Of draws: (5, 95)."""
    tail = round(50 * (1 - interval_level()), 10)
    return tail, 100 - tail


def use_level(level: float) -> None:
    """From now on, in a process that shares the work of an analysis."""
    _asked.append(level)


@contextmanager
def at_level(level: float) -> Iterator[None]:
    """Intervals that are made meanwhile."""
    _asked.append(level)
    try:
        yield
    finally:
        _asked.pop()
