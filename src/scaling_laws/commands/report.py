"""`scaling-laws report`: everything that a study or a table shows, and a small copy of a study to keep.

`study` ends with the same.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_laws.commands.laws import (
    add_figure_arguments,
    add_table_arguments,
    beside,
    check_figures,
    read_table,
    refuse_table_options,
    write_figures,
)
from scaling_laws.laws.fit import DEFAULT_DELTA, DEFAULT_RESAMPLES
from scaling_laws.laws.readers import runs_path
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import require_own_folder

if TYPE_CHECKING:
    from scaling_laws.laws.results.types import Laws
    from scaling_laws.report.content import Content
    from scaling_laws.study.runs import Study

TEXT_WIDTH = 110
FORCE = "replace files that scaling-laws did not write, in folders that it did not make"


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """What `report` takes."""
    parser.add_argument(
        "runs",
        type=runs_path,
        nargs="+",
        metavar="RUNS",
        help="a study's folder, an exported one, or a table with one row per run; two of them are compared",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where to write the report (default: the study's folder; report/ in an exported one;"
        " RUNS.report/ beside a table; A-and-B.report/ beside the first of two)",
    )
    parser.add_argument(
        "--export",
        type=Path,
        metavar="FOLDER",
        help="copy the small results there, too: tables, laws, thinned curves, figures",
    )
    add_figure_arguments(parser)
    parser.add_argument(
        "--form",
        action="append",
        dest="own_forms",
        default=[],
        metavar="MODULE.CLASS",
        help="a law of your own, shown beside ours; its module is run; repeat for several",
    )
    parser.add_argument("--force", action="store_true", help=FORCE)
    add_table_arguments(parser)


def report(options: argparse.Namespace) -> None:
    """Write the report, and export what is small."""
    from scaling_laws.laws.readers.study_reader import StudyReader
    from scaling_laws.report.export import EARLIER_EXPORT, export
    from scaling_laws.study.runs import load_study

    check_figures(options)
    if len(options.runs) > 1:
        _report_two(options)
        return
    (runs,) = options.runs
    if not StudyReader().recognises(runs):
        _report_table(options, runs)
        return
    refuse_table_options(options, runs)
    study = load_study(runs)
    output = options.output or (study.folder / "report" if study.exported else study.folder)
    if options.export is not None:
        require_own_folder(options.export, earlier=EARLIER_EXPORT, force=options.force)
    laws = None
    if options.own_forms:
        from scaling_laws.laws.results.study import fit_folder

        laws = fit_folder(study, forms=options.own_forms)
    content = write_and_say(study, output, laws=laws, force=options.force)
    if options.figures is not None:
        write_figures(options, study, content.laws)
    if options.export is not None:
        said = export(study, content.laws, content.pictures, options.export, force=options.force)
        print(f"export: {said}")


def _report_two(options: argparse.Namespace) -> None:
    """Two studies or tables over one another, on one page."""
    from scaling_laws.api.analysis import Analysis, analyse, analysed_table
    from scaling_laws.laws.readers.study_reader import StudyReader
    from scaling_laws.study.runs import load_study

    if len(options.runs) > 2:
        raise InputError(f"{len(options.runs)} runs are given; report compares two")
    for option in ("export", "figures"):
        if getattr(options, option) is not None:
            raise InputError(f"--{option} is for one study or table, not for two")
    if all(StudyReader().recognises(each) for each in options.runs):
        refuse_table_options(options, options.runs[0])

    def found(runs: Path) -> Analysis:
        if StudyReader().recognises(runs):
            return analyse(load_study(runs), forms=options.own_forms)
        table, _ = read_table(options, runs)
        return analysed_table(
            table, delta=DEFAULT_DELTA, resamples=DEFAULT_RESAMPLES, seed=0, forms=options.own_forms
        )

    first, second = (found(runs) for runs in options.runs)
    names = [runs.resolve().name if runs.is_dir() else runs.stem for runs in options.runs]
    output = options.output or options.runs[0].resolve().parent / f"{names[0]}-and-{names[1]}.report"
    said = first.report_beside(second, output / "report.html", force=options.force)
    print(said)
    print(f"report: {(output / 'report.html').resolve()}")


def _report_table(options: argparse.Namespace, table: Path) -> None:
    from scaling_laws.api.analysis import analysed_table
    from scaling_laws.laws.results.types import with_asked

    if options.export is not None:
        raise InputError("--export keeps a study's small results; a table is one already")
    runs, _ = read_table(options, table)
    found = analysed_table(
        runs, delta=DEFAULT_DELTA, resamples=DEFAULT_RESAMPLES, seed=0, forms=options.own_forms
    )
    output = options.output or beside(table, ".report")
    from scaling_laws.laws.run_tables import doubts

    laws = with_asked(found.laws, beside(table, ".laws.json"))
    write_and_say(found.study, output, laws=laws, force=options.force, doubts=doubts(runs))
    if options.figures is not None:
        write_figures(options, found.study, found.laws)


def write_and_say(
    study: Study, output: Path, *, laws: Laws | None = None, force: bool = False, doubts: Sequence[str] = ()
) -> Content:
    """Write a report; print the headline table, what it means, where the page is, and what to do next.

    Args:
        doubts: what a table's reader should look at. All other warnings are in the page.
    """
    from scaling_laws.commands.screen import show
    from scaling_laws.report.findings import answer
    from scaling_laws.report.study_report import PAGE, write_study_report

    content = write_study_report(study, output, laws=laws, force=force)
    said = filter(None, (content.caution, answer(content.tables, content.laws)[0]))
    show(
        f"{content.laws.study}: scaling laws with {100 * content.laws.level:g} % intervals\n",
        content.headline,
        "",
        *(f"warning: {sentence}" for sentence in doubts),
        *(textwrap.fill(paragraph, TEXT_WIDTH) for paragraph in said),
        *_in_the_page(content.laws, len(doubts)),
        f"report: {(output / PAGE).resolve()}",
        *next_commands(content, output),
    )
    return content


def _in_the_page(laws: Laws, n_said: int) -> list[str]:
    """What only the page says, counted."""
    n_warnings, n_runs = len(laws.warnings) - n_said, len(laws.left_out)
    words = [f"{n_warnings} warning{'s' * (n_warnings > 1)}"] * (n_warnings > 0)
    words += [f"{n_runs} run{'s' * (n_runs > 1)} left out of the fits"] * (n_runs > 0)
    return [f"In the report: {' and '.join(words)}, with reasons."] if words else []


def next_commands(content: Content, output: Path) -> list[str]:
    """What to do next, as it can be pasted into a terminal."""
    from scaling_laws.report.findings import next_budget

    commands = []
    for family in content.tables.families[:1]:
        if (C := next_budget(content.tables, content.laws, family)) is not None:
            plan = ["plan", "--laws", str(output / "laws.json"), "--family", family, "--compute", f"{C:.3g}"]
            commands = [plan, [*plan, "--next-rung"]]
    if content.study.records:
        folder = content.study.folder
        commands.append(["report", str(folder), "--figures", str(folder / "figures-to-print")])
    program = own_command()
    lines = [f"  {program} {shlex.join(words)}" for words in commands]
    return ["next:", *lines] if lines else []


def own_command() -> str:
    """The command as it can be typed here: its name where the shell finds it, or its path."""
    script = Path(sys.executable).with_name("scaling-laws")
    if (found := shutil.which("scaling-laws")) and script.exists() and Path(found).samefile(script):
        return "scaling-laws"
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m scaling_laws"
    inside = script.is_relative_to(Path.cwd())
    return shlex.quote(str(script.relative_to(Path.cwd()) if inside else script))
