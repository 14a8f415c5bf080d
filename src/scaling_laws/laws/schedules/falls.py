"""The changes of the learning rate that the loss of a step has behind it.

A sum over them has as many terms as the schedule has steps. Neighbours of nearly one lag and one rate are
taken together at their mean: the loss moves by less than 3e-5 of itself (tested against the plain sum).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.laws.schedules.curves import ScheduleCurve

LAG_RATIO = 1.3
"""Terms whose lags differ by less are taken together, if their rates do, too."""
RATE_WIDTH = 0.15
"""In ln eta."""
SMALLEST_RATE = 1e-4
"""Of the peak: the lowest rate whose power is taken."""
NO_CHANGE = 1e-12
"""Of the peak: what rounding makes of a constant rate."""
Terms = tuple[FloatArray, FloatArray, FloatArray, FloatArray]


@dataclass(frozen=True, kw_only=True)
class Falls:
    """The changes of the rate that each row of some curves has behind it, neighbours taken together.

    Attributes:
        first: (n,): index of each row's first term.
        change: (E,): eta_k - eta_(k-1), summed.
        lag_steps: (E,): t - k + 1, their mean.
        lag_rates: (E,): S1(t) - S1(k-1).
        log_rate: (E,): ln eta_k.
        summed: (n,): S1(t).
    """

    first: NDArray[np.intp]
    change: FloatArray
    lag_steps: FloatArray
    lag_rates: FloatArray
    log_rate: FloatArray
    summed: FloatArray


def falls_of(curves: Sequence[ScheduleCurve], *, warm_up: bool, coarser: float = 1.0) -> Falls:
    """The terms of the rows of all curves, in order.

    Args:
        curves: with their steps.
        warm_up: whether its rises count.
        coarser: how many times wider the classes are within which terms are taken together.
    """
    parts = [_terms(curve, warm_up, coarser) for curve in curves]
    counts = np.concatenate([np.array([len(term[0]) for term in part], dtype=np.intp) for part in parts])
    columns = [np.concatenate([term[j] for part in parts for term in part]) for j in range(4)]
    return Falls(
        first=np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.intp),
        change=columns[0],
        lag_steps=columns[1],
        lag_rates=columns[2],
        log_rate=columns[3],
        summed=np.concatenate([curve.summed[curve.step] for curve in curves]),
    )


def _terms(curve: ScheduleCurve, warm_up: bool, coarser: float) -> list[Terms]:
    """change, lag_steps, lag_rates and log_rate of each row's terms; one of no weight where there is none."""
    rates, summed = curve.rates, curve.summed
    peak = rates.max()
    change = np.diff(rates, prepend=0.0)
    change[np.abs(change) < NO_CHANGE * peak] = 0.0
    if not warm_up:
        change[: curve.peak_step] = 0.0
    log_rate = np.log(np.maximum(rates, SMALLEST_RATE * peak))
    k = np.arange(1, len(rates) + 1)

    def sums(of: FloatArray) -> FloatArray:
        return np.concatenate([[0.0], np.cumsum(change * of)])

    weight, by_step, by_rates = sums(np.ones(len(rates))), sums(k.astype(float)), sums(summed[:-1])
    by_log_rate = sums(log_rate)
    # Where the sign or the rate's class changes, whatever the lag: (k before which a new term begins).
    classes = np.stack([np.sign(change), np.floor(log_rate / (RATE_WIDTH * coarser))])
    fixed = 1 + np.flatnonzero((np.diff(classes, axis=1) != 0).any(axis=0))
    longest = len(rates) + 1
    width = coarser * np.log(LAG_RATIO)
    lags = np.unique(np.round(np.exp(width * np.arange(np.ceil(np.log(longest) / width) + 1))))
    found: list[Terms] = []
    for t in curve.step:
        by_lag = t - lags[lags <= t].astype(np.intp)
        edges = np.unique(np.concatenate([[0], fixed[fixed < t], by_lag, [t]]))
        total = np.diff(weight[edges])
        kept = np.abs(total) > NO_CHANGE * peak
        if not kept.any():
            found.append((np.zeros(1), np.ones(1), np.ones(1), np.zeros(1)))
            continue
        low, high, total = edges[:-1][kept], edges[1:][kept], total[kept]
        found.append(
            (
                total,
                t + 1 - (by_step[high] - by_step[low]) / total,
                np.maximum(summed[t] - (by_rates[high] - by_rates[low]) / total, np.finfo(float).tiny),
                (by_log_rate[high] - by_log_rate[low]) / total,
            )
        )
    return found
