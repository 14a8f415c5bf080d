"""What a pruner saves, and what it loses: whole curves of a shape study, stopped by rule in many orders.

    python benchmarks/pruners.py [FOLDER]            -> results/bench/pruners.json

FOLDER (by default results/shape) holds what a shape study without a pruner has written: shape.json and
curves.csv. Its complete trials are told to a pruner in `ORDERS` random orders, one after another, as far
as it lets each run. (A sampler would suggest other trials after other losses; that is left out.)

saved      share of all trials' tokens that was not trained, of the median order
regret     loss of the best trial that came to its end over the best of all, less 1: the mean, and the worst
best lost  share of the orders in which the best of all was stopped

And of the forecasts, each with all other trials as its finished ones: the spread of their errors in ln loss,
how often the calibrated 90 % interval held, and how often the fit's own bootstrap did, put right by the mean.
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.trial import FrozenTrial, TrialState

from scaling_laws.laws.checks.learning_curve import predict_final
from scaling_laws.study.records import write_atomically
from scaling_laws.sweeps.search.pruner import (
    CONSTANT_RATE,
    EXTRAPOLATION,
    FORECASTS,
    HORIZON,
    CurvePruner,
    predict_end,
)

ROOT = Path(__file__).parents[1]
ORDERS = 30
N_STARTUP = 6
"""Finished trials before a pruner stops one, of each pruner."""
SHARES = (0.2, 0.3, 0.5, 0.7)
"""Of the tokens, at which forecasts are judged."""
LEVEL = 0.9
PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "none": lambda warmup: NopPruner(),
    "median": lambda warmup: MedianPruner(n_startup_trials=N_STARTUP, n_warmup_steps=warmup),
    "curve": lambda warmup: CurvePruner(n_finished=N_STARTUP),
    "curve, last loss alone": lambda warmup: CurvePruner(n_finished=N_STARTUP, forecasts=["last loss"]),
    "curve, extrapolation alone": lambda warmup: CurvePruner(
        n_finished=N_STARTUP, forecasts=["extrapolation"]
    ),
}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One complete trial: its reports by tokens, and its final loss, nats per token."""

    run: str
    reports: dict[int, float]
    loss: float


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results/shape"
    result, trials = _read(folder)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = {name: _replayed(name, make, result, trials) for name, make in PRUNERS.items()}
    for name, row in rows.items():
        print(
            f"{name:<27} saved {100 * row['saved']:4.1f} %  regret {100 * row['mean_regret']:.3f} % "
            f"(worst {100 * row['worst_regret']:.2f} %)  best lost {100 * row['best_lost']:.0f} %"
        )
    forecasts = [_judged(share, result, trials) for share in SHARES]
    for one in forecasts:
        print(json.dumps(one))
    content = {
        "study": result["study"],
        "n_trials": len(trials),
        "tokens": result["tokens"],
        "orders": ORDERS,
        "pruners": rows,
        "forecasts": forecasts,
    }
    write_atomically(ROOT / "results/bench/pruners.json", json.dumps(content, indent=1) + "\n")


def _read(folder: Path) -> tuple[dict[str, Any], list[Recorded]]:
    result = json.loads((folder / "shape.json").read_text(encoding="utf-8"))
    with open(folder / "curves.csv", newline="", encoding="utf-8") as file:
        curves = list(csv.DictReader(file))
    trials = [
        Recorded(
            run=row["run"],
            reports={
                int(point["tokens"]): float(point["val_loss_nats"])
                for point in curves
                if point["run"] == row["run"] and int(point["tokens"]) < result["tokens"]
            },
            loss=row["loss"],
        )
        for row in result["trials"]
        if row["loss"] is not None
    ]
    return result, trials


def _study(result: dict[str, Any], pruner: BasePruner | None = None) -> optuna.Study:
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler())
    study.set_user_attr(CONSTANT_RATE, result["constant_rate_tokens"])
    study.set_user_attr(HORIZON, result["tokens"])
    return study


def _replayed(
    name: str, make: Callable[[int], BasePruner], result: dict[str, Any], trials: list[Recorded]
) -> dict[str, Any]:
    horizon, best = result["tokens"], min(trials, key=lambda trial: trial.loss)
    saved, regrets, n_lost = [], [], 0
    for order in range(1 if name == "none" else ORDERS):
        study = _study(result, make(round(0.2 * horizon)))
        used, finished = 0, []
        for k in np.random.default_rng(order).permutation(len(trials)):
            stopped_at = _run(study, trials[k])
            used += stopped_at or horizon
            if stopped_at is None:
                finished.append(trials[k])
        saved.append(1 - used / (horizon * len(trials)))
        regrets.append(min(trial.loss for trial in finished) / best.loss - 1)
        n_lost += best not in finished
    return {
        "saved": statistics.median(saved),
        "saved_quartiles": [float(q) for q in np.quantile(saved, [0.25, 0.75])],
        "mean_regret": statistics.fmean(regrets),
        "worst_regret": max(regrets),
        "best_lost": n_lost / len(regrets),
    }


def _run(study: optuna.Study, recorded: Recorded) -> int | None:
    """Tell one trial to a study; tokens at which it was stopped, None where it came to its end."""
    trial = study.ask()
    for tokens, loss in sorted(recorded.reports.items()):
        trial.report(loss, step=tokens)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return tokens
    study.tell(trial, recorded.loss)
    return None


def _judged(share: float, result: dict[str, Any], trials: list[Recorded]) -> dict[str, Any]:
    """How well each forecast does from a share of the tokens, every trial being predicted from the others."""
    study, seen = _study(result), round(share * result["tokens"])
    frozen = [
        optuna.trial.create_trial(value=trial.loss, intermediate_values=trial.reports) for trial in trials
    ]
    judged: dict[str, Any] = {"share": share, "n_trials": len(trials)}
    for forecast in FORECASTS:
        errors, n_held = [], 0
        for k, trial in enumerate(frozen):
            others = frozen[:k] + frozen[k + 1 :]
            predicted = predict_end(study, trial, others, seen, LEVEL, (forecast,))
            if predicted is not None and trial.value is not None:
                errors.append(float(np.log(trial.value / predicted.loss)))
                n_held += predicted.low <= trial.value <= predicted.high
        judged[forecast] = {
            "n": len(errors),
            "error_sd": statistics.stdev(errors),
            "interval_held": n_held / len(errors),
        }
    judged[EXTRAPOLATION]["own_interval_held"] = _own_interval_held(frozen, result, seen)
    return judged


def _own_interval_held(trials: list[FrozenTrial], result: dict[str, Any], seen: int) -> float | None:
    """How often the bootstrap's interval, times the mean gain of all trials, holds the final loss."""
    begin, end = result["constant_rate_tokens"]
    predicted = []
    for trial in trials:
        points = [
            (tokens, loss)
            for tokens, loss in sorted(trial.intermediate_values.items())
            if begin < tokens <= min(end, seen)
        ]
        tokens, losses = zip(*points, strict=True)
        prediction = predict_final(tokens, losses, end)
        if prediction.loss is not None and prediction.interval is not None and trial.value is not None:
            predicted.append((prediction.loss, prediction.interval, trial.value))
    if not predicted:
        return None
    gain = statistics.fmean(value / loss for loss, _, value in predicted)
    held = [(low or 0.0) * gain <= value <= (high or np.inf) * gain for _, (low, high), value in predicted]
    return sum(held) / len(held)


if __name__ == "__main__":
    main()
