"""Trainings that take turns in one process, so that whatever the machine does meanwhile falls on all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl

Steps = Callable[[int], object]
"""Trains for so many steps."""


class Turns(pl.Callback):
    """The last callback of a run: times its steps, and gives the others a turn after `n_steps` of them.

    Args:
        ours: name of the run.
        others: their steps, by name.
        n_steps: of a turn.
        warm_up_turns: that do not count.
        now_s: the clock.
    """

    def __init__(
        self,
        ours: str,
        others: Mapping[str, Steps],
        *,
        n_steps: int,
        warm_up_turns: int,
        now_s: Callable[[], float],
    ) -> None:
        self.ours, self.others, self.n_steps = ours, others, n_steps
        self.warm_up_turns, self.now_s = warm_up_turns, now_s
        self.seconds: dict[str, list[float]] = {name: [] for name in (ours, *others)}
        self._start_s = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        turn, rest = divmod(trainer.global_step, self.n_steps)
        if rest:
            return
        self._note(self.ours, turn)
        for name, steps in self.others.items():
            steps(self.n_steps)
            self._note(name, turn)

    def _note(self, name: str, turn: int) -> None:
        now_s = self.now_s()
        if turn > self.warm_up_turns:
            self.seconds[name].append(now_s - self._start_s)
        self._start_s = now_s


def quartiles_tokens_per_s(tokens: int, seconds: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Lower and upper quartile of tokens per second, by name, of turns of `tokens`."""
    return {
        name: [tokens / each for each in statistics.quantiles(found, n=4)[::-2]]
        for name, found in seconds.items()
    }
