"""Train the runs of one trunk: the longest from the start, the others from where their cooldown begins."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted, StopSignals
from scaling_laws.study.own_files import STEP_CHECKPOINT, refuse_links_in
from scaling_laws.study.records import (
    RUN_TABLES,
    check_file,
    finished_record,
    read_record,
    write_atomically,
)
from scaling_laws.study.schedule import Schedule
from scaling_laws.training import probe, snapshots
from scaling_laws.training.checkpoint import checkpoint_folder, is_whole, newest_whole
from scaling_laws.training.checkpoint_folder import remove
from scaling_laws.training.verbs import training_cli

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt (malloc.h)."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where the training of one run begins."""

    checkpoint: Path | None
    """None is the start."""
    own: bool = True
    """Whether the checkpoint is the run's, not its trunk's."""
    keep_steps: tuple[int, ...] = ()
    """Steps whose checkpoints its branches will need."""
    shared_steps: int = 0
    """Steps that another run has trained for it."""


TrainRun = Callable[[dict[str, Any], Start, StopSignals, Callable[[], None] | None], None]


def train_trunk(
    configs: Sequence[Mapping[str, Any]],
    before_record: Callable[[], None] | None = None,
    train_run: TrainRun | None = None,
) -> None:
    """Train every run of a trunk that has no record yet.

    A cooldown branch starts from the trunk's checkpoint at the first step of its own cooldown, with the
    trunk's rows up to there, and is bit for bit the run that its `config.yaml` trains from the start.

    Args:
        configs: LightningCLI configurations of the runs, the longest (the trunk) first.
        before_record: called right before each record is written; what it raises ends the training.
        train_run: stands for `train_one_run` where this process only looks after those that train.

    Raises:
        InputError: a folder holds the record or a checkpoint of another configuration, or the disk is full.
        Interrupted: a signal ended the training; called again, it goes on from there.
    """
    train = train_run or train_one_run
    trunk, *branches = [dict(config) for config in configs]
    starts = {_folder(branch): _cooldown_start(branch) for branch in branches}
    with StopSignals() as signals:
        if not is_done(trunk):
            start = _trunk_start(trunk, branches)
            _write_config(trunk)
            train(trunk, start, signals, before_record)
        for branch in branches:
            if is_done(branch):
                continue
            if signals.received:  # in the last step of the run before
                raise Interrupted(signals.received, f"{_folder(branch)}: stopped before its first step")
            start = _branch_start(branch, starts[_folder(branch)], trunk)
            _write_config(branch)
            train(branch, start, signals, before_record)
    for step in starts.values():
        remove(_step_checkpoint(trunk, step))
    if is_whole(_step_checkpoint(trunk, _cooldown_start(trunk))):
        for branch in branches:  # a longer horizon goes on from the longest
            remove(_step_checkpoint(branch, starts[_folder(branch)]))


def _trunk_start(trunk: Mapping[str, Any], branches: Sequence[Mapping[str, Any]]) -> Start:
    """Of the longest run: its own newest checkpoint, or what a shorter trunk has kept for it."""
    checkpoint, shared_steps = newest_whole(_folder(trunk)), 0
    own = checkpoint is not None
    shorter = _kept_for_longer(branches)
    if shorter is not None:
        shared_steps = _cooldown_start(shorter)
        if not own:
            checkpoint = _step_checkpoint(shorter, shared_steps)
            _take_over_tables(_folder(shorter), _folder(trunk))
    return Start(
        checkpoint=checkpoint,
        own=own or checkpoint is None,
        keep_steps=tuple({_cooldown_start(branch) for branch in branches}),
        shared_steps=shared_steps,
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
    for name in (*RUN_TABLES, probe.FILE_NAME, snapshots.FILE_NAME):
        if (source / name).exists():
            check_file(source / name, record)
            write_atomically(folder / name, (source / name).read_bytes())


def _branch_start(branch: Mapping[str, Any], step: int, trunk: Mapping[str, Any]) -> Start:
    """Of a cooldown branch: the trunk's checkpoint and rows at `step`, or its own newest checkpoint."""
    folder = _folder(branch)
    at_start = _step_checkpoint(trunk, step)
    # Without the trunk's checkpoint (it diverged earlier, or the file is gone) the branch is trained from
    # the start: the same run, only dearer.
    leaves_trunk = is_whole(at_start)
    checkpoint = newest_whole(folder)
    own = checkpoint is not None
    if not own and leaves_trunk:
        checkpoint = at_start
        _take_over_tables(_folder(trunk), folder)
    return Start(checkpoint=checkpoint, own=own, shared_steps=step if leaves_trunk else 0)


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


def train_one_run(
    config: dict[str, Any],
    start: Start,
    signals: StopSignals,
    before_record: Callable[[], None] | None,
) -> None:
    """Train one run in this process, which may be one of several ranks; as `train_trunk`."""
    cli = training_cli(config)
    _require_own_processes(cli.trainer, _folder(config))
    cli.checkpoints.at_steps = frozenset(start.keep_steps)
    cli.recorder.shared_steps = start.shared_steps
    cli.recorder.before_record = before_record
    cli.train(start.checkpoint, signals, own=start.own)
    assert is_done(config) or not cli.trainer.is_global_zero


def _write_config(config: Mapping[str, Any]) -> None:
    refuse_links_in(_folder(config))
    text = yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False)
    write_atomically(_folder(config) / "config.yaml", text)


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
