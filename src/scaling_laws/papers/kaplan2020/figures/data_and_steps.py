"""Loss against data and size, and against steps and size (Kaplan 2020, Figure 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.batch.constant_rate import constant_rate_part
from scaling_laws.laws.fit.level import interval_percentiles
from scaling_laws.laws.forms.steps import CriticalBatch, KaplanNS
from scaling_laws.laws.published import KAPLAN_TABLE_2, KAPLAN_TABLE_3
from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.selection import longest_of_each_size
from scaling_laws.papers.kaplan2020.evidence import DataLaw, KaplanTables, fit_data_law
from scaling_laws.papers.kaplan2020.figures.overfitting import D_LABEL, NEEDS_DATA, draw_runs
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.text import interval_text, number

NEEDS_BATCH = (
    "Needs the critical batch and learning curves of several sizes: runs of `scaling-laws sweep "
    "configs/sweeps/batch.yaml` and `configs/sweeps/size.yaml` in one study, as `paper.yaml` has them."
)
RESAMPLES = 100


@dataclass(frozen=True, kw_only=True)
class DataAndSteps:
    """Runs on limited text, and the learning curves of others in S_min.

    Attributes:
        n_label: what N counts.
        runs: from `KaplanTables.data_runs`.
        law: L(N,D) of these.
        points: trunk, N, step, S_min, loss of each size's longest run; empty without L(N,S_min).
        steps: L(N,S_min); None where it is not identified.
    """

    n_label: str
    runs: pd.DataFrame
    law: DataLaw
    points: pd.DataFrame
    steps: KaplanNS | None


def draw(data: DataAndSteps) -> Figure:
    """Left: loss against unique tokens, a line a size. Right: loss against S_min, a line a size."""
    figure, (by_data, by_steps) = st.panels(2, width=11.0, height=4.9)
    colours = st.SizeColours([*data.runs["N"], *data.points["N"]])
    if data.runs.empty:
        st.note_in(by_data, NEEDS_DATA)
    else:
        _draw_data(by_data, data.runs, data.law, colours)
    if data.points.empty or data.steps is None:
        st.note_in(by_steps, NEEDS_BATCH)
    else:
        _draw_steps(by_steps, data.points, data.steps, colours)
    colours.bar(figure, [by_data, by_steps], data.n_label)
    return figure


def describe(data: DataAndSteps) -> str:
    """The exponents of both joint laws beside the paper's."""
    of_data = f"No law of unique tokens: {data.law.reason}"
    if data.law.law is not None:
        alpha_N, alpha_D = (_with_interval(data.law, name) for name in ("alpha_N", "alpha_D"))
        kaplan = f"(Kaplan 2020: {KAPLAN_TABLE_2.alpha_N}, {KAPLAN_TABLE_2.alpha_D})"
        of_data = f"L(N, D) of unique tokens: α_N = {alpha_N}, α_D = {alpha_D} {kaplan}"
    of_steps = "no law L(N, S_min), for which B_crit must be known"
    if data.steps is not None:
        of_steps = (
            f"L(N, S_min): α_N = {number(float(data.steps.alpha_N))}, "
            f"α_S = {number(float(data.steps.alpha_S))} "
            f"(Kaplan 2020: {KAPLAN_TABLE_3.alpha_N}, {KAPLAN_TABLE_3.alpha_S})"
        )
    return f"{of_data}; {of_steps}."


@figure(
    "fig04_data_and_steps",
    "Loss against data and size, and against steps and size",
    "data",
    draw=draw,
    describe=describe,
)
def fig04_data_and_steps(study: KaplanTables, laws: Laws) -> DataAndSteps | str:
    runs, batch, steps = study.data_runs(), study.critical_batch().law, study.route().law_of_steps
    points = pd.DataFrame(columns=["trunk", "N", "step", "S_min", "loss"])
    if batch is not None and steps is not None:
        longest = longest_of_each_size(study.of(study.main_family))
        curves = study.curves_of_laws()
        points = points_in_steps_min(curves[curves["run"].isin(longest["run"])], batch)
    if runs.empty and points.empty:
        return f"Left: {NEEDS_DATA} Right: {NEEDS_BATCH}"
    law = fit_data_law(runs, RESAMPLES)
    return DataAndSteps(n_label=study.n_label, runs=runs, law=law, points=points, steps=steps)


def points_in_steps_min(curves: pd.DataFrame, batch: CriticalBatch) -> pd.DataFrame:
    """trunk, N, step, S_min, loss of learning curves at a constant learning rate; S_min by (5.4).

    Args:
        curves: as in `constant_rate_part`.
    """
    points = constant_rate_part(curves).points
    S_min = batch.steps_min(points["step"], points["batch_tokens"], points["loss"])
    return points.assign(S_min=S_min)[["trunk", "N", "step", "S_min", "loss"]]


def _draw_data(axes: Axes, runs: pd.DataFrame, law: DataLaw, colours: st.SizeColours) -> None:
    """A line a size through its parts of the corpus, with (1.5)."""
    st.log_x(axes, runs["D"], D_LABEL)
    st.log_y(axes, runs["loss"], st.LOSS_LABEL, margin=0.1)
    D = np.geomspace(*axes.get_xlim(), 80)
    draw_runs(axes, runs, "D", "N", D, law, colours)
    if law.draws is not None:
        for N in np.unique(runs["N"]):
            low, high = np.nanpercentile(law.draws.loss(N, D[None, :]), interval_percentiles(), axis=0)
            axes.fill_between(D, low, high, color=colours(N), alpha=st.BAND_ALPHA, linewidth=0)
    axes.set_title("Text of limited length, stopped early")
    st.legend_below(axes, columns=1)


def _draw_steps(axes: Axes, points: pd.DataFrame, steps: KaplanNS, colours: st.SizeColours) -> None:
    for _, curve in points.groupby("trunk"):
        colour = colours(curve["N"].iloc[0])
        axes.plot(curve["S_min"], curve["loss"], color=colour, linewidth=0.8, marker="o", markersize=2.6)
    st.legend_entry(axes, "during training, at a constant rate", ms=2.6, linestyle="-", linewidth=0.8)
    st.log_x(axes, points["S_min"], r"$S_\mathrm{min}$, steps at a batch far above the critical")
    st.log_y(axes, points["loss"], st.LOSS_LABEL)
    axes.set_title("Unlimited text")
    S_min = np.geomspace(points["S_min"].min(), points["S_min"].max(), 80)
    for N in np.unique(points["N"]):
        axes.plot(S_min, steps.loss(N, S_min), color=colours(N), linewidth=1.2, linestyle="--")
    formula = rf"$\alpha_N$ = {steps.alpha_N:.3f}, $\alpha_S$ = {steps.alpha_S:.3f}"
    axes.plot([], [], color=st.INK, linewidth=1.2, linestyle="--", label=f"(1.6), {formula}")
    st.legend_below(axes, columns=1)


def _with_interval(found: DataLaw, name: str) -> str:
    return f"{number(getattr(found.law, name))} {interval_text(found.intervals.get(name))}".strip()
