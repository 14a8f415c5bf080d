"""Means and straight lines by least squares, with 90 % intervals of Student's t: for comparisons of runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.level import interval_level


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


def jackknifed(estimate: Callable[[NDArray[np.bool_]], float], clusters: ArrayLike) -> tuple[float, Interval]:
    """An estimate, and its interval by leaving out one cluster after the other.

    Rows of one training or one size are not independent: what is left out is all of them. Student's t with
    one degree of freedom less than there are clusters; open ends with fewer than three, or where an estimate
    without one of them is not finite.

    Args:
        estimate: of the rows that a mask, (n,), chooses.
        clusters: (n,), any labels.
    """
    labels: NDArray[Any] = np.asarray(clusters)
    distinct = np.unique(labels)
    value = estimate(np.ones(len(labels), dtype=bool))
    if len(distinct) < 3:
        return value, (None, None)
    without = np.array([estimate(labels != label) for label in distinct])
    if not np.isfinite(without).all():
        return value, (None, None)
    n = len(distinct)
    error = float(np.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2)))
    return value, _around(value, error, n - 1)


def clustered_slope(x: ArrayLike, y: ArrayLike, clusters: ArrayLike) -> tuple[float, Interval]:
    """The slope of a line by least squares, with the interval of `jackknifed` over clusters."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)

    def slope(chosen: NDArray[np.bool_]) -> float:
        of_x = x[chosen] - x[chosen].mean()
        spread = float(of_x @ of_x)
        return float(of_x @ y[chosen]) / spread if spread else np.nan

    return jackknifed(slope, clusters)


def mean_over_cells(means: ArrayLike, variances: ArrayLike, counts: ArrayLike) -> tuple[float, Interval]:
    """The mean of independent cells' numbers, and its interval by Welch: cells scatter differently.

    Args:
        means: (k,), with their signs: a difference of cells is a mean of some and of the negative of others.
        variances, counts: (k,): within each cell, at least two values.
    """
    from scipy.special import stdtrit  # scipy.stats asks for torch

    each, n = np.asarray(variances, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    of_means = each / n
    value = float(np.mean(np.asarray(means, dtype=np.float64)))
    squares = max(float(np.sum(of_means**2 / (n - 1))), np.finfo(float).tiny)
    freedom = max(float(of_means.sum() ** 2 / squares), 1.0)
    reach = float(stdtrit(freedom, (1 + interval_level()) / 2)) * float(np.sqrt(of_means.sum())) / len(n)
    return value, (value - reach, value + reach)


def deviation_ratio(squares: tuple[float, float], freedoms: tuple[int, int]) -> tuple[float, Interval]:
    """The ratio of two standard deviations, and its interval by F.

    Args:
        squares: sums of squared deviations, both above 0.
        freedoms: their degrees of freedom.
    """
    from scipy.special import fdtri

    ratio = float(np.sqrt(squares[0] / freedoms[0] / (squares[1] / freedoms[1])))
    level = interval_level()
    low, high = (float(fdtri(*freedoms, quantile)) ** 0.5 for quantile in ((1 - level) / 2, (1 + level) / 2))
    return ratio, (ratio / high, ratio / low)


def chance_beyond(value: float, end: float, bound: float) -> float:
    """How likely a quantity that is `bound` gives `value` or what lies farther from it.

    By a normal law of the width that the interval's `end` towards the bound has.
    """
    from scipy.special import ndtr, ndtri

    return float(ndtr(-ndtri((1 + interval_level()) / 2) * (bound - value) / (end - value)))


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

    reach = float(stdtrit(freedom, (1 + interval_level()) / 2)) * error
    return value - reach, value + reach
