"""Where in the context does size help? The exponents of position, and of N at each position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.fit.level import interval_words
from scaling_laws.laws.results.types import Laws, PositionFit
from scaling_laws.laws.selection import at_common_horizon
from scaling_laws.report import style as st
from scaling_laws.report.by_position import NEEDS_POSITIONS, POSITION_LABEL, exponents_of_N, position_fits
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables, n_label
from scaling_laws.report.text import interval_text

KAPLAN_LARGEST_C = 0.62
"""Exponent of T of the largest network: printed in Kaplan et al. 2020, Figure 20."""


@dataclass(frozen=True, kw_only=True)
class PositionExponents:
    """Attributes: fits: position laws by family. of_N: see `exponents_of_N`, by family; some are empty."""

    fits: Mapping[str, list[PositionFit]]
    of_N: Mapping[str, pd.DataFrame]
    families: Sequence[str]
    N_label: str


def _describe(data: PositionExponents) -> str:
    """The exponent of N at the first and at the last positions of each family."""
    words = []
    for family, table in data.of_N.items():
        if table.empty:
            continue
        ends = ", ".join(
            f"{alpha:.3f} {interval_text((low, high))} at T = {T:.0f}"
            for T, alpha, low, high in table.iloc[[0, -1]].to_numpy()
        )
        words.append(f"{st.family_name(family)}: L ~ N^-α with α = {ends}")
    return "; ".join(words) + "." if words else "No family left losses by position at three sizes."


def _draw(data: PositionExponents) -> Figure:
    """Left: exponent c of the position against N, by family. Right: exponent of N at each position."""
    figure, (of_position, of_size) = st.panels(2, width=11.0, height=4.7)
    _draw_exponents_c(of_position, data)
    drawn: list[float] = []
    for family, table in data.of_N.items():
        if table.empty:
            continue
        style = st.family_style(family, data.families)
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


@figure(
    "position_exponents",
    "Exponents of position and of size",
    "position",
    order=3,
    draw=_draw,
    describe=_describe,
)
def position_exponents(study: StudyTables, laws: Laws) -> PositionExponents | str:
    """Of all families that left losses by position."""
    fits = {family: position_fits(study, laws, family) for family in study.families}
    fits = {family: of_family for family, of_family in fits.items() if of_family}
    if not fits:
        return NEEDS_POSITIONS
    of_N = {family: exponents_of_N(study, at_common_horizon(study.of(family))[0]) for family in fits}
    return PositionExponents(fits=fits, of_N=of_N, families=study.families, N_label=n_label(study, laws))


def _draw_exponents_c(axes: Axes, data: PositionExponents) -> None:
    everywhere: list[float] = []
    for family, fits in data.fits.items():
        style = st.family_style(family, data.families)
        fitted = [fit for fit in fits if fit.identified]
        for fit in fitted:
            low, high = fit.intervals.get("c") or (None, None)
            if low is not None and high is not None:
                axes.plot([fit.N] * 2, [low, high], color=style["color"], linewidth=1.2, zorder=2)
        sizes, values = [fit.N for fit in fitted], [fit.parameters["c"] or 0.0 for fit in fitted]
        everywhere.extend(sizes)
        axes.plot(sizes, values, **style | {"linestyle": "none"}, label=st.plain(st.family_name(family)))
    if not everywhere:
        st.note_in(axes, "No position law is identified.")
        return
    label = "Kaplan 2020, largest network"
    axes.axhline(KAPLAN_LARGEST_C, color=st.GREY, linestyle="--", linewidth=1.1, label=label)
    st.log_x(axes, everywhere, data.N_label)
    axes.set_ylabel("exponent c")
    axes.set_ylim(0, 1.12 * axes.get_ylim()[1])
    axes.set_title(rf"Exponent $c$ of $a + b\,T^{{-c}}$ with {interval_words()} interval")
    st.legend_below(axes, columns=2)
