"""Our pruner on curves whose law, cooldown and noise are known."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.search.pruner import (
    CONSTANT_RATE,
    EXTRAPOLATION,
    HORIZON,
    LAST_LOSS,
    CurvePruner,
    predict_end,
)

TOKENS = 1_000_000
EVALUATED = (60_000, 90_000, 130_000, 180_000, 250_000, 350_000, 500_000, 700_000, 900_000)
GAIN = 0.95
"""Of the cooldown."""


def curve(final_loss: float, noise: float, random: np.random.Generator) -> dict[int, float]:
    """Evaluations of a training: a power law above a constant, lower by the gain from 800,000 tokens on."""
    reached = final_loss / GAIN
    losses = {}
    for tokens in EVALUATED:
        loss = reached * (0.7 + 0.3 * (800_000 / tokens) ** 0.4)
        if tokens > 800_000:
            loss *= 1 - (1 - GAIN) * (tokens - 800_000) / 200_000
        losses[tokens] = float(loss * math.exp(random.normal(0, noise)))
    return losses


def new_study(pruner: optuna.pruners.BasePruner) -> optuna.Study:
    study = optuna.create_study(pruner=pruner)
    study.set_user_attr(CONSTANT_RATE, [50_000, 800_000])
    study.set_user_attr(HORIZON, TOKENS)
    return study


def trained(study: optuna.Study, final_loss: float, noise: float, random: np.random.Generator) -> int | None:
    """Report a training until it is pruned; the tokens it was pruned at, None where it came to its end."""
    trial = study.ask()
    for tokens, loss in curve(final_loss, noise, random).items():
        trial.report(loss, step=tokens)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return tokens
    study.tell(trial, final_loss * math.exp(random.normal(0, noise)))
    return None


def finished_study(noise: float, random: np.random.Generator, n_finished: int = 8) -> optuna.Study:
    study = new_study(CurvePruner())
    for _ in range(n_finished):
        pruner, study.pruner = study.pruner, optuna.pruners.NopPruner()
        trained(study, 3.5 * (1 + 0.1 * random.random()), noise, random)
        study.pruner = pruner
    return study


@pytest.mark.parametrize("seed", range(4))
def test_the_clearly_bad_are_stopped_and_the_best_are_not(seed: int) -> None:
    """With noise of 0.3 % an evaluation: 20 % worse than the best is stopped early, 2 % better never."""
    random = np.random.default_rng(seed)
    study = finished_study(0.003, random)
    best = study.best_value
    stopped = [trained(study, 1.2 * best, 0.003, random) for _ in range(3)]
    assert all(tokens is not None and tokens <= 0.6 * TOKENS for tokens in stopped)
    assert trained(study, 0.98 * best, 0.003, random) is None


def test_the_best_is_hardly_ever_stopped() -> None:
    """Trials as good as the best so far, noise of 1 %: two-sided 90 % leave 5 % at each look, here in all."""
    random = np.random.default_rng(0)
    n_stopped = 0
    for _ in range(3):
        study = finished_study(0.01, random)
        n_stopped += sum(trained(study, study.best_value * 0.99, 0.01, random) is not None for _ in range(4))
    assert n_stopped <= 2


def test_the_cooldown_is_learnt_from_finished_trials() -> None:
    """Without noise the final loss is predicted to a tenth of a per cent, five per cent below the curve."""
    random = np.random.default_rng(0)
    study = finished_study(0.0, random)
    trial = study.ask()
    for tokens, loss in curve(4.0, 0.0, random).items():
        if tokens <= 350_000:
            trial.report(loss, step=tokens)
    (asked,) = study.get_trials(states=(TrialState.RUNNING,))
    finished = study.get_trials(states=(TrialState.COMPLETE,))
    predicted = predict_end(study, asked, finished, 350_000, 0.9)
    assert predicted is not None
    assert predicted.loss == pytest.approx(4.0, rel=1e-3)
    assert predicted.low <= 4.0 * 1.001 and predicted.high >= 4.0 * 0.999
    assert list(asked.intermediate_values.values())[-1] > 4.0 / GAIN  # what is seen lies far above


def test_intervals_hold_as_often_as_they_say() -> None:
    """Forecasts from a quarter of the tokens, each with ten finished trials of its own, noise of 1 %: of 300
    intervals of 90 % about 270 hold, give or take 16 (three standard deviations)."""
    random = np.random.default_rng(1)
    study, n_held = new_study(CurvePruner()), 0
    for _ in range(300):
        (trial, *finished) = [recorded(3.5 * (1 + 0.1 * random.random()), 0.01, random) for _ in range(11)]
        predicted = predict_end(study, trial, finished, 250_000, 0.9, (LAST_LOSS,))
        assert predicted is not None and trial.value is not None
        n_held += predicted.low <= trial.value <= predicted.high
    assert abs(n_held - 270) <= 16


def recorded(final_loss: float, noise: float, random: np.random.Generator) -> optuna.trial.FrozenTrial:
    """A finished trial; its last loss has noise, too."""
    return optuna.trial.create_trial(
        value=final_loss * math.exp(random.normal(0, noise)),
        intermediate_values=curve(final_loss, noise, random),
    )


def test_nothing_is_stopped_before_there_is_something_to_go_by() -> None:
    random = np.random.default_rng(0)
    study = new_study(CurvePruner(n_finished=6))
    assert [trained(study, 3.5 + 0.01 * k, 0.001, random) for k in range(5)] == [None] * 5
    assert trained(study, 7.0, 0.001, random) is None  # five are finished, six are needed
    study.set_user_attr(CONSTANT_RATE, [50_000, 0])  # a rate that falls throughout
    assert trained(study, 7.0, 0.001, random) is None


def test_a_pruner_of_nonsense_is_refused() -> None:
    for arguments in ({"n_finished": 2}, {"from_share": 1.0}, {"level": 0.0}):
        with pytest.raises(InputError):
            CurvePruner(**arguments)  # type: ignore[arg-type]


def test_the_forecast_of_less_error_is_used() -> None:
    """Curves of one shape: the last loss tells most. Curves that cross: only an extrapolation tells."""
    random = np.random.default_rng(2)
    parallel = finished_study(0.003, random)
    (trial, *finished) = parallel.get_trials()
    chosen = predict_end(parallel, trial, finished, 250_000, 0.9)
    assert chosen is not None and chosen.forecast == LAST_LOSS

    def crossing(final_loss: float) -> optuna.trial.FrozenTrial:
        values = {
            tokens: final_loss / GAIN + 1e6 * (5 - final_loss) * (tokens**-1.0 - 800_000**-1.0)
            for tokens in EVALUATED[:5]
        }
        return optuna.trial.create_trial(value=final_loss, intermediate_values=values)

    chosen = predict_end(parallel, crossing(3.55), [crossing(3.4 + 0.1 * k) for k in range(4)], 250_000, 0.9)
    assert chosen is not None and chosen.forecast == EXTRAPOLATION
    assert chosen.loss == pytest.approx(3.55, rel=0.01)
