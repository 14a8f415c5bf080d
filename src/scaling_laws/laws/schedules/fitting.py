"""A law of the schedule fitted to curves: certificate, intervals, and the loss under any other schedule.

Points of one curve are not independent. With ten curves or more, whole curves get random weights, as
trainings do in every other law; with fewer, each curve is cut into blocks of neighbouring points, and the
blocks get them: residuals that wander together move the law, and so does a part of a curve that the form
cannot follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.huber import minimise
from scaling_laws.laws.fit.intervals import (
    FEWEST_CLUSTERS,
    Interval,
    bootstrap_draws,
    percentile_interval,
    why_uncertain,
)
from scaling_laws.laws.fit.level import LEVEL
from scaling_laws.laws.fit.profile import profile_intervals
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.laws.schedules.annealing import SCHEDULE_FORMS, ScheduleLaw
from scaling_laws.laws.schedules.curves import ScheduleCurve
from scaling_laws.laws.schedules.falls import falls_of
from scaling_laws.laws.schedules.whole_curves import coordinates_of_schedule
from scaling_laws.study.errors import InputError

DEFAULT_SCHEDULE_RESAMPLES = 200
N_BLOCKS = 24
"""Of all curves together, where there are too few of them."""
FEWEST_POINTS = 8
"""Of a curve, after its warm-up."""
COARSER = 2.0
"""How much coarser the terms of a bootstrap are; the refits' losses are shifted by what that changes."""
BEYOND = 1.05
"""Times the longest fitted curve, in summed rates: further out is extrapolated."""
FARTHEST = 4.0
"""How far a roll-out of the fitted curves goes; what is predicted further out is judged by this one."""
MUCH_WORSE = 2.0
"""Times the scatter about the law: where a roll-out misses by more, the law is not identified."""


@dataclass(frozen=True, kw_only=True)
class ScheduleLoss:
    """Losses under one schedule, predicted and, where they are known, measured. Nats per token.

    Attributes:
        run: the schedule's name.
        step: (m,).
        predicted: (m,).
        low, high: (m,), of a new run's loss; NaN without intervals.
        measured: (m,); NaN where there is none.
        fitted: whether the law was fitted to these losses.
        beyond: by how many times the schedule is longer, in summed rates, than the longest that was fitted;
            1 where it is not.
        rolled_out: what a roll-out so far misses by within the fitted curves, of the loss; 0 within their
            length.
        reason: why the law is not identified so far out, in words; empty where it is.
    """

    run: str
    step: FloatArray
    predicted: FloatArray
    low: FloatArray
    high: FloatArray
    measured: FloatArray
    fitted: bool
    beyond: float
    rolled_out: float
    reason: str

    @property
    def relative_error(self) -> FloatArray:
        """predicted/measured - 1, (m,)."""
        return np.asarray(self.predicted / self.measured - 1)

    @property
    def covered(self) -> float:
        """Share of the measured losses that lie in their interval."""
        known = np.isfinite(self.measured) & np.isfinite(self.low)
        inside = (self.measured >= self.low) & (self.measured <= self.high)
        return float(inside[known].mean()) if known.any() else float("nan")


@dataclass(frozen=True, kw_only=True)
class FittedSchedule:
    """One law of the schedule, fitted.

    Attributes:
        fit: the fitter's result; `fit.identified` and `fit.reason` after the intervals were looked at.
        curves: that were fitted, without their warm-up's points.
        draws: the law with an array (resamples,) for each parameter; None without intervals.
        profile: 90 % by profile, of the parameters that are coordinates.
        method: of the intervals, in words.
        row_sd: standard deviation of ln loss about the law.
        curve_sd: root mean square of what the law misses each curve's ln loss by when fitted without it; 0
            where there is one curve. A schedule that was not fitted is predicted no better.
        level: of the intervals.
    """

    fit: Fit[Any]
    curves: tuple[ScheduleCurve, ...]
    draws: ScheduleLaw | None
    profile: dict[str, Interval]
    method: str
    row_sd: float
    curve_sd: float
    level: float

    @property
    def form(self) -> type[ScheduleLaw]:
        return self.fit.form

    @property
    def law(self) -> Any:
        return self.fit.law

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Of every parameter; empty without draws."""
        if self.draws is None:
            return {}
        return {name: percentile_interval(values, self.level) for name, values in vars(self.draws).items()}

    @property
    def longest(self) -> float:
        """The largest summed rate of a fitted loss."""
        return max(float(curve.summed[curve.step[-1]]) for curve in self.curves)

    def losses(self, schedule: ScheduleCurve) -> FloatArray:
        """At the schedule's steps, nats per token, (m,)."""
        return np.asarray(self.law.losses(falls_of([schedule], warm_up=self.form.warm_up)))

    def drawn_losses(self, schedule: ScheduleCurve) -> FloatArray:
        """Of every draw, (resamples, m)."""
        assert self.draws is not None
        return np.asarray(self.draws.losses(falls_of([schedule], warm_up=self.form.warm_up)))

    def predict(
        self, schedule: ScheduleCurve, *, others: Sequence[FittedSchedule] = (), seed: int = 0
    ) -> ScheduleLoss:
        """The curve of any schedule at its steps, with the interval of one new run's losses.

        Beside the draws the interval holds one run's scatter and, of a schedule that was not fitted, what
        the law misses a curve by that it has not seen, what a roll-out of the fitted curves misses so far
        out, and what other laws of the same curves say.

        Args:
            schedule: its rates and steps; its losses are kept beside the predicted ones.
            others: fits of other laws to the same curves.
            seed: of the noise.
        """
        predicted = self.losses(schedule)
        beyond = max(float(schedule.summed[schedule.step[-1]]) / self.longest, 1.0)
        fitted = schedule.run in {curve.run for curve in self.curves}
        rolled_out = self.rolled_out(beyond) if beyond > BEYOND and not fitted else 0.0
        apart = np.zeros(len(predicted))
        if not fitted:
            for other in others:
                apart = np.maximum(apart, np.abs(np.log(other.losses(schedule) / predicted)))
        low = high = np.full(len(predicted), np.nan)
        if self.draws is not None:
            drawn = self.drawn_losses(schedule)
            sd = np.sqrt(self.row_sd**2 + (0.0 if fitted else self.curve_sd**2 + rolled_out**2 + apart**2))
            noise = sd * np.random.default_rng(seed).normal(size=drawn.shape)
            tail = (1 - self.level) / 2
            low, high = np.nanquantile(drawn * np.exp(noise), [tail, 1 - tail], axis=0)
        return ScheduleLoss(
            run=schedule.run,
            step=schedule.step.astype(np.float64),
            predicted=predicted,
            low=low,
            high=high,
            measured=schedule.loss,
            fitted=fitted,
            beyond=beyond,
            rolled_out=rolled_out,
            reason=self._doubt(beyond, rolled_out, float(apart.max(initial=0.0))),
        )

    def _doubt(self, beyond: float, rolled_out: float, apart: float) -> str:
        """Why a prediction is not identified; empty where it is."""
        longer = f"{beyond:.2g} times as long as the longest fitted curve, in summed rates"
        if rolled_out > MUCH_WORSE * self.row_sd:
            return (
                f"{longer}: fitted to the first {self._share(beyond):.0f} % of the curves, {self.form.form} "
                f"misses their rest by {100 * rolled_out:.2g} %"
            )
        if beyond > BEYOND and apart > MUCH_WORSE * self.row_sd:
            return f"{longer}: the laws differ by {100 * apart:.2g} % there"
        return ""

    def rolled_out(self, beyond: float) -> float:
        """What the law, fitted to the losses up to 1/beyond of the longest curve, misses the last of them by.

        Root mean square of ln L_hat - ln L of the losses in the last quarter, on the log scale, of what was
        left out; `beyond` counts as at most `FARTHEST`.
        """
        share = self._share(beyond) / 100
        reached = self.fit.rows.values["S1"] / self.longest
        seen = reached <= share
        if np.count_nonzero(seen) < 2 * self.fit.minima.shape[1]:
            return float("inf")
        return self._missed(seen, reached >= share**0.25)

    @staticmethod
    def _share(beyond: float) -> float:
        """Per cent of the longest curve that a roll-out is fitted to."""
        return 100 / min(beyond, FARTHEST)

    def _missed(self, seen: NDArray[np.bool_], held_out: NDArray[np.bool_]) -> float:
        """Root mean square of ln L_hat - ln L where `held_out`, fitted where `seen`, both (n,)."""
        problem = replace(self.fit.problem, weights=(self.fit.weights * seen)[None])
        optimum = minimise(problem, self.fit.minima[:1])
        residual = problem.model.predict(optimum.theta).log_loss[0] - problem.log_loss[0]
        return float(np.sqrt(np.mean(residual[held_out] ** 2)))

    def without_each_curve(self) -> float:
        """`curve_sd`."""
        if len(self.curves) < 2:
            return 0.0
        of_curve = np.repeat(np.arange(len(self.curves)), [len(curve.step) for curve in self.curves])
        missed = [self._missed(of_curve != i, of_curve == i) for i in range(len(self.curves))]
        return float(np.sqrt(np.mean(np.square(missed))))


def schedule_form(name: str) -> type[ScheduleLaw]:
    """The law of that name.

    Raises:
        InputError: there is none.
    """
    for form in SCHEDULE_FORMS:
        if form.form == name:
            return form
    raise InputError(
        f"{name!r} is not a law of the schedule; there are {', '.join(form.form for form in SCHEDULE_FORMS)}"
    )


def after_warm_up(curve: ScheduleCurve) -> ScheduleCurve:
    """The curve's losses from the end of its warm-up on: neither law is one of the warm-up."""
    kept = curve.step >= curve.peak_step
    return replace(curve, step=curve.step[kept], loss=curve.loss[kept])


def fit_schedule_law(
    curves: Sequence[ScheduleCurve],
    form: type[ScheduleLaw],
    *,
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_SCHEDULE_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> FittedSchedule:
    """Fit one law to whole curves.

    Args:
        curves: of one network on one text, which differ in their schedules alone.
        delta: of Huber's loss, in ln L.
        resamples: behind the intervals; 0 for none.
        seed: of the resamples.
        level: of the intervals.

    Raises:
        InputError: no curve has enough points after its warm-up.
    """
    used = [curve for each in curves if len((curve := after_warm_up(each).thinned()).step) >= FEWEST_POINTS]
    if not used:
        raise InputError(f"no curve has {FEWEST_POINTS} losses after its warm-up: nothing to fit")
    falls = falls_of(used, warm_up=form.warm_up)
    rows = make_rows({"S1": falls.summed}, np.concatenate([curve.loss for curve in used]), _clusters(used))
    fit = fit_law(form, rows, delta=delta, coordinates=coordinates_of_schedule(form, rows, falls))
    if fit.certificate is None or fit.law is None:
        raise InputError(f"{form.form} cannot follow these curves: {fit.reason}")
    freedom = max(rows.n - fit.minima.shape[1], 1)
    row_sd = fit.certificate.rms_log_residual * float(np.sqrt(rows.n / freedom))
    found = FittedSchedule(
        fit=fit,
        curves=tuple(used),
        draws=None,
        profile={},
        method="no resamples",
        row_sd=row_sd,
        curve_sd=0.0,
        level=level,
    )
    if not fit.identified:
        return replace(found, method="not identified")
    found = replace(found, curve_sd=found.without_each_curve())
    profile = profile_intervals(fit)
    if resamples == 0:
        reason = why_uncertain(form, profile, profile)
        return replace(
            found, profile=profile, fit=replace(fit, identified=not reason, reason=reason), draws=None
        )
    coarse = _coarser(fit, used)
    theta, _, _ = bootstrap_draws(coarse, noise=None, resamples=resamples, seed=seed)
    found = replace(
        found,
        profile=profile,
        draws=fit.coordinates.law(theta),
        method=f"bootstrap over {_clusters_in_words(used)} ({resamples} resamples)",
    )
    reason = why_uncertain(form, found.intervals, profile)
    return replace(found, fit=replace(fit, identified=not reason, reason=reason))


def fit_schedule_laws(
    curves: Sequence[ScheduleCurve], forms: Sequence[str] = (), **options: Any
) -> tuple[FittedSchedule, ...]:
    """Every law of the schedule, or those named, the one of the lowest objective first."""
    chosen = [schedule_form(name) for name in forms] or list(SCHEDULE_FORMS)
    found = [fit_schedule_law(curves, form, **options) for form in chosen]
    return tuple(sorted(found, key=lambda each: each.fit.objective or np.inf))


def _blocks_per_curve(n_curves: int) -> int:
    return 1 if n_curves >= FEWEST_CLUSTERS else ceil(N_BLOCKS / n_curves)


def _clusters(curves: Sequence[ScheduleCurve]) -> ArrayLike:
    """(n,): the curve of each row, or its block of one."""
    each = _blocks_per_curve(len(curves))
    blocks = []
    for i, curve in enumerate(curves):
        m = len(curve.step)
        blocks.append(i * each + np.minimum(np.arange(m) * min(each, m // 2) // m, each - 1))
    return np.concatenate(blocks)


def _clusters_in_words(curves: Sequence[ScheduleCurve]) -> str:
    curves_in_words = f"{len(curves)} curve" + "s" * (len(curves) != 1)
    if len(curves) >= FEWEST_CLUSTERS:
        return curves_in_words
    return f"{len(np.unique(np.asarray(_clusters(curves))))} blocks of {curves_in_words}"


def _coarser(fit: Fit[Any], curves: Sequence[ScheduleCurve]) -> Fit[Any]:
    """The same fit with fewer terms, its losses shifted so that optimum and residuals are the same."""
    falls = falls_of(curves, warm_up=fit.form.warm_up, coarser=COARSER)
    theta = fit.minima[:1]
    coarse = coordinates_of_schedule(fit.form, fit.rows, falls)
    shift = coarse.model.predict(theta).log_loss[0] - fit.coordinates.model.predict(theta).log_loss[0]
    rows = replace(fit.rows, loss=fit.rows.loss * np.exp(shift))
    return replace(fit, rows=rows, coordinates=coordinates_of_schedule(fit.form, rows, falls))
