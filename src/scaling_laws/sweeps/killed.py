"""How a process ended that could not say so itself."""

from __future__ import annotations

import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

from scaling_laws.sweeps import attempts
from scaling_laws.sweeps.attempts import Place

KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
"""Signals that somebody sends; others, a segmentation fault, say, are the training's own failure."""


def note_killed(
    folder: Path, attempt: str, process: BaseProcess, *, elapsed_s: float, reached: Place, by_us: bool
) -> None:
    """Write an attempt's end into the folder of its trunk, and its start where it had not come to that.

    Args:
        reached: how far its rows go.
        by_us: whether the supervisor asked it to end.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    history = attempts.read(folder)
    known = {old.id: old for old in history.attempts}
    if attempt in known and known[attempt].outcome is not None:
        return  # the next one has begun, and has seen to it
    if attempt not in known:
        last = history.attempts[-1] if history.attempts else None
        place = (last.saved or last.start) if last else Place(records=0, step=0)
        attempts.begin(folder, attempt, start=place, split=history.split, pid=process.pid)
    number = -(process.exitcode or 0)
    outcome, reason = attempts.FAILED, f"its process ended with exit status {process.exitcode}"
    if by_us:
        outcome, reason = attempts.INTERRUPTED, "ended before it could save"
    elif number > 0:
        outcome = attempts.KILLED if number in KILLS else attempts.FAILED
        reason = f"its process was ended by {signal.Signals(number).name}"
    if outcome == attempts.FAILED:
        reason += f"; see {folder / 'log.txt'}"
    attempts.end(folder, attempt, outcome, reason=reason, elapsed_s=elapsed_s, reached=reached)
