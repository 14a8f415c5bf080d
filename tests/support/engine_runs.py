"""A sweep as a user runs it on each engine: begun, ended, begun again, and waited for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from tests.support.ray_cluster import RayCluster
from tests.support.slurm_cluster import PARTITIONS, SlurmCluster, wait_until
from tests.support.small_sweep import arguments, edited, write_sweep

from scaling_laws.sweeps.run import attempts, lease

ROOT = Path(__file__).parents[2]
DONE_S = 600
"""A test's patience, and no more: on a busy machine with slow cores a process needs a minute to begin."""
KILL_IF_HERE = """
import os, signal, sys
from pathlib import Path
from scaling_laws.sweeps.run import lease
holder = lease.holder(Path(sys.argv[1]))
if holder is not None and holder.is_here:
    os.kill(holder.pid, signal.SIGKILL)
"""
STEP_S = 0.1


def slow_sweep(folder: Path, text_folder: Path, *, n_jobs: int, steps: int, **changes: Any) -> Path:
    """Jobs of one run each, which take `steps` tenths of a second on any machine."""
    sweep_file = write_sweep(folder, text_folder)
    model = {
        "shape": {"n_layer": 1, "d_model": 8},
        "horizons_tokens": [64 * steps],
        "seeds": list(range(1, n_jobs + 1)),
    }
    ladder = {"family": "transformer", "learning_rate": 0.01, "models": [model]}
    slow = {"class_path": "tests.support.slow_steps.SlowSteps", "init_args": {"seconds": STEP_S}}
    trainer = {"callbacks": [slow], "accelerator": "cpu", **changes.pop("trainer", {})}
    more = {"ladders": [ladder], "trainer": trainer, "noise_scale_every_n_steps": 0}
    return edited(sweep_file, **more, **changes)


class SweepRun:
    """One study on one engine.

    Attributes:
        output: what the command that was called last has printed, once it has ended.
    """

    def __init__(self, sweep_file: Path, engine: str, *options: str, environment: dict[str, str]) -> None:
        self.folder = sweep_file.parent / "logs" / yaml.safe_load(sweep_file.read_text())["study"]
        self.output = ""
        self._command = [sys.executable, "-m", "scaling_laws", *arguments(sweep_file, "--engine", engine)]
        self._options = options
        self._environment = environment | {
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "OMP_NUM_THREADS": "1",
        }

    def begin(self, *more: str) -> None:
        """Call the command."""
        self._process = subprocess.Popen(
            [*self._command, *self._options, *more],
            env=self._environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait(self, limit_s: float = DONE_S) -> int:
        """Its exit status.

        Raises:
            TimeoutError: it goes on; it is ended, or it would disturb the tests that follow.
        """
        try:
            self.output, _ = self._process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.output, _ = self._process.communicate()
            raise TimeoutError(f"not over within {limit_s:.0f} s: {self.output}") from None
        return self._process.returncode

    def end(self) -> None:
        """As its user ends it: all is saved."""
        self._process.terminate()
        self.wait()

    def kill_command(self) -> None:
        """As the machine ends it that it runs on."""
        self._process.kill()
        self.wait()

    def until_trained(self, n_jobs: int, limit_s: float = DONE_S, *, min_rows: int = 1) -> None:
        """Wait until so many jobs are held and have written rows."""
        wait_until(lambda: len(self.training(min_rows)) >= n_jobs, limit_s, f"{n_jobs} jobs in {self.folder}")

    def training(self, min_rows: int = 1) -> list[str]:
        """Jobs that somebody holds, and that have rows."""
        owners = self.folder.glob(f"*/{lease.OWNER_FILE}")
        return [path.parent.name for path in owners if n_rows(path.parent) >= min_rows]

    def is_done(self, n_runs: int) -> bool:
        return len(list(self.folder.glob("*/record.json"))) == n_runs

    def outcomes(self) -> dict[str, list[str | None]]:
        """Of every attempt, by job."""
        return {
            path.parent.name: [attempt.outcome for attempt in attempts.read(path.parent).attempts]
            for path in sorted(self.folder.glob(f"*/{attempts.FILE}"))
        }

    def reasons(self) -> list[str]:
        """Why attempts ended as they did, for a test's own message."""
        return [
            f"{path.parent.name}: {attempt.outcome}, {attempt.reason}"
            for path in sorted(self.folder.glob(f"*/{attempts.FILE}"))
            for attempt in attempts.read(path.parent).attempts
        ]

    def kill_one(self, limit_s: float = DONE_S) -> str:
        """Kill the process of a job, as the kernel does that is short of memory."""
        self.until_trained(1, limit_s)
        job = self.training()[0]
        self.kill(job)
        return job

    def kill(self, job: str) -> None:
        holder = lease.holder(self.folder / job)
        assert holder is not None
        os.kill(holder.pid, signal.SIGKILL)


class SlurmRun(SweepRun):
    """The command submits, and returns."""

    def __init__(self, sweep_file: Path, cluster: SlurmCluster, *options: str) -> None:
        super().__init__(sweep_file, "slurm", *options, environment=cluster.environment)
        self.cluster = cluster

    @property
    def arrays(self) -> list[str]:
        """Ids of what the command submitted last."""
        return re.findall(r"^array (\d+):", self.output, re.MULTILINE)

    def tasks(self) -> list[tuple[str, str, str]]:
        """What is queued or running of the study, whoever submitted it."""
        script = next(iter(sorted((self.folder / "slurm").glob("*.sh"))))
        name = re.search(r"--job-name=(\S+)-\d+x\d+$", script.read_text(), re.MULTILINE)
        assert name is not None
        listed = self.cluster.run("squeue", "--noheader", "--array", "--format=%j|%i|%T|%r")
        found = [line.split("|") for line in listed.splitlines() if line.startswith(name[1])]
        return [(job, state, reason) for _, job, state, reason in found]

    def begin(self, *more: str) -> None:
        super().begin(*more)
        status = super().wait()
        assert status == 0, self.output

    def wait(self, limit_s: float = DONE_S) -> int:
        wait_until(lambda: not self.tasks(), limit_s, f"no task of {self.folder}: {self.tasks()}")
        return 0

    def end(self) -> None:
        self.cluster.run("scancel", *{task.partition("_")[0] for task, _, _ in self.tasks()})
        self.wait()

    def kill(self, job: str) -> None:
        """Its number means nothing outside its node."""
        for partition, nodes in PARTITIONS.items():
            for node in nodes:
                where = ("srun", f"--partition={partition}", f"--nodelist={node}")
                self.cluster.run(*where, sys.executable, "-c", KILL_IF_HERE, str(self.folder / job))


class RayRun(SweepRun):
    """The command stays."""

    def __init__(self, sweep_file: Path, cluster: RayCluster, *options: str) -> None:
        options = ("--address", cluster.address, *options)
        super().__init__(sweep_file, "ray", *options, environment=dict(os.environ))


def n_rows(folder: Path) -> int:
    """Rows of a run's curve."""
    path = folder / "curve.csv"
    return max(0, len(path.read_text(encoding="utf-8").splitlines()) - 1) if path.exists() else 0
