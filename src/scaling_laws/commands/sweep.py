"""`scaling-laws sweep`, and the part of `study` that trains."""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import TimeIsUp
from scaling_laws.study.names import terminal

if TYPE_CHECKING:
    from scaling_laws.study.records import RunRecord
    from scaling_laws.sweeps.plan.experiments import Plan
    from scaling_laws.sweeps.plan.sweep_file import Sweep
    from scaling_laws.sweeps.run.engines import Engine

ENGINE_OPTIONS = ("sbatch", "setup", "max_jobs", "address")
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """What `study` and `sweep` take."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a file, or a name in configs/sweeps/ or configs/papers/"
    )
    add_training_arguments(parser)


def add_training_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """What every verb takes that trains networks."""
    parser.add_argument(
        "--workers",
        type=int,
        help="jobs at a time on one machine (default: one per core, or one per GPU if the sweep uses GPUs)",
    )
    parser.add_argument(
        "--engine", default="local", metavar="NAME", help="where jobs run (default: local, this machine)"
    )
    parser.add_argument(
        "--sbatch",
        metavar="OPTIONS",
        help='for --engine slurm: "--partition=gpu --account=me --time=4:00:00"',
    )
    parser.add_argument(
        "--setup",
        metavar="LINES",
        help='for --engine slurm: shell lines before the command: "module load cuda"',
    )
    parser.add_argument(
        "--address", help="for --engine ray: the cluster (default: RAY_ADDRESS, or this machine's)"
    )
    parser.add_argument(
        "--max-jobs", type=int, metavar="N", help="for --engine slurm and ray: tasks at a time"
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="KIND",
        help="take only jobs of this kind: 2x4 is two nodes of four devices",
    )
    parser.add_argument(
        "--leave-when-idle",
        action="store_true",
        help="end when other processes train all that is left, instead of waiting to take it over",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="for a search only: its Optuna storage (default: SQLite in the study's folder)",
    )
    parser.add_argument("--quiet", action="store_true", help="print errors and the last line only")
    parser.add_argument(
        "--retry-failed", action="store_true", help="try again what was set aside after failing too often"
    )
    parser.add_argument(
        "--stop-after",
        type=deadline,
        default=math.inf,
        dest="stop_at_s",
        metavar="TIME",
        help="save and end after 30s, 8m or 2h; the same command goes on",
    )
    parser.add_argument(
        "--scale",
        metavar="NAME",
        help="another file of configs/scales/ (smoke, cpu, gpu), in a study folder of its own: STUDY-NAME",
    )
    parser.add_argument(
        "--budget", metavar="AMOUNT", help='another budget: "30 core-minutes", "2 GPU-hours", "1e18 FLOPs"'
    )
    parser.add_argument("--logs", type=Path, default=Path("lightning_logs"), help="folder of all studies")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of all corpora")


def deadline(text: str) -> float:
    """`30s`, `8m`, `2h` from now, by `time.monotonic()`: planning counts, too.

    Raises:
        argparse.ArgumentTypeError: it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write 30s, 8m or 2h")
    return time.monotonic() + float(found[1]) * SECONDS[found[2]]


def add_sweep_arguments(parser: argparse.ArgumentParser) -> None:
    """What `sweep` takes."""
    add_study_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="print every planned run and train nothing")
    parser.add_argument(
        "--power",
        action="store_true",
        help="with --dry-run: how sure the laws would be, from 100 simulated studies of this plan (a minute)",
    )
    parser.add_argument(
        "--truth",
        metavar="FORM",
        help="for --power: the law that simulated losses follow: kaplan_nd (default), chinchilla, ..., a "
        "laws.json, or FILE:FORM",
    )
    parser.add_argument(
        "--status", action="store_true", help="print what is done, what runs, what it cost and what failed"
    )


def sweep(options: argparse.Namespace) -> None:
    """Preview a sweep, say how far it is, or train it."""
    if (options.power and not options.dry_run) or (options.truth and not options.power):
        raise InputError("--power belongs to --dry-run, and --truth to --power")
    if options.status:
        print(_status(options))
        return
    plan = plan_of(options, timed=options.dry_run, trains=not options.dry_run)
    if plan.sweep.search is not None:
        from scaling_laws.commands.shape import shape_study

        refuse(shape_study(plan, options, _engine(plan, options), train))
        return
    if options.dry_run:
        _print_plan(plan, options)
        return
    failed = train(plan, options)
    print(f"runs: {plan.folder}; next: scaling-laws report {plan.folder}")
    refuse(failed)


def plan_of(options: argparse.Namespace, *, timed: bool = False, trains: bool = True) -> Plan:
    """What the options ask for.

    Args:
        timed: whether to measure how fast this machine is, for the expected times.
        trains: whether trainings will follow, here: Lightning is then imported while the plan is made.
    """
    from scaling_laws.sweeps.plan.planning import plan_study
    from scaling_laws.sweeps.plan.reading import load_sweep, study_folder_name
    from scaling_laws.sweeps.run.forks import clean_processes

    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers is {options.workers}; it must be 1 or more")
    sweep = load_sweep(options.file, scale=options.scale, budget=options.budget)
    if trains and options.engine == "local":
        clean_processes()
    return plan_study(
        sweep,
        logs=options.logs,
        data=options.data,
        timed=timed,
        folder_name=study_folder_name(sweep, options.file, options.scale),
    )


def _status(options: argparse.Namespace) -> str:
    """The ledger of the study, by the plan in its folder: no torch, whatever the networks."""
    from scaling_laws.sweeps.plan.reading import load_sweep, study_folder_name
    from scaling_laws.sweeps.run.ledger import ledger_of, planned_parts, status_text

    sweep = load_sweep(options.file, scale=options.scale, budget=options.budget)
    folder = options.logs / study_folder_name(sweep, options.file, options.scale)
    plan = None
    if sweep.search is not None and not planned_parts(folder):
        from scaling_laws.sweeps.search.trials import with_trials

        plan = with_trials(plan_of(options, trains=False))
    text = status_text(folder.name, ledger_of(folder, plan))
    return "\n".join([text, *_engine_status(sweep, folder, options)])


def _engine_status(sweep: Sweep, folder: Path, options: argparse.Namespace) -> list[str]:
    """What the engine says; SLURM is asked where it has had jobs of this study."""
    from scaling_laws.sweeps.run.engines import EngineContext, make_engine

    submitted = options.engine == "local" and (folder / "slurm").is_dir()
    try:
        engine = make_engine(
            "slurm" if submitted else options.engine,
            EngineContext(
                folder=folder,
                accelerator=str(sweep.trainer_arguments["accelerator"]),
                options=_engine_options(sweep, options),
            ),
        )
        return engine.status()
    except InputError as error:
        return [str(error)]


def _engine_options(sweep: Sweep, options: argparse.Namespace) -> dict[str, Any]:
    """The engine's own: those of the command line over those of the file that the sweep names.

    Raises:
        InputError: the file cannot be read, or an option is unknown, or not of this engine.
    """
    from scaling_laws.sweeps.run.engines import read_options

    given = {name: value for name in ENGINE_OPTIONS if (value := getattr(options, name)) is not None}
    if given and options.engine == "local" and not options.status:
        raise InputError(
            f"--{next(iter(given)).replace('_', '-')} is for --engine slurm or ray; leave it out"
        )
    return {**(read_options(Path(sweep.cluster)) if sweep.cluster else {}), **given}


def _workers(plan: Plan, options: argparse.Namespace) -> int:
    """Jobs of one device at a time."""
    from scaling_laws.sweeps.run.devices import default_workers

    return int(options.workers or default_workers(_accelerator(plan)))


def _accelerator(plan: Plan) -> str:
    return str(plan.experiments[0].trainer_arguments["accelerator"])


def _print_plan(plan: Plan, options: argparse.Namespace) -> None:
    from scaling_laws.commands.screen import show
    from scaling_laws.report.text import Table
    from scaling_laws.sweeps.plan.plan_table import plan_columns_and_rows, totals

    columns, rows = plan_columns_and_rows(plan, timed=True)
    numbers = tuple(place for place, name in enumerate(columns) if name not in ("run", "experiments"))
    show(
        f"{plan.sweep.study}: {len(plan.runs)} runs in {len(plan.jobs)} jobs",
        Table(columns=columns, rows=rows, numbers=numbers),
        *totals(plan, workers=_workers(plan, options), timed=True),
        *_engine(plan, options).preview(plan.jobs),
    )
    if options.power:
        from scaling_laws.study.processes import n_cores
        from scaling_laws.sweeps.plan.power import family_powers

        for each in family_powers(plan, options.truth, processes=n_cores()):
            print(f"\n{each.summary()}", flush=True)


class TimeSpent:
    """Wall seconds of the parts of a study, as they pass."""

    def __init__(self) -> None:
        self.start_s = time.monotonic()
        self.parts_s: dict[str, float] = {}

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """What happens meanwhile is this part."""
        start_s = time.monotonic()
        yield
        self.parts_s[part] = time.monotonic() - start_s

    def text(self, records: Iterable[RunRecord]) -> str:
        """One line of the parts, and one of what all runs took by their records, some maybe days ago."""
        from scaling_laws.sweeps.plan.plan_table import clock

        parts = ", ".join(f"{part} {clock(seconds)}" for part, seconds in self.parts_s.items())
        lines = [f"time: {clock(time.monotonic() - self.start_s)}: {parts}"]
        measured = [(each.elapsed_s, each.evaluation_s) for each in records if each.evaluation_s is not None]
        if measured:
            elapsed_s = sum(run_s for run_s, _ in measured)
            evaluation_s = sum(evaluation_s for _, evaluation_s in measured)
            share = 100 * evaluation_s / elapsed_s if elapsed_s else 0.0
            lines.append(
                f"  {len(measured)} runs, added up: {clock(elapsed_s)}, of which {clock(evaluation_s)} "
                f"({share:.0f} %) on held-out text"
            )
        return "\n".join(lines)


def train(plan: Plan, options: argparse.Namespace, spent: TimeSpent | None = None) -> dict[str, str]:
    """Build the corpus and train what has no record yet; returns the jobs that failed, and why.

    Args:
        spent: notes how long both took.

    Raises:
        TimeIsUp: the time of `--stop-after` is over, and all is saved; or others do the rest.
    """
    from rich.console import Console

    from scaling_laws.data.tokens import build_corpus
    from scaling_laws.sweeps.plan.disk import disk_need, extensions
    from scaling_laws.sweeps.plan.planning import settled
    from scaling_laws.sweeps.run import lease
    from scaling_laws.sweeps.run.loop import run_plan
    from scaling_laws.sweeps.run.progress import view

    if not plan.jobs:
        raise InputError(
            f"{options.file}: is a search, and feeds no law; run scaling-laws sweep {options.file}"
        )
    if options.storage and plan.sweep.search is None:
        print("--storage is ignored: only a search has a database; the study's folders are the queue")
    spent = spent or TimeSpent()
    console = Console(quiet=options.quiet, file=terminal())
    engine = _engine(plan, options)
    with spent.on("corpus"):
        for file, corpus in plan.corpora.items():
            console.print(f"corpus {corpus.name}: {plan.data / corpus.name}", highlight=False)
            build_corpus(corpus, plan.data / corpus.name, file=file)
    plan = settled(plan)
    if not lease.flock_works(plan.folder):
        print(
            f"{plan.folder}: its file system has no locks (flock); jobs are held by the heartbeats of "
            "their .owner files alone; those of a dead machine are taken over after "
            f"{lease.GRACE_S:.0f} s",
            file=sys.stderr,
        )
    console.print(
        f"study {plan.sweep.study}: {len(plan.runs)} runs in {len(plan.jobs)} jobs, in {plan.folder}",
        highlight=False,
        soft_wrap=True,
    )
    for line in extensions(plan):
        console.print(line, highlight=False, soft_wrap=True)
    disk = disk_need(plan, workers=_workers(plan, options))
    if not disk.suffices:
        print(f"{plan.folder}: {disk}; free some space, or keep less (keep: nothing)", file=sys.stderr)
    with spent.on("training"), view(console, quiet=options.quiet) as watch:
        progress = run_plan(
            plan,
            engine,
            watch=watch,
            retry_failed=options.retry_failed,
            leave_when_idle=options.leave_when_idle,
            stop_at_s=options.stop_at_s,
            kind=options.only,
        )
    left = [job for job in plan.jobs if job.name not in progress.failed]
    if not engine.stays and any(run.name not in progress.done for job in left for run in job.runs):
        aside = f", {len(progress.failed)} jobs are set aside" if progress.failed else ""
        raise TimeIsUp(
            f"{len(progress.done)} of {progress.n_runs} runs are done{aside}; "
            "--status says how far the others are"
        )
    return progress.failed


def _engine(plan: Plan, options: argparse.Namespace) -> Engine:
    """Where the plan's jobs run.

    Raises:
        InputError: there is no such engine, or it cannot be used here.
    """
    from scaling_laws.sweeps.run.engines import EngineContext, make_engine

    context = EngineContext(
        folder=plan.folder,
        accelerator=_accelerator(plan),
        workers=options.workers,
        command=_command(options),
        options=_engine_options(plan.sweep, options),
    )
    return make_engine(options.engine, context)


def _command(options: argparse.Namespace) -> tuple[str, ...]:
    """The command that works on the same study, by this very interpreter; an engine adds its own options."""
    given = {
        "--logs": options.logs,
        "--data": options.data,
        "--scale": options.scale,
        "--budget": options.budget,
        "--workers": options.workers,
    }
    more = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    return (sys.executable, "-m", "scaling_laws", "sweep", str(options.file), *more)


def refuse(failed: dict[str, str]) -> None:
    """Say at the very end what is missing."""
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise InputError(
            f"{len(failed)} jobs failed and are set aside ({reasons}); "
            "all others are done and kept; --retry-failed tries them again"
        )
