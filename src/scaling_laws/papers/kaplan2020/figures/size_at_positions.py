"""Loss against size at single positions, with a long and a short context (Kaplan 2020, Figure 21)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.selection import at_common_horizon
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.report import style as st
from scaling_laws.report.by_position import POSITION_COLOURS
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.text import short

PAPER_POSITIONS = (1, 2, 4, 8, 16, 64, 256, 1024)
NEEDS_POSITIONS = "Needs losses by position of two sizes: `scaling-laws sweep configs/sweeps/context.yaml`."
LABEL_SHARE = 0.045
"""Height of a label as a share of the axis."""
SOLID: dict[str, Any] = {"marker": "o", "linestyle": "-"}
DASHED: dict[str, Any] = {"marker": "s", "linestyle": "--", "mfc": "none"}


@dataclass(frozen=True, kw_only=True)
class LossesAtPositions:
    """Final losses of several sizes at single positions, at one D.

    Attributes:
        n_label: what N counts.
        table: from `at_positions`.
        D: tokens.
    """

    n_label: str
    table: pd.DataFrame
    D: float


def draw(data: LossesAtPositions) -> Figure:
    """Loss against N at single positions; dashed, networks of a short context."""
    table = data.table
    figure, (axes,) = st.panels(1, width=8.5, height=5.6)
    colours = st.SizeColours(table["position"], POSITION_COLOURS)
    longest, ends = table["n_ctx"].max(), dict[int, float]()
    for n_ctx, position in table[["n_ctx", "position"]].drop_duplicates().to_numpy():
        rows = table[(table["n_ctx"] == n_ctx) & (table["position"] == position)]
        look = SOLID if n_ctx == longest else DASHED
        axes.plot(rows["N"], rows["loss"], **look, color=colours(position), ms=4.5)
        if n_ctx == longest:
            ends[position] = float(rows["loss"].iloc[-1])
    for n_ctx in sorted(table["n_ctx"].unique(), reverse=True):
        look = SOLID if n_ctx == longest else DASHED
        axes.plot([], [], **look, color=st.INK, label=f"n_ctx = {n_ctx}")
    st.log_x(axes, [*table["N"], 1.35 * table["N"].max()], data.n_label)
    st.log_y(axes, table["loss"], st.LOSS_LABEL)
    style: dict[str, Any] = {"fontsize": 8.5, "va": "center"}
    for position, height in _apart(axes, ends).items():
        axes.text(1.06 * table["N"].max(), height, f"T = {position}", color=colours(position), **style)
    axes.set_title(f"Each position of the context, D = {short(data.D)}")
    if table["n_ctx"].nunique() == 1:
        axes.plot([], [], " ", label="networks of a short context: configs/sweeps/context.yaml")
    st.legend_below(axes, columns=2)
    return figure


def _apart(axes: Axes, heights: Mapping[int, float]) -> dict[int, float]:
    """Heights of labels on a logarithmic axis: each is moved up until it clears the one below."""
    low, high = np.log(axes.get_ylim())
    placed: dict[int, float] = {}
    below = -np.inf
    for label, height in sorted(heights.items(), key=lambda pair: pair[1]):
        below = max(np.log(height), below + LABEL_SHARE * (high - low))
        placed[label] = float(np.exp(below))
    return placed


def describe(data: LossesAtPositions) -> str:
    """What size does at the first and the last position, and what a short context does at its own."""
    table, shortest, longest = data.table, data.table["n_ctx"].min(), data.table["n_ctx"].max()
    long = table[table["n_ctx"] == longest]
    sentence = (
        f"From N = {short(long['N'].min())} to {short(long['N'].max())} the loss changes by "
        f"{_change(long, long['position'].min())} and by {_change(long, long['position'].max())}"
    )
    gaps = context_gaps(table)
    if gaps.empty:
        return f"{sentence}; no networks of a short context were trained at these sizes."
    mean = gaps.groupby("position")["gap"].mean()
    return (
        f"{sentence}; networks of n_ctx = {shortest} differ from those of n_ctx = {longest} by "
        f"{mean.iloc[0]:+.3f} nats at T = {mean.index[0]} and {mean.iloc[-1]:+.3f} at T = {mean.index[-1]}, "
        f"over {gaps['N'].nunique()} sizes."
    )


@figure(
    "fig21_size_at_positions",
    "Loss against size at single positions",
    "position",
    draw=draw,
    describe=describe,
)
def fig21_size_at_positions(study: KaplanTables, laws: Laws) -> LossesAtPositions | str:
    runs = of_two_contexts(study)
    table = at_positions(study, runs) if not runs.empty else runs
    if table.empty or table["N"].nunique() < 2:
        return NEEDS_POSITIONS
    return LossesAtPositions(n_label=study.n_label, table=table, D=float(runs["D"].mean()))


def of_two_contexts(study: KaplanTables) -> pd.DataFrame:
    """Runs of the main family at equal D, of the longest context and the shortest.

    Of the experiment `context` where the study has it; else the law's runs at their common horizon, whose
    context is one.
    """
    runs = study.of_experiment("context", study.main_family)
    if runs.empty or not runs["run"].isin(list(study.position_losses)).any():
        runs = study.of(study.main_family)
        return runs if runs.empty else at_common_horizon(runs)[0]
    runs = runs[runs["n_ctx"].isin([runs["n_ctx"].min(), runs["n_ctx"].max()])]
    return at_common_horizon(runs.assign(N=runs[study.laws.conventions.N]))[0]


def at_positions(
    study: StudyTables, runs: pd.DataFrame, positions: Iterable[int] = PAPER_POSITIONS
) -> pd.DataFrame:
    """n_ctx, position, N, loss: the mean final loss over runs of one size, at these positions and the last.

    Args:
        runs: columns run, N, n_ctx; those that left no losses by position are passed over.
    """
    rows = []
    for run, N, n_ctx in runs[["run", "N", "n_ctx"]].itertuples(index=False):
        if (losses := study.position_losses.get(run)) is None:
            continue
        loss_at = dict(zip(losses.T, losses.mean(), strict=True))
        rows += [(n_ctx, T, N, loss_at[T]) for T in sorted({*positions, n_ctx}) if T in loss_at]
    table = pd.DataFrame(rows, columns=["n_ctx", "position", "N", "loss"])
    return table.groupby(["n_ctx", "position", "N"])[["loss"]].mean().reset_index()


def context_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """position, N, gap: loss of the short context less that of the long one, at sizes that both have.

    Args:
        table: of `at_positions`.
    """
    by_context = table.pivot_table(index=["position", "N"], columns="n_ctx", values="loss")
    if by_context.shape[1] < 2:
        return pd.DataFrame(columns=["position", "N", "gap"])
    gap = by_context[by_context.columns.min()] - by_context[by_context.columns.max()]
    return gap.dropna().rename("gap").reset_index()


def _change(table: pd.DataFrame, position: int) -> str:
    losses = table[table["position"] == position].sort_values("N")["loss"]
    return f"{100 * (losses.iloc[-1] / losses.iloc[0] - 1):+.1f} % at T = {position}"
