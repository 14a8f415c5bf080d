"""Kaplan's whole way to the frontier, and whether its exponents agree with each other (2020, section 6).

Batch scans give alpha_B; learning curves, converted, give alpha_N and alpha_S; (1.8) then says what the
exponent of L(C_min) must be. The envelope of the same curves measures it. One bootstrap draws all of them.
(1.8) follows from the form (5.6): it tests whether sizes and steps add up that way, and hardly notices an
irreducible loss, which the fit of PowerCMin to the envelope does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.batch.batch_scan import LEAST_SQUARES
from scaling_laws.laws.batch.compute_efficient import ComputeEfficient, Crossing, OfOneVariable, crossing
from scaling_laws.laws.batch.critical_batch import BatchLaw
from scaling_laws.laws.fit.fit import DEFAULT_DELTA, Fit
from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.forms.single import KaplanCMin, PowerCMin
from scaling_laws.laws.forms.steps import KaplanNS
from scaling_laws.laws.forms.terms import FloatArray, array
from scaling_laws.papers.kaplan2020.route_draws import FEWEST_POINTS, OPTIMAL, route_draws, route_numbers
from scaling_laws.papers.kaplan2020.time_points import (
    Envelope,
    compute_grid,
    envelope_of,
    fit_loss_of_steps,
    of_compute_min,
    time_points,
)

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its 90 % interval."""

    value: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class PowerOfCMin:
    """coefficient * C_min^exponent, through the envelope by least squares in logarithms; C_min in FLOPs."""

    coefficient: float
    exponent: float
    exponent_interval: Interval

    def at(self, C_min: ArrayLike) -> FloatArray:
        return np.asarray(self.coefficient * array(C_min) ** self.exponent)


@dataclass(frozen=True, kw_only=True)
class KaplanRoute:
    """The laws of training time, the frontier that they imply, and the one that was measured.

    Attributes:
        rows: which points of the curves were used.
        batch: B_crit(L).
        steps: the fit of L(N,S_min); None without a batch law or curves.
        steps_intervals: 90 %, of its parameters.
        efficient: the laws together: appendix B at their optima; None unless both are identified.
        envelope: the measured one.
        frontier: fits of KaplanCMin and PowerCMin to the envelope; empty without three points.
        frontier_intervals: 90 %, of their parameters, by form.
        optimal: N (parameters), B (tokens), S_min (steps) and D = 2 B S_min (tokens, one epoch at the
            critical batch) along the envelope. B is B_crit of the envelope's loss and S_min = C_min/(6 N B),
            so that the exponents of N, B and S_min add to one.
        predicted_exponents, predicted_intervals: the same by (1.7).
        alpha_C_min, predicted_alpha_C_min: of the envelope, and by (1.8).
        difference: predicted less measured.
        exponent_sum: measured alpha_C_min times (1/alpha_N + 1/alpha_S + 1/alpha_B): 1 if (1.8) holds.
        agrees: whether the interval of the difference contains zero; None where it is not known.
        identity: the same in a sentence.
        method: of the bootstrap, in words.
        draws: of every number above, (resamples,) each, NaN where a resample had no answer.
        reason: why the route stops early; empty where it does not.
    """

    rows: str
    batch: BatchLaw
    steps: Fit[KaplanNS] | None
    steps_intervals: dict[str, Interval]
    efficient: ComputeEfficient | None
    envelope: Envelope | None
    frontier: tuple[Fit[Any], ...]
    frontier_intervals: dict[str, dict[str, Interval]]
    optimal: dict[str, PowerOfCMin]
    predicted_exponents: dict[str, float]
    predicted_intervals: dict[str, Interval]
    alpha_C_min: Estimate | None
    predicted_alpha_C_min: Estimate | None
    difference: Estimate | None
    exponent_sum: Estimate | None
    agrees: bool | None
    identity: str
    method: str
    draws: Mapping[str, FloatArray]
    reason: str


def kaplan_route(
    curves: pd.DataFrame,
    batch: BatchLaw,
    *,
    delta: float = DEFAULT_DELTA,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> KaplanRoute:
    """From learning curves and a batch law to the frontier, with one bootstrap for all of it.

    With ten trainings or more, trainings are drawn with replacement; with fewer, their losses get noise of
    the size of the residuals, part of it common to a training. The batch law is drawn from its own
    bootstrap, and every resample converts its points anew.

    Args:
        curves: of one family; see `constant_rate_part`.
        batch: from `critical_batch_from_curves` or `critical_batch_from_table`, in tokens.
        delta: of Huber's loss in the fit of L(N,S_min), in ln L.
        resamples: at most as many as the batch law's.
        seed: of the random numbers.

    Raises:
        InputError: see `constant_rate_part`.
    """
    points = time_points(curves)
    if batch.law is None or batch.draws is None:
        return _stopped(points.sentence, batch, f"no law of the critical batch: {batch.reason}")
    if not len(points.N):
        why = "no training has two points at a constant learning rate after warm-up"
        return _stopped(points.sentence, batch, why)
    steps = fit_loss_of_steps(points, batch.law, delta=delta)
    law = steps.law if steps.identified else None
    grid = compute_grid(points, batch.law)
    envelope = envelope_of(points, batch.law, grid)
    measured = len(envelope.C_min) >= FEWEST_POINTS
    forms = (KaplanCMin, PowerCMin) if measured else ()
    frontier = tuple(of_compute_min(form, envelope, delta=LEAST_SQUARES) for form in forms)
    above_floor = next((fit for fit in frontier[1:] if fit.identified), None)
    estimate = route_numbers(law, batch.law, envelope, above_floor.law if above_floor else None)
    draws, method = route_draws(points, batch, steps, grid, above_floor, resamples, seed)
    interval = {name: percentile_interval(values) for name, values in draws.items()}
    low, high = interval.get("difference", (None, None)) if "difference" in estimate else (None, None)
    agrees = None if low is None or high is None else low <= 0 <= high
    efficient = ComputeEfficient(**vars(law), **vars(batch.law)) if law is not None else None
    reasons = [] if steps.identified else [f"L(N,S_min): {steps.reason}"]
    if not measured:
        reasons.append(f"L(C_min): {envelope.reason or f'the envelope has {len(envelope.C_min)} points'}")
    return KaplanRoute(
        rows=points.sentence,
        batch=batch,
        steps=steps,
        steps_intervals={name: interval[name] for name in KaplanNS.units if law is not None},
        efficient=efficient,
        envelope=envelope,
        frontier=frontier,
        frontier_intervals={
            fit.form.form: {name: interval[name] for name in fit.form.units}
            for fit in frontier
            if fit.identified
        },
        optimal={
            name: PowerOfCMin(
                coefficient=estimate[f"{name} coefficient"],
                exponent=estimate[f"{name} exponent"],
                exponent_interval=interval[f"{name} exponent"],
            )
            for name in (OPTIMAL if measured else ())
        },
        predicted_exponents=efficient.exponents if efficient else {},
        predicted_intervals={
            name: interval[f"predicted {name} exponent"] for name in (OPTIMAL if efficient else ())
        },
        alpha_C_min=_compared("alpha_C_min", estimate, interval),
        predicted_alpha_C_min=_compared("predicted alpha_C_min", estimate, interval),
        difference=_compared("difference", estimate, interval),
        exponent_sum=_compared("exponent sum", estimate, interval),
        agrees=agrees,
        identity=_identity(agrees, estimate, interval, reasons),
        method=method,
        draws=draws,
        reason="; ".join(reasons),
    )


def route_crossing(
    route: KaplanRoute, loss_of_tokens: OfOneVariable, draws_of_tokens: list[OfOneVariable] | None = None
) -> tuple[Crossing, Interval | None]:
    """The crossing (6.8) of the measured frontier with a fitted L(D), and the interval of its C_min.

    Args:
        loss_of_tokens: L(D), such as `KaplanD.loss` of a fit.
        draws_of_tokens: the same of the fit's bootstrap, one a resample; without it L(D) is taken as given.
    """
    if not route.optimal:
        reason = f"no measured frontier: {route.reason}"
        return Crossing(C=None, N=None, D=None, loss=None, reason=reason), None
    law = route.frontier[0].law
    assert law is not None
    found = crossing(law.loss, loss_of_tokens, route.optimal["D"].at, route.optimal["N"].at)
    drawn = []
    names = ("alpha_C_min", "C_c_min", "D coefficient", "D exponent")
    columns = np.stack([route.draws[name] for name in names], axis=1)
    for i, (alpha, C_c, coefficient, exponent) in enumerate(columns.tolist()):
        if not np.isfinite([alpha, C_c, coefficient, exponent]).all():
            continue
        tokens = PowerOfCMin(coefficient=coefficient, exponent=exponent, exponent_interval=(None, None))
        of_D = draws_of_tokens[i % len(draws_of_tokens)] if draws_of_tokens else loss_of_tokens
        frontier = KaplanCMin(alpha_C_min=alpha, C_c_min=C_c)
        at = crossing(frontier.loss, of_D, tokens.at, tokens.at)
        drawn.append(np.inf if at.C is None else at.C)  # none: beyond every compute
    return found, percentile_interval(drawn)


def _stopped(rows: str, batch: BatchLaw, reason: str) -> KaplanRoute:
    return KaplanRoute(
        rows=rows,
        batch=batch,
        steps=None,
        steps_intervals={},
        efficient=None,
        envelope=None,
        frontier=(),
        frontier_intervals={},
        optimal={},
        predicted_exponents={},
        predicted_intervals={},
        alpha_C_min=None,
        predicted_alpha_C_min=None,
        difference=None,
        exponent_sum=None,
        agrees=None,
        identity=f"Whether (1.8) holds is not known: {reason}.",
        method="",
        draws={},
        reason=reason,
    )


def _compared(name: str, estimate: Mapping[str, float], interval: Mapping[str, Interval]) -> Estimate | None:
    return Estimate(value=estimate[name], interval=interval[name]) if name in estimate else None


def _identity(
    agrees: bool | None, estimate: Mapping[str, float], interval: Mapping[str, Interval], reasons: list[str]
) -> str:
    if agrees is None:
        return f"Whether (1.8) holds is not known: {'; '.join(reasons) or 'no interval of the difference'}."
    sides = []
    for name in ("predicted alpha_C_min", "alpha_C_min"):
        low, high = interval[name]
        sides.append(f"{estimate[name]:.4f} ({low:.4f} to {high:.4f})")
    holds = "agrees with" if agrees else "does not agree with"
    return (
        f"The exponent of L(C_min) by (1.8), {sides[0]} from alpha_N, alpha_S and alpha_B, {holds} "
        f"that of the measured envelope, {sides[1]}."
    )
