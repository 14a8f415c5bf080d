"""Which law predicts best what it has not seen: fits to all runs below a cut, the cut moving up an axis.

The axis is N, D or C. Its values are put in order and grouped (sizes; horizons; quantiles of compute). A
window is a cut between two groups: every form is fitted to the runs below it, and predicts those of the next
groups above it. Beside the forms stand two guesses that need no fit (Choshen 2024, arXiv 2410.11840, rule 9).
The error is |L_hat - L|/L, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.allocation.frontier import envelope, size_curves
from scaling_laws.laws.checks.rollout_scores import (
    BASELINES,
    LOWEST_LOSS,
    MOST_COMPUTE,
    Axis,
    Comparison,
    Window,
    compare,
)
from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.intervals import checked
from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.catalogue import FITTED_JOINT_FORMS, FORMS_OF_ONE_VARIABLE
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.laws.selection import SAME_HORIZON, at_common_horizon, of_largest_size, on_envelope
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

STEPS_AHEAD = 2
MOST_GROUPS = 7
ENOUGH_HORIZONS = 5
"""Of one size: an irreducible loss needs four to be identified, and one more to be tested on."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One axis.

    Attributes:
        axis: N, D or C.
        windows: in order of their cuts.
        joint: the laws of N and D on all runs.
        single: the laws of the axis alone (of N at the common horizon, of D at one size, of C on the compute
            envelope) beside the joint laws, which were fitted to all runs, on the runs those predict.
    """

    axis: Axis
    windows: tuple[Window, ...]
    joint: Comparison
    single: Comparison

    @property
    def winner(self) -> str | None:
        """Of the comparison on all runs."""
        return self.joint.winner


def roll_out(
    runs: pd.DataFrame,
    axis: Axis,
    *,
    delta: float = DEFAULT_DELTA,
    noise: SeedNoise | None = None,
    steps_ahead: int = STEPS_AHEAD,
) -> Rollout:
    """Move the cut up `axis` and score every form on what lies above it.

    Args:
        runs: one family's usable runs: run, trunk, N, D, C, loss.
        axis: "N", "D" or "C".
        delta: of the fits.
        noise: between seeds.
        steps_ahead: groups above the cut that a window predicts.

    Raises:
        InputError: the axis is none of the three, steps_ahead is below 1, or a column is missing.
    """
    if axis not in FORMS_OF_ONE_VARIABLE:
        raise InputError(f"axis is {axis!r}: give N, D or C")
    if steps_ahead < 1:
        raise InputError(f"steps_ahead is {steps_ahead}: a window predicts at least one step")
    for column in ("run", "trunk", "N", "D", "C", "loss"):
        if column not in runs.columns:
            raise InputError(f"the run table has no column {column!r}; it has {', '.join(runs.columns)}")
    runs = runs.reset_index(drop=True)
    subset, sentence = _subset(runs, axis)
    in_subset = runs.index.isin(subset.index)
    group = _groups(runs[axis].to_numpy(dtype=np.float64))
    windows: list[Window] = []
    # One size or one horizon is no axis; the lowest compute may well hold several of both.
    for last in range(0 if axis == "C" else 1, group.max(initial=-1)):
        seen, ahead = group <= last, (group > last) & (group <= last + steps_ahead)
        window = _window(runs, axis, seen, ahead, in_subset, delta, noise)
        # The roll-out starts with the fewest runs that identify a form.
        if windows or len(window.predicted) > len(BASELINES):
            windows.append(window)
    joint = [form.form for form in FITTED_JOINT_FORMS]
    single = [form.form for form in FORMS_OF_ONE_VARIABLE[axis]]
    of_subset = [_in_subset(window) for window in windows if window.in_subset.any()]
    return Rollout(
        axis=axis,
        windows=tuple(windows),
        joint=compare(axis, "joint", "all runs above the cut", joint, windows),
        single=compare(axis, "single", sentence, [*single, *joint], of_subset),
    )


def _groups(values: FloatArray) -> NDArray[np.intp]:
    """The group of each value, 0 the lowest: values equal up to rounding; quantiles if these are many."""
    group = np.zeros(len(values), dtype=np.intp)
    first = 0.0
    for i in np.argsort(values, kind="stable"):
        new = first == 0 or np.log(values[i] / first) > SAME_HORIZON
        first = values[i] if new else first
        group[i] = group.max() + new
    group -= group.min(initial=1)
    counts = np.bincount(group)
    if len(counts) > MOST_GROUPS:
        middle = (np.cumsum(counts) - counts / 2) / counts.sum()
        group = np.floor(middle * MOST_GROUPS).astype(np.intp)[group]
        group = np.unique(group, return_inverse=True)[1].reshape(-1)
    return group


def _subset(runs: pd.DataFrame, axis: Axis) -> tuple[pd.DataFrame, str]:
    """The runs that the laws of the axis alone predict, and a sentence that says which.

    On the axis of C they are the envelope of *all* runs: a law of C predicts the best losses.
    """
    if axis == "N":
        return at_common_horizon(runs)
    if axis == "C":
        return on_envelope(runs, envelope(size_curves(runs)))
    horizons = runs.groupby("N")["D"].nunique()
    enough = horizons[horizons >= ENOUGH_HORIZONS]
    return of_largest_size(runs[runs["N"] <= enough.index.max()] if len(enough) else runs)


def _window(
    runs: pd.DataFrame,
    axis: Axis,
    seen: NDArray[np.bool_],
    ahead: NDArray[np.bool_],
    in_subset: NDArray[np.bool_],
    delta: float,
    noise: SeedNoise | None,
) -> Window:
    below, above = runs[seen], runs[ahead]
    ahead_in_subset = in_subset[ahead]
    # The envelope of what was seen: which of its runs lie on it must not depend on the runs ahead.
    of_axis = on_envelope(below, envelope(size_curves(below)))[0] if axis == "C" else runs[seen & in_subset]
    predicted: dict[str, FloatArray] = {}
    refused: dict[str, str] = {}
    for form in FITTED_JOINT_FORMS:
        _predict(form, below, above, delta, noise, predicted, refused)
    for form in FORMS_OF_ONE_VARIABLE[axis] if ahead_in_subset.any() else ():
        _predict(form, of_axis, above, delta, noise, predicted, refused)
        if form.form in predicted:
            predicted[form.form] = np.where(ahead_in_subset, predicted[form.form], np.nan)
    predicted[LOWEST_LOSS] = np.full(len(above), below["loss"].min())
    predicted[MOST_COMPUTE] = np.full(len(above), below["loss"].iloc[int(below["C"].argmax())])
    cut = float(below[axis].max())
    return Window(
        cut=cut,
        n_fitted=len(below),
        runs=tuple(str(run) for run in above["run"]),
        reach=above[axis].to_numpy(dtype=np.float64) / cut,
        actual=above["loss"].to_numpy(dtype=np.float64),
        in_subset=ahead_in_subset,
        predicted=predicted,
        refused=refused,
    )


def _predict(
    form: type[Any],
    below: pd.DataFrame,
    above: pd.DataFrame,
    delta: float,
    noise: SeedNoise | None,
    predicted: dict[str, FloatArray],
    refused: dict[str, str],
) -> None:
    """Add the form's prediction of `above`, or why there is none."""
    rows = make_rows({name: below[name] for name in form.variables}, below["loss"], below["trunk"])
    points = np.unique(np.stack(list(rows.values.values())), axis=1).shape[1]
    if points <= len(form.units):  # what the fit would say too, after a search for an optimum that is not one
        refused[form.form] = f"{points} different points for {len(form.units)} parameters"
        return
    fit = checked(fit_law(form, rows, delta=delta), noise=noise)
    if not fit.identified or fit.law is None:
        refused[form.form] = fit.reason
        return
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        losses = fit.law.loss(*(above[name].to_numpy(dtype=np.float64) for name in form.variables))
    if np.isfinite(losses).all():
        predicted[form.form] = losses
    else:
        refused[form.form] = "its prediction is not a number"


def _in_subset(window: Window) -> Window:
    """The window with none but the runs that the laws of the axis alone predict."""
    keep = window.in_subset
    return Window(
        cut=window.cut,
        n_fitted=window.n_fitted,
        runs=tuple(run for run, kept in zip(window.runs, keep, strict=True) if kept),
        reach=window.reach[keep],
        actual=window.actual[keep],
        in_subset=keep[keep],
        predicted={form: losses[keep] for form, losses in window.predicted.items()},
        refused=window.refused,
    )
