"""Real signals, real kills and a real full disk, in processes of their own."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.tiny_runs import FAMILIES, assert_same_run, config

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.training.checkpoint import is_whole, newest_whole
from scaling_laws.training.run import train_trunk

STEPS = 6000
SHARED_MEMORY = Path("/dev/shm")
"""A file system other than that of the tests' folders."""

# Trains the runs of a trunk in a process that begins with the imports done: a life costs no 5 s.
LIVES = """
import json, os, sys
from scaling_laws.training.run import train_trunk
configs = json.loads(sys.argv[1])
while sys.stdin.readline():
    child = os.fork()
    if not child:
        train_trunk(configs)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""

# A child saves one checkpoint after the other; killed, it has a successor.
SAVES = """
import os, sys, torch
from pathlib import Path
from scaling_laws.training.checkpoint import AtomicCheckpointIO, RunCheckpoints
state = {"callbacks": {"RunCheckpoints": RunCheckpoints().state_dict()}, "weights": torch.randn(10**6)}
print("begun", flush=True)
while os.fork():
    os.wait()
while True:
    AtomicCheckpointIO().save_checkpoint(state, Path(sys.argv[1]))
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(autouse=True)
def usual_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the processes: the runs that theirs are compared with are trained in this one."""
    monkeypatch.setattr("scaling_laws.study.schedule.FIRST_EVALUATION_TOKENS", 2**15)


@pytest.fixture
def lives() -> Any:
    """Processes that are ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(command: list[str], **more: Any) -> subprocess.Popen[str]:
        started.append(subprocess.Popen(command, text=True, **more))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


# --- signals to `scaling-laws fit` -----------------------------------------------------------------


def wait_for_a_save(folder: Path, by: subprocess.Popen[str]) -> None:
    """Until the process has saved its own first checkpoint."""
    began_s = time.time()
    deadline_s = time.monotonic() + 300
    while not any(saved.stat().st_mtime > began_s for saved in folder.glob("last.ckpt")):
        assert by.poll() is None and time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.mark.slow
def test_each_signal_saves_and_says_so_by_the_exit_status(
    byte_corpus: TokenCorpus, tmp_path: Path, lives: Callable[..., Any]
) -> None:
    whole, stopped = (
        config(byte_corpus, tmp_path / name, steps=STEPS) | {"checkpoints": {"every_s": 0.5}}
        for name in ("whole", "stopped")
    )
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(stopped), encoding="utf-8")
    command = [sys.executable, "-m", "scaling_laws", "fit", "--config", str(tmp_path / "run.yaml")]
    command += ["--ckpt_path", "newest"]
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)):
        process = lives(command, env=environment(), stderr=subprocess.PIPE)
        wait_for_a_save(tmp_path / "stopped" / "checkpoints", process)
        process.send_signal(number)
        _, error = process.communicate(timeout=300)
        assert process.returncode == status, error
        assert "is saved: go on with --ckpt_path newest" in error.strip().splitlines()[-1]
        assert newest_whole(tmp_path / "stopped")
    assert subprocess.run(command, env=environment()).returncode == 0
    train_trunk([whole])
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    assert subprocess.run(command, env=environment()).returncode == 0  # nothing left to do


# --- SIGKILL ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_trunk_and_its_branch_killed_twenty_times(
    byte_corpus: TokenCorpus, tmp_path: Path, lives: Callable[..., Any], family: str
) -> None:
    runs = {
        kind: [
            config(byte_corpus, tmp_path / kind / name, family, steps) | {"checkpoints": {"every_s": 0.1}}
            for name, steps in (("trunk", STEPS), ("branch", STEPS // 2))
        ]
        for kind in ("whole", "killed")
    }
    with open(tmp_path / "log.txt", "w", encoding="utf-8") as log:
        mother = lives(
            [sys.executable, "-c", LIVES, json.dumps(runs["killed"])],
            env=environment(TMPDIR=str(SHARED_MEMORY)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    moments = random.Random(family)
    n_kills, status = 0, signal.SIGKILL
    while status == signal.SIGKILL:
        mother.stdin.write("\n")
        mother.stdin.flush()
        child = int(mother.stdout.readline())
        if n_kills < 20:
            time.sleep(moments.uniform(0.1, 0.8))
            with suppress(ProcessLookupError):  # it has come to its end
                os.kill(child, signal.SIGKILL)
        status = int(mother.stdout.readline())
        n_kills += status == signal.SIGKILL
    assert status == 0, (tmp_path / "log.txt").read_text()
    assert n_kills == 20
    train_trunk(runs["whole"])
    for name in ("trunk", "branch"):
        assert_same_run(tmp_path / "whole" / name, tmp_path / "killed" / name)
        assert not list((tmp_path / "killed" / name / "checkpoints").glob(".*"))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="no /dev/shm: there is no second file system")
def test_a_hundred_kills_in_a_hundred_writes_leave_a_whole_checkpoint(
    tmp_path: Path, lives: Callable[..., Any]
) -> None:
    assert os.stat(SHARED_MEMORY).st_dev != os.stat(tmp_path).st_dev
    path = tmp_path / "last.ckpt"
    moments = random.Random(0)
    mother = lives(
        [sys.executable, "-c", SAVES, str(path)],
        env=environment(TMPDIR=str(SHARED_MEMORY)),
        stdout=subprocess.PIPE,
    )
    mother.stdout.readline()
    n_whole = n_torn_writes = 0
    while n_whole < 100:
        time.sleep(moments.uniform(0.01, 0.1))
        for child in children(mother.pid):
            os.kill(child, signal.SIGKILL)
        if path.exists():
            assert is_whole(path)
            n_whole += 1
        n_torn_writes += len(list(tmp_path.glob(".last.ckpt.*")))
        for left in tmp_path.glob(".last.ckpt.*"):
            left.unlink(missing_ok=True)
    assert n_torn_writes > 20  # the kills did come in the middle of writes


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# --- a real full disk ------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 600 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system may not be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk(byte_corpus: TokenCorpus, tmp_path: Path, small_disk: Path) -> None:
    often = {"checkpoints": {"every_s": 0.0}}
    runs = {
        name: config(byte_corpus, folder, steps=300) | often
        for name, folder in (("whole", tmp_path / "whole"), ("full", small_disk / "run"))
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(runs["full"]), encoding="utf-8")
    command = [sys.executable, "-m", "scaling_laws", "fit", "--config", str(tmp_path / "run.yaml")]
    command += ["--ckpt_path", "newest"]
    for occupied_bytes in (590_000, 560_000, 480_000, 400_000):
        (small_disk / "other").write_bytes(bytes(occupied_bytes))
        ended = subprocess.run(command, env=environment(), capture_output=True, text=True)
        last = ended.stderr.strip().splitlines()[-1]
        assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
        assert str(small_disk) in last and "No space left on device" in last
        assert not (small_disk / "run" / "record.json").exists()
        for path in (small_disk / "run" / "checkpoints").glob("*"):
            assert is_whole(path)
    (small_disk / "other").unlink()
    assert subprocess.run(command, env=environment()).returncode == 0
    train_trunk([runs["whole"]])
    assert_same_run(tmp_path / "whole", small_disk / "run")
