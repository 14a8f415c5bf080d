"""What is trained once the search is over: other seeds for the noise band, and a larger N."""

from __future__ import annotations

from collections.abc import Sequence

from scaling_laws.laws.shapes import Correction
from scaling_laws.models.solver import Shape, solve_shape
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.experiments import Plan
from scaling_laws.sweeps.search.trials import FinishedTrial, TrialRun, planned_trial, search_of


def best_of_each_shape(
    finished: Sequence[FinishedTrial], correction: Correction, N: float
) -> list[FinishedTrial]:
    """The best complete trial of every network, the best network first; losses as at N parameters."""
    losses = {
        trial.record.name: correction.at(N, trial.loss, trial.trial.shape.N)
        for trial in finished
        if trial.loss is not None
    }
    complete = sorted(
        (trial for trial in finished if trial.loss is not None), key=lambda trial: losses[trial.record.name]
    )
    best: dict[tuple[int, ...], FinishedTrial] = {}
    for trial in complete:
        best.setdefault(network_key(trial.trial.shape), trial)
    return list(best.values())


def network_key(shape: Shape) -> tuple[int, ...]:
    """What tells two networks of one corpus apart."""
    config = shape.config
    return config.n_layer, config.d_model, config.n_heads, config.feed_forward_width


def replicates(plan: Plan, ranked: Sequence[FinishedTrial]) -> list[list[TrialRun]]:
    """Runs of other seeds: of the best network, and of the one in the middle.

    Args:
        ranked: the best trial of each network, the best first.
    """
    search = search_of(plan)
    chosen = [ranked[0], ranked[len(ranked) // 2]] if len(ranked) > 1 else list(ranked)
    seeds = range(search.seed + 1, search.seed + search.replicates)
    return [[planned_trial(plan, one.trial.point, seed=seed) for seed in seeds] for one in chosen]


def transferred(plan: Plan, ranked: Sequence[FinishedTrial]) -> list[tuple[FinishedTrial, TrialRun]]:
    """Networks by rank, each with the run that has its ratios at the larger N; none where no N is given.

    d_ff / d_model, d_model / n_layer and the width of heads stay as near as whole layers and heads allow;
    the learning rate is the rule's at the larger N, times the trial's own factor.
    """
    search = search_of(plan)
    if search.transfer is None:
        return []
    n_shapes = min(search.transfer.shapes, len(ranked))
    ranks = sorted({round(k * (len(ranked) - 1) / max(1, n_shapes - 1)) for k in range(n_shapes)})
    return [
        (
            ranked[rank],
            planned_trial(
                plan,
                ranked[rank].trial.point,
                N=search.transfer.N,
                tokens=search.transfer_tokens,
                shape=_enlarged(ranked[rank].trial.shape, search.transfer.N),
            ),
        )
        for rank in ranks
    ]


def _enlarged(shape: Shape, N: float) -> Shape:
    try:
        return _solved(shape, N, nearest=False)
    except InputError:  # small networks have few depths: N is met less well
        return _solved(shape, N, nearest=True)


def _solved(shape: Shape, N: float, *, nearest: bool) -> Shape:
    return solve_shape(
        N,
        n_vocab=shape.config.n_vocab,
        n_ctx=shape.config.n_ctx,
        aspect_ratio=shape.aspect_ratio,
        head_width=shape.head_width,
        d_ff_ratio=shape.d_ff_ratio,
        nearest=nearest,
        adjust_d_ff=True,
    )
