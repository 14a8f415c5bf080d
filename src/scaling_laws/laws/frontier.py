"""Compute-optimal sizes without a parametric law: the lower envelope, and isoFLOP slices.

Each size's final losses are a curve of ln loss over ln C, linear between its own runs and nothing outside
them: no loss is ever extrapolated. Replicates of one size and horizon count once, at their mean ln loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.forms import FloatArray
from scaling_laws.laws.intervals import DEFAULT_RESAMPLES, Interval, percentile_interval

if TYPE_CHECKING:
    import pandas as pd

FEWEST_SIZES = 3
N_SLICES = 6
SAME_COMPUTE = 1e-6
"""Relative rounding up to which two computes are equal."""


@dataclass(frozen=True, kw_only=True)
class SizeCurve:
    """The cooled runs of one size, in order of compute.

    Attributes:
        N: parameters.
        log_C, log_D, log_loss: (k,).
        runs: (k,): one run's name a point (the first of replicates).
    """

    N: float
    log_C: FloatArray
    log_D: FloatArray
    log_loss: FloatArray
    runs: tuple[str, ...]

    def covers(self, log_C: float) -> bool:
        return bool(self.log_C[0] - SAME_COMPUTE <= log_C <= self.log_C[-1] + SAME_COMPUTE)


@dataclass(frozen=True, kw_only=True)
class FrontierPoint:
    """A run that no other size beats at its compute. Units as in `forms.py`."""

    C: float
    loss: float
    N: float
    D: float
    run: str


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The sizes at one compute, and the parabola in ln N through their losses.

    Attributes:
        C: FLOPs.
        N, D, loss: (k,): sizes in order, their tokens and losses at C.
        N_opt, D_opt, loss_opt: the parabola's minimum; None where the slice does not contain one.
        N_opt_interval: 90 %, from noise added to the measured losses.
        warning: what is wrong with the slice; empty if nothing is.
    """

    C: float
    N: tuple[float, ...]
    D: tuple[float, ...]
    loss: tuple[float, ...]
    N_opt: float | None
    D_opt: float | None
    loss_opt: float | None
    N_opt_interval: Interval | None
    warning: str


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """N_opt = coefficient * C^exponent through measured optima, by least squares in logarithms.

    `reason` says why there is none. The same line through the minima of noisy losses gives the interval;
    None where it was not asked for.
    """

    exponent: float | None
    coefficient: float | None
    exponent_interval: Interval | None
    n_points: int
    reason: str


def size_curves(runs: pd.DataFrame, *, n: str = "N", c: str = "C") -> list[SizeCurve]:
    """One curve a size, in order of N, from the columns run, D, loss, `n` and `c`."""
    import pandas as pd

    curves = []
    for N, group in runs.groupby(n):
        logs = pd.DataFrame(np.log(group[[c, "D", "loss"]])).assign(run=group["run"].astype(str))
        points = logs.groupby("D", as_index=False).agg({c: "mean", "loss": "mean", "run": "first"})
        points = points.sort_values(c)
        curves.append(
            SizeCurve(
                N=float(N),  # type: ignore[arg-type]  # groupby's key is a number here
                log_C=points[c].to_numpy(dtype=np.float64),
                log_D=points["D"].to_numpy(dtype=np.float64),
                log_loss=points["loss"].to_numpy(dtype=np.float64),
                runs=tuple(points["run"]),
            )
        )
    return curves


def envelope(curves: list[SizeCurve]) -> list[FrontierPoint]:
    """The runs that no other size beats at the same compute, in order of C.

    A run is compared with every other size whose own runs lie on both sides of its compute; a run that can
    be compared with none is not on the envelope, since nothing says that it is the best.
    """
    points = []
    for curve in curves:
        for i, log_C in enumerate(curve.log_C):
            others = [other for other in curves if other is not curve and other.covers(log_C)]
            losses = [np.interp(log_C, other.log_C, other.log_loss) for other in others]
            if losses and curve.log_loss[i] <= min(losses):
                points.append(
                    FrontierPoint(
                        C=float(np.exp(log_C)),
                        loss=float(np.exp(curve.log_loss[i])),
                        N=curve.N,
                        D=float(np.exp(curve.log_D[i])),
                        run=curve.runs[i],
                    )
                )
    return sorted(points, key=lambda point: point.C)


def slice_computes(curves: list[SizeCurve], n_slices: int = N_SLICES) -> list[float]:
    """Computes for the slices: evenly spaced in ln C over the range that at least three sizes cover."""
    ends = np.unique([end for curve in curves for end in (curve.log_C[0], curve.log_C[-1])])
    covered = [end for end in ends if sum(curve.covers(end) for curve in curves) >= FEWEST_SIZES]
    if not covered:
        return []
    grid = (
        np.linspace(covered[0], covered[-1], n_slices) if covered[-1] > covered[0] else np.array(covered[:1])
    )
    kept = [log_C for log_C in grid if sum(curve.covers(log_C) for curve in curves) >= FEWEST_SIZES]
    return [float(np.exp(log_C)) for log_C in kept]


def isoflop_slice(
    curves: list[SizeCurve],
    C: float,
    *,
    noise_sd: float | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Slice:
    """The sizes at compute C, and the minimum of the parabola in ln N (Hoffmann 2022, approach 2).

    Losses are interpolated within a size, in ln loss over ln D at that size's own compute. The minimum is
    refused where the lowest loss lies at the smallest or largest size: the optimum may be outside the slice.

    Args:
        noise_sd: standard deviation of one run's ln loss; without it there is no interval.
    """
    log_C = float(np.log(C))
    present = [curve for curve in curves if curve.covers(log_C)]
    log_N = np.log([curve.N for curve in present])
    log_D = np.array([np.interp(log_C, curve.log_C, curve.log_D) for curve in present])
    log_loss = np.array([np.interp(log_C, curve.log_C, curve.log_loss) for curve in present])
    loss = np.exp(log_loss)
    N_opt = D_opt = loss_opt = interval = None
    warning = _edge_warning(loss)
    if not warning:
        vertex = float(_vertex(log_N, loss[None])[0])
        if log_N[0] < vertex < log_N[-1]:
            N_opt = float(np.exp(vertex))
            D_opt = float(np.exp(np.interp(vertex, log_N, log_D)))
            loss_opt = float(np.polyval(np.polyfit(log_N - vertex, loss, 2), 0.0))
            if noise_sd is not None:
                draws = _noisy_vertices(present, log_C, log_N, noise_sd, resamples, seed)
                interval = percentile_interval(np.exp(draws))
                if np.mean((draws <= log_N[0]) | (draws >= log_N[-1])) > 0.05:
                    warning = "the interval of N_opt reaches the edge of the slice"
        else:
            warning = "the parabola has no minimum within the slice"
    return Slice(
        C=C,
        N=tuple(float(curve.N) for curve in present),
        D=tuple(np.exp(log_D).tolist()),
        loss=tuple(loss.tolist()),
        N_opt=N_opt,
        D_opt=D_opt,
        loss_opt=loss_opt,
        N_opt_interval=interval,
        warning=warning,
    )


def _edge_warning(loss: FloatArray) -> str:
    if len(loss) < FEWEST_SIZES:
        return f"{len(loss)} sizes: a parabola needs at least {FEWEST_SIZES}"
    lowest = int(np.argmin(loss))
    if lowest == 0:
        return "the lowest loss is that of the smallest size: train smaller ones at this compute"
    if lowest == len(loss) - 1:
        return "the lowest loss is that of the largest size: train larger ones at this compute"
    return ""


def _vertex(log_N: FloatArray, loss: FloatArray) -> FloatArray:
    """ln N at the minimum of the parabola through each row of `loss` (S, k).

    Where the parabola opens downwards, or has its minimum outside the sizes, the end of the sizes with the
    lower loss, so that a percentile of many rows still says on which side the optimum is.
    """
    centre = log_N.mean()
    curvature, slope, _ = np.polyfit(log_N - centre, loss.T, 2)
    vertex = centre - slope / (2 * np.where(curvature > 0, curvature, np.inf))
    lower_end = np.where(loss[:, 0] < loss[:, -1], log_N[0], log_N[-1])
    return np.asarray(np.where(curvature > 0, np.clip(vertex, log_N[0], log_N[-1]), lower_end))


def _noisy_vertices(
    curves: list[SizeCurve], log_C: float, log_N: FloatArray, noise_sd: float, resamples: int, seed: int
) -> FloatArray:
    """The vertices with independent noise on every measured ln loss, before interpolation: (resamples,)."""
    random = np.random.default_rng(seed)
    columns = []
    for curve in curves:
        noisy = curve.log_loss + random.normal(scale=noise_sd, size=(resamples, len(curve.log_loss)))
        columns.append([np.interp(log_C, curve.log_C, row) for row in noisy])
    return _vertex(log_N, np.exp(np.array(columns).T))


def envelope_optima(curves: list[SizeCurve], n_computes: int = 100) -> list[tuple[float, float]]:
    """(C, N) of the best size at computes evenly spaced in ln C (Hoffmann 2022, approach 1).

    Only where at least three sizes are there and the best is neither the smallest nor the largest of them:
    else the optimum may be a size that was not trained.
    """
    optima = []
    for C in slice_computes(curves, n_computes):
        log_C = np.log(C)
        present = [curve for curve in curves if curve.covers(log_C)]
        losses = [np.interp(log_C, curve.log_C, curve.log_loss) for curve in present]
        if not _edge_warning(np.array(losses)):
            optima.append((C, present[int(np.argmin(losses))].N))
    return optima


def isoflop_optima(curves: list[SizeCurve]) -> list[tuple[float, float]]:
    """(C, N_opt) of the slices that contain their minimum."""
    slices = [isoflop_slice(curves, C) for C in slice_computes(curves)]
    return [(slice_.C, slice_.N_opt) for slice_ in slices if slice_.N_opt is not None]


def fit_allocation(
    curves: list[SizeCurve],
    optima: Callable[[list[SizeCurve]], list[tuple[float, float]]],
    *,
    noise_sd: float | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> Allocation:
    """The power law through `optima` (`envelope_optima` or `isoflop_optima`) of the curves.

    Args:
        noise_sd: standard deviation of one run's ln loss; without it there is no interval.
    """
    points = optima(curves)
    line = _power_line(points)
    if line is None:
        reason = "fewer than three computes, or fewer than two sizes, with an optimum between the sizes"
        return Allocation(
            exponent=None, coefficient=None, exponent_interval=None, n_points=len(points), reason=reason
        )
    interval = None
    if noise_sd is not None:
        random = np.random.default_rng(seed)
        lines = (_power_line(optima(_noisy(curves, noise_sd, random))) for _ in range(resamples))
        interval = percentile_interval([noisy[0] for noisy in lines if noisy is not None])
    return Allocation(
        exponent=line[0],
        coefficient=line[1],
        exponent_interval=interval,
        n_points=len(points),
        reason="",
    )


def _power_line(points: list[tuple[float, float]]) -> tuple[float, float] | None:
    """(exponent, coefficient) of N = coefficient * C^exponent; None without enough different optima."""
    if len({C for C, _ in points}) < 3 or len({N for _, N in points}) < 2:
        return None
    log_C, log_N = np.log(points).T
    exponent = np.polyfit(log_C - log_C.mean(), log_N, 1)[0]
    return float(exponent), float(np.exp(log_N.mean() - exponent * log_C.mean()))


def _noisy(curves: list[SizeCurve], noise_sd: float, random: np.random.Generator) -> list[SizeCurve]:
    return [
        replace(curve, log_loss=curve.log_loss + random.normal(scale=noise_sd, size=len(curve.log_loss)))
        for curve in curves
    ]
