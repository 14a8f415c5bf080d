"""What SLURM says of a study's tasks: what runs, what waits and why, what ended as it should not.

SLURM answers late at times, or not at all: what changes nothing is asked again for a minute.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scaling_laws.study.errors import InputError

ANSWER_S = PATIENCE_S = 60.0
"""That one question may take; and that SLURM is asked again where it does not answer."""
TIME_OVER, CANCELLED = 138, 143
"""How a task ends: 128 and the number of the signal."""
REASONS = {
    "None": "about to start",
    "BeginTime": "SLURM waits two minutes before it starts a task again (BeginTime)",
    "PartitionConfig": "no node of the partition can ever hold it (PartitionConfig); change --sbatch",
    "Priority": "others come first (Priority)",
    "Resources": "no node is free (Resources)",
}


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


def tasks_of(study_name: str, note: Callable[[str], None]) -> list[Task]:
    """What SLURM has of a study, queued or running, whoever submitted it.

    Args:
        study_name: how the names of its tasks begin.
        note: gets a line where SLURM does not answer at once.

    Raises:
        InputError: SLURM does not answer.
    """
    fields = ("JobArrayID", "Name", "State", "Reason", "RestartCnt", "NodeList")
    query = ["squeue", "--me", "--noheader", "--array", "-O", ",".join(f"{field}:|" for field in fields)]
    tasks = []
    for line in _patiently(query, note).splitlines():
        job, name, state, reason, restarts, node, *_ = line.split("|")
        study, _, kind = name.rpartition("-")
        if study == study_name:
            task = Task(id=job, kind=kind, state=state, reason=reason, restarts=int(restarts or 0), node=node)
            tasks.append(task)
    return tasks


def task_lines(tasks: Sequence[Task]) -> list[str]:
    """What runs where, and what waits for what."""
    running = [task for task in tasks if task.state == "RUNNING"]
    waiting = [task for task in tasks if task.state == "PENDING"]
    lines = []
    if running:
        nodes = ", ".join(sorted({task.node for task in running}))
        lines.append(f"SLURM: {count_of(len(running))} running on {nodes}")
    for reason in sorted({task.reason for task in waiting}):
        those = [task for task in waiting if task.reason == reason]
        n_back = sum(task.restarts > 0 for task in those)
        back = f" ({n_back} requeued)" if n_back else ""
        lines.append(f"SLURM: {count_of(len(those))} queued{back}: {REASONS.get(reason, reason)}")
    if n_ending := len(tasks) - len(running) - len(waiting):
        lines.append(f"SLURM: {count_of(n_ending)} ending")
    if tasks:
        arrays = sorted({task.id.partition("_")[0] for task in tasks}, key=int)
        lines.append(f"scancel {' '.join(arrays)} saves and ends them")
    return lines


def failure_lines(outputs: Path, present: set[str]) -> list[str]:
    """Tasks of the newest array that ended with an error, or without a word.

    Args:
        outputs: the folder of what tasks print.
        present: tasks that have not ended.
    """
    logs = {path.stem: path for path in outputs.glob("*_*.out")}
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
            lines.append(f"task {name} did not finish; last line of {log}: {last}")
        elif int(status[1]) == TIME_OVER:
            lines.append(f"task {name} saved at its time limit and is not queued any more")
        elif int(status[1]) not in (0, CANCELLED):
            lines.append(f"task {name} ended with status {status[1]}: {before[-1]} ({log})")
    return lines


def count_of(n_tasks: int) -> str:
    """`1 task`, `2 tasks`."""
    return "1 task" if n_tasks == 1 else f"{n_tasks} tasks"


def run_command(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A command of SLURM's; one that does not answer in time has failed.

    Raises:
        InputError: it is not installed.
    """
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
    while (done := run_command(command)).returncode:
        if time.monotonic() + wait_s > end_s:
            raise InputError(f"{command[0]} does not answer ({reason_of(done)}); run the same command later")
        if wait_s == 0.2:
            note(f"{command[0]} does not answer ({reason_of(done)}); asking again")
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, 10.0)
    return done.stdout


def reason_of(done: subprocess.CompletedProcess[str]) -> str:
    """What SLURM says is wrong, in one line."""
    lines = [line.partition("error: ")[2] or line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit status {done.returncode}"
