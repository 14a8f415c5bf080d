"""How well the start of a training predicts its end: L(D) fitted to the first part of a curve, extrapolated.

A rate that is brought down lowers the loss below what the part at a constant rate predicts. So where a
curve knows its learning rate and holds it, the target is the last loss before the rate falls. Else the target
is the last loss, and `target` says what that means. Beside the forms stands a guess that needs no fit: the
last loss seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.intervals import Interval, bootstrap, checked, loss_interval
from scaling_laws.laws.fit.level import LEVEL
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.single import KaplanD, PowerD
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.errors import InputError
from scaling_laws.study.schedule import SAME_RATE

if TYPE_CHECKING:
    import pandas as pd

SHARES = (0.1, 0.2, 0.5)
"""Of the tokens up to the target."""
FORMS: tuple[type[Any], ...] = (PowerD, KaplanD)
LAST_LOSS = "last loss seen"
LEAST_CONSTANT_SHARE = 0.5
"""Share of the tokens that the rate must be held for, or else the schedule has no constant part."""
BEFORE_THE_RATE_FALLS = "the last loss before the learning rate falls"
RATE_FALLS_THROUGHOUT = "the last loss, after a learning rate that falls through most of the run"
RATE_UNKNOWN = "the last loss; the curve does not know its learning rate"
DEFAULT_CURVE_RESAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class FinalPrediction:
    """What one run's curve says about its end.

    Attributes:
        form: name of the form.
        tokens: at which the loss is predicted.
        loss: nats per token; None where the curve does not identify the form.
        interval: of the loss, noise of one evaluation included; None without a loss, or without resamples.
        row_sd: standard deviation of ln loss about the fitted curve.
        reason: why there is no loss; empty where there is one.
    """

    form: str
    tokens: float
    loss: float | None
    interval: Interval | None
    row_sd: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Extrapolation:
    """One run, extrapolated from one share of its tokens. Losses in nats per token.

    Attributes:
        run: its name.
        share: of the tokens up to the target.
        n_points: points of the curve that were fitted.
        tokens_seen, tokens: of the last fitted point, and of the target.
        actual: loss at the target.
        target: which loss that is, in words.
        predicted: by form, and of the baseline; forms that were not identified are in `refused`.
        relative_error: (predicted - actual)/actual, by form, and of the baseline.
        refused: why a form gave no prediction.
        interval: 90 % interval of the first form; None where it has none.
    """

    run: str
    share: float
    n_points: int
    tokens_seen: float
    tokens: float
    actual: float
    target: str
    predicted: Mapping[str, float]
    relative_error: Mapping[str, float]
    refused: Mapping[str, str]
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class ShareScore:
    """The runs extrapolated from one share of their tokens.

    Attributes:
        share: of the tokens up to the target.
        n_compared: runs that every form predicted; errors are means over them.
        n_refused: runs that a form refused, by form.
        mean_absolute_error: of |relative error|, by form and of the baseline; empty where nothing compares.
        n_intervals, n_covered: runs with an interval, and those whose loss lies in it.
        winner: of least error; None where the baseline is not beaten.
    """

    share: float
    n_compared: int
    n_refused: Mapping[str, int]
    mean_absolute_error: Mapping[str, float]
    n_intervals: int
    n_covered: int
    winner: str | None


@dataclass(frozen=True, kw_only=True)
class UnusedCurve:
    """A curve that could not be used, and why."""

    run: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class CurveExtrapolation:
    """All runs.

    Attributes:
        extrapolations: a run and a share each.
        scores: one a share.
        left_out: curves that could not be used.
        sentence: the outcome in words.
    """

    extrapolations: tuple[Extrapolation, ...]
    scores: tuple[ShareScore, ...]
    left_out: tuple[UnusedCurve, ...]
    sentence: str


def predict_final(
    tokens: ArrayLike,
    loss: ArrayLike,
    final_tokens: float,
    *,
    form: type[Any] = PowerD,
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_CURVE_RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> FinalPrediction:
    """Extrapolate one run's curve to `final_tokens`.

    The interval is that of a parametric bootstrap with the residual noise. It takes the form as true and the
    schedule as unchanged, and knows nothing of a cooldown; neighbouring evaluations that err alike make it
    too narrow. `ShareScore.n_covered` counts how often such intervals held.

    Args:
        tokens, loss: (n,): points after warm-up, nats per token.
        final_tokens: where to predict.
        form: a law of D.
        delta: of Huber's loss, in ln L.
        resamples: of the bootstrap; 0 for no interval.
        level: of the interval.
        seed: of the bootstrap.

    Raises:
        InputError: lengths differ, or a number is not positive.
    """
    rows = make_rows({"D": tokens}, loss, np.zeros(np.shape(loss)))
    if not (np.isfinite(final_tokens) and final_tokens > 0):
        raise InputError(f"final_tokens is {final_tokens}: give a positive number of tokens")
    fit = checked(fit_law(form, rows, delta=delta))
    if not fit.identified or fit.law is None:
        return FinalPrediction(
            form=form.form, tokens=final_tokens, loss=None, interval=None, row_sd=None, reason=fit.reason
        )
    interval, row_sd = None, None
    if resamples:
        result = bootstrap(fit, resamples=resamples, seed=seed)
        row_sd = result.row_sd
        interval = loss_interval(result, level, seed, D=final_tokens)
    return FinalPrediction(
        form=form.form,
        tokens=final_tokens,
        loss=float(fit.law.loss(final_tokens)),
        interval=interval,
        row_sd=row_sd,
        reason="",
    )


def extrapolate_curves(
    curves: pd.DataFrame,
    *,
    loss: str = "test_loss_nats",
    tokens: str = "tokens",
    learning_rate: str = "learning_rate",
    warmup_tokens: float = 0.0,
    shares: Sequence[float] = SHARES,
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_CURVE_RESAMPLES,
    seed: int = 0,
) -> CurveExtrapolation:
    """Predict the end of every run from the first part of its curve.

    Runs of one trunk share the part at a constant rate: give one of them, the longest, or they count twice.

    Args:
        curves: one row a logged step: run, `tokens`, `loss` (nats per token; empty where it was not
            measured), and `learning_rate` where it is known.
        warmup_tokens: points up to here are left out; where the rate is known, those before its peak are too.
        shares: of the tokens up to the target.
        delta: of the fits.
        resamples: of the intervals; 0 for none.
        seed: of the bootstraps.

    Raises:
        InputError: a column is missing, or a share is not between 0 and 1.
    """
    for column in ("run", tokens, loss):
        if column not in curves.columns:
            raise InputError(f"the curves have no column {column!r}; they have {', '.join(curves.columns)}")
    if not shares or not all(0 < share < 1 for share in shares):
        raise InputError(f"shares are {shares}: give numbers between 0 and 1")
    extrapolations: list[Extrapolation] = []
    left_out: list[UnusedCurve] = []
    for run, curve in curves.groupby("run", sort=True):
        D, L, target = _usable_part(curve.sort_values(tokens), tokens, loss, learning_rate, warmup_tokens)
        if len(D) < 2:
            left_out.append(
                UnusedCurve(run=str(run), reason=f"fewer than two values of {loss} after warm-up")
            )
            continue
        for share in shares:
            seen = share * D[-1] >= D
            if seen.any():
                extrapolations.append(
                    _extrapolate(str(run), share, D, L, seen, target, delta, resamples, seed)
                )
            else:
                reason = f"no point after warm-up within {100 * share:g} % of its tokens"
                left_out.append(UnusedCurve(run=str(run), reason=reason))
    scores = tuple(_score(share, [run for run in extrapolations if run.share == share]) for share in shares)
    return CurveExtrapolation(
        extrapolations=tuple(extrapolations),
        scores=scores,
        left_out=tuple(left_out),
        sentence=_sentence(scores, sorted({run.target for run in extrapolations})),
    )


def _usable_part(
    curve: pd.DataFrame, tokens: str, loss: str, learning_rate: str, warmup_tokens: float
) -> tuple[FloatArray, FloatArray, str]:
    """Tokens and losses after warm-up and up to the target, and which loss the last of them is."""
    first, last, target = warmup_tokens, float(curve[tokens].max()), RATE_UNKNOWN
    if learning_rate in curve.columns and curve[learning_rate].notna().all():
        at_peak = curve[learning_rate].to_numpy() >= curve[learning_rate].max() * (1 - SAME_RATE)
        D = curve[tokens].to_numpy(dtype=np.float64)[at_peak]
        first = max(first, np.nextafter(D[0], 0))
        if D[-1] - D[0] >= LEAST_CONSTANT_SHARE * last:
            last, target = float(D[-1]), BEFORE_THE_RATE_FALLS
        else:
            target = RATE_FALLS_THROUGHOUT
    measured = curve[curve[loss].notna() & (curve[tokens] > first) & (curve[tokens] <= last)]
    D, L = measured[[tokens, loss]].to_numpy(dtype=np.float64).T
    return D, L, target


def _extrapolate(
    run: str,
    share: float,
    D: FloatArray,
    L: FloatArray,
    seen: FloatArray,
    target: str,
    delta: float,
    resamples: int,
    seed: int,
) -> Extrapolation:
    predictions = [
        predict_final(
            D[seen],
            L[seen],
            float(D[-1]),
            form=form,
            delta=delta,
            resamples=resamples if form is FORMS[0] else 0,
            seed=seed,
        )
        for form in FORMS
    ]
    predicted = {
        prediction.form: prediction.loss for prediction in predictions if prediction.loss is not None
    }
    predicted[LAST_LOSS] = float(L[seen][-1])
    return Extrapolation(
        run=run,
        share=share,
        n_points=int(seen.sum()),
        tokens_seen=float(D[seen][-1]),
        tokens=float(D[-1]),
        actual=float(L[-1]),
        target=target,
        predicted=predicted,
        relative_error={name: value / float(L[-1]) - 1 for name, value in predicted.items()},
        refused={prediction.form: prediction.reason for prediction in predictions if prediction.loss is None},
        interval=predictions[0].interval,
    )


def _score(share: float, runs: list[Extrapolation]) -> ShareScore:
    names = [form.form for form in FORMS]
    compared = [run for run in runs if not run.refused]
    errors = (
        {name: _mean([abs(run.relative_error[name]) for run in compared]) for name in (*names, LAST_LOSS)}
        if compared
        else {}
    )
    bounded = [
        (run.interval[0], run.actual, run.interval[1])
        for run in runs
        if run.interval is not None and None not in run.interval
    ]
    best = min(errors, key=lambda name: errors[name]) if errors else LAST_LOSS
    return ShareScore(
        share=share,
        n_compared=len(compared),
        n_refused={name: sum(name in run.refused for run in runs) for name in names},
        mean_absolute_error=errors,
        n_intervals=len(bounded),
        n_covered=sum(low <= actual <= high for low, actual, high in bounded),  # type: ignore[operator]
        winner=None if best == LAST_LOSS else best,
    )


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def _sentence(scores: tuple[ShareScore, ...], targets: list[str]) -> str:
    parts = []
    for score in scores:
        if not score.n_compared:
            parts.append(f"from {100 * score.share:g} % of the tokens no run identifies every form")
            continue
        errors = score.mean_absolute_error
        # The interval is that of the first form: it comes last, where "its" is read.
        means = ", ".join(f"{name} {100 * errors[name]:.2g} %" for name in reversed(list(errors)))
        verdict = "" if score.winner else " (no form beats the last loss seen)"
        if score.n_intervals:
            verdict += (
                f", its {100 * LEVEL:g} % interval holding {score.n_covered} of {score.n_intervals} times"
            )
        parts.append(
            f"from {100 * score.share:g} % of the tokens ({score.n_compared} runs): {means}{verdict}"
        )
    if not targets:
        return "No curve has enough points."
    return f"Mean error {'; '.join(parts)}. The target: {'; or '.join(targets)}."
