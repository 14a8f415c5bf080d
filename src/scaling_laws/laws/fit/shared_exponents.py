"""How much compute is another architecture worth, or optimiser? One law for all, with shared exponents.

Separate fits compare badly: a little more of one exponent trades against much of a coefficient. Here the
groups (families, or the values of another column) share the exponents and the irreducible loss; each has
coefficients of its own. Then group f is the reference with its parameters and tokens rescaled,

    L_f(N, D) = L_reference(m_N N, m_D D),

and m = m_N m_D is its efficiency multiplier: with C FLOPs and its own optimal N it reaches what the reference
reaches with m C, at every C.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.fit import DEFAULT_DELTA, DEFAULT_RESAMPLES
from scaling_laws.laws.fit.coordinates import PowerSumCoordinates
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import Interval, bootstrap_draws, percentile_interval, why_uncertain
from scaling_laws.laws.fit.level import LEVEL
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
    """One group against the reference.

    Attributes:
        family: its name: the family's, or the value of the column that was compared.
        parameters: of its law, with the shared exponents.
        m_N: parameters of the reference that one of its parameters is worth.
        m_D: tokens of the reference that one of its tokens is worth.
        m_C: m_N m_D: compute of the reference that one FLOP of it is worth, both at their optima.
        intervals: 90 %, of these three.
    """

    family: str
    parameters: Mapping[str, float | None]
    m_N: float
    m_D: float
    m_C: float
    intervals: Mapping[str, Interval | None]


@dataclass(frozen=True, kw_only=True)
class SharedLaw:
    """One law of all groups.

    Attributes:
        form, formula: its name, and what it says.
        reference: the group that the others are measured in.
        parameters: of the reference; empty where there was nothing to fit.
        objective: of the joint fit; None where there was nothing to fit.
        separate_objective: sum of the groups' own fits: what sharing the exponents costs; None where one
            of them has no rows.
        n_rows: runs of all groups.
        efficiencies: one of every other group, by name; empty where the fit is not identified.
        interval_method: of the intervals.
        reason: why there are no efficiencies; empty where there are.
    """

    form: str
    formula: str
    reference: str
    parameters: Mapping[str, float | None]
    objective: float | None
    separate_objective: float | None = None
    n_rows: int
    efficiencies: tuple[Efficiency, ...] = ()
    interval_method: str = ""
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
) -> SharedLaw:
    """`fit_groups` of the families.

    Args:
        reference: family; by default `transformer` where it is there, else the first by name.
    """
    families = sorted(runs["family"].unique())
    if len(families) < 2:
        only = families[0] if families else "no"
        return _shared(form, str(only), f"one family ({only}): nothing to compare")
    reference = reference or ("transformer" if "transformer" in families else str(families[0]))
    return fit_groups(
        form,
        runs,
        by="family",
        reference=reference,
        noise=noise,
        delta=delta,
        resamples=resamples,
        seed=seed,
    )


def fit_groups(
    form: type[JointLaw],
    runs: pd.DataFrame,
    *,
    by: str,
    reference: str,
    noise: SeedNoise | None = None,
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> SharedLaw:
    """Fit `form` to all groups with shared exponents.

    Args:
        form: one of `SHARED_FORMS`.
        runs: columns trunk, N, D, loss, and `by`, which names each run's group; two groups or more.
        reference: group that the others are measured in.
        noise: between seeds, for intervals from few trainings.
    """
    order = [reference, *(group for group in sorted(runs[by].unique()) if group != reference)]
    group = np.array([order.index(name) for name in runs[by]], dtype=np.intp)
    rows = make_rows({"N": runs["N"], "D": runs["D"]}, runs["loss"], runs["trunk"])
    coordinates = PowerSumCoordinates(form, rows, group)
    fit = fit_law(form, rows, delta=delta, coordinates=coordinates)
    few = [family for g, family in enumerate(order) if _n_points(runs[group == g]) < 3]
    reason = f"{few[0]} has fewer than 3 different runs" if few else fit.reason
    if reason:
        return _shared(form, reference, reason, fit)
    theta, method, _ = bootstrap_draws(fit, noise=noise, resamples=resamples, seed=seed, strata=group)
    for group_of, family in enumerate(order):
        draws = vars(coordinates.law(theta, group_of))
        if reason := why_uncertain(form, {name: percentile_interval(draws[name], LEVEL) for name in draws}):
            return _shared(form, reference, f"{family}: {reason}", fit)
    at_optimum, at_draws = _multipliers(coordinates, fit.minima[0]), _multipliers(coordinates, theta)
    with np.errstate(invalid="ignore", over="ignore"):  # a draw may have run away
        compute_draws = {g: m_N * m_D for g, (m_N, m_D) in at_draws.items()}
    efficiencies = tuple(
        Efficiency(
            family=family,
            parameters=vars(coordinates.law(fit.minima[0], g)),
            m_N=float(at_optimum[g][0]),
            m_D=float(at_optimum[g][1]),
            m_C=float(at_optimum[g][0] * at_optimum[g][1]),
            intervals={
                "m_N": percentile_interval(at_draws[g][0]),
                "m_D": percentile_interval(at_draws[g][1]),
                "m_C": percentile_interval(compute_draws[g]),
            },
        )
        for g, family in enumerate(order)
        if g > 0
    )
    return replace(
        _shared(form, reference, "", fit),
        efficiencies=efficiencies,
        separate_objective=_separate(form, runs, by, delta),
        interval_method=method,
    )


def _multipliers(
    coordinates: PowerSumCoordinates, theta: FloatArray
) -> dict[int, tuple[FloatArray, FloatArray]]:
    """(m_N, m_D) of every group but the first: the factors that turn its bracket into the reference's.

    A_f/N^a = A/(m_N N)^a, so that m_N = (A/A_f)^(1/a).
    """
    multipliers = {}
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a draw's scale may underflow
        log_A, a, log_B, b = coordinates.law(theta, 0).bracket()
        for g in range(1, coordinates.n_groups):
            of_A, _, of_B, _ = coordinates.law(theta, g).bracket()
            multipliers[g] = (np.asarray(np.exp((log_A - of_A) / a)), np.asarray(np.exp((log_B - of_B) / b)))
    return multipliers


def _separate(form: type[JointLaw], runs: pd.DataFrame, by: str, delta: float) -> float | None:
    total = 0.0
    for _, of_group in runs.groupby(by):
        rows = make_rows({"N": of_group["N"], "D": of_group["D"]}, of_group["loss"], of_group["trunk"])
        objective = fit_law(form, rows, delta=delta).objective
        if objective is None:
            return None
        total += objective
    return total


def _n_points(runs: pd.DataFrame) -> int:
    return len(runs[["N", "D"]].drop_duplicates())


def _shared(form: type[JointLaw], reference: str, reason: str, fit: Fit[JointLaw] | None = None) -> SharedLaw:
    """The fit, without what it says of the other families."""
    return SharedLaw(
        form=form.form,
        formula=form.formula,
        reference=reference,
        parameters=vars(fit.law) if fit and fit.law else {},
        objective=fit.objective if fit else None,
        n_rows=fit.rows.n if fit else 0,
        reason=reason,
    )
