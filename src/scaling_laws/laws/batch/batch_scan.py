"""Steps to a loss at several batches: from learning curves, or from anybody's table.

A scan is a table with the columns model, N (parameters), loss (the level reached, nats per token), batch
(tokens, or the unit of the user's table), steps (NaN where the level was not reached), and noise_scale where
the curves know it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.batch.constant_rate import constant_rate_part, falling_curve
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

FEWEST_BATCHES = 3
"""Two parameters, S_min and E_min, and one batch to test them."""
N_LEVELS = 15
"""Loss levels of a scan from curves."""


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
        One row a size, level and batch: model, N, loss, batch (tokens a step), steps, tokens (= batch *
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
