"""Claims about single variables: power laws in N, D and C, and which N (Kaplan 2020, sections 1 and 3)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.fit.straight_line import Line, line_through
from scaling_laws.laws.selection import at_common_horizon
from scaling_laws.papers.claim import Claim, Finding, judged, not_measured, too_little
from scaling_laws.papers.kaplan2020.limited_data import data_runs, fit_data_law
from scaling_laws.report.evidence import Laws, StudyTables, envelope_of

FLATTEST = 0.02
"""An exponent of N or D below this is no scaling to speak of: a decade would change the loss by 5 %."""
FLATTEST_C = 0.01
STRAIGHT, BENT = 0.01, 0.03
"""Root mean square distance of ln L from its line."""
FEWEST_SIZES = 4
LEAST_GAIN = 1.2
"""Scatter with embeddings over that without."""
DRAWS = 400
RESAMPLES = 100


def _sizes(tables: StudyTables) -> pd.DataFrame:
    """The runs of L(N): one horizon, the main family, columns N and loss."""
    runs = tables.of(tables.main_family)
    return runs if runs.empty else at_common_horizon(runs)[0]


def power_law(
    x: pd.Series[float], loss: pd.Series[float], name: str, flattest: float, decades: float
) -> Finding:
    """Whether ln L falls along a straight line in ln x over so many decades."""
    if x.nunique() < 3:
        return not_measured(f"{x.nunique()} values of {name}")
    line = line_through(np.log(x), np.log(loss))
    value, interval = _falling(line)
    span = math.log10(x.max() / x.min())
    context = f"{x.nunique()} values over {span:.1f} decades of {name}, {100 * line.rms:.2g} % from the line"
    finding = judged(value, interval, flattest, np.inf, context)
    if finding.verdict == "confirmed" and line.rms > BENT and span >= decades:
        return Finding(verdict="contradicted", why=f"bent: {context}", value=value, interval=interval)
    if finding.verdict == "confirmed" and (span < decades or line.rms > STRAIGHT):
        return too_little(context, value, interval)
    return finding


def _falling(line: Line) -> tuple[float, Interval]:
    """The exponent of a loss that falls, with its interval."""
    low, high = line.interval
    return -line.slope, (None if high is None else -high, None if low is None else -low)


def _of_N(tables: StudyTables, laws: Laws) -> Finding:
    runs = _sizes(tables)
    if runs.empty:
        return not_measured("no runs for a law of N")
    return power_law(runs["N"], runs["loss"], "N", FLATTEST, 1.0)


def _of_D(tables: StudyTables, laws: Laws) -> Finding:
    runs = data_runs(tables, laws)
    if runs["D"].nunique() < 3:
        return not_measured("no runs on parts of the corpus")
    largest = runs[runs["N"] == runs["N"].max()]
    value, interval = _falling(line_through(np.log(largest["D"]), np.log(largest["loss"])))
    if interval[1] is not None and interval[1] < FLATTEST:
        context = f"the largest network, N = {largest['N'].iloc[0]:.3g}"
        return judged(value, interval, FLATTEST, np.inf, context)
    law = fit_data_law(runs, resamples=RESAMPLES)
    if law.law is None or law.fit.certificate is None:
        return too_little(f"L(N, D) of unique tokens is not identified: {law.fit.reason}")
    span = math.log10(runs["D"].max() / runs["D"].min())
    rms = law.fit.certificate.rms_log_residual
    value, interval = float(law.law.alpha_D), law.intervals["alpha_D"]
    context = f"{len(runs)} runs over {span:.1f} decades of unique tokens, {100 * rms:.2g} % from the law"
    if span < 1 or rms > 2 * STRAIGHT:
        return too_little(context, value, interval)
    return judged(value, interval, FLATTEST, np.inf, context)


def _of_C(tables: StudyTables, laws: Laws) -> Finding:
    points, reason = envelope_of(laws, tables.main_family)
    if len(points) < 3:
        return not_measured(f"the envelope has {len(points)} points{': ' if reason else ''}{reason}")
    C, loss = (pd.Series([point[name] for point in points], dtype=float) for name in ("C", "loss"))
    return power_law(C, loss, "C", FLATTEST_C, 1.5)


def _power_beats_log(tables: StudyTables, laws: Laws) -> Finding:
    runs = _sizes(tables)
    if runs.empty or runs["N"].nunique() < FEWEST_SIZES:
        return not_measured("fewer than four sizes at one horizon")
    mean = runs.groupby("N")["loss"].mean()
    log_N, loss = np.log(mean.index.to_numpy(dtype=float)), mean.to_numpy(dtype=float)
    value = _log_ratio(log_N, loss)
    noise = laws["noise"]["sd_log_loss"]
    if noise is None:
        return too_little("the noise between seeds is not known", value)
    shaken = loss * np.exp(np.random.default_rng(0).normal(scale=noise, size=(DRAWS, len(loss))))
    interval = percentile_interval([_log_ratio(log_N, each) for each in shaken])
    return judged(value, interval, 1.0, np.inf, f"{len(loss)} sizes, seeds differ by {100 * noise:.2g} %")


def _log_ratio(log_N: np.ndarray, loss: np.ndarray) -> float:
    """Residuals of the logarithm over those of the power law, both relative to the loss."""
    power = line_through(log_N, np.log(loss))
    linear = line_through(log_N, loss)
    of_log = (loss - linear.intercept - linear.slope * log_N) / loss
    return float(np.sqrt(np.mean(of_log**2)) / max(power.rms, 1e-9))


def _without_embeddings(tables: StudyTables, laws: Laws) -> Finding:
    runs = tables.of_experiment("size", "transformer")
    runs = runs[runs["n_layer"] >= 2] if not runs.empty else runs
    if runs.empty:
        return not_measured("no sizes at several depths")
    horizon = runs.groupby("D")["n_layer"].nunique()
    runs = runs[runs["D"] == horizon.idxmax()]
    if runs["n_layer"].nunique() < 2 or runs["N"].nunique() < FEWEST_SIZES:
        return not_measured("no two depths of two layers or more at one horizon")
    loss = np.log(runs["loss"].to_numpy(dtype=float))
    draws = np.random.default_rng(0).normal(
        scale=laws["noise"]["sd_log_loss"] or 0.0, size=(DRAWS, len(loss))
    )

    def ratio(log_loss: np.ndarray) -> float:
        with_them, without = (line_through(np.log(runs[n]), log_loss).rms for n in ("N_total", "N"))
        return with_them / max(without, 1e-9)

    context = f"depths {', '.join(str(depth) for depth in sorted(runs['n_layer'].unique()))}"
    interval = percentile_interval([ratio(loss + draw) for draw in draws])
    if laws["noise"]["sd_log_loss"] is None:
        return too_little("the noise between seeds is not known", ratio(loss))
    return judged(ratio(loss), interval, LEAST_GAIN, np.inf, context)


CLAIMS = (
    Claim(
        number=1,
        text="The loss falls as a power of the number of parameters",
        source="(1.1), Fig. 1",
        quantity="α_N of L(N), non-embedding parameters",
        paper="0.076",
        rule="Least squares of ln L on ln N, sizes of one horizon. Confirmed: the interval of α_N lies above "
        "0.02, the sizes span a decade, and the losses lie within 1 % (rms) of the line. Contradicted: the "
        "interval lies below 0.02, or the rms is above 3 %.",
        sweep="size",
        evaluate=_of_N,
    ),
    Claim(
        number=2,
        text="The loss falls as a power of the unique training tokens, stopped early",
        source="(1.2), (1.5), Figs. 1, 4",
        quantity="α_D of L(N, D), D unique tokens",
        paper="0.103 (Table 2)",
        rule="L(N, D) (1.5) fitted to the runs on parts of the corpus. Confirmed: the interval of α_D lies "
        "above 0.02, unique tokens span a decade, the rms is at most 2 %. Contradicted: the slope of ln L "
        "on ln D at the largest N lies below 0.02.",
        sweep="data",
        evaluate=_of_D,
    ),
    Claim(
        number=3,
        text="The best loss for a compute falls as a power of the compute",
        source="section 3.3, Fig. 13",
        quantity="α_C of L(C) at a fixed batch, 6ND",
        paper="0.057",
        rule="Least squares of ln L on ln C along the envelope over sizes. Confirmed: the interval of α_C "
        "lies above 0.01, C spans 1.5 decades, the rms is at most 1 %. Contradicted: the interval lies "
        "below 0.01, or the rms is above 3 %.",
        sweep="size",
        evaluate=_of_C,
    ),
    Claim(
        number=4,
        text="A power law of N describes the loss better than a logarithm",
        source="D.5, Fig. 23",
        quantity="residuals of the logarithm over those of the power law",
        paper="",
        rule="Two parameters each, relative residuals, sizes of one horizon; the interval is that of the "
        "noise between seeds. Confirmed: it lies above 1. Contradicted: it lies below 1.",
        sweep="size",
        evaluate=_power_beats_log,
    ),
    Claim(
        number=5,
        text="Counted without embeddings, networks of all depths fall on one line",
        source="section 3.2, Fig. 6",
        quantity="scatter about L(N) with embeddings over that without",
        paper="",
        rule="Transformers of two layers and more at one horizon, ln L on ln N and on ln N_total; the "
        "interval is that of the noise between seeds. Confirmed: it lies above 1.2. Contradicted: it lies "
        "below.",
        sweep="size",
        evaluate=_without_embeddings,
    ),
)
