"""This machine: a process forked for each job, on slots of the processor or on its GPUs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.experiments import Job
from scaling_laws.sweeps.run import attempts, lease
from scaling_laws.sweeps.run.devices import Share, Slots, default_workers, gpus_for
from scaling_laws.sweeps.run.engines import Bundle, Ended, EngineContext
from scaling_laws.sweeps.run.forks import clean_processes, start

MAX_NOT_STARTED = 10
"""Processes in a row that could not be started, after which nothing more is tried."""
POLL_S = 0.1


class LocalEngine:
    """Runs jobs on this machine.

    Args:
        gpus: identifiers of the GPUs to train on; by default those that the machine shows.
    """

    stays = True

    def __init__(self, context: EngineContext, *, gpus: Sequence[str] | None = None) -> None:
        self._context = context
        self._gpus = gpus
        self._active: list[_Process] = []
        self._n_not_started = 0

    @cached_property
    def _slots(self) -> Slots:
        accelerator = self._context.accelerator
        return Slots(
            workers=self._context.workers or default_workers(accelerator),
            gpus=gpus_for(accelerator) if self._gpus is None else self._gpus,
        )

    def require(self, job: Job) -> None:
        """As `Engine`: more devices than the machine has, a GPU where there is none, or other machines."""
        if job.nodes > 1 and "SLURM_JOB_ID" not in os.environ:
            raise InputError(f"{job.name} needs {job.nodes} nodes; --engine slurm trains it")
        self._slots.require(job.name, job.devices // job.nodes)

    def room(self) -> int:
        """As `Engine`: free slots."""
        return self._slots.n_free

    def submit(self, bundles: Sequence[Bundle]) -> int:
        """As `Engine`. A job that waits for its devices is overtaken by none."""
        for number, (job,) in enumerate(bundles):
            share = self._slots.take(job.devices // job.nodes)
            if share is None:
                return number
            try:
                self._active.append(self._started(job, share))
            except (OSError, EOFError) as error:  # the forkserver was killed; the next start makes a new one
                self._slots.give_back(share)
                self._n_not_started += 1
                if self._n_not_started >= MAX_NOT_STARTED:
                    raise InputError(f"no process can be started ({error}); is there memory left?") from error
                return number
            self._n_not_started = 0
        return len(bundles)

    def _started(self, job: Job, share: Share) -> _Process:
        context = clean_processes()
        receive, send = context.Pipe(duplex=False)
        attempt = attempts.new_id()
        process = start(
            context,
            [run.config for run in job.runs],
            name=job.name,
            attempt=attempt,
            environment=share.environment,
            report=send,
            train=self._context.train,
        )
        send.close()  # the child has its own: when that is gone, nothing more will be heard
        return _Process(process=process, report=receive, attempt=attempt, job=job, share=share)

    def ended(self, wait_s: float) -> list[Ended]:
        """As `Engine`."""
        heard_of = [one.process.sentinel for one in self._active if one.process.is_alive()]
        if heard_of:
            connection.wait(heard_of, timeout=wait_s)
        # The forkserver brings the news of an end; a signal may have killed it, and the lease knows.
        over = [one for one in self._active if not one.lives(self._context.folder)]
        if not heard_of and not over:
            time.sleep(wait_s)
        return [self._see_off(one) for one in over]

    def end(self, job: str) -> None:
        """As `Engine`."""
        for one in self._active:
            if one.job.name == job:
                one.send(signal.SIGTERM, self._context.folder)

    def stop(self, *, now: bool = False) -> list[Ended]:
        """As `Engine`."""
        for one in self._active:
            # The terminal interrupts them, too; a batch system may not.
            one.send(signal.SIGKILL if now else signal.SIGTERM, self._context.folder)
        if now:
            return []
        for one in self._active:
            while one.lives(self._context.folder):
                time.sleep(POLL_S)
        return [self._see_off(one) for one in list(self._active)]

    def preview(self, jobs: Sequence[Job]) -> list[str]:
        """As `Engine`: nothing is submitted."""
        return []

    def status(self) -> list[str]:
        """As `Engine`: nothing is queued."""
        return []

    def _see_off(self, one: _Process) -> Ended:
        """What a process has left behind; its slots are free again."""
        self._active.remove(one)
        self._slots.give_back(one.share)
        outcome, reason = one.heard() or (None, "")
        one.report.close()
        if outcome is None and one.process.exitcode == lease.LOST:
            outcome = attempts.HELD
        return Ended(
            job=one.job.name,
            attempt=one.attempt,
            outcome=outcome,
            reason=reason,
            exit_status=one.process.exitcode,
            pid=one.process.pid or 0,
            elapsed_s=time.monotonic() - one.start_s,
        )


@dataclass(frozen=True, kw_only=True)
class _Process:
    """One process that trains one job."""

    process: BaseProcess
    report: Connection
    attempt: str
    job: Job
    share: Share
    start_s: float = field(default_factory=time.monotonic)

    def heard(self) -> tuple[str, str] | None:
        """Outcome and reason of a process that ended; None where it was killed before it could say."""
        try:
            return self.report.recv() if self.report.poll() else None
        except (EOFError, OSError):
            return None

    def lives(self, folder: Path) -> bool:
        """Whether it runs, as its forkserver says; where that is gone, whether it holds the job's folder."""
        return self.process.is_alive() or self._holds(folder)

    def send(self, number: signal.Signals, folder: Path) -> None:
        """Send it a signal, whether or not its forkserver lives."""
        if self.lives(folder):
            assert self.process.pid is not None
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(self.process.pid, number)

    def _holds(self, folder: Path) -> bool:
        holder = lease.holder(folder / self.job.name)
        return holder is not None and holder.pid == self.process.pid and holder.is_here and holder.is_alive
