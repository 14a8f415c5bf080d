"""Stops a trial whose end, predicted from its learning curve, is worse than the best trial so far.

There are two forecasts. One extrapolates the losses at a constant rate by L(D) = E + B/D^beta to where the
cooldown begins (`laws/checks/learning_curve.py`), the other is the last loss seen. Neither is the final loss:
the cooldown lowers it, and a forecast has an error. Both are estimated from the finished trials: each is
predicted from as many tokens as the trial in question has seen, and the logarithm of final loss over forecast
is noted. The mean is the gain from the cooldown and from the tokens to come; the spread is the actual error
of such a forecast. The forecast with the smaller spread is used. The fit's own interval is not used: a
bootstrap of a curve's residuals treats neighbouring evaluations as independent and does not know about the
cooldown
(docs/log.md; `python benchmarks/pruners.py` counts how often the intervals hold). A schedule without a
constant part has no forecast here, and nothing is pruned.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from scaling_laws.study.errors import InputError

CONSTANT_RATE, HORIZON = "constant_rate_tokens", "horizon_tokens"
"""Attributes of the study: tokens at the end of the warm-up and where the cooldown begins; and in all."""
EXTRAPOLATION, LAST_LOSS = "extrapolation", "last loss"
FORECASTS = (EXTRAPOLATION, LAST_LOSS)
FEWEST_FINISHED = 3
"""For a spread."""
Points = tuple[tuple[int, float], ...]
"""Tokens and loss, nats per token."""


class CurvePruner(BasePruner):
    """Prunes when the lower end of the interval of the predicted final loss lies above the best loss.

    It is for a study of one horizon and one schedule, whose reports have tokens as their step.

    Args:
        n_finished: finished trials before it prunes anything.
        from_share: share of the horizon's tokens that a trial always trains.
        level: of the two-sided interval; by a prediction interval of Student's t.
        forecasts: those to choose from.

    Raises:
        InputError: a number makes no sense.
    """

    def __init__(
        self,
        *,
        n_finished: int = 6,
        from_share: float = 0.2,
        level: float = 0.9,
        forecasts: Sequence[str] = FORECASTS,
    ) -> None:
        if n_finished < FEWEST_FINISHED:
            raise InputError(f"n_finished is {n_finished}; a spread needs {FEWEST_FINISHED} trials or more")
        if not (0 <= from_share < 1 and 0 < level < 1):
            raise InputError(f"from_share is {from_share}, level {level}; both are shares of one")
        if not forecasts or set(forecasts) - set(FORECASTS):
            raise InputError(f"forecasts are {list(forecasts)}; choose from {', '.join(FORECASTS)}")
        self.forecasts = tuple(forecasts)
        self.n_finished = n_finished
        self.from_share = from_share
        self.level = level

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial, going by what it has reported."""
        seen = max(trial.intermediate_values, default=0)
        if seen < self.from_share * study.user_attrs[HORIZON]:
            return False
        finished = [
            other
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if other.number != trial.number and other.intermediate_values
        ]
        predicted = predict_end(study, trial, finished, seen, self.level, self.forecasts)
        if predicted is None or predicted.n_finished < self.n_finished:
            return False
        return predicted.low > min(float(other.value or math.inf) for other in finished)


@dataclass(frozen=True, kw_only=True)
class PredictedEnd:
    """The final loss of a trial, nats per token.

    Attributes:
        loss: the most likely.
        low, high: its interval.
        spread: standard deviation of the error of ln loss, among the finished trials.
        n_finished: these.
        forecast: which one, by its name in `FORECASTS`.
    """

    loss: float
    low: float
    high: float
    spread: float
    n_finished: int
    forecast: str


def predict_end(
    study: optuna.Study,
    trial: FrozenTrial,
    finished: Sequence[FrozenTrial],
    seen: int,
    level: float,
    forecasts: Sequence[str] = FORECASTS,
) -> PredictedEnd | None:
    """The final loss of a trial, from its reports up to `seen` tokens and the finished trials' errors.

    None where no forecast can be made for the trial and three finished ones.
    """
    begin, end = study.user_attrs[CONSTANT_RATE]
    found: list[PredictedEnd] = []
    for name in forecasts:
        loss = _forecast(name, _points(trial, begin, min(end, seen)), end)
        known = [
            math.log(other.value / same_look)
            for other in finished
            if other.value is not None
            and (same_look := _forecast(name, _points(other, begin, min(end, seen)), end)) is not None
        ]
        if loss is not None and len(known) >= FEWEST_FINISHED:
            found.append(_calibrated(loss, known, level, name))
    return min(found, key=lambda one: one.spread, default=None)


def _calibrated(forecast: float, errors: Sequence[float], level: float, name: str) -> PredictedEnd:
    """A forecast corrected by others' errors, with the prediction interval of so many of them."""
    n = len(errors)
    spread = statistics.stdev(errors)
    half = _t_quantile((1 + level) / 2, n - 1) * spread * math.sqrt(1 + 1 / n)
    loss = forecast * math.exp(statistics.fmean(errors))
    return PredictedEnd(
        loss=loss,
        low=loss * math.exp(-half),
        high=loss * math.exp(half),
        spread=spread,
        n_finished=n,
        forecast=name,
    )


def _forecast(name: str, points: Points, end: int) -> float | None:
    """The loss at `end` tokens, or the last one; None where the points do not allow it."""
    if name == LAST_LOSS:
        return points[-1][1] if points else None
    return before_cooldown(points, end)


@functools.lru_cache(maxsize=100_000)
def before_cooldown(points: Points, end: int) -> float | None:
    """The loss at `end` tokens by a power law above a constant; None where the points do not identify it."""
    from scaling_laws.laws.checks.learning_curve import predict_final

    if len(points) < 2:
        return None
    tokens, losses = zip(*points, strict=True)
    return predict_final(tokens, losses, end, resamples=0).loss


def _points(trial: FrozenTrial, begin: int, end: int) -> Points:
    return tuple(
        (tokens, loss) for tokens, loss in sorted(trial.intermediate_values.items()) if begin < tokens <= end
    )


@functools.cache
def _t_quantile(probability: float, freedom: int) -> float:
    from scipy.stats import t as student_t

    return float(student_t.ppf(probability, freedom))
