"""The minimum of a slice: the size of lowest loss among sizes at equal compute, between the trained ones.

Two ways to find it: a parabola in ln N through the losses (Hoffmann 2022, approach 2), and Akima's
interpolation of ln loss over ln N (Porian 2024). A parabola smooths noise and is biased where the valley is
not symmetric about the sizes; Akima's curve goes through every loss, noise included (sizes that nearly
coincide are one, at their mean).

Shapes: k sizes in order, R draws of their losses.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from scaling_laws.laws.allocation.frontier import FEWEST_SIZES
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.laws.selection import SAME_SIZE

Method = Literal["parabola", "akima"]
FINE_GRID = 1001
"""Values of ln N at which Akima's curve is compared with itself."""


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
