"""From the trials of a search and what was trained after it to its result (`laws/shapes.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna

from scaling_laws.laws.published import KAPLAN_SINGLE
from scaling_laws.laws.results.types import read_laws
from scaling_laws.laws.shapes import (
    RATIOS,
    Correction,
    EnlargedShape,
    ShapeRatios,
    ShapeResult,
    ShapeTrial,
    envelope,
    noise_between_shapes,
    ranked,
    transfer_of,
)
from scaling_laws.models.solver import Shape
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import MAIN_CORPUS
from scaling_laws.sweeps.plan.experiments import Plan
from scaling_laws.sweeps.plan.search_section import ShapeSearch
from scaling_laws.sweeps.search.follow_up import best_of_each_shape, replicates, transferred
from scaling_laws.sweeps.search.importance import importance
from scaling_laws.sweeps.search.optuna_study import constant_rate_tokens
from scaling_laws.sweeps.search.trials import FinishedTrial, finished_trial, search_of


def correction_of(search: ShapeSearch) -> Correction:
    """Kaplan's exponent, or that of the Transformers' L(N) in a laws.json.

    Raises:
        InputError: the file cannot be read, or has no L(N) of Transformers that was identified.
    """
    if search.laws is None:
        return Correction(alpha_N=float(KAPLAN_SINGLE.of_N.alpha_N), source=KAPLAN_SINGLE.source)
    fit = read_laws(Path(search.laws)).of("transformer").fit("kaplan_n")
    if fit is None or not fit.identified:
        raise InputError(
            f"search: laws: {search.laws} has no identified L(N) of Transformers; leave laws out for Kaplan's"
        )
    return Correction(alpha_N=float(fit.law.alpha_N), source=search.laws)


def shape_result(plan: Plan, finished: Sequence[FinishedTrial], n_infeasible: int) -> ShapeResult:
    """Everything that `shape.json` holds, losses in nats per token.

    Args:
        finished: the search's trials that have a record.
        n_infeasible: trials that asked for no network of N parameters.

    Raises:
        InputError: no trial is complete, or `laws` of the settings cannot be used.
    """
    search, correction = search_of(plan), correction_of(search_of(plan))
    trials = ranked([_trial(one) for one in finished], correction, search.N)
    complete = [trial for trial in trials if trial.loss is not None]
    best = best_of_each_shape(finished, correction, search.N)
    constant, horizon = constant_rate_tokens(plan)
    statuses = [one.record.status for one in finished]
    return ShapeResult(
        study=plan.sweep.study,
        question=plan.sweep.question,
        N=search.N,
        tokens=horizon,
        constant_rate_tokens=tuple(constant),
        n_shapes=len(best),
        counts={status: statuses.count(status) for status in sorted(set(statuses))}
        | {"infeasible": n_infeasible},
        trained_tokens=sum(one.record.trained_tokens for one in finished),
        optuna=optuna.__version__,
        correction=correction,
        best=trials[0],
        noise=noise_between_shapes(_losses_of_seeds(plan, best)),
        envelopes={ratio: envelope(complete, ratio) for ratio in RATIOS},
        importance=importance(complete, search.tunes_learning_rate),
        transfer=transfer_of(
            _enlarged(plan, best, correction),
            N=0.0 if search.transfer is None else search.transfer.N,
            tokens=0 if search.transfer is None else search.transfer_tokens,
        ),
        trials=trials,
    )


def _ratios(run: str, shape: Shape) -> ShapeRatios:
    return ShapeRatios(
        run=run,
        d_ff_ratio=round(shape.d_ff_ratio, 4),
        aspect_ratio=round(shape.aspect_ratio, 4),
        head_width=shape.head_width,
        n_layer=shape.config.n_layer,
        N=shape.N,
    )


def _trial(finished: FinishedTrial) -> ShapeTrial:
    trial, record = finished.trial, finished.record
    network = trial.shape.config
    return ShapeTrial(
        **vars(_ratios(record.name, trial.shape)),
        status=record.status,
        d_model=network.d_model,
        n_heads=network.n_heads,
        d_ff=network.feed_forward_width,
        tokens=record.tokens,
        learning_rate=trial.run.learning_rate,
        learning_rate_factor=trial.point.learning_rate_factor,
        loss=finished.loss,
        test_loss=record.losses.get(MAIN_CORPUS, {}).get("loss_nats"),
        tokens_per_s=record.tokens_per_s,
    )


def _losses_of_seeds(plan: Plan, best: Sequence[FinishedTrial]) -> list[list[float]]:
    """The losses of each shape that was trained with several seeds, the search's own first."""
    groups = []
    for runs in replicates(plan, best):
        first = [one.loss for one in best if runs and one.trial.point == runs[0].point and one.loss]
        seeds = [done.loss for run in runs if (done := finished_trial(plan, run)) and done.loss is not None]
        groups.append([*first[:1], *seeds])
    return groups


def _enlarged(plan: Plan, best: Sequence[FinishedTrial], correction: Correction) -> list[EnlargedShape]:
    """The shapes that were trained at the larger N, too."""
    search, shapes = search_of(plan), []
    for small, run in transferred(plan, best):
        large = finished_trial(plan, run)
        if search.transfer is None or large is None or large.loss is None or small.loss is None:
            continue
        shapes.append(
            EnlargedShape(
                small=_ratios(small.record.name, small.trial.shape),
                large=_ratios(large.record.name, run.shape),
                loss_small=correction.at(search.N, small.loss, small.trial.shape.N),
                loss_large=correction.at(search.transfer.N, large.loss, run.shape.N),
            )
        )
    return shapes
