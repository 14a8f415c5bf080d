"""When should training on limited text stop? (Kaplan et al. 2020, Figure 16.)"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.papers.kaplan2020.figures.data import (
    COLOURS_OF_D,
    D_LABEL,
    NEEDS_BATCH,
    NEEDS_DATA,
    why_not,
)
from scaling_laws.papers.kaplan2020.limited_data import (
    DataLaw,
    data_runs,
    fit_data_law,
    steps_law,
    stopping_steps,
    training_gaps,
)
from scaling_laws.report import style as st
from scaling_laws.report.batches import batch_law
from scaling_laws.report.evidence import Laws, StudyTables
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.text import short


@st.styled
def draw(tables: StudyTables, laws: Laws) -> Figure:
    """Left: the step of the lowest loss against its lower bound. Right: train and test loss by part."""
    runs = data_runs(tables, laws)
    if runs.empty:
        return st.note("When to stop", NEEDS_DATA)
    colours = st.SizeColours(runs["D"], COLOURS_OF_D)
    figure, (stops, gaps) = st.panels(2, width=11.0, height=4.9)
    found = fit_data_law(runs)
    table, reason = _stops(tables, laws, runs, found)
    if table.empty:
        st.note_in(stops, reason)
    else:
        stops.scatter(table["bound"], table["S_stop"], s=30, c=[colours(D) for D in table["D"]], zorder=3)
        st.legend_entry(stops, "a run that was stopped early")
        span = [*table["bound"], *table["S_stop"]]
        st.log_x(stops, span, r"$S_c\,[L(N, D) - L(N, \infty)]^{-1/\alpha_S}$, steps", margin=0.1)
        st.log_y(stops, span, r"$S_\mathrm{stop}$ as $S_\mathrm{min}$, steps", margin=0.1)
        ends = stops.get_xlim()
        stops.plot(ends, ends, color=st.FIT, label="(5.7): no run should stop below")
        stops.set_title("The step of the lowest test loss")
        st.legend_below(stops, columns=1)
    curves = training_gaps(tables, runs)
    if curves.empty:
        st.note_in(gaps, "Needs the runs' learning curves, with losses on the test corpus.")
    else:
        _draw_gaps(gaps, curves, colours)
        gaps.set_title(f"N = {short(runs['N'].max())}")
        st.legend_below(gaps, columns=2)
    colours.bar(figure, [stops, gaps], D_LABEL)
    return figure


def _draw_gaps(axes: Axes, curves: pd.DataFrame, colours: st.SizeColours) -> None:
    for _, curve in curves.groupby("run", sort=False):
        colour = colours(curve["D"].iloc[0])
        axes.plot(curve["step"], curve["test"], color=colour, linewidth=1.4)
        axes.plot(curve["step"], curve["train"], color=colour, linewidth=1.1, linestyle=":")
        stop = curve[curve["at_stop"]].iloc[-1]
        axes.plot([stop["step"]] * 2, [stop["train"], stop["test"]], color="black", linewidth=1.8, zorder=4)
    for label, style in (("test loss", "-"), ("training loss", ":")):
        axes.plot([], [], color=st.GREY, linestyle=style, label=label)
    axes.plot([], [], color="black", linewidth=1.8, label="test less training loss at the lowest test loss")
    visible = curves[curves["step"] >= curves["step"].max() / 100]
    st.log_x(axes, visible["step"], "steps")
    st.log_y(axes, [*visible["train"], *visible["test"]], "loss, nats per token")


def describe(tables: StudyTables, laws: Laws) -> str:
    """How many runs obey the bound, and what the gap between train and test loss overstates."""
    runs = data_runs(tables, laws)
    if runs.empty:
        return "No run is of the experiment `data`."
    found = fit_data_law(runs)
    table, reason = _stops(tables, laws, runs, found)
    bound = f"The bound (5.7) was not tested: {reason[0].lower()}{reason[1:]}"
    if not table.empty:
        n_above = int((table["S_stop"] >= table["bound"]).sum())
        bound = (
            f"{n_above} of {len(table)} runs stopped at or after the bound (5.7), at a median of "
            f"{(table['S_stop'] / table['bound']).median():.2g} times it"
        )
    curves = training_gaps(tables, runs)
    if curves.empty or found.law is None:
        return f"{bound.rstrip('.')}."
    smallest = curves[(curves["D"] == curves["D"].min()) & curves["at_stop"]].iloc[-1]
    excess = smallest["test"] - float(found.law.loss(runs["N"].max(), np.inf))
    return (
        f"{bound.rstrip('.')}; on {short(smallest['D'])} unique tokens the largest size's test loss lies "
        f"{smallest['test'] - smallest['train']:.2f} nats above its training loss and {excess:.2f} above "
        "L(N, ∞)."
    )


def _stops(tables: StudyTables, laws: Laws, runs: pd.DataFrame, found: DataLaw) -> tuple[pd.DataFrame, str]:
    """Stopping steps and bounds, or none and why."""
    steps, batch = steps_law(laws, tables.main_family), batch_law(laws, tables.main_family)
    if found.law is None:
        return runs.iloc[:0], f"Not measured: {why_not(found)}."
    if steps is None or batch is None:
        return runs.iloc[:0], NEEDS_BATCH
    return stopping_steps(runs, found.law, steps, batch), "No run was stopped early above L(N, ∞)."


FIGURES: tuple[Entry, ...] = (
    Entry(
        name="fig16_early_stopping",
        title="When to stop, and what the gap to the training loss overstates",
        paper="Fig. 16",
        question="data",
        draw=draw,
        describe=describe,
    ),
)
