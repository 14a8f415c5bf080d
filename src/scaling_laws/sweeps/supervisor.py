"""Runs a plan to its end on this machine: takes trunks from the queue and gives each a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import optuna

from scaling_laws.interrupts import Interrupted, StopSignals
from scaling_laws.records import MAIN_CORPUS, RunRecord, finished_record, read_failure, write_question
from scaling_laws.sweeps import lease
from scaling_laws.sweeps.experiments import Plan, Trunk
from scaling_laws.sweeps.processes import clean_processes, start
from scaling_laws.sweeps.queue import Queue

MAX_TRIES = 2
POLL_S = 0.1
ASK_S = 2.0


@dataclass(kw_only=True)
class Progress:
    """What the live view shows; changed in place by `run_plan`."""

    plan: Plan
    start_s: float = field(default_factory=time.monotonic)
    running: dict[str, Trunk] = field(default_factory=dict)
    done: dict[str, RunRecord] = field(default_factory=dict)
    """Records of finished runs by name, in the order in which they were seen."""
    failed: dict[str, str] = field(default_factory=dict)
    """Trunks given up, and why."""
    found_done: int = 0
    """Runs that had a record before this sweep began."""


@dataclass(kw_only=True)
class _Worker:
    process: BaseProcess
    trunk: Trunk
    trial: optuna.Trial


def run_plan(plan: Plan, *, workers: int, storage: str | None, watch: Callable[[Progress], None]) -> Progress:
    """Train every run of the plan that has no record yet.

    Interrupted or killed, it loses nothing: called again, it goes on from the records and checkpoints.

    Args:
        workers: trunks trained at the same time.
        storage: Optuna storage URL; by default an SQLite file in the study's folder.
        watch: called a few times a second with the state of the sweep.

    Raises:
        InputError: a run's folder holds the record of another configuration, or the storage cannot be opened.
        Interrupted: a signal came, and the running trunks have saved and ended.
        KeyboardInterrupt: the second Ctrl-C; what the running trunks did since their last save is lost.
    """
    write_question(plan.folder, plan.sweep.question)
    queue = Queue(storage or f"sqlite:///{plan.folder / 'queue.sqlite3'}", plan.sweep.study)
    progress = Progress(plan=plan)
    _collect(progress)
    progress.found_done = len(progress.done)
    tries: dict[str, int] = {}
    trunks = {trunk.name: trunk for trunk in plan.trunks}
    active: list[_Worker] = []
    context = clean_processes()
    ask_next_s = 0.0
    with StopSignals() as signals:
        while True:
            if signals.received:
                _end(active, queue, plan.folder)
                raise Interrupted(signals.received, "interrupted; run the same command again to go on")
            for worker in [worker for worker in active if not worker.process.is_alive()]:
                active.remove(worker)
                _finish(worker, queue, progress, tries)
                ask_next_s = 0.0
            _collect(progress)
            left = [trunk for trunk in plan.trunks if not _settled(trunk, progress)]
            if not left and not active:
                watch(progress)
                return progress
            # The database is asked when a worker has become free; in vain (other machines hold all that is
            # left) now and then.
            if len(active) < workers and len(left) > len(active) and time.monotonic() >= ask_next_s:
                ask_next_s = time.monotonic() + ASK_S
                queue.release(lambda cell: cell in trunks and lease.is_held(plan.folder / cell))
                queue.fill([trunk.name for trunk in left if trunk.name not in progress.running])
                while len(active) < workers and (taken := queue.take()):
                    trial, cell = taken
                    trunk = trunks.get(cell)
                    if trunk is None or _settled(trunk, progress) or lease.is_held(plan.folder / cell):
                        queue.finish(trial, None)
                        continue
                    process = start(context, [run.config for run in trunk.runs], name=trunk.name)
                    active.append(_Worker(process=process, trunk=trunk, trial=trial))
                    progress.running[trunk.name] = trunk
            watch(progress)
            time.sleep(POLL_S)


def _end(active: list[_Worker], queue: Queue, folder: Path) -> None:
    """Have the running trunks save and end, and wait for them; a second Ctrl-C kills them."""
    for worker in active:
        worker.process.terminate()  # the terminal interrupts them, too; a batch system may not
    try:
        for worker in active:
            # The forkserver brings the news of an end; a signal may have killed it, and the lease knows.
            while worker.process.is_alive() or lease.is_held(folder / worker.trunk.name):
                time.sleep(POLL_S)
            queue.finish(worker.trial, None)
    except KeyboardInterrupt:
        for worker in active:
            worker.process.kill()
        raise


def _finish(worker: _Worker, queue: Queue, progress: Progress, tries: dict[str, int]) -> None:
    """Tell the queue how a trunk ended; after `MAX_TRIES` failures it is given up."""
    trunk = worker.trunk
    progress.running.pop(trunk.name, None)
    _collect(progress)
    if all(run.name in progress.done for run in trunk.runs):
        record = progress.done[trunk.runs[0].name]
        queue.finish(worker.trial, record.losses.get(MAIN_CORPUS, {}).get("loss_nats"))
        return
    queue.finish(worker.trial, None)
    if worker.process.exitcode == 0:
        return  # another machine holds it
    tries[trunk.name] = tries.get(trunk.name, 0) + 1
    if tries[trunk.name] >= MAX_TRIES:
        progress.failed[trunk.name] = _reason(progress.plan.folder / trunk.name, worker.process.exitcode)


def _reason(folder: Path, exit_code: int | None) -> str:
    return read_failure(folder) or f"its process ended with exit status {exit_code}; see {folder / 'log.txt'}"


def _settled(trunk: Trunk, progress: Progress) -> bool:
    return trunk.name in progress.failed or all(run.name in progress.done for run in trunk.runs)


def _collect(progress: Progress) -> None:
    """Read the records that have appeared since the last look."""
    for run in progress.plan.runs:
        if run.name not in progress.done:
            record = finished_record(progress.plan.folder / run.name, run.run_id)
            if record is not None:
                progress.done[run.name] = record
