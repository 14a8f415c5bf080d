"""The loop of a shape study: asks Optuna for trials, gives each a process of its own, and tells what came.

Losing the storage loses nothing, and a kill at any moment loses no trial: what has a record is done, whatever
the storage says of it; what has none and no process is asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import ForkServerContext

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted, StopSignals
from scaling_laws.study.records import read_failure, write_question
from scaling_laws.sweeps.plan.experiments import Plan
from scaling_laws.sweeps.plan.run_specs import n_devices
from scaling_laws.sweeps.run import lease
from scaling_laws.sweeps.run.devices import Share, Slots, gpus_for
from scaling_laws.sweeps.run.forks import clean_processes, start
from scaling_laws.sweeps.search.optuna_study import open_search
from scaling_laws.sweeps.search.pruned import write_pruned_record
from scaling_laws.sweeps.search.reconcile import OUTCOME, RUN, ask_again, reconcile
from scaling_laws.sweeps.search.search_progress import SearchProgress, Start, Worker
from scaling_laws.sweeps.search.space import distributions, is_feasible, point_of, violations
from scaling_laws.sweeps.search.spread import spread_trials
from scaling_laws.sweeps.search.storage import OUTAGES, without_secrets
from scaling_laws.sweeps.search.trials import (
    FinishedTrial,
    finished_trial,
    held_out_losses,
    network_at,
    planned_trial,
    search_of,
    write_point,
)

MAX_TRIES = 2
MOST_FRUITLESS = 200
"""Trials in a row that ask for nothing new, after which nothing is asked for until a training ends; where
none runs, the space is exhausted."""
POLL_S = 0.1
ASK_S = 2.0


class Search:
    """The search of one plan, on this machine.

    Args:
        plan: of a sweep with a `search`.
        storage: Optuna storage URL; by default an SQLite file in the study's folder.
        start: how processes are started.

    Raises:
        InputError: as `open_search`; or a run's folder holds a record of other settings.
    """

    def __init__(self, plan: Plan, *, storage: str | None, start: Start = start) -> None:
        self.plan = plan
        self._study = open_search(plan, storage)
        self._space = distributions(search_of(plan))
        self._spread = spread_trials(plan)
        self._storage = storage or ""
        self._devices = n_devices(plan.sweep.trainer_arguments["devices"])
        self._start = start
        self._active: list[Worker] = []
        self._tries: dict[str, int] = {}
        self._fruitless = 0
        self._elsewhere = 0
        self.progress = SearchProgress(n_trials=search_of(plan).trials)

    def run(self, *, workers: int, watch: Callable[[SearchProgress], None]) -> SearchProgress:
        """Train trials until there are as many as asked for; called again, it goes on.

        Args:
            workers: trials of one device trained at the same time.
            watch: called a few times a second.

        Raises:
            InputError: a run's folder holds the record of another configuration, the disk is full, the
                storage stopped answering, or a trial wants more devices than there are.
            Interrupted: a signal came, and the running trials have saved and ended.
            KeyboardInterrupt: the second Ctrl-C; what they did since their last save is lost.
        """
        trainer = self.plan.sweep.trainer_arguments
        slots = Slots(workers=workers, gpus=gpus_for(str(trainer["accelerator"])))
        slots.require("a trial", self._devices)
        write_question(self.plan.folder, self.plan.sweep.question)
        try:
            return self._run(slots, watch)
        except OUTAGES as error:
            self._end()
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise InputError(
                f"the search's storage does not answer ({without_secrets(reason, self._storage)}); "
                "put that right and run the same command again: what was running is saved"
            ) from None

    def _run(self, slots: Slots, watch: Callable[[SearchProgress], None]) -> SearchProgress:
        context = clean_processes()
        look_next_s = 0.0
        with StopSignals() as signals:
            while True:
                if signals.received:
                    self._end()
                    self._look_around()
                    raise Interrupted(signals.received, "interrupted; run the same command again to go on")
                for worker in list(self._active):
                    self._look_after(worker, slots)
                if time.monotonic() >= look_next_s:
                    self._look_around()
                    look_next_s = time.monotonic() + ASK_S
                if self._is_over():
                    self.progress.exhausted = self._fruitless >= MOST_FRUITLESS
                    watch(self.progress)
                    return self.progress
                for _ in range(slots.n_free):
                    if not self._wants_more() or (share := slots.take(self._devices)) is None:
                        break
                    if not self._begin(context, share):
                        slots.give_back(share)
                watch(self.progress)
                time.sleep(POLL_S)

    # --- how much there is to do ------------------------------------------------------------------

    def _wants_more(self) -> bool:
        n_known = len(self.progress.done) + len(self.progress.failed) + len(self._active) + self._elsewhere
        return n_known < self.progress.n_trials and self._fruitless < MOST_FRUITLESS

    def _is_over(self) -> bool:
        return not self._active and not self._elsewhere and not self._wants_more()

    # --- a trial ----------------------------------------------------------------------------------

    def _begin(self, context: ForkServerContext, share: Share) -> bool:
        """Ask for a trial, and start its training if it is one that is feasible and new; whether it is."""
        self._ask_for_spread()
        asked = self._study.ask(self._space)
        point = point_of(asked.params, search_of(self.plan))
        shape = network_at(self.plan, point)
        for name, value in violations(shape, point).items():
            asked.set_constraint(name, value)
        if not is_feasible(shape, point):
            asked.set_user_attr(OUTCOME, "infeasible: no such network of N parameters; not trained")
            self._tell(asked, None, TrialState.PRUNED)
            self.progress.n_infeasible += 1
            self._fruitless += 1
            return False
        trial = planned_trial(self.plan, point)
        name, network = trial.run.name, shape.config
        for key, attribute in (
            (RUN, name),
            ("N", shape.N),
            ("shape", f"{network.n_layer}x{network.d_model}, {network.n_heads} heads, d_ff {network.d_ff}"),
        ):
            asked.set_user_attr(key, attribute)
        if name in self.progress.done:
            self._tell_outcome(asked, self.progress.done[name])
            self._fruitless += 1
            return False
        folder = self.plan.folder / name
        if name in self.progress.failed or name in self.progress.running or lease.is_held(folder):
            self._tell(asked, None, TrialState.FAIL)
            self._fruitless += 1
            return False
        self._fruitless = 0
        write_point(folder, point)
        process = self._start(context, [trial.run.config], name=name, environment=share.environment)
        self._active.append(Worker(process=process, share=share, trial=trial, asked=asked))
        self.progress.running[name] = trial
        return True

    def _ask_for_spread(self) -> None:
        """Have the next network that was laid out beforehand be the next trial, if one is left."""
        settled = self.progress.done.keys() | self.progress.failed.keys() | self.progress.running.keys()
        for trial in self._spread:
            name = trial.run.name
            if name not in settled and not lease.is_held(self.plan.folder / name):
                params = {key: trial.point.params[key] for key in self._space}
                ask_again(self._study, params, name)
                return

    def _look_around(self) -> None:
        """See what others have done, and what a kill has left."""
        at_start = not self.progress.done and not self._active
        found = reconcile(
            self._study,
            self.plan,
            mine=frozenset(worker.asked.number for worker in self._active),
            settled=frozenset((*self.progress.done, *self.progress.failed, *self.progress.running)),
        )
        self._elsewhere = found.n_elsewhere
        self.progress.done |= {finished.trial.run.name: finished for finished in found.finished}
        if at_start:
            self.progress.found_done = len(self.progress.done)
            self.progress.n_infeasible = sum(
                max(trial.constraints.values(), default=0) > 0
                for trial in self._study.get_trials(deepcopy=False)
            )

    def _look_after(self, worker: Worker, slots: Slots) -> None:
        """Report what a training has reached, stop it if the pruner says so, and see to its end."""
        ended = not worker.process.is_alive()
        folder = self.plan.folder / worker.trial.run.name
        losses = held_out_losses(folder)
        for tokens, loss in losses[worker.n_reported :]:
            if tokens < worker.trial.run.D:  # the last is the result
                worker.asked.report(loss, step=tokens)
            worker.n_reported += 1
            if (
                not ended
                and not worker.pruned
                and tokens < worker.trial.run.D
                and worker.asked.should_prune()
            ):
                worker.pruned = f"stopped by the pruner after {tokens} of {worker.trial.run.D} tokens"
                worker.process.terminate()
        if ended:
            self._fruitless = 0  # the sampler knows more now
            self._active.remove(worker)
            slots.give_back(worker.share)
            self._finish(worker)

    def _finish(self, worker: Worker) -> None:
        """Tell the storage how a trial ended; one that failed is tried again, `MAX_TRIES` times in all."""
        name = worker.trial.run.name
        self.progress.running.pop(name, None)
        finished = finished_trial(self.plan, worker.trial)
        if finished is None and worker.pruned:
            write_pruned_record(self.plan, worker.trial, worker.pruned)
            finished = finished_trial(self.plan, worker.trial)
        if finished is not None:
            self.progress.done[name] = finished
            self._tell_outcome(worker.asked, finished)
            return
        if worker.process.exitcode:  # 0: another machine holds it
            self._tries[name] = self._tries.get(name, 0) + 1
            if self._tries[name] >= MAX_TRIES:
                self.progress.failed[name] = self._reason(name, worker.process.exitcode)
            else:
                ask_again(self._study, worker.asked.params, name)
        self._tell(worker.asked, None, TrialState.FAIL)

    def _reason(self, name: str, exit_code: int) -> str:
        folder = self.plan.folder / name
        return (
            read_failure(folder)
            or f"its process ended with exit status {exit_code}; see {folder / 'log.txt'}"
        )

    def _tell_outcome(self, asked: optuna.Trial, finished: FinishedTrial) -> None:
        if finished.loss is None:
            asked.set_user_attr(OUTCOME, f"{finished.record.status}: {finished.record.reason}")
            self._tell(asked, None, TrialState.PRUNED)
        else:
            self._tell(asked, finished.loss, TrialState.COMPLETE)

    def _tell(self, asked: optuna.Trial, loss_nats: float | None, state: TrialState) -> None:
        # A reconciling machine may have told it first; the record, not the storage, says what is done.
        with suppress(ValueError, UpdateFinishedTrialError):
            self._study.tell(asked, loss_nats, state=state)

    def _end(self) -> None:
        """Have the running trials save and end, and wait for them; a second Ctrl-C kills them."""
        for worker in self._active:
            worker.process.terminate()  # the terminal interrupts them, too; a batch system may not
        try:
            for worker in self._active:
                # The forkserver brings the news of an end; a signal may have killed it; the lease knows.
                name = worker.trial.run.name
                while worker.process.is_alive() or lease.is_held(self.plan.folder / name):
                    time.sleep(POLL_S)
        except KeyboardInterrupt:
            for worker in self._active:
                worker.process.kill()
            raise
        self._active.clear()
        self.progress.running.clear()
