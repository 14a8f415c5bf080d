"""Processes that share out a computation whose parts know nothing of one another.

They are started anew: one forked from a process that has done more than import modules may wait for ever for
a lock of a thread that it does not have (docs/log.md, 2026-11-26).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from scaling_laws.study.errors import InputError


def n_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def clean_pool(
    n_processes: int, begin: Callable[..., object] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """Processes that have imported nothing yet, each of which calls `begin(*arguments)` first.

    A script that comes to this must be importable: what it does stands under `if __name__ == "__main__"`.

    Raises:
        InputError: one of them was killed.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(n_processes, context, _begin, (begin, arguments)) as pool:
            yield pool
    except BrokenProcessPool as broken:
        raise InputError(
            "a process that shared the work was killed, perhaps for its memory; "
            "free some and run the same command again"
        ) from broken


def _begin(begin: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a Ctrl-C ends it without a traceback of its own
    if begin is not None:
        begin(*arguments)
