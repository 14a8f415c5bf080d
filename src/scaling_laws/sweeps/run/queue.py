"""The queue of trunks, held by Optuna. It only dispatches: the run folders are the truth.

Losing the database loses nothing: what has a record is done, and everything else is asked for again. A
database that does not answer is a `StorageOutage`: whoever asked goes on with what it has, and asks later.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import optuna
import sqlalchemy
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from scaling_laws.study.errors import InputError
from scaling_laws.study.records import not_written
from scaling_laws.sweeps.run.lease import process_name, this_process
from scaling_laws.sweeps.search.storage import open_storage, without_secrets

WINDOW = 64
"""Trials waiting at a time: `ask()` slows down with the length of the queue."""
ID_FILE = "queue_id"
"""In a study's folder: what tells it from others of its name."""
CELL = "cell"
OWNER = "owner"
"""Attribute of a trial: the supervisor that took it (`machines.ProcessName`)."""
DOUBT_S = 15.0
"""So long a trial whose taker is not known, or not known to be dead, may be on its way to its folder."""
FAR_DOUBT_S = 60.0
"""The same of a taker on another machine, which may still be starting the process."""
OUTAGES = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.InternalError,
    sqlalchemy.exc.TimeoutError,
    optuna.exceptions.StorageInternalError,
)
FULL = ("disk is full", "disk I/O error", "readonly database", "No space left on device")


class StorageOutage(Exception):
    """The database does not answer, for now."""


class Queue:
    """Trunks of one study, by name.

    Args:
        url: Optuna storage, `sqlite:///file` on one machine or `postgresql://...` for several.
        study: name of the study in the storage: one folder's, and no other's.

    Raises:
        InputError: the storage cannot be opened.
    """

    def __init__(self, url: str, study: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._url = url
        self._me = this_process()
        self._doubted_s: dict[int, float] = {}
        self._study, self._storage = open_storage(url, lambda storage: (_open_study(storage, study), storage))

    def close(self) -> None:
        """Leave the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def refill(
        self,
        cells: Iterable[str],
        *,
        is_held: Callable[[str], bool],
        is_wanted: Callable[[str], bool] = lambda cell: True,
        ours: Container[int] = (),
    ) -> int:
        """Release what nobody trains any more, and keep up to `WINDOW` cells waiting.

        Args:
            cells: what is left to train, in order; read no further than needed.
            is_held: whether a process holds the lease of a cell.
            is_wanted: asked of a cell before it is made to wait: others may have trained it.
            ours: numbers of the trials that this supervisor is at.

        Returns:
            how many cells wait.

        Raises:
            StorageOutage: the database does not answer.
        """
        with self._outages():
            states = (TrialState.WAITING, TrialState.RUNNING)
            trials = self._study.get_trials(deepcopy=False, states=states)
            present, n_waiting = set(), 0
            for trial in trials:
                if trial.state == TrialState.RUNNING and self._is_dead(trial, is_held, ours):
                    self._tell(trial.number, None)
                    continue
                present.add(trial.user_attrs.get(CELL))
                n_waiting += trial.state == TrialState.WAITING
            missing = (cell for cell in cells if cell not in present and is_wanted(cell))
            for cell in islice(missing, max(0, WINDOW - n_waiting)):
                self._study.enqueue_trial({}, user_attrs={CELL: cell})
                n_waiting += 1
            return n_waiting

    def take(self) -> tuple[optuna.Trial, str] | None:
        """The next waiting cell, now ours; None where nothing waits.

        Raises:
            StorageOutage: the database does not answer.
        """
        with self._outages():
            if not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                return None
            trial = self._study.ask()
            cell = trial.user_attrs.get(CELL)
            if cell is None:  # another machine was faster, and Optuna invented a trial
                self._tell(trial.number, None)
                return None
            try:
                trial.set_user_attr(OWNER, str(self._me))
            except optuna.exceptions.UpdateFinishedTrialError:
                return None  # this process was stopped for so long that another took it for dead
            return trial, str(cell)

    def finish(self, trial: int, loss_nats: float | None) -> None:
        """Say that the trial of that number ended: with its loss, or without one when it failed.

        Raises:
            StorageOutage: the database does not answer.
        """
        with self._outages():
            self._tell(trial, loss_nats)

    def _tell(self, trial: int, loss_nats: float | None) -> None:
        self._doubted_s.pop(trial, None)
        state = TrialState.FAIL if loss_nats is None else TrialState.COMPLETE
        # Another supervisor may have told it; the record, not the queue, says what is done.
        with suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
            self._study.tell(trial, loss_nats, state=state)

    def _is_dead(self, trial: FrozenTrial, is_held: Callable[[str], bool], ours: Container[int]) -> bool:
        """Whether a running trial has lost its supervisor and its process."""
        if trial.number in ours:
            return False
        if is_held(str(trial.user_attrs.get(CELL))):
            self._doubted_s.pop(trial.number, None)
            return False
        taker = process_name(str(trial.user_attrs.get(OWNER)))
        if taker is not None and taker.is_here:
            # Ours, but not among `ours`: taken while the connection broke.
            return taker == self._me or not taker.is_alive
        doubted_s = self._doubted_s.setdefault(trial.number, time.monotonic())
        return time.monotonic() - doubted_s > (DOUBT_S if taker is None else FAR_DOUBT_S)

    @contextmanager
    def _outages(self) -> Iterator[None]:
        try:
            yield
        except OUTAGES as error:
            reason = without_secrets(str(error.__cause__ or error), self._url)
            if any(words in reason for words in FULL) and self._url.startswith("sqlite"):
                path = self._url.removeprefix("sqlite:///")
                raise InputError(
                    f"{path}: could not be written ({reason}); put that right and run the same command again"
                ) from None
            raise StorageOutage(reason) from None


def queue_name(study: str, folder: Path) -> str:
    """What a study is called in a storage that others use, too: its name, and the id of its folder.

    Raises:
        InputError: the folder cannot be written to.
    """
    path = folder / ID_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            ours = folder / f".{ID_FILE}.{uuid.uuid4().hex}"
            ours.write_text(uuid.uuid4().hex + "\n", encoding="ascii")
            try:
                with suppress(FileExistsError):  # of several supervisors, the first
                    os.link(ours, path)
            finally:
                ours.unlink()
        return f"{study}-{path.read_text(encoding='ascii').strip()}"
    except OSError as error:
        raise not_written(path, error) from error


def _open_study(storage: RDBStorage, name: str) -> optuna.Study:
    return optuna.create_study(storage=storage, study_name=name, load_if_exists=True, sampler=RandomSampler())
