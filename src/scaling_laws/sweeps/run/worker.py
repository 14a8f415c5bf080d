"""A training under way, as its supervisor sees it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from scaling_laws.sweeps.plan.experiments import Trunk
from scaling_laws.sweeps.run import lease
from scaling_laws.sweeps.run.attempts import new_id
from scaling_laws.sweeps.run.devices import Share
from scaling_laws.sweeps.run.forks import Train, start


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One process that trains one trunk."""

    process: BaseProcess
    report: Connection
    attempt: str
    """Its name in `attempts.jsonl`."""
    trunk: Trunk
    trial: int
    """Its number in the queue."""
    share: Share
    start_s: float = field(default_factory=time.monotonic)

    def heard(self) -> tuple[str, str] | None:
        """Outcome and reason of a process that ended; None where it was killed before it could say."""
        try:
            return self.report.recv() if self.report.poll() else None
        except (EOFError, OSError):
            return None

    def lives_on(self, folder: Path) -> bool:
        """Whether it trains, though its forkserver is gone: it holds the trunk's folder."""
        holder = lease.holder(folder)
        return holder is not None and holder.pid == self.process.pid and lease.is_locked(folder)


def start_worker(
    context: ForkServerContext, trunk: Trunk, *, trial: int, share: Share, train: Train | None
) -> Worker:
    """Train a trunk in a process of its own, on its share of the machine."""
    receive, send = context.Pipe(duplex=False)
    attempt = new_id()
    process = start(
        context,
        [run.config for run in trunk.runs],
        name=trunk.name,
        attempt=attempt,
        environment=share.environment,
        report=send,
        train=train,
    )
    send.close()  # the child has its own: when that is gone, nothing more will be heard
    return Worker(process=process, report=receive, attempt=attempt, trunk=trunk, trial=trial, share=share)
