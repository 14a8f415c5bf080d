"""Networks of one size and several shapes: how the loss rises with the aspect ratio (Kaplan 2020, Fig. 5).

As in the paper, what N differs by is taken out through L(N).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.laws.published import KAPLAN_SINGLE
from scaling_laws.laws.selection import SAME_HORIZON
from scaling_laws.papers.kaplan2020.evidence import KaplanTables

EXPERIMENTS = ("depth", "size")
"""Those that vary the depth at one N."""
FAMILY = "transformer"
NEAR_SIZE = 1.25
"""Sizes that a sweep asks for are apart by at least 2; shapes of one are apart by less than this factor. It
is wider than `selection.SAME_SIZE`: whole layers miss a wished N, and losses are corrected to one N."""
FEWEST_SHAPES = 3
COLUMNS = ("N", "D", "n_layer", "d_model", "aspect_ratio", "loss", "corrected_loss", "increase_percent")


def alpha_N_of_shapes(study: KaplanTables) -> float:
    """That of the Transformers' L(N), N non-embedding; Kaplan's where it is not identified."""
    fit = study.laws.of(FAMILY).fit("kaplan_n") if study.laws.conventions.N == "N" else None
    law = KAPLAN_SINGLE.of_N if fit is None or not fit.identified else fit.law
    return float(law.alpha_N)


def shapes_at_equal_N(study: KaplanTables) -> pd.DataFrame:
    """`COLUMNS`, a row a shape: Transformers of `depth` and `size` in groups of one N, by N and aspect ratio.

    N is the median of a group (non-embedding), D the horizon at which most of its shapes were trained, loss
    the mean over seeds at the best learning rate. corrected_loss = loss (N_of_the_network / N)^alpha_N, and
    increase_percent is its rise above the lowest of the group. Groups of fewer than three shapes are left
    out.
    """
    empty = pd.DataFrame(columns=list(COLUMNS), dtype=float)
    runs = pd.concat([study.of_experiment(name, FAMILY) for name in EXPERIMENTS])
    if runs.empty:
        return empty
    runs = runs.drop_duplicates("run")
    runs = runs[(runs["n_layer"] >= 1) & runs["d_model"].notna()].sort_values("N")
    runs = runs.assign(
        group=_clusters(runs["N"], math.log(NEAR_SIZE)), horizon=_clusters(runs["D"], SAME_HORIZON)
    )
    alpha_N = alpha_N_of_shapes(study)
    found = [_group(rows, alpha_N) for _, rows in runs.groupby("group")]
    found = [group for group in found if len(group) >= FEWEST_SHAPES]
    return pd.concat(found, ignore_index=True)[list(COLUMNS)] if found else empty


def _group(runs: pd.DataFrame, alpha_N: float) -> pd.DataFrame:
    """The shapes of one size, at the horizon that most of them have, of these the longest."""
    shape = ["n_layer", "d_model"]
    n_shapes = {
        horizon: (len(rows[shape].drop_duplicates()), rows["D"].max())
        for horizon, rows in runs.groupby("horizon")
    }
    runs = runs[runs["horizon"] == max(n_shapes, key=lambda horizon: n_shapes[horizon])]
    mean = runs.groupby([*shape, "learning_rate"], dropna=False)[["N", "D", "loss"]].mean().reset_index()
    best = mean.sort_values("loss").drop_duplicates(shape)
    N = float(best["N"].median())
    corrected = best["loss"] * (best["N"] / N) ** alpha_N
    return best.assign(
        N=N,
        aspect_ratio=best["d_model"] / best["n_layer"],
        corrected_loss=corrected,
        increase_percent=100 * (corrected / corrected.min() - 1),
    ).sort_values("aspect_ratio")


def _clusters(values: pd.Series[float], gap: float) -> NDArray[np.intp]:
    """A number for each value: the same for those whose logarithms form a chain of steps of at most `gap`."""
    logs = np.log(values.to_numpy(dtype=np.float64))
    order = np.argsort(logs, kind="stable")
    numbers = np.empty(len(logs), dtype=np.intp)
    numbers[order] = np.cumsum(np.diff(logs[order], prepend=logs[order[:1]]) > gap)
    return numbers
