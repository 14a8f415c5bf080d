"""What a sweep has cost: every attempt at every job, failed and killed ones included. No torch.

`scaling-laws sweep FILE --status` prints it: what is done, what runs, what it cost, and what failed.
"""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

from scaling_laws.study.artefacts import read_json_or_none, typed
from scaling_laws.study.bounds import Amount, NotNegative, PositiveCount, Tokens, check_bounds
from scaling_laws.study.conventions import compute_flops, times_reused
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import PLAN_FILE, read_record, write_atomically
from scaling_laws.sweeps.plan.experiments import Plan
from scaling_laws.sweeps.run import attempts, lease
from scaling_laws.sweeps.run.attempts import Attempt, Part, Place
from scaling_laws.sweeps.run.curve_tail import last_row, reached_step

LEDGER_FILE = "ledger.csv"
RUNNING = "running"
LOST = (attempts.FAILED, attempts.OUT_OF_MEMORY, attempts.KILLED)
LISTED = 20
"""Trainings named one by one; more are counted."""


@dataclass(frozen=True, kw_only=True)
class PlannedPart:
    """What the ledger must know of a planned run: a row of `plan.json`."""

    name: str
    trunk: str
    steps: Amount
    batch_tokens: Tokens
    trained_tokens: Amount
    C: NotNegative
    D: Tokens
    devices: PositiveCount

    def __post_init__(self) -> None:
        """Raises InputError: read from `plan.json`, a number is none of a plan."""
        check_bounds(self)

    @property
    def part(self) -> Part:
        """What an attempt at it trains."""
        return Part(
            run=self.name,
            first_step=self.steps - self.trained_tokens // self.batch_tokens,
            last_step=self.steps,
        )


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """One attempt; `ledger.csv` has these columns."""

    job: str
    attempt: int
    """From 1."""
    outcome: str
    """done, failed, out_of_memory, interrupted, killed or running."""
    reason: str
    host: str
    pid: int
    started: str
    """UTC, ISO 8601."""
    elapsed_s: float
    """Of an attempt that was killed: up to its last sign of life."""
    devices: int
    device_s: float
    """elapsed_s times devices: core-seconds on the processor."""
    tokens: int
    """That it trained, whether or not they were saved."""
    C: float
    """6 N tokens, FLOPs."""
    split: int
    """Factor by which the batch was split into more micro-batches than planned."""


@dataclass(frozen=True, kw_only=True)
class JobLedger:
    """What became of a job."""

    name: str
    n_runs: int
    n_done: int
    is_running: bool
    set_aside: str | None
    rows: tuple[LedgerRow, ...]


def parts_of(plan: Plan) -> list[PlannedPart]:
    """The runs of a plan."""
    return [
        _part(vars(run) | {"trunk": job.name, "devices": job.devices})
        for job in plan.jobs
        for run in job.runs
    ]


def planned_parts(folder: Path) -> list[PlannedPart] | None:
    """The runs of a study's `plan.json`; None where there is none.

    Raises:
        InputError: it cannot be read, or is none; one line that names the field.
    """
    path, remedy = folder / PLAN_FILE, "delete it, and the next sweep writes it again"
    content = read_json_or_none(path, kind="plan", remedy=remedy)
    if content is None:
        return None
    return typed(content.get("runs"), list[PlannedPart], path, "runs", remedy=remedy)


def _part(run: Mapping[str, Any]) -> PlannedPart:
    return PlannedPart(**{field.name: run[field.name] for field in fields(PlannedPart)})


def job_ledgers(folder: Path, parts: Iterable[PlannedPart]) -> Iterator[JobLedger]:
    """The ledger of every job below a study's folder, in the plan's order.

    Last come those that were planned before the study was extended or changed, of no run.
    """
    parts = list(parts)
    jobs: dict[str, list[PlannedPart]] = {}
    for part in parts:
        jobs.setdefault(part.trunk, []).append(part)
    for name, runs in jobs.items():
        done = [run for run in runs if (folder / run.name / "record.json").exists()]
        is_running = len(done) < len(runs) and lease.is_held(folder / name)
        history = attempts.read(folder / name)
        rows = [
            _row(folder, runs, number, attempt, later, is_running)
            for number, (attempt, later) in enumerate(
                zip_longest(history.attempts, history.attempts[1:]), start=1
            )
        ]
        finished = len(done) == len(runs)
        yield JobLedger(
            name=name,
            n_runs=len(runs),
            n_done=len(done),
            is_running=is_running,
            set_aside=None if finished else history.set_aside(),
            rows=tuple(rows),
        )
    known = {part.name: part for part in parts}
    for path in sorted(folder.glob(f"*/{attempts.FILE}")):
        name = path.parent.name
        run = None if name in jobs else _part_of_record(path.parent) or known.get(name)
        if run is not None:
            yield _formerly_planned(folder, replace(run, trunk=name))


def _formerly_planned(folder: Path, run: PlannedPart) -> JobLedger:
    """A job that the plan does not have any more: its longest run is a branch of a longer one now, say."""
    is_running = not (folder / run.name / "record.json").exists() and lease.is_held(folder / run.name)
    history = attempts.read(folder / run.name)
    rows = [
        _row(folder, [run], number, attempt, later, is_running)
        for number, (attempt, later) in enumerate(
            zip_longest(history.attempts, history.attempts[1:]), start=1
        )
    ]
    return JobLedger(
        name=run.name, n_runs=0, n_done=0, is_running=is_running, set_aside=None, rows=tuple(rows)
    )


def _part_of_record(folder: Path) -> PlannedPart | None:
    """A finished run by its record; None where there is none that can be read."""
    try:
        record = read_record(folder / "record.json")
    except (InputError, OSError):
        return None
    counted = compute_flops(
        record.parameters, record.flops_per_token, record.tokens, times_reused(record.shape)
    )
    return PlannedPart(
        name=folder.name,
        trunk=record.trunk,
        steps=record.steps,
        batch_tokens=record.batch_tokens,
        trained_tokens=record.trained_tokens,
        C=counted["C"],
        D=record.tokens,
        devices=record.devices,
    )


def write_ledger(plan: Plan) -> None:
    """Write `ledger.csv` into the study's folder: one row an attempt.

    Raises:
        InputError: the disk is full, or the folder cannot be written to.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(LedgerRow)], lineterminator="\n")
    writer.writeheader()
    for job in job_ledgers(plan.folder, parts_of(plan)):
        writer.writerows(asdict(row) for row in job.rows)
    write_atomically(plan.folder / LEDGER_FILE, text.getvalue())


def _row(
    folder: Path,
    runs: Sequence[PlannedPart],
    number: int,
    attempt: Attempt,
    later: Attempt | None,
    is_running: bool,
) -> LedgerRow:
    end, elapsed_s, outcome = attempt.end, attempt.elapsed_s, attempt.outcome
    if outcome is None:
        outcome = RUNNING if is_running and later is None else attempts.KILLED
    if end is None:
        end = _reached(folder, runs) if later is None else later.start
    if elapsed_s is None:
        last_sign_s = time.time() if outcome == RUNNING else _last_sign_s(folder, runs)
        elapsed_s = max(0.0, last_sign_s - attempt.start_s)
    if attempt.parts:
        finished = end.records - attempt.start.records
        steps = _steps(attempt.parts, finished, end.step) - _steps(attempt.parts, 0, attempt.start.step)
    else:
        parts = [run.part for run in runs]
        steps = _steps(parts, end.records, end.step) - _steps(
            parts, attempt.start.records, attempt.start.step
        )
    tokens = max(0, steps) * runs[0].batch_tokens
    devices = runs[0].devices
    return LedgerRow(
        job=runs[0].trunk,
        attempt=number,
        outcome=outcome,
        reason=attempt.reason,
        host=attempt.host,
        pid=attempt.pid,
        started=datetime.fromtimestamp(attempt.start_s, UTC).isoformat(timespec="seconds"),
        elapsed_s=round(elapsed_s, 3),
        devices=devices,
        device_s=round(elapsed_s * devices, 3),
        tokens=tokens,
        C=float(f"{runs[0].C / runs[0].D * tokens:.6g}"),
        split=attempt.split,
    )


def _steps(parts: Sequence[Part], n_finished: int, step: int) -> int:
    """Steps trained of these runs when so many are finished, and the next one is at `step`."""
    done = sum(part.last_step - part.first_step for part in parts[:n_finished])
    return done + sum(max(0, step - part.first_step) for part in parts[n_finished : n_finished + 1])


def _reached(folder: Path, runs: Sequence[PlannedPart]) -> Place:
    left = [run for run in runs if not (folder / run.name / "record.json").exists()]
    step = reached_step(last_row(folder / left[0].name)) if left else 0
    return Place(records=len(runs) - len(left), step=step)


def _last_sign_s(folder: Path, runs: Sequence[PlannedPart]) -> float:
    """When anything of a job was last written (seconds since 1970)."""
    paths = [folder / runs[0].trunk / lease.OWNER_FILE, *(folder / run.name / "curve.csv" for run in runs)]
    return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)


def ledger_of(folder: Path, plan: Plan | None = None) -> list[JobLedger]:
    """The ledger of a study's folder, by the plan or, without one, by its `plan.json`.

    Raises:
        InputError: the folder holds no plan.
    """
    parts = parts_of(plan) if plan else planned_parts(folder)
    if parts is None:
        raise InputError(f"{folder / PLAN_FILE}: no plan to be read; a sweep writes it when it begins")
    return list(job_ledgers(folder, parts))


def status_text(study: str, jobs: Sequence[JobLedger]) -> str:
    """The ledger of a study in a few lines."""
    n_runs, n_done = sum(job.n_runs for job in jobs), sum(job.n_done for job in jobs)
    rows = [row for job in jobs for row in job.rows]
    before = [row for job in jobs if not job.n_runs for row in job.rows]
    jobs = [job for job in jobs if job.n_runs or job.is_running]
    finished = [job for job in jobs if job.n_done == job.n_runs]
    running = [job for job in jobs if job.is_running]
    aside = [job for job in jobs if job.set_aside and not job.is_running]
    n_waiting = len(jobs) - len(finished) - len(running) - len(aside)
    lost = [row for row in rows if row.outcome in LOST]
    lines = [
        f"study {study}: {n_done} of {n_runs} runs done",
        f"jobs: {len(jobs)} planned, {len(finished)} done, {len(running)} running, "
        f"{n_waiting} waiting, {len(aside)} set aside",
        f"attempts: {len(rows)}{_outcomes(rows)}",
        f"spent: {_spent(rows)}",
        f"  of it by attempts that failed or were killed: {_spent(lost)}",
    ]
    if before:
        lines.append(f"  of it by jobs that the plan had before it was changed: {_spent(before)}")
    lines += _named("running", [_running(job) for job in running])
    lines += _named(
        "set aside (--retry-failed tries them again)",
        [f"{job.name}: {job.set_aside}" for job in aside],
    )
    lines += _named("failed, and tried again", [_failed(job) for job in jobs if _has_failed(job)])
    return "\n".join(lines)


def _outcomes(rows: Sequence[LedgerRow]) -> str:
    counts = Counter(row.outcome for row in rows)
    return f" ({', '.join(f'{n} {outcome}' for outcome, n in sorted(counts.items()))})" if rows else ""


def _spent(rows: Sequence[LedgerRow]) -> str:
    seconds = sum(row.device_s for row in rows)
    return (
        f"{seconds:,.0f} device-seconds ({timedelta(seconds=round(seconds))}), "
        f"{sum(row.C for row in rows):.3g} FLOPs (6ND)"
    )


def _running(job: JobLedger) -> str:
    if not job.rows or job.rows[-1].outcome != RUNNING:
        return job.name
    row = job.rows[-1]
    return f"{job.name}: on {row.host}, process {row.pid}, for {timedelta(seconds=round(row.elapsed_s))}"


def _has_failed(job: JobLedger) -> bool:
    return job.set_aside is None and any(row.outcome in LOST and row.reason for row in job.rows)


def _failed(job: JobLedger) -> str:
    lost = [row for row in job.rows if row.outcome in LOST]
    return f"{job.name}: {len(lost)} attempts lost, last: {lost[-1].reason}"


def _named(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return [f"{title}:", *(f"  {line}" for line in lines[:LISTED]), *more]
