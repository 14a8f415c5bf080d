"""Storage and folders of a search brought in line: after a kill, a lost storage, or beside another machine.

The folders are the truth. A trial that the storage calls running and nobody trains has failed; what it was
training is asked for again, as is whatever a folder began and has no record of. A record that no trial was
told of becomes a trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from scaling_laws.sweeps.plan.experiments import Plan
from scaling_laws.sweeps.run import attempts, lease
from scaling_laws.sweeps.search.space import Point, distributions, violations
from scaling_laws.sweeps.search.trials import (
    FinishedTrial,
    finished_trial,
    held_out_losses,
    search_of,
    trial_folders,
    trial_in,
)

RUN, OUTCOME = "run", "outcome"
"""Attributes of a trial: the name of its run, and how it ended in words."""
TOLD = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """What was found.

    Attributes:
        finished: trials with a record that the caller did not know of.
        elsewhere: runs of trials that other processes train.
        set_aside: why, by the runs of trials that have failed too often.
    """

    finished: tuple[FinishedTrial, ...]
    elsewhere: tuple[str, ...]
    set_aside: dict[str, str]


def reconcile(
    study: optuna.Study, plan: Plan, *, mine: frozenset[int], settled: frozenset[str]
) -> Reconciled:
    """Bring the storage in line with the folders.

    Args:
        mine: numbers of the trials that the caller trains.
        settled: runs that the caller knows to be done, given up, or its own.

    Raises:
        InputError: a folder was trained with other settings, or a record is damaged.
    """
    finished: list[FinishedTrial] = []
    elsewhere: list[str] = []
    set_aside: dict[str, str] = {}
    told = {trial.user_attrs.get(RUN) for trial in study.get_trials(deepcopy=False, states=TOLD)}
    for folder in trial_folders(plan):
        if folder.name in settled:
            continue
        trial = trial_in(plan, folder)
        done = finished_trial(plan, trial)
        if done is not None:
            finished.append(done)
            if folder.name not in told:
                study.add_trial(_as_trial(done, plan))
        elif lease.is_held(folder):
            elsewhere.append(folder.name)
        elif reason := attempts.read(folder).set_aside():
            set_aside[folder.name] = reason
        else:
            # Before its trial is given up below: a kill between the two must not lose it.
            ask_again(study, _params(trial.point, plan), folder.name)
    for running in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        name = running.user_attrs.get(RUN)
        if running.number not in mine and not (name and lease.is_held(plan.folder / name)):
            with suppress(ValueError, UpdateFinishedTrialError):  # somebody else has told it
                study.tell(running.number, state=TrialState.FAIL)
    return Reconciled(finished=tuple(finished), elsewhere=tuple(elsewhere), set_aside=set_aside)


def ask_again(study: optuna.Study, params: Mapping[str, Any], name: str) -> None:
    """Have the run `name` be the next trial, once."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if name not in {trial.user_attrs.get(RUN) for trial in waiting}:
        study.enqueue_trial(dict(params), user_attrs={RUN: name})


def _as_trial(finished: FinishedTrial, plan: Plan) -> FrozenTrial:
    """A finished run as a trial of the storage."""
    trial = finished.trial
    losses = held_out_losses(plan.folder / trial.run.name)
    return optuna.trial.create_trial(
        state=TrialState.PRUNED if finished.loss is None else TrialState.COMPLETE,
        value=finished.loss,
        params=_params(trial.point, plan),
        distributions=distributions(search_of(plan)),
        user_attrs={RUN: trial.run.name, "N": trial.shape.N},
        intermediate_values={tokens: loss for tokens, loss in losses if tokens < trial.run.D},
        constraints=violations(trial.shape, trial.point),
    )


def _params(point: Point, plan: Plan) -> dict[str, Any]:
    return {name: point.params[name] for name in distributions(search_of(plan))}
