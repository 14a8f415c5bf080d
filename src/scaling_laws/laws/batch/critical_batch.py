"""How the critical batch grows as the loss falls: B_crit = B_star/L^(1/alpha_B) (Kaplan 2020, section 5.1).

Every level's B_crit comes from the scan of steps over batches (`batch_scan.py`) with draws that share the
errors of its trainings; the law is refitted to those draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.batch.batch_scan import (
    FEWEST_BATCHES,
    LevelScan,
    fit_time_data,
    scan_from_table,
    steps_to_target,
)
from scaling_laws.laws.fit import DEFAULT_RESAMPLES
from scaling_laws.laws.fit.coordinates import LEAST_SQUARES
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import Interval, percentile_interval, refit, residual_sd, why_uncertain
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.forms.terms import FloatArray

if TYPE_CHECKING:
    import pandas as pd

DELTA_LOG_BATCH = 0.2
"""Of the fit over losses: a level whose B_crit is off by more than a fifth pulls no harder than that."""
SMALLEST_LOG_SD = 0.01
"""Of ln B_crit: no level is believed to be known better."""
FEWEST_LEVELS = 3


@dataclass(frozen=True, kw_only=True)
class SizeDependence:
    """Whether B_crit depends on the size beyond the loss: B_crit = B_star L^(-1/alpha_B) N^exponent.

    Attributes:
        exponent, interval: None where the scan cannot tell.
        by_model: a fit a model, of those with three levels or more: (model, N, alpha_B, B_star).
        sentence: the answer.
    """

    exponent: float | None
    interval: Interval | None
    by_model: tuple[tuple[str, float, float, float], ...]
    sentence: str


@dataclass(frozen=True, kw_only=True)
class NoiseScaleComparison:
    """The gradient noise scale (McCandlish 2018, arXiv 1812.06162) against the measured B_crit.

    Attributes:
        n_points: levels with both.
        ratio: geometric mean of noise scale over B_crit; None without points.
        rank_correlation: Spearman's; None for fewer than three points or where one of the two never varies.
        sentence: both in words.
    """

    n_points: int
    ratio: float | None
    rank_correlation: float | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class BatchLaw:
    """B_crit(L) and what it was made of.

    Attributes:
        levels: every model and loss of the scan.
        fit: of B_crit = B_star/L^(1/alpha_B) to the levels that have an answer; None where none has.
        law: at the optimum; None unless identified.
        draws: the law with an array (resamples,) for each parameter; None unless identified. alpha_B is
            infinite where B_crit does not grow as the loss falls.
        intervals: 90 %, of its parameters.
        interval_method: in words.
        loss_range: losses of the levels that were fitted: beyond them B_crit is extrapolated.
        size: whether B_crit depends on N beyond the loss.
        noise_scale: the comparison with the gradient noise scale.
        warnings: sentences.
        reason: why there is no law; empty where there is one.
    """

    levels: tuple[LevelScan, ...]
    fit: Fit[CriticalBatch] | None = None
    law: CriticalBatch | None = None
    draws: CriticalBatch | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    interval_method: str = ""
    loss_range: tuple[float, float] | None = None
    size: SizeDependence
    noise_scale: NoiseScaleComparison
    warnings: tuple[str, ...] = ()
    reason: str


def critical_batch_from_curves(
    curves: pd.DataFrame,
    targets: FloatArray | None = None,
    *,
    delta: float = LEAST_SQUARES,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> BatchLaw:
    """B_crit(L) from learning curves at several batches: see `steps_to_target`, `fit_time_data`."""
    levels = fit_time_data(steps_to_target(curves, targets), delta=delta, resamples=resamples, seed=seed)
    return fit_critical_batch(levels, seed=seed)


def critical_batch_from_table(
    table: pd.DataFrame,
    n: str = "N",
    loss: str = "loss",
    batch: str = "batch",
    steps: str = "steps",
    *,
    model: str | None = None,
    tokens_per_batch_unit: str | None = None,
    delta: float = LEAST_SQUARES,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> BatchLaw:
    """B_crit(L) from a table of one row a model, target loss and batch: see `scan_from_table`."""
    scan = scan_from_table(
        table, n, loss, batch, steps, model=model, tokens_per_batch_unit=tokens_per_batch_unit
    )
    levels = fit_time_data(scan, delta=delta, resamples=resamples, seed=seed)
    law = fit_critical_batch(levels, seed=seed)
    if tokens_per_batch_unit is None and batch != "batch_tokens":
        unit = f"Batches are in the unit of the column {batch}: so are B_crit, E_min and B_star."
        return replace(law, warnings=(unit, *law.warnings))
    return law


def fit_critical_batch(levels: Sequence[LevelScan], *, seed: int = 0) -> BatchLaw:
    """B_crit = B_star/L^(1/alpha_B) through the levels that have an answer, each weighted by its precision.

    The law is refitted to the levels' draws. Where the levels scatter about the law more than their own draws
    explain, every draw of a level gets what is missing besides.

    Args:
        levels: from `fit_time_data`, all with the same number of resamples.
        seed: of the random numbers.
    """
    used = [level for level in levels if not level.reason]
    noise_scale = _noise_scale(used)
    if not used:
        return BatchLaw(
            levels=tuple(levels),
            size=_size_dependence(used, np.empty((0, 0))),
            noise_scale=noise_scale,
            reason=_why_no_level(levels),
        )
    fit = _batch_fit(used)
    loss_range = (min(level.loss for level in used), max(level.loss for level in used))
    drawn = _drawn(fit, used, seed)
    draws, intervals, method, reason = None, {}, "", fit.reason
    if fit.identified:
        draws = _batch_draws(fit, drawn)
        intervals = _intervals(draws)
        n_trainings = sum(
            max(level.n_batches for level in used if level.model == model)
            for model in {level.model for level in used}
        )
        reason = why_uncertain(CriticalBatch, intervals)
        if reason:
            draws, intervals = None, {}
        method = (
            f"parametric bootstrap of the steps to each loss ({n_trainings} trainings, one error for all the "
            f"levels of each; {len(drawn)} resamples)"
        )
    return BatchLaw(
        levels=tuple(levels),
        fit=fit,
        law=None if reason else fit.law,
        draws=draws,
        intervals=intervals,
        interval_method=method,
        loss_range=loss_range,
        size=_size_dependence(used, drawn),
        noise_scale=noise_scale,
        warnings=_warnings(used, loss_range),
        reason=reason,
    )


def _batch_fit(used: Sequence[LevelScan]) -> Fit[CriticalBatch]:
    rows = make_rows(
        {"L": [level.loss for level in used]},
        np.array([level.B_crit for level in used], dtype=np.float64),
        [level.model for level in used],
    )
    return fit_law(CriticalBatch, rows, weights=_weights(used), delta=DELTA_LOG_BATCH)


def _log_sds(used: Sequence[LevelScan]) -> FloatArray:
    return np.array([level.sd_log_B_crit for level in used], dtype=np.float64)


def _weights(used: Sequence[LevelScan]) -> FloatArray:
    """Inverse variances of ln B_crit, of mean one."""
    precision = 1 / (_log_sds(used) ** 2 + SMALLEST_LOG_SD**2)
    return np.asarray(precision / precision.mean())


def _drawn(fit: Fit[CriticalBatch], used: Sequence[LevelScan], seed: int) -> FloatArray:
    """ln B_crit of the levels, (resamples, levels), with the scatter that their own draws do not explain."""
    drawn = np.stack([level.draws for level in used], axis=1)
    explained = float(np.median(_log_sds(used)))
    missing = np.sqrt(max(residual_sd(fit) ** 2 - explained**2, 0.0))
    return drawn + np.random.default_rng(seed).normal(scale=missing, size=drawn.shape)


def _batch_draws(fit: Fit[CriticalBatch], drawn: FloatArray) -> CriticalBatch:
    problem = fit.problem
    theta = refit(fit, replace(problem, log_loss=drawn), len(drawn))
    with np.errstate(divide="ignore"):
        law: CriticalBatch = fit.coordinates.law(theta)
    # A negative exponent is a B_crit that falls with the loss: beyond the infinite alpha_B of none.
    alpha_B = np.asarray(law.alpha_B)
    return replace(law, alpha_B=np.where(alpha_B > 0, alpha_B, np.inf))


def _intervals(draws: CriticalBatch) -> dict[str, Interval]:
    return {name: percentile_interval(values) for name, values in vars(draws).items()}


def _size_dependence(used: Sequence[LevelScan], drawn: FloatArray) -> SizeDependence:
    models = list(dict.fromkeys(level.model for level in used))
    of_model = {model: [level for level in used if level.model == model] for model in models}
    by_model = []
    for model, levels in of_model.items():
        fit = _batch_fit(levels) if len(levels) >= FEWEST_LEVELS else None
        if fit is None or not fit.identified or fit.law is None:
            continue
        of_levels = [column for column, level in enumerate(used) if level.model == model]
        draws = _batch_draws(fit, drawn[:, of_levels])
        if not why_uncertain(CriticalBatch, _intervals(draws)):
            by_model.append((model, levels[0].N, float(fit.law.alpha_B), float(fit.law.B_star)))
    unknown = SizeDependence(exponent=None, interval=None, by_model=tuple(by_model), sentence="")
    if len({level.N for level in used}) < 2:
        return replace(
            unknown,
            sentence="Whether B_crit depends on the size is not known: one size was measured at most.",
        )
    ranges = [
        (min(level.loss for level in levels), max(level.loss for level in levels))
        for levels in of_model.values()
    ]
    overlaps = [
        max(first[0], second[0]) < min(first[1], second[1])
        for i, first in enumerate(ranges)
        for second in ranges[:i]
    ]
    if not any(overlaps):
        why = "Size and loss cannot be told apart: no two sizes were measured over common losses."
        return replace(unknown, sentence=why)
    design = np.stack(
        [np.ones(len(used)), np.log([level.loss for level in used]), np.log([level.N for level in used])],
        axis=1,
    )
    design[:, 1:] -= design[:, 1:].mean(axis=0)
    root = np.sqrt(_weights(used))
    solve = np.linalg.pinv(design * root[:, None])[2] * root
    log_B = np.log(np.array([level.B_crit for level in used], dtype=np.float64))
    exponent = float(solve @ log_B)
    low, high = percentile_interval(drawn @ solve)
    assert low is not None and high is not None
    seen = "grows" if low > 0 else "falls"
    sentence = (
        f"At equal loss B_crit {seen} with the size, as N^{exponent:.2f} ({low:.2f} to {high:.2f})."
        if low > 0 or high < 0
        else f"Beyond the loss no dependence of B_crit on the size is seen: N^{exponent:.2f} "
        f"({low:.2f} to {high:.2f})."
    )
    return replace(unknown, exponent=exponent, interval=(low, high), sentence=sentence)


def _noise_scale(used: Sequence[LevelScan]) -> NoiseScaleComparison:
    both = [(level.noise_scale, level.B_crit) for level in used if level.noise_scale and level.B_crit]
    if not both:
        sentence = "The gradient noise scale was not measured."
        return NoiseScaleComparison(n_points=0, ratio=None, rank_correlation=None, sentence=sentence)
    log_noise, log_batch = np.log(np.array(both, dtype=np.float64)).T
    ratio = float(np.exp(np.mean(log_noise - log_batch)))
    sentence = f"The gradient noise scale is {ratio:.2g} times B_crit at {len(both)} losses and sizes"
    correlation = None
    if len(both) >= 3 and np.ptp(log_noise) > 0 and np.ptp(log_batch) > 0:
        from scipy.stats import spearmanr

        result: Any = spearmanr(log_noise, log_batch)
        correlation = float(result.statistic)
        sentence += f", with a rank correlation of {correlation:.2f}"
    return NoiseScaleComparison(
        n_points=len(both), ratio=ratio, rank_correlation=correlation, sentence=sentence + "."
    )


def _why_no_level(levels: Sequence[LevelScan]) -> str:
    if not levels:
        return f"no loss was reached by {FEWEST_BATCHES} batches of one size"
    reasons = list(dict.fromkeys(level.reason for level in levels))
    more = f" (and {len(reasons) - 1} more reasons)" if len(reasons) > 1 else ""
    return f"no level has an answer: {reasons[0]}{more}"


def _warnings(used: Sequence[LevelScan], loss_range: tuple[float, float]) -> tuple[str, ...]:
    sentences = []
    if extrapolated := sum(bool(level.warning) for level in used):
        sentences.append(f"At {extrapolated} of {len(used)} levels B_crit lies outside the batches scanned.")
    low, high = loss_range
    sentences.append(
        f"B_crit was measured at losses of {low:.4g} to {high:.4g}: beyond them the law extrapolates."
    )
    return tuple(sentences)
