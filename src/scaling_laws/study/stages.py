"""What takes longer than some seconds says on standard error what it does, and how long it will take.

In a terminal the line is renewed as the work goes on; elsewhere it is said once.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType

NOTICE_AFTER_S = 5.0
RENEWED_AFTER_S = 1.0
CLEARED = "\r\x1b[K"
"""The line of a terminal, from its start, empty."""
_silent = threading.Event()


class Stage:
    """A piece of work whose progress is known: `with Stage("drawing figures", 54) as stage: ...`.

    Args:
        what: it is, in words.
        total: of what `done` counts; 0 where nobody knows it, and nothing is said.
        expected_s: how long it will take, where that is known before; it is then said at once.
    """

    def __init__(self, what: str, total: float, *, expected_s: float | None = None) -> None:
        self._what, self._total, self._n_done = what, total, 0.0
        self._began_s = time.monotonic()
        self._said_s: float | None = None
        self._lock = threading.Lock()
        if expected_s is not None and expected_s >= NOTICE_AFTER_S:
            self._say(f"about {_clock(expected_s)}")

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._said_s is not None and sys.stderr.isatty():
            print(CLEARED, end="", file=sys.stderr, flush=True)

    def done(self, amount: float = 1.0) -> None:
        """So much more is done; any thread may say it."""
        with self._lock:
            self._n_done += amount
            taken_s = time.monotonic() - self._began_s
            if self._said_s is None:
                is_due = taken_s >= NOTICE_AFTER_S
            else:
                is_due = sys.stderr.isatty() and time.monotonic() - self._said_s >= RENEWED_AFTER_S
            if is_due and 0 < self._n_done < self._total:
                self._say(f"about {_clock(taken_s * (self._total / self._n_done - 1))} more")

    def _say(self, how_long: str) -> None:
        if _silent.is_set():
            return
        self._said_s = time.monotonic()
        line = f"{self._what}: {how_long}"
        if sys.stderr.isatty():
            print(f"{CLEARED}{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


@contextmanager
def silent_stages() -> Iterator[None]:
    """No stage says anything meanwhile."""
    was_silent = _silent.is_set()
    _silent.set()
    try:
        yield
    finally:
        if not was_silent:
            _silent.clear()


def _clock(seconds: float) -> timedelta:
    return timedelta(seconds=round(seconds))
