"""Loss against size and training time, and its lower envelope in C_min (Kaplan 2020, sections 5.2 and 6.1).

Every point of a learning curve counts, converted with the critical batch at its own loss: steps to S_min
(5.4) and compute to C_min (5.5). In these, trainings of one size at different batches are one curve.

Shapes: k trainings, n points, m computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.allocation.isoflop import merged
from scaling_laws.laws.batch.constant_rate import constant_rate_part, falling_curve
from scaling_laws.laws.fit.rows import Rows, make_rows
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN, FloatArray

if TYPE_CHECKING:
    import pandas as pd

POINTS_A_TRAINING = 30
"""Points kept of a training, evenly spaced in ln step: long trainings are not to count for more."""
N_COMPUTES = 40
FEWEST_SIZES = 3
MOST_UNEVEN = 10.0
"""Distance in ln N of the farther neighbour over that of the nearer one, up to which a parabola goes through
the three sizes."""


@dataclass(frozen=True, kw_only=True)
class TimePoints:
    """Points of learning curves, as taken.

    Attributes:
        training: (n,): the training of each point, 0 to k - 1.
        N: (k,): parameters.
        batch_tokens: (k,).
        steps, loss: (n,).
        sentence: which points these are.
    """

    training: NDArray[np.intp]
    N: FloatArray
    batch_tokens: FloatArray
    steps: FloatArray
    loss: FloatArray
    sentence: str

    def steps_min(self, batch: CriticalBatch, loss: FloatArray) -> FloatArray:
        """S_min of every point, (n,), the losses being `loss`: (5.4)."""
        return batch.steps_min(self.steps, self.batch_tokens[self.training], loss)

    def compute_min(self, batch: CriticalBatch, loss: FloatArray) -> FloatArray:
        """C_min of every point, (n,), FLOPs: (5.5) with C = 6 N B S."""
        N, B = self.N[self.training], self.batch_tokens[self.training]
        return batch.compute_min(FLOPS_PER_PARAMETER_TOKEN * N * B * self.steps, B, loss)

    def rows(self, batch: CriticalBatch, loss: FloatArray, chosen: NDArray[np.bool_] | None = None) -> Rows:
        """What L(N,S_min) is fitted to, all points or those `chosen`; a training is a cluster."""
        where = slice(None) if chosen is None else chosen
        variables = {"N": self.N[self.training][where], "S_min": self.steps_min(batch, loss)[where]}
        return make_rows(variables, loss[where], self.training[where])

    def compute_grid(self, batch: CriticalBatch) -> FloatArray:
        """C_min from the least to the most of any point, (m,)."""
        C_min = self.compute_min(batch, self.loss)
        return np.geomspace(C_min.min(), C_min.max(), N_COMPUTES)


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """The lowest loss over sizes at each C_min, where a size has a neighbour on either side.

    Attributes:
        C_min: (m,): FLOPs, evenly spaced in logarithm.
        loss, N: (m,): the minimum of the parabola in ln N through the best size and its two neighbours; the
            best size itself where these are at very different distances.
        reason: why there are no points; empty where there are some.
    """

    C_min: FloatArray
    loss: FloatArray
    N: FloatArray
    reason: str


def time_points(curves: pd.DataFrame) -> TimePoints:
    """At most `POINTS_A_TRAINING` points of each training, of its part at a constant rate.

    Where one size and batch was trained with several learning rates, the best one counts.

    Args:
        curves: see `constant_rate_part`.

    Raises:
        InputError: see `constant_rate_part`.
    """
    part = constant_rate_part(curves)
    table = _of_best_rates(part.points)
    kept = [_thinned(of_training) for _, of_training in table.groupby("trunk") if len(of_training) > 1]
    training = np.repeat(
        np.arange(len(kept)), np.array([len(of_training) for of_training in kept], dtype=int)
    )
    every = {
        name: np.array([value for of_training in kept for value in of_training[name]], dtype=np.float64)
        for name in ("step", "loss", "N", "batch_tokens")
    }
    first = np.searchsorted(training, np.arange(len(kept)))
    return TimePoints(
        training=training,
        N=every["N"][first],
        batch_tokens=every["batch_tokens"][first],
        steps=every["step"],
        loss=every["loss"],
        sentence=f"{part.sentence}; at most {POINTS_A_TRAINING} of each training, evenly spaced in ln step",
    )


def _of_best_rates(points: pd.DataFrame) -> pd.DataFrame:
    """Of each size and batch, the rate with the lowest loss at the last step that all its rates reached."""
    if "peak_learning_rate" not in points.columns or points.empty:
        return points
    is_best = np.zeros(len(points), dtype=bool)
    for rows in points.groupby(["N", "batch_tokens"]).indices.values():
        tried = points.iloc[rows]
        common = tried.groupby("peak_learning_rate")["step"].max().min()
        reached = tried[tried["step"] <= common].sort_values("step").drop_duplicates("trunk", keep="last")
        best = reached.groupby("peak_learning_rate")["loss"].mean().idxmin()
        is_best[rows] = tried["peak_learning_rate"] == best
    return points[is_best]


def _thinned(of_training: pd.DataFrame) -> pd.DataFrame:
    log_step = np.log(of_training["step"].to_numpy(dtype=np.float64))
    wanted = np.linspace(log_step[0], log_step[-1], POINTS_A_TRAINING)
    nearest = np.unique(np.abs(log_step[:, None] - wanted).argmin(axis=0))
    return of_training.iloc[nearest]


def envelope_of(
    points: TimePoints,
    batch: CriticalBatch,
    grid: FloatArray,
    *,
    loss: FloatArray | None = None,
    counts: FloatArray | None = None,
) -> Envelope:
    """The lower envelope over sizes of L(N,C_min).

    A training's curve is smoothed (`falling_curve`) and interpolated, never extrapolated; a size's loss is
    the mean of ln L over its trainings, and sizes within 5 % of each other are one.

    Args:
        grid: computes, (m,), FLOPs.
        loss: (n,): other than the points' own, for a bootstrap.
        counts: (k,): how often each training counts; once by default.
    """
    loss = points.loss if loss is None else loss
    counts = np.ones(len(points.N)) if counts is None else counts
    log_C, log_grid = np.log(points.compute_min(batch, loss)), np.log(grid)
    sizes, size_of = np.unique(points.N, return_inverse=True)
    total, weight = np.zeros((len(sizes), len(grid))), np.zeros((len(sizes), len(grid)))
    for k in np.flatnonzero(counts):
        rows = np.flatnonzero(points.training == k)
        rows = rows[np.argsort(log_C[rows])]
        curve = falling_curve(np.exp(log_C[rows]), loss[rows])
        inside = (log_grid >= curve.log_step[0]) & (log_grid <= curve.log_step[-1])
        total[size_of[k], inside] += counts[k] * np.interp(log_grid[inside], curve.log_step, curve.log_loss)
        weight[size_of[k], inside] += counts[k]
    log_loss = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
    found = [_lowest(np.log(sizes), at_compute) for at_compute in log_loss.T]
    measured = np.array([point is not None for point in found], dtype=bool)
    vertices = np.array([point for point in found if point is not None]).reshape(-1, 2)
    return Envelope(
        C_min=grid[measured],
        N=np.exp(vertices[:, 0]),
        loss=np.exp(vertices[:, 1]),
        reason="" if measured.any() else _why_no_envelope(len(sizes)),
    )


def _lowest(log_N: FloatArray, log_loss: FloatArray) -> tuple[float, float] | None:
    """(ln N, ln loss) at the minimum; None where the best size is the smallest or the largest of those there.

    NaN losses are sizes without a point here.
    """
    present = np.isfinite(log_loss)
    log_N, log_loss = merged(log_N[present], log_loss[present])
    if len(log_N) < FEWEST_SIZES:
        return None
    best = int(np.argmin(log_loss))
    if best in (0, len(log_N) - 1):
        return None
    three = slice(best - 1, best + 2)
    x, y = log_N[three] - log_N[best], log_loss[three]
    # The middle is the lowest: the parabola opens upwards, or is flat.
    curvature, slope, height = np.polyfit(x, y, 2)
    if not curvature > 0 or max(-x[0], x[2]) > MOST_UNEVEN * min(-x[0], x[2]):
        return float(log_N[best]), float(y[1])
    vertex = -slope / (2 * curvature)
    return float(vertex + log_N[best]), float(height + slope * vertex / 2)


def _why_no_envelope(n_sizes: int) -> str:
    if n_sizes < FEWEST_SIZES:
        return f"{n_sizes} sizes: an envelope over sizes needs at least {FEWEST_SIZES}"
    return "at no C_min does a size between two others have the lowest loss: train smaller or larger ones"
