"""How the exponents move with choices that an analysis has to make: one table, point estimates only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.allocation.frontier import size_curves
from scaling_laws.laws.allocation.power_lines import envelope_optima, fit_allocation, isoflop_optima
from scaling_laws.laws.checks.outliers import MOST_LEFT_OUT
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import checked, refit
from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.conventions import C_CONVENTIONS, COUNT_ONCE

if TYPE_CHECKING:
    import pandas as pd

HIGHEST_SHARES = (0.01, 0.02, 0.05)
"""Shares of the rows, those of highest loss, that changes leave out."""
FEWEST_VALUES = 3
"""Different N, and different D, that an irreducible loss needs."""


class Range(NamedTuple):
    """The lowest and the highest value."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The exponents after one change. None where they are not identified.

    Attributes:
        change: in words.
        n_rows: runs.
        alpha, beta, a_opt: of the Chinchilla fit; None where the change is a series of fits.
        envelope_exponent, isoflop_exponent: of N_opt ~ C^exponent through the envelope and the slices.
        alpha_range, beta_range, a_opt_range: over the series of fits; None elsewhere.
        most_influential: the training without which a_opt moves most; None elsewhere.
        reason: why the Chinchilla fit, or some of a series, is not identified; empty where it is.
    """

    change: str
    n_rows: int
    alpha: float | None = None
    beta: float | None = None
    a_opt: float | None = None
    envelope_exponent: float | None = None
    isoflop_exponent: float | None = None
    alpha_range: Range | None = None
    beta_range: Range | None = None
    a_opt_range: Range | None = None
    most_influential: str | None = None
    reason: str


def sensitivity(
    runs: pd.DataFrame,
    *,
    n: str,
    c: str,
    delta: float,
    noise: SeedNoise | None = None,
    all_runs: pd.DataFrame | None = None,
) -> list[Sensitivity]:
    """Exponents as fitted, then after each change alone.

    Args:
        runs: one family's usable runs: run, trunk, N, D, C, loss, and the columns of the other conventions.
        n, c: the conventions that N and C were taken from.
        delta: of the fit.
        noise: between seeds.
        all_runs: the family's table before `usable_runs` kept the best learning rate of each size and
            horizon, with the same conventions in its columns `n` and `c`; losses taken before the cooldown
            stay out. Without it that choice is not varied.
    """
    results = []
    fits = []
    for change, table, changed_delta in _changes(runs, n, c, delta, all_runs):
        fit = checked(_fit(table, changed_delta), noise=noise)
        fits.append(fit)
        law = fit.law if fit.identified else None
        curves = size_curves(table)
        results.append(
            Sensitivity(
                change=change,
                n_rows=len(table),
                alpha=float(law.alpha) if law else None,
                beta=float(law.beta) if law else None,
                a_opt=float(law.a_opt) if law else None,
                envelope_exponent=fit_allocation(curves, envelope_optima).exponent,
                isoflop_exponent=fit_allocation(curves, isoflop_optima).exponent,
                reason=fit.reason,
            )
        )
    if 1 < runs["trunk"].nunique() <= MOST_LEFT_OUT:
        results.append(without_each_training(fits[0]))  # as fitted
    return results


def _fit(table: pd.DataFrame, delta: float) -> Fit[Chinchilla]:
    rows = make_rows({"N": table["N"], "D": table["D"]}, table["loss"], table["trunk"])
    return fit_law(Chinchilla, rows, delta=delta)


def _changes(
    runs: pd.DataFrame, n: str, c: str, delta: float, all_runs: pd.DataFrame | None
) -> Iterator[tuple[str, pd.DataFrame, float]]:
    yield "as fitted", runs, delta
    for name in COUNT_ONCE:
        if name != n and name in runs.columns:
            yield f"N counted as {name}", runs.assign(N=runs[name].astype(float)), delta
    for column in C_CONVENTIONS:
        if column != c and column in runs.columns:
            yield f"C counted as {column}", runs.assign(C=runs[column].astype(float)), delta
    if all_runs is not None:
        every_rate = _cooled(all_runs)
        if len(every_rate) > len(runs):
            counted = every_rate.assign(N=every_rate[n].astype(float), C=every_rate[c].astype(float))
            yield "all learning rates, not the best alone", counted, delta
    longest = runs[runs["D"] == runs.groupby("trunk")["D"].transform("max")]
    if len(longest) < len(runs):
        yield "only the longest horizon of each training", longest, delta
    yield "without the smallest size", runs[runs["N"] > runs["N"].min()], delta
    yield "without the largest size", runs[runs["N"] < runs["N"].max()], delta
    for n_highest in sorted({int(np.ceil(share * len(runs))) for share in HIGHEST_SHARES}):
        highest = runs.sort_values("loss", ascending=False).iloc[n_highest:]
        lost = "the highest loss" if n_highest == 1 else f"the {n_highest} highest losses"
        yield f"without {lost}", highest, delta
    yield "delta ten times larger", runs, 10 * delta
    yield "delta ten times smaller", runs, delta / 10


def _cooled(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs whose loss was taken after the learning rate came down."""
    return runs[runs["after_cooldown"].astype(bool)] if "after_cooldown" in runs.columns else runs


def without_each_training(fit: Fit[Chinchilla]) -> Sensitivity:
    """The fit again without each training in turn, started at its minima: the range of its exponents."""
    trainings = np.unique(fit.rows.cluster)
    reason = fit.reason
    if fit.identified:
        kept = fit.rows.cluster[None, :] != trainings[:, None]
        problem = fit.problem
        theta = refit(fit, replace(problem, weights=np.where(kept, fit.weights, 0.0)), len(trainings))
        usable = np.array(
            [
                _enough(fit, rows) and not fit.coordinates.on_bound(parameters)
                for parameters, rows in zip(theta, kept, strict=True)
            ]
        )
        if not usable.all():
            n_lost = int(np.sum(~usable))
            reason = f"without one of {n_lost} of {len(trainings)} trainings the fit is not identified"
        if usable.any():
            return _ranges(fit, theta[usable], trainings[usable], len(trainings), reason)
    return Sensitivity(
        change=_in_turn(len(trainings)),
        n_rows=fit.rows.n,
        reason=reason,
    )


def _enough(fit: Fit[Chinchilla], kept: NDArray[np.bool_]) -> bool:
    return all(len(np.unique(values[kept])) >= FEWEST_VALUES for values in fit.rows.values.values())


def _ranges(
    fit: Fit[Chinchilla], theta: FloatArray, trainings: NDArray[np.object_], n_trainings: int, reason: str
) -> Sensitivity:
    assert fit.law is not None
    law = fit.coordinates.law(theta)
    shift = np.abs(np.asarray(law.a_opt) - fit.law.a_opt)
    return Sensitivity(
        change=_in_turn(n_trainings),
        n_rows=fit.rows.n,
        alpha_range=_range(law.alpha),
        beta_range=_range(law.beta),
        a_opt_range=_range(law.a_opt),
        most_influential=str(trainings[int(np.argmax(shift))]),
        reason=reason,
    )


def _range(values: FloatArray) -> Range:
    return Range(low=float(values.min()), high=float(values.max()))


def _in_turn(n_trainings: int) -> str:
    return f"without each of {n_trainings} trainings in turn"
