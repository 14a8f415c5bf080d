"""Losses of several sizes at equal compute, and their lower envelope.

Each size's final losses are a curve of ln loss over ln C, linear between its own runs and nothing outside
them: no loss is ever extrapolated. (Computes that differ by less than 2 % are equal: steps are whole, so a
budget is never met exactly.) Replicates of one size and horizon count once, at their mean ln loss.

Runs that were planned at equal compute (isoFLOP budgets) are found as such and compared as they are.

Shapes: k sizes, m computes, R draws of noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.forms.terms import FloatArray

if TYPE_CHECKING:
    import pandas as pd

SAME_COMPUTE = 0.02
"""Difference of ln C up to which two computes are equal."""
FEWEST_SIZES = 3
"""Fewer sizes at one compute cannot show that the best of them lies between two others."""
N_SLICES = 6
N_FINE_COMPUTES = 100
"""Evenly over the range of the runs, where the best size is looked for."""
LEAST_PLANNED_SHARE = 0.5
"""Share of the points that lie at common computes where that was the plan and no coincidence."""
LEAST_BUDGET_STEP = 0.1
"""Difference of ln C between planned budgets: in a dense table every compute has neighbours within 2 %."""


@dataclass(frozen=True, kw_only=True)
class SizeCurve:
    """The cooled runs of one size, in order of compute.

    Attributes:
        N: parameters.
        D, log_C, log_loss: (points,).
        runs: one run's name a point (the first of replicates).
    """

    N: float
    D: FloatArray
    log_C: FloatArray
    log_loss: FloatArray
    runs: tuple[str, ...]

    def weights(self, log_C: FloatArray) -> FloatArray:
        """(m, points): interpolation at `log_C` as weights of the points; NaN outside the size's own runs."""
        of_points = [np.interp(log_C, self.log_C, point) for point in np.eye(len(self.log_C))]
        inside = (log_C >= self.log_C[0] - SAME_COMPUTE) & (log_C <= self.log_C[-1] + SAME_COMPUTE)
        return np.where(inside[:, None], np.stack(of_points, axis=1), np.nan)

    def nearest(self, log_C: FloatArray) -> FloatArray:
        """(m, points): the run at each compute itself, weight 1; NaN where the size has no run there."""
        distance = np.abs(self.log_C - log_C[:, None])
        one_hot = np.eye(len(self.log_C))[distance.argmin(axis=1)]
        return np.where((distance.min(axis=1) <= SAME_COMPUTE)[:, None], one_hot, np.nan)


@dataclass(frozen=True, kw_only=True)
class FrontierPoint:
    """A run that no other size beats at its compute. Units as in `forms/`."""

    C: float
    loss: float
    N: float
    D: float
    run: str


def size_curves(runs: pd.DataFrame) -> list[SizeCurve]:
    """One curve a size, in order of N, from the columns run, N, D, C and loss."""
    logs = runs[["run", "N", "D"]].assign(log_C=np.log(runs["C"]), log_loss=np.log(runs["loss"]))
    points = logs.groupby(["N", "D"], as_index=False).agg(
        {"log_C": "mean", "log_loss": "mean", "run": "first"}
    )
    curves = []
    for N, of_size in points.sort_values(["N", "log_C"]).groupby("N"):
        D, log_C, log_loss = of_size[["D", "log_C", "log_loss"]].to_numpy(dtype=np.float64).T
        runs_of_size = tuple(str(run) for run in of_size["run"])
        curves.append(
            SizeCurve(N=float(N), D=D, log_C=log_C, log_loss=log_loss, runs=runs_of_size)  # type: ignore[arg-type]
        )
    return curves


def envelope(curves: list[SizeCurve]) -> list[FrontierPoint]:
    """The runs that no other size beats at the same compute, in order of C.

    A run is compared with every other size whose own runs lie on both sides of its compute; a run that can
    be compared with none is not on the envelope, since nothing says that it is the best.
    """
    points = []
    for curve in curves:
        losses = losses_at([other for other in curves if other is not curve], curve.log_C)
        compared = np.isfinite(losses).any(axis=0)
        beaten = (losses < curve.log_loss).any(axis=0)
        for i in np.flatnonzero(compared & ~beaten):
            points.append(
                FrontierPoint(
                    C=float(np.exp(curve.log_C[i])),
                    loss=float(np.exp(curve.log_loss[i])),
                    N=curve.N,
                    D=float(curve.D[i]),
                    run=curve.runs[i],
                )
            )
    return sorted(points, key=lambda point: point.C)


def losses_at(curves: list[SizeCurve], log_C: FloatArray) -> FloatArray:
    """ln loss of each size at each compute, (k, m); NaN where it would be extrapolated."""
    if not curves:
        return np.empty((0, len(log_C)))
    with np.errstate(invalid="ignore"):  # NaN outside a size's own runs
        return np.stack([curve.weights(log_C) @ curve.log_loss for curve in curves])


def planned_computes(curves: list[SizeCurve]) -> FloatArray:
    """ln C of the budgets at which at least three sizes were trained, (m,), in order.

    Empty unless at least half of the points lie at such budgets, and the budgets well apart: a grid of sizes
    and horizons has a few equal computes by chance, and a dense one many.
    """
    ends = np.concatenate([curve.log_C for curve in curves]) if curves else np.empty(0)
    size = np.repeat(np.arange(len(curves)), [len(curve.log_C) for curve in curves])
    budgets, n_planned, left = [], 0, np.argsort(ends)
    while len(left):
        here = ends[left] <= ends[left[0]] + SAME_COMPUTE
        group, left = left[here], left[~here]
        if len(np.unique(size[group])) >= FEWEST_SIZES:
            budgets.append(ends[group].mean())
            n_planned += len(group)
    is_plan = n_planned >= LEAST_PLANNED_SHARE * len(ends) and np.all(np.diff(budgets) >= LEAST_BUDGET_STEP)
    return np.array(budgets) if is_plan else np.empty(0)


def slice_computes(curves: list[SizeCurve], n_computes: int = N_SLICES) -> FloatArray:
    """The computes of the slices, (m,), in order; may be empty.

    Those at which runs were planned, if there are any; otherwise evenly spaced in ln C over the range where
    the best size lies between two others, or, if it nowhere does, where at least three sizes were trained.
    """
    planned = planned_computes(curves)
    if len(planned):
        return np.exp(planned)
    fine = np.log(even_computes(curves, N_FINE_COMPUTES))
    _, inside = best_size(losses_at(curves, fine)[None])
    where = fine[inside[0]]
    return even_computes(curves, n_computes) if not len(where) else _even(curves, where, n_computes)


def even_computes(curves: list[SizeCurve], n_computes: int) -> FloatArray:
    """Computes evenly spaced in ln C over the range that at least three sizes cover, (m,); may be empty."""
    ends = np.sort([end for curve in curves for end in (curve.log_C[0], curve.log_C[-1])])
    return _even(curves, ends[_n_sizes_at(curves, ends) >= FEWEST_SIZES], n_computes)


def best_size(log_loss: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Index of the lowest loss of each draw and compute, (R, k, m) -> (R, m), and whether it is inside.

    Inside: at least three sizes have a loss, and the best of them is neither the smallest nor the largest.
    """
    n_draws, n_sizes, n_computes = log_loss.shape
    if not n_sizes:
        return np.zeros((n_draws, n_computes), dtype=np.intp), np.zeros((n_draws, n_computes), dtype=bool)
    present = np.isfinite(log_loss)
    order = np.arange(n_sizes)[:, None]
    first = np.where(present, order, n_sizes).min(axis=1)
    last = np.where(present, order, -1).max(axis=1)
    best = np.where(present, log_loss, np.inf).argmin(axis=1)
    return best, (present.sum(axis=1) >= FEWEST_SIZES) & (best > first) & (best < last)


def _even(curves: list[SizeCurve], log_C: FloatArray, n_computes: int) -> FloatArray:
    """Computes over the range of `log_C` at which at least three sizes have a loss, (m,)."""
    if not len(log_C):
        return np.empty(0)
    grid = np.linspace(log_C[0], log_C[-1], n_computes if log_C[-1] > log_C[0] else 1)
    return np.asarray(np.exp(grid[_n_sizes_at(curves, grid) >= FEWEST_SIZES]))


def _n_sizes_at(curves: list[SizeCurve], log_C: FloatArray) -> FloatArray:
    return np.asarray(np.isfinite(losses_at(curves, log_C)).sum(axis=0))


def slice_weights(curves: list[SizeCurve], log_C: FloatArray) -> list[FloatArray]:
    """The points of each size that make its loss at each compute: one (m, points) a size, NaN for none.

    At a planned compute the runs that were trained there, as they are; elsewhere each size between its runs.
    """
    planned = planned_computes(curves)
    is_planned = np.any(np.abs(log_C[:, None] - planned) <= SAME_COMPUTE, axis=1)
    return [np.where(is_planned[:, None], curve.nearest(log_C), curve.weights(log_C)) for curve in curves]


def draw_noise(
    curves: list[SizeCurve], noise_sd: float, resamples: int, random: np.random.Generator
) -> list[FloatArray]:
    """Independent noise for every measured ln loss: one (R, points) a size."""
    return [random.normal(scale=noise_sd, size=(resamples, len(curve.log_loss))) for curve in curves]
