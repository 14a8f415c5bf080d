"""The best learning rate of each size and batch, among those that were tried."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scaling_laws.laws.allocation.isoflop import minimum

RATES_OF_A_VALLEY = 2
"""On either side of the lowest loss: a parabola describes the valley, not its walls."""


def rate_losses(runs: pd.DataFrame, n: str = "N") -> pd.DataFrame:
    """One row per size, batch and learning rate.

    Columns N, batch_tokens, learning_rate, loss (mean over seeds), excess_percent: over the lowest loss of
    its size. Each size is compared at the horizon at which most of its rates were tried.

    Args:
        runs: of the lr experiment.
        n: the column that counts as N.
    """
    columns = ["N", "batch_tokens", "learning_rate", "loss", "excess_percent"]
    if runs.empty:
        return pd.DataFrame(columns=columns)
    tried = runs.dropna(subset=["learning_rate", "loss"]).assign(
        N=runs[n].astype(float), millions=runs["D"].round(-6)
    )
    rates = tried.groupby(["N", "millions"])["learning_rate"].transform("size")
    usual = rates == rates.groupby(tried["N"]).transform("max")
    of_seeds = tried[usual].groupby(["N", "batch_tokens", "learning_rate"])["loss"].mean()
    means: pd.DataFrame = of_seeds.reset_index()
    lowest = means.groupby("N")["loss"].transform("min")
    return means.assign(excess_percent=100 * (means["loss"] / lowest - 1))[columns]


def best_rates(losses: pd.DataFrame) -> pd.DataFrame:
    """The best learning rate of each size and batch: N, batch_tokens, learning_rate, inside.

    The minimum of the parabola in ln rate through the rates about the lowest loss; where the lowest loss is
    at the least or highest rate that was tried, that rate, and `inside` is false.

    Args:
        losses: from `rate_losses`.
    """
    rows = []
    for N, batch in losses[["N", "batch_tokens"]].drop_duplicates().itertuples(index=False):
        tried = losses[(losses["N"] == N) & (losses["batch_tokens"] == batch)].sort_values("learning_rate")
        log_rate, log_loss = (np.log(tried[name].to_numpy(dtype=float)) for name in ("learning_rate", "loss"))
        lowest_at = int(np.argmin(log_loss))
        near = slice(max(lowest_at - RATES_OF_A_VALLEY, 0), lowest_at + RATES_OF_A_VALLEY + 1)
        lowest, refused = minimum(log_rate[near], log_loss[near], "parabola")
        rate = float(log_rate[lowest_at]) if lowest is None else lowest
        rows.append((N, batch, np.exp(rate), not refused))
    return pd.DataFrame(rows, columns=["N", "batch_tokens", "learning_rate", "inside"])
