"""What one family's compute is worth in another's: not one number, but a curve over compute.

At each compute the best loss of the one family is looked up on the other's lower envelope; the worth is the
compute that the other needs for it, over that of the first. Nothing is extrapolated: where either envelope
ends, so does the curve.

Shapes: m computes, R draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scaling_laws.laws.allocation.frontier import SizeCurve, losses_at
from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.forms.terms import FloatArray

N_COMPUTES, N_FINE, N_DRAWS = 60, 400, 200
FEWEST_COMPUTES = 3
"""Of a curve: with fewer the envelopes hardly overlap."""


@dataclass(frozen=True, kw_only=True)
class WorthCurve:
    """FLOPs of the reference that one FLOP of the other, a family or a setting, is worth.

    Attributes:
        C: (m,): compute of the other, FLOPs.
        worth: (m,).
        low, high: (m,), 90 %; NaN without an estimate.
        crossing: the compute at which the worth falls (or rises) through 1, the last such; None where it does
            not within the runs.
        crossing_interval: 90 %: over the draws that cross.
        share_crossing: of the draws.
    """

    C: FloatArray
    worth: FloatArray
    low: FloatArray
    high: FloatArray
    crossing: float | None
    crossing_interval: Interval
    share_crossing: float


def worth_by_compute(
    reference: Sequence[SizeCurve], other: Sequence[SizeCurve], *, noise_sd: float | None, seed: int = 0
) -> WorthCurve | None:
    """The curve; None where no loss is on both envelopes.

    Args:
        reference, other: from `frontier.size_curves`, in one convention of C.
        noise_sd: of ln loss, from run to run, from which alone the intervals are. A size's runs are one
            training: they share their noise.
        seed: of the draws.
    """
    if not reference or not other:
        return None
    own = np.concatenate([curve.log_C for curve in other])
    log_C = np.linspace(own.min(), own.max(), N_COMPUTES)
    worth = _log_worth(reference, other, log_C)
    known = np.isfinite(worth)
    if known.sum() < FEWEST_COMPUTES:
        return None
    random = np.random.default_rng(seed)
    draws = [
        _log_worth(_noisy(reference, noise_sd, random), _noisy(other, noise_sd, random), log_C[known])
        for _ in range(N_DRAWS if noise_sd else 0)
    ]
    return worth_curve(log_C[known], worth[known], draws)


def worth_curve(
    log_C: FloatArray, log_worth: FloatArray, draws: Sequence[FloatArray] | FloatArray
) -> WorthCurve:
    """The curve with its interval and the compute at which it goes through 1.

    Args:
        log_C: (m,).
        log_worth: (m,).
        draws: of ln worth, (n_draws, m); none without an estimate of its interval.
    """
    low = high = np.full(len(log_worth), np.nan)
    if len(draws):
        ends = [percentile_interval(column) for column in np.transpose(draws)]
        low, high = (
            np.exp(np.array([np.nan if end[side] is None else end[side] for end in ends], dtype=np.float64))
            for side in (0, 1)
        )
    crossings = [found for draw in draws if (found := _crossing(log_C, draw)) is not None]
    at = _crossing(log_C, log_worth)
    return WorthCurve(
        C=np.exp(log_C),
        worth=np.exp(log_worth),
        low=low,
        high=high,
        crossing=None if at is None else float(np.exp(at)),
        crossing_interval=percentile_interval(np.exp(crossings)) if crossings else (None, None),
        share_crossing=len(crossings) / len(draws) if len(draws) else float(at is not None),
    )


def _log_worth(reference: Sequence[SizeCurve], other: Sequence[SizeCurve], log_C: FloatArray) -> FloatArray:
    """ln of the reference's compute for the other's best loss, less ln C; NaN where there is none."""
    ends = np.concatenate([curve.log_C for curve in reference])
    fine = np.linspace(ends.min(), ends.max(), N_FINE)
    lowest = _envelope(reference, fine)
    fine, lowest = fine[np.isfinite(lowest)], lowest[np.isfinite(lowest)]
    lowest = np.minimum.accumulate(lowest)  # more compute may be spent worse, but need not be
    loss = _envelope(other, log_C)
    found = np.interp(-loss, -lowest, fine, left=np.nan, right=np.nan)
    return np.asarray(found - log_C)


def _envelope(curves: Sequence[SizeCurve], log_C: FloatArray) -> FloatArray:
    """The lowest ln loss of any size at each compute; NaN where none was measured."""
    losses = losses_at(list(curves), log_C)
    lowest = np.min(np.where(np.isfinite(losses), losses, np.inf), axis=0)
    return np.where(np.isfinite(lowest), lowest, np.nan)


def _noisy(
    curves: Sequence[SizeCurve], noise_sd: float | None, random: np.random.Generator
) -> list[SizeCurve]:
    return [replace(curve, log_loss=curve.log_loss + random.normal(scale=noise_sd or 0)) for curve in curves]


def _crossing(log_C: FloatArray, worth: FloatArray) -> float | None:
    """The last ln C at which ln worth goes through 0, between two computes at which it is known."""
    known = np.isfinite(worth)
    x, y = log_C[known], worth[known]
    turns = np.flatnonzero(np.sign(y[:-1]) * np.sign(y[1:]) < 0)
    if not len(turns):
        return None
    i = int(turns[-1])
    return float(x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i]))
