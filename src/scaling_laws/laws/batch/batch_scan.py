"""Steps to a loss at several batches, and at each loss S = S_min + E_min/B (Kaplan 2020, (5.1), (5.2)).

A scan is a table with the columns model, N (parameters), loss (the level reached, nats per token), batch
(tokens, or the unit of the user's table), steps (NaN where the level was not reached), and noise_scale where
the curves know it. It comes from learning curves, or from anybody's table. Its noise is that of trainings:
the levels that one training passes through are late or early together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.batch.constant_rate import constant_rate_part, falling_curve
from scaling_laws.laws.fit import DEFAULT_RESAMPLES
from scaling_laws.laws.fit.coordinates import LEAST_SQUARES
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import Interval, percentile_interval, refit, why_uncertain
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.steps import TimeData
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

FEWEST_BATCHES = 3
"""Two parameters, S_min and E_min, and one batch to test them."""
N_LEVELS = 15
"""Loss levels of a scan from curves."""


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


def steps_to_target(curves: pd.DataFrame, targets: ArrayLike | None = None) -> pd.DataFrame:
    """Steps and tokens at which each batch of each size reached each loss: Kaplan 2020, figure 18.

    Within a curve, ln loss is interpolated over ln step, on the falling curve closest to it. Of several
    learning rates at one size and batch, the fastest to each level counts; of its replicates, the geometric
    mean, and nothing where one of them did not get there.

    Args:
        curves: of one family, as in `constant_rate_part`; the part at a constant rate is used.
        targets: losses, nats per token; by default 15, evenly spaced in logarithm over what at least three
            batches of a size reached.

    Returns:
        One row per size, level and batch: model, N, loss, batch (tokens per step), steps, tokens (= batch *
        steps); noise_scale (tokens) where the curves know it. NaN where the level was not reached.

    Raises:
        InputError: see `constant_rate_part`; or a target is not positive.
    """
    import pandas as pd

    points = constant_rate_part(curves).points
    levels = _default_targets(points) if targets is None else np.asarray(targets, dtype=np.float64)
    if not np.all(levels > 0):
        raise InputError("target losses must be positive, in nats per token")
    tables = [pd.DataFrame(columns=["model", "N", "loss", "batch", "steps", "tokens"])]
    for (N, batch), of_batch in points.groupby(["N", "batch_tokens"]):
        log_steps, log_noise = _fastest(of_batch, levels)
        steps = np.exp(log_steps)
        columns = {"model": f"N = {N:.12g}", "N": float(N), "loss": levels, "batch": float(batch)}  # type: ignore[arg-type]
        columns |= {"steps": steps, "tokens": steps * float(batch)}  # type: ignore[arg-type]
        if log_noise is not None:
            columns["noise_scale"] = np.exp(log_noise)
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def scan_from_table(
    table: pd.DataFrame,
    n: str = "N",
    loss: str = "loss",
    batch: str = "batch",
    steps: str = "steps",
    *,
    model: str | None = None,
    tokens_per_batch_unit: str | None = None,
) -> pd.DataFrame:
    """A scan from a table of one row a model, loss and batch.

    Args:
        n, loss, batch, steps: the table's columns; steps may be empty where the loss was not reached.
        model: column of the model's name; by default a model is an N.
        tokens_per_batch_unit: column of what a batch's unit is in tokens (the sequence length, where batches
            are counted in sequences); without it batches keep their unit.

    Raises:
        InputError: a column is missing, a value is not a positive number, or a row occurs twice.
    """
    import pandas as pd

    wanted = {"N": n, "the loss": loss, "the batch": batch, "the steps": steps, "the model": model}
    wanted["tokens in a unit of batch"] = tokens_per_batch_unit
    for role, column in wanted.items():
        if column is not None and column not in table.columns:
            raise InputError(f"no column {column!r} for {role}; the table has {', '.join(table.columns)}")
    columns: dict[str, FloatArray] = {}
    numbers = {"N": n, "loss": loss, "batch": batch, "steps": steps}
    if tokens_per_batch_unit is not None:
        numbers["unit"] = tokens_per_batch_unit
    for name, column in numbers.items():
        values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
        empty = (name == "steps") & table[column].isna().to_numpy()
        if len(bad := np.flatnonzero(~empty & ~(np.isfinite(values) & (values > 0)))):
            cell = table[column].iloc[bad[0]]
            raise InputError(
                f"row {bad[0] + 1} of the batch scan: {column} is {cell}; it must be a number > 0"
            )
        columns[name] = values
    if "unit" in columns:
        columns["batch"] = columns["batch"] * columns.pop("unit")
    names = [f"N = {N:.12g}" for N in columns["N"]] if model is None else table[model].astype(str).tolist()
    scan = pd.DataFrame({"model": names, **columns, "tokens": columns["batch"] * columns["steps"]})
    twice = scan.duplicated(["model", "N", "loss", "batch"])
    if twice.any():
        row = scan[twice].iloc[0]
        raise InputError(
            f"the batch scan has {row['model']}, loss {row['loss']}, batch {row['batch']:g} twice"
        )
    return scan


def _default_targets(points: pd.DataFrame) -> FloatArray:
    """Levels that at least three batches of some size reached, from the highest down."""
    highest, lowest = [], []
    for _, of_size in points.groupby("N"):
        ranges = of_size.groupby("batch_tokens")["loss"].agg(["max", "min"])
        if len(ranges) >= FEWEST_BATCHES:
            highest.append(ranges["max"].sort_values(ascending=False).iloc[FEWEST_BATCHES - 1])
            lowest.append(ranges["min"].sort_values().iloc[FEWEST_BATCHES - 1])
    if not highest or max(highest) <= min(lowest):
        return np.empty(0)
    # Not the very ends: smoothed curves end a little inside.
    return np.geomspace(max(highest), min(lowest), N_LEVELS + 2)[1:-1]


def _fastest(of_batch: pd.DataFrame, levels: FloatArray) -> tuple[FloatArray, FloatArray | None]:
    """ln steps to each level, (m,), of the learning rate that is fastest to it; and ln noise scale there."""
    has_noise = "noise_scale_tokens" in of_batch.columns
    by_rate: dict[float, list[tuple[FloatArray, FloatArray]]] = {}
    for _, curve in of_batch.groupby("trunk"):
        rate = float(curve["peak_learning_rate"].iloc[0]) if "peak_learning_rate" in curve.columns else 0.0
        falling = falling_curve(curve["step"], curve["loss"])
        log_step = falling.log_step_at(levels)
        log_noise = np.full(len(levels), np.nan)
        if has_noise:
            measured = curve[curve["noise_scale_tokens"] > 0]
            if len(measured):
                at = np.log(measured["step"].to_numpy(dtype=np.float64))
                noise = np.log(measured["noise_scale_tokens"].to_numpy(dtype=np.float64))
                log_noise = np.interp(log_step, at, noise)
        by_rate.setdefault(rate, []).append((log_step, log_noise))
    steps = np.stack([np.mean([step for step, _ in curves], axis=0) for curves in by_rate.values()])
    noises = np.stack([np.mean([noise for _, noise in curves], axis=0) for curves in by_rate.values()])
    best = np.argmin(np.where(np.isnan(steps), np.inf, steps), axis=0)
    level = np.arange(len(levels))
    return steps[best, level], noises[best, level] if has_noise else None


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
    problem = fit.problem
    at_optimum = problem.model.predict(fit.minima[:1])
    covariance = np.linalg.inv(at_optimum.jacobian[0].T @ at_optimum.jacobian[0])
    of_ratio = np.array([-1.0, 1.0])  # ln E_min - ln S_min
    theta = refit(fit, replace(problem, log_loss=at_optimum.log_loss + noise), len(noise))
    drawn = fit.coordinates.law(theta)
    intervals = {
        "S_min": percentile_interval(drawn.S_min),
        "E_min": percentile_interval(drawn.E_min),
        "B_crit": percentile_interval(drawn.critical_batch),
    }
    if reason := why_uncertain(TimeData, intervals):
        return replace(empty, reason=reason)
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
        intervals=intervals,
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
