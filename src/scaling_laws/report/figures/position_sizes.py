"""Where in the context does size help? The exponents of position, and of N at each position."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.selection import at_common_horizon
from scaling_laws.report import style as st
from scaling_laws.report.by_position import (
    NEEDS_POSITIONS,
    POSITION_LABEL,
    exponents_of_N,
    position_entries,
)
from scaling_laws.report.evidence import Laws, StudyTables, n_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.text import interval_text

TITLE_EXPONENTS = "Exponents of position and of size"
KAPLAN_LARGEST_C = 0.62
"""Exponent of T of the largest network: printed in Kaplan et al. 2020, Figure 20."""


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


FIGURES = (
    Entry(
        name="position_exponents",
        title=TITLE_EXPONENTS,
        paper="",
        question="position",
        draw=draw_exponents,
        describe=describe_exponents,
    ),
)
