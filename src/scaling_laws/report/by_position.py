"""Losses by position as tables: binned, over training, against N. `figures/loss_by_position.py` draws them.

Positions are 1-based. Losses are means over tokens, in nats per token, pooled from sums and counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.laws.fit.level import interval_percentiles
from scaling_laws.laws.positions import PositionLosses
from scaling_laws.laws.results.types import Laws, PositionFit
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.records import MAIN_CORPUS

POSITION_LABEL = "position T in the context (from 1)"
POSITION_COLOURS = "plasma"
"""Of positions: viridis is of sizes."""
NEEDS_POSITIONS = (
    "Needs losses by position, position_losses.csv in each run's folder (an export has none): "
    "`scaling-laws sweep configs/sweeps/size.yaml`."
)

RESAMPLES = 200
BINS_PER_OCTAVE = 2
"""Positions are pooled into bins this wide, the first few standing alone: a line, not a cloud."""
BINS_DURING_TRAINING = 1
"""An octave, where evaluations are of little text."""
FEWEST_SIZES = 3
"""For an exponent of N."""


class Surface(NamedTuple):
    """Loss at each evaluation of one run: `step` (evaluations), `T` (bins), `loss` (evaluations, bins)."""

    step: NDArray[np.float64]
    T: NDArray[np.float64]
    loss: NDArray[np.float64]


def bin_starts(T: NDArray[np.float64], per_octave: int = BINS_PER_OCTAVE) -> NDArray[np.intp]:
    """Where in `T` (ascending) the bins begin."""
    edges = np.unique(np.ceil(2 ** np.arange(0, np.log2(T[-1]) + 1, 1 / per_octave)))
    return np.unique([0, *np.searchsorted(T, edges[edges < T[-1]])])


def binned(losses: PositionLosses, per_octave: int = BINS_PER_OCTAVE) -> PositionLosses:
    """The same losses with their positions pooled into bins; `T` is then the mean position of a bin."""
    starts = bin_starts(losses.T, per_octave)
    return PositionLosses(
        T=np.add.reduceat(losses.T, starts) / np.add.reduceat(np.ones_like(losses.T), starts),
        loss_sum=np.add.reduceat(losses.loss_sum, starts, axis=1),
        count=np.add.reduceat(losses.count, starts, axis=1),
    )


def drawn_folds(n_folds: int, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """How often each fold is drawn, (1 + resamples, n_folds): once each in the first row, then at random."""
    drawn = np.random.default_rng(0).multinomial(n_folds, np.full(n_folds, 1 / n_folds), resamples)
    return np.vstack([np.ones(n_folds), drawn]).astype(np.float64)


def over_training(study: StudyTables, run: str) -> Surface | None:
    """The loss of one run by position at each evaluation on the main corpus; None where it left none.

    The evaluation at the end reads more text than those before it. Where there are two of these, it is left
    out: another text has other losses at its first positions.
    """
    one = replace(study.study, runs=study.study.runs[study.study.runs["run"] == run])
    table = one.positions(final_only=False)
    table = table[table["corpus"] == MAIN_CORPUS]
    if table.empty:
        return None
    sums = table.groupby(["step", "position"])[["loss_sum_nats", "count"]].sum()
    loss_sum, count = sums["loss_sum_nats"].unstack(), sums["count"].unstack()
    read = count.sum(axis=1)
    usual = read == read.mode().iloc[-1]
    if usual.sum() >= 2:
        loss_sum, count = loss_sum[usual], count[usual]
    T = loss_sum.columns.to_numpy(dtype=np.float64)
    pooled = PositionLosses(T=T, loss_sum=loss_sum.to_numpy(), count=count.to_numpy(dtype=np.float64))
    bins = binned(pooled, BINS_DURING_TRAINING)
    step = loss_sum.index.to_numpy(dtype=np.float64)
    return Surface(step=step, T=bins.T, loss=bins.loss_sum / bins.count)


def exponents_of_N(study: StudyTables, runs: pd.DataFrame) -> pd.DataFrame:
    """T, alpha, low, high: L ~ N^-alpha at each bin of positions, by least squares of ln L on ln N.

    low and high are 90 % intervals over resampled folds of documents: the trained networks are held fixed.
    Empty where fewer than three sizes left losses at the same positions of the same folds.

    Args:
        runs: columns run, N; of one context.
    """
    measured = [
        (N, binned(study.position_losses[run]))
        for run, N in runs[["run", "N"]].itertuples(index=False)
        if run in study.position_losses
    ]
    shapes = {losses.loss_sum.shape for _, losses in measured}
    if len({N for N, _ in measured}) < FEWEST_SIZES or len(shapes) > 1:
        return pd.DataFrame(columns=["T", "alpha", "low", "high"])
    drawn = drawn_folds(measured[0][1].n_folds)
    log_loss = np.log([losses.mean(drawn) for _, losses in measured])  # runs, draws, bins
    log_N = np.log([N for N, _ in measured])
    centred = log_N - log_N.mean()
    alpha = -np.tensordot(centred, log_loss, axes=1) / (centred @ centred)
    low, high = np.percentile(alpha[1:], interval_percentiles(), axis=0)
    return pd.DataFrame({"T": measured[0][1].T, "alpha": alpha[0], "low": low, "high": high})


def position_fits(study: StudyTables, laws: Laws, family: str | None) -> list[PositionFit]:
    """The family's position laws by N, of runs that left their losses."""
    fits = (fit for fit in laws.positions if fit.family == family and fit.run in study.position_losses)
    return sorted(fits, key=lambda fit: fit.N)
