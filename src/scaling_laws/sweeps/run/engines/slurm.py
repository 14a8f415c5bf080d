"""A SLURM cluster: arrays of tasks that each run the same command, and take jobs from the folders.

SLURM hands out machines, the folders hand out jobs: a task takes one after the other, and leaves when nothing
is left for it. So nothing has to stay on the login node, a job starts in milliseconds, and jobs share a GPU.
Jobs that want as many nodes and devices are one array.

| what happens            | SLURM sends        | the task                                                   |
|-------------------------|--------------------|------------------------------------------------------------|
| its time is nearly over | USR1 to the script | saves and ends with 138; the script puts it into the queue |
| `scancel`, preemption   | TERM               | saves and ends with 143; SLURM requeues what it preempts   |
| its node dies           | nothing            | SLURM requeues it; others take its jobs over               |
| nothing is left for it  | nothing            | ends with 0                                                |
"""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scaling_laws.study.errors import InputError
from scaling_laws.study.records import not_written, write_atomically
from scaling_laws.sweeps.plan.experiments import Job
from scaling_laws.sweeps.run.devices import GPU_ACCELERATORS
from scaling_laws.sweeps.run.engines import Bundle, Ended, EngineContext
from scaling_laws.sweeps.run.engines.slurm_queue import (
    Task,
    count_of,
    failure_lines,
    reason_of,
    run_command,
    task_lines,
    tasks_of,
)

FOLDER = "slurm"
"""In a study's folder: scripts, and what tasks print."""
MAX_JOBS = 16
SAVE_S = 120
"""So long before the end of its time a task is warned; SLURM may do it a minute earlier."""
GPU_OPTIONS = ("--gres", "--gpus", "--gpus-per-node", "--gpus-per-task", "--gpus-per-socket", "-G")
NEVER = "Requested node configuration is not available"
SCRIPT = """\
#!/bin/bash
# Written by scaling-laws sweep --engine slurm: each task takes jobs from the study's folder. Submitted by
# {submit}
{sbatch}
set -uo pipefail

{setup}

# A job that is one process is no rank: Lightning looks for SLURM unless this is the name.
export SLURM_JOB_NAME=interactive
{command} &
sweep=$!
# USR1: the time is nearly over. TERM: somebody cancels the task, or wants its node.
trap 'kill -USR1 "$sweep" 2>/dev/null' USR1
trap 'kill -TERM "$sweep" 2>/dev/null' TERM
while kill -0 "$sweep" 2>/dev/null; do wait "$sweep"; done  # a signal ends `wait`, not the sweep
wait "$sweep"
status=$?
echo "the task ended with status $status"
if [ "$status" -eq 138 ]; then  # 128 + USR1: saved, and not finished
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$status"
"""


class SlurmEngine:
    """Submits jobs to SLURM, and does not wait for them.

    Options, as in `configs/cluster/slurm.yaml`: `sbatch` (options of sbatch, which win over what is derived),
    `setup` (shell lines before the command), `max_jobs` (tasks of one kind at a time).

    Raises:
        InputError: an option makes no sense.
    """

    stays = False

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._folder = context.folder.absolute()
        self._sbatch = _words(str(context.options.get("sbatch") or ""))
        self._setup = str(context.options.get("setup") or "").strip()
        self._workers = context.workers or 1
        """Jobs of one device that a task trains at a time."""
        self._max_jobs = int(context.options.get("max_jobs", MAX_JOBS))
        self._on_gpus = context.accelerator in GPU_ACCELERATORS or (
            context.accelerator == "auto" and bool(set(GPU_OPTIONS) & self._given)
        )
        if self._max_jobs < 1:
            raise InputError(f"max_jobs is {self._max_jobs}; it must be 1 or more")
        if {"--job-name", "-J"} & self._given:
            raise InputError("sbatch: a study's tasks are found again by their --job-name; leave it out")

    def require(self, job: Job) -> None:
        """As `Engine`: sbatch is asked when it is submitted."""

    def room(self) -> int:
        """As `Engine`: SLURM's queue has room for all."""
        return 2**31

    def submit(self, bundles: Sequence[Bundle]) -> int:
        """As `Engine`: the tasks that these jobs want, minus those that are there already."""
        tasks = tasks_of(self._name, self._context.note)
        for kind, width in self._wanted([job for bundle in bundles for job in bundle], tasks):
            array = self._submit_array(kind, width)
            self._context.note(f"array {array}: {count_of(width)} of {_needs(kind)}, {self._path(kind)}")
            self._context.note(f"  derived: {' '.join(self._derived(kind, width))}")
        for line in task_lines(tasks_of(self._name, self._context.note)):
            self._context.note(line)
        return len(bundles)

    def ended(self, wait_s: float) -> list[Ended]:
        """As `Engine`: what has become of the jobs stands in their folders."""
        return []

    def end(self, job: str) -> None:
        """As `Engine`: not possible."""

    def stop(self, *, now: bool = False) -> list[Ended]:
        """As `Engine`: `scancel` does, and is the user's to call."""
        return []

    def preview(self, jobs: Sequence[Job]) -> list[str]:
        """As `Engine`: the scripts."""
        return [self._script(kind, width) for kind, width in self._wanted(jobs, ())]

    def status(self) -> list[str]:
        """As `Engine`: what waits and why, what runs, and what ended as it should not."""
        tasks = tasks_of(self._name, self._context.note)
        return task_lines(tasks) + failure_lines(self._folder / FOLDER, {task.id for task in tasks})

    # --- what is submitted ----------------------------------------------------------------------------

    def _wanted(self, jobs: Sequence[Job], tasks: Sequence[Task]) -> list[tuple[str, int]]:
        """Kinds of jobs, and how many tasks more each wants."""
        there = Counter(task.kind for task in tasks)
        wanted = []
        for kind, n_jobs in Counter(job.kind for job in jobs).items():
            at_a_time = self._workers if kind == "1x1" else 1
            width = min(-(-n_jobs // at_a_time), self._max_jobs) - there[kind]
            if width > 0:
                wanted.append((kind, width))
        return wanted

    def _derived(self, kind: str, width: int) -> list[str]:
        """Options of sbatch that the jobs ask for; the user's own win."""
        nodes, devices = map(int, kind.split("x"))
        options = [
            f"--job-name={self._name}-{kind}",
            f"--array=0-{width - 1}",
            f"--nodes={nodes}",
            f"--ntasks-per-node={devices}",
            f"--cpus-per-task={self._workers if kind == '1x1' else 1}",
            f"--signal=B:USR1@{SAVE_S}",
            "--requeue",
            "--open-mode=append",
            f"--chdir={Path.cwd()}",
            f"--output={self._folder / FOLDER / '%A_%a.out'}",
        ]
        if self._on_gpus and not set(GPU_OPTIONS) & self._given:
            options.append(f"--gpus-per-node={devices}")
        return options

    def _script(self, kind: str, width: int) -> str:
        # On the processor, a job takes as many workers as it has devices.
        n_devices = int(kind.partition("x")[2])
        workers = self._workers if kind == "1x1" else 1 if self._on_gpus else n_devices
        more = ["--leave-when-idle", "--only", kind, "--workers", str(workers)]
        return SCRIPT.format(
            submit=shlex.join(["sbatch", *self._sbatch, str(self._path(kind))]),
            sbatch="\n".join(f"#SBATCH {option}" for option in self._derived(kind, width)),
            setup=self._setup,
            command=shlex.join([*self._context.command, *more]),
        ).replace("\n\n\n\n", "\n\n")

    def _submit_array(self, kind: str, width: int) -> str:
        """The id that SLURM gives it.

        Raises:
            InputError: SLURM refuses it, or no node can ever hold it.
        """
        path = self._path(kind)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, self._script(kind, width))
        except OSError as error:
            raise not_written(path, error) from error
        if NEVER in run_command(["sbatch", "--test-only", *self._sbatch, str(path)]).stderr:
            raise InputError(
                f"no node of this cluster can hold what {path} asks for; change it with --sbatch"
            )
        # Asked once: where no answer comes, it may have been heard. The same command looks before it submits.
        done = run_command(["sbatch", "--parsable", *self._sbatch, str(path)])
        if done.returncode:
            raise InputError(f"sbatch refuses {path}: {reason_of(done)}; change it with --sbatch")
        return done.stdout.strip().partition(";")[0]

    def _path(self, kind: str) -> Path:
        return self._folder / FOLDER / f"{kind}.sh"

    @property
    def _name(self) -> str:
        """Of the jobs of this folder, and of no other's."""
        return f"{self._folder.name}-{hashlib.sha256(str(self._folder).encode()).hexdigest()[:8]}"

    @property
    def _given(self) -> set[str]:
        """Names of the options that the user gives: `--time` of `--time=4:00:00`, `-p` of `-pgpu`."""
        options = [word for word in self._sbatch if word.startswith("-")]
        return {word.partition("=")[0] if word.startswith("--") else word[:2] for word in options}


def _needs(kind: str) -> str:
    nodes, devices = map(int, kind.split("x"))
    return f"{devices} device{'s' * (devices > 1)}" + (f" on each of {nodes} nodes" if nodes > 1 else "")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InputError(f"sbatch: {text!r} is not a line of options ({error})") from error
