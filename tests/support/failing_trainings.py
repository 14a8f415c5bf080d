"""Trainings that fail in one way or another. Processes that run them import this file, and no test."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.stub_training import stub_record, train_nothing

from scaling_laws.study.records import write_record
from scaling_laws.sweeps.run import attempts


def die_twice(configs: Sequence[Mapping[str, Any]]) -> None:
    """Killed twice, then trained."""
    folder = Path(configs[0]["trainer"]["default_root_dir"])
    if len(attempts.read(folder).attempts) <= 2:
        os.kill(os.getpid(), signal.SIGKILL)
    train_nothing(configs)


def crash(configs: Sequence[Mapping[str, Any]]) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def raise_twice(configs: Sequence[Mapping[str, Any]]) -> None:
    folder = Path(configs[0]["trainer"]["default_root_dir"])
    if len(attempts.read(folder).attempts) <= 2:
        raise RuntimeError("bad luck\nand more of it")
    train_nothing(configs)


def fill_the_disk(configs: Sequence[Mapping[str, Any]]) -> None:
    raise OSError(28, "No space left on device", "/somewhere/file")


def fail_one(configs: Sequence[Mapping[str, Any]]) -> None:
    if "stub-00001" in configs[0]["trainer"]["default_root_dir"]:
        raise RuntimeError("this one is broken")
    train_nothing(configs)


def train_for_show(configs: Sequence[Mapping[str, Any]]) -> None:
    """Records of what is left, as if it had been trained."""
    for one in configs:
        folder = Path(one["trainer"]["default_root_dir"])
        folder.mkdir(exist_ok=True)
        if not (folder / "record.json").exists():
            write_record(folder, replace(stub_record(one), batch_tokens=64))
