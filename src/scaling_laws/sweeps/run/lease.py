"""Who trains a job: a lock on its folder that the kernel frees when the holder dies.

On one machine the lock (`flock` on `.lease`) says it all. Between machines it may not work, so that the
holder also leaves its name in `.owner` and touches that file now and then: an owner on another machine holds
the folder while its heartbeat is younger than the grace. One that was stopped for longer finds another's name
there when it wakes, and ends. Some file systems have no `flock` (some mounts of Lustre and NFS): there the
owner file says it all, and an owner on this machine lives while its process does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What `flock` answers where there is none."""
LOCK_FILE = ".lease"
OWNER_FILE = ".owner"
HEARTBEAT_S = 10.0
GRACE_S = 60.0
"""At least five heartbeats: a machine that swaps, or a file server that is restarted, is not dead."""
LOST = 75
"""Exit status of a process that was stopped for so long that another took its folder (EX_TEMPFAIL)."""
HESITATION_S = 1.0
"""Longer than another takes who has moved our name aside, sees that we live, and puts it back."""
LOCK_TRIES = 40
LOCK_WAIT_S = 0.01
"""`is_held` holds the lock for a moment, too."""


@dataclass(frozen=True, kw_only=True)
class ProcessName:
    """A process as others see it, on this machine or another."""

    host: str
    """For people."""
    machine: str
    """One boot of one machine and one set of process numbers: containers of one host differ."""
    pid: int
    started: str
    """When, in the kernel's clock ticks: process numbers are used again."""

    @property
    def is_here(self) -> bool:
        """Whether its number means anything to this process."""
        return self.machine == machine()

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or is stopped; asked of a process of this machine only."""
        assert self.is_here
        return _started(self.pid) == self.started

    def __str__(self) -> str:
        return f"{self.machine}:{self.pid}:{self.started}:{self.host}"


def this_process() -> ProcessName:
    """The process that asks."""
    return ProcessName(
        host=socket.gethostname(), machine=machine(), pid=os.getpid(), started=_started(os.getpid())
    )


def process_name(text: str) -> ProcessName | None:
    """What `str()` made of one; None where it is something else."""
    parts = text.split(":", 3)
    if len(parts) < 4 or not parts[1].isdecimal():
        return None
    return ProcessName(machine=parts[0], pid=int(parts[1]), started=parts[2], host=parts[3])


@cache
def machine() -> str:
    """This machine since it was started, and what process numbers mean here."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        numbers = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:  # no Linux
        return socket.gethostname().replace(":", "_")
    return f"{boot}-{numbers}"


def _started(pid: int) -> str:
    """Start time of a process; empty where there is none, or it has ended and nobody has waited for it."""
    try:
        # The second field is the command's name in parentheses, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:
        return "" if Path("/proc/self").exists() else _started_without_proc(pid)
    state, *rest = fields.split()
    return "" if state in "ZX" else rest[18]


def _started_without_proc(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"


class Lost(Exception):
    """The folder is another process's now."""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Raises `Lost` when called, unless the folder is still the caller's; it can be sent to processes."""

    folder: Path
    token: str

    def __call__(self) -> None:
        if self.holds():
            return
        time.sleep(HESITATION_S)
        if not self.holds():
            raise Lost(f"{self.folder}: is another process's now")

    def holds(self) -> bool:
        """What `.owner` says; false may be a moment in which another hesitates."""
        owner = _read_owner(self.folder)
        return owner is not None and owner.token == self.token


class Lease:
    """A folder held by this process, until `close` or its end.

    Attributes:
        hold: what it holds the folder by.
        before_s: last sign of life of an owner that was killed (seconds since 1970); None without one.
    """

    def __init__(self, folder: Path, lock: _Lock, token: str, before_s: float | None) -> None:
        self.before_s = before_s
        self.hold = Hold(folder=folder, token=token)
        self._folder = folder
        self._lock = lock
        self._ended = threading.Event()

    def is_ours(self) -> bool:
        """Whether nobody has taken the folder from us."""
        return self.hold.holds()

    def keep(self, on_loss: Callable[[], None], heartbeat_s: float = HEARTBEAT_S) -> None:
        """Touch the owner file from a thread of its own; `on_loss` is called there if it is another's."""

        def beat() -> None:
            while not self._ended.wait(heartbeat_s):
                try:
                    self.hold()
                    os.utime(self._folder / OWNER_FILE)
                except (Lost, FileNotFoundError):
                    if not self._ended.is_set():
                        on_loss()
                    return

        threading.Thread(target=beat, name="heartbeat", daemon=True).start()

    def close(self) -> None:
        """Let the folder go."""
        self._ended.set()
        if self.is_ours():
            (self._folder / OWNER_FILE).unlink(missing_ok=True)
        self._lock.file.close()


@dataclass(frozen=True, kw_only=True)
class _Owner:
    token: str
    process: ProcessName | None
    """None where the file cannot be read."""


def take(folder: Path, *, grace_s: float = GRACE_S) -> Lease | None:
    """Hold a run's folder; None where somebody else does.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = _locked(folder, fcntl.LOCK_EX)
    if lock is None:
        return None
    owner, before_s = _read_owner(folder), _heartbeat_s(folder)
    if owner is not None and (_holds(folder, owner, lock, grace_s) or not _remove(folder, owner)):
        lock.file.close()
        return None
    token = uuid.uuid4().hex
    if not _write_owner(folder, token):
        lock.file.close()
        return None
    return Lease(folder, lock, token, before_s)


def is_held(folder: Path, *, grace_s: float = GRACE_S) -> bool:
    """Whether a living process holds the folder, here or on another machine."""
    if not (folder / LOCK_FILE).exists():
        return False
    lock = _locked(folder, fcntl.LOCK_SH)
    if lock is None:
        return True
    with lock.file:
        owner = _read_owner(folder)
        return owner is not None and _holds(folder, owner, lock, grace_s)


def is_locked(folder: Path) -> bool:
    """Whether a process holds the folder that lives for sure: on this machine, or where its lock reaches."""
    if not (folder / LOCK_FILE).exists():
        return False
    lock = _locked(folder, fcntl.LOCK_SH)
    if lock is None:
        return True
    lock.file.close()
    owner = holder(folder)
    return not lock.works and owner is not None and owner.is_here and owner.is_alive


def flock_works(folder: Path) -> bool:
    """Whether the file system of a folder that was taken before has `flock`."""
    lock = _locked(folder, fcntl.LOCK_SH)
    if lock is None:
        return True
    lock.file.close()
    return lock.works


def holder(folder: Path) -> ProcessName | None:
    """The last process that took the folder; None where it was let go, or never taken."""
    owner = _read_owner(folder)
    return owner.process if owner else None


@dataclass(frozen=True, kw_only=True)
class _Lock:
    file: IO[str]
    """It lasts as long as this is open."""
    works: bool
    """Whether it keeps others out: there is `flock` here."""


def _locked(folder: Path, kind: int) -> _Lock | None:
    """The lock file, locked where that is possible; None where another process holds it."""
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    file = os.fdopen(descriptor, "a+", encoding="ascii")
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return _Lock(file=file, works=True)
        except BlockingIOError:
            if kind == fcntl.LOCK_SH:
                break  # only a holder excludes those that merely look
            time.sleep(LOCK_WAIT_S)
        except OSError as error:
            if error.errno in NO_FLOCK:
                return _Lock(file=file, works=False)
            file.close()
            raise
    file.close()
    return None


def _holds(folder: Path, owner: _Owner, lock: _Lock, grace_s: float) -> bool:
    """Whether an owner that did not keep us out by its lock lives: that lock may not reach us."""
    if owner.process is not None and owner.process.is_here:
        return not lock.works and owner.process.is_alive
    heartbeat_s = _heartbeat_s(folder)
    if heartbeat_s is None:
        return False
    # Both times by the clock of the file system: those of two machines differ.
    os.utime(lock.file.fileno())
    return os.fstat(lock.file.fileno()).st_mtime - heartbeat_s < grace_s


def _heartbeat_s(folder: Path) -> float | None:
    try:
        return (folder / OWNER_FILE).stat().st_mtime
    except OSError:
        return None


def _read_owner(folder: Path) -> _Owner | None:
    try:
        content = (folder / OWNER_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    token, _, name = content.strip().partition(" ")
    return _Owner(token=token, process=process_name(name))


def _write_owner(folder: Path, token: str) -> bool:
    """Whether our name is now in the folder: of several writers one wins, on any file system."""
    ours = folder / f"{OWNER_FILE}.{token}"
    try:
        ours.write_text(f"{token} {this_process()}\n", encoding="utf-8")
        os.link(ours, folder / OWNER_FILE)
    except FileExistsError:
        return False
    finally:
        ours.unlink(missing_ok=True)
    return True


def _remove(folder: Path, judged: _Owner) -> bool:
    """Remove the name of an owner that was found dead; false where another's has come into its place."""
    aside = folder / f"{OWNER_FILE}.{uuid.uuid4().hex}"
    try:
        os.rename(folder / OWNER_FILE, aside)
    except FileNotFoundError:
        return True
    token = aside.read_text(encoding="utf-8", errors="replace").partition(" ")[0].strip()
    try:
        if token != judged.token:
            os.link(aside, folder / OWNER_FILE)
            return False
    except FileExistsError:
        return False
    finally:
        aside.unlink(missing_ok=True)
    return True
