"""What the study has cost: by experiment and by outcome, from the runs' records and the sweep's ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.text import short
from scaling_laws.study.artefacts import check_number_columns, read_table
from scaling_laws.study.conventions import compute_flops, times_reused
from scaling_laws.study.records import SEARCH_TAG, RunRecord, read_planned_experiments
from scaling_laws.study.units import PF_DAY_FLOPS

NEEDS_RECORDS = "Needs a run that has a record: `scaling-laws sweep configs/sweeps/quick.yaml`."
LEDGER_FILE = "ledger.csv"
LEDGER_COLUMNS = ("outcome", "device_s", "tokens", "C")
NO_EXPERIMENT = "no experiment"
SECONDS_PER_HOUR = 3600.0
OTHER_COLOUR = st.FAMILY_COLOURS[1]
COMPLETE = "complete"
GOOD = (COMPLETE, "done", "running")
"""Outcomes, of runs and of the ledger's attempts, for which nothing is lost."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What a study has cost.

    Attributes:
        runs: see `spent_by_run`.
        experiments, outcomes, counted: see `by_experiment`, `by_outcome`.
    """

    runs: pd.DataFrame
    experiments: pd.DataFrame
    outcomes: pd.DataFrame
    counted: str


def _describe(data: Spending) -> str:
    """Device-hours, tokens and compute in all; the dearest experiment; what was lost."""
    spent, outcomes = data.runs, data.outcomes
    totals = data.experiments.groupby("experiment")["device_hours"].sum().sort_values(ascending=False)
    good = outcomes["outcome"].isin(GOOD)
    hours = outcomes["device_hours"].sum()
    lost = 100 * outcomes.loc[~good, "device_hours"].sum() / hours if hours else 0.0
    return (
        f"{len(spent)} runs trained on {short(spent['tokens'].sum())} tokens in "
        f"{short(spent['device_hours'].sum())} device-hours, {short(spent['pf_days'].sum())} PF-days; "
        f"{totals.index[0]} took the most, {short(totals.iloc[0])} device-hours; "
        f"{lost:.1f} % of the time of all {data.counted} went to those that failed or diverged."
    )


def _draw(data: Spending) -> Figure:
    """Left: device-hours by experiment. Right: by outcome."""
    experiments, outcomes = data.experiments, data.outcomes
    names = list(dict.fromkeys(experiments["experiment"]))
    n_bars = max(len(names), len(outcomes), 3)
    figure, (left, right) = st.panels(2, width=11.5, height=1.3 + 0.3 * n_bars)

    totals = experiments.groupby("experiment")[["device_hours", "pf_days"]].sum().loc[names]
    good = experiments[experiments["status"] == COMPLETE].set_index("experiment")["device_hours"]
    complete = [float(good.get(name, 0.0)) for name in names]
    lost = [float(all_of) - of_good for all_of, of_good in zip(totals["device_hours"], complete, strict=True)]
    bars = [st.plain(name) for name in names]
    left.barh(bars, complete, color=st.FAMILY_COLOURS[0], height=0.62, label="complete runs")
    if any(hours > 0 for hours in lost):
        hatched: dict[str, Any] = {"hatch": "////", "edgecolor": "white", "linewidth": 0.0}
        left.barh(bars, lost, left=complete, color=OTHER_COLOUR, height=0.62, label="other runs", **hatched)
        left.legend(loc="lower right", fontsize=8.5)
    _amounts(left, totals["device_hours"], totals["pf_days"])
    left.set_title("By experiment; shared runs in equal shares")

    labels = [f"{st.plain(name)} ({n})" for name, n in zip(outcomes["outcome"], outcomes["n"], strict=True)]
    right.barh(labels, outcomes["device_hours"], color=st.FAMILY_COLOURS[0], height=0.62)
    _amounts(right, outcomes["device_hours"], outcomes["pf_days"])
    right.set_title(f"By outcome of {data.counted}")
    for axes in (left, right):
        axes.set_xlabel("device-hours; at the bars: PF-days of 6ND")
        axes.set_ylim(n_bars - 0.5, -0.6)
        axes.grid(axis="y", visible=False)
    return figure


@figure("spending", "What the study has cost", "trust", order=6, draw=_draw, describe=_describe)
def spending(study: StudyTables, laws: Laws) -> Spending | str:
    """Of all runs with a record."""
    runs = spent_by_run(study)
    if runs.empty:
        return NEEDS_RECORDS
    outcomes, counted = by_outcome(study)
    return Spending(runs=runs, experiments=by_experiment(runs), outcomes=outcomes, counted=counted)


def spent_by_run(study: StudyTables) -> pd.DataFrame:
    """run, status, experiments, device_hours, tokens, pf_days: what each run with a record trained itself.

    A branch does not count its trunk's part again, so that rows add up. `experiments` is a tuple: those that
    ask for the run by the plan, or else did when it was trained. PF-days are those of 6 N D.
    """
    planned = read_planned_experiments(study.study.folder)
    rows = [
        (
            record.name,
            record.status,
            tuple(tag for tag in planned.get(record.name, record.tags) if tag != SEARCH_TAG)
            or (NO_EXPERIMENT,),
            record.elapsed_s * record.devices / SECONDS_PER_HOUR,
            record.trained_tokens,
            _flops(record) / PF_DAY_FLOPS,
        )
        for record in study.study.records
    ]
    return pd.DataFrame(rows, columns=["run", "status", "experiments", "device_hours", "tokens", "pf_days"])


def by_experiment(spent: pd.DataFrame) -> pd.DataFrame:
    """experiment, status, device_hours, tokens, pf_days, the dearest experiment first.

    What several experiments ask for is trained once: each bears an equal share of it, so that rows add up.
    """
    shares = spent.assign(n=spent["experiments"].map(len)).explode("experiments")
    for column in ("device_hours", "tokens", "pf_days"):
        shares[column] = shares[column] / shares["n"].astype(float)
    shares = shares.rename(columns={"experiments": "experiment"})
    sums = shares.groupby(["experiment", "status"])[["device_hours", "tokens", "pf_days"]].sum().reset_index()
    total = sums.groupby("experiment")["device_hours"].transform("sum")
    order = sums.assign(total=total).sort_values(
        ["total", "experiment", "status"], ascending=[False, True, True]
    )
    return order.drop(columns="total").reset_index(drop=True)


def by_outcome(study: StudyTables) -> tuple[pd.DataFrame, str]:
    """outcome, n, device_hours, tokens, pf_days; and what is counted: attempts, or runs.

    Attempts, killed and failed ones too, where the sweep left its ledger; else the runs that have a record.
    """
    path = study.study.folder / LEDGER_FILE
    if path.exists():
        ledger = read_table(path, text_columns=("training", "outcome", "reason", "host", "started"))
        if len(ledger) and set(LEDGER_COLUMNS) <= set(ledger.columns):
            check_number_columns(path, ledger, ("device_s", "tokens", "C"))
            ledger = ledger.assign(
                device_hours=ledger["device_s"] / SECONDS_PER_HOUR, pf_days=ledger["C"] / PF_DAY_FLOPS
            )
            return _sums(ledger, "outcome"), "attempts"
    return _sums(spent_by_run(study).rename(columns={"status": "outcome"}), "outcome"), "runs"


def _sums(table: pd.DataFrame, column: str) -> pd.DataFrame:
    sums = table.groupby(column)[["device_hours", "tokens", "pf_days"]].sum()
    sums.insert(0, "n", table[column].value_counts())
    return sums.sort_values("device_hours", ascending=False).reset_index()


def _flops(record: RunRecord) -> float:
    """6 N D of what the run trained itself."""
    n_reuse = times_reused(record.shape)
    return compute_flops(record.parameters, record.flops_per_token, record.trained_tokens, n_reuse)["C"]


def _amounts(axes: Axes, hours: pd.Series[float], pf_days: pd.Series[float]) -> None:
    """PF-days at the ends of the bars, and room for them."""
    longest = max(*hours, 1e-12)
    axes.set_xlim(0, 1.28 * longest)
    for place, (length, amount) in enumerate(zip(hours, pf_days, strict=True)):
        label = short(amount, 2) if amount else "0"
        axes.text(length + 0.015 * longest, place, label, va="center", fontsize=8.5, color=st.INK)
