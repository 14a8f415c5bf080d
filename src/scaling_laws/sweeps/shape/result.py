"""What a shape study found: how much each ratio matters, beside the noise, and whether it carries over.

As in Figure 5 of Kaplan et al. 2020, losses are compared at equal N: what is left of the 2 % is taken out
through L(N). The lowest loss of each bin of a ratio is its envelope, over all else that was tuned along. One
band of noise says which differences mean nothing: two runs of one shape and other seeds differ by as much.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from scipy.stats import t as student_t

from scaling_laws.models.solver import Shape
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import MAIN_CORPUS
from scaling_laws.sweeps.experiments import Plan
from scaling_laws.sweeps.shape.follow_up import (
    best_of_each_shape,
    corrected_loss,
    replicates,
    transferred,
)
from scaling_laws.sweeps.shape.importance import RATIOS, importance
from scaling_laws.sweeps.shape.optuna_study import constant_rate_tokens
from scaling_laws.sweeps.shape.settings import KAPLAN_ALPHA_N, ShapeSearch
from scaling_laws.sweeps.shape.trials import FinishedTrial, finished_trial, search_of

SCHEMA = 1
LEVEL = 0.95
"""One-sided: by noise alone two runs of one shape differ by more than the band in one of twenty cases."""
BINNED = ("d_ff_ratio", "aspect_ratio")
"""Their bins are factors of two, around powers of two; the others' are their values."""


@dataclass(frozen=True, kw_only=True)
class Correction:
    """How losses are brought to equal N: loss (N / N_target)^alpha_N."""

    alpha_N: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Bin:
    """One bin of a ratio.

    Attributes:
        low, high: its ends.
        n_trials: complete trials in it.
        increase_percent: of the best of them over the best of all.
        run: that trial's.
    """

    low: float
    high: float
    n_trials: int
    increase_percent: float
    run: str


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The noise between seeds.

    Attributes:
        sd_log_loss: standard deviation of ln loss between seeds of one shape.
        sd_by_shape: the same of each shape, the best first: shapes may be more or less sure of their end.
        n_shapes, n_runs: that it was measured with.
        band_percent: by so much noise alone lifts one run over another, in one of twenty cases.
    """

    sd_log_loss: float
    sd_by_shape: tuple[float, ...]
    n_shapes: int
    n_runs: int
    band_percent: float


def correction_of(search: ShapeSearch) -> Correction:
    """Kaplan's exponent, or that of the Transformers' L(N) in a laws.json.

    Raises:
        InputError: the file cannot be read, or has no L(N) of Transformers that was identified.
    """
    if search.laws is None:
        return Correction(alpha_N=KAPLAN_ALPHA_N, source="Kaplan et al. 2020, equation (1.1)")
    try:
        fits = json.loads(Path(search.laws).read_text(encoding="utf-8"))["fits"]
        found = [
            float(fit["parameters"]["alpha_N"])
            for fit in fits
            if fit["family"] == "transformer" and fit["form"] == "kaplan_n" and fit["identified"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"search: laws: {search.laws} is no laws.json ({error})") from error
    if not found:
        raise InputError(
            f"search: laws: {search.laws} has no identified L(N) of Transformers; leave laws out for Kaplan's"
        )
    return Correction(alpha_N=found[0], source=search.laws)


def shape_result(plan: Plan, finished: Sequence[FinishedTrial], n_infeasible: int) -> dict[str, Any]:
    """Everything that `shape.json` holds: plain JSON values, losses in nats per token.

    Args:
        finished: the search's trials that have a record.
        n_infeasible: trials that asked for no network of N parameters.

    Raises:
        InputError: no trial is complete, or `laws` of the settings cannot be used.
    """
    search, correction = search_of(plan), correction_of(search_of(plan))
    ranked = best_of_each_shape(finished, correction.alpha_N, search.N)
    if not ranked:
        raise InputError(f"{plan.folder}: no trial is complete; see the reasons in its folders' log.txt")
    best = corrected_loss(ranked[0], correction.alpha_N, search.N)
    constant, horizon = constant_rate_tokens(plan)
    rows = [_row(one, correction, search.N, best) for one in finished]
    rows.sort(key=lambda row: (row["corrected_loss"] is None, row["corrected_loss"], row["run"]))
    complete = [row for row in rows if row["corrected_loss"] is not None]
    statuses = [one.record.status for one in finished]
    return {
        "schema": SCHEMA,
        "study": plan.sweep.study,
        "question": plan.sweep.question,
        "N": search.N,
        "tokens": horizon,
        "constant_rate_tokens": constant,
        "n_shapes": len(ranked),
        "counts": {status: statuses.count(status) for status in sorted(set(statuses))}
        | {"infeasible": n_infeasible},
        "trained_tokens": sum(one.record.trained_tokens for one in finished),
        "optuna": optuna.__version__,
        "correction": vars(correction),
        "best": complete[0],
        "noise": _noise_entry(plan, ranked),
        "envelopes": {
            ratio: [vars(one) for one in envelope([(row[ratio], row) for row in complete], ratio)]
            for ratio in RATIOS
        },
        "importance": importance(complete, search.tunes_learning_rate),
        "transfer": transfer_entry(plan, ranked, correction),
        "trials": rows,
    }


def ratios_of(shape: Shape) -> dict[str, float]:
    """The network's own `RATIOS`."""
    return {
        "d_ff_ratio": round(shape.d_ff_ratio, 4),
        "aspect_ratio": round(shape.aspect_ratio, 4),
        "head_width": shape.head_width,
        "n_layer": shape.config.n_layer,
    }


def _row(one: FinishedTrial, correction: Correction, N: float, best: float) -> dict[str, Any]:
    shape, record = one.trial.shape, one.record
    corrected = None if one.loss is None else corrected_loss(one, correction.alpha_N, N)
    return {
        "run": record.name,
        "status": record.status,
        **ratios_of(shape),
        "d_model": shape.config.d_model,
        "n_heads": shape.config.n_heads,
        "d_ff": shape.config.feed_forward_width,
        "N": shape.N,
        "tokens": record.tokens,
        "learning_rate": one.trial.run.learning_rate,
        "learning_rate_factor": one.trial.point.learning_rate_factor,
        "loss": one.loss,
        "corrected_loss": corrected,
        "increase_percent": None if corrected is None else 100 * (corrected / best - 1),
        "test_loss": record.losses.get(MAIN_CORPUS, {}).get("loss_nats"),
        "tokens_per_s": record.tokens_per_s,
    }


def envelope(points: Sequence[tuple[float, Mapping[str, Any]]], ratio: str) -> list[Bin]:
    """The best trial of each bin of a ratio, in order of the ratio.

    Args:
        points: the ratio's value, and the trial's row with its `increase_percent` and `run`.
    """
    bins: dict[tuple[float, float], list[Mapping[str, Any]]] = {}
    for value, row in points:
        low = high = value
        if ratio in BINNED:
            power = round(math.log2(value))
            low, high = 2 ** (power - 0.5), 2 ** (power + 0.5)
        bins.setdefault((low, high), []).append(row)
    found = []
    for (low, high), rows in sorted(bins.items()):
        best = min(rows, key=lambda row: float(row["increase_percent"]))
        found.append(
            Bin(
                low=low,
                high=high,
                n_trials=len(rows),
                increase_percent=best["increase_percent"],
                run=best["run"],
            )
        )
    return found


def noise_between_seeds(losses: Sequence[Sequence[float]]) -> Noise | None:
    """The noise, from losses of several seeds of each of some shapes; None where no shape has two.

    ln loss is pooled within shapes. The difference of two runs has sqrt(2) times its standard deviation;
    Student's t makes up for the few runs that this is measured with.
    """
    groups = [np.log(group) for group in losses if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    sd = math.sqrt(sum(float(np.sum((group - group.mean()) ** 2)) for group in groups) / freedom)
    band = float(student_t.ppf(LEVEL, freedom)) * math.sqrt(2) * sd
    return Noise(
        sd_log_loss=sd,
        sd_by_shape=tuple(float(np.std(group, ddof=1)) for group in groups),
        n_shapes=len(groups),
        n_runs=sum(len(group) for group in groups),
        band_percent=100 * math.expm1(band),
    )


def _noise_entry(plan: Plan, ranked: Sequence[FinishedTrial]) -> dict[str, Any] | None:
    groups = []
    for runs in replicates(plan, ranked):
        seeds = [done.loss for run in runs if (done := finished_trial(plan, run)) and done.loss is not None]
        first = next(one for one in ranked if runs and one.trial.point == runs[0].point) if runs else None
        groups.append([*([first.loss] if first and first.loss else []), *seeds])
    noise = noise_between_seeds(groups)
    return None if noise is None else vars(noise)


def transfer_entry(
    plan: Plan, ranked: Sequence[FinishedTrial], correction: Correction
) -> dict[str, Any] | None:
    """The order of some shapes at the study's N and at a larger one; None where that was not trained."""
    search = search_of(plan)
    shapes: list[dict[str, Any]] = []
    for small, run in transferred(plan, ranked):
        large = finished_trial(plan, run)
        if large is not None and large.loss is not None:
            assert search.transfer is not None
            shapes.append(
                {
                    "small": {"run": small.record.name, **ratios_of(small.trial.shape)},
                    "large": {"run": large.record.name, **ratios_of(run.shape), "N": run.shape.N},
                    "loss_small": corrected_loss(small, correction.alpha_N, search.N),
                    "loss_large": corrected_loss(large, correction.alpha_N, search.transfer.N),
                }
            )
    if len(shapes) < 2 or search.transfer is None:
        return None
    before, after = (np.array([one[key] for one in shapes]) for key in ("loss_small", "loss_large"))
    pairs = [(i, j) for i in range(len(shapes)) for j in range(i)]
    kept = sum((before[i] < before[j]) == (after[i] < after[j]) for i, j in pairs)
    return {
        "N": search.transfer.N,
        "tokens": search.transfer_tokens,
        "n_pairs": len(pairs),
        "n_pairs_kept": int(kept),
        "best_stays_best": bool(np.argmin(before) == np.argmin(after)),
        "shapes": shapes,
    }
