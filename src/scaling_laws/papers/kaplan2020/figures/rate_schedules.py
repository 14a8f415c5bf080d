"""Does the schedule of the learning rate matter? (Kaplan 2020, Figure 22.)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.text import number, short

NEEDS_SCHEDULES = "Needs runs of `scaling-laws sweep configs/sweeps/schedule.yaml`."
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")


@dataclass(frozen=True, kw_only=True)
class RateSchedules:
    """Final losses by schedule and peak of the learning rate.

    Attributes:
        means: from `schedule_means`.
        rates: schedule, step, learning_rate: of one run a schedule, at the middle peak.
        middle: that peak.
        sizes: N, in words.
    """

    means: pd.DataFrame
    rates: pd.DataFrame
    middle: float
    sizes: str


def draw(data: RateSchedules) -> Figure:
    """Left: the learning rate of each schedule at the middle peak. Right: final loss against its sum."""
    figure, (rates, losses) = st.panels(2, width=12.0, height=5.4)
    for place, (name, of_schedule) in enumerate(data.means.groupby("schedule")):
        colour = st.FAMILY_COLOURS[place % len(st.FAMILY_COLOURS)]
        curve = data.rates[data.rates["schedule"] == name]
        if len(curve):
            line = st.FAMILY_LINES[(place // len(st.FAMILY_COLOURS) + place) % len(st.FAMILY_LINES)]
            rates.plot(curve["step"], curve["learning_rate"], color=colour, linestyle=line, label=str(name))
        losses.errorbar(
            of_schedule["summed"],
            of_schedule["loss"],
            [of_schedule["loss"] - of_schedule["low"], of_schedule["high"] - of_schedule["loss"]],
            fmt=MARKERS[place % len(MARKERS)],
            color=colour,
            elinewidth=0.9,
            label=str(name),
        )
    rates.set_xlabel("optimizer steps")
    rates.set_ylabel("learning rate")
    rates.set_title(f"Schedules, peak {data.middle:.2g}")
    st.log_x(losses, data.means["summed"], "learning rate, summed over all steps")
    st.log_y(losses, [*data.means["low"], *data.means["high"]], st.LOSS_LABEL)
    seeds = int(data.means["n_seeds"].max())
    over = f"; bars over {seeds} seeds" if seeds > 1 else ""
    losses.set_title(f"Final loss, N = {data.sizes}{over}")
    if rates.lines:
        st.legend_below(rates, columns=2)
    st.legend_below(losses, columns=2)
    return figure


def describe(data: RateSchedules) -> str:
    """The best schedule, and how far apart they are at their best peaks and at the worst."""
    means = data.means
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


@figure(
    "fig22_schedules",
    "Schedules against the sum of the learning rate",
    "batch",
    draw=draw,
    describe=describe,
)
def fig22_schedules(study: KaplanTables, laws: Laws) -> RateSchedules | str:
    schedules = {record.name: schedule_name(record.schedule) for record in study.study.records}
    runs = study.of_experiment("schedule", study.main_family)
    means = schedule_means(runs, schedules)
    if means.empty:
        return NEEDS_SCHEDULES
    peaks = np.sort(means["peak"].unique())
    middle = float(peaks[len(peaks) // 2])
    examples = runs[runs["learning_rate"] == middle].assign(schedule=runs["run"].map(schedules))
    examples = examples.dropna(subset=["schedule"]).drop_duplicates("schedule")
    rates = pd.DataFrame(columns=["schedule", "step", "learning_rate"])
    if len(study.curves):
        columns = study.curves[["run", "step", "learning_rate"]]
        rates = columns.merge(examples[["run", "schedule"]], on="run")
    sizes = " and ".join(short(N) for N in sorted(runs[study.laws.conventions.N].unique()))
    return RateSchedules(means=means, rates=rates, middle=middle, sizes=sizes)


def schedule_name(schedule: Mapping[str, Any]) -> str:
    """A run's schedule in words: `cosine to 10 %`, `cooldown over 20 %`."""
    decay = str(schedule.get("decay", "cooldown"))
    if decay in ("cosine", "linear"):
        return f"{decay} to {100 * schedule.get('final_share', 0.0):g} %"
    if decay == "constant":
        return "constant"
    return f"{decay.replace('_', ' ')} over {100 * schedule.get('cooldown_share', 0.0):g} %"


def schedule_means(runs: pd.DataFrame, schedules: Mapping[str, str]) -> pd.DataFrame:
    """One row a schedule and peak: schedule, peak, summed, loss, low, high (over seeds), n_seeds.

    Args:
        runs: of the schedule experiment: run, learning_rate, summed_learning_rate, loss.
        schedules: by run, in words.
    """
    columns = ["schedule", "peak", "summed", "loss", "low", "high", "n_seeds"]
    if runs.empty:
        return pd.DataFrame(columns=columns)
    known = runs.assign(schedule=runs["run"].map(schedules), peak=runs["learning_rate"])
    known = known.dropna(subset=["schedule", "summed_learning_rate", "loss"])
    means = known.groupby(["schedule", "peak"]).agg(
        summed=("summed_learning_rate", "mean"),
        loss=("loss", "mean"),
        low=("loss", "min"),
        high=("loss", "max"),
        n_seeds=("loss", "size"),
    )
    return means.reset_index()[columns]
