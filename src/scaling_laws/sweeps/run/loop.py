"""Runs jobs to their end: takes them from a source, has an engine run them, and believes the folders alone.

Any number of these loops may work on one study, on one machine or on many.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted, StopSignals, TimeIsUp
from scaling_laws.study.records import not_written, write_question
from scaling_laws.sweeps.plan.experiments import Job, Plan
from scaling_laws.sweeps.run import attempts
from scaling_laws.sweeps.run.attempts import note_killed
from scaling_laws.sweeps.run.curve_tail import last_row, reached_step
from scaling_laws.sweeps.run.engines import Ended, Engine
from scaling_laws.sweeps.run.lease import GRACE_S, HEARTBEAT_S
from scaling_laws.sweeps.run.ledger import write_ledger
from scaling_laws.sweeps.run.progress import Progress, Running, progress_of
from scaling_laws.sweeps.run.source import PlannedJobs, Source

POLL_S = 0.1
ASK_S = 2.0
"""Between two looks for jobs that were in vain: others hold all that is left, or there is no room for it."""


def run_plan(
    plan: Plan,
    engine: Engine,
    *,
    watch: Callable[[Progress], None],
    retry_failed: bool = False,
    leave_when_idle: bool = False,
    stop_at_s: float = math.inf,
    kind: str = "",
) -> Progress:
    """Train every run of the plan that has no record yet.

    Interrupted or killed, it loses nothing: called again, it goes on from the records and checkpoints.

    Args:
        watch: called a few times a second with the state of the sweep.
        retry_failed: whether to try again what was set aside.
        leave_when_idle, stop_at_s: as `run_jobs`.
        kind: of the jobs to run (`Job.kind`); by default all.

    Raises:
        InputError: a run's folder holds the record of another configuration, or as `run_jobs`.
        Interrupted, KeyboardInterrupt: as `run_jobs`.
    """
    write_question(plan.folder, plan.sweep.question)
    try:
        progress = progress_of(plan)
        jobs = [job for job in plan.jobs if kind in ("", job.kind)]
        source = PlannedJobs(jobs, progress, retry_failed=retry_failed)
        progress.n_found_done = len(progress.seen)
        for job in source.left.values():
            engine.require(job)
        run_jobs(source, engine, watch=watch, leave_when_idle=leave_when_idle, stop_at_s=stop_at_s)
        return progress
    finally:
        with suppress(OSError, InputError):  # a full disk has its own error
            write_ledger(plan)


def run_jobs(
    source: Source,
    engine: Engine,
    *,
    watch: Callable[[Progress], None],
    leave_when_idle: bool = False,
    stop_at_s: float = math.inf,
) -> None:
    """Run jobs until the source has no more.

    Args:
        watch: called a few times a second with the source's progress.
        leave_when_idle: end when others hold all that is left.
        stop_at_s: when to end in good order, by `time.monotonic()`.

    Raises:
        InputError: a disk is full, or the engine can start nothing any more.
        Interrupted: a signal came, and the running jobs have saved and ended.
        TimeIsUp: `stop_at_s` came, and they have, too; or nothing was left to take.
        KeyboardInterrupt: the second Ctrl-C; what the running jobs did since their last save is lost.
    """
    if not source.is_over():
        loop = _Loop(source, engine, watch, leave_when_idle, stop_at_s)
        with StopSignals() as signals:
            try:
                loop.run(signals)
            except KeyboardInterrupt:
                engine.stop(now=True)
                raise
    watch(source.progress)


class _Loop:
    """The state of one `run_jobs`."""

    def __init__(
        self,
        source: Source,
        engine: Engine,
        watch: Callable[[Progress], None],
        leave_when_idle: bool,
        stop_at_s: float,
    ) -> None:
        self._source, self._engine, self._watch = source, engine, watch
        self._leave_when_idle, self._stop_at_s = leave_when_idle, stop_at_s
        self._progress = source.progress
        self._running = source.progress.running
        self._ask_next_s = 0.0
        self._idle_since_s = math.inf

    def run(self, signals: StopSignals) -> None:
        """Run all that is left; ends in good order where something ends it before."""
        try:
            while not self._source.is_over() or self._running:
                self._end_if_asked(signals)
                for running in list(self._running.values()):
                    self._source.look(running.job)
                for job in self._source.unwanted():
                    self._engine.end(job)
                self._start_more()
                if not self._engine.stays:
                    return
                self._watch(self._progress)
                for ended in self._engine.ended(POLL_S):
                    self._finish(ended)
        except (InputError, Interrupted):
            self._stop()
            raise

    def _end_if_asked(self, signals: StopSignals) -> None:
        n_done, n_runs = len(self._progress.done), self._progress.n_runs
        if signals.received:
            raise Interrupted(signals.received, "interrupted; run the same command again to go on")
        if time.monotonic() >= self._stop_at_s:
            raise TimeIsUp(
                f"the time is over: {n_done} of {n_runs} runs are done, and what was running is saved; "
                "run the same command again to go on"
            )
        if self._leave_when_idle and self._is_idle():
            raise TimeIsUp(f"{n_done} of {n_runs} runs are done, and others train the rest; leaving")

    def _is_idle(self) -> bool:
        """Whether there is nothing to do here: whoever holds what is left lives, or had time to show it."""
        idle_s = time.monotonic() - self._idle_since_s
        return idle_s > GRACE_S + HEARTBEAT_S or (idle_s >= 0 and self._source.is_in_good_hands())

    def _start_more(self) -> None:
        """Fill the engine; the source is asked when there is room, in vain only now and then."""
        room = self._engine.room()
        if room < 1 or time.monotonic() < self._ask_next_s:
            return
        jobs = self._source.take(room)
        n_begun = self._engine.submit([[job] for job in jobs]) if jobs else 0
        for job in jobs[:n_begun]:
            self._running[job.name] = Running(job=job)
        if n_begun < room:
            self._ask_next_s = time.monotonic() + ASK_S
        if jobs or self._running:
            self._idle_since_s = math.inf
        else:
            self._idle_since_s = min(self._idle_since_s, time.monotonic())

    def _finish(self, ended: Ended) -> None:
        """See what a process has left behind."""
        job = self._running.pop(ended.job).job
        self._ask_next_s = 0.0
        if self._source.look(job):
            return
        if ended.outcome == attempts.ENVIRONMENT:
            raise InputError(ended.reason)
        if ended.outcome is None:
            self._note_killed(job, ended)
        self._source.gone(job, ended)

    def _note_killed(self, job: Job, ended: Ended, *, by_us: bool = False) -> None:
        folder = self._progress.folder
        left = [run.name for run in job.runs if run.name not in self._progress.done]
        step = reached_step(last_row(folder / left[0]))
        reached = attempts.Place(records=len(job.runs) - len(left), step=step)
        try:
            note_killed(
                folder / job.name,
                ended.attempt,
                pid=ended.pid,
                exit_status=ended.exit_status,
                elapsed_s=ended.elapsed_s,
                reached=reached,
                by_us=by_us,
                reason=ended.reason,
            )
        except OSError as error:
            raise not_written(folder / job.name / attempts.FILE, error) from error

    def _stop(self) -> None:
        """Have the running jobs save and end, and wait for them."""
        for ended in self._engine.stop():
            job = self._running.pop(ended.job).job
            with suppress(InputError):  # of a full disk
                if self._source.look(job):
                    continue
                if ended.outcome is None:
                    self._note_killed(job, ended, by_us=True)
                self._source.gone(job, replace(ended, outcome=ended.outcome or attempts.INTERRUPTED))
