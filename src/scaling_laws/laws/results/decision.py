"""Which of two settings to take at a compute that nobody has trained at: chance, regret, what settles it.

Both settings follow a law of N and D. Whether they may share its exponents is tested (a likelihood ratio
whose distribution under the shared law is simulated); the decision rests on the shared law where it is not
rejected, or where a law of its own is not identified, and on separate laws otherwise.

Shapes: R draws, m computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.allocation.frontier import SAME_COMPUTE, losses_at, size_curves
from scaling_laws.laws.allocation.worth import WorthCurve, worth_by_compute, worth_curve
from scaling_laws.laws.fit import DEFAULT_DELTA, DEFAULT_RESAMPLES
from scaling_laws.laws.fit.coordinates import PowerSumCoordinates
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.huber import minimise
from scaling_laws.laws.fit.intervals import (
    bootstrap,
    bootstrap_draws,
    parameter_intervals,
    percentile_interval,
    run_noise_sd,
    why_uncertain,
)
from scaling_laws.laws.fit.level import TWO_SIDED_90
from scaling_laws.laws.fit.noise import SeedNoise, components
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla, ChinchillaTied, JointLaw, KaplanND
from scaling_laws.laws.forms.terms import FloatArray, in_columns
from scaling_laws.laws.results.compared_column import groups_to_compare
from scaling_laws.laws.results.written_decisions import Answer
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

FORMS: tuple[type[JointLaw], ...] = (Chinchilla, ChinchillaTied, KaplanND)
SIMULATED = 99
"""Tables under the shared law: the smallest p is 0.01."""
REJECTED = 0.05
SEEDS = (1, 2, 3, 5, 8)
N_COMPUTES = 25
MOST_SEEDS = 1_000
POWER_80 = 0.8416
HELD_OUT_SHARES = (0.3, 0.5, 0.7)
"""Of the range of ln C that is seen before the rest is held out."""


@dataclass(frozen=True, kw_only=True)
class HeldOutScore:
    """Choices at small scales judged by the largest: by laws, and by the ranking at the largest scale seen.

    Attributes:
        n: choices: shares of the range times pairs of settings.
        laws_right, ranking_right: of them.
    """

    n: int
    laws_right: int
    ranking_right: int


@dataclass(frozen=True, kw_only=True)
class Decision(Answer):
    """One setting against the reference at one compute.

    Attributes:
        worth: the multiplier over compute, by the laws; of the runs themselves `measured`.
    """

    worth: WorthCurve
    measured: WorthCurve | None


@dataclass(frozen=True, kw_only=True)
class _Two:
    """The laws of both at the optimum and as draws: reference, then value."""

    laws: tuple[JointLaw, JointLaw]
    draws: tuple[JointLaw, JointLaw]
    shared: bool
    sharing_p: float | None
    run_sd: float

    def log_difference(self, C: Any) -> FloatArray:
        """ln loss of value less that of the reference of every draw, (R, m)."""
        return np.asarray(self._log_best(self.draws[1], C) - self._log_best(self.draws[0], C))

    @staticmethod
    def _log_best(law: JointLaw, C: Any) -> FloatArray:
        columns = in_columns(law)
        with np.errstate(all="ignore"):
            return np.asarray(np.log(columns.loss(*columns.optimum(np.atleast_1d(C)[None]))))


def decide(
    runs: pd.DataFrame,
    by: str,
    C: float,
    *,
    reference: str | None = None,
    percent: float = 1.0,
    forms: Sequence[type[JointLaw]] = FORMS,
    n: str = "N",
    c: str = "C",
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> tuple[tuple[Decision, ...], HeldOutScore]:
    """Every other value of a column against the reference at C, and how such choices did at held-out scales.

    Args:
        runs, by, reference, n, c: as `compare_column`.
        C: FLOPs.
        percent: the difference of losses that `Decision.seeds` is for.
        forms: of N and D: the first that is identified decides.
        delta, resamples, seed: as everywhere.

    Raises:
        InputError: as `compare_column`; a law is not identified.
    """
    if not (np.isfinite(C) and C > 0):
        raise InputError(f"the compute is {C:g}; give positive FLOPs, as 1e21")
    if resamples < 10:
        raise InputError("a decision rests on draws: give 10 resamples or more")
    groups, _ = groups_to_compare(runs, by, reference=reference, n=n, c=c)
    decisions: list[Decision] = []
    right: list[tuple[bool, bool]] = []
    for family, rows, first in groups:
        for value in sorted(set(rows[by]) - {first}):
            two = rows[rows[by].isin([first, value])]
            found, right_of_pair = decide_between(
                two,
                by,
                first,
                value,
                C,
                noise=rows.attrs["noise"],
                family=family,
                percent=percent,
                forms=forms,
                delta=delta,
                resamples=resamples,
                seed=seed,
            )
            decisions.append(found)
            right += right_of_pair
    score = HeldOutScore(
        n=len(right), laws_right=sum(law for law, _ in right), ranking_right=sum(rank for _, rank in right)
    )
    return tuple(decisions), score


def decide_between(
    runs: pd.DataFrame,
    by: str,
    reference: str,
    value: str,
    C: float,
    *,
    noise: SeedNoise,
    family: str = "",
    percent: float = 1.0,
    forms: Sequence[type[JointLaw]] = FORMS,
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> tuple[Decision, list[tuple[bool, bool]]]:
    """One value against the reference, of runs that may enter a law: `decide` says the rest.

    Returns:
        The decision; and of each held-out choice whether the laws, and the ranking, were right.

    Raises:
        InputError: no form is identified.
    """
    refused = ""
    for form in forms:
        try:
            fitted = _fit_two(
                runs,
                by,
                reference,
                value,
                noise=noise,
                form=form,
                delta=delta,
                resamples=resamples,
                seed=seed,
            )
        except InputError as error:
            refused = refused or str(error)
            continue
        found = _decision(family, by, reference, value, C, percent, fitted, runs, form)
        return found, _held_out(runs, by, reference, value, form, delta)
    raise InputError(refused)


def _fit_two(
    runs: pd.DataFrame,
    by: str,
    reference: str,
    value: str,
    *,
    noise: SeedNoise,
    form: type[JointLaw],
    delta: float,
    resamples: int,
    seed: int,
) -> _Two:
    """Both laws, of their own or with shared exponents.

    Raises:
        InputError: neither is identified.
    """
    group = (runs[by] == value).to_numpy().astype(np.intp)
    rows = make_rows({"N": runs["N"], "D": runs["D"]}, runs["loss"], runs["trunk"])
    coordinates = PowerSumCoordinates(form, rows, group)
    joint = fit_law(form, rows, delta=delta, coordinates=coordinates)
    own = tuple(_own_fit(runs[group == g], form, delta) for g in (0, 1))
    separate = all(fit.identified for fit in own)
    if separate:
        drawn = tuple(
            bootstrap(fit, noise=noise, resamples=resamples, seed=seed + g) for g, fit in enumerate(own)
        )
        separate = not any(why_uncertain(form, parameter_intervals(draws)) for draws in drawn)
    p = (
        _sharing_p(joint, own, group, seed)
        if joint.identified and all(fit.identified for fit in own)
        else None
    )
    run_sd = run_noise_sd([joint, *own], noise)
    if run_sd is None:
        raise InputError(f"{by}: no law of {value} and {reference} is identified: {joint.reason}")
    if separate and (p is None or p < REJECTED):
        laws = own[0].law, own[1].law
        assert laws[0] is not None and laws[1] is not None
        draws = drawn[0].draws, drawn[1].draws
        return _Two(laws=(laws[0], laws[1]), draws=draws, shared=False, sharing_p=p, run_sd=run_sd)
    if not joint.identified:
        raise InputError(
            f"{by}: the law that {value} and {reference} share is not identified: {joint.reason}"
        )
    theta, _, _ = bootstrap_draws(joint, noise=noise, resamples=resamples, seed=seed, strata=group)
    return _Two(
        laws=(coordinates.law(joint.minima[0], 0), coordinates.law(joint.minima[0], 1)),
        draws=(coordinates.law(theta, 0), coordinates.law(theta, 1)),
        shared=True,
        sharing_p=p,
        run_sd=run_sd,
    )


def _own_fit(runs: pd.DataFrame, form: type[JointLaw], delta: float) -> Fit[JointLaw]:
    rows = make_rows({"N": runs["N"], "D": runs["D"]}, runs["loss"], runs["trunk"])
    return fit_law(form, rows, delta=delta)


def _sharing_p(joint: Fit[JointLaw], own: Sequence[Fit[JointLaw]], group: Any, seed: int) -> float:
    """The share of tables simulated under the shared law whose objective sharing raises by as much."""
    problem = joint.problem
    prediction = problem.model.predict(joint.minima[:1])
    residual = (problem.log_loss - prediction.log_loss)[0]
    noise = components(residual, prediction.jacobian[0], joint.rows.cluster)
    random = np.random.default_rng(seed)
    simulated = prediction.log_loss + noise.draw(joint.rows.cluster, SIMULATED, random)
    tables = np.concatenate([problem.log_loss, simulated])
    raised = minimise(
        replace(problem, log_loss=tables), np.tile(joint.minima[:1], (len(tables), 1))
    ).objective
    for g, fit in enumerate(own):
        of_group = replace(fit.problem, log_loss=tables[:, group == g])
        raised = raised - minimise(of_group, np.tile(fit.minima[:1], (len(tables), 1))).objective
    return float(np.mean(raised >= raised[0]))


def _decision(
    family: str,
    by: str,
    reference: str,
    value: str,
    C: float,
    percent: float,
    two: _Two,
    runs: pd.DataFrame,
    form: type[JointLaw],
) -> Decision:
    losses = [float(law.loss(*law.optimum(C))) for law in (two.laws[1], two.laws[0])]
    ours, theirs = (np.exp(two._log_best(law, C))[:, 0] for law in (two.draws[1], two.draws[0]))
    difference = two.log_difference(C)[:, 0]
    difference, ours, theirs = (each[np.isfinite(difference)] for each in (difference, ours, theirs))
    noise = np.sqrt(2) * two.run_sd
    random = np.random.default_rng(0)
    chance = float(np.mean(difference + random.normal(scale=noise, size=len(difference)) < 0))
    excess = ours - theirs if losses[0] <= losses[1] else theirs - ours  # of the one that is chosen
    regret = np.maximum(excess, 0.0)
    low, high = percentile_interval(difference)
    settled = low is not None and high is not None and (low > 0 or high < 0)
    least = np.log1p(percent / 100)
    seeds = ceil(2 * ((TWO_SIDED_90 + POWER_80) * two.run_sd / least) ** 2)
    return Decision(
        family=family,
        by=by,
        value=value,
        reference=reference,
        C=C,
        form=form.form,
        shared=two.shared,
        sharing_p=two.sharing_p,
        losses=(losses[0], losses[1]),
        chance=chance,
        better=value if losses[0] <= losses[1] else reference,
        regret=float(regret.mean()),
        regret_high=float(np.quantile(regret, 0.95)),
        run_sd=two.run_sd,
        percent=percent,
        seeds=max(seeds, 1),
        settling=None if settled else _settling(two, C, difference, float(runs["C"].min())),
        settled=settled,
        worth=_worth(two, float(runs["C"].min()), max(C, float(runs["C"].max()))),
        measured=worth_by_compute(
            size_curves(runs[runs[by] == reference]),
            size_curves(runs[runs[by] == value]),
            noise_sd=two.run_sd,
        ),
    )


def _settling(two: _Two, C: float, difference: FloatArray, smallest: float) -> tuple[float, int] | None:
    """The cheapest compute and seeds of a pair of runs that are expected to leave 0 out at C.

    Draws are taken as jointly normal: a pair at C' with s seeds leaves a variance at C of
    var - cov^2/(var' + 2 sd^2/s).
    """
    grid = np.geomspace(smallest, C, N_COMPUTES)
    at_grid = two.log_difference(grid)
    known = np.isfinite(two.log_difference(C)[:, 0]) & np.isfinite(at_grid).all(axis=1)
    at_C, at_grid = two.log_difference(C)[known, 0], at_grid[known]
    mean, variance = abs(float(np.mean(difference))), float(np.var(at_C))
    covariance = np.mean((at_grid - at_grid.mean(axis=0)) * (at_C - at_C.mean())[:, None], axis=0)
    found: list[tuple[float, float, int]] = []
    for seeds in SEEDS:
        left = variance - covariance**2 / (at_grid.var(axis=0) + 2 * two.run_sd**2 / seeds)
        enough = np.flatnonzero(mean > TWO_SIDED_90 * np.sqrt(np.maximum(left, 0.0)))
        if len(enough):
            at = float(grid[enough[0]])
            found.append((2 * seeds * at, at, seeds))
    return None if not found else min(found)[1:]


def _worth(two: _Two, low_C: float, high_C: float) -> WorthCurve:
    """By the laws at their best sizes."""
    C = np.geomspace(low_C, high_C, N_COMPUTES)
    (worth,) = _multiplier(two.laws[0], two.laws[1], C[None])
    with np.errstate(divide="ignore"):
        return worth_curve(np.log(C), np.log(worth), np.log(_multiplier(*two.draws, C[None])))


def _multiplier(reference: JointLaw, other: JointLaw, C: FloatArray) -> FloatArray:
    """FLOPs of the reference for the other's best loss at C, over C: (R, m); infinite below its floor."""
    ours, theirs = in_columns(reference), in_columns(other)
    with np.errstate(all="ignore"):
        return np.asarray(ours.compute_to_reach(theirs.loss(*theirs.optimum(C))) / C)


def _held_out(
    runs: pd.DataFrame, by: str, reference: str, value: str, form: type[JointLaw], delta: float
) -> list[tuple[bool, bool]]:
    """Whether the laws, and the ranking at the largest scale seen, chose what is better at the largest scale.

    The laws are the shared one where a separate one is not identified. A cut at which nothing can be fitted,
    or at which no ranking was measured, is passed over.
    """
    scales = np.log(runs["C"].to_numpy(dtype=np.float64))
    truth = _measured_difference(runs, by, reference, value, float(scales.max()))
    if truth is None:
        return []
    top, sign = truth
    found = []
    for share in HELD_OUT_SHARES:
        cut = scales.min() + share * (top - scales.min())
        seen = runs[scales <= cut + SAME_COMPUTE]
        ranked = _measured_difference(seen, by, reference, value, cut)
        if ranked is None or seen[by].nunique() < 2:
            continue
        predicted = _law_difference(seen, by, value, form, delta, top)
        if predicted is not None:
            found.append((predicted * sign > 0, ranked[1] * sign > 0))
    return found


def _measured_difference(
    runs: pd.DataFrame, by: str, reference: str, value: str, log_C: float
) -> tuple[float, float] | None:
    """The largest ln C, at most `log_C`, where both were measured, and ln loss of value less reference."""
    ours, theirs = (size_curves(runs[runs[by] == name]) for name in (value, reference))
    grid = np.linspace(float(np.log(runs["C"].min())), log_C, 60)
    best = [
        np.min(np.where(np.isfinite(at), at, np.inf), axis=0, initial=np.inf)
        for at in (losses_at(ours, grid), losses_at(theirs, grid))
    ]
    known = np.flatnonzero(np.isfinite(best[0]) & np.isfinite(best[1]))
    if not len(known):
        return None
    i = int(known[-1])
    return float(grid[i]), float(best[0][i] - best[1][i])


def _law_difference(
    runs: pd.DataFrame, by: str, value: str, form: type[JointLaw], delta: float, log_C: float
) -> float | None:
    """ln loss of value less reference at a compute, by separate laws or the shared one."""
    group = (runs[by] == value).to_numpy().astype(np.intp)
    own = [_own_fit(runs[group == g], form, delta) for g in (0, 1)]
    laws = [fit.law for fit in own]
    if not all(fit.identified for fit in own):
        rows = make_rows({"N": runs["N"], "D": runs["D"]}, runs["loss"], runs["trunk"])
        coordinates = PowerSumCoordinates(form, rows, group)
        joint = fit_law(form, rows, delta=delta, coordinates=coordinates)
        if not joint.identified:
            return None
        laws = [coordinates.law(joint.minima[0], g) for g in (0, 1)]
    C = np.exp(log_C)
    reference, other = (float(np.log(law.loss(*law.optimum(C)))) for law in laws if law is not None)
    return other - reference
