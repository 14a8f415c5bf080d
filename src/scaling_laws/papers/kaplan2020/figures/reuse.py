"""Blocks that are used more than once (Kaplan 2020, Figure 17)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.selection import at_common_horizon
from scaling_laws.papers.kaplan2020.evidence import KaplanTables, log_loss_above
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.text import short

TRANSFORMERS = ("transformer", "recurrent_transformer")
EXPERIMENTS = ("reuse", "families")
"""Those that train recurrent Transformers beside others, the better first."""
COUNTS = {
    "N_reused": "N with reuse: each parameter counted as often as it is used",
    "N": "N, unique parameters",
}
"""Non-embedding both, whatever the laws count."""
NEEDS_REUSE = "Needs recurrent Transformers beside others: `scaling-laws sweep configs/sweeps/reuse.yaml`."


def draw(losses: pd.DataFrame) -> Figure:
    """Left: N counts reuse. Right: N is of unique parameters."""
    figure, axes = st.panels(2, width=11.0, height=4.9)
    colours = st.SizeColours(losses["n_reuse"])
    for panel, (counted, label) in zip(axes, COUNTS.items(), strict=True):
        for place, (n_reuse, rows) in enumerate(losses.groupby("n_reuse")):
            once = n_reuse == 1
            look: dict[str, Any] = {
                "color": st.INK if once else colours(float(str(n_reuse))),
                "marker": st.FAMILY_MARKERS[place % len(st.FAMILY_MARKERS)],
                "linestyle": "--" if once else "-",
            }
            by_size = rows.sort_values(counted)
            name = "used once" if once else f"used {n_reuse} times"
            panel.plot(by_size[counted], by_size["loss"], **look, label=name)
        st.log_x(panel, losses[counted], label)
        st.log_y(panel, losses["loss"], st.LOSS_LABEL if panel is axes[0] else "", margin=0.1)
        st.legend_below(panel, columns=4)
    axes[0].set_title("At equal compute")
    axes[1].set_title("At equal parameters")
    figure.suptitle(f"Blocks of a Transformer, D = {short(losses['D'].mean())}", color=st.INK, fontsize=10.5)
    return figure


def describe(losses: pd.DataFrame) -> str:
    """By how much the loss of recurrent Transformers is above or below, by the parameter and by the FLOP."""
    gains = reuse_gains(losses)
    if gains.empty:
        return "No recurrent Transformers were trained beside others of their sizes."
    by_count = gains.pivot(index="n_reuse", columns="counted", values="percent")
    words = [
        f"used {n_reuse} times {_signed(row.get('N'))} at equal parameters and "
        f"{_signed(row.get('N_reused'))} at equal compute"
        for n_reuse, row in by_count.iterrows()
    ]
    return f"Compared with blocks used once, the loss is, for blocks {'; '.join(words)}."


@figure("fig17_reuse", "Blocks used more than once", "family", draw=draw, describe=describe)
def fig17_reuse(study: KaplanTables, laws: Laws) -> pd.DataFrame | str:
    """n_reuse, N, N_reused, D, loss: Transformers at one horizon, means over equal networks, by N.

    Of the experiment `reuse`, else `families`, at the longest horizon that most of its sizes have. Of several
    learning rates the best.
    """
    for experiment in EXPERIMENTS:
        runs = study.of_experiment(experiment)
        if runs.empty:
            continue
        runs, _ = at_common_horizon(runs[runs["family"].isin(TRANSFORMERS)])
        mean = runs.groupby(["n_reuse", "N", "N_reused", "learning_rate"])[["D", "loss"]].mean().reset_index()
        best = mean.sort_values("loss").drop_duplicates(["n_reuse", "N"]).sort_values(["n_reuse", "N"])
        if not best.empty and best["n_reuse"].min() == 1 and best["n_reuse"].max() > 1:
            return best.drop(columns="learning_rate").reset_index(drop=True)
    return NEEDS_REUSE


def reuse_gains(losses: pd.DataFrame) -> pd.DataFrame:
    """n_reuse, counted (`N` or `N_reused`), percent, n: loss above that of networks that reuse nothing.

    Both at equal N as counted (`log_loss_above`); sizes outside the range of the latter are passed over.
    `percent` is the mean over n sizes.

    Args:
        losses: of `fig17_reuse`.
    """
    plain = losses[losses["n_reuse"] == 1]
    rows = []
    for n_reuse, of_reuse in losses[losses["n_reuse"] > 1].groupby("n_reuse"):
        for counted in COUNTS:
            above = log_loss_above(of_reuse, plain, counted).dropna()
            if len(above):
                rows.append((n_reuse, counted, 100 * float(np.expm1(above).mean()), len(above)))
    return pd.DataFrame(rows, columns=["n_reuse", "counted", "percent", "n"])


def _signed(percent: float | None) -> str:
    return "(no such size)" if percent is None or np.isnan(percent) else f"{percent:+.1f} %"
