"""Clean processes for trainings, forked from one that has Lightning imported: a start costs no import."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any


def clean_processes() -> ForkServerContext:
    """Where `start` forks from: a server that imports Lightning once."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scaling_laws.sweeps.trial"])
    return context


def start(context: ForkServerContext, configs: Sequence[dict[str, Any]], *, name: str) -> BaseProcess:
    """Train a trunk's runs (`trial.train_in_own_process`) in a process of their own."""
    process = context.Process(target=_train, args=(list(configs),), name=name)
    process.start()
    return process


def _train(configs: list[dict[str, Any]]) -> None:
    from scaling_laws.sweeps.trial import train_in_own_process

    train_in_own_process(configs)
