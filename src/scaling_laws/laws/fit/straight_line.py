"""Means and straight lines by least squares, with 90 % intervals of Student's t: for comparisons of runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.fit.intervals import LEVEL, Interval


@dataclass(frozen=True, kw_only=True)
class Line:
    """y = intercept + slope x.

    Attributes:
        interval: 90 %, of the slope; open ends where two points leave nothing to judge by.
        rms: root mean square of the residuals.
    """

    slope: float
    intercept: float
    interval: Interval
    rms: float


def mean_interval(values: ArrayLike) -> tuple[float, Interval]:
    """The mean of independent values, and its interval; open ends with fewer than two."""
    y = np.asarray(values, dtype=np.float64)
    if len(y) < 2:
        return float(y.mean()), (None, None)
    return float(y.mean()), _around(float(y.mean()), float(y.std(ddof=1) / np.sqrt(len(y))), len(y) - 1)


def line_through(x: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Line:
    """A line by least squares, with an intercept for each group.

    Args:
        x, y: (n,), at least two different x within some group.
        groups: (n,), any labels; the intercept of the result is the first group's.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    labels, group = np.unique(np.zeros(len(x)) if groups is None else np.asarray(groups), return_inverse=True)
    counts = np.bincount(group)
    mean_x, mean_y = np.bincount(group, x) / counts, np.bincount(group, y) / counts
    centred = x - mean_x[group]
    spread = float(centred @ centred)
    slope = float(centred @ (y - mean_y[group])) / spread
    residual = y - mean_y[group] - slope * centred
    freedom = len(x) - len(labels) - 1
    interval: Interval = (None, None)
    if freedom > 0:
        interval = _around(slope, float(np.sqrt(residual @ residual / freedom / spread)), freedom)
    return Line(
        slope=slope,
        intercept=float(mean_y[0] - slope * mean_x[0]),
        interval=interval,
        rms=float(np.sqrt(np.mean(residual**2))),
    )


def _around(value: float, error: float, freedom: int) -> Interval:
    from scipy.special import stdtrit  # scipy.stats asks for torch

    reach = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return value - reach, value + reach
