"""Where in the context does size help? (Kaplan et al. 2020, Figure 21, and the exponents behind it.)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.selection import at_common_horizon
from scaling_laws.report import style as st
from scaling_laws.report.by_position import (
    NEEDS_POSITIONS,
    POSITION_COLOURS,
    POSITION_LABEL,
    at_positions,
    exponents_of_N,
    of_two_contexts,
    position_entries,
)
from scaling_laws.report.evidence import Laws, StudyTables, n_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.text import interval_text, short

TITLE_SIZES = "Loss against size at single positions"
TITLE_EXPONENTS = "Exponents of position and of size"
KAPLAN_LARGEST_C = 0.62
"""Exponent of T of the largest network: printed in Kaplan et al. 2020, Figure 20."""
LABEL_SHARE = 0.045
"""Height of a label as a share of the axis."""


@st.styled
def draw_sizes(tables: StudyTables, laws: Laws) -> Figure:
    """Figure 21: loss against N at single positions; dashed, networks of a short context."""
    runs = of_two_contexts(tables, laws)
    table = at_positions(tables, runs) if not runs.empty else pd.DataFrame()
    if table.empty or table["N"].nunique() < 2:
        needs = "losses by position of two sizes: `scaling-laws sweep configs/sweeps/context.yaml`."
        return st.note(TITLE_SIZES, f"Needs {needs}")
    figure, (axes,) = st.panels(1, width=8.5, height=5.6)
    colours = st.SizeColours(table["position"], POSITION_COLOURS)
    longest, ends = table["n_ctx"].max(), dict[int, float]()
    solid: dict[str, Any] = {"marker": "o", "linestyle": "-"}
    dashed: dict[str, Any] = {"marker": "s", "linestyle": "--", "mfc": "none"}
    for n_ctx, position in table[["n_ctx", "position"]].drop_duplicates().to_numpy():
        rows = table[(table["n_ctx"] == n_ctx) & (table["position"] == position)]
        look = solid if n_ctx == longest else dashed
        axes.plot(rows["N"], rows["loss"], **look, color=colours(position), ms=4.5)
        if n_ctx == longest:
            ends[position] = float(rows["loss"].iloc[-1])
    for n_ctx in sorted(table["n_ctx"].unique(), reverse=True):
        look = solid if n_ctx == longest else dashed
        axes.plot([], [], **look, color=st.INK, label=f"n_ctx = {n_ctx}")
    st.log_x(axes, [*table["N"], 1.35 * table["N"].max()], n_label(laws))
    st.log_y(axes, table["loss"], st.LOSS_LABEL)
    for position, height in _apart(axes, ends).items():
        axes.text(
            1.06 * table["N"].max(),
            height,
            f"T = {position}",
            fontsize=8.5,
            va="center",
            color=colours(position),
        )
    axes.set_title(f"Each position of the context, D = {short(runs['D'].mean())}")
    if table["n_ctx"].nunique() == 1:
        axes.plot([], [], " ", label="networks of a short context: configs/sweeps/context.yaml")
    st.legend_below(axes, columns=2)
    return figure


def _apart(axes: Axes, heights: Mapping[int, float]) -> dict[int, float]:
    """Heights of labels on a logarithmic axis: each is moved up until it clears the one below."""
    low, high = np.log(axes.get_ylim())
    placed: dict[int, float] = {}
    below = -np.inf
    for label, height in sorted(heights.items(), key=lambda one: one[1]):
        below = max(np.log(height), below + LABEL_SHARE * (high - low))
        placed[label] = float(np.exp(below))
    return placed


def describe_sizes(tables: StudyTables, laws: Laws) -> str:
    """What size does at the first and the last position, and what a short context does at its own."""
    runs = of_two_contexts(tables, laws)
    table = at_positions(tables, runs) if not runs.empty else pd.DataFrame()
    if table.empty or table["N"].nunique() < 2:
        return "Fewer than two sizes left losses by position."
    long = table[table["n_ctx"] == table["n_ctx"].max()]
    sentence = (
        f"From N = {short(long['N'].min())} to {short(long['N'].max())} the loss changes by "
        f"{_change(long, long['position'].min())} and by {_change(long, long['position'].max())}"
    )
    gaps = context_gaps(table)
    if gaps.empty:
        return f"{sentence}; no networks of a short context were trained at these sizes."
    mean = gaps.groupby("position")["gap"].mean()
    short_ctx = table["n_ctx"].min()
    return (
        f"{sentence}; networks of n_ctx = {short_ctx} differ from those of n_ctx = {table['n_ctx'].max()} by "
        f"{mean.iloc[0]:+.3f} nats at T = {mean.index[0]} and {mean.iloc[-1]:+.3f} at T = {mean.index[-1]}, "
        f"over {gaps['N'].nunique()} sizes."
    )


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


@st.styled
def draw_exponents(tables: StudyTables, laws: Laws) -> Figure:
    """Left: exponent c of the position against N, by family. Right: exponent of N at each position."""
    families = [family for family in tables.families if position_entries(tables, laws, family)]
    if not families:
        return st.note(TITLE_EXPONENTS, NEEDS_POSITIONS)
    figure, (of_position, of_size) = st.panels(2, width=11.0, height=4.7)
    _exponents_c(of_position, tables, laws, families)
    drawn: list[float] = []
    for family in families:
        table = exponents_of_N(tables, _at_one_horizon(tables, family))
        if table.empty:
            continue
        style = st.family_style(family, tables.families)
        of_size.plot(table["T"], table["alpha"], **style | {"ms": 4}, label=st.plain(st.family_name(family)))
        band = (table["low"], table["high"])
        of_size.fill_between(table["T"], *band, color=style["color"], alpha=st.BAND_ALPHA, linewidth=0)
        drawn.extend(table["T"])
    if not drawn:
        st.note_in(of_size, "The exponent of N needs three sizes at one horizon: `configs/sweeps/size.yaml`.")
        return figure
    of_size.axhline(0, color=st.INK, linewidth=0.8)
    st.log_x(of_size, drawn, POSITION_LABEL)
    of_size.set_ylabel(r"exponent $\alpha$ of $L_T \propto N^{-\alpha}$")
    of_size.set_title("How much size helps at each position")
    st.legend_below(of_size, columns=2)
    return figure


def _exponents_c(axes: Axes, tables: StudyTables, laws: Laws, families: Sequence[str]) -> None:
    everywhere: list[float] = []
    for family in families:
        style = st.family_style(family, tables.families)
        fitted = [entry for entry in position_entries(tables, laws, family) if entry["identified"]]
        for entry in fitted:
            interval = entry["intervals"].get("c")
            if interval and None not in interval:
                axes.plot([entry["N"]] * 2, interval, color=style["color"], linewidth=1.2, zorder=2)
        sizes, values = [entry["N"] for entry in fitted], [entry["parameters"]["c"] for entry in fitted]
        everywhere.extend(sizes)
        axes.plot(sizes, values, **style | {"linestyle": "none"}, label=st.plain(st.family_name(family)))
    if not everywhere:
        st.note_in(axes, "No position law is identified.")
        return
    label = "Kaplan 2020, largest network"
    axes.axhline(KAPLAN_LARGEST_C, color=st.GREY, linestyle="--", linewidth=1.1, label=label)
    st.log_x(axes, everywhere, n_label(laws))
    axes.set_ylabel("exponent c")
    axes.set_ylim(0, 1.12 * axes.get_ylim()[1])
    axes.set_title(r"Exponent $c$ of $a + b\,T^{-c}$ with 90 % interval")
    st.legend_below(axes, columns=2)


def describe_exponents(tables: StudyTables, laws: Laws) -> str:
    """The exponent of N at the first and at the last positions of each family."""
    words = []
    for family in tables.families:
        table = exponents_of_N(tables, _at_one_horizon(tables, family))
        if table.empty:
            continue
        ends = ", ".join(
            f"{alpha:.3f} {interval_text((low, high))} at T = {T:.0f}"
            for T, alpha, low, high in table.iloc[[0, -1]].to_numpy()
        )
        words.append(f"{st.family_name(family)}: L ~ N^-α with α = {ends}")
    return "; ".join(words) + "." if words else "No family left losses by position at three sizes."


def _at_one_horizon(tables: StudyTables, family: str) -> pd.DataFrame:
    return at_common_horizon(tables.of(family))[0]


def _change(table: pd.DataFrame, position: int) -> str:
    losses = table[table["position"] == position].sort_values("N")["loss"]
    return f"{100 * (losses.iloc[-1] / losses.iloc[0] - 1):+.1f} % at T = {position}"


FIGURES = (
    Entry(
        name="fig21_size_at_positions",
        title=TITLE_SIZES,
        paper="Fig. 21",
        question="position",
        draw=draw_sizes,
        describe=describe_sizes,
    ),
    Entry(
        name="position_exponents",
        title=TITLE_EXPONENTS,
        paper="",
        question="position",
        draw=draw_exponents,
        describe=describe_exponents,
    ),
)
