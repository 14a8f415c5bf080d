"""Powers of compute through measured optima: N_opt ~ C^a and D_opt ~ C^b without a parametric law.

Approach 1 of Hoffmann 2022 takes the best of the trained sizes at each compute, approach 2 the minimum of a
curve through their losses. Neither takes an optimum at the smallest or largest size present.

Shapes: k sizes, m computes, R draws of noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from scaling_laws.laws.allocation.frontier import (
    FEWEST_SIZES,
    N_FINE_COMPUTES,
    SAME_COMPUTE,
    SizeCurve,
    best_size,
    draw_noise,
    even_computes,
    planned_computes,
    slice_computes,
    slice_weights,
)
from scaling_laws.laws.allocation.isoflop import Method, minima
from scaling_laws.laws.fit import DEFAULT_RESAMPLES
from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN, FloatArray

FEWEST_COMPUTES = 3
LEAST_SHARE_OF_DRAWS = 0.5
"""Noise may leave an optimum, or a line, in fewer draws than this: then there is no estimate from draws."""
SMALLEST_SD = 1e-6
"""Of ln N_opt, in the weights 1/variance: a minimum that no noise moves is not known exactly."""


@dataclass(frozen=True, kw_only=True)
class PowerLine:
    """y = exp(log_coefficient) * C^exponent, or an array of such lines, one a draw (NaN where none)."""

    exponent: FloatArray
    log_coefficient: FloatArray

    def at(self, C: float) -> FloatArray:
        with np.errstate(over="ignore"):  # a draw may be so steep that it is infinite there
            return np.asarray(np.exp(self.log_coefficient + self.exponent * np.log(C)))


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """N_opt = coefficient C^exponent and D_opt = D_coefficient C^D_exponent through measured optima.

    Attributes:
        exponent, coefficient, D_exponent, D_coefficient: None where there are too few optima.
        exponent_interval, D_exponent_interval: 90 %, from the optima of noisy losses; None without noise, and
            where most draws of it leave too few optima.
        n_points: optima.
        reason: why there is no exponent; empty where there is one.
        method: how the optima were measured: envelope, isoflop, akima; empty where nobody says.
    """

    method: str = ""
    exponent: float | None = None
    coefficient: float | None = None
    exponent_interval: Interval | None = None
    D_exponent: float | None = None
    D_coefficient: float | None = None
    D_exponent_interval: Interval | None = None
    n_points: int = 0
    reason: str


@dataclass(frozen=True, kw_only=True)
class AllocationBias:
    """What a method makes of the fitted law's own, noise-free losses at the runs' N and D.

    Attributes:
        exponent: the method's; None where it finds none.
        true_exponent: the law's a_opt.
        bias: their difference.
        sentence: the same in words.
        method: as in `Allocation`.
    """

    method: str = ""
    exponent: float | None = None
    true_exponent: float
    bias: float | None = None
    sentence: str


Noise = list[FloatArray] | None
"""Noise on every measured ln loss, one (R, points) a size; None for none, R = 1."""

Optima = Callable[[list[SizeCurve], FloatArray, Noise], tuple[FloatArray, FloatArray]]
"""ln N_opt and ln D_opt at ln C, each (R, m); NaN where the curves do not contain the optimum."""


def envelope_optima(
    curves: list[SizeCurve], log_C: FloatArray, noise: Noise = None
) -> tuple[FloatArray, FloatArray]:
    """The best of the trained sizes at each compute (Hoffmann 2022, approach 1)."""
    weights = [curve.weights(log_C) for curve in curves]
    losses = _noisy_losses(curves, weights, noise)
    best, inside = best_size(losses)
    if not curves:
        return np.full(best.shape, np.nan), np.full(best.shape, np.nan)
    log_N = np.log([curve.N for curve in curves])
    log_D = np.stack([at @ np.log(curve.D) for at, curve in zip(weights, curves, strict=True)])
    return (
        np.where(inside, log_N[best], np.nan),
        np.where(inside, log_D[best, np.arange(len(log_C))], np.nan),
    )


def isoflop_optima(
    curves: list[SizeCurve], log_C: FloatArray, noise: Noise = None
) -> tuple[FloatArray, FloatArray]:
    """The minimum of the parabola of each slice (Hoffmann 2022, approach 2)."""
    return _slice_optima(curves, log_C, noise, "parabola")


def akima_optima(
    curves: list[SizeCurve], log_C: FloatArray, noise: Noise = None
) -> tuple[FloatArray, FloatArray]:
    """The minimum of Akima's interpolation of each slice (Porian 2024)."""
    return _slice_optima(curves, log_C, noise, "akima")


def _slice_optima(
    curves: list[SizeCurve], log_C: FloatArray, noise: Noise, method: Method
) -> tuple[FloatArray, FloatArray]:
    weights = slice_weights(curves, log_C)
    losses = _noisy_losses(curves, weights, noise)
    if not curves:
        return np.full((len(losses), len(log_C)), np.nan), np.full((len(losses), len(log_C)), np.nan)
    log_N = np.log([curve.N for curve in curves])
    log_D = np.stack([at @ np.log(curve.D) for at, curve in zip(weights, curves, strict=True)])
    N_opt, D_opt = np.full((2, len(losses), len(log_C)), np.nan)
    for j in range(len(log_C)):
        present = np.isfinite(losses[0, :, j])
        if present.sum() < FEWEST_SIZES:
            continue
        x, y = log_N[present], losses[:, present, j]
        lowest_N, lowest = minima(x, y, method), y.argmin(axis=1)
        inside = (lowest > 0) & (lowest < len(x) - 1) & (lowest_N > x[0]) & (lowest_N < x[-1])
        N_opt[:, j] = np.where(inside, lowest_N, np.nan)
        D_opt[:, j] = np.where(inside, np.interp(lowest_N, x, log_D[present, j]), np.nan)
    return N_opt, D_opt


def _noisy_losses(curves: list[SizeCurve], weights: list[FloatArray], noise: Noise) -> FloatArray:
    """ln loss of each draw, size and compute, (R, k, m)."""
    if not curves:
        return np.empty((1, 0, 0))
    drawn = [np.zeros((1, len(curve.log_loss))) for curve in curves] if noise is None else noise
    return np.stack(
        [(curve.log_loss + of) @ at.T for curve, of, at in zip(curves, drawn, weights, strict=True)], axis=1
    )


def power_line(log_C: FloatArray, log_y: FloatArray, weights: FloatArray | None = None) -> PowerLine:
    """Weighted least squares of ln y, (R, m) or (m,), on ln C, (m,); NaN marks an optimum that is missing.

    A draw of fewer than three computes, or of one value of y alone, has no line.
    """
    known = np.isfinite(log_y)
    weight = np.where(known, 1.0 if weights is None else weights, 0.0)
    y = np.where(known, log_y, 0.0)
    total = weight.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = log_C - (weight * log_C).sum(axis=-1, keepdims=True) / total
        exponent = (weight * x * y).sum(axis=-1) / (weight * x**2).sum(axis=-1)
        mean_x = ((weight * log_C).sum(axis=-1, keepdims=True) / total)[..., 0]
        mean_y = ((weight * y).sum(axis=-1, keepdims=True) / total)[..., 0]
    low = np.where(known, log_y, np.inf).min(axis=-1, initial=np.inf)
    high = np.where(known, log_y, -np.inf).max(axis=-1, initial=-np.inf)
    enough = (known.sum(axis=-1) >= FEWEST_COMPUTES) & (high > low)
    exponent = np.where(enough, exponent, np.nan)
    return PowerLine(exponent=exponent, log_coefficient=mean_y - exponent * mean_x)


def fit_allocation(
    curves: list[SizeCurve],
    optima: Optima,
    *,
    noise_sd: float | None = None,
    resamples: int = DEFAULT_RESAMPLES // 2,
    seed: int = 0,
) -> Allocation:
    """The power laws through `optima`: `envelope_optima`, `isoflop_optima` or `akima_optima`.

    Args:
        noise_sd: standard deviation of one run's ln loss; without it there is no interval.
    """
    return measure_allocation(curves, optima, noise_sd=noise_sd, resamples=resamples, seed=seed)[0]


def measure_allocation(
    curves: list[SizeCurve],
    optima: Optima,
    *,
    noise_sd: float | None = None,
    resamples: int = DEFAULT_RESAMPLES // 2,
    seed: int = 0,
) -> tuple[Allocation, PowerLine, PowerLine]:
    """`fit_allocation`, and the lines of N_opt and D_opt through each draw of noise, (R,); (0,) without."""
    log_C = optima_computes(curves, optima)
    log_N, log_D = optima(curves, log_C, None)
    drawn_N = drawn_D = np.empty((0, len(log_C)))
    if noise_sd is not None and len(log_C):
        noise = draw_noise(curves, noise_sd, resamples, np.random.default_rng(seed))
        drawn_N, drawn_D = optima(curves, log_C, noise)
    return summarise(log_C, (log_N[0], log_D[0]), (drawn_N, drawn_D), robust=optima is akima_optima)


def summarise(
    log_C: FloatArray,
    point: tuple[FloatArray, FloatArray],
    drawn: tuple[FloatArray, FloatArray],
    *,
    robust: bool = False,
) -> tuple[Allocation, PowerLine, PowerLine]:
    """The lines through (ln N_opt, ln D_opt), each (m,), and through draws of them, each (R, m).

    Args:
        robust: take each compute's median over the draws as its optimum and weight it by 1/variance over
            them, as Porian 2024 does; an optimum that most draws do not have is dropped.
    """
    weights = None
    if robust and len(drawn[0]):
        point, weights = _median_and_weights(point, drawn)
    lines = [power_line(log_C, values, weights) for values in point]
    n_points = int(np.isfinite(point[0]).sum())
    drawn_lines = [power_line(log_C, values, weights) for values in drawn]
    if not np.isfinite(lines[0].exponent):
        reason = "fewer than three computes, or fewer than two sizes, have their optimum between the sizes"
        return Allocation(n_points=n_points, reason=reason), drawn_lines[0], drawn_lines[1]
    intervals = [
        percentile_interval(of_draws.exponent)
        if len(values) and np.isfinite(of_draws.exponent).mean() >= LEAST_SHARE_OF_DRAWS
        else None
        for values, of_draws in zip(drawn, drawn_lines, strict=True)
    ]
    allocation = Allocation(
        exponent=float(lines[0].exponent),
        coefficient=float(np.exp(lines[0].log_coefficient)),
        exponent_interval=intervals[0],
        D_exponent=float(lines[1].exponent),
        D_coefficient=float(np.exp(lines[1].log_coefficient)),
        D_exponent_interval=intervals[1],
        n_points=n_points,
        reason="",
    )
    return allocation, drawn_lines[0], drawn_lines[1]


def allocation_bias(curves: list[SizeCurve], optima: Optima, law: JointLaw) -> AllocationBias:
    """The exponent that `optima` finds in the law's noise-free losses at the runs' own N and D.

    Where the law is right, the difference from its a_opt is the bias of the method on this design: a slice
    that is wide, off centre or not symmetric shifts a parabola's minimum (arXiv 2603.22339).
    """
    true_exponent = float(law.a_opt)
    if not is_six_ND(curves):
        return AllocationBias(
            true_exponent=true_exponent,
            sentence="C is not 6 N D: the law's a_opt is not the optimum of these slices",
        )
    exact = [replace(curve, log_loss=np.log(law.loss(curve.N, curve.D))) for curve in curves]
    exponent = fit_allocation(exact, optima).exponent
    if exponent is None:
        sentence = "the method finds no exponent in the law's own losses"
        return AllocationBias(true_exponent=true_exponent, sentence=sentence)
    bias = exponent - true_exponent
    return AllocationBias(
        exponent=exponent,
        true_exponent=true_exponent,
        bias=bias,
        sentence=f"without noise the method gives {exponent:.3f} where the law has {true_exponent:.3f}:"
        f" a bias of {bias:+.3f} from these sizes and horizons alone",
    )


def is_six_ND(curves: list[SizeCurve]) -> bool:
    """Whether the computes are 6 N D, up to 2 %."""
    return all(
        np.abs(np.log(FLOPS_PER_PARAMETER_TOKEN * curve.N * curve.D) - curve.log_C).max() <= SAME_COMPUTE
        for curve in curves
    )


def _median_and_weights(
    point: tuple[FloatArray, FloatArray], drawn: tuple[FloatArray, FloatArray]
) -> tuple[tuple[FloatArray, FloatArray], FloatArray]:
    """The medians over the draws, and 1/variance of ln N_opt; NaN and 0 where most draws have no optimum."""
    kept = (np.isfinite(drawn[0]).mean(axis=0) >= LEAST_SHARE_OF_DRAWS) & np.isfinite(point[0])
    weights = np.zeros(len(kept))
    medians = [np.full(len(kept), np.nan), np.full(len(kept), np.nan)]
    for j in np.flatnonzero(kept):
        weights[j] = 1 / max(float(np.nanvar(drawn[0][:, j], ddof=1)), SMALLEST_SD**2)
        for median, values in zip(medians, drawn, strict=True):
            median[j] = np.nanmedian(values[:, j])
    return (medians[0], medians[1]), weights


def optima_computes(curves: list[SizeCurve], optima: Optima) -> FloatArray:
    """ln C at which the optima are taken, (m,): the slices; for the envelope, a fine grid as well."""
    if optima is not envelope_optima:
        return np.log(slice_computes(curves))
    planned, fine = planned_computes(curves), np.log(even_computes(curves, N_FINE_COMPUTES))
    between = np.all(np.abs(fine[:, None] - planned) > 2 * SAME_COMPUTE, axis=1)
    return np.sort(np.concatenate([planned, fine[between]]))
