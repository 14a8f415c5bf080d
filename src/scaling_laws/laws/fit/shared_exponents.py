"""How much compute is another architecture worth? One law for all families, shared exponents.

Separate fits compare badly: a little more of one exponent trades against much of a coefficient. Here the
families share the exponents (and the irreducible loss); each has coefficients of its own. Then family f is
the reference with its parameters and tokens rescaled,

    L_f(N, D) = L_reference(m_N N, m_D D),

and m = m_N m_D is its efficiency multiplier: with C FLOPs and its own optimal N it reaches what the reference
reaches with m C, at every C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.fit.coordinates import PowerSumCoordinates
from scaling_laws.laws.fit.fit import DEFAULT_DELTA, Fit, fit_law
from scaling_laws.laws.fit.intervals import (
    DEFAULT_RESAMPLES,
    Interval,
    bootstrap_draws,
    percentile_interval,
)
from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla, ChinchillaTied, JointLaw, KaplanND
from scaling_laws.laws.forms.terms import FloatArray

if TYPE_CHECKING:
    import pandas as pd

SHARED_FORMS: tuple[type[JointLaw], ...] = (KaplanND, Chinchilla, ChinchillaTied)
"""Sums of power laws: those whose coefficients can be doubled while the exponents stay."""


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """One family against the reference. Intervals are 90 %; None where the fit is not identified.

    Attributes:
        family: its name.
        law: its law, with the shared exponents.
        parameters: m_N: parameters of the reference that one of its parameters is worth.
        tokens: m_D: tokens of the reference that one of its tokens is worth.
        compute: m_N m_D: compute of the reference that one FLOP of it is worth, both at their optima.
    """

    family: str
    law: JointLaw
    parameters: float
    tokens: float
    compute: float
    parameters_interval: Interval | None
    tokens_interval: Interval | None
    compute_interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class FamilyFit:
    """All families in one fit.

    Attributes:
        form: name of the form.
        reference: the family that the others are measured in.
        fit: the joint fit; its `law` is the reference's.
        efficiencies: one of every other family, by name; empty where the fit is not identified.
        separate_objective: sum of the families' own fits: what sharing the exponents costs; None where one
            of them has no rows.
        interval_method: of the intervals.
        reason: why there are no efficiencies; empty where there are.
    """

    form: str
    reference: str
    fit: Fit[JointLaw] | None
    efficiencies: tuple[Efficiency, ...]
    separate_objective: float | None
    interval_method: str
    reason: str


def fit_families(
    form: type[JointLaw],
    runs: pd.DataFrame,
    *,
    reference: str | None = None,
    noise: SeedNoise | None = None,
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> FamilyFit:
    """Fit `form` to all families with shared exponents.

    Args:
        form: one of `SHARED_FORMS`.
        runs: columns trunk, family, N, D, loss.
        reference: family; by default `transformer` where it is there, else the first by name.
        noise: between seeds, for intervals from few trainings.
    """
    families = sorted(runs["family"].unique())
    if len(families) < 2:
        only = families[0] if families else "no"
        return _none(form, str(only), f"one family ({only}): nothing to compare")
    reference = reference or ("transformer" if "transformer" in families else str(families[0]))
    order = [reference, *(family for family in families if family != reference)]
    group = np.array([order.index(family) for family in runs["family"]], dtype=np.intp)
    rows = make_rows({"N": runs["N"], "D": runs["D"]}, runs["loss"], runs["trunk"])
    coordinates = PowerSumCoordinates(form, rows, group)
    fit = fit_law(form, rows, delta=delta, coordinates=coordinates)
    few = [family for g, family in enumerate(order) if _n_points(runs[group == g]) < 3]
    reason = f"{few[0]} has fewer than 3 different runs" if few else fit.reason
    if reason:
        return _none(form, reference, reason, fit)
    theta, method, _ = bootstrap_draws(fit, noise=noise, resamples=resamples, seed=seed, strata=group)
    at_optimum, at_draws = _multipliers(coordinates, fit.minima[0]), _multipliers(coordinates, theta)
    with np.errstate(invalid="ignore", over="ignore"):  # a draw may have run away
        compute_draws = {g: m_N * m_D for g, (m_N, m_D) in at_draws.items()}
    efficiencies = tuple(
        Efficiency(
            family=family,
            law=coordinates.law(fit.minima[0], g),
            parameters=float(at_optimum[g][0]),
            tokens=float(at_optimum[g][1]),
            compute=float(at_optimum[g][0] * at_optimum[g][1]),
            parameters_interval=percentile_interval(at_draws[g][0]),
            tokens_interval=percentile_interval(at_draws[g][1]),
            compute_interval=percentile_interval(compute_draws[g]),
        )
        for g, family in enumerate(order)
        if g > 0
    )
    return FamilyFit(
        form=form.form,
        reference=reference,
        fit=fit,
        efficiencies=efficiencies,
        separate_objective=_separate(form, runs, delta),
        interval_method=method,
        reason="",
    )


def _multipliers(
    coordinates: PowerSumCoordinates, theta: FloatArray
) -> dict[int, tuple[FloatArray, FloatArray]]:
    """(m_N, m_D) of every group but the first: the factors that turn its bracket into the reference's.

    A_f/N^a = A/(m_N N)^a, so that m_N = (A/A_f)^(1/a).
    """
    found = {}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a draw's scale may underflow
        log_A, a, log_B, b = coordinates.law(theta, 0).bracket()
        for g in range(1, coordinates.n_groups):
            of_A, _, of_B, _ = coordinates.law(theta, g).bracket()
            found[g] = (np.asarray(np.exp((log_A - of_A) / a)), np.asarray(np.exp((log_B - of_B) / b)))
    return found


def _separate(form: type[JointLaw], runs: pd.DataFrame, delta: float) -> float | None:
    total = 0.0
    for _, of_family in runs.groupby("family"):
        rows = make_rows({"N": of_family["N"], "D": of_family["D"]}, of_family["loss"], of_family["trunk"])
        objective = fit_law(form, rows, delta=delta).objective
        if objective is None:
            return None
        total += objective
    return total


def _n_points(runs: pd.DataFrame) -> int:
    return len(runs[["N", "D"]].drop_duplicates())


def _none(form: type[JointLaw], reference: str, reason: str, fit: Fit[JointLaw] | None = None) -> FamilyFit:
    return FamilyFit(
        form=form.form,
        reference=reference,
        fit=fit,
        efficiencies=(),
        separate_objective=None,
        interval_method="",
        reason=reason,
    )
