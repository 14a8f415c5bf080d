"""Kaplan's whole way to the frontier, and whether its exponents agree with each other (2020, section 6).

Batch scans give alpha_B; learning curves, converted, give alpha_N and alpha_S; (1.8) then says what the
exponent of L(C_min) must be. The envelope of the same curves measures it. One bootstrap draws all of them.
(1.8) follows from the form (5.6): it tests whether sizes and steps add up that way, and hardly notices an
irreducible loss, which the fit of PowerCMin to the envelope does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.batch.compute_efficient import ComputeEfficient, Crossing, OfOneVariable, crossing
from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.coordinates import LEAST_SQUARES, make_problem
from scaling_laws.laws.fit.fit import Fit, coordinates_of, fit_law
from scaling_laws.laws.fit.huber import minimise
from scaling_laws.laws.fit.intervals import (
    FEWEST_CLUSTERS,
    Interval,
    checked,
    percentile_interval,
    residual_sd,
)
from scaling_laws.laws.fit.rows import Rows, make_rows
from scaling_laws.laws.forms.single import KaplanCMin, PowerCMin
from scaling_laws.laws.forms.steps import CriticalBatch, KaplanNS
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN, FloatArray, array
from scaling_laws.papers.kaplan2020.time_points import (
    FEWEST_SIZES,
    Envelope,
    TimePoints,
    envelope_of,
    time_points,
)

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 200
FEWEST_POINTS = 3
"""Of the envelope: a power law through two points cannot be wrong."""
OPTIMAL = ("N", "B", "S_min", "D")


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
    exponent_interval: Interval = (None, None)

    def at(self, C_min: ArrayLike) -> FloatArray:
        return np.asarray(self.coefficient * array(C_min) ** self.exponent)


@dataclass(frozen=True, kw_only=True)
class KaplanRoute:
    """The laws of training time, the frontier that they imply, and the one that was measured.

    Attributes:
        rows: which points of the curves were used.
        batch: B_crit(L).
        steps: the fit of L(N,S_min); None without a batch law or curves.
        envelope: the measured frontier; None where `steps` is.
        frontier: fits of KaplanCMin and PowerCMin to the envelope; empty without three points.
        numbers: every number of the route by name: see `route_numbers`.
        draws: of these numbers, (resamples,) each, NaN where a resample had no answer.
        method: of the bootstrap, in words.
        reason: why the route stops early; empty where it does not.
    """

    rows: str = ""
    batch: CriticalBatch | None = None
    steps: Fit[KaplanNS] | None = None
    envelope: Envelope | None = None
    frontier: tuple[Fit[Any], ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    draws: Mapping[str, FloatArray] = field(default_factory=dict)
    method: str = ""
    reason: str

    def interval(self, name: str) -> Interval:
        return percentile_interval(self.draws[name]) if name in self.draws else (None, None)

    def estimate(self, name: str) -> Estimate | None:
        """One of `numbers`; None where the route does not come to it."""
        known = name in self.numbers
        return Estimate(value=self.numbers[name], interval=self.interval(name)) if known else None

    def columns(self, *names: str) -> dict[str, FloatArray] | None:
        """Draws (resamples, 1) of some numbers, without those that lack one; None where there are none."""
        if not set(names) <= set(self.draws):
            return None
        table = np.array([self.draws[name] for name in names])
        table = table[:, np.isfinite(table).all(axis=0)]
        return {name: row[:, None] for name, row in zip(names, table, strict=True)} if table.size else None

    @property
    def law_of_steps(self) -> KaplanNS | None:
        """L(N,S_min); None unless it is identified."""
        return self.steps.law if self.steps is not None and self.steps.identified else None

    @property
    def efficient(self) -> ComputeEfficient | None:
        """The laws together: appendix B at their optima; None unless both are identified."""
        law = self.law_of_steps
        return (
            None if law is None or self.batch is None else ComputeEfficient(**vars(law), **vars(self.batch))
        )

    @property
    def law_of_C_min(self) -> KaplanCMin | None:
        """L(C_min) through the envelope; None unless it is identified."""
        return next((fit.law for fit in self.frontier[:1] if fit.identified), None)

    def optimal(self, name: str) -> PowerOfCMin | None:
        """N (parameters), B (tokens), S_min (steps) or D = 2 B S_min (tokens) along the envelope, or None.

        D is that of one epoch at the critical batch. B is B_crit of the envelope's loss and
        S_min = C_min/(6 N B), so that the exponents of N, B and S_min add to one.
        """
        if f"{name} exponent" not in self.numbers:
            return None
        return PowerOfCMin(
            coefficient=self.numbers[f"{name} coefficient"],
            exponent=self.numbers[f"{name} exponent"],
            exponent_interval=self.interval(f"{name} exponent"),
        )

    @property
    def agrees(self) -> bool | None:
        """Whether (1.8) holds: the interval of the difference contains zero; None where it is not known."""
        low, high = self.interval("difference") if "difference" in self.numbers else (None, None)
        return None if low is None or high is None else low <= 0 <= high

    @property
    def identity(self) -> str:
        """The same in a sentence."""
        if self.agrees is None:
            return f"Whether (1.8) holds is not known: {self.reason or 'no interval of the difference'}."
        sides = []
        for name in ("predicted alpha_C_min", "alpha_C_min"):
            low, high = self.interval(name)
            sides.append(f"{self.numbers[name]:.4f} ({low:.4f} to {high:.4f})")
        holds = "agrees with" if self.agrees else "does not agree with"
        return (
            f"The exponent of L(C_min) by (1.8), {sides[0]} from alpha_N, alpha_S and alpha_B, {holds} "
            f"that of the measured envelope, {sides[1]}."
        )

    def crossing(
        self, loss_of_tokens: OfOneVariable, draws_of_tokens: list[OfOneVariable] | None = None
    ) -> tuple[Crossing, Interval | None]:
        """The crossing (6.8) of the measured frontier with a fitted L(D), and the interval of its C_min.

        Args:
            loss_of_tokens: L(D), such as `KaplanD.loss` of a fit.
            draws_of_tokens: the same of the fit's bootstrap, one a resample; without it L(D) has no error.
        """
        N, D, law = self.optimal("N"), self.optimal("D"), self.law_of_C_min
        if N is None or D is None or law is None:
            reason = f"no measured frontier: {self.reason}"
            return Crossing(C=None, N=None, D=None, loss=None, reason=reason), None
        at_C = []
        names = ("alpha_C_min", "C_c_min", "D coefficient", "D exponent")
        drawn = np.stack([self.draws[name] for name in names], axis=1)
        for i, (alpha, C_c, coefficient, exponent) in enumerate(drawn.tolist()):
            if not np.isfinite([alpha, C_c, coefficient, exponent]).all():
                continue
            tokens = PowerOfCMin(coefficient=coefficient, exponent=exponent)
            of_D = draws_of_tokens[i % len(draws_of_tokens)] if draws_of_tokens else loss_of_tokens
            C = crossing(KaplanCMin(alpha_C_min=alpha, C_c_min=C_c).loss, of_D, tokens.at, tokens.at).C
            at_C.append(np.inf if C is None else C)  # none: beyond every compute
        measured = crossing(law.loss, loss_of_tokens, D.at, N.at)
        return measured, percentile_interval(at_C)


def kaplan_route(
    curves: pd.DataFrame,
    batch: CriticalBatch | None,
    batch_draws: CriticalBatch | None,
    *,
    no_batch: str = "",
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
        batch: B_crit(L) in tokens; None where it is not identified.
        batch_draws: the same with an array of its bootstrap's draws for each parameter.
        no_batch: why there is no batch law.
        delta: of Huber's loss in the fit of L(N,S_min), in ln L.
        resamples: at most as many as the batch law's.
        seed: of the random numbers.

    Raises:
        InputError: see `constant_rate_part`.
    """
    points = time_points(curves)
    if batch is None or batch_draws is None:
        return KaplanRoute(rows=points.sentence, reason=f"no law of the critical batch: {no_batch}")
    if not len(points.N):
        why = "no training has two points at a constant learning rate after warm-up"
        return KaplanRoute(rows=points.sentence, batch=batch, reason=why)
    # The batch law is taken as given, as Kaplan's Table 3 took it.
    steps = checked(fit_law(KaplanNS, points.rows(batch, points.loss), delta=delta))
    grid = points.compute_grid(batch)
    envelope = envelope_of(points, batch, grid)
    measured = len(envelope.C_min) >= FEWEST_POINTS
    frontier: tuple[Fit[Any], ...] = ()
    if measured:
        rows = make_rows({"C_min": envelope.C_min}, envelope.loss)
        frontier = tuple(
            checked(fit_law(form, rows, delta=LEAST_SQUARES)) for form in (KaplanCMin, PowerCMin)
        )
    above_floor = next((fit for fit in frontier[1:] if fit.identified), None)
    draws, method = _draws(points, batch_draws, steps, grid, above_floor, resamples, seed)
    reasons = [] if steps.identified else [f"L(N,S_min): {steps.reason}"]
    if not measured:
        reasons.append(f"L(C_min): {envelope.reason or f'the envelope has {len(envelope.C_min)} points'}")
    law = steps.law if steps.identified else None
    return KaplanRoute(
        rows=points.sentence,
        batch=batch,
        steps=steps,
        envelope=envelope,
        frontier=frontier,
        numbers=route_numbers(law, batch, envelope, above_floor.law if above_floor else None),
        draws=draws,
        method=method,
        reason="; ".join(reasons),
    )


def route_numbers(
    steps: KaplanNS | None, batch: CriticalBatch, envelope: Envelope, above_floor: PowerCMin | None
) -> dict[str, float]:
    """The route's numbers: `alpha_N`, ... of L(N,S_min); `predicted ...` by (1.7) and (1.8); of the envelope
    `<quantity> exponent` and `<quantity> coefficient` for N, B, S_min and D = 2 B S_min, `alpha_C_min` and
    `C_c_min`, E, K and gamma of PowerCMin; `difference` (predicted less measured alpha_C_min) and `exponent
    sum`, measured alpha_C_min times (1/alpha_N + 1/alpha_S + 1/alpha_B): 1 if (1.8) holds.

    Args:
        steps: None where L(N,S_min) is not identified: what needs it is missing.
        above_floor: PowerCMin through the envelope, if it is identified.
    """
    numbers: dict[str, float] = {}
    if steps is not None:
        efficient = ComputeEfficient(**vars(steps), **vars(batch))
        numbers |= vars(steps)
        numbers["predicted alpha_C_min"] = efficient.alpha_C
        numbers |= {f"predicted {name} exponent": value for name, value in efficient.exponents.items()}
    if len(envelope.C_min) < FEWEST_POINTS:
        return numbers
    B = batch.batch_tokens(envelope.loss)
    E_min = envelope.C_min / (FLOPS_PER_PARAMETER_TOKEN * envelope.N)
    along = dict(zip(OPTIMAL, (envelope.N, B, E_min / B, 2 * E_min), strict=True))
    for name, values in along.items():
        numbers[f"{name} exponent"], log_coefficient = _power_line(envelope.C_min, values)
        numbers[f"{name} coefficient"] = float(np.exp(log_coefficient))
    slope, log_coefficient = _power_line(envelope.C_min, envelope.loss)
    numbers["alpha_C_min"] = -slope
    numbers["C_c_min"] = float(np.exp(-log_coefficient / slope))
    if above_floor is not None:
        numbers |= {name: float(value) for name, value in vars(above_floor).items()}
    if steps is not None:
        numbers["difference"] = numbers["predicted alpha_C_min"] - numbers["alpha_C_min"]
        numbers["exponent sum"] = numbers["alpha_C_min"] / numbers["predicted alpha_C_min"]
    return numbers


def _power_line(C_min: FloatArray, values: FloatArray) -> tuple[float, float]:
    """(exponent, ln coefficient) of values = coefficient * C_min^exponent, by least squares in logarithms."""
    log_C, log_values = np.log(C_min), np.log(values)
    exponent = float(np.polyfit(log_C - log_C.mean(), log_values, 1)[0])
    return exponent, float(log_values.mean() - exponent * log_C.mean())


# --- the bootstrap --------------------------------------------------------------------------------


def _draws(
    points: TimePoints,
    batch_draws: CriticalBatch,
    steps: Fit[KaplanNS],
    grid: FloatArray,
    above_floor: Fit[PowerCMin] | None,
    resamples: int,
    seed: int,
) -> tuple[dict[str, FloatArray], str]:
    """`route_numbers` of resampled trainings and batch laws, (resamples,) each, and the method in words."""
    random = np.random.default_rng(seed)
    batches = np.stack([np.asarray(batch_draws.alpha_B), np.asarray(batch_draws.B_star)], axis=1)[:resamples]
    n_trainings = len(points.N)
    resampled = n_trainings >= FEWEST_CLUSTERS
    each: list[dict[str, float]] = []
    for alpha_B, B_star in batches.tolist():
        batch = CriticalBatch(alpha_B=alpha_B, B_star=B_star)
        counts, loss = np.ones(n_trainings), points.loss
        if resampled:
            counts = _drawn_counts(points, random)
        else:
            loss = points.loss * np.exp(_noise(points, steps, random))
        law = None
        if steps.identified:
            weights = counts[points.training]
            law = _refitted(steps, points.rows(batch, loss, weights > 0), weights[weights > 0])
        envelope = envelope_of(points, batch, grid, loss=loss, counts=counts)
        floor = None
        if above_floor is not None and len(envelope.C_min) > FEWEST_POINTS:
            floor = _refitted(above_floor, make_rows({"C_min": envelope.C_min}, envelope.loss))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a draw may have no scale
            each.append(route_numbers(law, batch, envelope, floor))
    names = list(dict.fromkeys(name for numbers in each for name in numbers))
    draws = {name: np.array([numbers.get(name, np.nan) for numbers in each]) for name in names}
    method = (
        f"bootstrap over {n_trainings} trainings"
        if resampled
        else f"parametric bootstrap with the residual noise ({n_trainings} trainings)"
    )
    without = sum("alpha_C_min" not in numbers for numbers in each)
    missing = f"; {without} of them without an envelope" if without else ""
    return draws, f"{method} and over the batch law's own draws ({len(each)} resamples{missing})"


def _refitted(fit: Fit[Any], rows: Rows, weights: FloatArray | None = None) -> Any:
    """The law of `fit` at other rows, started at its minima."""
    coordinates = coordinates_of(fit.form, rows)
    weights = np.ones(rows.n) if weights is None else weights
    minimum = minimise(make_problem(coordinates, rows, weights, fit.delta), fit.minima)
    return coordinates.law(minimum.theta[int(np.argmin(minimum.objective))])


def _drawn_counts(points: TimePoints, random: np.random.Generator) -> FloatArray:
    """How often each training is drawn; a draw of fewer sizes than an envelope needs is drawn again."""
    n = len(points.N)
    needed = min(FEWEST_SIZES, len(np.unique(points.N)))
    while True:
        counts = np.bincount(random.integers(n, size=n), minlength=n).astype(np.float64)
        if len(np.unique(points.N[counts > 0])) >= needed:
            return counts


def _noise(points: TimePoints, steps: Fit[KaplanNS], random: np.random.Generator) -> FloatArray:
    """Noise of ln loss of the residuals' size, the share that trainings have in common drawn once each."""
    rows = steps.rows
    assert steps.law is not None
    residual = np.log(rows.loss) - np.log(steps.law.loss(**rows.values))
    size = np.bincount(points.training)
    mean = np.bincount(points.training, weights=residual) / size
    shared = float(np.clip(np.sum(size * mean**2) / max(np.sum(residual**2), np.finfo(float).tiny), 0.1, 0.9))
    of_training = random.normal(size=len(size))[points.training]
    unit = np.sqrt(shared) * of_training + np.sqrt(1 - shared) * random.normal(size=len(residual))
    return np.asarray(residual_sd(steps) * unit)
