"""What a search shows of itself, and what it needs of the processes that train its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from typing import Any, Protocol

import optuna

from scaling_laws.sweeps.run.devices import Share
from scaling_laws.sweeps.search.trials import FinishedTrial, TrialRun


class Process(Protocol):
    """A process that trains."""

    @property
    def exitcode(self) -> int | None: ...

    def is_alive(self) -> bool: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Start(Protocol):
    """Starts a process that trains runs: `processes.start`."""

    def __call__(
        self,
        context: ForkServerContext,
        configs: Sequence[dict[str, Any]],
        *,
        name: str,
        environment: Mapping[str, str] | None,
    ) -> Process: ...


@dataclass(kw_only=True)
class SearchProgress:
    """What there is to show; changed in place by `Search`."""

    n_trials: int
    """Networks to train in all."""
    done: dict[str, FinishedTrial] = field(default_factory=dict)
    """By name of the run, in the order in which they were seen."""
    failed: dict[str, str] = field(default_factory=dict)
    """Runs given up, and why."""
    running: dict[str, TrialRun] = field(default_factory=dict)
    found_done: int = 0
    """Runs that had a record before this search began."""
    n_infeasible: int = 0
    """Trials that named no network of N parameters."""
    exhausted: bool = False
    """Whether the sampler has nothing new to suggest."""


@dataclass(kw_only=True)
class Worker:
    """One trial in training."""

    process: Process
    share: Share
    trial: TrialRun
    asked: optuna.Trial
    n_reported: int = 0
    """Evaluations of its curve that the storage has."""
    pruned: str = ""
    """Why the run is being stopped; empty while it is not."""
