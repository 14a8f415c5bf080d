"""Does the schedule of the learning rate matter? (Kaplan 2020, Figure 22.)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.text import number, short

TITLE = "Schedules against the sum of the learning rate"
NEEDS_SCHEDULES = "Needs runs of `scaling-laws sweep configs/sweeps/schedule.yaml`."
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")


def schedule_name(schedule: Mapping[str, Any]) -> str:
    """A run's schedule in words: `cosine to 10 %`, `cooldown over 20 %`."""
    decay = str(schedule.get("decay", "cooldown"))
    if decay in ("cosine", "linear"):
        return f"{decay} to {100 * schedule.get('final_share', 0.0):g} %"
    if decay == "constant":
        return "constant"
    return f"{decay.replace('_', ' ')} over {100 * schedule.get('cooldown_share', 0.0):g} %"


def schedule_means(runs: pd.DataFrame, schedules: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row a schedule and peak: schedule, peak, summed, loss, low, high (over seeds), n_seeds.

    Args:
        runs: of the schedule experiment: run, learning_rate, summed_learning_rate, loss.
        schedules: by run, as in its record.
    """
    columns = ["schedule", "peak", "summed", "loss", "low", "high", "n_seeds"]
    known = runs[runs["run"].isin(list(schedules))] if len(runs) else runs
    if known.empty:
        return pd.DataFrame(columns=columns)
    known = known.dropna(subset=["summed_learning_rate", "loss"])
    names = [schedule_name(schedules[run]) for run in known["run"]]
    grouped = known.assign(schedule=names, peak=known["learning_rate"]).groupby(["schedule", "peak"])
    return grouped.agg(
        summed=("summed_learning_rate", "mean"),
        loss=("loss", "mean"),
        low=("loss", "min"),
        high=("loss", "max"),
        n_seeds=("loss", "size"),
    ).reset_index()[columns]


@st.styled
def draw(tables: StudyTables, laws: Laws) -> Figure:
    """Left: the learning rate of each schedule at the middle peak. Right: final loss against its sum."""
    runs, schedules = _schedule_runs(tables)
    means = schedule_means(runs, schedules)
    if means.empty:
        return st.note(TITLE, NEEDS_SCHEDULES)
    figure, (rates, losses) = st.panels(2, width=12.0, height=5.4)
    peaks = np.sort(means["peak"].unique())
    middle = peaks[len(peaks) // 2]
    for place, (name, of_schedule) in enumerate(means.groupby("schedule")):
        colour = st.FAMILY_COLOURS[place % len(st.FAMILY_COLOURS)]
        label = str(name)
        example = next(
            (
                run
                for run in runs[runs["learning_rate"] == middle]["run"]
                if schedule_name(schedules[run]) == name
            ),
            None,
        )
        curve = tables.curves[tables.curves["run"] == example] if len(tables.curves) else tables.curves
        if len(curve):
            line = st.FAMILY_LINES[(place // len(st.FAMILY_COLOURS) + place) % len(st.FAMILY_LINES)]
            rates.plot(curve["step"], curve["learning_rate"], color=colour, linestyle=line, label=label)
        losses.errorbar(
            of_schedule["summed"],
            of_schedule["loss"],
            [of_schedule["loss"] - of_schedule["low"], of_schedule["high"] - of_schedule["loss"]],
            fmt=MARKERS[place % len(MARKERS)],
            color=colour,
            elinewidth=0.9,
            label=label,
        )
    rates.set_xlabel("optimizer steps")
    rates.set_ylabel("learning rate")
    rates.set_title(f"Schedules, peak {middle:.2g}")
    st.log_x(losses, means["summed"], "learning rate, summed over all steps")
    st.log_y(losses, [*means["low"], *means["high"]], st.LOSS_LABEL)
    seeds = int(means["n_seeds"].max())
    over = f"; bars over {seeds} seeds" if seeds > 1 else ""
    losses.set_title(f"Final loss, N = {_sizes(tables, laws, runs)}{over}")
    if rates.lines:
        st.legend_below(rates, columns=2)
    st.legend_below(losses, columns=2)
    return figure


def describe(tables: StudyTables, laws: Laws) -> str:
    """The best schedule, and how far apart they are at their best peaks and at the worst."""
    means = schedule_means(*_schedule_runs(tables))
    if means.empty:
        return "No run belongs to the schedule experiment."
    at_best = means.loc[means.groupby("schedule")["loss"].idxmin()].sort_values("loss")
    best, last = at_best.iloc[0], at_best.iloc[-1]
    worst = means.sort_values("loss").iloc[-1]
    spread = float((means["high"] - means["low"]).mean())
    seeds = f"; seeds differ by {spread:.3f} on average" if means["n_seeds"].max() > 1 else ""
    return (
        f"Of {len(at_best)} schedules, each at its best peak, {best['schedule']} is lowest with "
        f"{best['loss']:.3f} nats and {last['schedule']} highest with {last['loss']:.3f}; over all peaks the "
        f"highest is {worst['loss']:.3f} ({worst['schedule']}, sum {number(worst['summed'])}){seeds}."
    )


def _schedule_runs(tables: StudyTables) -> tuple[pd.DataFrame, dict[str, Mapping[str, Any]]]:
    runs = tables.of_experiment("schedule", tables.main_family)
    return runs, {record.name: record.schedule for record in tables.study.records}


def _sizes(tables: StudyTables, laws: Laws, runs: pd.DataFrame) -> str:
    return " and ".join(short(N) for N in sorted(runs[laws["conventions"]["N"]].unique()))


FIGURES = (
    Entry(
        name="fig22_schedules",
        title=TITLE,
        paper="Fig. 22",
        question="batch",
        draw=draw,
        describe=describe,
    ),
)
