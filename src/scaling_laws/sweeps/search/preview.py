"""What a search will cost, before anything is trained: the space, the networks in it, tokens and memory."""

from __future__ import annotations

from collections.abc import Iterator

from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.experiments import Plan
from scaling_laws.sweeps.plan.search_section import ShapeSearch
from scaling_laws.sweeps.search.space import Point, is_feasible
from scaling_laws.sweeps.search.trials import TrialRun, network_at, planned_trial, search_of

RATIO_STEPS = 9
"""Values of d_ff / d_model that are looked at, from end to end."""


def preview(plan: Plan) -> str:
    """The search in a few lines.

    Raises:
        InputError: the settings make no search, no network of the space has N parameters, or a trial would be
            impossible: its horizon is too short, or its rule has no rate for N.
    """
    search = search_of(plan)
    search.check()
    points = list(_grid(search))
    runs = [planned_trial(plan, point) for point in points if is_feasible(network_at(plan, point), point)]
    if not runs:
        raise InputError(
            f"search: no network of this space has {search.N:,.0f} parameters; "
            "change N, the depths or the head widths"
        )
    lines = [
        f"{plan.sweep.study}: a search for the best shape of {search.N:,.0f} parameters",
        f"  space     {_space(search)}",
        f"  networks  {len({run.run.name for run in runs})} in a grid of {len(points)} points, of which "
        f"{100 * len(runs) / len(points):.0f} % are feasible (N within 2 %); others are not trained",
        f"  sampler   {search.sampler['class_path']}; "
        f"pruner {(search.pruner or {}).get('class_path', 'none')}",
        f"  trials    {search.trials} x {search.tokens:,} tokens = {search.trials * search.tokens:,} tokens, "
        f"{6 * search.N * search.tokens * search.trials:.2e} FLOPs (6ND)",
    ]
    if search.spread:
        lines.append(
            f"            the first {search.spread} of them spread over the space, the others by the sampler"
        )
    n_seeds = 2 * (search.replicates - 1)
    if n_seeds:
        lines.append(f"  seeds     {n_seeds} x {search.tokens:,} tokens: two networks, for the noise band")
    if search.transfer is not None:
        lines.append(
            f"  transfer  {search.transfer.shapes} x {search.transfer_tokens:,} tokens at "
            f"N = {search.transfer.N:,.0f}"
        )
    return "\n".join([*lines, *_cost(search, runs, n_seeds)])


def _space(search: ShapeSearch) -> str:
    def span(range_: tuple[float, float]) -> str:
        return f"{range_[0]:g} to {range_[1]:g}"

    factor = (
        f"learning rate x {span(search.learning_rate_factor)}"
        if search.tunes_learning_rate
        else "learning rate by its rule"
    )
    widths = ", ".join(str(width) for width in sorted(set(search.head_width)))
    return (
        f"n_layer {span(search.n_layer)}, d_ff/d_model {span(search.d_ff_ratio)}, heads of {widths}, {factor}"
    )


def _grid(search: ShapeSearch) -> Iterator[Point]:
    low, high = search.d_ff_ratio
    for n_layer in range(search.n_layer[0], search.n_layer[1] + 1):
        for head_width in sorted(set(search.head_width)):
            for step in range(RATIO_STEPS):
                ratio = low * (high / low) ** (step / (RATIO_STEPS - 1))
                yield Point(n_layer=n_layer, d_ff_ratio=ratio, head_width=head_width)


def _cost(search: ShapeSearch, runs: list[TrialRun], n_seeds: int) -> Iterator[str]:
    seconds = sorted(run.run.expected_s for run in runs)[len(runs) // 2] * (search.trials + n_seeds)
    if search.transfer is not None:
        growth = search.transfer_tokens / search.tokens * search.transfer.N / search.N
        seconds += search.transfer.shapes * growth * seconds / (search.trials + n_seeds)
    yield f"  time      about {seconds / 60:.0f} core minutes, if no pruner saves some"
    memory = [run.run.memory.total for run in runs if run.run.memory is not None]
    if memory:
        yield f"  memory    {min(memory) / 1e6:.3g} to {max(memory) / 1e6:.3g} MB a trial, on one device"
