"""A shape study as a source of jobs: asks Optuna for trials, and tells it what became of them.

Losing the storage loses nothing, and a kill at any moment loses no trial: what has a record is done, whatever
the storage says of it; what has none and no process is asked for again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from scaling_laws.study.errors import InputError
from scaling_laws.study.records import write_question
from scaling_laws.sweeps.plan.experiments import Job, Plan
from scaling_laws.sweeps.plan.search_section import OBJECTIVE_CORPUS
from scaling_laws.sweeps.run import attempts, lease
from scaling_laws.sweeps.run.engines import Ended, Engine
from scaling_laws.sweeps.run.ledger import write_ledger
from scaling_laws.sweeps.run.loop import run_jobs
from scaling_laws.sweeps.run.progress import Progress
from scaling_laws.sweeps.search.optuna_study import open_search
from scaling_laws.sweeps.search.pruned import write_pruned_record
from scaling_laws.sweeps.search.reconcile import OUTCOME, RUN, ask_again, reconcile
from scaling_laws.sweeps.search.space import Point, distributions, is_feasible, point_of, violations
from scaling_laws.sweeps.search.spread import spread_trials
from scaling_laws.sweeps.search.storage import OUTAGES, without_secrets
from scaling_laws.sweeps.search.trials import (
    FinishedTrial,
    TrialRun,
    finished_trial,
    held_out_losses,
    network_at,
    planned_trial,
    search_of,
    trial_folders,
    with_trials,
    write_point,
)

MOST_FRUITLESS = 200
"""Trials in a row that ask for nothing new, after which nothing is asked for until a job ends; where
none runs, the space is exhausted."""
ASK_S = 2.0
"""Between two looks at what others have done."""
TAKE_S = 0.5
"""So long the sampler is asked for something new before the jobs that run are looked after again."""


def run_search(
    plan: Plan,
    engine: Engine,
    *,
    storage: str | None,
    watch: Callable[[Progress], None],
    retry_failed: bool = False,
    leave_when_idle: bool = False,
    stop_at_s: float = math.inf,
) -> Search:
    """Train trials until there are as many as asked for; called again, it goes on.

    Args:
        plan: of a sweep with a `search`.
        storage: Optuna storage URL; by default an SQLite file in the study's folder.
        watch, leave_when_idle, stop_at_s: as `loop.run_jobs`.
        retry_failed: whether to try again what was set aside.

    Raises:
        InputError: as `open_search`; a run's folder holds a record of other settings, the storage stopped
            answering, or the engine leaves its jobs; or as `run_jobs`.
        Interrupted, KeyboardInterrupt: as `run_jobs`.
    """
    if not engine.stays:
        raise InputError("a search decides by what its jobs have reached: give it --engine local or ray")
    engine.require(Job(name="a trial", runs=(_any_trial(plan).run,)))
    search = Search(plan, storage=storage, retry_failed=retry_failed)
    write_question(plan.folder, plan.sweep.question)
    try:
        run_jobs(search, engine, watch=watch, leave_when_idle=leave_when_idle, stop_at_s=stop_at_s)
    finally:
        with suppress(OSError, InputError):  # a full disk has its own error
            write_ledger(with_trials(plan))
    return search


@dataclass(kw_only=True)
class _Asked:
    """A trial that the storage calls running: ours, under way or about to be."""

    trial: TrialRun
    optuna: optuna.Trial
    n_reported: int = 0
    """Evaluations of its curve that the storage has."""
    pruned: str = ""
    """Why the run is being stopped; empty while it is not."""
    is_told_to_end: bool = False


class Search:
    """The trials of one plan: a `source.Source`.

    Args:
        plan: of a sweep with a `search`.
        storage: Optuna storage URL; by default an SQLite file in the study's folder.
        retry_failed: whether to try again what was set aside.

    Attributes:
        finished: trials with a record, by name of the run, in the order in which they were seen.
        n_infeasible: trials that named no network of N parameters.

    Raises:
        InputError: as `open_search`; or a run's folder holds a record of other settings.
    """

    def __init__(self, plan: Plan, *, storage: str | None, retry_failed: bool = False) -> None:
        self.plan = plan
        self.finished: dict[str, FinishedTrial] = {}
        n_trials = search_of(plan).trials
        self.progress = Progress(
            folder=plan.folder,
            n_runs=n_trials,
            expected_s=n_trials * _any_trial(plan).run.expected_s,
            corpus=OBJECTIVE_CORPUS,
        )
        self._study = open_search(plan, storage)
        self._storage = storage or ""
        self._space = distributions(search_of(plan))
        self._spread = spread_trials(plan)
        self._asked: dict[str, _Asked] = {}
        self._elsewhere: tuple[str, ...] = ()
        self._fruitless = 0
        self._look_next_s = 0.0
        with self._outages():
            if retry_failed:
                for folder in trial_folders(plan):
                    if attempts.read(folder).set_aside() is not None:
                        attempts.ask_again(folder)
            self._look_around()
            stored = self._study.get_trials(deepcopy=False)
            self.n_infeasible = sum(max(trial.constraints.values(), default=0) > 0 for trial in stored)
        self.progress.n_found_done = len(self.finished)

    @property
    def is_exhausted(self) -> bool:
        """Whether the sampler has nothing new to suggest."""
        return self._fruitless >= MOST_FRUITLESS

    # --- as `Source` ------------------------------------------------------------------------------

    def is_over(self) -> bool:
        """As `Source`."""
        return not self._asked and not self._elsewhere and not self._wants_more()

    def take(self, n: int) -> list[Job]:
        """As `Source`: what was asked for and waits for room, then what the sampler suggests."""
        with self._outages():
            if time.monotonic() >= self._look_next_s:
                self._look_around()
            until_s = time.monotonic() + TAKE_S
            while len(found := self._waiting()) < n and self._wants_more() and time.monotonic() < until_s:
                self._ask()
            return found[:n]

    def look(self, job: Job) -> bool:
        """As `Source`: report what a job has reached, and see whether the pruner wants its end."""
        asked = self._asked.get(job.name)
        if asked is None:
            return job.name in self.finished
        with self._outages():
            finished = finished_trial(self.plan, asked.trial)
            self._report(asked, prunes=finished is None)
            if finished is None:
                return False
            self._settle(asked, finished)
            return True

    def unwanted(self) -> Sequence[str]:
        """As `Source`: what the pruner has stopped."""
        pruned = [asked for asked in self._asked.values() if asked.pruned and not asked.is_told_to_end]
        for asked in pruned:
            asked.is_told_to_end = True
        return [asked.trial.run.name for asked in pruned]

    def gone(self, job: Job, ended: Ended) -> None:
        """As `Source`: a trial that was pruned has its record now; any other is asked for again."""
        asked = self._asked[job.name]
        with self._outages():
            if asked.pruned and ended.outcome != attempts.HELD:
                write_pruned_record(self.plan, asked.trial, asked.pruned)
                finished = finished_trial(self.plan, asked.trial)
                assert finished is not None
                self._settle(asked, finished)
                return
            del self._asked[job.name]
            self._fruitless = 0
            reason = attempts.read(self.plan.folder / job.name).set_aside()
            if reason is not None:
                self.progress.failed[job.name] = reason
            elif ended.outcome != attempts.HELD:
                ask_again(self._study, asked.optuna.params, job.name)
            self._tell(asked.optuna, None, TrialState.FAIL)

    def is_in_good_hands(self) -> bool:
        """As `Source`."""
        return all(lease.is_locked(self.plan.folder / name) for name in self._elsewhere)

    # --- how much there is to do ------------------------------------------------------------------

    def _waiting(self) -> list[Job]:
        return [asked.trial.job for name, asked in self._asked.items() if name not in self.progress.running]

    def _wants_more(self) -> bool:
        n_known = len({*self.finished, *self.progress.failed, *self._asked, *self._elsewhere})
        return n_known < self.progress.n_runs and not self.is_exhausted

    # --- a trial ----------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask for a trial; it is one to be trained if it is feasible and new."""
        self._ask_for_spread()
        asked = self._study.ask(self._space)
        point = point_of(asked.params, search_of(self.plan))
        shape = network_at(self.plan, point)
        for name, value in violations(shape, point).items():
            asked.set_constraint(name, value)
        if not is_feasible(shape, point):
            asked.set_user_attr(OUTCOME, "infeasible: no such network of N parameters; not trained")
            self._tell(asked, None, TrialState.PRUNED)
            self.n_infeasible += 1
            self._fruitless += 1
            return
        trial = planned_trial(self.plan, point)
        name, network = trial.run.name, shape.config
        for key, attribute in (
            (RUN, name),
            ("N", shape.N),
            ("shape", f"{network.n_layer}x{network.d_model}, {network.n_heads} heads, d_ff {network.d_ff}"),
        ):
            asked.set_user_attr(key, attribute)
        if name in self.finished:
            self._tell_outcome(asked, self.finished[name])
            self._fruitless += 1
        elif self._is_settled(name):
            self._tell(asked, None, TrialState.FAIL)
            self._fruitless += 1
        else:
            self._fruitless = 0
            write_point(self.plan.folder / name, point)
            self._asked[name] = _Asked(trial=trial, optuna=asked)

    def _is_settled(self, name: str) -> bool:
        """Whether a run is none to begin: done, set aside, ours, or somebody else's."""
        return (
            name in self.finished
            or name in self.progress.failed
            or name in self._asked
            or lease.is_held(self.plan.folder / name)
        )

    def _ask_for_spread(self) -> None:
        """Have the next network that was laid out beforehand be the next trial, if one is left."""
        for trial in self._spread:
            if not self._is_settled(trial.run.name):
                params = {key: trial.point.params[key] for key in self._space}
                ask_again(self._study, params, trial.run.name)
                return

    def _look_around(self) -> None:
        """See what others have done, and what a kill has left."""
        found = reconcile(
            self._study,
            self.plan,
            mine=frozenset(asked.optuna.number for asked in self._asked.values()),
            settled=frozenset((*self.finished, *self.progress.failed, *self._asked)),
        )
        self._elsewhere = found.elsewhere
        self.progress.failed |= found.set_aside
        for finished in found.finished:
            self._add(finished)
        self._look_next_s = time.monotonic() + ASK_S

    def _report(self, asked: _Asked, *, prunes: bool) -> None:
        run = asked.trial.run
        for tokens, loss in held_out_losses(self.plan.folder / run.name)[asked.n_reported :]:
            asked.n_reported += 1
            if tokens >= run.D:
                continue  # the last is the result
            asked.optuna.report(loss, step=tokens)
            if prunes and not asked.pruned and asked.optuna.should_prune():
                asked.pruned = f"stopped by the pruner after {tokens} of {run.D} tokens"

    def _settle(self, asked: _Asked, finished: FinishedTrial) -> None:
        """Tell the storage how a trial ended."""
        del self._asked[finished.trial.run.name]
        self._fruitless = 0  # the sampler knows more now
        self._add(finished)
        self._tell_outcome(asked.optuna, finished)

    def _add(self, finished: FinishedTrial) -> None:
        self.finished[finished.trial.run.name] = finished
        self.progress.add(finished.trial.run, finished.record)

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

    @contextmanager
    def _outages(self) -> Iterator[None]:
        try:
            yield
        except OUTAGES as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise InputError(
                f"the search's storage does not answer ({without_secrets(reason, self._storage)}); "
                "fix that and run the same command again: what was running is saved"
            ) from None


def _any_trial(plan: Plan) -> TrialRun:
    """A trial of the plan's N and D, whatever its shape: what one costs and wants."""
    search = search_of(plan)
    search.check()
    point = Point(
        n_layer=search.n_layer[0],
        d_ff_ratio=math.sqrt(math.prod(search.d_ff_ratio)),
        head_width=search.head_width[0],
    )
    return planned_trial(plan, point)
