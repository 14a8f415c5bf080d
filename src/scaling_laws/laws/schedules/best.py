"""The best schedule for a number of steps under a law, and what it gains over usual ones.

The rate rises linearly through the warm-up, then never rises again: at `N_KNOTS` steps it is the peak less
what has been taken by then, linear between. What each interval takes is chosen for the lowest last loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.laws.schedules.curves import ScheduleCurve
from scaling_laws.laws.schedules.fitting import FittedSchedule
from scaling_laws.study.errors import InputError
from scaling_laws.study.schedule import Decay, Schedule

N_KNOTS = 24
USUAL: dict[str, tuple[Decay, float]] = {
    "constant": ("constant", 0.0),
    "cosine to a tenth": ("cosine", 0.1),
    "cosine to 0": ("cosine", 0.0),
    "linear to 0": ("linear", 0.0),
    "cooldown of a fifth": ("cooldown", 0.0),
}
"""Decay and final share of what the best schedule is compared with."""


@dataclass(frozen=True, kw_only=True)
class ScheduleGain:
    """The best schedule against a usual one; losses in nats per token at the last step.

    Attributes:
        name: of the usual one.
        loss: of it, predicted.
        gain: of the best schedule: this loss less its own.
        interval: of the gain, from the law's draws alone: both schedules by the same draw.
    """

    name: str
    loss: float
    gain: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class BestSchedule:
    """What the law would do with so many steps.

    Attributes:
        schedule: the rates, (T,), with its last step.
        loss: predicted at the last step, nats per token.
        interval: of a new run's loss.
        decay_from: share of the steps after which the rate has left 95 % of its peak.
        final_share: of the peak, at the last step.
        gains: over the usual schedules of the same peak and warm-up.
        reason: why the law is not identified so far out; empty where it is.
    """

    schedule: ScheduleCurve
    loss: float
    interval: Interval
    decay_from: float
    final_share: float
    gains: tuple[ScheduleGain, ...]
    reason: str


def usual_schedule(name: str, *, steps: int, peak: float, warmup_steps: int) -> ScheduleCurve:
    """A schedule of `USUAL` with its last step."""
    decay, final_share = USUAL[name]
    of = Schedule(decay=decay, warmup_steps=warmup_steps, final_share=final_share)
    rates = peak * np.array([of.factor(k, steps) for k in range(steps)])
    return _schedule(name, rates)


def best_schedule(
    fitted: FittedSchedule,
    *,
    steps: int,
    peak: float | None = None,
    warmup_steps: int | None = None,
    others: Sequence[FittedSchedule] = (),
) -> BestSchedule:
    """The schedule of the lowest last loss.

    Args:
        fitted: the law.
        steps: the horizon.
        peak: learning rate; by default the largest that was fitted. The law knows no other.
        warmup_steps: by default those of the fitted curves.
        others: as `FittedSchedule.predict`.

    Raises:
        InputError: the law is not identified, the horizon is no longer than the warm-up, or the peak is
            another than the fitted curves'.
    """
    if not fitted.fit.identified:
        raise InputError(f"{fitted.form.form} is not identified: {fitted.fit.reason}")
    largest = max(float(curve.rates.max()) for curve in fitted.curves)
    peak = largest if peak is None else peak
    if not 0 < peak <= 1.01 * largest:
        raise InputError(f"the peak is {peak:g}; the fitted curves have rates up to {largest:g}")
    if warmup_steps is None:
        warmup_steps = min(curve.peak_step for curve in fitted.curves) - 1
    if steps < warmup_steps + 2 * N_KNOTS:
        raise InputError(
            f"the horizon is {steps:,} steps, the warm-up {warmup_steps:,}: give at least "
            f"{warmup_steps + 2 * N_KNOTS:,}"
        )
    taken = _search(fitted, steps, peak, warmup_steps)
    rates = _rates(taken, steps, peak, warmup_steps)
    best = _schedule("best", rates)
    predicted = fitted.predict(best, others=others)
    own = fitted.drawn_losses(best)[:, 0] if fitted.draws is not None else None
    gains = []
    for name in USUAL:
        usual = usual_schedule(name, steps=steps, peak=peak, warmup_steps=warmup_steps)
        loss = float(fitted.losses(usual)[0])
        interval: Interval = (None, None)
        if own is not None:
            interval = percentile_interval(fitted.drawn_losses(usual)[:, 0] - own, fitted.level)
        gain = loss - float(predicted.predicted[0])
        gains.append(ScheduleGain(name=name, loss=loss, gain=gain, interval=interval))
    high = np.flatnonzero(rates >= 0.95 * peak)
    return BestSchedule(
        schedule=best,
        loss=float(predicted.predicted[0]),
        interval=_finite(predicted.low[0], predicted.high[0]),
        decay_from=float((high[-1] + 1) / steps),
        final_share=float(rates[-1] / peak),
        gains=tuple(gains),
        reason=predicted.reason,
    )


def _finite(low: float, high: float) -> Interval:
    return (float(low) if np.isfinite(low) else None), (float(high) if np.isfinite(high) else None)


def _schedule(name: str, rates: FloatArray) -> ScheduleCurve:
    return ScheduleCurve(run=name, rates=rates, step=np.array([len(rates)]), loss=np.full(1, np.nan))


def _rates(taken: FloatArray, steps: int, peak: float, warmup_steps: int) -> FloatArray:
    """The rates of all steps, from the shares of the peak that each interval takes, (N_KNOTS,)."""
    k = np.arange(1, steps + 1)
    knots = warmup_steps + _places() * (steps - warmup_steps)
    after = np.interp(k, knots, 1 - np.concatenate([[0.0], np.cumsum(taken)]))
    return np.asarray(peak * np.minimum(k / (warmup_steps + 1), 1.0) * np.maximum(after, 0.0))


def _places() -> FloatArray:
    """Where the knots are, shares of the steps after the warm-up: denser towards the end."""
    even = np.linspace(0.0, 1.0, N_KNOTS + 1)
    return np.asarray(1 - (1 - even) ** 2)


def _search(fitted: FittedSchedule, steps: int, peak: float, warmup_steps: int) -> FloatArray:
    """What each interval takes: descent from several usual shapes, by numerical gradients."""
    from scipy.optimize import minimize

    def last_loss(logits: FloatArray) -> float:
        rates = _rates(_shares(logits), steps, peak, warmup_steps)
        return float(fitted.losses(_schedule("", rates))[0])

    places = _places()
    starts = []
    for start in (0.0, 0.5, 0.8):
        widths = np.diff(np.clip((places - start) / (1 - start), 0.0, 1.0))
        starts.append(np.concatenate([np.log(np.maximum(0.95 * widths, 1e-3)), [np.log(0.05)]]))
    bounds, options = [(-12.0, 4.0)] * (N_KNOTS + 1), {"maxiter": 60}
    how = {"method": "L-BFGS-B", "bounds": bounds, "options": options}
    found = [minimize(last_loss, start, **how) for start in starts]
    return _shares(min(found, key=lambda each: each.fun).x)


def _shares(logits: FloatArray) -> FloatArray:
    """Shares of the peak by interval; the last of the logits is what stays."""
    scaled = np.exp(logits - logits.max())
    return np.asarray(scaled[:-1] / scaled.sum())
