"""The queue of trunks, held by Optuna. It only dispatches: the run folders are the truth.

Losing the database loses nothing: what has a record is done, and everything else is asked for again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from scaling_laws.errors import InputError

WINDOW = 64
"""Trials waiting at a time: `ask()` slows down with the length of the queue."""
CELL = "cell"


class Queue:
    """Trunks of one study, by name.

    Args:
        url: Optuna storage, `sqlite:///file` on one machine or `postgresql://...` for several.
        study: name of the study.

    Raises:
        InputError: the storage cannot be opened.
    """

    def __init__(self, url: str, study: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            storage = RDBStorage(url)
            if url.startswith("sqlite"):
                _take_locks_at_once(storage)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study = optuna.create_study(storage=storage, study_name=study, load_if_exists=True)
        except (sqlalchemy.exc.SQLAlchemyError, sqlalchemy.exc.ArgumentError, ImportError, OSError) as error:
            # Whatever follows the first line may quote the URL, and with it a password.
            reason = str(error).splitlines()[0]
            raise InputError(
                f"the queue's storage cannot be opened ({type(error).__name__}): {reason}"
            ) from error

    def fill(self, cells: Sequence[str]) -> None:
        """Keep up to `WINDOW` of `cells` waiting, in their order; what waits or runs stays as it is."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING))
        present = {trial.user_attrs.get(CELL) for trial in trials}
        n_free = WINDOW - sum(trial.state == TrialState.WAITING for trial in trials)
        for cell in [cell for cell in cells if cell not in present][: max(0, n_free)]:
            self._study.enqueue_trial({}, user_attrs={CELL: cell})

    def take(self) -> tuple[optuna.Trial, str] | None:
        """The next waiting cell, now ours; None where nothing waits."""
        if not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return None
        trial = self._study.ask()
        cell = trial.user_attrs.get(CELL)
        if cell is None:  # another machine was faster, and Optuna invented a trial
            self._study.tell(trial, state=TrialState.FAIL)
            return None
        return trial, str(cell)

    def finish(self, trial: optuna.Trial, loss_nats: float | None) -> None:
        """Say that a trial ended: with its loss, or without one when it failed."""
        state = TrialState.FAIL if loss_nats is None else TrialState.COMPLETE
        # A reconciling machine may have told it first; the record, not the queue, says what is done.
        with suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
            self._study.tell(trial, loss_nats, state=state)

    def release(self, is_held: Callable[[str], bool]) -> None:
        """Fail the running trials that nobody holds: their process died before it could tell.

        Args:
            is_held: whether a process holds the lease of a cell.
        """
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not is_held(str(trial.user_attrs.get(CELL))):
                self._study.tell(trial.number, state=TrialState.FAIL)


def _take_locks_at_once(storage: RDBStorage) -> None:
    """Open every SQLite transaction with BEGIN IMMEDIATE.

    SQLite ignores the row locks that Optuna asks for, so that two workers can pop the same trial; with the
    write lock taken at the start of a transaction they cannot (SQLAlchemy's documented recipe).
    """

    @sqlalchemy.event.listens_for(storage.engine, "connect")
    def _(connection, _record):  # type: ignore[no-untyped-def]
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(storage.engine, "begin")
    def _(connection):  # type: ignore[no-untyped-def]
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()
