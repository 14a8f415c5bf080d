"""Claims about single variables: power laws in N, D and C, and which N (Kaplan 2020, sections 1 and 3)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from scaling_laws.laws.allocation.frontier import envelope, size_curves
from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.fit.straight_line import Line, clustered_slope, line_through
from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.selection import SAME_HORIZON, at_common_horizon
from scaling_laws.papers.kaplan2020.evidence import KaplanTables, fit_data_law, noise_at
from scaling_laws.report.claims import Claim, Finding, Limit, Measured, inconclusive, not_measured
from scaling_laws.report.study_tables import StudyTables

FLATTEST = 0.02
"""An exponent of N or D below this is no scaling to speak of: a decade would change the loss by 5 %."""
FACTOR = 1.5
"""An exponent within this factor of the paper's is the paper's; any network that learns has one above 0."""
FACTOR_OF_C = 2.0
"""The same of C at one batch: at tokens that are few, the paper's own laws give 0.044."""
PAPER_N, PAPER_D, PAPER_C = 0.076, 0.103, 0.057
SPAN, RMS = "decades", "the rms distance from the line in per cent"
CHANGE = "the change of the exponent from half the horizon, per cent"
FEWEST_SIZES = 4
SIZES_OF_A_LAW = 5
"""Of a horizon, for L(N) at it."""
USUAL_DEPTH = 2
DRAWS = 400
RESAMPLES = 100


def _sizes(tables: StudyTables) -> pd.DataFrame:
    """Runs of all depths at one horizon, the main family, columns N and loss."""
    runs = tables.of(tables.main_family)
    return runs if runs.empty else at_common_horizon(runs)[0]


def _one_depth(tables: StudyTables) -> pd.DataFrame:
    """The main family's runs of two layers; all of them where none has two, or no depth is known."""
    runs = tables.of(tables.main_family)
    if runs.empty or "n_layer" not in runs.columns or not (runs["n_layer"] == USUAL_DEPTH).any():
        return runs
    return runs[runs["n_layer"] == USUAL_DEPTH]


def _by_size(runs: pd.DataFrame, D: float) -> pd.Series[float]:
    """ln loss of each size at the horizon D, the mean over its trainings: sizes are what is independent."""
    at_D = runs[np.abs(np.log(runs["D"] / D)) <= SAME_HORIZON]
    by_size: pd.Series[float] = np.log(at_D["loss"]).groupby(at_D["N"]).mean()
    return by_size


def _of_N(tables: StudyTables, laws: Laws) -> Measured | Finding:
    runs = _one_depth(tables)
    if runs.empty:
        return not_measured("no runs for a law of N")
    horizons = sorted(D for D in runs["D"].unique() if len(_by_size(runs, D)) >= SIZES_OF_A_LAW)
    if not horizons:
        return not_measured(f"no horizon of {SIZES_OF_A_LAW} sizes")
    D = horizons[-1]
    losses = _by_size(runs, D)
    line = line_through(np.log(losses.index.to_numpy(dtype=float)), losses)
    value, interval = _falling(line)
    span, rms = math.log10(losses.index.max() / losses.index.min()), 100 * line.rms
    context = f"{len(losses)} sizes over {span:.1f} decades at {D:.3g} tokens, {rms:.2g} % from the line"
    earlier = _by_size(runs, D / 2)
    earlier = earlier[earlier.index.isin(losses.index)]
    change = math.inf
    if len(earlier) >= SIZES_OF_A_LAW:
        common = losses[losses.index.isin(earlier.index)]
        log_N = np.log(common.index.to_numpy(dtype=float))
        before, after = -line_through(log_N, earlier).slope, -line_through(log_N, common).slope
        change = 100 * abs(after / before - 1) if before else math.inf
        context += f"; {before:.3f} at half as many tokens, where the same sizes have {after:.3f}"
    limited = {SPAN: span, RMS: rms, CHANGE: change}
    return Measured(value=value, interval=interval, context=context, limited=limited)


def _falling(line: Line) -> tuple[float, Interval]:
    """The exponent of a loss that falls, with its interval."""
    low, high = line.interval
    return -line.slope, (None if high is None else -high, None if low is None else -low)


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
    runs = _one_depth(tables)
    points = [] if runs.empty else envelope(size_curves(runs))
    if len(points) < 3:
        reason = laws.of(tables.main_family).frontier.reason
        return not_measured(f"the envelope has {len(points)} points{': ' if reason else ''}{reason}")
    N, C, loss = np.array([(point.N, point.C, point.loss) for point in points]).T
    # Points of one size are of the same few trainings.
    slope, (low, high) = clustered_slope(np.log(C), np.log(loss), N)
    span, rms = math.log10(C.max() / C.min()), 100 * line_through(np.log(C), np.log(loss)).rms
    context = (
        f"{len(points)} points of {len(np.unique(N))} sizes over {span:.1f} decades of C, "
        f"{rms:.2g} % from the line"
    )
    interval = (None if high is None else -high, None if low is None else -low)
    return Measured(value=-slope, interval=interval, context=context, limited={SPAN: span, RMS: rms})


def _power_beats_log(tables: StudyTables, laws: Laws) -> Measured | Finding:
    runs = _sizes(tables)
    if runs.empty or runs["N"].nunique() < FEWEST_SIZES:
        return not_measured("fewer than four sizes at one horizon")
    mean = runs.groupby("N")["loss"].mean()
    log_N, loss = np.log(mean.index.to_numpy(dtype=float)), mean.to_numpy(dtype=float)
    value = _log_ratio(log_N, loss)
    noise = noise_at(tables, laws, float(runs["D"].median()))
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
    noise = noise_at(tables, laws, float(runs["D"].median()))
    draws = np.random.default_rng(0).normal(scale=noise or 0.0, size=(DRAWS, len(loss)))

    def ratio(log_loss: np.ndarray) -> float:
        with_them, without = (line_through(np.log(runs[n]), log_loss).rms for n in ("N_total", "N"))
        return with_them / max(without, 1e-9)

    context = f"depths {', '.join(str(depth) for depth in sorted(runs['n_layer'].unique()))}"
    interval = percentile_interval([ratio(loss + draw) for draw in draws])
    if noise is None:
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
        paper=f"{PAPER_N:g}",
        method="Least squares of ln L on ln N over networks of two layers, each size as the mean over its "
        f"seeds, at the longest horizon that has {SIZES_OF_A_LAW} sizes. The bounds are the paper's "
        f"exponent within a factor of {FACTOR:g}.",
        confirmed=(PAPER_N / FACTOR, PAPER_N * FACTOR),
        limits=(
            Limit(name=SPAN, words="the sizes span {least:g} decade", least=1.0),
            Limit(
                name=CHANGE,
                words="the exponent of half as many tokens differs by at most {most:g} %",
                most=20.0,
            ),
            STRAIGHT,
        ),
        needs="size",
        measure=_of_N,
    ),
    Claim(
        slug="loss-falls-with-data",
        text="With early stopping the loss falls as a power of the unique training tokens",
        source="(1.2), (1.5), Figs. 1, 4",
        quantity="α_D of L(N, D), D unique tokens",
        paper=f"{PAPER_D:g} (Table 2)",
        method="L(N, D) (1.5) fitted to the runs on parts of the corpus. The bounds are the paper's exponent "
        f"within a factor of {FACTOR:g}.",
        confirmed=(PAPER_D / FACTOR, PAPER_D * FACTOR),
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
        text="The best loss at each compute falls as a power of the compute",
        source="section 3.3, Fig. 13",
        quantity="α_C of L(C) at a fixed batch, C = 6ND",
        paper=f"{PAPER_C:g}",
        method="Least squares of ln L on ln C along the envelope of networks of two layers. The interval "
        "leaves out each size in turn. The bounds are the paper's exponent within a factor of "
        f"{FACTOR_OF_C:g}.",
        confirmed=(PAPER_C / FACTOR_OF_C, PAPER_C * FACTOR_OF_C),
        limits=(Limit(name=SPAN, words="C spans {least:g} decades", least=1.5), STRAIGHT),
        needs="size",
        measure=_of_C,
    ),
    Claim(
        slug="power-law-beats-logarithm",
        text="A power law of N describes the loss better than a logarithm",
        source="D.5, Fig. 23",
        quantity="residuals of the logarithm divided by those of the power law",
        paper="",
        method="Both have two parameters and are fitted to the sizes of one horizon; residuals are "
        "relative. The interval comes from the noise between seeds.",
        confirmed=(1.0, np.inf),
        needs="size",
        measure=_power_beats_log,
    ),
    Claim(
        slug="embeddings-left-out",
        text="Counted without embeddings, networks of all depths fall on one line",
        source="section 3.2, Fig. 6",
        quantity="scatter about L(N) with embeddings divided by that without",
        paper="",
        method="Transformers with at least two layers at one horizon; ln L is fitted against ln N and "
        "against ln N_total. The interval comes from the noise between seeds.",
        confirmed=(1.2, np.inf),
        needs="size",
        measure=_without_embeddings,
    ),
)
