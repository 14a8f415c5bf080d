"""Claims about learning rates (Kaplan 2020, D.1 and D.6)."""

from __future__ import annotations

import numpy as np

from scaling_laws.laws.fit.best_rates import best_rates, rate_losses
from scaling_laws.laws.fit.intervals import percentile_interval
from scaling_laws.laws.fit.straight_line import line_through
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.evidence import noise_at
from scaling_laws.report.claims import Claim, Finding, Measured, inconclusive, not_measured
from scaling_laws.report.study_tables import StudyTables

SCHEDULE = ("decay", "cooldown_share", "learning_rate")
ENOUGH = 0.5
"""Of the largest summed learning rate at the best peak rate."""
DRAWS = 1000


def _schedules(tables: StudyTables, laws: Laws) -> Measured | Finding:
    runs = tables.of_experiment("schedule", tables.main_family)
    runs = runs[runs["after_cooldown"].astype(bool)] if not runs.empty else runs
    if runs.empty or runs["summed_learning_rate"].isna().all():
        return not_measured("no size was trained with several schedules")
    runs = runs[runs["D"] == runs["D"].mode().iloc[-1]]
    by_schedule = runs.groupby([*SCHEDULE, runs["summed_learning_rate"].round(6)])["loss"]
    means = by_schedule.agg(["mean", "count"]).reset_index()
    best_peak = means.groupby("learning_rate")["mean"].mean().idxmin()
    enough = ENOUGH * means.loc[means["learning_rate"] == best_peak, "summed_learning_rate"].max()
    means = means[means["summed_learning_rate"] >= enough]
    if len(means) < 3:
        return inconclusive(f"{len(means)} schedules have enough learning rate in sum")
    log_loss = np.log(means["mean"].to_numpy(dtype=float))
    value = 100 * float(np.expm1(np.ptp(log_loss)))
    noise = noise_at(tables, laws, float(runs["D"].iloc[0]))
    if noise is None:
        return inconclusive("the noise between seeds is not known", value)
    sd = noise / np.sqrt(means["count"].to_numpy(dtype=float))
    shaken = log_loss + np.random.default_rng(0).normal(size=(DRAWS, len(log_loss))) * sd
    interval = percentile_interval(100 * np.expm1(np.ptp(shaken, axis=1)))
    context = f"{len(means)} schedules with enough learning rate in sum"
    return Measured(value=value, interval=interval, context=context)


def _rate_falls(tables: StudyTables, laws: Laws) -> Measured | Finding:
    runs = tables.of_experiment("lr", tables.main_family)
    if runs.empty:
        return not_measured("no sizes with several learning rates")
    best = best_rates(rate_losses(runs))
    best = best[best["inside"]]
    if best["N"].nunique() < 3 or len(best) - best["batch_tokens"].nunique() < 2:
        return inconclusive(f"{len(best)} sizes and batches have their best rate inside the range tried")
    line = line_through(np.log(best["N"]), np.log(best["learning_rate"]), best["batch_tokens"])
    context = (
        f"{len(best)} best rates at {best['N'].nunique()} sizes and {best['batch_tokens'].nunique()} batches"
    )
    return Measured(value=line.slope, interval=line.interval, context=context)


CLAIMS = (
    Claim(
        slug="schedule-hardly-matters",
        text="The schedule of the learning rate hardly matters, if its sum is large enough",
        source="D.6, Fig. 22",
        quantity="loss of the worst schedule above that of the best, per cent",
        paper="1.4 (0.05 nats)",
        method=f"Schedules that end at a low rate and whose summed rate is at least {ENOUGH:g} of the "
        "largest at the best peak are compared, each as the mean over its seeds. The interval comes from "
        "the noise between seeds.",
        confirmed=(-np.inf, 1.5),
        needs="schedule",
        measure=_schedules,
    ),
    Claim(
        slug="larger-want-lower-rates",
        text="Larger networks need lower learning rates",
        source="(D.1)",
        quantity="exponent of N in the best rate at one batch",
        paper="below 0",
        method="A parabola of ln loss in ln rate is fitted at each size and batch.",
        confirmed=(-np.inf, 0.0),
        needs="lr",
        measure=_rate_falls,
    ),
)
