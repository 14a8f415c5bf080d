"""`scaling-laws paper`: the list of papers, or one of them reproduced: its runs, claims, figures and page."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_laws.commands.report import FORCE
from scaling_laws.commands.sweep import add_training_arguments
from scaling_laws.study.artefacts import read_yaml
from scaling_laws.study.configurations import find_config
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import require_own_folder, write_own_files

if TYPE_CHECKING:
    from scaling_laws.report.reproduction import Paper
    from scaling_laws.report.text import Table
    from scaling_laws.study.runs import Study

KEPT_FILES = ("claims.json", "claims.csv", "claims.md", "page.md")
OF_EXPERIMENTS = ("logs", "data", "scale", "quiet")
"""Options for training that mean something to a paper without a sweep."""
EARLIER_PAGE, EARLIER_EXPORT = ("claims.json", "page.html"), ("claims.json", "claims.md")
"""What versions without a list of their files left, all of it."""


def add_paper_arguments(parser: argparse.ArgumentParser) -> None:
    """What `paper` takes."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="the paper; without a name, all are listed")
    parser.add_argument(
        "--runs", type=Path, metavar="STUDY|TABLE", help="judge these runs: a study's folder, or a table"
    )
    parser.add_argument("--dry-run", action="store_true", help="print every planned run and train nothing")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help="default: lightning_logs/papers/NAME"
    )
    parser.add_argument(
        "--export",
        type=Path,
        nargs="?",
        const=True,
        metavar="FOLDER",
        help="also copy the small files there (default: results/papers/NAME)",
    )
    parser.add_argument("--force", action="store_true", help=FORCE)
    parser.add_argument("--from", dest="module", metavar="MODULE", help="a module of your own with a PAPER")
    add_training_arguments(parser.add_argument_group("training"))


def paper(options: argparse.Namespace) -> None:
    """List the papers, or reproduce one.

    Raises:
        InputError: there is no such paper, its runs cannot be had, or some of its trainings failed.
    """
    from scaling_laws.commands.screen import show

    if options.name is None:
        show(_list(options.module))
        return
    from scaling_laws.report.reproduction import find_paper

    chosen = find_paper(options.name, options.module)
    if options.dry_run:
        _preview(chosen, options)
        return
    require_own_folder(_folder(chosen, options), earlier=EARLIER_PAGE, force=options.force)
    if (to := _export_folder(chosen, options)) is not None:
        require_own_folder(to, earlier=EARLIER_EXPORT, force=options.force)
    study, failed = _runs(chosen, options)
    _write(chosen, study, options)
    if failed:
        from scaling_laws.commands.sweep import refuse

        refuse(failed)


def _list(module: str | None) -> Table:
    from scaling_laws.report.reproduction import all_papers
    from scaling_laws.report.text import Table

    rows = [(each.name, each.title, *_needs(each)) for _, each in sorted(all_papers(module).items())]
    return Table(columns=("name", "title", "runs", "cost"), rows=tuple(rows))


def _needs(chosen: Paper) -> tuple[str, str]:
    """What makes a paper's runs, and what that costs at each scale."""
    if chosen.budget:
        return chosen.sweep or "trained", _costs(chosen.budget)
    if chosen.simulate is not None or chosen.experiment is not None:
        return "simulated", "minutes" if chosen.experiment else "seconds"
    if chosen.kept_runs:
        return f"--runs, or {chosen.kept_runs}", "seconds"
    if not chosen.sweep:
        return "--runs", ""
    try:
        budget = read_yaml(find_config(chosen.sweep, "papers", "sweeps")).get("budget")
    except InputError:
        budget = None
    return chosen.sweep, _costs(budget if isinstance(budget, dict) else {})


def _costs(budget: Mapping[str, str]) -> str:
    return ", ".join(f"{scale}: {cost}" for scale, cost in budget.items())


def _preview(chosen: Paper, options: argparse.Namespace) -> None:
    if options.runs is not None or not chosen.sweep:
        print(f"{chosen.name}: nothing to train")
        return
    from scaling_laws.commands.sweep import sweep

    options.file, options.status, options.power, options.truth = Path(chosen.sweep), False, False, None
    sweep(options)


def _runs(chosen: Paper, options: argparse.Namespace) -> tuple[Study, dict[str, str]]:
    """The runs to judge by, and the trainings that failed, with their reasons."""
    from scaling_laws.study.runs import nothing

    if chosen.experiment is not None:
        if options.runs is not None:
            raise InputError(f"{chosen.name}: is a simulation, which judges no runs; leave --runs out")
        _refuse_sweep_options(chosen, options)
        return nothing(chosen.name), {}
    if options.runs is not None:
        return _study_of(options.runs), {}
    if chosen.simulate is not None:
        from scaling_laws.study.runs import study_of_table

        return study_of_table(chosen.name, chosen.simulate()), {}
    if chosen.kept_runs:
        if not (kept := Path(chosen.kept_runs)).is_dir():
            raise InputError(f"there is no folder {kept} here; give runs with --runs STUDY or TABLE")
        return _study_of(kept), {}
    if not chosen.sweep:
        raise InputError(f"{chosen.name}: has no runs of its own; give some with --runs STUDY or TABLE")
    from scaling_laws.commands.sweep import plan_of, train
    from scaling_laws.study.runs import load_study

    options.file = Path(chosen.sweep)
    plan = plan_of(options)
    failed = train(plan, options)
    return load_study(plan.folder), failed


def _refuse_sweep_options(chosen: Paper, options: argparse.Namespace) -> None:
    """Raises InputError where an option is given that means nothing to a paper without a sweep."""
    parser = argparse.ArgumentParser()
    add_training_arguments(parser)
    for name, default in vars(parser.parse_args([])).items():
        if name not in OF_EXPERIMENTS and getattr(options, name, default) != default:
            option = "--stop-after" if name == "stop_at_s" else f"--{name.replace('_', '-')}"
            raise InputError(
                f"{chosen.name}: trains in this process, one network after another, and goes on when it is "
                f"run again; leave {option} out"
            )


def _study_of(runs: Path) -> Study:
    """A study's folder, or anybody's table."""
    from scaling_laws.study.runs import load_study, study_of_table

    if runs.is_dir():
        return load_study(runs)
    from scaling_laws.laws.run_tables import read_runs

    return study_of_table(runs.name, read_runs(runs))


def _write(chosen: Paper, study: Study, options: argparse.Namespace) -> None:
    from scaling_laws.commands.screen import show
    from scaling_laws.laws.results.study import fit_folder, no_laws
    from scaling_laws.report.claims import counted
    from scaling_laws.report.reproduction import DEFAULT_SCALE, ExperimentSettings, reproduced
    from scaling_laws.report.study_report import laws_text

    laws = fit_folder(study) if chosen.fitted else no_laws(study, "this paper's claims need none")
    settings = ExperimentSettings(scale=options.scale or DEFAULT_SCALE, logs=options.logs, data=options.data)
    result = reproduced(chosen, study, laws, settings)
    folder, force = _folder(chosen, options), options.force
    files = {**result.files, **({"laws.json": laws_text(laws)} if chosen.fitted else {})}
    write_own_files(folder, files, writer="paper", earlier=EARLIER_PAGE, force=force)
    if result.found:
        show(f"claims: {counted(result.found)}")
    show(f"page: {(folder / 'page.html').resolve()}")
    if (to := _export_folder(chosen, options)) is not None:
        from scaling_laws.report.export import export_files, figures_to_keep

        kept = {name: result.files[name] for name in KEPT_FILES} | figures_to_keep(result.pictures)
        print(f"export: {export_files(kept, to, earlier=EARLIER_EXPORT, force=force)}")


def _folder(chosen: Paper, options: argparse.Namespace) -> Path:
    folder: Path = options.output or options.logs / "papers" / chosen.name
    return folder


def _export_folder(chosen: Paper, options: argparse.Namespace) -> Path | None:
    folder: Path | None = Path("results/papers") / chosen.name if options.export is True else options.export
    return folder
