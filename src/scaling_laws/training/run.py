"""Train the runs of one trunk: the longest from the start, the others from where their cooldown begins."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from scaling_laws.errors import InputError
from scaling_laws.records import finished_record, write_atomically
from scaling_laws.schedule import Schedule
from scaling_laws.training import probe
from scaling_laws.training.checkpoint import RunCheckpoints, checkpoint_folder, is_whole, newest_whole
from scaling_laws.training.event_log import forget_events
from scaling_laws.training.lightning_cli import instantiate
from scaling_laws.training.recorder import RunRecorder

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt (malloc.h)."""


def train_trunk(configs: Sequence[Mapping[str, Any]]) -> None:
    """Train every run of a trunk that has no record yet.

    A cooldown branch starts from the trunk's checkpoint at the first step of its own cooldown, with the
    trunk's rows up to there, and is bit for bit the run that its `config.yaml` trains from the start.

    Args:
        configs: LightningCLI configurations of the runs, the longest (the trunk) first.

    Raises:
        InputError: a folder holds the record of another configuration.
    """
    trunk, *branches = [dict(config) for config in configs]
    starts = {_folder(branch): _cooldown_start(branch) for branch in branches}
    if not is_done(trunk):
        _train(trunk, newest_whole(_folder(trunk)), keep_steps=set(starts.values()))
    for branch in branches:
        if is_done(branch):
            continue
        folder, start = _folder(branch), starts[_folder(branch)]
        at_start = _step_checkpoint(trunk, start)
        # Without the trunk's checkpoint (it diverged earlier, or the file is gone) the branch is trained from
        # the start: the same run, only dearer.
        leaves_trunk = is_whole(at_start)
        checkpoint = newest_whole(folder)
        if checkpoint is None and leaves_trunk:
            checkpoint = at_start
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("curve.csv", "position_losses.csv", probe.FILE_NAME):
                if (_folder(trunk) / name).exists():
                    shutil.copyfile(_folder(trunk) / name, folder / name)
        _train(branch, checkpoint, shared_steps=start if leaves_trunk else 0)
    for start in starts.values():
        _step_checkpoint(trunk, start).unlink(missing_ok=True)


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
    *,
    keep_steps: set[int] | None = None,
    shared_steps: int = 0,
) -> None:
    """Train one run, from `checkpoint` where there is one."""
    folder = _folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "config.yaml", yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False))
    forget_events(folder)
    trainer, module, data = instantiate(config)
    launcher = trainer.strategy.launcher
    if (
        isinstance(launcher, _SubprocessScriptLauncher)
        and not launcher.cluster_environment.creates_processes_externally
    ):
        raise InputError(
            f"{folder}: several devices, and a strategy that starts the whole command once more for each: "
            "in a sweep give each training one device, or set trainer.strategy to ddp_fork"
        )
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, RunCheckpoints):
            callback.at_steps = frozenset(keep_steps or ())
        if isinstance(callback, RunRecorder):
            callback.shared_steps = shared_steps
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    if not is_done(config):
        raise SystemExit(1)  # Lightning returns as if nothing had happened after a SIGTERM


def _folder(config: Mapping[str, Any]) -> Path:
    return Path(config["trainer"]["default_root_dir"])


def _cooldown_start(config: Mapping[str, Any]) -> int:
    return Schedule(**config["model"]["schedule"]).cooldown_start(config["trainer"]["max_steps"])


def _step_checkpoint(trunk: Mapping[str, Any], step: int) -> Path:
    return checkpoint_folder(_folder(trunk)) / f"step_{step:08d}.ckpt"


def use_one_thread() -> None:
    """One CPU worker is one thread: workers whose threads share cores wait for one another."""
    torch.set_num_threads(1)
