"""A run of several ranks, and what their job makes of how they end; a program stands for srun."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted, StopSignals
from scaling_laws.sweeps.run.ranks import train_by_ranks, wants_ranks
from scaling_laws.training.run import Start

START = Start(checkpoint=None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a run, on a machine where `srun` is what a test writes."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def srun(folder: Path, script: str) -> None:
    program = folder.parent / "bin" / "srun"
    program.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


def config(folder: Path, **trainer: Any) -> dict[str, Any]:
    return {"trainer": {"default_root_dir": str(folder), "devices": 4, "num_nodes": 2, **trainer}}


def train(folder: Path, signals: StopSignals | None = None) -> None:
    train_by_ranks(config(folder), START, signals or StopSignals(), None)


def test_a_rank_is_started_for_each_device_of_each_node(folder: Path) -> None:
    srun(folder, f'echo "$@" > {folder}/asked')
    train(folder)
    asked = (folder / "asked").read_text(encoding="utf-8")
    assert "--nodes=2 --ntasks-per-node=4" in asked and "-m scaling_laws.sweeps.run.ranks" in asked
    assert [path.name for path in folder.iterdir()] == ["asked"]  # what was handed over is gone


def test_ranks_meet_at_a_port_that_is_free_or_the_users_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    srun(folder, f'echo "$MASTER_PORT" >> {folder}/ports')
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with socket.socket() as taken:  # by somebody, where Lightning would have them meet: 15000 + the job's id
        with suppress(OSError):
            taken.bind(("", 15001))
        train(folder)
    monkeypatch.setenv("MASTER_PORT", "29500")
    train(folder)
    free, own = map(int, (folder / "ports").read_text(encoding="utf-8").split())
    assert free not in (15001, 29500) and free > 1023 and own == 29500


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [(1, InputError, "the corpus is gone"), (12, MemoryError, "the corpus is gone"), (7, InputError, "gone")],
)
def test_failures_have_the_reason_of_a_rank(folder: Path, status: int, kind: type, says: str) -> None:
    (folder / "log.txt").write_text("1: ...\nerror: the corpus is gone\nsrun: ended\n", encoding="utf-8")
    srun(folder, f"exit {status}")
    with pytest.raises(kind, match=says):
        train(folder)


def test_who_is_told_to_end_has_the_ranks_save(folder: Path) -> None:
    saved = f"trap 'touch {folder}/saved; exit 138' USR1"
    srun(folder, f"{saved}\ntouch {folder}/begun\nwhile true; do sleep 0.1; done")
    signals = StopSignals()

    def stop() -> None:
        while not (folder / "begun").exists():
            time.sleep(0.05)
        signals.received = signal.SIGTERM

    threading.Thread(target=stop).start()
    with pytest.raises(Interrupted) as ended:
        train(folder, signals)
    assert ended.value.code == 128 + signal.SIGTERM and (folder / "saved").exists()


def test_a_job_dies_as_its_rank_does(folder: Path) -> None:
    srun(folder, "exit 137")
    process = multiprocessing.get_context("fork").Process(target=train, args=(folder,))
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL


def test_several_nodes_want_slurm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(InputError, match="needs 2 nodes; --engine slurm trains it"):
        train(folder)


@pytest.mark.parametrize(
    ("trainer", "tasks", "expected"),
    [
        ({"devices": 1, "num_nodes": 2}, None, True),
        ({"devices": 4, "num_nodes": 1, "strategy": "ddp"}, "4", True),
        ({"devices": 4, "num_nodes": 1, "strategy": "ddp"}, None, False),  # on one machine: refused as before
        ({"devices": 4, "num_nodes": 1, "strategy": "ddp_fork"}, "4", False),
        ({"devices": 1, "num_nodes": 1}, "1", False),
    ],
)
def test_when_srun_starts_the_ranks(
    monkeypatch: pytest.MonkeyPatch, trainer: dict[str, Any], tasks: str | None, expected: bool
) -> None:
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    if tasks is not None:
        monkeypatch.setenv("SLURM_NTASKS_PER_NODE", tasks)
    assert wants_ranks({"trainer": trainer}) is expected
    assert os.environ.get("SLURM_NTASKS_PER_NODE") == tasks
