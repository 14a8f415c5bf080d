"""The part of learning curves that laws of training time describe: after warm-up, at a constant rate.

While the learning rate rises or falls the loss moves for another reason than the steps taken, and where
tokens return the data are limited. What several runs of one training share counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.errors import InputError
from scaling_laws.study.schedule import SAME_RATE

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("run", "N", "batch_tokens", "step", "tokens", "loss")


@dataclass(frozen=True, kw_only=True)
class ConstantRate:
    """Points of learning curves, and in words which ones.

    Attributes:
        points: columns trunk, N, batch_tokens, step, tokens, loss; and peak_learning_rate,
            noise_scale_tokens where the curves know them. In order of trunk and step, each step once.
        sentence: which points of the curves these are.
    """

    points: pd.DataFrame
    sentence: str


@dataclass(frozen=True, kw_only=True)
class FallingCurve:
    """A learning curve without its bumps: the falling curve closest to ln loss, in least squares.

    Attributes:
        log_step, log_loss: (blocks,): steps rise, losses fall strictly.
    """

    log_step: FloatArray
    log_loss: FloatArray

    def log_step_at(self, loss: ArrayLike) -> FloatArray:
        """ln of the step at which the curve reaches each loss; NaN for losses above or below the curve."""
        wanted = np.log(np.asarray(loss, dtype=np.float64))
        inside = (wanted <= self.log_loss[0]) & (wanted >= self.log_loss[-1])
        return np.where(inside, np.interp(-wanted, -self.log_loss, self.log_step), np.nan)


def curves_of_study(
    curves: pd.DataFrame, runs: pd.DataFrame, *, loss: str = "test_loss_nats", n: str = "N"
) -> pd.DataFrame:
    """A study's curves with what the runs know: the columns that `constant_rate_part` reads.

    Args:
        curves: run, step, tokens, learning_rate, `loss`; noise_scale_tokens where it was measured.
        runs: run, trunk, `n`, batch_tokens; unique_tokens where it is known.
        loss: the column of `curves` that counts as the loss, nats per token.
        n: the column of `runs` that counts as N.

    Raises:
        InputError: `curves` has no column `loss`.
    """
    if loss not in curves.columns:
        raise InputError(f"the curves have no column {loss!r}; they have {', '.join(curves.columns)}")
    known = [column for column in ("unique_tokens",) if column in runs.columns]
    of_run = runs[["run", "trunk", "batch_tokens", *known]].assign(N=runs[n].astype(float))
    measured = [
        column
        for column in ("step", "tokens", "learning_rate", "noise_scale_tokens")
        if column in curves.columns
    ]
    return curves[["run", *measured]].assign(loss=curves[loss]).merge(of_run, on="run")


def constant_rate_part(curves: pd.DataFrame) -> ConstantRate:
    """The points after warm-up and before the learning rate falls, without repeated tokens.

    Args:
        curves: columns run, N (parameters), batch_tokens, step, tokens, loss (nats per token; rows without
            one are skipped); where known trunk (runs that share it share their rows), learning_rate,
            unique_tokens, noise_scale_tokens.

    Raises:
        InputError: a column is missing, or a value is not a positive number.
    """
    for column in NEEDED:
        if column not in curves.columns:
            raise InputError(f"the curves have no column {column!r}; they have {', '.join(curves.columns)}")
    table = curves[curves["loss"].notna()]
    for column in NEEDED[1:]:
        values = table[column].to_numpy(dtype=np.float64)
        if len(bad := np.flatnonzero(~(np.isfinite(values) & (values > 0)))):
            run = table["run"].iloc[bad[0]]
            raise InputError(f"curve of {run}: {column} is {values[bad[0]]}; a law needs it > 0")
    if "trunk" not in table.columns:
        table = table.assign(trunk=table["run"])
    n_before = table.drop_duplicates(["trunk", "step", "loss"]).shape[0]
    if "learning_rate" in table.columns:
        # The schedule's peak is in all the curve's rows, those without a loss included.
        peak = table["run"].map(curves.groupby("run")["learning_rate"].max())
        at_peak = table["learning_rate"] >= peak * (1 - SAME_RATE)
        table = table.assign(peak_learning_rate=peak)[at_peak]
        which = "after warm-up and before the learning rate falls"
    else:
        which = "all there are: the curves have no learning_rate, so that warm-up and cooldown are among them"
    if "unique_tokens" in table.columns:
        new = table["tokens"] <= table["unique_tokens"]
        if not new.all():
            which += ", as long as no token returns"
        table = table[new]
    columns = ["trunk", *NEEDED[1:]]
    columns += [name for name in ("peak_learning_rate", "noise_scale_tokens") if name in table.columns]
    points = table.drop_duplicates(["trunk", "step"])[columns].sort_values(["trunk", "step"])
    return ConstantRate(
        points=points.reset_index(drop=True),
        sentence=f"{len(points)} of {n_before} points of the curves: {which}",
    )


def falling_curve(step: ArrayLike, loss: ArrayLike) -> FallingCurve:
    """Isotonic regression of ln loss: bumps are averaged away, where a running minimum would follow them.

    Args:
        step, loss: (points,), steps in rising order.
    """
    from scipy.optimize import isotonic_regression

    log_step, log_loss = (
        np.log(np.asarray(step, dtype=np.float64)),
        np.log(np.asarray(loss, dtype=np.float64)),
    )
    fitted = isotonic_regression(log_loss, increasing=False)
    size = np.diff(fitted.blocks)
    return FallingCurve(
        log_step=np.add.reduceat(log_step, fitted.blocks[:-1]) / size, log_loss=fitted.x[fitted.blocks[:-1]]
    )
