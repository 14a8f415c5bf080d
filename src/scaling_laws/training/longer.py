"""A finished run that goes on to a longer horizon, in its folder; what it was becomes a branch beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scaling_laws.study.conventions import compute_flops, times_reused
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import STEP_CHECKPOINT, refuse_links_in
from scaling_laws.study.records import (
    VOUCHED_FILES,
    RunRecord,
    check_file,
    read_record,
    write_atomically,
    write_record,
)
from scaling_laws.study.schedule import Schedule
from scaling_laws.training import snapshots
from scaling_laws.training.checkpoint import (
    AtomicCheckpointIO,
    checkpoint_folder,
    final_checkpoint,
    is_whole,
    relabelled,
)
from scaling_laws.training.checkpoint_folder import move

TABLES = (*VOUCHED_FILES, snapshots.FILE_NAME)


def go_on_longer(root: Path, schedule: Schedule, max_steps: int, identity: str) -> str:
    """Make of a finished run one that was interrupted before its cooldown, on its way to `max_steps`.

    The finished run is copied before anything of it goes, and its record there is the last that is written:
    after a kill at any point the same command goes on.

    Args:
        root: the run's folder.
        schedule: of both horizons.
        max_steps: the longer one.
        identity: of the configuration with it.

    Returns:
        One line: from which step it goes on, and where the shorter run is.

    Raises:
        InputError: the state before the cooldown was not kept, and what another training would cost.
    """
    record = read_record(root / "record.json")
    start = schedule.cooldown_start(record.steps)
    kept = checkpoint_folder(root) / STEP_CHECKPOINT.format(start)
    if not (kept.is_file() and is_whole(kept)):
        raise InputError(_cost(root, record, start, max_steps))
    branch = root.with_name(f"{root.resolve().name}-{record.steps}-steps")
    _copy_run(root, branch, record)
    state = relabelled(AtomicCheckpointIO().load_checkpoint(kept), identity, shared_steps=start)
    AtomicCheckpointIO().save_checkpoint(state, checkpoint_folder(root) / "last.ckpt")
    if final_checkpoint(root).exists():
        move(final_checkpoint(root), final_checkpoint(branch))
    (root / "record.json").unlink()
    return f"{root}: goes on from step {start} to {max_steps}; the run of {record.steps} steps is {branch}"


def _copy_run(root: Path, branch: Path, record: RunRecord) -> None:
    """The run under another name; its record last.

    Raises:
        InputError: something else is there.
    """
    as_branch = replace(record, name=branch.name, trunk=root.resolve().name)
    if (branch / "record.json").exists():
        there = read_record(branch / "record.json")
        if replace(there, files={}) != replace(as_branch, files={}):
            raise InputError(f"{branch}: holds another run; move it away")
        return
    refuse_links_in(branch)
    checkpoint_folder(branch).mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        if (root / name).exists():
            check_file(root / name, record)
            write_atomically(branch / name, (root / name).read_bytes())
    write_record(branch, as_branch)


def _cost(root: Path, record: RunRecord, start: int, max_steps: int) -> str:
    tokens = record.tokens // record.steps * max_steps
    flops = compute_flops(record.parameters, record.flops_per_token, tokens, times_reused(record.shape))["C"]
    return (
        f"{root}: the run of {record.steps} steps kept no state before its cooldown (step {start}; "
        f"--checkpoints.keep trunk keeps it): {max_steps} steps are trained from the start, all {flops:.2g} "
        "FLOPs, with another --trainer.default_root_dir"
    )
