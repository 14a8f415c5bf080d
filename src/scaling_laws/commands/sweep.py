"""`scaling-laws sweep`, and the part of `study` that trains."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_laws.errors import InputError

if TYPE_CHECKING:
    from scaling_laws.sweeps.experiments import Plan

WIDEST = 1000
"""Columns that no plan needs: on a terminal narrower than the plan its lines wrap, but nothing is cut."""


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """What `study` and `sweep` take."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a file of configs/sweeps/")
    parser.add_argument(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        help="trainings at a time (default: one a core)",
    )
    parser.add_argument(
        "--storage", metavar="URL", help="Optuna storage (default: SQLite in the study's folder)"
    )
    parser.add_argument("--logs", type=Path, default=Path("lightning_logs"), help="folder of all studies")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of all corpora")


def add_sweep_arguments(parser: argparse.ArgumentParser) -> None:
    """What `sweep` takes."""
    add_study_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="print every planned run and train nothing")


def sweep(options: argparse.Namespace) -> None:
    """Preview a sweep, or train it."""
    plan = plan_of(options)
    if options.dry_run:
        _print_plan(plan)
        return
    failed = train(plan, options)
    print(f"runs: {plan.folder}; next: scaling-laws report {plan.folder}")
    refuse(failed)


def plan_of(options: argparse.Namespace) -> Plan:
    """What the options ask for."""
    from scaling_laws.sweeps.experiments import plan
    from scaling_laws.sweeps.sweep_file import load_sweep

    if options.workers < 1:
        raise InputError(f"--workers is {options.workers}; it must be 1 or more")
    return plan(load_sweep(options.file), logs=options.logs, data=options.data)


def _print_plan(plan: Plan) -> None:
    from rich.console import Console
    from rich.measure import Measurement

    from scaling_laws.sweeps.live import plan_table

    table = plan_table(plan)
    wide = Console(width=WIDEST)
    needed = Measurement.get(wide, wide.options, table).maximum
    Console(width=max(Console().width, needed)).print(table)


def train(plan: Plan, options: argparse.Namespace) -> dict[str, str]:
    """Build the corpus and train what has no record yet; returns the trainings that failed, and why."""
    from rich.console import Console

    from scaling_laws.data.tokens import build_corpus
    from scaling_laws.sweeps.live import view
    from scaling_laws.sweeps.supervisor import run_plan

    console = Console()
    console.print(f"corpus {plan.corpus.name}: {plan.corpus_folder}", highlight=False)
    build_corpus(plan.corpus, plan.corpus_folder)
    console.print(
        f"study {plan.sweep.study}: {len(plan.runs)} runs in {len(plan.trunks)} trainings, "
        f"{options.workers} at a time, in {plan.folder}",
        highlight=False,
        soft_wrap=True,
    )
    with view(console) as watch:
        return run_plan(plan, workers=options.workers, storage=options.storage, watch=watch).failed


def refuse(failed: dict[str, str]) -> None:
    """Say at the very end what is missing."""
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise InputError(f"{len(failed)} trainings failed ({reasons}); all others are done and kept")
