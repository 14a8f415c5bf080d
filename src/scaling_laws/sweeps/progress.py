"""How far a sweep has come: what its views show."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from scaling_laws.study.records import RunRecord
from scaling_laws.sweeps.experiments import Plan, PlannedRun, Trunk


@dataclass(kw_only=True)
class Running:
    """A trunk in training."""

    trunk: Trunk
    start_s: float = field(default_factory=time.monotonic)
    share_at_start: float | None = None
    """How much of it an attempt before had trained, once a view has looked."""


@dataclass(kw_only=True)
class Progress:
    """Changed in place by `supervisor.run_plan`."""

    plan: Plan
    start_s: float = field(default_factory=time.monotonic)
    running: dict[str, Running] = field(default_factory=dict)
    """This supervisor's trainings by name."""
    done: dict[str, RunRecord] = field(default_factory=dict)
    """Records of finished runs by name, in the order in which they were seen."""
    seen: list[RunRecord] = field(default_factory=list)
    """The same, in that order."""
    failed: dict[str, str] = field(default_factory=dict)
    """Trunks set aside, and why."""
    n_found_done: int = 0
    """Runs that had a record before this sweep began."""
    n_runs: int = 0
    expected_s: float = 0.0
    """Of the whole plan, on one device."""
    expected_done_s: float = 0.0
    """Of the finished runs, the seconds that they were expected to take."""
    notes: list[str] = field(default_factory=list)
    """What a user should know, a line each."""

    def __post_init__(self) -> None:
        runs = self.plan.runs
        self.n_runs, self.expected_s = len(runs), sum(run.expected_s for run in runs)

    def add(self, run: PlannedRun, record: RunRecord) -> None:
        """Count a run as finished."""
        self.done[run.name] = record
        self.seen.append(record)
        self.expected_done_s += run.expected_s
