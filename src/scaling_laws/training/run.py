"""Train the runs of one trunk: the longest from the start, the others from where their cooldown begins."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted, StopSignals
from scaling_laws.study.own_files import STEP_CHECKPOINT, refuse_links_in
from scaling_laws.study.records import check_file, finished_record, read_record, write_atomically
from scaling_laws.study.schedule import Schedule
from scaling_laws.training import probe, snapshots
from scaling_laws.training.checkpoint import checkpoint_folder, is_whole, newest_whole
from scaling_laws.training.checkpoint_folder import remove
from scaling_laws.training.lightning_cli import training_cli

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt (malloc.h)."""


def train_trunk(
    configs: Sequence[Mapping[str, Any]], before_record: Callable[[], None] | None = None
) -> None:
    """Train every run of a trunk that has no record yet.

    A cooldown branch starts from the trunk's checkpoint at the first step of its own cooldown, with the
    trunk's rows up to there, and is bit for bit the run that its `config.yaml` trains from the start.

    Args:
        configs: LightningCLI configurations of the runs, the longest (the trunk) first.
        before_record: called right before each record is written; what it raises ends the training.

    Raises:
        InputError: a folder holds the record or a checkpoint of another configuration, or the disk is full.
        Interrupted: a signal ended the training; called again, it goes on from there.
    """
    trunk, *branches = [dict(config) for config in configs]
    starts = {_folder(branch): _cooldown_start(branch) for branch in branches}
    with StopSignals() as signals:
        if not is_done(trunk):
            _train_trunk(trunk, branches, signals, before_record)
        for branch in branches:
            if is_done(branch):
                continue
            if signals.received:  # in the last step of the run before
                raise Interrupted(signals.received, f"{_folder(branch)}: stopped before its first step")
            _train_branch(branch, starts[_folder(branch)], trunk, signals, before_record)
    for start in starts.values():
        remove(_step_checkpoint(trunk, start))
    if is_whole(_step_checkpoint(trunk, _cooldown_start(trunk))):
        for branch in branches:  # a longer horizon goes on from the longest
            remove(_step_checkpoint(branch, starts[_folder(branch)]))


def _train_trunk(
    trunk: dict[str, Any],
    branches: Sequence[Mapping[str, Any]],
    signals: StopSignals,
    before_record: Callable[[], None] | None,
) -> None:
    """Train the longest run, from its own newest checkpoint or from what a shorter trunk has kept for it."""
    checkpoint, start = newest_whole(_folder(trunk)), 0
    own = checkpoint is not None
    shorter = _kept_for_longer(branches)
    if shorter is not None:
        start = _cooldown_start(shorter)
        if not own:
            checkpoint = _step_checkpoint(shorter, start)
            _take_over_tables(_folder(shorter), _folder(trunk))
    _train(
        trunk,
        checkpoint,
        signals,
        own=own or checkpoint is None,
        keep_steps={_cooldown_start(branch) for branch in branches},
        shared_steps=start,
        before_record=before_record,
    )


def _kept_for_longer(branches: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The branch of most steps that was a trunk before, and kept its state before its cooldown."""
    kept = [
        branch
        for branch in branches
        if is_done(branch) and is_whole(_step_checkpoint(branch, _cooldown_start(branch)))
    ]
    return max(kept, key=_cooldown_start, default=None)


def _take_over_tables(source: Path, folder: Path) -> None:
    """Begin a run with the rows of another, which it shares a trunk with; the checkpoint says how many."""
    refuse_links_in(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record = read_record(source / "record.json")
    for name in ("curve.csv", "position_losses.csv", probe.FILE_NAME, snapshots.FILE_NAME):
        if (source / name).exists():
            check_file(source / name, record)
            write_atomically(folder / name, (source / name).read_bytes())


def _train_branch(
    branch: dict[str, Any],
    start: int,
    trunk: Mapping[str, Any],
    signals: StopSignals,
    before_record: Callable[[], None] | None,
) -> None:
    """Train a cooldown branch from the trunk's checkpoint at step `start`, or from its own newest one."""
    folder = _folder(branch)
    at_start = _step_checkpoint(trunk, start)
    # Without the trunk's checkpoint (it diverged earlier, or the file is gone) the branch is trained from
    # the start: the same run, only dearer.
    leaves_trunk = is_whole(at_start)
    checkpoint = newest_whole(folder)
    own = checkpoint is not None
    if not own and leaves_trunk:
        checkpoint = at_start
        _take_over_tables(_folder(trunk), folder)
    shared_steps = start if leaves_trunk else 0
    _train(branch, checkpoint, signals, own=own, shared_steps=shared_steps, before_record=before_record)


def first_step(config: Mapping[str, Any], configs: Sequence[Mapping[str, Any]]) -> int:
    """Steps that `train_trunk(configs)` lets one of these runs take over from another."""
    trunk, *branches = configs
    if _folder(config) == _folder(trunk):
        shorter = _kept_for_longer(branches)
        return 0 if shorter is None else _cooldown_start(shorter)
    start = _cooldown_start(config)
    return start if not is_done(trunk) or _step_checkpoint(trunk, start).exists() else 0


def is_done(config: Mapping[str, Any]) -> bool:
    """Whether the run's folder holds its record (`finished_record` has the errors)."""
    return finished_record(_folder(config), config["recorder"]["run_id"]) is not None


def reuse_freed_memory() -> None:
    """Ask glibc to keep large freed blocks, so that the logits' pages are not faulted in anew at every step.

    The smaller the network, the larger the share of a step that this saves. Elsewhere (no glibc) nothing
    happens.
    """
    library = ctypes.CDLL(ctypes.util.find_library("c"))
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, 2**30)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _train(
    config: dict[str, Any],
    checkpoint: Path | None,
    signals: StopSignals,
    *,
    own: bool = True,
    keep_steps: set[int] | None = None,
    shared_steps: int = 0,
    before_record: Callable[[], None] | None = None,
) -> None:
    """Train one run, from `checkpoint` (its `own`, or its trunk's) where there is one."""
    folder = _folder(config)
    refuse_links_in(folder)
    write_atomically(folder / "config.yaml", yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False))
    cli = training_cli(config)
    _require_own_processes(cli.trainer, folder)
    cli.checkpoints.at_steps = frozenset(keep_steps or ())
    cli.recorder.shared_steps = shared_steps
    cli.recorder.before_record = before_record
    cli.train(checkpoint, signals, own=own)
    assert is_done(config) or not cli.trainer.is_global_zero


def _require_own_processes(trainer: pl.Trainer, folder: Path) -> None:
    """Refuse strategies that start the whole command, here a sweep, once more for each device."""
    launcher = trainer.strategy.launcher
    if (
        isinstance(launcher, _SubprocessScriptLauncher)
        and not launcher.cluster_environment.creates_processes_externally
    ):
        raise InputError(
            f"{folder}: several devices, and a strategy that starts the whole command once more for each: "
            "in a sweep give each training one device, or set trainer.strategy to ddp_fork"
        )


def _folder(config: Mapping[str, Any]) -> Path:
    return Path(config["trainer"]["default_root_dir"])


def _cooldown_start(config: Mapping[str, Any]) -> int:
    return Schedule(**config["model"]["schedule"]).cooldown_start(config["trainer"]["max_steps"])


def _step_checkpoint(trunk: Mapping[str, Any], step: int) -> Path:
    return checkpoint_folder(_folder(trunk)) / STEP_CHECKPOINT.format(step)


def use_one_thread() -> None:
    """One CPU worker is one thread: workers whose threads share cores wait for one another."""
    torch.set_num_threads(1)
