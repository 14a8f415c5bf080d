"""Every number of Kaplan's route as a function of its laws and envelope, and one bootstrap of all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from scaling_laws.laws.batch.compute_efficient import ComputeEfficient
from scaling_laws.laws.batch.critical_batch import BatchLaw
from scaling_laws.laws.fit.coordinates import make_problem
from scaling_laws.laws.fit.fit import Fit, coordinates_of
from scaling_laws.laws.fit.huber import minimise
from scaling_laws.laws.fit.intervals import FEWEST_CLUSTERS, residual_sd
from scaling_laws.laws.fit.rows import Rows, make_rows
from scaling_laws.laws.forms.single import PowerCMin
from scaling_laws.laws.forms.steps import CriticalBatch, KaplanNS
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN, FloatArray
from scaling_laws.papers.kaplan2020.time_points import FEWEST_SIZES, Envelope, TimePoints, envelope_of

FEWEST_POINTS = 3
"""Of the envelope: a power law through two points cannot be wrong."""
OPTIMAL = ("N", "B", "S_min", "D")


def route_numbers(
    steps: KaplanNS | None, batch: CriticalBatch, envelope: Envelope, above_floor: PowerCMin | None
) -> dict[str, float]:
    """The route's numbers: `alpha_N`, ... of L(N,S_min); `predicted ...` by (1.7) and (1.8); of the envelope
    `<quantity> exponent` and `<quantity> coefficient` for N, B, S_min and D = 2 B S_min, `alpha_C_min` and
    `C_c_min`, E, K and gamma of PowerCMin; `difference` and `exponent sum` of both.

    Args:
        steps: None where L(N,S_min) is not identified: what needs it is missing.
        above_floor: PowerCMin through the envelope, if it is identified.
    """
    found: dict[str, float] = {}
    if steps is not None:
        efficient = ComputeEfficient(**vars(steps), **vars(batch))
        found |= vars(steps)
        found["predicted alpha_C_min"] = efficient.alpha_C
        found |= {f"predicted {name} exponent": value for name, value in efficient.exponents.items()}
    if len(envelope.C_min) < FEWEST_POINTS:
        return found
    B = batch.batch_tokens(envelope.loss)
    E_min = envelope.C_min / (FLOPS_PER_PARAMETER_TOKEN * envelope.N)
    along = dict(zip(OPTIMAL, (envelope.N, B, E_min / B, 2 * E_min), strict=True))
    for name, values in along.items():
        found[f"{name} exponent"], log_coefficient = _power_line(envelope.C_min, values)
        found[f"{name} coefficient"] = float(np.exp(log_coefficient))
    slope, log_coefficient = _power_line(envelope.C_min, envelope.loss)
    found["alpha_C_min"] = -slope
    found["C_c_min"] = float(np.exp(-log_coefficient / slope))
    if above_floor is not None:
        found |= {name: float(value) for name, value in vars(above_floor).items()}
    if steps is not None:
        found["difference"] = found["predicted alpha_C_min"] - found["alpha_C_min"]
        found["exponent sum"] = found["alpha_C_min"] / found["predicted alpha_C_min"]
    return found


def route_draws(
    points: TimePoints,
    batch: BatchLaw,
    steps: Fit[KaplanNS],
    grid: FloatArray,
    above_floor: Fit[PowerCMin] | None,
    resamples: int,
    seed: int,
) -> tuple[dict[str, FloatArray], str]:
    """`route_numbers` of resampled trainings and batch laws, (resamples,) each, and the method in words.

    NaN where a resample has no answer.
    """
    assert batch.draws is not None and steps.law is not None
    random = np.random.default_rng(seed)
    alpha_B, B_star = np.asarray(batch.draws.alpha_B), np.asarray(batch.draws.B_star)
    resamples = min(resamples, len(alpha_B))
    n_trainings = len(points.N)
    resampled = n_trainings >= FEWEST_CLUSTERS
    rows_found: list[dict[str, float]] = []
    for i in range(resamples):
        of_batch = CriticalBatch(alpha_B=float(alpha_B[i]), B_star=float(B_star[i]))
        counts, loss = np.ones(n_trainings), points.loss
        if resampled:
            counts = _drawn_counts(points, random)
        else:
            loss = points.loss * np.exp(_noise(points, steps, random))
        law = None
        if steps.identified:
            weights = counts[points.training]
            kept = weights > 0
            rows = points.rows(of_batch, loss)
            rows = make_rows(
                {name: values[kept] for name, values in rows.values.items()},
                rows.loss[kept],
                rows.cluster[kept],
            )
            law = refitted(steps, rows, weights[kept])
        envelope = envelope_of(points, of_batch, grid, loss=loss, counts=counts)
        floor = None
        if above_floor is not None and len(envelope.C_min) > FEWEST_POINTS:
            floor = refitted(above_floor, make_rows({"C_min": envelope.C_min}, envelope.loss))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a draw may have no scale
            rows_found.append(route_numbers(law, of_batch, envelope, floor))
    names = list(dict.fromkeys(name for found in rows_found for name in found))
    draws = {name: np.array([found.get(name, np.nan) for found in rows_found]) for name in names}
    method = (
        f"bootstrap over {n_trainings} trainings"
        if resampled
        else f"parametric bootstrap with the residual noise ({n_trainings} trainings)"
    )
    without = sum("alpha_C_min" not in found for found in rows_found)
    missing = f"; {without} of them without an envelope" if without else ""
    return draws, f"{method} and over the batch law's own draws ({resamples} resamples{missing})"


def refitted(fit: Fit[Any], rows: Rows, weights: FloatArray | None = None) -> Any:
    """The law of `fit` at other rows, started at its minima."""
    coordinates = coordinates_of(fit.form, rows)
    weights = np.ones(rows.n) if weights is None else weights
    found = minimise(make_problem(coordinates, rows, weights, fit.delta), fit.minima)
    return coordinates.law(found.theta[int(np.argmin(found.objective))])


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


def _power_line(C_min: FloatArray, values: FloatArray) -> tuple[float, float]:
    """(exponent, ln coefficient) of values = coefficient * C_min^exponent, by least squares in logarithms."""
    log_C, log_values = np.log(C_min), np.log(values)
    exponent = float(np.polyfit(log_C - log_C.mean(), log_values, 1)[0])
    return exponent, float(log_values.mean() - exponent * log_C.mean())
