"""The headline score: how well a law fitted to the smaller sizes predicts the largest.

A law is believed for what it says about runs that it has not seen. Beside it stands a guess that needs no
fit: the lowest loss seen so far (Choshen 2024, rule 9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.fit.fit import DEFAULT_DELTA, fit_law
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import JointLaw

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class HeldOutRun:
    """One run that the fit did not see. Losses in nats per token; errors are (predicted - actual)/actual."""

    run: str
    N: float
    D: float
    predicted: float
    actual: float
    relative_error: float
    baseline_relative_error: float


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """The largest size held out of one form's fit.

    Attributes:
        form: name of the form.
        runs: the held-out runs, the one of most tokens first.
        baseline: the lowest loss among the runs that were fitted, nats per token.
        mean_absolute_error: mean of |relative_error| over the runs; None where nothing was predicted.
        baseline_mean_absolute_error: the same of the baseline.
        reason: why there is no prediction; empty where there is one.
    """

    form: str
    runs: tuple[HeldOutRun, ...]
    baseline: float | None
    mean_absolute_error: float | None
    baseline_mean_absolute_error: float | None
    reason: str


def hold_out_largest(
    form: type[JointLaw], runs: pd.DataFrame, *, n: str = "N", delta: float = DEFAULT_DELTA
) -> Holdout:
    """Fit `form` to all sizes but the largest, predict the largest.

    Args:
        runs: columns run, trunk, D, loss and `n`.
    """
    largest = runs[n] == runs[n].max()
    fitted, held_out = runs[~largest], runs[largest].sort_values("D", ascending=False)
    rows = make_rows({"N": fitted[n], "D": fitted["D"]}, fitted["loss"], fitted["trunk"])
    fit = fit_law(form, rows, delta=delta)
    if not fit.identified or fit.law is None:
        reason = f"without the largest size: {fit.reason}"
        return Holdout(
            form=form.form,
            runs=(),
            baseline=None,
            mean_absolute_error=None,
            baseline_mean_absolute_error=None,
            reason=reason,
        )
    baseline = float(fitted["loss"].min())
    predicted = fit.law.loss(held_out[n].to_numpy(dtype=np.float64), held_out["D"].to_numpy(dtype=np.float64))
    scored = tuple(
        HeldOutRun(
            run=str(run),
            N=float(N),
            D=float(D),
            predicted=float(guess),
            actual=float(actual),
            relative_error=float(guess / actual - 1),
            baseline_relative_error=float(baseline / actual - 1),
        )
        for run, N, D, guess, actual in zip(
            held_out["run"], held_out[n], held_out["D"], predicted, held_out["loss"], strict=True
        )
    )
    return Holdout(
        form=form.form,
        runs=scored,
        baseline=baseline,
        mean_absolute_error=float(np.mean([abs(run.relative_error) for run in scored])),
        baseline_mean_absolute_error=float(np.mean([abs(run.baseline_relative_error) for run in scored])),
        reason="",
    )
