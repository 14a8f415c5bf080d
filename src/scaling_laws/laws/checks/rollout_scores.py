"""The windows of a roll-out, and which form predicted best on those that every compared form predicted.

A form may refuse a window: the runs below the cut do not identify it. Were each form scored on its own
windows, one would win by refusing the hard ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.forms.terms import FloatArray

Axis = Literal["N", "D", "C"]
Kind = Literal["joint", "single"]
LOWEST_LOSS = "lowest loss seen"
MOST_COMPUTE = "loss of the most compute seen"
BASELINES = (LOWEST_LOSS, MOST_COMPUTE)
LEAST_SHARE_PREDICTED = 0.5
"""A form that refuses more than half of the windows is not compared: it would leave too few to compare on."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """One cut: what was fitted below it, and what was said about the runs above it.

    Attributes:
        cut: the largest fitted value of the axis.
        n_fitted: runs below the cut.
        runs: the k runs that are predicted.
        reach: (k,): their value of the axis over the cut: how far the prediction goes.
        actual: (k,): their losses, nats per token.
        in_subset: (k,): whether the laws of the axis alone predict the run.
        predicted: (k,) by form or baseline, nats per token; NaN where the form was not asked.
        refused: why a form gave no prediction, by form.
    """

    cut: float
    n_fitted: int
    runs: tuple[str, ...]
    reach: FloatArray
    actual: FloatArray
    in_subset: NDArray[np.bool_]
    predicted: Mapping[str, FloatArray]
    refused: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class FormScore:
    """How one form, or one baseline, predicted.

    Attributes:
        form: its name.
        n_windows: windows it predicted.
        n_refused: windows it refused.
        reasons: why, each reason once, the most frequent first.
        own_error: mean |relative error| over the windows that it predicted; None without one.
        error: the same over the windows that are compared; None where the form is not compared.
        n_best: compared windows in which no other form or baseline was better.
    """

    form: str
    n_windows: int
    n_refused: int
    reasons: tuple[str, ...]
    own_error: float | None
    error: float | None
    n_best: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Forms side by side on the same runs.

    Attributes:
        axis: N, D or C: along which the cut moved.
        kind: joint, the laws of N and D on all runs; single, those of the axis alone beside them.
        rows: which runs are predicted, a sentence.
        scores: the forms, then the baselines.
        n_windows: windows that any form predicted.
        n_compared: windows that all compared forms predicted.
        n_predictions: runs predicted in them; a run counts once a window.
        largest_reach: the farthest of these predictions, as value over cut; None without one.
        winner: the form of least error, if it beats both baselines; None otherwise.
        sentence: the outcome in words.
    """

    axis: Axis
    kind: Kind
    rows: str
    scores: tuple[FormScore, ...]
    n_windows: int
    n_compared: int
    n_predictions: int
    largest_reach: float | None
    winner: str | None
    sentence: str


def _errors(window: Window, form: str) -> FloatArray:
    return np.asarray(np.abs(window.predicted[form] / window.actual - 1))


def compare(axis: Axis, kind: Kind, rows: str, forms: Sequence[str], windows: Sequence[Window]) -> Comparison:
    """The forms and the baselines, scored on the windows that all compared forms predicted."""
    windows = [window for window in windows if any(form in window.predicted for form in forms)]
    compared = [
        form
        for form in forms
        if windows and np.mean([form in window.predicted for window in windows]) >= LEAST_SHARE_PREDICTED
    ]
    common = [window for window in windows if all(form in window.predicted for form in compared)]
    common = common if compared else []
    scores = tuple(
        _score(form, windows, common, compared) for form in (*forms, *(BASELINES if windows else ()))
    )
    winner = _winner(scores)
    return Comparison(
        axis=axis,
        kind=kind,
        rows=rows,
        scores=scores,
        n_windows=len(windows),
        n_compared=len(common),
        n_predictions=sum(len(window.runs) for window in common),
        largest_reach=max((float(window.reach.max()) for window in common), default=None),
        winner=winner,
        sentence=f"Along {axis} ({rows}): {_sentence(scores, winner, len(windows), common)}.",
    )


def _score(form: str, windows: Sequence[Window], common: Sequence[Window], compared: list[str]) -> FormScore:
    own = [window for window in windows if form in window.predicted]
    reasons = Counter(window.refused[form] for window in windows if form in window.refused)
    is_compared = bool(common) and (form in compared or form in BASELINES)
    best = [
        window
        for window in common
        if is_compared
        and _errors(window, form).mean()
        <= min(_errors(window, other).mean() for other in (*compared, *BASELINES))
    ]
    return FormScore(
        form=form,
        n_windows=len(own),
        n_refused=len(windows) - len(own),
        reasons=tuple(reason for reason, _ in reasons.most_common()),
        own_error=_mean_error(own, form),
        error=_mean_error(common, form) if is_compared else None,
        n_best=len(best),
    )


def _mean_error(windows: Sequence[Window], form: str) -> float | None:
    """Over all predictions of all windows."""
    if not windows:
        return None
    return float(np.mean(np.concatenate([_errors(window, form) for window in windows])))


def _winner(scores: tuple[FormScore, ...]) -> str | None:
    errors = {score.form: score.error for score in scores if score.error is not None}
    if not errors:
        return None
    best = min(errors, key=lambda form: errors[form])
    return None if best in BASELINES else best


def _sentence(
    scores: tuple[FormScore, ...], winner: str | None, n_windows: int, common: Sequence[Window]
) -> str:
    if not n_windows:
        return "no cut leaves enough runs below it to identify a form"
    if not common:
        return f"nothing can be compared: no one of {n_windows} windows was predicted by every form"
    forms = [score for score in scores if score.form not in BASELINES]
    errors = sorted((score.error, score.form, score.n_best) for score in forms if score.error is not None)
    guess = min(score.error for score in scores if score.form in BASELINES and score.error is not None)
    where = f"{len(common)} of {n_windows} windows"
    if winner is None:
        text = (
            f"no form beats the baseline ({_percent(guess)}) over {where};"
            f" the best is {errors[0][1]} ({_percent(errors[0][0])})"
        )
    else:
        text = (
            f"{winner} predicts best, mean error {_percent(errors[0][0])} over {where}, best in "
            f"{errors[0][2]} of them; the better baseline is off by {_percent(guess)}"
        )
    if winner is not None and len(errors) > 1:
        text += f", {errors[1][1]}, the next form, by {_percent(errors[1][0])}"
    refusing = [f"{score.form} ({score.n_refused})" for score in forms if score.error is None]
    if refusing:
        text += f". Not compared, since they refused more than half of the windows: {', '.join(refusing)}"
    return text


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
