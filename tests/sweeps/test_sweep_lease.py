"""Leases: one holder, whatever is killed, stopped or on another machine. (Its processes import no torch.)"""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from scaling_laws.sweeps.run import lease
from scaling_laws.sweeps.run.lease import ProcessName, process_name, this_process

GRACE_S = 0.6
HEARTBEAT_S = 0.1
SPAWN = multiprocessing.get_context("spawn")


def leave() -> None:
    os._exit(lease.LOST)


def hold(folder: Path, connection: Connection) -> None:
    """Take the folder, say so, and hold it."""
    held = lease.take(folder, grace_s=GRACE_S)
    assert held is not None
    held.keep(leave, HEARTBEAT_S)
    connection.send("held")
    time.sleep(60)


@pytest.fixture
def holder(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Another process that holds the folder."""
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=hold, args=(tmp_path, there), daemon=True)
    process.start()
    assert here.recv() == "held"
    yield process
    process.kill()
    process.join()


def pretend_it_is_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder is on another machine, and flock does not reach it."""
    monkeypatch.setattr("scaling_laws.sweeps.run.lease.machine", lambda: "another-machine")
    (folder / lease.LOCK_FILE).unlink()  # the next one to lock makes a file of its own
    (folder / lease.LOCK_FILE).touch()


def test_one_holder_and_free_when_it_is_killed(tmp_path: Path, holder) -> None:  # type: ignore[no-untyped-def]
    assert lease.is_held(tmp_path) and lease.is_locked(tmp_path) and lease.take(tmp_path) is None
    os.kill(holder.pid, signal.SIGSTOP)
    time.sleep(2 * GRACE_S)
    assert lease.is_held(tmp_path, grace_s=GRACE_S)  # on one machine the lock says it all
    assert lease.take(tmp_path, grace_s=GRACE_S) is None
    holder.kill()
    holder.join()
    assert not lease.is_held(tmp_path)
    ours = lease.take(tmp_path)
    assert ours is not None and ours.is_ours() and ours.before_s is not None
    ours.close()
    assert not lease.is_held(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [lease.LOCK_FILE]


def test_a_heartbeat_on_another_machine_holds_the_folder(
    tmp_path: Path,
    holder,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_it_is_elsewhere(tmp_path, monkeypatch)
    for _ in range(3):  # for longer than the grace
        time.sleep(GRACE_S / 2)
        assert lease.is_held(tmp_path, grace_s=GRACE_S)
        assert lease.take(tmp_path, grace_s=GRACE_S) is None
    holder.kill()
    holder.join()
    assert lease.is_held(tmp_path, grace_s=GRACE_S)
    time.sleep(2 * GRACE_S)
    assert not lease.is_held(tmp_path, grace_s=GRACE_S)
    ours = lease.take(tmp_path, grace_s=GRACE_S)
    assert ours is not None
    ours.close()


def test_who_was_stopped_for_too_long_finds_another_and_ends(
    tmp_path: Path,
    holder,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_it_is_elsewhere(tmp_path, monkeypatch)
    os.kill(holder.pid, signal.SIGSTOP)
    time.sleep(2 * GRACE_S)
    ours = lease.take(tmp_path, grace_s=GRACE_S)
    assert ours is not None
    os.kill(holder.pid, signal.SIGCONT)
    holder.join(timeout=5)
    assert holder.exitcode == lease.LOST
    assert ours.is_ours()
    ours.close()


# --- file systems without flock -------------------------------------------------------------------


@pytest.fixture(params=lease.NO_FLOCK, ids=lambda number: errno.errorcode[number])
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some mounts of Lustre and NFS answer so; the holder, a process of its own, has flock."""

    def flock(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_living_process_holds_the_folder(tmp_path: Path, holder) -> None:  # type: ignore[no-untyped-def]
    assert not lease.flock_works(tmp_path)
    os.kill(holder.pid, signal.SIGSTOP)
    time.sleep(2 * GRACE_S)  # stopped is not dead, on its own machine
    assert lease.is_held(tmp_path, grace_s=GRACE_S) and lease.is_locked(tmp_path)
    assert lease.take(tmp_path, grace_s=GRACE_S) is None
    holder.kill()
    holder.join()
    assert not lease.is_held(tmp_path) and not lease.is_locked(tmp_path)
    ours = lease.take(tmp_path)
    assert ours is not None and ours.is_ours() and ours.before_s is not None
    assert lease.take(tmp_path) is None and lease.is_held(tmp_path)
    ours.close()
    assert not lease.is_held(tmp_path)


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_heartbeat_of_another_machine_holds_the_folder(
    tmp_path: Path,
    holder,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scaling_laws.sweeps.run.lease.machine", lambda: "another-machine")
    time.sleep(2 * GRACE_S)
    assert lease.take(tmp_path, grace_s=GRACE_S) is None and not lease.is_locked(tmp_path)
    holder.kill()
    holder.join()
    time.sleep(2 * GRACE_S)
    assert not lease.is_held(tmp_path, grace_s=GRACE_S)
    ours = lease.take(tmp_path, grace_s=GRACE_S)
    assert ours is not None
    ours.close()


def test_of_two_that_judge_an_owner_dead_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second finds the first one's name where that of the dead was."""
    dead = lease._Owner(token="dead", process=None)
    ours = lease.take(tmp_path)
    assert ours is not None
    assert not lease._remove(tmp_path, dead)
    assert ours.is_ours()
    assert not lease._write_owner(tmp_path, "second")
    assert ours.is_ours()
    ours.close()


def test_names_of_processes() -> None:
    ours = this_process()
    assert process_name(str(ours)) == ours and ours.is_here and ours.is_alive
    reused = ProcessName(host=ours.host, machine=ours.machine, pid=ours.pid, started="1")
    assert not reused.is_alive
    assert process_name("None") is None and process_name("a:b:c:d") is None
