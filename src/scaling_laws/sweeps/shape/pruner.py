"""Stops a trial whose end, foretold from its learning curve, is worse than the best trial so far.

The losses of the part at a constant rate are extrapolated by L(D) = E + B/D^beta to where the cooldown
begins (`laws/checks/learning_curve.py`). That is not the final loss: the cooldown lowers it, and the fit errs.
By how much is taken from the trials that are finished: each is extrapolated from as many tokens as the trial
in question has seen, and ln(final loss / extrapolation) is noted. Their mean is the cooldown's gain with the
bias of so short a look; their spread is the error that such a forecast really has. The fit's own interval is
not used: a bootstrap with a curve's residuals takes neighbouring evaluations for independent and knows of no
cooldown (docs/log.md; `python benchmarks/pruners.py` counts how often each of the two intervals holds). A
schedule without a constant part foretells nothing here, and nothing is pruned.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from scaling_laws.errors import InputError

CONSTANT_RATE, HORIZON = "constant_rate_tokens", "horizon_tokens"
"""Attributes of the study: tokens at the end of the warm-up and where the cooldown begins; and in all."""
Points = tuple[tuple[int, float], ...]
"""Tokens and loss, nats per token."""


class CurvePruner(BasePruner):
    """Prunes when the lower end of the interval of the foretold final loss lies above the best loss.

    It is for a study of one horizon and one schedule, whose reports have tokens as their step.

    Args:
        n_finished: finished trials before it prunes anything.
        from_share: share of the horizon's tokens that a trial always trains.
        level: of the two-sided interval; by a prediction interval of Student's t.

    Raises:
        InputError: a number makes no sense.
    """

    def __init__(self, *, n_finished: int = 6, from_share: float = 0.2, level: float = 0.9) -> None:
        if n_finished < 3:
            raise InputError(f"n_finished is {n_finished}; a spread needs 3 trials or more")
        if not (0 <= from_share < 1 and 0 < level < 1):
            raise InputError(f"from_share is {from_share}, level {level}; both are shares of one")
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
        foretold = foretell(study, trial, finished, seen, self.level)
        if foretold is None or foretold.n_finished < self.n_finished:
            return False
        return foretold.low > min(float(other.value or math.inf) for other in finished)


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """The final loss of a trial, nats per token.

    Attributes:
        loss: the most likely.
        low, high: its interval.
        n_finished: finished trials that it was calibrated with.
    """

    loss: float
    low: float
    high: float
    n_finished: int


def foretell(
    study: optuna.Study, trial: FrozenTrial, finished: list[FrozenTrial], seen: int, level: float
) -> Foretold | None:
    """The final loss of a trial, from its reports up to `seen` tokens and the finished trials' errors.

    None where the curve does not identify the form, or where fewer than three finished trials' curves do.
    """
    begin, end = study.user_attrs[CONSTANT_RATE]
    extrapolated = before_cooldown(_points(trial, begin, min(end, seen)), end)
    if extrapolated is None:
        return None
    errors = []
    for other in finished:
        same_look = before_cooldown(_points(other, begin, min(end, seen)), end)
        if same_look is not None and other.value is not None:
            errors.append(math.log(other.value / same_look))
    if len(errors) < 3:
        return None
    mean = sum(errors) / len(errors)
    sd = math.sqrt(sum((error - mean) ** 2 for error in errors) / (len(errors) - 1))
    half = _t_quantile((1 + level) / 2, len(errors) - 1) * sd * math.sqrt(1 + 1 / len(errors))
    loss = extrapolated * math.exp(mean)
    return Foretold(loss=loss, low=loss * math.exp(-half), high=loss * math.exp(half), n_finished=len(errors))


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
