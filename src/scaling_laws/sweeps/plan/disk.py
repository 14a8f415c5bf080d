"""What a plan needs of the disk, and what it finds there to go on from. No torch."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from scaling_laws.study.own_files import CHECKPOINTS, STEP_CHECKPOINT
from scaling_laws.study.schedule import Schedule, evaluation_steps
from scaling_laws.sweeps.plan.experiments import Job, Plan, PlannedRun

ROW_BYTES = 2_000
"""Of a row of the curve, in its table and in TensorBoard's file."""
POSITION_BYTES = 30
"""Of a row of `position_losses.csv`."""
N_CORPORA = 5
"""Held-out corpora: more than most studies have."""
N_FOLDS = 8
"""Parts of a corpus that the last evaluation keeps apart."""
RUN_BYTES, CHECKPOINT_BYTES = 200_000, 30_000
"""Whatever the size: records, snapshots and logs; and of a checkpoint besides its tensors."""


@dataclass(frozen=True, kw_only=True)
class DiskNeed:
    """Bytes for what a plan has not trained yet, roughly.

    Attributes:
        kept: that stay.
        working: that come on top while it runs: checkpoints of the jobs at work.
        free: on the study's file system.
        n_unknown: runs whose network's tensors are not known.
    """

    kept: int
    working: int
    free: int
    n_unknown: int

    @property
    def suffices(self) -> bool:
        """Whether there is room for it."""
        return self.kept + self.working <= self.free

    def __str__(self) -> str:
        unknown = f", besides {self.n_unknown} runs of unknown size" if self.n_unknown else ""
        return (
            f"disk: about {_size(self.kept)} to be kept and {_size(self.working)} while it runs{unknown}; "
            f"{_size(self.free)} are free"
        )


def disk_need(plan: Plan, *, workers: int) -> DiskNeed:
    """What the runs need that have no record yet.

    Args:
        workers: jobs at a time.
    """
    kept, n_unknown = 0, 0
    working: list[int] = []
    for job in plan.jobs:
        left = plan.left(job)
        state = max((_state_bytes(run) for run in left), default=0)
        if left:
            # The newest two states, and those from which branches begin.
            working.append(state * (2 + sum(run is not job.runs[0] for run in left)))
        n_unknown += sum(run.memory is None for run in left)
        kept += sum(_table_bytes(run) for run in left)
        for run in left:
            keep = run.config["checkpoints"]["keep"]
            if keep != "nothing" and run.memory is not None:
                kept += run.memory.weights + CHECKPOINT_BYTES
            if keep == "trunk" and run is job.runs[0]:
                kept += state
    existing = next(path for path in (plan.folder, *plan.folder.absolute().parents) if path.is_dir())
    return DiskNeed(
        kept=kept,
        working=sum(sorted(working)[-workers:]),
        free=shutil.disk_usage(existing).free,
        n_unknown=n_unknown,
    )


def extensions(plan: Plan) -> list[str]:
    """A line for each job whose longest run is new beside shorter ones that are done."""
    lines = []
    for job in plan.jobs:
        trunk, *branches = job.runs
        left = plan.left(job)
        done = [run for run in branches if run not in left]
        if done and trunk in left and not _checkpoints(plan, trunk).is_dir():
            lines.append(_extension(plan, job, done))
    return lines


def _extension(plan: Plan, job: Job, done: list[PlannedRun]) -> str:
    trunk = job.runs[0]
    starts = {run.name: _cooldown_start(run) for run in done}
    kept = [
        run for run in done if (_checkpoints(plan, run) / STEP_CHECKPOINT.format(starts[run.name])).exists()
    ]
    if kept:
        longest = max(kept, key=lambda run: run.steps)
        return f"{trunk.name}: goes on from step {starts[longest.name]:,} of {longest.name}"
    longest = max(done, key=lambda run: run.steps)
    return (
        f"{trunk.name}: {longest.name} kept no state before its cooldown (keep: trunk), so it is trained "
        f"from step 0: {trunk.D:,} tokens, {trunk.C_exact:.3g} FLOPs"
    )


def _checkpoints(plan: Plan, run: PlannedRun) -> Path:
    return plan.folder / run.name / CHECKPOINTS


def _cooldown_start(run: PlannedRun) -> int:
    return Schedule(**run.config["model"]["schedule"]).cooldown_start(run.steps)


def _state_bytes(run: PlannedRun) -> int:
    """A checkpoint to resume from: weights and moments."""
    if run.memory is None:
        return 0
    return run.memory.weights + run.memory.optimizer + CHECKPOINT_BYTES


def _table_bytes(run: PlannedRun) -> int:
    recorder, n_ctx = run.config["recorder"], run.config["data"]["n_ctx"]
    n_evaluations = len(
        evaluation_steps(
            run.batch_tokens,
            run.steps,
            recorder["evaluations_per_doubling"],
            recorder["evaluation_every_n_steps"],
        )
    )
    rows = run.steps // recorder["log_every_n_steps"] + n_evaluations
    positions = (n_evaluations + N_FOLDS) * N_CORPORA * n_ctx * POSITION_BYTES
    probes = n_evaluations * recorder["probe_windows"] * n_ctx * 4
    return int(RUN_BYTES + rows * ROW_BYTES + positions + probes)


def _size(n_bytes: int) -> str:
    """`1.23 GB`."""
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes / 1e6:.3g} MB"
