"""Ending in good order when asked to: by Ctrl-C, or by a batch system. Standard library only.

An interrupted command exits with 128 + the number of the signal, as a shell would say it:

| status | signal  | who sends it                                                       |
|--------|---------|--------------------------------------------------------------------|
| 130    | SIGINT  | Ctrl-C                                                             |
| 143    | SIGTERM | a batch system or `kill`: the machine is wanted back               |
| 138    | SIGUSR1 | SLURM's `--signal=USR1@90`, 90 s before the job's time is over     |
"""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)
"""Windows has no SIGUSR1."""
STANDARD_ERROR = 2


class Interrupted(SystemExit):
    """A signal asked for the end, and what was done until then is saved.

    Attributes:
        message: one line: where it ended, and how to go on.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(128 + signal_number)
        self.message = message


class TimeIsUp(Interrupted):
    """A command ends before all is done, and what was done is saved: its time is over, or others do the rest.

    No error.
    """

    def __init__(self, message: str) -> None:
        SystemExit.__init__(self, 0)
        self.message = message


class StopSignals:
    """While entered, a signal is only noted; whoever entered ends where nothing is lost.

    The second Ctrl-C leaves at once, by KeyboardInterrupt. Other signals may be repeated: batch systems do.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """The first signal that asked for the end."""
        self._n_interrupts = 0
        self._handlers_before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        self._handlers_before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Take the signals (again: Lightning puts a handler of its own before ours when training begins)."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._n_interrupts += number == signal.SIGINT
        if self._n_interrupts > 1:
            raise KeyboardInterrupt
        if self.received is None:
            self.received = number
            # Not print(): the signal may have come in the middle of another one.
            note = f"{signal.Signals(number).name}: saving what is done; a second Ctrl-C leaves at once\n"
            os.write(STANDARD_ERROR, note.encode())
