"""How far a sweep has come, and what shows it: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scaling_laws.study.names import printable
from scaling_laws.study.records import MAIN_CORPUS, RunRecord, loss_column
from scaling_laws.sweeps.plan.experiments import Job, Plan, PlannedRun
from scaling_laws.sweeps.run.curve_tail import last_row, reached_step

REFRESH_S = 1.0
LINE_S = 30.0


@dataclass(kw_only=True)
class Running:
    """A job that runs."""

    job: Job
    start_s: float = field(default_factory=time.monotonic)
    share_at_start: float | None = None
    """How much of it an attempt before had trained, once a view has looked."""


@dataclass(kw_only=True)
class Progress:
    """Changed in place by `loop.run_jobs` and its source."""

    folder: Path
    """The study's folder."""
    n_runs: int
    """In all."""
    expected_s: float
    """Of all of them, on one device."""
    corpus: str = MAIN_CORPUS
    """Whose losses are shown."""
    start_s: float = field(default_factory=time.monotonic)
    running: dict[str, Running] = field(default_factory=dict)
    """This sweep's jobs by name."""
    done: dict[str, RunRecord] = field(default_factory=dict)
    """Records of finished runs by name, in the order in which they were seen."""
    seen: list[RunRecord] = field(default_factory=list)
    """The same, in that order."""
    failed: dict[str, str] = field(default_factory=dict)
    """Jobs set aside, and why."""
    n_found_done: int = 0
    """Runs that had a record before this sweep began."""
    expected_done_s: float = 0.0
    """Of the finished runs, the seconds that they were expected to take."""
    notes: list[str] = field(default_factory=list)
    """What a user should know, a line each."""

    def add(self, run: PlannedRun, record: RunRecord) -> None:
        """Count a run as finished."""
        self.done[run.name] = record
        self.seen.append(record)
        self.expected_done_s += run.expected_s


def progress_of(plan: Plan) -> Progress:
    """Of a plan of which nothing is known yet."""
    expected_s = sum(run.expected_s for run in plan.runs)
    return Progress(folder=plan.folder, n_runs=len(plan.runs), expected_s=expected_s)


@contextmanager
def view(console: Console, *, quiet: bool = False) -> Iterator[LiveView | LogView | QuietView]:
    """A live table on a terminal; a line now and then elsewhere; when quiet, nothing but what went wrong."""
    if quiet:
        yield QuietView()
        return
    if not console.is_terminal:
        yield LogView(console)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield LiveView(live)


class QuietView:
    """Says on standard error what a user should know, and nothing else."""

    def __init__(self) -> None:
        self._n_noted = 0

    def __call__(self, progress: Progress) -> None:
        for note in progress.notes[self._n_noted :]:
            print(printable(note), file=sys.stderr, flush=True)
        self._n_noted = len(progress.notes)


class LiveView:
    """Redraws one table: a line a worker with its bar, and a bar for the whole."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._drawn_s = 0.0
        self._n_noted = 0
        self._share_at_start: float | None = None
        self._n_at_start = 0

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self._drawn_s < REFRESH_S:
            return
        self._drawn_s = time.monotonic()
        for note in progress.notes[self._n_noted :]:
            self._live.console.print(printable(note), highlight=False, markup=False)
        self._n_noted = len(progress.notes)
        rows = {name: _RunningRow.read(progress, running) for name, running in progress.running.items()}
        share = _share_done(progress, rows)
        if self._share_at_start is None:
            self._share_at_start, self._n_at_start = share, len(progress.seen)
        table = Table(box=None, padding=(0, 2))
        for column in (
            "job",
            "",
            "time",
            "of about",
            "tokens",
            "loss (nats)",
            f"{progress.corpus} loss",
            "tokens/s",
        ):
            table.add_column(column, justify="left" if column in ("job", "") else "right", no_wrap=True)
        for name, row in rows.items():
            table.add_row(
                name,
                ProgressBar(total=1.0, completed=row.share, width=20),
                clock(row.elapsed_s),
                clock(row.expected_s),
                row.tokens,
                row.loss,
                row.held_out_loss,
                row.tokens_per_s,
            )
        losses = "   ".join(
            f"{record.name} {record.losses[progress.corpus]['loss_nats']:.3f}"
            for record in progress.seen[self._n_at_start :][-5:]
            if progress.corpus in record.losses
        )
        self._live.update(
            Group(
                Text(_summary(progress, share, self._share_at_start), style="bold"),
                ProgressBar(total=1.0, completed=share, width=60),
                table,
                Text(f"latest: {losses}" if losses else ""),
            )
        )


class LogView:
    """Prints a line for every finished run, and one for the whole every half minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed_s = time.monotonic()
        self._share_at_start: float | None = None
        self._n_printed = self._n_noted = 0

    def __call__(self, progress: Progress) -> None:
        if self._share_at_start is None:
            self._share_at_start = _share_done(progress, {})
            self._n_printed = progress.n_found_done
        for note in progress.notes[self._n_noted :]:
            self._print(note)
        self._n_noted = len(progress.notes)
        for record in progress.seen[self._n_printed :]:
            loss = record.losses.get(progress.corpus)
            outcome = f"loss {loss['loss_nats']:.4f}" if loss else f"{record.status}: {record.reason}"
            self._print(f"{record.name}  {outcome}")
        self._n_printed = len(progress.seen)
        if time.monotonic() - self._printed_s >= LINE_S:
            self._printed_s = time.monotonic()
            rows = {name: _RunningRow.read(progress, running) for name, running in progress.running.items()}
            self._print(_summary(progress, _share_done(progress, rows), self._share_at_start))

    def _print(self, line: str) -> None:
        self._console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class _RunningRow:
    """What is known of a job from the outside."""

    share: float
    """Of the tokens that its job trains."""
    elapsed_s: float
    expected_s: float
    """In all, by its own speed once that is known."""
    tokens: str = ""
    loss: str = ""
    held_out_loss: str = ""
    tokens_per_s: str = ""

    @classmethod
    def read(cls, progress: Progress, running: Running) -> _RunningRow:
        job, elapsed_s = running.job, time.monotonic() - running.start_s
        left = [run for run in job.runs if run.name not in progress.done]
        row = last_row(progress.folder / left[0].name) if left else None
        behind = sum(run.trained_tokens for run in job.runs if run.name in progress.done)
        if row is not None:
            own_start = left[0].steps - left[0].trained_tokens // left[0].batch_tokens
            behind += max(0, reached_step(row) - own_start) * left[0].batch_tokens
        share = min(1.0, behind / sum(run.trained_tokens for run in job.runs))
        if running.share_at_start is None:
            running.share_at_start = share
        gained = share - running.share_at_start
        expected_s = job.expected_s
        if gained > 0.02:
            expected_s = elapsed_s + elapsed_s * (1 - share) / gained
        if row is None:
            return cls(share=share, elapsed_s=elapsed_s, expected_s=expected_s)
        return cls(
            share=share,
            elapsed_s=elapsed_s,
            expected_s=expected_s,
            tokens=_number(row.get("tokens"), ",.0f"),
            loss=_number(row.get("train_loss_nats"), ".3f"),
            held_out_loss=_number(row.get(loss_column(progress.corpus)), ".3f"),
            tokens_per_s=_number(row.get("tokens_per_s"), ",.0f"),
        )


def _number(text: str | None, form: str) -> str:
    try:
        return format(float(text), form) if text else ""
    except ValueError:
        return ""


def _summary(progress: Progress, share: float, share_at_start: float) -> str:
    """`12 of 46 runs done, 2 jobs running, 34 left; 3:10 so far, about 8:20 to go`."""
    n_runs, n_done = progress.n_runs, len(progress.done)
    elapsed_s = time.monotonic() - progress.start_s
    gained = share - share_at_start
    left = (
        f"about {clock(elapsed_s * (1 - share) / gained)} to go"
        if gained > 0.01
        else "time to go not known yet"
    )
    failed = f", {len(progress.failed)} jobs set aside" if progress.failed else ""
    return (
        f"{n_done} of {n_runs} runs done, {len(progress.running)} jobs running{failed}, "
        f"{n_runs - n_done} runs left; {clock(elapsed_s)} so far, {left}"
    )


def _share_done(progress: Progress, rows: Mapping[str, _RunningRow]) -> float:
    """Share of the sweep's expected time that is behind us, unfinished jobs included."""
    behind_s = progress.expected_done_s
    for name, row in rows.items():
        job = progress.running[name].job
        finished_s = sum(run.expected_s for run in job.runs if run.name in progress.done)
        behind_s += max(0.0, job.expected_s * row.share - finished_s)
    return min(1.0, behind_s / progress.expected_s)


def clock(seconds: float) -> str:
    """`1:02:03`."""
    return str(timedelta(seconds=round(seconds)))
