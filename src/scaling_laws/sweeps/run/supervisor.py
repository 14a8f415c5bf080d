"""Runs a plan to its end on this machine: takes trunks from the queue and gives each a process of its own.

Any number of supervisors may work on one study, on one machine or on many: what is done stands in the run
folders, who is at it in their leases, what failed in their `attempts.jsonl`; the queue hands out the rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from multiprocessing import connection

from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted, StopSignals, TimeIsUp
from scaling_laws.study.records import MAIN_CORPUS, finished_record, not_written, write_question
from scaling_laws.sweeps.plan.experiments import Plan, Trunk
from scaling_laws.sweeps.run import attempts, lease
from scaling_laws.sweeps.run.attempts import note_killed
from scaling_laws.sweeps.run.curve_tail import last_row, reached_step
from scaling_laws.sweeps.run.devices import Slots, gpus_for
from scaling_laws.sweeps.run.forks import Train, clean_processes
from scaling_laws.sweeps.run.ledger import write_ledger
from scaling_laws.sweeps.run.patient_queue import PatientQueue
from scaling_laws.sweeps.run.progress import Progress, Running
from scaling_laws.sweeps.run.queue import WINDOW, Queue, queue_name
from scaling_laws.sweeps.run.worker import Worker, start_worker

POLL_S = 0.1
ASK_S = 2.0
"""Between two questions to the database that were in vain: other machines hold all that is left."""
MAX_NOT_STARTED = 10
"""Processes in a row that could not be started, after which the sweep gives up."""
LOOK_SHARE = 0.02
"""Of the time, at most, spent on looking for what other machines have finished."""


def run_plan(
    plan: Plan,
    *,
    workers: int,
    storage: str | None,
    watch: Callable[[Progress], None],
    retry_failed: bool = False,
    gpus: Sequence[str] | None = None,
    stop_at_s: float = math.inf,
    train: Train | None = None,
) -> Progress:
    """Train every run of the plan that has no record yet.

    Interrupted or killed, it loses nothing: called again, it goes on from the records and checkpoints.

    Args:
        workers: trainings of one device at the same time.
        storage: Optuna storage URL; by default an SQLite file in the study's folder.
        watch: called a few times a second with the state of the sweep.
        retry_failed: whether to try again what was set aside.
        gpus: identifiers of the GPUs to train on; by default those that the machine shows.
        stop_at_s: when to end in good order, by `time.monotonic()`.
        train: stands for the training itself in tests and benchmarks.

    Raises:
        InputError: a run's folder holds the record of another configuration, the storage cannot be opened, a
            disk is full, or a training wants more devices than the machine has.
        Interrupted: a signal came, and the running trunks have saved and ended.
        TimeIsUp: `stop_at_s` came, and they have, too.
        KeyboardInterrupt: the second Ctrl-C; what the running trunks did since their last save is lost.
    """
    if gpus is None:
        gpus = gpus_for(str(plan.trunks[0].runs[0].config["trainer"].get("accelerator", "auto")))
    slots = Slots(workers=workers, gpus=gpus)
    write_question(plan.folder, plan.sweep.question)
    supervisor = _Supervisor(plan, slots, watch, train, stop_at_s)
    try:
        supervisor.look_at_all(retry_failed=retry_failed)
        supervisor.progress.n_found_done = len(supervisor.progress.seen)
        for trunk in supervisor.left.values():
            slots.require(trunk.name, trunk.devices)
        if supervisor.left:
            supervisor.run(storage or f"sqlite:///{plan.folder / 'queue.sqlite3'}")
        watch(supervisor.progress)
        return supervisor.progress
    finally:
        with suppress(OSError, InputError):  # a full disk has its own error
            write_ledger(plan)


class _Supervisor:
    """The state of one `run_plan`."""

    def __init__(
        self,
        plan: Plan,
        slots: Slots,
        watch: Callable[[Progress], None],
        train: Train | None,
        stop_at_s: float,
    ) -> None:
        self.progress = Progress(plan=plan)
        self.left = {trunk.name: trunk for trunk in plan.trunks}
        """Neither done nor set aside, in the plan's order."""
        self._plan = plan
        self._folder = plan.folder
        self._slots = slots
        self._watch = watch
        self._train = train
        self._stop_at_s = stop_at_s
        self._active: list[Worker] = []
        self._pending: tuple[int, Trunk] | None = None
        """Taken from the queue, and waiting for its devices to become free: nothing overtakes it."""
        self._n_waiting = self._n_not_started = 0
        self._ask_next_s = self._refill_next_s = self._look_next_s = 0.0

    def run(self, storage: str) -> None:
        """Train what is left (`run_plan`)."""
        self._context = clean_processes()
        queue = Queue(storage, queue_name(self._plan.sweep.study, self._folder))
        self._queue = PatientQueue(queue, self.progress.notes)
        with closing(queue), StopSignals() as signals:
            try:
                self._train_until(signals)
            except KeyboardInterrupt:
                for worker in self._active:
                    worker.process.kill()
                raise
            self._queue.tell_all()

    def _train_until(self, signals: StopSignals) -> None:
        """Train all that is left; ends in good order where something ends it before."""
        try:
            self._train_all(signals)
        except (InputError, Interrupted):
            self._end_all()
            raise

    def _train_all(self, signals: StopSignals) -> None:
        while self.left or self._active:
            if signals.received:
                raise Interrupted(signals.received, "interrupted; run the same command again to go on")
            if time.monotonic() >= self._stop_at_s:
                n_done, n_runs = len(self.progress.done), len(self._plan.runs)
                raise TimeIsUp(
                    f"the time is over: {n_done} of {n_runs} runs are done, and what was running is saved; "
                    "run the same command again to go on"
                )
            self._finish_ended()
            for worker in self._active:
                self._look(worker.trunk)
            self._queue.tell_all()
            self._start_more()
            self._watch(self.progress)
            self._wait()

    # --- what is done ---------------------------------------------------------------------------------

    def look_at_all(self, *, retry_failed: bool = False) -> None:
        """Read what has become of every trunk that is left: other supervisors may be at work, too."""
        start_s = time.monotonic()
        for trunk in list(self.left.values()):
            if not self._look(trunk):
                self._judge(trunk, retry_failed=retry_failed)
        end_s = time.monotonic()
        self._look_next_s = end_s + max(ASK_S, (end_s - start_s) / LOOK_SHARE)

    def _look(self, trunk: Trunk) -> bool:
        """Read the records of a trunk that have appeared; whether it is done."""
        for run in trunk.runs:
            if run.name not in self.progress.done:
                record = finished_record(self._folder / run.name, run.run_id)
                if record is None:
                    return False
                self.progress.add(run, record)
        self.left.pop(trunk.name, None)
        return True

    def _judge(self, trunk: Trunk, *, retry_failed: bool = False) -> None:
        """Give a trunk up that has failed too often."""
        reason = attempts.read(self._folder / trunk.name).set_aside()
        if reason is not None and retry_failed:
            attempts.ask_again(self._folder / trunk.name)
        elif reason is not None:
            self.progress.failed[trunk.name] = reason
            self.left.pop(trunk.name, None)

    def _is_held(self, cell: str) -> bool:
        return lease.is_held(self._folder / cell)

    def _is_wanted(self, cell: str) -> bool:
        """Whether a trunk still waits for a process, as far as its folder knows."""
        trunk = self.left[cell]
        if self._look(trunk) or self._is_held(cell):
            return False
        self._judge(trunk)
        return cell in self.left

    # --- starting and ending --------------------------------------------------------------------------

    def _start_more(self) -> None:
        """Fill the free slots; the database is asked when one has become free, in vain only now and then."""
        n_started = len(self._active) + (self._pending is not None)
        if time.monotonic() < self._ask_next_s or self._slots.n_free < 1 or len(self.left) <= n_started:
            if self._pending:
                self._start_pending()
            return
        self._ask_next_s = time.monotonic() + ASK_S
        while self._start_pending() and self._slots.n_free > 0:
            self._pending = self._next()
            if self._pending is None:
                if time.monotonic() >= self._look_next_s:
                    self.look_at_all()
                return

    def _next(self) -> tuple[int, Trunk] | None:
        """A trunk from the queue that nobody trains."""
        for refilled in (False, True):
            if refilled or self._n_waiting <= WINDOW // 2 or time.monotonic() >= self._refill_next_s:
                refilled = self._refill()
            while taken := self._queue.take():
                trial, cell = taken
                self._n_waiting -= 1
                if cell in self.left and cell not in self.progress.running and self._is_wanted(cell):
                    return trial.number, self.left[cell]
                self._queue.tell(trial.number, None)
            if refilled:
                break
        return None

    def _refill(self) -> bool:
        self._n_waiting = self._queue.refill(
            [name for name in self.left if name not in self.progress.running],
            is_held=self._is_held,
            is_wanted=self._is_wanted,
            ours=[worker.trial for worker in self._active],
        )
        self._refill_next_s = time.monotonic() + ASK_S
        return True

    def _start_pending(self) -> bool:
        """Start the training that was taken; false while there is no room for it."""
        if self._pending is None:
            return True
        trial, trunk = self._pending
        share = self._slots.take(trunk.devices)
        if share is None:
            return False
        self._pending = None
        try:
            worker = start_worker(self._context, trunk, trial=trial, share=share, train=self._train)
        except (OSError, EOFError) as error:  # the forkserver was killed; the next start makes a new one
            self._slots.give_back(share)
            self._queue.tell(trial, None)
            self._n_not_started += 1
            if self._n_not_started >= MAX_NOT_STARTED:
                raise InputError(f"no process can be started ({error}); is there memory left?") from error
            return False
        self._n_not_started = 0
        self._active.append(worker)
        self.progress.running[trunk.name] = Running(trunk=trunk)
        return True

    def _wait(self) -> None:
        if self._active:
            connection.wait([worker.process.sentinel for worker in self._active], timeout=POLL_S)
        elif self.left:
            time.sleep(POLL_S)

    def _finish_ended(self) -> None:
        for worker in [worker for worker in self._active if not worker.process.is_alive()]:
            self._active.remove(worker)
            self._ask_next_s = 0.0
            self._finish(worker)

    def _finish(self, worker: Worker) -> None:
        """See what a process has left behind."""
        trunk, folder = worker.trunk, self._folder / worker.trunk.name
        heard = worker.heard()
        worker.report.close()
        self._slots.give_back(worker.share)
        self.progress.running.pop(trunk.name, None)
        if self._look(trunk):
            first = self.progress.done[trunk.runs[0].name]
            self._queue.tell(worker.trial, first.losses.get(MAIN_CORPUS, {}).get("loss_nats"))
            return
        self._queue.tell(worker.trial, None)
        if heard is not None and heard[0] == attempts.ENVIRONMENT:
            raise InputError(heard[1])
        if heard is None and worker.lives_on(folder):
            return  # the forkserver was killed, and its child lives: the lease will tell
        if heard is None and worker.process.exitcode != lease.LOST:
            self._note_killed(worker)
        self._judge(trunk)

    def _note_killed(self, worker: Worker, *, by_us: bool = False) -> None:
        folder = self._folder / worker.trunk.name
        left = [run.name for run in worker.trunk.runs if run.name not in self.progress.done]
        step = reached_step(last_row(self._folder / left[0]))
        reached = attempts.Place(records=len(worker.trunk.runs) - len(left), step=step)
        elapsed_s = time.monotonic() - worker.start_s
        try:
            note_killed(
                folder, worker.attempt, worker.process, elapsed_s=elapsed_s, reached=reached, by_us=by_us
            )
        except OSError as error:
            raise not_written(folder / attempts.FILE, error) from error

    def _end_all(self) -> None:
        """Have the running trunks save and end, and wait for them."""
        for worker in self._active:
            worker.process.terminate()  # the terminal interrupts them, too; a batch system may not
        for worker in self._active:
            folder = self._folder / worker.trunk.name
            # The forkserver brings the news of an end; a signal may have killed it, and the lease knows.
            while worker.process.is_alive() or worker.lives_on(folder):
                time.sleep(POLL_S)
            self._queue.tell(worker.trial, None)
            if worker.heard() is None and not self._look(worker.trunk):
                with suppress(InputError):  # of a full disk
                    self._note_killed(worker, by_us=True)
        if self._pending:
            self._queue.tell(self._pending[0], None)
        with suppress(InputError):
            self._queue.tell_all()
