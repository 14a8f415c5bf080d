"""Processes that share out a computation whose parts know nothing of one another.

They are started anew: one forked from a process that has done more than import modules may wait for ever for
a lock of a thread that it does not have (docs/log.md, 2026-11-26).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
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

    They do not import the script that started this, so that one needs no `if __name__ == "__main__"`: what
    they run must come from a module.

    Raises:
        InputError: one of them was killed.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with (
            _script_hidden(),
            ProcessPoolExecutor(n_processes, context, _begin, (begin, arguments)) as pool,
        ):
            yield pool
    except BrokenProcessPool as broken:
        raise InputError(
            "a process that shared the work was killed, perhaps for its memory; "
            "free some and run the same command again"
        ) from broken


@contextmanager
def _script_hidden() -> Iterator[None]:
    """Have processes that are started meanwhile not import the main script, as `multiprocessing` would."""
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__spec__", "__file__") if hasattr(main, name)}
    main.__spec__ = None
    if "__file__" in kept:
        del main.__file__
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(main, name, value)


def _begin(begin: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a Ctrl-C ends it without a traceback of its own
    if begin is not None:
        begin(*arguments)
