"""The plan before anything is spent: every run with what it costs, and the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from scaling_laws.models.memory import Memory
from scaling_laws.sweeps.plan.disk import disk_need, extensions
from scaling_laws.sweeps.plan.experiments import Plan, PlannedRun, points_left_out

COLUMNS = ("run", "N", "D", "C = 6ND", "batch", "steps", "rate", "memory", "time")
CAPTION = (
    "D, batch: tokens. C: FLOPs. memory: on one device. time: its own steps and evaluations, on one device.",
    "An indented run is a cooldown branch of the one above.",
)


def plan_columns_and_rows(plan: Plan, *, timed: bool) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The names of the table's columns, and a row per run, cooldown branches indented.

    Args:
        timed: whether expected times rest on a measurement; else they are left out.
    """
    rows = [_row(run, branch=run is not job.runs[0], timed=timed) for job in plan.jobs for run in job.runs]
    extra = _extra_columns(plan)
    columns = [*COLUMNS[: None if timed else -1], *extra]
    body = (
        (*row, *(column(run) for column in extra.values())) for row, run in zip(rows, plan.runs, strict=True)
    )
    return tuple(columns), tuple(body)


def _row(run: PlannedRun, *, branch: bool, timed: bool) -> list[str]:
    row = [
        f"  {run.name}" if branch else run.name,
        f"{run.N:,}",
        f"{run.D:,}",
        f"{run.C:.2e}",
        f"{run.batch_tokens:,}",
        f"{run.steps:,}",
        f"{run.learning_rate:g}",
        _memory(run.memory),
    ]
    return [*row, clock(run.expected_s)] if timed else row


def _extra_columns(plan: Plan) -> dict[str, Callable[[PlannedRun], str]]:
    """Columns of what is not the same for all: which experiments ask for a run, and its devices."""
    extra: dict[str, Callable[[PlannedRun], str]] = {}
    if plan.sweep.include:
        extra["experiments"] = lambda run: ", ".join(run.tags)
    if any(run.devices > 1 for run in plan.runs):
        extra["devices"] = lambda run: str(run.devices)
    return extra


def totals(plan: Plan, *, workers: int, timed: bool) -> Iterator[str]:
    """What stands under the table, line by line.

    Args:
        workers: jobs at a time.
        timed: as of `plan_columns_and_rows`.
    """
    yield from CAPTION
    for reference in list(plan.references.values())[:1]:  # one for all experiments
        yield (
            f"{plan.sweep.budget} pay for N = {reference.N:.3g} and D = {reference.D:.3g}, "
            "of which sizes and horizons are shares"
        )
    for experiment in plan.experiments:
        if any(model.of_optimum for ladder in experiment.ladders for model in ladder.models):
            for family, optimum in plan.references[experiment.study].optima.items():
                yield f"{experiment.study}: slices of {family} are centred by {optimum.source}"
    for name, reasons in points_left_out(plan).items():
        if reasons:
            yield f"{name}: points of slices that are left out: {len(reasons)}; the first: {reasons[0]}"
    tokens = sum(run.trained_tokens for run in plan.runs)
    flops = sum(run.C_exact * run.trained_tokens / run.D for run in plan.runs)
    yield f"total: {tokens:.3g} tokens to train, {flops:.3g} FLOPs (all rows of Table 1)"
    yield str(disk_need(plan, workers=workers))
    yield from extensions(plan)
    yield from doubts(plan)
    if timed:
        left = [(job.devices, plan.left(job)) for job in plan.jobs]
        device_s = [devices * sum(run.expected_s for run in runs) for devices, runs in left]
        longest_s = max((sum(run.expected_s for run in runs) for _, runs in left), default=0.0)
        wall_s = max(longest_s, sum(device_s) / workers)
        n_done = len(plan.runs) - sum(len(runs) for _, runs in left)
        of_what = f" for what is left; {n_done} of {len(plan.runs)} runs are done" if n_done else ""
        device = "core" if plan.experiments[0].trainer_arguments["accelerator"] == "cpu" else "GPU"
        yield (
            f"expected: {clock(sum(device_s))} of one {device}, {clock(wall_s)} with {workers} at a time"
            f"{of_what}"
        )


def doubts(plan: Plan) -> list[str]:
    """A line for each class of networks of which 6 N D says something else than it counts itself."""
    return list({run.doubt.partition(":")[0]: run.doubt for run in plan.runs if run.doubt}.values())


def clock(seconds: float) -> str:
    """`0:03:10`; tenths below ten seconds."""
    return f"{seconds:.1f} s" if seconds < 10 else str(timedelta(seconds=round(seconds)))


def _memory(memory: Memory | None) -> str:
    """`12.3 MB`; `> 12.3 MB` where the activations are not known, `?` where nothing is."""
    if memory is None:
        return "?"
    size, unit = memory.total / 1e6, "MB"
    if size >= 1000:
        size, unit = size / 1000, "GB"
    return f"{'> ' if memory.activations is None else ''}{size:.3g} {unit}"
