"""Where jobs come from: a fixed list here, or a search (`search/`). The folders are the only queue.

A job is done when its runs have records, held while a process has its lease, and set aside when its book of
attempts says so. All else is free: whoever takes the lease trains it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from scaling_laws.study.records import finished_record
from scaling_laws.sweeps.plan.experiments import Job
from scaling_laws.sweeps.run import attempts, lease
from scaling_laws.sweeps.run.engines import Ended
from scaling_laws.sweeps.run.progress import Progress

ASK_S = 2.0
"""Before a job that somebody else holds is looked at again."""
LOOK_SHARE = 0.02
"""Of the time, at most, spent on looking for what others have finished."""


class Source(Protocol):
    """Hands out jobs to `loop.run_jobs`, which keeps `progress.running` for it."""

    progress: Progress

    def is_over(self) -> bool:
        """Whether nothing is left, neither to start nor to wait for, but what is running."""

    def take(self, n: int) -> list[Job]:
        """Up to `n` jobs that nobody trains, the first to start first; empty where there are none now."""

    def look(self, job: Job) -> bool:
        """Read what a job of ours has written since the last call; whether it is done."""

    def unwanted(self) -> Sequence[str]:
        """Running jobs of ours that need not go on."""

    def gone(self, job: Job, ended: Ended) -> None:
        """The process of a job is over, and the job is not done."""

    def is_in_good_hands(self) -> bool:
        """Whether living processes, as far as that can be known for sure, hold all that is left."""


class PlannedJobs:
    """A fixed list of jobs, taken in its order.

    Args:
        jobs: in the plan's order.
        progress: of these; whatever is found is counted there.
        retry_failed: whether to try again what was set aside.

    Raises:
        InputError: a run's folder holds the record of another configuration.
    """

    def __init__(self, jobs: Sequence[Job], progress: Progress, *, retry_failed: bool = False) -> None:
        self.progress = progress
        self.left = {job.name: job for job in jobs}
        """Neither done nor set aside."""
        self._held_until_s: dict[str, float] = {}
        """Jobs that others hold, by `time.monotonic()`: they are not looked at before."""
        self._look_next_s = 0.0
        self._look_at_all(retry_failed=retry_failed)

    def is_over(self) -> bool:
        """As `Source`."""
        return not self.left

    def take(self, n: int) -> list[Job]:
        """As `Source`. Beside others, some way down the list, so that not all of them want the same job."""
        if time.monotonic() >= self._look_next_s:
            self._look_at_all()
        now_s = time.monotonic()
        n_others = sum(name in self.left and until_s > now_s for name, until_s in self._held_until_s.items())
        n_wanted = n + random.randint(0, 2 * n_others)
        free: list[Job] = []
        for job in list(self.left.values()):
            if len(free) == n_wanted:
                break
            if job.name not in self.progress.running and self._is_free(job):
                free.append(job)
        return free[-n:]

    def look(self, job: Job) -> bool:
        """As `Source`: records appear one by one."""
        for run in job.runs:
            if run.name not in self.progress.done:
                record = finished_record(self.progress.folder / run.name, run.run_id)
                if record is None:
                    return False
                self.progress.add(run, record)
        self.left.pop(job.name, None)
        return True

    def unwanted(self) -> Sequence[str]:
        """As `Source`: none."""
        return ()

    def gone(self, job: Job, ended: Ended) -> None:
        """As `Source`."""
        if ended.outcome == attempts.HELD:
            self._held_until_s[job.name] = time.monotonic() + ASK_S
        self._judge(job)

    def is_in_good_hands(self) -> bool:
        """As `Source`."""
        return all(lease.is_locked(self.progress.folder / name) for name in self.left)

    def _is_free(self, job: Job) -> bool:
        if time.monotonic() < self._held_until_s.get(job.name, 0.0) or self.look(job):
            return False
        if lease.is_held(self.progress.folder / job.name):
            self._held_until_s[job.name] = time.monotonic() + ASK_S
            return False
        self._judge(job)
        return job.name in self.left

    def _look_at_all(self, *, retry_failed: bool = False) -> None:
        """See what others have done, or given up."""
        start_s = time.monotonic()
        for job in list(self.left.values()):
            if not self.look(job):
                self._judge(job, retry_failed=retry_failed)
        end_s = time.monotonic()
        self._look_next_s = end_s + max(ASK_S, (end_s - start_s) / LOOK_SHARE)

    def _judge(self, job: Job, *, retry_failed: bool = False) -> None:
        """Give a job up that has failed too often."""
        folder: Path = self.progress.folder / job.name
        reason = attempts.read(folder).set_aside()
        if reason is not None and retry_failed:
            attempts.ask_again(folder)
        elif reason is not None:
            self.progress.failed[job.name] = reason
            self.left.pop(job.name, None)
