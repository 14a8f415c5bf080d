"""What a sweep shows: the plan before it is trained, and its progress while it is."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scaling_laws.models.memory import Memory
from scaling_laws.records import MAIN_CORPUS
from scaling_laws.sweeps.experiments import Plan, Trunk
from scaling_laws.sweeps.supervisor import Progress

REFRESH_S = 1.0
LINE_S = 30.0


def plan_table(plan: Plan) -> Table:
    """Every planned run, with what it costs."""
    title = f"{plan.sweep.study}: {len(plan.runs)} runs in {len(plan.trunks)} trainings"
    table = Table(title=title, box=None, padding=(0, 1), title_justify="left", caption_justify="left")
    table.add_column("run", no_wrap=True)
    for column in ("N", "D", "C = 6ND", "batch", "steps", "rate", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    table.caption = (
        "D, batch: tokens. C: FLOPs. memory: on one device. "
        "An indented run is a cooldown branch of the one above."
    )
    for trunk in plan.trunks:
        for run in trunk.runs:
            table.add_row(
                run.name if run is trunk.runs[0] else f"  {run.name}",
                f"{run.N:,}",
                f"{run.D:,}",
                f"{run.C:.2e}",
                f"{run.batch_tokens:,}",
                f"{run.steps:,}",
                f"{run.learning_rate:g}",
                _memory(run.memory),
            )
    return table


def _memory(memory: Memory | None) -> str:
    """`12.3 MB`; `> 12.3 MB` where the activations are not known, `?` where nothing is."""
    if memory is None:
        return "?"
    size, unit = memory.total / 1e6, "MB"
    if size >= 1000:
        size, unit = size / 1000, "GB"
    return f"{'> ' if memory.activations is None else ''}{size:.3g} {unit}"


@contextmanager
def view(console: Console) -> Iterator[LiveView | LogView]:
    """A live table on a terminal; a line now and then elsewhere."""
    if not console.is_terminal:
        yield LogView(console)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield LiveView(live)


class LiveView:
    """Redraws one table: a line a running trunk, and a bar for the whole."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._drawn_s = 0.0
        self._share_at_start: float | None = None

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self._drawn_s < REFRESH_S:
            return
        self._drawn_s = time.monotonic()
        share = _share_done(progress)
        if self._share_at_start is None:
            self._share_at_start = share
        running = Table(box=None, padding=(0, 2))
        for column in ("training", "tokens", "loss (nats)", "tokens/s"):
            running.add_column(column, justify="left" if column == "training" else "right")
        for trunk in progress.running.values():
            row = _last_row(progress.plan.folder, trunk)
            running.add_row(trunk.name, row["tokens"], row["loss"], row["tokens_per_s"])
        recent = list(progress.done.values())[progress.found_done :][-5:]
        losses = "   ".join(
            f"{record.name} {record.losses[MAIN_CORPUS]['loss_nats']:.3f}"
            for record in recent
            if MAIN_CORPUS in record.losses
        )
        self._live.update(
            Group(
                Text(_summary(progress, share, self._share_at_start), style="bold"),
                ProgressBar(total=1.0, completed=share, width=60),
                running,
                Text(f"latest: {losses}" if losses else ""),
            )
        )


class LogView:
    """Prints a line for every finished run, and one for the whole every half minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: set[str] = set()
        self._printed_s = time.monotonic()
        self._share_at_start: float | None = None

    def __call__(self, progress: Progress) -> None:
        if self._share_at_start is None:
            self._share_at_start = _share_done(progress)
            self._printed = set(list(progress.done)[: progress.found_done])
        for name, record in progress.done.items():
            if name not in self._printed:
                self._printed.add(name)
                loss = record.losses.get(MAIN_CORPUS)
                outcome = f"loss {loss['loss_nats']:.4f}" if loss else f"{record.status}: {record.reason}"
                self._console.print(f"{name}  {outcome}", highlight=False, soft_wrap=True)
        if time.monotonic() - self._printed_s >= LINE_S:
            self._printed_s = time.monotonic()
            summary = _summary(progress, _share_done(progress), self._share_at_start)
            self._console.print(summary, highlight=False, soft_wrap=True)


def _summary(progress: Progress, share: float, share_at_start: float) -> str:
    """`12 of 46 runs done, 2 trainings running, 34 left; 3:10 so far, about 8:20 to go`."""
    n_runs, n_done = len(progress.plan.runs), len(progress.done)
    elapsed_s = time.monotonic() - progress.start_s
    gained = share - share_at_start
    left = (
        f"about {_clock(elapsed_s * (1 - share) / gained)} to go"
        if gained > 0.01
        else "time to go not known yet"
    )
    failed = f", {len(progress.failed)} trainings failed" if progress.failed else ""
    return (
        f"{n_done} of {n_runs} runs done, {len(progress.running)} trainings running{failed}, "
        f"{n_runs - n_done} runs left; {_clock(elapsed_s)} so far, {left}"
    )


def _share_done(progress: Progress) -> float:
    """Share of the sweep's expected time that is behind us, unfinished trunks included."""
    total = sum(trunk.expected_s for trunk in progress.plan.trunks)
    return sum(trunk.expected_s * _trunk_share(progress, trunk) for trunk in progress.plan.trunks) / total


def _trunk_share(progress: Progress, trunk: Trunk) -> float:
    whole = sum(run.trained_tokens for run in trunk.runs)
    behind = sum(progress.done[run.name].trained_tokens for run in trunk.runs if run.name in progress.done)
    if trunk.name in progress.running and trunk.name not in progress.done:
        behind += int(_last_row(progress.plan.folder, trunk)["tokens"].replace(",", "") or 0)
    return min(1.0, behind / whole)


def _last_row(folder: Path, trunk: Trunk) -> dict[str, str]:
    """The newest row of the curve that the trunk's process is writing."""
    empty = {"tokens": "0", "loss": "", "tokens_per_s": ""}
    curves = [folder / run.name / "curve.csv" for run in trunk.runs]
    curves = [path for path in curves if path.is_file() and not (path.parent / "record.json").exists()]
    if not curves:
        return empty
    with open(curves[0], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or None in rows[-1].values():
        return empty
    last = rows[-1]
    return {
        "tokens": f"{int(last['tokens']):,}",
        "loss": f"{float(last['train_loss_nats']):.3f}",
        "tokens_per_s": f"{float(last['tokens_per_s']):,.0f}",
    }


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
