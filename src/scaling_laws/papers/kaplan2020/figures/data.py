"""When does a network overfit? (Kaplan et al. 2020, Figures 4 and 9.)"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.published import KAPLAN_TABLE_2, KAPLAN_TABLE_3
from scaling_laws.laws.selection import longest_of_each_size
from scaling_laws.papers.kaplan2020.limited_data import (
    RESAMPLES,
    TOLERATED,
    DataLaw,
    data_needed,
    data_runs,
    excess_at,
    fit_data_law,
    overfitting,
    points_in_steps_min,
    steps_law,
)
from scaling_laws.report import style as st
from scaling_laws.report.batches import batch_law
from scaling_laws.report.evidence import Laws, StudyTables, n_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.formulas import LEVELS
from scaling_laws.report.text import interval_text, number, short

D_LABEL = "D, unique training tokens"
COLOURS_OF_D = "plasma"
NEEDS_DATA = "Needs runs of `scaling-laws sweep configs/sweeps/data.yaml`."
NEEDS_BATCH = (
    "Needs the critical batch and learning curves of several sizes: runs of `scaling-laws sweep "
    "configs/sweeps/batch.yaml` and `configs/sweeps/size.yaml` in one study, as `paper.yaml` has them."
)


# --- Figure 4 -------------------------------------------------------------------------------------


@st.styled
def draw_data_and_steps(tables: StudyTables, laws: Laws) -> Figure:
    """Left: loss against unique tokens, a line a size. Right: loss against S_min, a line a size."""
    runs = data_runs(tables, laws)
    points, steps = _steps_points(tables, laws)
    if runs.empty and points.empty:
        return st.note("Loss against data and against steps", f"Left: {NEEDS_DATA} Right: {NEEDS_BATCH}")
    figure, (by_data, by_steps) = st.panels(2, width=11.0, height=4.9)
    colours = st.SizeColours([*runs["N"], *points["N"]])
    if runs.empty:
        st.note_in(by_data, NEEDS_DATA)
    else:
        _loss_against_data(by_data, runs, fit_data_law(runs, RESAMPLES), colours)
    if points.empty:
        st.note_in(by_steps, NEEDS_BATCH)
    else:
        _loss_against_steps(by_steps, points, colours)
        S_min = np.geomspace(points["S_min"].min(), points["S_min"].max(), 80)
        for N in sorted(points["N"].unique()):
            by_steps.plot(S_min, steps.loss(N, S_min), color=colours(N), linewidth=1.2, linestyle="--")
        formula = rf"$\alpha_N$ = {steps.alpha_N:.3f}, $\alpha_S$ = {steps.alpha_S:.3f}"
        by_steps.plot([], [], color=st.INK, linewidth=1.2, linestyle="--", label=f"(1.6), {formula}")
        st.legend_below(by_steps, columns=1)
    colours.bar(figure, [by_data, by_steps], n_label(laws))
    return figure


def _loss_against_data(axes: Axes, runs: pd.DataFrame, found: DataLaw, colours: st.SizeColours) -> None:
    """A line a size through its parts of the corpus, with (1.5)."""
    st.log_x(axes, runs["D"], D_LABEL)
    st.log_y(axes, runs["loss"], st.LOSS_LABEL, margin=0.1)
    D = np.geomspace(*axes.get_xlim(), 80)
    for N in np.unique(runs["N"]):
        of_size = runs[runs["N"] == N]
        _ends(axes, of_size["D"], of_size["loss"], of_size["stopped_early"], [colours(N)] * len(of_size))
        if found.law is None or found.draws is None:
            axes.plot(of_size["D"], of_size["loss"], color=colours(N), linewidth=0.8)
            continue
        axes.plot(D, found.law.loss(N, D), color=colours(N), linewidth=1.2, linestyle="--")
        low, high = np.nanpercentile(found.draws.loss(N, D[None, :]), LEVELS, axis=0)
        axes.fill_between(D, low, high, color=colours(N), alpha=st.BAND_ALPHA, linewidth=0)
    _end_entries(axes, runs)
    _data_law_entry(axes, found)
    axes.set_title("Text of limited length, stopped early")
    st.legend_below(axes, columns=1)


def _loss_against_steps(axes: Axes, points: pd.DataFrame, colours: st.SizeColours) -> None:
    for _, curve in points.groupby("trunk"):
        N = curve["N"].iloc[0]
        axes.plot(curve["S_min"], curve["loss"], color=colours(N), linewidth=0.8, marker="o", markersize=2.6)
    st.legend_entry(axes, "during training, at a constant rate", ms=2.6, linestyle="-", linewidth=0.8)
    st.log_x(axes, points["S_min"], r"$S_\mathrm{min}$, steps at a batch far above the critical")
    st.log_y(axes, points["loss"], st.LOSS_LABEL)
    axes.set_title("Unlimited text")


def describe_data_and_steps(tables: StudyTables, laws: Laws) -> str:
    """The exponents of both joint laws beside the paper's."""
    found, family = fit_data_law(data_runs(tables, laws), RESAMPLES), tables.main_family
    of_data = f"No law of unique tokens: {why_not(found)}"
    if found.law is not None:
        of_data = (
            f"L(N, D) of unique tokens: α_N = {_value(found, 'alpha_N')}, α_D = {_value(found, 'alpha_D')} "
            f"(Kaplan 2020: {KAPLAN_TABLE_2.alpha_N}, {KAPLAN_TABLE_2.alpha_D})"
        )
    steps = steps_law(laws, family)
    of_steps = "no law L(N, S_min), for which B_crit must be known"
    if steps is not None:
        of_steps = (
            f"L(N, S_min): α_N = {number(float(steps.alpha_N))}, α_S = {number(float(steps.alpha_S))} "
            f"(Kaplan 2020: {KAPLAN_TABLE_3.alpha_N}, {KAPLAN_TABLE_3.alpha_S})"
        )
    return f"{of_data}; {of_steps}."


# --- Figure 9 -------------------------------------------------------------------------------------


@st.styled
def draw_overfitting(tables: StudyTables, laws: Laws) -> Figure:
    """Left: loss against N, a line a part of the corpus. Right: the excess over unlimited text."""
    runs = data_runs(tables, laws)
    if runs.empty:
        return st.note("Overfitting", NEEDS_DATA)
    found = fit_data_law(runs)
    colours = st.SizeColours(runs["D"], COLOURS_OF_D)
    figure, (by_size, collapsed) = st.panels(2, width=11.0, height=4.9)
    st.log_x(by_size, runs["N"], n_label(laws))
    st.log_y(by_size, runs["loss"], st.LOSS_LABEL, margin=0.1)
    N = np.geomspace(*by_size.get_xlim(), 80)
    for D in np.unique(runs["D"]):
        of_part = runs[runs["D"] == D]
        _ends(by_size, of_part["N"], of_part["loss"], of_part["stopped_early"], [colours(D)] * len(of_part))
        if found.law is None:
            by_size.plot(of_part["N"], of_part["loss"], color=colours(D), linewidth=0.8)
        else:
            by_size.plot(N, found.law.loss(N, D), color=colours(D), linewidth=1.2, linestyle="--")
    _end_entries(by_size, runs)
    _data_law_entry(by_size, found)
    by_size.set_title("Loss on each part of the corpus")
    st.legend_below(by_size, columns=1)
    if found.law is None:
        st.note_in(collapsed, f"Not measured: {why_not(found)}.")
    else:
        table = overfitting(runs, found.law)
        _ends(
            collapsed, table["x"], table["excess"], table["stopped_early"], [colours(D) for D in table["D"]]
        )
        ratio = found.law.alpha_N / found.law.alpha_D
        st.log_x(
            collapsed, table["x"], rf"$N^{{\alpha_N/\alpha_D}}\,/\,D$, with $\alpha_N/\alpha_D$ = {ratio:.2f}"
        )
        x = np.geomspace(*collapsed.get_xlim(), 120)
        collapsed.plot(x, excess_at(x, found.law), color=st.FIT, label="(4.3), of the same fit")
        collapsed.axhline(
            TOLERATED,
            color=st.GREY,
            linewidth=0.9,
            linestyle=":",
            label=f"{100 * TOLERATED:g} %, as in (4.4)",
        )
        collapsed.set_ylabel(r"$L(N, D)\,/\,L(N, \infty) - 1$,  $L(N, \infty)$ of the fit")
        collapsed.set_title("Overfitting")
        st.legend_below(collapsed, columns=1)
    colours.bar(figure, [by_size, collapsed], D_LABEL)
    return figure


def describe_overfitting(tables: StudyTables, laws: Laws) -> str:
    """How well the excess collapses, and the tokens that keep it small."""
    runs = data_runs(tables, laws)
    found = fit_data_law(runs)
    if found.law is None:
        return f"Overfitting was not measured: {why_not(found)}."
    table = overfitting(runs, found.law)
    rms = float(np.sqrt(((table["excess"] - table["predicted"]) ** 2).mean()))
    (k, p), (kaplan_k, kaplan_p) = data_needed(found.law), data_needed(KAPLAN_TABLE_2)
    return (
        f"The loss on limited text exceeds that on unlimited by up to {100 * table['excess'].max():.0f} % "
        f"and follows one function of N^{p:.2f}/D within {100 * rms:.1f} % (rms); to keep the excess below "
        f"{100 * TOLERATED:g} % takes D = {short(k)} N^{p:.2f} unique tokens "
        f"(Kaplan 2020: {short(kaplan_k)} N^{kaplan_p:.2f})."
    )


# --- of several figures ---------------------------------------------------------------------------


def _steps_points(tables: StudyTables, laws: Laws) -> tuple[pd.DataFrame, Any]:
    """The points of each size's longest run against S_min, and L(N,S_min); empty unless both are known."""
    family = tables.main_family
    batch, steps = batch_law(laws, family), steps_law(laws, family)
    if batch is None or steps is None:
        return pd.DataFrame(columns=["trunk", "N", "step", "S_min", "loss"]), None
    return points_in_steps_min(tables, laws, longest_of_each_size(tables.of(family)), batch), steps


def _ends(axes: Axes, x: pd.Series, y: pd.Series, stopped: pd.Series, colours: list[Any]) -> None:
    """Filled: the run was stopped early. Hollow: its loss was still falling at its horizon."""
    faces = [colour if early else "white" for colour, early in zip(colours, stopped, strict=True)]
    axes.scatter(x, y, s=26, c=faces, edgecolors=colours, linewidths=1.2, zorder=3)


def _end_entries(axes: Axes, runs: pd.DataFrame) -> None:
    if runs["stopped_early"].any():
        st.legend_entry(axes, "stopped early, at its lowest loss")
    if not runs["stopped_early"].all():
        st.legend_entry(axes, "not stopped before its horizon", mfc="white")


def _data_law_entry(axes: Axes, found: DataLaw) -> None:
    if found.law is not None:
        exponents = rf"$\alpha_N$ = {found.law.alpha_N:.3f}, $\alpha_D$ = {found.law.alpha_D:.3f}"
        axes.plot([], [], color=st.INK, linewidth=1.2, linestyle="--", label=f"(1.5), {exponents}")


def _value(found: DataLaw, name: str) -> str:
    value = getattr(found.law, name)
    return f"{number(value)} {interval_text(found.intervals.get(name))}".strip()


def why_not(found: DataLaw) -> str:
    if not found.fit.rows.n:
        return "no run is of the experiment `data` (`scaling-laws sweep configs/sweeps/data.yaml`)"
    return f"the runs of the experiment `data` do not identify L(N, D): {found.fit.reason}"


FIGURES: tuple[Entry, ...] = (
    Entry(
        name="fig04_data_and_steps",
        title="Loss against data and size, and against steps and size",
        paper="Fig. 4",
        question="data",
        draw=draw_data_and_steps,
        describe=describe_data_and_steps,
    ),
    Entry(
        name="fig09_overfitting",
        title="Overfitting is a function of N and D together",
        paper="Fig. 9",
        question="data",
        draw=draw_overfitting,
        describe=describe_overfitting,
    ),
)
