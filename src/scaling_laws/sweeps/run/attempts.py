"""What became of each attempt at a job: `attempts.jsonl` in its folder, which outlives every supervisor.

A line an event, written by one `write`: the start of an attempt, its end, or a user's wish to try again. A
start without an end is an attempt that was killed, or still runs (the lease knows). Lines are never changed;
one that is torn, or that nobody understands, is passed over.

What the counting is for: a job that fails `MAX_FAILURES` times, or is killed `MAX_KILLS` times, without
getting further is set aside. Getting further is a checkpoint at a later step, or one more finished run.
"""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from scaling_laws.study.artefacts import parse_json, typed
from scaling_laws.study.bounds import Amount, Count, PositiveCount, Time, check_bounds
from scaling_laws.sweeps.run.lease import this_process

FILE = "attempts.jsonl"
MAX_FAILURES = 3
MAX_KILLS = 8
"""A kill is seldom the job's fault, but one that eats the machine's memory is killed every time."""
DONE, FAILED, OUT_OF_MEMORY, INTERRUPTED, KILLED = "done", "failed", "out_of_memory", "interrupted", "killed"
HELD = "held"
"""No attempt at all: somebody else trains it, or has given it up."""
ENVIRONMENT = "environment"
"""No attempt either: the machine failed, a full disk, say."""
KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
"""Signals that somebody sends; others, a segmentation fault, say, are the job's own failure."""


@dataclass(frozen=True, kw_only=True, order=True)
class Place:
    """How far a job has come."""

    records: int
    """Finished runs."""
    step: int
    """Of the run in progress."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A run that an attempt has before it."""

    run: str
    """Its name."""
    first_step: int
    """Steps that it takes over from its trunk: 0 where it is trained from the start."""
    last_step: int


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One process that trained a job."""

    id: str
    start_s: float
    """Seconds since 1970."""
    host: str
    pid: int
    split: int
    """Factor of trainer.accumulate_grad_batches: doubled whenever memory was short."""
    start: Place
    parts: tuple[Part, ...] = ()
    """Runs without a record when it began, in the order of their training; empty where nobody noted them."""
    outcome: str | None = None
    """One of the above; None: killed, or running."""
    reason: str = ""
    elapsed_s: float | None = None
    saved: Place | None = None
    """Where a next attempt begins."""
    end: Place | None = None
    """Where it stopped training."""
    after_retry: bool = False
    """Whether a user asked for a new try before it."""


@dataclass(frozen=True, kw_only=True)
class History:
    """All attempts at a job, in order."""

    attempts: tuple[Attempt, ...] = ()
    retry_asked: bool = False
    """Whether a user asked for a new try since the last attempt."""

    @property
    def split(self) -> int:
        """The factor that the next attempt shall accumulate by."""
        if not self.attempts:
            return 1
        last = self.attempts[-1]
        return last.split * (2 if last.outcome == OUT_OF_MEMORY else 1)

    def set_aside(self) -> str | None:
        """Why it is not to be tried again; None where it is."""
        if self.retry_asked:
            return None
        failures = kills = 0
        reason = ""
        for attempt, later in zip_longest(self.attempts, self.attempts[1:]):
            if attempt.after_retry:
                failures = kills = 0
            saved = attempt.saved or (later.start if later else None)
            if saved is None:
                continue  # it may still be running, and how far it came is known when the next one begins
            if saved > attempt.start:
                failures = kills = 0
            if attempt.outcome == FAILED:
                failures += 1
                reason = attempt.reason
            elif attempt.outcome in (None, KILLED) and saved <= attempt.start:
                kills += 1
        if failures >= MAX_FAILURES:
            return f"failed {failures} times without getting further, last: {reason}"
        if kills >= MAX_KILLS:
            return f"was killed {kills} times without getting further; is the machine's memory enough?"
        return None


def new_id() -> str:
    """A name for an attempt."""
    return uuid.uuid4().hex[:12]


def begin(
    folder: Path,
    attempt: str,
    *,
    start: Place,
    split: int,
    parts: Sequence[Part] = (),
    pid: int | None = None,
) -> None:
    """Note that a process begins, by default this one.

    Args:
        parts: the runs that it has before it, in this order.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    process = this_process()
    _append(
        folder,
        {
            "event": "start",
            "attempt": attempt,
            "time_s": round(time.time(), 3),
            "host": process.host,
            "pid": pid or process.pid,
            "split": split,
            **_words("start", start),
            "parts": [[part.run, part.first_step, part.last_step] for part in parts],
        },
    )


def end(
    folder: Path,
    attempt: str,
    outcome: str,
    *,
    reason: str = "",
    elapsed_s: float | None = None,
    saved: Place | None = None,
    reached: Place | None = None,
) -> None:
    """Note how an attempt ended, this process's or one that was killed.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    line: dict[str, Any] = {"event": "end", "attempt": attempt, "outcome": outcome, "reason": reason}
    if elapsed_s is not None:
        line["elapsed_s"] = round(elapsed_s, 3)
    for name, place in (("saved", saved), ("end", reached)):
        if place is not None:
            line |= _words(name, place)
    _append(folder, line)


def ask_again(folder: Path) -> None:
    """Note that a user wants a job that was set aside tried again."""
    _append(folder, {"event": "retry", "time_s": round(time.time(), 3)})


def withdraw(folder: Path, attempt: str) -> None:
    """Take back the start of this process's attempt: on a full disk there is no room for its end.

    Only the holder of the lease may, and only its own last line.
    """
    path = folder / FILE
    lines = path.read_bytes().splitlines(keepends=True)
    while lines and getattr(_parsed(lines[-1]), "attempt", attempt) == attempt:
        os.truncate(path, path.stat().st_size - len(lines.pop()))


def read(folder: Path) -> History:
    """What is known of a job's attempts."""
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return History()
    return _history(event for line in lines if (event := _parsed(line)))


def _history(events: Iterable[_Event]) -> History:
    attempts: dict[str, Attempt] = {}
    retry_asked = False
    for event in events:
        if isinstance(event, _Retry):
            retry_asked = True
        elif isinstance(event, _Start):
            attempts[event.attempt] = Attempt(
                id=event.attempt,
                start_s=event.time_s,
                host=event.host,
                pid=event.pid,
                split=event.split,
                start=Place(records=event.start_records, step=event.start_step),
                parts=event.planned,
                after_retry=retry_asked,
            )
            retry_asked = False
        elif (attempt := attempts.get(event.attempt)) and attempt.outcome is None:
            attempts[attempt.id] = replace(
                attempt,
                outcome=event.outcome,
                reason=event.reason,
                elapsed_s=event.elapsed_s,
                saved=_place(event.saved_records, event.saved_step),
                end=_place(event.end_records, event.end_step),
            )
    return History(attempts=tuple(attempts.values()), retry_asked=retry_asked)


def _words(name: str, place: Place) -> dict[str, int]:
    return {f"{name}_records": place.records, f"{name}_step": place.step}


def _place(records: int | None, step: int | None) -> Place | None:
    return None if records is None or step is None else Place(records=records, step=step)


@dataclass(frozen=True, kw_only=True)
class _Line:
    def __post_init__(self) -> None:
        """Raises InputError: a number is none of an attempt."""
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class _Start(_Line):
    attempt: str
    time_s: Time
    host: str
    pid: Amount
    split: PositiveCount
    start_records: Count
    start_step: Amount
    parts: tuple[tuple[str, Amount, Amount], ...] = ()

    @property
    def planned(self) -> tuple[Part, ...]:
        """None from books of before they were noted."""
        return tuple(Part(run=run, first_step=first, last_step=last) for run, first, last in self.parts)


@dataclass(frozen=True, kw_only=True)
class _End(_Line):
    attempt: str
    outcome: str
    reason: str
    elapsed_s: Time | None = None
    saved_records: Count | None = None
    saved_step: Amount | None = None
    end_records: Count | None = None
    end_step: Amount | None = None


@dataclass(frozen=True, kw_only=True)
class _Retry(_Line):
    time_s: Time | None = None


_Event = _Start | _End | _Retry
KINDS: dict[str, type[_Event]] = {"start": _Start, "end": _End, "retry": _Retry}


def _parsed(line: bytes) -> _Event | None:
    """An event with all that its kind must have; None for any other line."""
    try:
        event = parse_json(line)
        return typed(event, KINDS[event["event"]], FILE)
    except (ValueError, KeyError, TypeError):
        return None


def _append(folder: Path, event: dict[str, Any]) -> None:
    """Write one line; a torn one before it is closed first, so that it spoils no other."""
    folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps(event) + "\n"
    descriptor = os.open(folder / FILE, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = "\n" + line
        content = line.encode()
        if os.write(descriptor, content) < len(content):
            os.truncate(descriptor, size)
            raise OSError(28, os.strerror(28), str(folder / FILE))
    finally:
        os.close(descriptor)


def note_killed(
    folder: Path,
    attempt: str,
    *,
    pid: int,
    exit_status: int | None,
    elapsed_s: float,
    reached: Place,
    by_us: bool,
    reason: str = "",
) -> None:
    """Write an attempt's end into the folder of its job, and its start where it had not come to that.

    Args:
        pid, exit_status: of its process; below 0 the number of a signal, None where nobody knows.
        reached: how far its rows go.
        reason: what is known of its failure.
        by_us: whether the supervisor asked it to end.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    history = read(folder)
    known = {old.id: old for old in history.attempts}
    if attempt in known and known[attempt].outcome is not None:
        return  # the next one has begun, and has seen to it
    saved = None
    if attempt not in known:
        last = history.attempts[-1] if history.attempts else None
        place = (last.saved or last.start) if last else Place(records=0, step=0)
        begin(folder, attempt, start=place, split=history.split, pid=pid)
        saved = place  # it did not begin, so it got no further
    number = -exit_status if exit_status is not None else signal.SIGKILL
    outcome, said = FAILED, reason or f"its process ended with exit status {exit_status}"
    if by_us:
        outcome, said = INTERRUPTED, "ended before it could save"
    elif number > 0:
        outcome = KILLED if number in KILLS else FAILED
        said = "was killed" if exit_status is None else f"its process was ended by {_signal_name(number)}"
    if outcome == FAILED and not reason:
        said += f"; see {folder / 'log.txt'}"
    end(folder, attempt, outcome, reason=said, elapsed_s=elapsed_s, saved=saved, reached=reached)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
