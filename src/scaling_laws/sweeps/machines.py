"""Which process on which machine: tells one that was killed from one that works. Standard library only."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


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
