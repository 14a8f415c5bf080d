"""Whether size stands for time: steps to a loss, one curve in the product, peaks in width and in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling_laws.papers.boopathy2024.small_networks import Curves, FloatArray

EARLY, LATE = 0.3, 0.9
"""Levels of the loss: shares of the way from the start to the lowest that every network reaches."""
LEVELS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
EXPONENTS = np.linspace(-0.5, 1.5, 81)
"""Tried as q of P^q t."""
DEGREE = 3
"""Of the polynomial that stands for the one curve."""


def level(curves: Sequence[Curves], share: float) -> float:
    """A training loss that all reach."""
    start = float(np.mean([each.train[:, 0].mean() for each in curves]))
    lowest = max(float(each.train.min(axis=1).max()) for each in curves)
    return start + share * (lowest - start)


def log_steps_to(curves: Sequence[Curves], loss: float) -> FloatArray:
    """(widths, S): ln of the step at which each training loss first falls to `loss`."""
    found = []
    for each in curves:
        steps = each.steps[1:]
        # A running minimum, so that the first crossing is the only one.
        falling = np.minimum.accumulate(each.train[:, 1:], axis=1)
        found.append([np.interp(-loss, -row, np.log(steps)) for row in falling])
    return np.array(found)


def slopes(curves: Sequence[Curves], share: float) -> FloatArray:
    """(S,): slope of ln(steps to the level) in ln P, of each seed."""
    log_P = np.log([each.P for each in curves])
    x = log_P - log_P.mean()
    return np.asarray(x @ log_steps_to(curves, level(curves, share)) / (x @ x))


def spread_about_one_curve(curves: Sequence[Curves], q: float) -> FloatArray:
    """(S,): root mean square of ln(test loss) about one polynomial in ln(P^q t), over all widths and times.

    Only where widths overlap in P^q t: elsewhere one width alone would be followed.
    """
    x = np.stack([q * np.log(each.P) + np.log(each.steps[1:]) for each in curves])
    inside = (x >= x.min(axis=1).max()) & (x <= x.max(axis=1).min())
    if inside.sum() <= DEGREE + 1:
        return np.full(len(curves[0].test), np.inf)
    y = np.log(np.stack([each.test[:, 1:] for each in curves], axis=1))[:, inside]
    inner = x[inside]
    inner = (inner - inner.mean()) / inner.std()
    design = np.stack([inner**power for power in range(DEGREE + 1)], axis=1)
    left = y.T - design @ np.linalg.lstsq(design, y.T, rcond=None)[0]
    return np.asarray(np.sqrt((left**2).mean(axis=0)))


def best_exponents(curves: Sequence[Curves]) -> FloatArray:
    """(S,): the q with the least spread about one curve in P^q t."""
    spreads = np.stack([spread_about_one_curve(curves, q) for q in EXPONENTS])
    return np.asarray(EXPONENTS[spreads.argmin(axis=0)])


@dataclass(frozen=True, kw_only=True)
class Peak:
    """A rise of the test loss between two lower places.

    Attributes:
        before, top, after: places along the axis.
        height: (S,) ln of the top over the higher of the two sides, of the seeds it was not chosen by.
    """

    before: int
    top: int
    after: int
    height: FloatArray


def peak_along(log_loss: FloatArray) -> Peak:
    """The highest peak along the places of (S, places): chosen on every second seed, measured on the rest."""
    chosen, judged = log_loss[::2].mean(axis=0), log_loss[1::2]
    best, places = -np.inf, (0, 1, 2)
    for top in range(1, len(chosen) - 1):
        before = int(chosen[:top].argmin())
        after = top + 1 + int(chosen[top + 1 :].argmin())
        height = chosen[top] - max(chosen[before], chosen[after])
        if height > best:
            best, places = float(height), (before, top, after)
    before, top, after = places
    height = judged[:, top] - np.maximum(judged[:, before], judged[:, after])
    return Peak(before=before, top=top, after=after, height=height)


def peak_in_width(noisy: Sequence[Curves]) -> Peak:
    """Of the last test losses."""
    return peak_along(np.log(np.stack([each.test[:, -1] for each in noisy], axis=1)))


def peak_in_time(noisy: Sequence[Curves]) -> Peak:
    """Of the widest network."""
    return peak_along(np.log(noisy[-1].test))
