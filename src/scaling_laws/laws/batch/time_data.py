"""Steps against batch at one loss: S = S_min + E_min/B and B_crit = E_min/S_min (Kaplan 2020, (5.1), (5.2)).

The noise is that of trainings: the levels that one training passes through are late or early together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.batch.batch_scan import FEWEST_BATCHES
from scaling_laws.laws.fit.coordinates import make_problem
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import DEFAULT_RESAMPLES, Interval, percentile_interval, refit
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.steps import TimeData
from scaling_laws.laws.forms.terms import FloatArray

if TYPE_CHECKING:
    import pandas as pd

LEAST_SQUARES = 10.0
"""A delta that no difference of logarithms reaches: Huber's loss is then the square."""


@dataclass(frozen=True, kw_only=True)
class BatchLevel:
    """Steps to one loss of one model, over batches.

    Attributes:
        model, N, loss: which.
        batches: smallest and largest batch that reached the loss.
        n_batches, n_missed: batches that reached it, and that did not.
        S_min, E_min, B_crit: steps, and E_min and B_crit in the unit of the batches; None without an answer.
        intervals: 90 %, of these three.
        sd_log_B_crit: standard error of ln B_crit, by the curvature of the fit; None without an answer.
        noise_scale: gradient noise scale at this loss, geometric mean over batches; None if not measured.
        warning: what to know before believing B_crit; empty if nothing.
        reason: why there is no answer; empty where there is one.
    """

    model: str
    N: float
    loss: float
    batches: tuple[float, float] | None
    n_batches: int
    n_missed: int
    S_min: float | None = None
    E_min: float | None = None
    B_crit: float | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    noise_scale: float | None = None
    sd_log_B_crit: float | None = None
    warning: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class LevelScan(BatchLevel):
    """A level with what it was measured by.

    Attributes:
        fit: of S = S_min + E_min/B; None where fewer than three batches reached the loss.
        draws: ln B_crit, (resamples,); empty without an answer.
    """

    fit: Fit[TimeData] | None
    draws: FloatArray = field(default_factory=lambda: np.empty(0))


def fit_time_data(
    scan: pd.DataFrame,
    *,
    delta: float = LEAST_SQUARES,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> tuple[LevelScan, ...]:
    """S = S_min + E_min/B at every model and loss of the scan, by ln S.

    Intervals are a parametric bootstrap: each training (model and batch) gets one error of ln S, common to
    all its levels, with the standard deviation of the model's residuals for n - p degrees of freedom.

    Args:
        scan: from `steps_to_target` or `scan_from_table`.
        delta: of Huber's loss, in ln S; by default least squares.
        resamples: of the bootstrap.
        seed: of its random numbers.
    """
    random = np.random.default_rng(seed)
    levels: list[LevelScan] = []
    for _, of_model in scan.groupby("model", sort=False):
        fits = {
            float(loss): _time_data_fit(at_loss, delta)  # type: ignore[arg-type]
            for loss, at_loss in of_model.groupby("loss", sort=False)
        }
        # One error a batch, shared by the levels that this training passed through.
        errors = {batch: random.normal(size=resamples) for batch in np.unique(of_model["batch"])}
        log_sd = _log_sd([fit for fit in fits.values() if fit is not None])
        for loss, fit in fits.items():
            at_loss = of_model[of_model["loss"] == loss]
            noise = None
            if fit is not None:
                noise = log_sd * np.stack([errors[batch] for batch in fit.rows.values["B"]], axis=1)
            levels.append(_level(at_loss, loss, fit, log_sd, noise))
    return tuple(levels)


def _time_data_fit(at_loss: pd.DataFrame, delta: float) -> Fit[TimeData] | None:
    reached = at_loss[at_loss["steps"].notna()]
    if reached["batch"].nunique() < FEWEST_BATCHES:
        return None
    return fit_law(TimeData, make_rows({"B": reached["batch"]}, reached["steps"]), delta=delta)


def _log_sd(fits: list[Fit[TimeData]]) -> float:
    """Standard deviation of ln S about the fits of one model, for n - p degrees of freedom."""
    squares, freedom = 0.0, 0
    for fit in fits:
        assert fit.certificate is not None
        squares += fit.certificate.rms_log_residual**2 * fit.rows.n
        freedom += fit.rows.n - 2
    return float(np.sqrt(squares / freedom)) if freedom else 0.0


def _level(
    at_loss: pd.DataFrame, loss: float, fit: Fit[TimeData] | None, log_sd: float, noise: FloatArray | None
) -> LevelScan:
    reached = at_loss[at_loss["steps"].notna()]
    batches = None if reached.empty else (float(reached["batch"].min()), float(reached["batch"].max()))
    noise_scale = None
    if "noise_scale" in at_loss.columns and reached["noise_scale"].notna().any():
        noise_scale = float(np.exp(np.log(reached["noise_scale"].dropna()).mean()))
    empty = LevelScan(
        model=str(at_loss["model"].iloc[0]),
        N=float(at_loss["N"].iloc[0]),
        loss=loss,
        batches=batches,
        n_batches=len(reached),
        n_missed=len(at_loss) - len(reached),
        fit=fit,
        noise_scale=noise_scale,
    )
    if batches is None:
        return replace(empty, reason=f"no batch reached the loss {loss:.4g}")
    if fit is None or noise is None:
        batch = "batch" if len(reached) == 1 else "batches"
        why = f"{len(reached)} {batch} reached the loss {loss:.4g}: S_min and E_min need {FEWEST_BATCHES}"
        return replace(empty, reason=why)
    if not fit.identified or fit.law is None:
        return replace(empty, reason=_in_words(fit, batches))
    problem = make_problem(fit.coordinates, fit.rows, fit.weights, fit.delta)
    at_optimum = problem.model.predict(fit.minima[:1])
    covariance = np.linalg.inv(at_optimum.jacobian[0].T @ at_optimum.jacobian[0])
    of_ratio = np.array([-1.0, 1.0])  # ln E_min - ln S_min
    theta = refit(fit, replace(problem, log_loss=at_optimum.log_loss + noise), len(noise))
    drawn = fit.coordinates.law(theta)
    B_crit = float(fit.law.critical_batch)
    warning = ""
    if not batches[0] <= B_crit <= batches[1]:
        side = "above the largest" if B_crit > batches[1] else "below the smallest"
        end = batches[1] if B_crit > batches[1] else batches[0]
        warning = f"B_crit = {B_crit:.3g} lies {side} batch that was scanned, {end:.3g}: extrapolated"
    return replace(
        empty,
        S_min=float(fit.law.S_min),
        E_min=float(fit.law.E_min),
        B_crit=B_crit,
        intervals={
            "S_min": percentile_interval(drawn.S_min),
            "E_min": percentile_interval(drawn.E_min),
            "B_crit": percentile_interval(drawn.critical_batch),
        },
        sd_log_B_crit=log_sd * float(np.sqrt(of_ratio @ covariance @ of_ratio)),
        draws=np.log(drawn.E_min) - np.log(drawn.S_min),
        warning=warning,
    )


def _in_words(fit: Fit[TimeData], batches: tuple[float, float]) -> str:
    """What it means that a term is not seen."""
    if fit.certificate is not None and "S_min" in fit.certificate.on_bound:
        return f"the steps fall as 1/B up to the largest batch, {batches[1]:.3g}: scan larger ones"
    if fit.certificate is not None and "E_min" in fit.certificate.on_bound:
        return f"the steps do not fall with the batch from {batches[0]:.3g} on: scan smaller ones"
    return fit.reason
