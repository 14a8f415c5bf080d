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
import re
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scaling_laws.study.errors import InputError
from scaling_laws.study.records import not_written, write_atomically
from scaling_laws.sweeps.plan.experiments import Job
from scaling_laws.sweeps.run.devices import GPU_ACCELERATORS
from scaling_laws.sweeps.run.engines import Bundle, Ended, EngineContext

FOLDER = "slurm"
"""In a study's folder: scripts, and what tasks print."""
MAX_JOBS = 16
SAVE_S = 120
"""So long before the end of its time a task is warned; SLURM may do it a minute earlier."""
ANSWER_S = PATIENCE_S = 60.0
"""That one question may take; and that SLURM is asked again where it does not answer."""
GPU_OPTIONS = ("--gres", "--gpus", "--gpus-per-node", "--gpus-per-task", "--gpus-per-socket", "-G")
NEVER = "Requested node configuration is not available"
TIME_OVER, CANCELLED = 138, 143
REASONS = {
    "None": "about to start",
    "BeginTime": "SLURM waits two minutes before it starts a task again (BeginTime)",
    "PartitionConfig": "no node of the partition can ever hold it (PartitionConfig); change --sbatch",
    "Priority": "others come first (Priority)",
    "Resources": "no node is free (Resources)",
}
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


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of an array that has not ended."""

    id: str
    """`48_0`."""
    kind: str
    """What its jobs want (`Job.kind`)."""
    state: str
    reason: str
    restarts: int
    node: str


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
        tasks = self._tasks()
        for kind, width in self._wanted([job for bundle in bundles for job in bundle], tasks):
            array = self._submit_array(kind, width)
            self._context.note(f"array {array}: {_count(width)} of {_needs(kind)}, {self._path(kind)}")
            self._context.note(f"  derived: {' '.join(self._derived(kind, width))}")
        for line in self._lines(self._tasks()):
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
        tasks = self._tasks()
        return self._lines(tasks) + self._failures({task.id for task in tasks})

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
        if NEVER in _run(["sbatch", "--test-only", *self._sbatch, str(path)]).stderr:
            raise InputError(
                f"no node of this cluster can hold what {path} asks for; change it with --sbatch"
            )
        # Asked once: where no answer comes, it may have been heard. The same command looks before it submits.
        done = _run(["sbatch", "--parsable", *self._sbatch, str(path)])
        if done.returncode:
            raise InputError(f"sbatch refuses {path}: {_reason(done)}; change it with --sbatch")
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

    # --- what has become of it ------------------------------------------------------------------------

    def _tasks(self) -> list[Task]:
        """What SLURM has of this study, queued or running, whoever submitted it.

        Raises:
            InputError: SLURM does not answer.
        """
        fields = ("JobArrayID", "Name", "State", "Reason", "RestartCnt", "NodeList")
        query = ["squeue", "--me", "--noheader", "--array", "-O", ",".join(f"{field}:|" for field in fields)]
        tasks = []
        for line in _patiently(query, self._context.note).splitlines():
            job, name, state, reason, restarts, node, *_ = line.split("|")
            study, _, kind = name.rpartition("-")
            if study == self._name:
                task = Task(
                    id=job, kind=kind, state=state, reason=reason, restarts=int(restarts or 0), node=node
                )
                tasks.append(task)
        return tasks

    def _lines(self, tasks: Sequence[Task]) -> list[str]:
        running = [task for task in tasks if task.state == "RUNNING"]
        waiting = [task for task in tasks if task.state == "PENDING"]
        lines = []
        if running:
            nodes = ", ".join(sorted({task.node for task in running}))
            lines.append(f"SLURM: {_count(len(running))} running on {nodes}")
        for reason in sorted({task.reason for task in waiting}):
            those = [task for task in waiting if task.reason == reason]
            n_back = sum(task.restarts > 0 for task in those)
            back = f" ({n_back} requeued)" if n_back else ""
            lines.append(f"SLURM: {_count(len(those))} queued{back}: {REASONS.get(reason, reason)}")
        if n_ending := len(tasks) - len(running) - len(waiting):
            lines.append(f"SLURM: {_count(n_ending)} ending")
        if tasks:
            arrays = sorted({task.id.partition("_")[0] for task in tasks}, key=int)
            lines.append(f"scancel {' '.join(arrays)} saves and ends them")
        return lines

    def _failures(self, present: set[str]) -> list[str]:
        """Tasks of the newest array that ended with an error, or without a word."""
        logs = {path.stem: path for path in (self._folder / FOLDER).glob("*_*.out")}
        newest = max((int(name.partition("_")[0]) for name in logs), default=0)
        lines = []
        for name, log in sorted(logs.items()):
            if int(name.partition("_")[0]) != newest or name in present:
                continue
            lines_of_log = log.read_text(encoding="utf-8", errors="replace").splitlines()
            said = [line for line in lines_of_log if not line.startswith("slurmstepd")]
            *before, last = ["", *said]
            status = re.fullmatch(r"the task ended with status (\d+)", last)
            if status is None:
                lines.append(f"task {name} did not come to its end; last line of {log}: {last}")
            elif int(status[1]) == TIME_OVER:
                lines.append(f"task {name} saved at its time limit and is not queued any more")
            elif int(status[1]) not in (0, CANCELLED):
                lines.append(f"task {name} ended with status {status[1]}: {before[-1]} ({log})")
        return lines


def _count(n_tasks: int) -> str:
    return "1 task" if n_tasks == 1 else f"{n_tasks} tasks"


def _needs(kind: str) -> str:
    nodes, devices = map(int, kind.split("x"))
    return f"{devices} device{'s' * (devices > 1)}" + (f" on each of {nodes} nodes" if nodes > 1 else "")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InputError(f"sbatch: {text!r} is no line of options ({error})") from error


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    except FileNotFoundError as error:
        raise InputError(
            f"{command[0]} is not installed here; --engine slurm runs on a login node of a SLURM cluster"
        ) from error
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {ANSWER_S:.0f} s")


def _patiently(command: Sequence[str], note: Callable[[str], None]) -> str:
    """What a command prints that changes nothing; it is asked again while SLURM does not answer.

    Raises:
        InputError: SLURM never answers.
    """
    end_s, wait_s = time.monotonic() + PATIENCE_S, 0.2
    while (done := _run(command)).returncode:
        if time.monotonic() + wait_s > end_s:
            raise InputError(f"{command[0]} does not answer ({_reason(done)}); run the same command later")
        if wait_s == 0.2:
            note(f"{command[0]} does not answer ({_reason(done)}); asking again")
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, 10.0)
    return done.stdout


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """What SLURM says is wrong, in one line."""
    lines = [line.partition("error: ")[2] or line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit status {done.returncode}"
