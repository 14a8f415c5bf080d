"""The command `scaling-laws`: each verb is one function, and imports what it needs when it is called.

`plan`, `laws`, `report` and `--help` never import torch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws import __version__
from scaling_laws.errors import InputError

if TYPE_CHECKING:
    from scaling_laws.laws.planner import Plan as BudgetPlan
    from scaling_laws.runs import Study
    from scaling_laws.sweeps.experiments import Plan

LIGHTNING_VERBS = {
    "fit": "train one network (LightningCLI): --config configs/train/transformer.yaml",
    "validate": "its loss on the validation split: --config ... --ckpt_path ...",
    "test": "its loss on the test split and the foreign corpora",
    "predict": "the loss of every token of a text: --data.predict_file FILE",
}
CSV_COLUMNS = {
    "n": "column of N, parameters (default: N; of a study also N_total, N_with_head)",
    "d": "column of D, tokens (default: D, or C / 6N)",
    "c": "column of C, training FLOPs (default: C, or 6ND; of a study also C_attention, C_exact)",
    "loss": "column of the loss, nats per token (default: loss)",
    "run": "column of the run's name: rows of one name are one training (default: run, or the line)",
}
INTERRUPTED = 130
PLAN_WIDTH = 100
"""Columns that a plan needs: on a narrower terminal its lines wrap, but no number is cut."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the exit status is 0, 2 after one line of error, or 130 when interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments and arguments[0] in LIGHTNING_VERBS:
            from scaling_laws.training.lightning_cli import main as lightning

            lightning(arguments)
            return
        options = _parser().parse_args(arguments)
        options.verb(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scaling-laws",
        description="Measure how language models scale, and decide what to train next.",
        epilog="Begin with: scaling-laws study configs/sweeps/tiny.yaml",
    )
    parser.add_argument("--version", action="version", version=f"scaling-laws {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    study = verbs.add_parser("study", help="the whole path: corpus, sweep, laws, report")
    _add_sweep_arguments(study)
    study.set_defaults(verb=_study)

    sweep = verbs.add_parser("sweep", help="train every network that a sweep file plans; again = resume")
    _add_sweep_arguments(sweep)
    sweep.add_argument("--dry-run", action="store_true", help="print every planned run and train nothing")
    sweep.set_defaults(verb=_sweep)

    laws = verbs.add_parser("laws", help="fit the laws to a study's folder, or to anybody's CSV")
    laws.add_argument("runs", type=Path, metavar="RUNS", help="a study's folder, or a CSV with one row a run")
    laws.add_argument("-o", "--output", type=Path, help="where to write laws.json (default: beside RUNS)")
    for name, meaning in CSV_COLUMNS.items():
        laws.add_argument(f"--{name}", metavar="COLUMN", help=meaning)
    laws.add_argument("--where", metavar="CONDITION", help='rows to use, as in "loss < 3.44"')
    laws.add_argument("--delta", type=float, default=1e-3, help="delta of the Huber loss (default: 0.001)")
    laws.add_argument("--bootstrap", type=int, default=400, help="resamples (default: 400)")
    laws.add_argument("--quiet", action="store_true", help="print nothing")
    laws.set_defaults(verb=_laws)

    plan = verbs.add_parser("plan", help="a compute budget -> N, D, batch, steps and the loss to expect")
    plan.add_argument("--compute", type=float, required=True, metavar="FLOPS", help="budget C, as in 1e21")
    source = plan.add_mutually_exclusive_group(required=True)
    source.add_argument("--laws", type=Path, help="a laws.json")
    source.add_argument("--published", choices=("kaplan", "chinchilla", "besiroglu"), help="a published law")
    plan.add_argument("--family", help="family of the laws.json to plan for (default: its first)")
    plan.add_argument("--json", action="store_true", help="machine-readable")
    plan.set_defaults(verb=_plan)

    report = verbs.add_parser("report", help="figures and one self-contained report.html of a study")
    report.add_argument("study", type=Path, metavar="STUDY", help="a study's folder")
    report.set_defaults(verb=_report)

    data = verbs.add_parser("data", help="build or inspect a corpus")
    data_verbs = data.add_subparsers(metavar="VERB", required=True)
    build = data_verbs.add_parser("build", help="texts -> token shards with a manifest")
    build.add_argument("config", type=Path, help="a file of configs/data/")
    build.add_argument("-o", "--output", type=Path, help="folder (default: data/<name>)")
    build.add_argument("--force", action="store_true", help="replace a corpus that is there")
    build.set_defaults(verb=_data_build)
    show = data_verbs.add_parser("show", help="what a corpus holds")
    show.add_argument("folder", type=Path)
    show.set_defaults(verb=_data_show)

    for verb, explanation in LIGHTNING_VERBS.items():
        verbs.add_parser(verb, help=explanation)  # listed here; dispatched in `main`
    return parser


def _add_sweep_arguments(parser: argparse.ArgumentParser) -> None:
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


def _study(options: argparse.Namespace) -> None:
    from scaling_laws.runs import load_study

    plan = _planned(options)
    failed = _train(plan, options)
    _write_report(load_study(plan.folder))
    _refuse(failed)


def _sweep(options: argparse.Namespace) -> None:
    from rich.console import Console

    from scaling_laws.sweeps.live import plan_table

    plan = _planned(options)
    if options.dry_run:
        Console(width=max(Console().width, PLAN_WIDTH)).print(plan_table(plan))
        return
    failed = _train(plan, options)
    print(f"runs: {plan.folder}; next: scaling-laws report {plan.folder}")
    _refuse(failed)


def _planned(options: argparse.Namespace) -> Plan:
    from scaling_laws.sweeps.experiments import load_sweep, plan

    if options.workers < 1:
        raise InputError(f"--workers is {options.workers}; it must be 1 or more")
    return plan(load_sweep(options.file), logs=options.logs, data=options.data)


def _train(plan: Plan, options: argparse.Namespace) -> dict[str, str]:
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


def _refuse(failed: dict[str, str]) -> None:
    """Say at the very end what is missing."""
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise InputError(f"{len(failed)} trainings failed ({reasons}); all others are done and kept")


def _laws(options: argparse.Namespace) -> None:
    from scaling_laws.records import write_atomically
    from scaling_laws.runs import load_study

    if options.bootstrap < 1:
        raise InputError(f"--bootstrap is {options.bootstrap}; it must be 1 or more")
    settings = {"delta": options.delta, "resamples": options.bootstrap}
    if options.runs.is_dir():
        study = load_study(options.runs)
        laws = _fit(study, n=options.n or "N", c=options.c or "C", **settings)
        output = options.output or options.runs / "laws.json"
    else:
        from scaling_laws.laws.study import fit_study
        from scaling_laws.laws.table import read_runs_csv

        columns = {name: getattr(options, name) for name in ("n", "d", "c", "loss", "run", "where")}
        runs = read_runs_csv(options.runs, **{name: value for name, value in columns.items() if value})
        laws = fit_study(options.runs.name, runs, **settings)
        output = options.output or options.runs.with_suffix(".laws.json")
    write_atomically(output, json.dumps(laws, indent=1, allow_nan=False) + "\n")
    if not options.quiet:
        from scaling_laws.reports.tables import headline_text

        print(headline_text(laws))
        print(f"laws: {output}")


def _fit(study: Study, **settings: Any) -> dict[str, Any]:
    """The laws of a study's folder."""
    from scaling_laws.laws.study import fit_study

    return fit_study(study.name, study.runs, study.positions(), study.left_out, **settings)


def _plan(options: argparse.Namespace) -> None:
    from scaling_laws.laws.planner import plan_from_laws, plan_published

    if options.published:
        plan = plan_published(options.published, options.compute)
    else:
        plan = plan_from_laws(_read_laws(options.laws), options.compute, family=options.family)
    print(json.dumps(plan.to_json(), indent=1) if options.json else _plan_text(plan))


def _plan_text(plan: BudgetPlan) -> str:
    """A plan as a few aligned lines."""

    def line(name: str, value: float | None, unit: str, key: str) -> str:
        if value is None:
            return f"{name:<14} not known to this law"
        digits = ".4f" if key == "loss_nats" else ",.4g" if value < 1e4 else ".3e"
        low_high = plan.intervals.get(key)
        interval = ""
        if low_high is not None:
            low, high = ("unbounded" if end is None else f"{end:{digits}}" for end in low_high)
            interval = f"   90 %: {low} to {high}"
        return f"{name:<14} {value:>12{digits}} {unit}{interval}"

    def ratio(size: str, value: float | None) -> str:
        return f"{size} N would " + (
            "never reach that loss" if value is None else f"need {value:.2f} times the compute"
        )

    return "\n".join(
        [
            f"{plan.source}: with C = {plan.C:.3e} FLOPs train",
            line("  N", plan.N, "parameters", "N"),
            line("  D", plan.D, "tokens", "D"),
            line("  batch", plan.batch_tokens, "tokens", "batch_tokens"),
            line("  steps", plan.steps, "updates", "steps"),
            line("  loss", plan.loss_nats, "nats per token", "loss_nats"),
            f"Being wrong: {ratio('half', plan.compute_ratio_half_N)};",
            f"             {ratio('twice', plan.compute_ratio_double_N)}.",
            *(f"Note: {note}" for note in plan.notes),
        ]
    )


def _read_laws(path: Path) -> dict[str, Any]:
    try:
        laws = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: not a readable laws.json ({error}); make one with: scaling-laws laws"
        ) from error
    if not isinstance(laws, dict) or laws.get("schema") != 1:
        raise InputError(f"{path}: not a laws.json of schema 1; make one with: scaling-laws laws")
    return laws


def _report(options: argparse.Namespace) -> None:
    from scaling_laws.runs import load_study

    _write_report(load_study(options.study))


def _write_report(study: Study) -> None:
    """Fit, draw and write everything that a study's folder can tell; print the headline table."""
    from scaling_laws.records import write_atomically
    from scaling_laws.reports.evidence import no_laws
    from scaling_laws.reports.html import write_report
    from scaling_laws.reports.tables import headline, headline_text
    from scaling_laws.reports.tensorboard import write_study_summary

    laws = no_laws(study) if study.runs.empty else _fit(study)
    write_atomically(study.folder / "laws.json", json.dumps(laws, indent=1, allow_nan=False) + "\n")
    write_atomically(study.folder / "runs.csv", study.runs.to_csv(index=False))
    write_atomically(study.folder / "headline.md", headline(laws).markdown() + "\n")
    report = write_report(study, laws)
    write_study_summary(study, laws, study.folder)
    print(headline_text(laws))
    print(f"report: {report.resolve()}")


def _data_build(options: argparse.Namespace) -> None:
    from scaling_laws.data.config import load_config
    from scaling_laws.data.tokens import build_corpus, describe

    config = load_config(options.config)
    print(describe(build_corpus(config, options.output or Path("data") / config.name, force=options.force)))


def _data_show(options: argparse.Namespace) -> None:
    from scaling_laws.data.tokens import describe, open_corpus

    print(describe(open_corpus(options.folder)))
