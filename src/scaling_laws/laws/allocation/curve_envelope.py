"""Approach 1 of Hoffmann 2022 on whole learning curves: the best size per log-spaced bin of compute.

Every evaluation along a run is a point (C so far, loss); the best run at each compute makes the envelope. A
loss in the middle of a training has not had its learning rate brought down: at a constant rate all sizes are
above their cooled losses, and the exponent is that of such losses.

Shapes: k sizes, m bins, R draws of noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.allocation.frontier import best_size
from scaling_laws.laws.allocation.power_lines import Allocation, PowerLine, summarise
from scaling_laws.laws.fit import DEFAULT_RESAMPLES
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

N_BINS = 1500
"""Log-spaced values of compute (Hoffmann 2022, approach 1)."""


def curve_allocation(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    noise_sd: float | None = None,
    resamples: int = DEFAULT_RESAMPLES // 2,
    seed: int = 0,
) -> tuple[Allocation, PowerLine, PowerLine]:
    """The powers of C through the best sizes along learning curves; and through draws of noise, (R,).

    A bin counts where at least three sizes have a loss and the best of them is neither the smallest nor the
    largest. Points before the learning rate first reaches its maximum are left out: they are of the warm-up.

    Args:
        runs: columns run, N, D, C: what the curves belong to; FLOPs per token are C/D throughout a run.
        curves: columns run, tokens (seen so far), loss (nats per token; rows without one are passed over),
            and learning_rate where it is known. Curves of other runs are passed over.
        noise_sd: of a run's ln loss. Along a curve losses of one text rise and fall together: each size gets
            one draw for its whole curve.

    Raises:
        InputError: a column is missing.
    """
    log_C, log_N, log_loss, log_D = size_losses(runs, curves)
    lines = []
    offsets = np.zeros((1, len(log_N)))
    if noise_sd is not None:
        offsets = np.random.default_rng(seed).normal(scale=noise_sd, size=(resamples, len(log_N)))
    for drawn in (np.zeros((1, len(log_N))), offsets):
        best, inside = best_size(log_loss + drawn[:, :, None])
        of_D = log_D[best, np.arange(len(log_C))] if len(log_N) else np.empty(best.shape)
        of_N = log_N[best] if len(log_N) else np.empty(best.shape)
        lines.append((np.where(inside, of_N, np.nan), np.where(inside, of_D, np.nan)))
    (point_N, point_D), noisy = lines
    none = np.empty((0, len(log_C)))
    return summarise(log_C, (point_N[0], point_D[0]), noisy if noise_sd is not None else (none, none))


def size_losses(
    runs: pd.DataFrame, curves: pd.DataFrame
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """(ln C of the bins (m,), ln N (k,), lowest ln loss of each size (k, m), its ln D (k, m)).

    NaN where a size has no run on both sides of a bin: nothing is extrapolated.
    """
    for column in ("run", "tokens", "loss"):
        if column not in curves.columns:
            raise InputError(
                f"the learning curves have no column {column!r}; they have {', '.join(curves.columns)}"
            )
    columns = [name for name in ("run", "tokens", "loss", "learning_rate") if name in curves.columns]
    points = curves.loc[curves["loss"].notna() & (curves["tokens"] > 0), columns]  # C here is the run's
    points = points.merge(runs.drop_duplicates("run")[["run", "N", "D", "C"]], on="run", how="inner")
    if "learning_rate" in points.columns:
        highest = points.groupby("run")["learning_rate"].transform("max")
        warm = (points["learning_rate"] >= highest).groupby(points["run"]).cummax()
        points = points[warm]
    if points.empty:
        return np.empty(0), np.empty(0), np.empty((0, 0)), np.empty((0, 0))
    compute = np.log(points["C"] / points["D"] * points["tokens"])
    log_C = np.linspace(compute.min(), compute.max(), N_BINS)
    log_N, losses, tokens = [], [], []
    for N, of_size in points.assign(log_C=compute).groupby("N"):
        of_runs = []
        for _, of_run in of_size.sort_values("log_C").groupby("run"):
            x = of_run["log_C"].to_numpy(dtype=np.float64)
            y = np.log(of_run["loss"].to_numpy(dtype=np.float64))
            of_runs.append(np.interp(log_C, x, y, left=np.inf, right=np.inf))
        lowest = np.min(of_runs, axis=0)
        flops_a_token = np.log(of_size["C"] / of_size["D"]).mean()
        log_N.append(np.log(N))  # type: ignore[arg-type]
        losses.append(np.where(np.isfinite(lowest), lowest, np.nan))
        tokens.append(log_C - flops_a_token)
    return log_C, np.array(log_N), np.stack(losses), np.stack(tokens)
