"""The headline score: how well a law fitted to the smaller sizes predicts the largest.

A law is believed for what it says about runs that it has not seen. Beside it stands a guess that needs no
fit: the lowest loss seen so far (Choshen 2024, rule 9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.intervals import checked
from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import JointLaw

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """The largest size held out of one form's fit. Losses in nats per token.

    Attributes:
        form: name of the form.
        held_out: the runs that the fit did not see, the one of most tokens first; the next four are parallel.
        predicted, actual: losses.
        relative_error: (predicted - actual)/actual.
        baseline: the lowest loss among the runs that were fitted: the guess that needs no fit.
        baseline_relative_error: (baseline - actual)/actual.
        mean_absolute_error: mean of |relative_error| over the runs; None where nothing was predicted.
        baseline_mean_absolute_error: the same of the baseline.
        reason: why there is no prediction; empty where there is one.
    """

    form: str
    held_out: tuple[str, ...] = ()
    predicted: tuple[float, ...] = ()
    actual: tuple[float, ...] = ()
    relative_error: tuple[float, ...] = ()
    baseline: float | None = None
    baseline_relative_error: tuple[float, ...] = ()
    mean_absolute_error: float | None = None
    baseline_mean_absolute_error: float | None = None
    reason: str


def hold_out_largest(
    form: type[JointLaw],
    runs: pd.DataFrame,
    *,
    n: str = "N",
    delta: float = DEFAULT_DELTA,
    noise: SeedNoise | None = None,
) -> Holdout:
    """Fit `form` to all sizes but the largest, predict the largest.

    Args:
        runs: columns run, trunk, D, loss and `n`.
        noise: between seeds.
    """
    largest = runs[n] == runs[n].max()
    fitted, held_out = runs[~largest], runs[largest].sort_values("D", ascending=False)
    rows = make_rows({"N": fitted[n], "D": fitted["D"]}, fitted["loss"], fitted["trunk"])
    fit = checked(fit_law(form, rows, delta=delta), noise=noise)
    if not fit.identified or fit.law is None:
        return Holdout(form=form.form, reason=f"without the largest size: {fit.reason}")
    baseline = float(fitted["loss"].min())
    actual = held_out["loss"].to_numpy(dtype=np.float64)
    predicted = fit.law.loss(held_out[n].to_numpy(dtype=np.float64), held_out["D"].to_numpy(dtype=np.float64))
    error, baseline_error = predicted / actual - 1, baseline / actual - 1
    return Holdout(
        form=form.form,
        held_out=tuple(str(run) for run in held_out["run"]),
        predicted=tuple(predicted.tolist()),
        actual=tuple(actual.tolist()),
        relative_error=tuple(error.tolist()),
        baseline=baseline,
        baseline_relative_error=tuple(baseline_error.tolist()),
        mean_absolute_error=float(np.mean(np.abs(error))),
        baseline_mean_absolute_error=float(np.mean(np.abs(baseline_error))),
        reason="",
    )
