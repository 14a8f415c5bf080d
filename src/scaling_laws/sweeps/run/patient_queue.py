"""A queue whose database may stop answering: what it cannot be told now, it is told later."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

import optuna

from scaling_laws.sweeps.run.queue import Queue, StorageOutage

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0
"""Between two tries while the database does not answer."""

Answer = TypeVar("Answer")


class PatientQueue:
    """Asks a queue, and has no answer while its database has none; the trainings go on meanwhile.

    Args:
        notes: where a user is told of an outage, and of its end.
    """

    def __init__(self, queue: Queue, notes: list[str]) -> None:
        self._queue = queue
        self._notes = notes
        self._untold: dict[int, float | None] = {}
        """Loss by number of the trials that ended, and that the database has not been told of."""
        self._wait_s = 0.0
        self._next_s = 0.0

    def refill(
        self,
        cells: Iterable[str],
        *,
        is_held: Callable[[str], bool],
        is_wanted: Callable[[str], bool],
        ours: Collection[int],
    ) -> int:
        """As `Queue.refill`; 0 during an outage."""
        told = {*ours, *self._untold}
        return self._ask(
            lambda: self._queue.refill(cells, is_held=is_held, is_wanted=is_wanted, ours=told), instead=0
        )

    def take(self) -> tuple[optuna.Trial, str] | None:
        """As `Queue.take`; None during an outage."""
        return self._ask(self._queue.take, instead=None)

    def tell(self, trial: int, loss_nats: float | None) -> None:
        """As `Queue.finish`, with the next `tell_all`."""
        self._untold[trial] = loss_nats

    def tell_all(self) -> None:
        """Tell the database what it does not know yet, if it answers."""
        while self._untold:
            if not self._ask(self._tell_one, instead=False):
                return

    def _tell_one(self) -> bool:
        trial, loss_nats = next(iter(self._untold.items()))
        self._queue.finish(trial, loss_nats)
        del self._untold[trial]
        return True

    def _ask(self, question: Callable[[], Answer], *, instead: Answer) -> Answer:
        if time.monotonic() < self._next_s:
            return instead
        try:
            answer = question()
        except StorageOutage as outage:
            if not self._wait_s:
                self._notes.append(
                    f"the queue's storage does not answer ({outage}); "
                    "the trainings go on, and it is asked again"
                )
            self._wait_s = min(LONGEST_WAIT_S, max(FIRST_WAIT_S, 2 * self._wait_s))
            self._next_s = time.monotonic() + self._wait_s
            return instead
        if self._wait_s:
            self._notes.append("the queue's storage answers again")
        self._wait_s = 0.0
        return answer
