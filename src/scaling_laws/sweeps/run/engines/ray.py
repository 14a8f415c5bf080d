"""A Ray cluster that is there already: each job is a task with its CPUs, or its GPUs or share of one.

The command stays while its jobs run: Ray ends them when it is killed, and the same command goes on from their
checkpoints. Ray tries nothing again by itself: attempts are counted in the folders.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.experiments import Job
from scaling_laws.sweeps.run import attempts
from scaling_laws.sweeps.run.devices import GPU_ACCELERATORS
from scaling_laws.sweeps.run.engines import Bundle, Ended, EngineContext

MAX_JOBS = 64
KNOCK_S = 10.0
UNSAID = r".*"
"""What Ray would print here of its insides, forty lines when a node dies: its daemons' messages differ from
death to death. `RayEngine.ended` gives the reason, and the loop takes the job up again."""


class RayEngine:
    """Runs jobs on a Ray cluster.

    Options: `address` (of the cluster; by default RAY_ADDRESS, or the cluster of this machine), `max_jobs`
    (submitted at a time), `elastic` (whether nodes may come that are not there yet: no job is refused).
    `workers` jobs of one device share a GPU.

    Raises:
        InputError: Ray is not installed, or no cluster answers.
    """

    stays = True

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._max_jobs = int(context.options.get("max_jobs", MAX_JOBS))
        self._elastic = bool(context.options.get("elastic"))
        self._active: dict[Any, _Task] = {}
        if self._max_jobs < 1:
            raise InputError(f"max_jobs is {self._max_jobs}; it must be 1 or more")
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", UNSAID)  # read when it is imported
        try:
            import ray  # with the engine: it is an extra
        except ImportError as error:
            raise InputError("Ray is not installed; pip install ray, here and on every node") from error
        self._ray: Any = ray
        address = str(context.options.get("address") or os.environ.get("RAY_ADDRESS") or "auto")
        try:
            if not ray.is_initialized():
                _knock(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).split(". ")[0].splitlines()[0]
            raise InputError(
                f"no Ray cluster answers at {address} ({reason}); ray start --head starts one, "
                "--address names another"
            ) from error
        self._on_gpus = context.accelerator in GPU_ACCELERATORS or (
            context.accelerator == "auto" and bool(self._ray.cluster_resources().get("GPU"))
        )
        self._train: Any = ray.remote(max_calls=1, max_retries=0)(_train)

    def require(self, job: Job) -> None:
        """As `Engine`: more than any node has."""
        if job.nodes > 1:
            raise InputError(f"{job.name} needs {job.nodes} nodes; --engine slurm trains it")
        wanted = self._wanted(job)
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if self._elastic or any(all(node.get(name, 0) >= n for name, n in wanted.items()) for node in nodes):
            return
        name, n = list(wanted.items())[-1]
        most = max((node.get(name, 0) for node in nodes), default=0)
        raise InputError(
            f"{job.name} needs {n:g} {name}s on one node, and no node of the cluster has more than {most:g}; "
            "add one, or set elastic: true where nodes come by themselves"
        )

    def room(self) -> int:
        """As `Engine`: Ray queues what has no place yet."""
        return self._max_jobs - len(self._active)

    def submit(self, bundles: Sequence[Bundle]) -> int:
        """As `Engine`."""
        for (job,) in bundles:
            wanted = self._wanted(job)
            attempt = attempts.new_id()
            options = {"num_cpus": wanted["CPU"], "num_gpus": wanted.get("GPU", 0), "name": job.name}
            configs = [run.config for run in job.runs]
            task = self._train.options(**options).remote(configs, attempt, os.getcwd(), self._context.train)
            self._active[task] = _Task(job=job.name, attempt=attempt)
        return len(bundles)

    def ended(self, wait_s: float) -> list[Ended]:
        """As `Engine`."""
        if not self._active:
            time.sleep(wait_s)
            return []
        over, _ = self._ray.wait(list(self._active), num_returns=1, timeout=wait_s)
        return [self._see_off(task) for task in over]

    def end(self, job: str) -> None:
        """As `Engine`."""
        for task, known in self._active.items():
            if known.job == job:
                self._ray.cancel(task)

    def stop(self, *, now: bool = False) -> list[Ended]:
        """As `Engine`."""
        for task in self._active:
            self._ray.cancel(task, force=now)
        if now:
            return []
        if self._active:
            self._ray.wait(list(self._active), num_returns=len(self._active))
        return [self._see_off(task) for task in list(self._active)]

    def preview(self, jobs: Sequence[Job]) -> list[str]:
        """As `Engine`: what each kind of job asks for."""
        kinds = {job.kind: self._wanted(job) for job in jobs}
        asked = [", ".join(f"{n:g} {name}" for name, n in wanted.items()) for wanted in kinds.values()]
        return [f"Ray: tasks of {each}" for each in asked]

    def status(self) -> list[str]:
        """As `Engine`: what is free."""
        total, free = self._ray.cluster_resources(), self._ray.available_resources()
        names = [name for name in ("CPU", "GPU") if name in total]
        return [f"Ray: {free.get(name, 0):g} of {total[name]:g} {name}s free" for name in names]

    def _wanted(self, job: Job) -> Mapping[str, float]:
        if not self._on_gpus:
            return {"CPU": job.devices}
        n_sharing = max(self._context.workers or 1, 1)
        return {"CPU": job.devices, "GPU": job.devices if job.devices > 1 else 1 / n_sharing}

    def _see_off(self, task: Any) -> Ended:
        """What has become of a task that is over."""
        known = self._active.pop(task)
        outcome, reason, exit_status, pid = None, "", None, 0
        errors = self._ray.exceptions
        try:
            outcome, reason, exit_status, pid = self._ray.get(task)
        except errors.TaskCancelledError:  # before it began, or before its first step
            outcome = attempts.INTERRUPTED
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as error:
            reason = str(error).splitlines()[0]
        except errors.RayError as error:  # it never came to train
            last = str(error).strip().splitlines()[-1]
            exit_status, reason = 1, f"its task did not begin: {last}"
        return Ended(
            job=known.job,
            attempt=known.attempt,
            outcome=outcome,
            reason=reason,
            exit_status=exit_status,
            pid=pid,
            elapsed_s=time.monotonic() - known.start_s,
        )


def _knock(address: str) -> None:
    """Find out at once whether anybody listens at `host:port`: Ray would try for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A job that Ray has."""

    job: str
    attempt: str
    start_s: float = field(default_factory=time.monotonic)


class _Said:
    """What a job's process says last, kept for its task to return."""

    last: tuple[str | None, str] = (None, "")

    def send(self, outcome_and_reason: tuple[str, str]) -> None:
        self.last = outcome_and_reason


def _train(
    configs: list[dict[str, Any]], attempt: str, folder: str, train: Any
) -> tuple[str | None, str, int, int]:
    """One job in a process of a node: outcome, reason, exit status, process.

    Args:
        folder: from which the command was called: paths of the configurations may start there.
    """
    from scaling_laws.study.interrupts import StopSignals

    said, status = _Said(), 0
    with StopSignals():  # Ray cancels by an interrupt, which shall not come in the middle of an import
        os.chdir(folder)
        if folder not in sys.path:
            sys.path.append(folder)
        from scaling_laws.sweeps.run.job_process import train_in_own_process

        try:
            train_in_own_process(configs, attempt=attempt, report=said, train=train)  # type: ignore[arg-type]
        except SystemExit as ended:
            status = int(ended.code or 0)
    return *said.last, status, os.getpid()
