"""When should training on limited text stop? (Kaplan 2020, section 5.3 and Figure 16.)"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.forms.joint import KaplanND
from scaling_laws.laws.forms.steps import CriticalBatch, KaplanNS
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.evidence import KaplanTables, fit_data_law
from scaling_laws.papers.kaplan2020.figures.data_and_steps import NEEDS_BATCH
from scaling_laws.papers.kaplan2020.figures.overfitting import COLOURS_OF_D, D_LABEL, NEEDS_DATA
from scaling_laws.report import style as st
from scaling_laws.report.batch_laws import LOSS_COLUMN
from scaling_laws.report.figure import figure
from scaling_laws.report.text import short

NO_STOPS = "An exported study does not say at which step its runs stopped: draw this from the runs' folders."


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Runs on parts of the corpus, and when they stopped.

    Attributes:
        runs: from `KaplanTables.data_runs`.
        law: L(N,D) of these; None where it is not identified.
        stops: from `stopping_steps`.
        reason: why `stops` is empty.
        gaps: from `training_gaps`.
    """

    runs: pd.DataFrame
    law: KaplanND | None
    stops: pd.DataFrame
    reason: str
    gaps: pd.DataFrame


def draw(data: EarlyStopping) -> Figure:
    """Left: the step of the lowest loss against its lower bound. Right: train and test loss by part."""
    colours = st.SizeColours(data.runs["D"], COLOURS_OF_D)
    figure, (stops, gaps) = st.panels(2, width=11.0, height=4.9)
    if data.stops.empty:
        st.note_in(stops, data.reason)
    else:
        by_D = [colours(D) for D in data.stops["D"]]
        stops.scatter(data.stops["bound"], data.stops["S_stop"], s=30, c=by_D, zorder=3)
        st.legend_entry(stops, "a run that was stopped early")
        span = [*data.stops["bound"], *data.stops["S_stop"]]
        st.log_x(stops, span, r"$S_c\,[L(N, D) - L(N, \infty)]^{-1/\alpha_S}$, steps", margin=0.1)
        st.log_y(stops, span, r"$S_\mathrm{stop}$ as $S_\mathrm{min}$, steps", margin=0.1)
        ends = stops.get_xlim()
        stops.plot(ends, ends, color=st.FIT, label="(5.7): no run should stop below")
        stops.set_title("The step of the lowest test loss")
        st.legend_below(stops, columns=1)
    if data.gaps.empty:
        st.note_in(gaps, "Needs the runs' learning curves, with losses on the test corpus.")
    else:
        _draw_gaps(gaps, data.gaps, colours)
        gaps.set_title(f"N = {short(data.runs['N'].max())}")
        st.legend_below(gaps, columns=2)
    colours.bar(figure, [stops, gaps], D_LABEL)
    return figure


def describe(data: EarlyStopping) -> str:
    """How many runs obey the bound, and what the gap between train and test loss overstates."""
    bound = f"The bound (5.7) was not tested: {data.reason[0].lower()}{data.reason[1:].rstrip('.')}"
    if not data.stops.empty:
        n_above = int((data.stops["S_stop"] >= data.stops["bound"]).sum())
        bound = (
            f"{n_above} of {len(data.stops)} runs stopped at or after the bound (5.7), at a median of "
            f"{(data.stops['S_stop'] / data.stops['bound']).median():.2g} times it"
        )
    if data.gaps.empty or data.law is None:
        return f"{bound}."
    smallest = data.gaps[(data.gaps["D"] == data.gaps["D"].min()) & data.gaps["at_stop"]].iloc[-1]
    excess = smallest["test"] - float(data.law.loss(data.runs["N"].max(), np.inf))
    return (
        f"{bound}; on {short(smallest['D'])} unique tokens the largest size's test loss lies "
        f"{smallest['test'] - smallest['train']:.2f} nats above its training loss and {excess:.2f} above "
        "L(N, ∞)."
    )


@figure(
    "fig16_early_stopping",
    "When to stop, and what the gap to the training loss overstates",
    "data",
    draw=draw,
    describe=describe,
)
def fig16_early_stopping(study: KaplanTables, laws: Laws) -> EarlyStopping | str:
    runs = study.data_runs()
    if runs.empty:
        return NEEDS_DATA
    if runs["stop_step"].isna().all():
        return NO_STOPS
    found, steps, batch = fit_data_law(runs), study.route().law_of_steps, study.critical_batch().law
    stops, reason = runs.iloc[:0], f"Not measured: {found.reason}."
    if found.law is not None:
        reason = NEEDS_BATCH
        if steps is not None and batch is not None:
            reason = "No run was stopped early above L(N, ∞)."
            stops = stopping_steps(runs, found.law, steps, batch)
    gaps = training_gaps(study, runs)
    return EarlyStopping(runs=runs, law=found.law, stops=stops, reason=reason, gaps=gaps)


def stopping_steps(runs: pd.DataFrame, law: KaplanND, steps: KaplanNS, batch: CriticalBatch) -> pd.DataFrame:
    """The runs that stopped early with S_stop, and the bound on it: (5.7).

    Both are S_min: S_stop as taken is converted by (5.4) at the run's own loss. In the bound, L(N,D) is
    measured and L(N,inf) is the law's; runs with L(N,D) <= L(N,inf) have no finite bound and are left out.
    """
    stopped = runs[runs["stopped_early"]]
    table = stopped.assign(
        S_stop=batch.steps_min(stopped["stop_step"], stopped["batch_tokens"], stopped["loss"]),
        bound=steps.stop_step_bound(stopped["loss"] - law.loss(stopped["N"], np.inf)),
    )
    return table[table["bound"] < np.inf]


def training_gaps(study: KaplanTables, runs: pd.DataFrame) -> pd.DataFrame:
    """run, D, step, train, test, at_stop: the curves of the largest size, one run a part of the corpus.

    `train` is the mean training loss since the row before (with dropout), `test` the loss on held-out text,
    nats per token; `at_stop` marks the row nearest to the step whose weights were kept.
    """
    columns = ["run", "D", "step", "train", "test", "at_stop"]
    if LOSS_COLUMN not in study.curves.columns:
        return pd.DataFrame(columns=columns)
    chosen = runs[runs["N"] == runs["N"].max()].drop_duplicates("D")
    curves = study.curves.dropna(subset=["train_loss_nats", LOSS_COLUMN])
    table = curves.merge(chosen[["run", "D", "stop_step"]], on="run")
    distance = (table["step"] - table["stop_step"]).abs()
    nearest = distance.groupby(table["run"]).transform("min")
    table = table.assign(train=table["train_loss_nats"], test=table[LOSS_COLUMN], at_stop=distance == nearest)
    return table.sort_values(["D", "step"])[columns].reset_index(drop=True)


def _draw_gaps(axes: Axes, gaps: pd.DataFrame, colours: st.SizeColours) -> None:
    for _, curve in gaps.groupby("run", sort=False):
        colour = colours(curve["D"].iloc[0])
        axes.plot(curve["step"], curve["test"], color=colour, linewidth=1.4)
        axes.plot(curve["step"], curve["train"], color=colour, linewidth=1.1, linestyle=":")
        stop = curve[curve["at_stop"]].iloc[-1]
        axes.plot([stop["step"]] * 2, [stop["train"], stop["test"]], color="black", linewidth=1.8, zorder=4)
    for label, style in (("test loss", "-"), ("training loss", ":")):
        axes.plot([], [], color=st.GREY, linestyle=style, label=label)
    axes.plot([], [], color="black", linewidth=1.8, label="test less training loss at the lowest test loss")
    visible = gaps[gaps["step"] >= gaps["step"].max() / 100]
    st.log_x(axes, visible["step"], "steps")
    st.log_y(axes, [*visible["train"], *visible["test"]], "loss, nats per token")
