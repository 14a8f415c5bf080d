"""The sizes at one compute and the minimum between them: N_opt measured without a parametric law.

Needs at least three sizes at a compute, and the best of them between two others: otherwise the optimum may be
a size that was not trained.

Two ways to find the minimum: a parabola in ln N through the losses (Hoffmann 2022, approach 2), and Akima's
interpolation of ln loss over ln N (Porian 2024). A parabola smooths noise and is biased where the valley is
not symmetric about the sizes; Akima's curve goes through every loss, noise included (sizes that nearly
coincide are one, at their mean).

Shapes: k sizes in order, R draws of their losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scaling_laws.laws.allocation.frontier import (
    FEWEST_SIZES,
    SAME_COMPUTE,
    SizeCurve,
    draw_noise,
    slice_weights,
)
from scaling_laws.laws.fit import DEFAULT_RESAMPLES
from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN, FloatArray
from scaling_laws.laws.selection import SAME_SIZE

Method = Literal["parabola", "akima"]
FINE_GRID = 1001
"""Values of ln N at which Akima's curve is compared with itself."""
OFF_CENTRE = 0.5
"""Distance of the minimum from the mean ln N, over half the slice's width, beyond which it is off centre."""
LARGE_BIAS = float(np.log(1.1))
"""Bias of ln N_opt, on the fitted law, that a slice is flagged for."""


@dataclass(frozen=True, kw_only=True)
class SlicePoint:
    """One size of a slice. Units as in `forms/`."""

    N: float
    D: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The sizes at one compute, and the minimum of the curve through their losses.

    Attributes:
        C: FLOPs.
        points: the sizes in order, with their tokens and losses at C.
        N_opt, D_opt, loss_opt: at the minimum; None where the slice does not contain one.
        N_opt_interval, D_opt_interval: 90 %, from noise added to the measured losses.
        warning: what is wrong with the slice; empty if nothing is.
        method: the curve: a parabola in ln N, or Akima's through ln loss.
        interpolated: whether losses were interpolated within a size; False where the runs had this compute.
        bias_log_N: ln N_opt of the same curve through the fitted law's losses at the same N and D, less ln
            N_opt of the law: what the method would get wrong without any noise. None without a law, where C
            is not 6 N D, or where that curve has no minimum inside.
    """

    C: float
    points: tuple[SlicePoint, ...]
    N_opt: float | None
    D_opt: float | None
    loss_opt: float | None
    N_opt_interval: Interval | None
    D_opt_interval: Interval | None
    warning: str
    method: Method
    interpolated: bool
    bias_log_N: float | None


def isoflop_slice(
    curves: list[SizeCurve],
    C: float,
    *,
    method: Method = "parabola",
    law: JointLaw | None = None,
    noise_sd: float | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Slice:
    """The sizes at compute C, and the minimum between them (Hoffmann 2022, approach 2; Porian 2024).

    At a planned compute the runs stand as they are; elsewhere losses are interpolated within a size, in ln
    loss over ln C. The minimum is refused where the lowest loss lies at the smallest or largest size: the
    optimum may be outside the slice. With noise, Akima's estimate is the median of the noisy minima, as in
    Porian 2024.

    Args:
        method: which curve goes through the losses.
        law: the joint law fitted to these runs: shows the bias of the method on its noise-free losses.
        noise_sd: standard deviation of one run's ln loss; without it there is no interval.
    """
    log_C = np.log([C])
    weights = slice_weights(curves, log_C)
    present = [i for i in range(len(curves)) if np.isfinite(weights[i]).all()]
    sizes = [curves[i] for i in present]
    at_C = [weights[i][0] for i in present]
    log_N = np.log([curve.N for curve in sizes])
    log_D = np.array([at @ np.log(curve.D) for at, curve in zip(at_C, sizes, strict=True)])
    log_loss = np.array([at @ curve.log_loss for at, curve in zip(at_C, sizes, strict=True)])
    vertex, refused = minimum(log_N, log_loss, method)
    warnings = [refused] if refused else []
    N_interval = D_interval = None
    if vertex is not None and noise_sd is not None:
        noise = draw_noise(sizes, noise_sd, resamples, np.random.default_rng(seed))
        noisy = log_loss + np.stack([of @ at for of, at in zip(noise, at_C, strict=True)], axis=1)
        draws = minima(log_N, noisy, method)
        N_interval = percentile_interval(np.exp(draws))
        D_interval = percentile_interval(np.exp(np.interp(draws, log_N, log_D)))
        if np.mean((draws <= log_N[0]) | (draws >= log_N[-1])) > 0.05:
            warnings.append("the interval of N_opt reaches the edge of the slice")
        if method == "akima":
            vertex = float(np.median(draws))
    if vertex is not None:
        warnings += _off_centre(log_N, vertex)
    bias = None if law is None or vertex is None else _bias(law, C, log_N, log_D, method)
    if bias is not None and abs(bias) > LARGE_BIAS:
        size = f"{100 * np.expm1(abs(bias)):.0f} % too {'large' if bias > 0 else 'small'}"
        warnings.append(f"on the fitted law's own losses these sizes put N_opt {size}")
    return Slice(
        C=C,
        points=tuple(
            SlicePoint(N=curve.N, D=D, loss=loss)
            for curve, D, loss in zip(sizes, np.exp(log_D).tolist(), np.exp(log_loss).tolist(), strict=True)
        ),
        N_opt=None if vertex is None else float(np.exp(vertex)),
        D_opt=None if vertex is None else float(np.exp(np.interp(vertex, log_N, log_D))),
        loss_opt=None if vertex is None else loss_at(log_N, log_loss, vertex, method),
        N_opt_interval=N_interval,
        D_opt_interval=D_interval,
        warning="; ".join(warnings),
        method=method,
        interpolated=bool(any(((at > 0) & (at < 1)).any() for at in at_C)),
        bias_log_N=bias,
    )


def _off_centre(log_N: FloatArray, vertex: float) -> list[str]:
    """A sentence, where the sizes are not spread around their minimum."""
    offset = (vertex - log_N.mean()) / (np.ptp(log_N) / 2)
    if abs(offset) <= OFF_CENTRE:
        return []
    which = "larger" if offset > 0 else "smaller"
    return [f"the minimum is off the centre of the sizes, which biases it: train {which} ones as well"]


def _bias(law: JointLaw, C: float, log_N: FloatArray, log_D: FloatArray, method: Method) -> float | None:
    if np.abs(np.log(FLOPS_PER_PARAMETER_TOKEN) + log_N + log_D - np.log(C)).max() > 1.5 * SAME_COMPUTE:
        return None
    vertex, _ = minimum(log_N, np.log(law.loss(np.exp(log_N), np.exp(log_D))), method)
    return None if vertex is None else float(vertex - np.log(law.optimum(C)[0]))


def edge_warning(loss: FloatArray) -> str:
    """Why the lowest of the losses, (k,) in order of N, is not between two others; empty if it is."""
    if len(loss) < FEWEST_SIZES:
        return f"{len(loss)} sizes: a minimum between the sizes needs at least {FEWEST_SIZES}"
    lowest = int(np.argmin(loss))
    if lowest == 0:
        return "the lowest loss is that of the smallest size: train smaller ones at this compute"
    if lowest == len(loss) - 1:
        return "the lowest loss is that of the largest size: train larger ones at this compute"
    return ""


def minimum(log_N: FloatArray, log_loss: FloatArray, method: Method) -> tuple[float | None, str]:
    """ln N at the minimum of one slice, (k,), and why there is none.

    The parabola goes through the losses themselves (Hoffmann 2022), Akima's curve through their logarithms.
    Refused where the lowest loss is that of the smallest or largest size: the optimum may be outside.
    """
    if warning := edge_warning(log_loss):
        return None, warning
    lowest = float(minima(log_N, log_loss[None], method)[0])
    if method == "akima" and len(merged(log_N, log_loss)[0]) < FEWEST_SIZES:
        return None, f"fewer than {FEWEST_SIZES} sizes that differ by 5 %"
    if not log_N[0] < lowest < log_N[-1]:
        return None, "the parabola has no minimum between the sizes"
    return lowest, ""


def merged(log_N: FloatArray, log_loss: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sizes (k,) in order and losses (..., k); those within `SAME_SIZE` are one, at their mean."""
    group = np.zeros(len(log_N), dtype=np.intp)
    first = log_N[0] if len(log_N) else 0.0
    for i in range(1, len(log_N)):
        new = log_N[i] > first + SAME_SIZE
        first, group[i] = (log_N[i] if new else first), group[i - 1] + new
    share = group == np.arange(group.max(initial=-1) + 1)[:, None]
    mean = share / share.sum(axis=1, keepdims=True)
    return mean @ log_N, log_loss @ mean.T


def minima(log_N: FloatArray, log_loss: FloatArray, method: Method) -> FloatArray:
    """ln N at the minimum of each draw, (R, k) -> (R,), held within the sizes: an end says "not inside"."""
    return _parabola_minima(log_N, log_loss) if method == "parabola" else _akima_minima(log_N, log_loss)


def loss_at(log_N: FloatArray, log_loss: FloatArray, where: float, method: Method) -> float:
    """The loss in nats per token of the fitted curve at ln N = `where`."""
    if method == "parabola":
        return float(np.polyfit(log_N - where, np.exp(log_loss), 2)[2])
    from scipy.interpolate import Akima1DInterpolator

    return float(np.exp(Akima1DInterpolator(*merged(log_N, log_loss))(where)))


def _parabola_minima(log_N: FloatArray, log_loss: FloatArray) -> FloatArray:
    """Where a parabola opens downwards, the end of lower loss."""
    centre, loss = log_N.mean(), np.exp(log_loss)
    curvature, slope, _ = np.polyfit(log_N - centre, loss.T, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = np.clip(centre - slope / (2 * curvature), log_N[0], log_N[-1])
    lower_end = np.where(loss[:, 0] < loss[:, -1], log_N[0], log_N[-1])
    return np.asarray(np.where(curvature > 0, vertex, lower_end))


def _akima_minima(log_N: FloatArray, log_loss: FloatArray) -> FloatArray:
    """The lowest point of a fine grid, refined by the parabola through it and its two neighbours."""
    from scipy.interpolate import Akima1DInterpolator

    smallest = log_N[0]
    log_N, log_loss = merged(log_N, log_loss)
    if len(log_N) < FEWEST_SIZES:
        return np.full(len(log_loss), smallest)
    fine, step = np.linspace(log_N[0], log_N[-1], FINE_GRID, retstep=True)
    curve = Akima1DInterpolator(log_N, log_loss, axis=1)(fine)
    lowest = curve.argmin(axis=1)
    draw, inside = np.arange(len(curve)), np.clip(lowest, 1, FINE_GRID - 2)
    left, middle, right = (curve[draw, inside + shift] for shift in (-1, 0, 1))
    curvature = left - 2 * middle + right
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(curvature > 0, (left - right) / (2 * curvature), 0.0)
    return np.asarray(np.where(lowest == inside, fine[inside] + shift * step, fine[lowest]))
