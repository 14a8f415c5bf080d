"""Claims about single variables: power laws in N, D and C, and which N (Kaplan 2020, sections 1 and 3)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.fit.straight_line import Line, line_through
from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.selection import at_common_horizon
from scaling_laws.papers.kaplan2020.evidence import KaplanTables, fit_data_law
from scaling_laws.report.claims import Claim, Finding, Limit, Measured, inconclusive, not_measured
from scaling_laws.report.study_tables import StudyTables, envelope_points

FLATTEST = 0.02
"""An exponent of N or D below this is no scaling to speak of: a decade would change the loss by 5 %."""
SPAN, RMS = "decades", "the rms distance from the line in per cent"
FEWEST_SIZES = 4
DRAWS = 400
RESAMPLES = 100


def _sizes(tables: StudyTables) -> pd.DataFrame:
    """The runs of L(N): one horizon, the main family, columns N and loss."""
    runs = tables.of(tables.main_family)
    return runs if runs.empty else at_common_horizon(runs)[0]


def power_law(x: pd.Series[float], loss: pd.Series[float], name: str) -> Measured | Finding:
    """The slope of ln L on ln x, with the decades of x and the distance from the line."""
    if x.nunique() < 3:
        return not_measured(f"{x.nunique()} values of {name}")
    line = line_through(np.log(x), np.log(loss))
    value, interval = _falling(line)
    span = math.log10(x.max() / x.min())
    rms = 100 * line.rms
    context = f"{x.nunique()} values over {span:.1f} decades of {name}, {rms:.2g} % from the line"
    return Measured(value=value, interval=interval, context=context, limited={SPAN: span, RMS: rms})


def _falling(line: Line) -> tuple[float, Interval]:
    """The exponent of a loss that falls, with its interval."""
    low, high = line.interval
    return -line.slope, (None if high is None else -high, None if low is None else -low)


def _of_N(tables: StudyTables, laws: Laws) -> Measured | Finding:
    runs = _sizes(tables)
    if runs.empty:
        return not_measured("no runs for a law of N")
    return power_law(runs["N"], runs["loss"], "N")


def _of_D(tables: KaplanTables, laws: Laws) -> Measured | Finding:
    runs = tables.data_runs()
    if runs["D"].nunique() < 3:
        return not_measured("no runs on parts of the corpus")
    largest = runs[runs["N"] == runs["N"].max()]
    value, interval = _falling(line_through(np.log(largest["D"]), np.log(largest["loss"])))
    if interval[1] is not None and interval[1] < FLATTEST:
        why = f"the interval lies below {FLATTEST:g}; the largest network, N = {largest['N'].iloc[0]:.3g}"
        return Finding(verdict="contradicted", why=why, value=value, interval=interval)
    law = fit_data_law(runs, resamples=RESAMPLES)
    if law.law is None or law.fit.certificate is None:
        return inconclusive(law.reason)
    span = math.log10(runs["D"].max() / runs["D"].min())
    rms = 100 * law.fit.certificate.rms_log_residual
    value, interval = float(law.law.alpha_D), law.intervals["alpha_D"]
    context = f"{len(runs)} runs over {span:.1f} decades of unique tokens, {rms:.2g} % from the law"
    return Measured(value=value, interval=interval, context=context, limited={SPAN: span, RMS: rms})


def _of_C(tables: StudyTables, laws: Laws) -> Measured | Finding:
    points, reason = envelope_points(laws, tables.main_family), laws.of(tables.main_family).frontier.reason
    if len(points) < 3:
        return not_measured(f"the envelope has {len(points)} points{': ' if reason else ''}{reason}")
    return power_law(points["C"], points["loss"], "C")


def _power_beats_log(tables: StudyTables, laws: Laws) -> Measured | Finding:
    runs = _sizes(tables)
    if runs.empty or runs["N"].nunique() < FEWEST_SIZES:
        return not_measured("fewer than four sizes at one horizon")
    mean = runs.groupby("N")["loss"].mean()
    log_N, loss = np.log(mean.index.to_numpy(dtype=float)), mean.to_numpy(dtype=float)
    value = _log_ratio(log_N, loss)
    noise = laws.noise.sd_log_loss
    if noise is None:
        return inconclusive("the noise between seeds is not known", value)
    shaken = loss * np.exp(np.random.default_rng(0).normal(scale=noise, size=(DRAWS, len(loss))))
    interval = percentile_interval([_log_ratio(log_N, each) for each in shaken])
    context = f"{len(loss)} sizes, seeds differ by {100 * noise:.2g} %"
    return Measured(value=value, interval=interval, context=context)


def _log_ratio(log_N: np.ndarray, loss: np.ndarray) -> float:
    """Residuals of the logarithm over those of the power law, both relative to the loss."""
    power = line_through(log_N, np.log(loss))
    linear = line_through(log_N, loss)
    of_log = (loss - linear.intercept - linear.slope * log_N) / loss
    return float(np.sqrt(np.mean(of_log**2)) / max(power.rms, 1e-9))


def _without_embeddings(tables: StudyTables, laws: Laws) -> Measured | Finding:
    runs = tables.of_experiment("size", "transformer")
    runs = runs[runs["n_layer"] >= 2] if not runs.empty else runs
    if runs.empty:
        return not_measured("no sizes at several depths")
    horizon = runs.groupby("D")["n_layer"].nunique()
    runs = runs[runs["D"] == horizon.idxmax()]
    if runs["n_layer"].nunique() < 2 or runs["N"].nunique() < FEWEST_SIZES:
        return not_measured("no two depths of two layers or more at one horizon")
    loss = np.log(runs["loss"].to_numpy(dtype=float))
    draws = np.random.default_rng(0).normal(scale=laws.noise.sd_log_loss or 0.0, size=(DRAWS, len(loss)))

    def ratio(log_loss: np.ndarray) -> float:
        with_them, without = (line_through(np.log(runs[n]), log_loss).rms for n in ("N_total", "N"))
        return with_them / max(without, 1e-9)

    context = f"depths {', '.join(str(depth) for depth in sorted(runs['n_layer'].unique()))}"
    interval = percentile_interval([ratio(loss + draw) for draw in draws])
    if laws.noise.sd_log_loss is None:
        return inconclusive("the noise between seeds is not known", ratio(loss))
    return Measured(value=ratio(loss), interval=interval, context=context)


STRAIGHT = Limit(
    name=RMS,
    words="the losses lie within {most:g} % (rms) of the line",
    most=1.0,
    contradicts_above=3.0,
)
CLAIMS = (
    Claim(
        slug="loss-falls-with-size",
        text="The loss falls as a power of the number of parameters",
        source="(1.1), Fig. 1",
        quantity="α_N of L(N), non-embedding parameters",
        paper="0.076",
        method="Least squares of ln L on ln N, sizes of one horizon.",
        confirmed=(FLATTEST, np.inf),
        limits=(Limit(name=SPAN, words="the sizes span {least:g} decade", least=1.0), STRAIGHT),
        needs="size",
        measure=_of_N,
    ),
    Claim(
        slug="loss-falls-with-data",
        text="The loss falls as a power of the unique training tokens, stopped early",
        source="(1.2), (1.5), Figs. 1, 4",
        quantity="α_D of L(N, D), D unique tokens",
        paper="0.103 (Table 2)",
        method="L(N, D) (1.5) fitted to the runs on parts of the corpus.",
        confirmed=(FLATTEST, np.inf),
        limits=(
            Limit(name=SPAN, words="unique tokens span {least:g} decade", least=1.0, always=True),
            Limit(name=RMS, words="the losses lie within {most:g} % (rms) of the law", most=2.0, always=True),
        ),
        contradicted_if=f"the slope of ln L on ln D at the largest N lies below {FLATTEST:g}",
        needs="data",
        measure=_of_D,
    ),
    Claim(
        slug="loss-falls-with-compute",
        text="The best loss for a compute falls as a power of the compute",
        source="section 3.3, Fig. 13",
        quantity="α_C of L(C) at a fixed batch, 6ND",
        paper="0.057",
        method="Least squares of ln L on ln C along the envelope over sizes.",
        confirmed=(0.01, np.inf),
        limits=(Limit(name=SPAN, words="C spans {least:g} decades", least=1.5), STRAIGHT),
        needs="size",
        measure=_of_C,
    ),
    Claim(
        slug="power-law-beats-logarithm",
        text="A power law of N describes the loss better than a logarithm",
        source="D.5, Fig. 23",
        quantity="residuals of the logarithm over those of the power law",
        paper="",
        method="Two parameters each, relative residuals, sizes of one horizon; the interval is that of the "
        "noise between seeds.",
        confirmed=(1.0, np.inf),
        needs="size",
        measure=_power_beats_log,
    ),
    Claim(
        slug="embeddings-left-out",
        text="Counted without embeddings, networks of all depths fall on one line",
        source="section 3.2, Fig. 6",
        quantity="scatter about L(N) with embeddings over that without",
        paper="",
        method="Transformers of two layers and more at one horizon, ln L on ln N and on ln N_total; the "
        "interval is that of the noise between seeds.",
        confirmed=(1.2, np.inf),
        needs="size",
        measure=_without_embeddings,
    ),
)
