"""Three ways to the compute-optimal allocation, side by side, and where they contradict each other.

Approach 1: the envelope of the losses (of final losses, or of whole learning curves); approach 2: the minima
of isoFLOP slices (by a parabola, Hoffmann 2022, or Akima's interpolation, Porian 2024); approach 3: the
closed-form optimum of a fitted joint law (Hoffmann 2022, equation 4). Exponents of N_opt ~ C^a, D_opt ~ C^b.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.allocation.curve_envelope import curve_allocation
from scaling_laws.laws.allocation.frontier import size_curves
from scaling_laws.laws.allocation.power_lines import (
    Allocation,
    PowerLine,
    akima_optima,
    envelope_optima,
    is_six_ND,
    isoflop_optima,
    measure_allocation,
)
from scaling_laws.laws.fit import DEFAULT_RESAMPLES
from scaling_laws.laws.fit.fit import Fit
from scaling_laws.laws.fit.intervals import (
    Interval,
    bootstrap,
    optimum_interval,
    parameter_intervals,
    percentile_interval,
    run_noise_sd,
    why_uncertain,
)
from scaling_laws.laws.fit.level import LEVEL
from scaling_laws.laws.fit.noise import SeedNoise

if TYPE_CHECKING:
    import pandas as pd

BEYOND = 10.0
"""Extrapolation that the approaches are compared at: this many times the largest compute."""


@dataclass(frozen=True, kw_only=True)
class OptimumAt:
    """One approach's optimum at one compute; None for an interval without noise. Units as in `forms/`.

    Attributes:
        extrapolated: whether C lies outside the compute of the runs.
    """

    C: float
    N_opt: float
    N_opt_interval: Interval | None
    D_opt: float
    D_opt_interval: Interval | None
    extrapolated: bool


@dataclass(frozen=True, kw_only=True)
class Approach:
    """What one approach says.

    Attributes:
        approach: 1, 2 or 3.
        method: envelope, learning_curves, parabola, akima, or the joint law's form.
        a, b, a_interval, b_interval: exponents, 90 %; None where the approach has no answer.
        optima: at the computes that were asked for; empty where there is no answer.
        n_points: optima (approaches 1 and 2) or runs (approach 3) behind it.
        reason: why there is no answer; empty where there is one.
    """

    approach: int
    method: str
    a: float | None = None
    a_interval: Interval | None = None
    b: float | None = None
    b_interval: Interval | None = None
    optima: tuple[OptimumAt, ...] = ()
    n_points: int
    reason: str

    @property
    def name(self) -> str:
        return f"approach {self.approach} ({self.method})"


@dataclass(frozen=True, kw_only=True)
class Approaches:
    """All approaches on one set of runs.

    Attributes:
        approaches: in order.
        disagreements: a sentence for each pair and quantity whose 90 % intervals do not touch.
        notes: what to know before comparing, a sentence each.
        noise_sd: of one run's ln loss, that the intervals of approaches 1 and 2 rest on; None without.
    """

    approaches: tuple[Approach, ...] = ()
    disagreements: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    noise_sd: float | None = None


def compare_approaches(
    runs: pd.DataFrame,
    joint: Sequence[Fit[Any]] = (),
    *,
    learning_curves: pd.DataFrame | None = None,
    computes: Sequence[float] | None = None,
    noise: SeedNoise | None = None,
    resamples: int = DEFAULT_RESAMPLES // 2,
    seed: int = 0,
) -> Approaches:
    """The exponents and the optima of every approach that the runs allow, each with its 90 % interval.

    Args:
        runs: one family's usable runs: run, N, D, C, loss.
        joint: fits of laws of N and D to them; an approach 3 each.
        learning_curves: run, tokens, loss (and learning_rate): for approach 1 on whole curves.
        computes: FLOPs to give N_opt and D_opt at; by default the middle (in ln C) and the end of the runs'
            compute, and ten times beyond.
        noise: between seeds. The noise of approaches 1 and 2 is that or the least residual of an identified
            joint law, whichever is larger; without either they have no intervals.
        resamples: of each bootstrap.
        seed: of the bootstraps.
    """
    low, high = float(runs["C"].min()), float(runs["C"].max())
    at = (
        [float(np.sqrt(low * high)), high, BEYOND * high]
        if computes is None
        else [float(C) for C in computes]
    )
    noise_sd = run_noise_sd(joint, noise)
    curves = size_curves(runs)
    options: dict[str, Any] = {"noise_sd": noise_sd, "resamples": resamples, "seed": seed}
    measured = [(1, "envelope", measure_allocation(curves, envelope_optima, **options))]
    if learning_curves is not None:
        measured.append((1, "learning_curves", curve_allocation(runs, learning_curves, **options)))
    measured += [
        (2, method, measure_allocation(curves, optima, **options))
        for method, optima in (("parabola", isoflop_optima), ("akima", akima_optima))
    ]
    approaches = [
        _measured(approach, method, *allocation, at, low, high) for approach, method, allocation in measured
    ]
    approaches += [_parametric(fit, noise, at, low, high, resamples, seed) for fit in joint]
    notes = []
    if noise_sd is None:
        notes.append("The noise of one run is unknown: approaches 1 and 2 have no intervals.")
    if joint and not is_six_ND(curves):
        notes.append(
            "C of these runs is not 6 N D, as approach 3 assumes: that is part of its difference from "
            "approaches 1 and 2."
        )
    return Approaches(
        approaches=tuple(approaches),
        disagreements=tuple(_disagreements(approaches)),
        notes=tuple(notes),
        noise_sd=noise_sd,
    )


def _measured(
    approach: int,
    method: str,
    allocation: Allocation,
    N_lines: PowerLine,
    D_lines: PowerLine,
    computes: list[float],
    low: float,
    high: float,
) -> Approach:
    optima = []
    if allocation.exponent is not None and allocation.coefficient is not None:
        assert allocation.D_exponent is not None and allocation.D_coefficient is not None
        for C in computes:
            known = allocation.exponent_interval is not None
            optima.append(
                OptimumAt(
                    C=C,
                    N_opt=allocation.coefficient * C**allocation.exponent,
                    N_opt_interval=percentile_interval(N_lines.at(C)) if known else None,
                    D_opt=allocation.D_coefficient * C**allocation.D_exponent,
                    D_opt_interval=percentile_interval(D_lines.at(C)) if known else None,
                    extrapolated=not low <= C <= high,
                )
            )
    return Approach(
        approach=approach,
        method=method,
        a=allocation.exponent,
        a_interval=allocation.exponent_interval,
        b=allocation.D_exponent,
        b_interval=allocation.D_exponent_interval,
        optima=tuple(optima),
        n_points=allocation.n_points,
        reason=allocation.reason,
    )


def _parametric(
    fit: Fit[Any],
    noise: SeedNoise | None,
    computes: list[float],
    low: float,
    high: float,
    resamples: int,
    seed: int,
) -> Approach:
    if not fit.identified or fit.law is None:
        return Approach(approach=3, method=fit.form.form, n_points=fit.rows.n, reason=fit.reason)
    result = bootstrap(fit, noise=noise, resamples=resamples, seed=seed)
    if reason := why_uncertain(fit.form, parameter_intervals(result, LEVEL)):
        return Approach(approach=3, method=fit.form.form, n_points=fit.rows.n, reason=reason)
    draws = result.draws
    optima = []
    for C in computes:
        N_opt, D_opt = fit.law.optimum(C)
        N_interval, D_interval = optimum_interval(draws, C)
        optima.append(
            OptimumAt(
                C=C,
                N_opt=float(N_opt),
                N_opt_interval=N_interval,
                D_opt=float(D_opt),
                D_opt_interval=D_interval,
                extrapolated=not low <= C <= high,
            )
        )
    with np.errstate(all="ignore"):  # a draw may have an exponent of 0
        a_interval, b_interval = percentile_interval(draws.a_opt), percentile_interval(draws.b_opt)
    return Approach(
        approach=3,
        method=fit.form.form,
        a=float(fit.law.a_opt),
        a_interval=a_interval,
        b=float(fit.law.b_opt),
        b_interval=b_interval,
        optima=tuple(optima),
        n_points=fit.rows.n,
        reason="",
    )


def _disagreements(approaches: list[Approach]) -> Iterator[str]:
    for first, second in combinations(approaches, 2):
        if _apart(first.a_interval, second.a_interval):
            yield (
                f"{first.name} and {second.name} disagree on the exponent a of N_opt:"
                f" {_words(first.a_interval)} against {_words(second.a_interval)}."
            )
        for here, there in zip(first.optima, second.optima, strict=False):
            if _apart(here.N_opt_interval, there.N_opt_interval):
                where = ", beyond the runs" if here.extrapolated else ""
                yield (
                    f"{first.name} and {second.name} disagree on N_opt at C = {here.C:.3g}{where}:"
                    f" {_words(here.N_opt_interval)} against {_words(there.N_opt_interval)}."
                )


def _apart(first: Interval | None, second: Interval | None) -> bool:
    """Whether two intervals do not touch; an open end touches everything on its side."""
    if first is None or second is None:
        return False
    ends = [
        (-np.inf if low is None else low, np.inf if high is None else high) for low, high in (first, second)
    ]
    return ends[0][1] < ends[1][0] or ends[1][1] < ends[0][0]


def _words(interval: Interval | None) -> str:
    assert interval is not None
    low, high = ("?" if end is None else f"{end:.3g}" for end in interval)
    return f"{low} to {high}"
