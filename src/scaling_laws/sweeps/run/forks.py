"""Clean processes for jobs, forked from one that has Lightning imported: a start costs no import."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

Train = Callable[[Sequence[Mapping[str, Any]]], None]


def clean_processes() -> ForkServerContext:
    """Where `start` forks from: a server that imports Lightning once, beginning now."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Whether there are GPUs is asked of the driver's tools: CUDA reads CUDA_VISIBLE_DEVICES once, and the
    # server is not to be the one for which it does.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scaling_laws.sweeps.run.job_process"])
    forkserver.ensure_running()  # it imports while the caller goes on
    return context


def start(
    context: ForkServerContext,
    configs: Sequence[dict[str, Any]],
    *,
    name: str,
    attempt: str | None = None,
    environment: Mapping[str, str] | None = None,
    report: Connection | None = None,
    train: Train | None = None,
) -> BaseProcess:
    """Train a job's runs (`job_process.train_in_own_process`, which see) in a process of their own.

    Args:
        attempt: its name in `attempts.jsonl`; a new one by default.
        environment: variables of the process, set before CUDA starts.
    """
    arguments = (list(configs), attempt, dict(environment or {}), report, train)
    process = context.Process(target=_train, args=arguments, name=name)
    process.start()
    return process


def _train(
    configs: list[dict[str, Any]],
    attempt: str | None,
    environment: dict[str, str],
    report: Connection | None,
    train: Train | None,
) -> None:
    os.environ.update(environment)
    from scaling_laws.sweeps.run.attempts import new_id
    from scaling_laws.sweeps.run.job_process import train_in_own_process

    train_in_own_process(configs, attempt=attempt or new_id(), report=report, train=train)
