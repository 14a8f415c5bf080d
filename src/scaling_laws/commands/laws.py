"""The verb `laws`: fit the laws to a study, a table or logged runs, and write laws.json.

Without --form every law that the runs allow; with it those forms alone, each to all rows.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.commands.laws_schedule import (
    add_schedule_arguments,
    refuse_schedule_options,
    schedule_laws,
)
from scaling_laws.laws import KEEP, LOSS_UNITS
from scaling_laws.laws.fit import DEFAULT_DELTA, DEFAULT_RESAMPLES
from scaling_laws.laws.readers import runs_path
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import is_laws_file
from scaling_laws.study.stages import silent_stages

if TYPE_CHECKING:
    import pandas as pd

    from scaling_laws.api.column_comparison import ColumnComparison
    from scaling_laws.laws.results.fitted import Settings
    from scaling_laws.laws.results.types import Conventions, Laws
    from scaling_laws.study.runs import Study

CSV_COLUMNS = {
    "n": "column of N, parameters (default: N; of a study also N_total, N_with_head)",
    "d": "column of D, tokens (default: D, or C / 6N)",
    "c": "column of C, training FLOPs (default: C, or 6ND; of a study also C_attention, C_exact)",
    "loss": "column of the loss, nats per token, or tag of it in logged runs (default: loss)",
    "run": "column of the run's name: rows of one name are one training (default: run, or the line)",
    "unique": "column of U, unique tokens, for the form muennighoff (default: unique_tokens)",
    "batch": "column of B, tokens per step, for laws of time (default: batch_tokens)",
    "steps": "column of S, steps to the loss, for laws of time (default: steps)",
    "weight": "column of the row's weight in the objective, with --form (default: 1 each)",
}
TABLE_OPTIONS = ("where", "keep", "loss_unit", "bytes_per_token", "with_unfinished")
FOLDER_COLUMNS = {"n", "c"}
"""Those that a study's folder has a choice of."""
MORE_COLUMNS = {"unique": "U", "batch": "B", "steps": "S"}
"""Option and variable."""
MOST_RESAMPLES = 100_000


def add_laws_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the verb."""
    parser.add_argument(
        "runs",
        type=runs_path,
        metavar="RUNS",
        help="a study's folder; a table, one row per run (CSV or similar, JSON, Parquet, Excel); an export"
        " of W&B or MLflow; a folder of TensorBoard, Lightning, Hugging Face or MLflow runs",
    )
    parser.add_argument("-o", "--output", type=Path, help="where to write laws.json (default: beside RUNS)")
    parser.add_argument(
        "--form",
        action="append",
        metavar="NAME",
        help="fit only this form, to all rows; repeat for several (chinchilla, kaplan_nd, power_n, ...;"
        " an unknown name lists all)",
    )
    add_table_arguments(parser)
    parser.add_argument(
        "--delta", type=float, default=DEFAULT_DELTA, help="delta of the Huber loss (default: 0.001)"
    )
    parser.add_argument(
        "--bootstrap",
        type=int,
        help="resamples behind the intervals (default: 400; of --schedule 200); 0 for point estimates alone",
    )
    parser.add_argument(
        "--level", type=float, metavar="SHARE", help="level of the intervals, as 0.95 (default: 0.9)"
    )
    parser.add_argument(
        "--pin",
        action="append",
        metavar="NAME=VALUE",
        help="with --form: hold a parameter, as E=1.69, and fit the others; repeat for several",
    )
    parser.add_argument(
        "--cluster",
        metavar="COLUMN",
        help="with --form: resample the groups of a column (C: slices of equal compute) instead of trainings",
    )
    parser.add_argument(
        "--above",
        type=float,
        metavar="W",
        help="with --form: rows above the law count W times (0 to 1), where some runs were under-tuned",
    )
    parser.add_argument(
        "--predict",
        action="append",
        metavar="N=..,D=..",
        help="with --form: the loss of a new run, as N=7B,D=1.4T; again for several",
    )
    parser.add_argument(
        "--cut-tokens",
        action="store_true",
        default=None,
        help="with --form: leave out rows of few tokens, from where on chosen by out-of-sample error",
    )
    parser.add_argument(
        "--share-floor",
        metavar="COLUMN",
        help="with --form: test whether the values of a column (data sets) may share the irreducible loss",
    )
    parser.add_argument("--latex", action="store_true", help="print the identified laws for a paper, too")
    parser.add_argument(
        "--compare",
        metavar="COLUMN",
        help=(
            "instead of laws: what each value of a column (optimizer, weight_decay, ...) is worth in compute"
        ),
    )
    parser.add_argument(
        "--reference", metavar="VALUE", help="for --compare: the value to which the others are compared"
    )
    parser.add_argument(
        "--at",
        metavar="FLOPS",
        help="for --compare: which value to take at this compute, with its chance and regret, as 1e21; -o"
        " FILE puts it into a laws.json",
    )
    parser.add_argument(
        "--percent", type=float, metavar="X", help="for --at: seeds needed to see X %% (default: 1)"
    )
    add_schedule_arguments(parser)
    add_figure_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def add_figure_arguments(parser: argparse.ArgumentParser) -> None:
    """Where figures go, and how wide they are."""
    parser.add_argument(
        "--figures", type=Path, metavar="FOLDER", help="write every figure there, as PNG, SVG and PDF"
    )
    parser.add_argument(
        "--figure-width",
        type=int,
        choices=(1, 2),
        help="for --figures: one (3.4 inches) or two (7 inches) columns of a journal (default: the page)",
    )


def write_figures(options: argparse.Namespace, study: Study, laws: Laws) -> None:
    """Write the figures of the runs where --figures says."""
    from scaling_laws.api.analysis import Analysis

    found = Analysis(study=study, laws=laws)
    files = found.figures(options.figures, columns=options.figure_width)
    if not getattr(options, "quiet", False):
        print(f"figures: {len(files)} files in {options.figures}")


def check_figures(options: argparse.Namespace) -> None:
    """Raises InputError where a width belongs to no figures."""
    if options.figure_width is not None and options.figures is None:
        raise InputError("--figure-width belongs to --figures FOLDER")


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """How a table of runs is read."""
    for name, meaning in CSV_COLUMNS.items():
        names = [f"--{name}", "--tag"] if name == "loss" else [f"--{name}"]
        parser.add_argument(*names, dest=name, metavar="COLUMN", help=meaning)
    parser.add_argument(
        "--where",
        action="append",
        metavar="CONDITION",
        help='rows to use: "loss < 3.44", "State == finished", "n_ctx in [64, 128] or N > 1e9"; repeat to'
        " require all",
    )
    parser.add_argument(
        "--keep",
        choices=KEEP,
        help="which rows of a run to keep: all (default for a table), last (default for a folder), or best",
    )
    parser.add_argument(
        "--loss-unit", choices=LOSS_UNITS, help="unit of the loss in the table (default: nats per token)"
    )
    parser.add_argument(
        "--bytes-per-token",
        type=float,
        metavar="B",
        help="bytes per token of the evaluated text, for a loss in bits/byte",
    )
    parser.add_argument(
        "--with-unfinished",
        action="store_true",
        default=None,
        help="keep runs that their State calls crashed, running or unfinished, with their last loss",
    )


def laws(options: argparse.Namespace) -> None:
    """Fit, write laws.json, and print what was found.

    Raises:
        InputError: whatever is wrong with the arguments, with RUNS, or with where the output should go.
    """
    from scaling_laws.laws.fit.level import LEVEL
    from scaling_laws.laws.results.fitted import Settings
    from scaling_laws.laws.results.types import Conventions, with_asked
    from scaling_laws.study.records import write_atomically

    is_study = _is_study(options.runs)
    if options.schedule:
        _check_numbers(options)
        check_figures(options)
        output = options.output or _default_output(options.runs, is_study, "schedules.json")
        schedule_laws(options, is_study, output)
        return
    refuse_schedule_options(options)
    if options.bootstrap is None:
        options.bootstrap = DEFAULT_RESAMPLES
    _check_options(options, is_study)
    if options.compare is not None:
        print(_compared(options, is_study))
        return
    output = options.output or _default_output(options.runs, is_study)
    _check_output(output, options.runs)
    settings = Settings(
        n=(options.n or "N") if is_study else "N",
        c=(options.c or "C") if is_study else "C",
        delta=options.delta,
        resamples=options.bootstrap,
        seed=0,
        level=LEVEL if options.level is None else options.level,
        pins=_pins(options.pin or ()),
        cluster=options.cluster or "",
        above=1.0 if options.above is None else options.above,
        predict=tuple(map(_new_run, options.predict or ())),
        cut_tokens=bool(options.cut_tokens),
        share_floor=options.share_floor or "",
    )
    with silent_stages() if options.quiet else nullcontext():
        if is_study:
            found, study = _laws_of_study(options, settings)
            doubted: tuple[str, ...] = ()
        else:
            found, study, doubted = _laws_of_table(options, settings)
    found = with_asked(found, output)
    write_atomically(output, json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n")
    if not options.quiet:
        from scaling_laws.commands.laws_text import forms_text, latex_text, study_text
        from scaling_laws.commands.screen import show
        from scaling_laws.report.figures.task_accuracy import task_table

        show(*(forms_text(found) if options.form else study_text(found, is_study=is_study, doubts=doubted)))
        if found.tasks:
            table = task_table(found.tasks)
            show("\nDo tasks follow the loss?\n", table, f"\n{table.caption}\n")
        if options.latex:
            show(latex_text(found))
        show(f"laws: {output}")
    if options.figures is not None:
        # The columns' names in a table are the user's; a study's are those of its runs.
        columns = found.conventions if is_study else Conventions(N="N", C="C", loss="loss")
        write_figures(options, study, replace(found, conventions=columns))


def _is_study(runs: Path) -> bool:
    from scaling_laws.laws.readers.study_reader import StudyReader

    return StudyReader().recognises(runs)


def _default_output(runs: Path, is_study: bool, name: str = "laws.json") -> Path:
    """In a study; else beside the runs, as RUNS.laws.json. Laws that were exported with runs stay."""
    from scaling_laws.study.runs import EXPORTED_RUNS, is_export

    if is_study and not is_export(runs):
        return runs / name
    if is_study:
        return (runs / EXPORTED_RUNS).with_suffix(f".{name}")
    return beside(runs, f".{name}")


def beside(runs: Path, suffix: str) -> Path:
    """The place of what is made of runs: `table.laws.json` of `table.csv.gz`, `runs.laws.json` of `runs/`."""
    if runs.is_dir():
        return runs.resolve().with_name(runs.resolve().name + suffix)
    name = runs.name.removesuffix(".gz")
    return runs.with_name((name.rpartition(".")[0] or name) + suffix)


def _check_numbers(options: argparse.Namespace) -> None:
    if not (math.isfinite(options.delta) and options.delta > 0):
        raise InputError(f"--delta is {options.delta:g}; it must be a positive number, as 0.001")
    if options.bootstrap is not None and not 0 <= options.bootstrap <= MOST_RESAMPLES:
        raise InputError(f"--bootstrap is {options.bootstrap}; it must be 0 to {MOST_RESAMPLES}")
    if options.level is not None and not 0 < options.level < 1:
        raise InputError(f"--level is {options.level:g}; it must be a share between 0 and 1, as 0.95")


def _check_options(options: argparse.Namespace, is_study: bool) -> None:
    _check_numbers(options)
    if options.level is not None and options.compare is not None:
        raise InputError("--level does not go with --compare, whose intervals are of 90 %")
    if options.form:
        from scaling_laws.laws.results.chosen_forms import law_called

        for form in options.form:
            law_called(form)
    for name in ("pin", "cluster", "above", "predict", "cut_tokens", "share_floor"):
        if getattr(options, name) is not None and not options.form:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} needs --form: the other analyses fit every law as it is")
    if options.above is not None and not 0 < options.above <= 1:
        raise InputError(f"--above is {options.above:g}; it must be above 0 and at most 1, as 0.3")
    check_figures(options)
    if options.figures is not None and options.form:
        raise InputError("--figures draws what all laws say; leave --form out")
    if options.figures is not None and options.compare is not None and options.at is None:
        raise InputError("--figures of --compare needs --at: the curve of the worth is drawn up to there")
    for name in ("at", "percent"):
        if getattr(options, name) is not None and options.compare is None:
            raise InputError(f"--{name} needs --compare COLUMN")
    if options.weight is not None and not options.form:
        raise InputError("--weight needs --form: the other analyses of a table know no weights")
    if is_study:
        refuse_table_options(options, options.runs, but=FOLDER_COLUMNS)
    if options.compare is None and options.reference is not None:
        raise InputError("--reference needs --compare: it says what the others are measured in")
    if options.compare is not None and options.form:
        raise InputError("--form does not go with --compare, which fits its own laws and prints them")
    if options.compare is not None and options.output is not None and options.at is None:
        raise InputError("-o of --compare needs --at: what is written is which value to take there")


def _compared(options: argparse.Namespace, is_study: bool) -> str:
    """What --compare prints."""
    from scaling_laws.api.column_comparison import compared
    from scaling_laws.study.runs import load_study

    if is_study:
        runs, n, c = load_study(options.runs).runs, options.n or "N", options.c or "C"
    else:
        runs, n, c = read_table(options, options.runs, labels=(options.compare,))[0], "N", "C"
    percent = 1.0 if options.percent is None else options.percent
    if not 0 < percent <= 100:
        raise InputError(f"--percent is {percent:g}; it must be a difference of losses, as 1")
    if options.output is not None:
        _check_output(options.output, options.runs)
    found = compared(
        runs,
        options.compare,
        reference=options.reference,
        at=options.at,
        percent=percent,
        n=n,
        c=c,
        delta=options.delta,
        resamples=options.bootstrap,
    )
    said = [found.summary()]
    if options.output is not None:
        _write_decisions(options.output, options.runs, found)
        said.append(f"laws: {options.output}")
    if options.figures is None:
        return "\n\n".join(said)
    from scaling_laws.report.pictures import drawn_files
    from scaling_laws.study.own_files import write_own_files

    files = drawn_files("worth_at_compute", found.plot, options.figure_width)
    write_own_files(options.figures, files, writer="compared", shared=True)
    said.append(f"figures: {len(files)} files in {options.figures}")
    return "\n\n".join(said)


def _write_decisions(output: Path, runs: Path, found: ColumnComparison) -> None:
    """Put the decisions into a laws.json that is there, or into one of their own."""
    from scaling_laws.laws.fit.noise import SeedNoise
    from scaling_laws.laws.results.types import Conventions, LatePositions, Laws, read_laws
    from scaling_laws.laws.results.written_decisions import HeldOutChoices, written
    from scaling_laws.study.records import write_atomically

    if output.exists():
        laws = read_laws(output)
    else:
        reason = "only a comparison was made"
        laws = Laws(
            study=runs.name,
            conventions=Conventions(N="N", C="C", loss="loss"),
            noise=SeedNoise(sd_log_loss=None, n_groups=0, n_runs=0, reason=reason),
            late_positions=LatePositions(reason=reason),
        )
    new = written(found.decisions)
    kept = [each for each in laws.decisions if each.key not in {one.key for one in new}]
    choices = list(laws.held_out_choices)
    if (score := found.held_out) is not None and new:
        by = new[0].by
        choices = [each for each in choices if each.by != by]
        choices.append(
            HeldOutChoices(by=by, n=score.n, laws_right=score.laws_right, ranking_right=score.ranking_right)
        )
    laws = replace(laws, decisions=(*kept, *new), held_out_choices=tuple(choices))
    write_atomically(output, json.dumps(laws.to_json(), indent=1, allow_nan=False) + "\n")


def refuse_table_options(options: argparse.Namespace, folder: Path, but: Collection[str] = ()) -> None:
    """Raises InputError where an option says how to read a table, and there is none."""
    for name in [*CSV_COLUMNS, *TABLE_OPTIONS]:
        if name not in but and getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} is for a table; {folder} is a study's folder")


def read_table(
    options: argparse.Namespace, path: Path, labels: tuple[str, ...] = ()
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table as the options say it is read, and what they say.

    Args:
        labels: further columns, kept as they are.
    """
    from scaling_laws.laws.results.chosen_forms import axes_of
    from scaling_laws.laws.run_tables import read_runs

    names = ("n", "d", "c", "loss", "run")
    columns = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    how = {name: getattr(options, name) for name in TABLE_OPTIONS if getattr(options, name) is not None}
    more = _more_columns(options)
    forms = getattr(options, "form", None)
    needs = axes_of(forms) if forms else ("N", "D", "C")
    cluster = getattr(options, "cluster", None)
    if cluster is not None and cluster not in ("N", "D", "C", *more):
        labels = (*labels, cluster)
    share_floor = getattr(options, "share_floor", None)
    if share_floor is not None and share_floor not in (*labels, "family"):
        labels = (*labels, share_floor)
    runs = read_runs(path, **columns, **how, more=more, labels=labels, needs=needs)
    chosen = {name: " and ".join(value) if name == "where" else str(value) for name, value in how.items()}
    return runs, {**runs.attrs["columns"], **chosen, **more}


def _check_output(output: Path, runs: Path) -> None:
    """Now, and not after minutes of fitting."""
    folder = output.parent
    if not folder.is_dir():
        raise InputError(f"{output}: there is no folder {folder}; make it first")
    if output.exists() and not output.is_file():
        raise InputError(f"{output}: not a file that could be replaced; give another name with -o")
    if output.exists() and runs.exists() and output.samefile(runs):
        raise InputError(f"{output}: that is the table itself; give another name with -o")
    if output.exists() and not is_laws_file(output):
        raise InputError(f"{output}: already exists and is not a laws.json; give another name with -o")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{output}: no permission to write in {folder}; give another place with -o")


def _of_analysis(settings: Settings) -> dict[str, Any]:
    """The settings that the whole analysis takes."""
    of_forms = ("pins", "cluster", "above", "predict", "cut_tokens", "share_floor")
    return {name: value for name, value in vars(settings).items() if name not in of_forms}


def _pins(given: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Names and values of --pin.

    Raises:
        InputError: one is not NAME=VALUE.
    """
    pins = {}
    for pin in given:
        name, _, value = pin.partition("=")
        try:
            pins[name.strip()] = float(value)
        except ValueError:
            raise InputError(f"--pin {pin}: write a parameter and its value, as E=1.69") from None
    return tuple(pins.items())


def _new_run(text: str) -> tuple[tuple[str, float], ...]:
    """Variables and values of --predict.

    Raises:
        InputError: it is not NAME=VALUE, with commas.
    """
    from scaling_laws.laws.plan.compute_budget import parse_count

    found = []
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"--predict {text}: write the law's variables, as N=7B,D=1.4T")
        found.append((name.strip(), parse_count(value, f"{name.strip()} of --predict")))
    return tuple(found)


def _laws_of_study(options: argparse.Namespace, settings: Settings) -> tuple[Laws, Study]:
    from scaling_laws.study.runs import OF_A_SEARCH, load_study

    study = load_study(options.runs)
    if study.runs.empty and OF_A_SEARCH in set(study.left_out["reason"]):
        raise InputError(f"{options.runs}: no run feeds a law; each is {OF_A_SEARCH}")
    if not options.form:
        from scaling_laws.laws.results.study import fit_folder

        return fit_folder(study, **_of_analysis(settings)), study
    from scaling_laws.laws.results.chosen_forms import SCANNED, fit_forms

    if scanned := [form for form in options.form if form in SCANNED]:
        raise InputError(
            f"the form {scanned[0]} needs steps to equal losses, which the runs of a study do not stop at:"
            " run without --form, or give a CSV of such steps"
        )
    found = fit_forms(
        study.name, study.runs, options.form, study.positions(), study.left_out, settings=settings
    )
    return found, study


def _laws_of_table(options: argparse.Namespace, settings: Settings) -> tuple[Laws, Study, tuple[str, ...]]:
    """The laws, the table as a study, and what its reader should look at: the first of the warnings."""
    from scaling_laws.laws.run_tables import doubts, left_out_of_table
    from scaling_laws.study.runs import study_of_table

    runs, columns = read_table(options, options.runs)
    left_out = left_out_of_table(runs)
    if options.form:
        from scaling_laws.laws.results.chosen_forms import fit_forms

        laws = fit_forms(options.runs.name, runs, options.form, left_out=left_out, settings=settings)
    else:
        from scaling_laws.laws.results.study import fit_study, processes_for

        laws = fit_study(
            options.runs.name,
            runs,
            left_out=left_out,
            **_of_analysis(settings),
            processes=processes_for(runs),
        )
    conventions = _conventions(columns, runs)
    doubted = tuple(doubts(runs))
    if "token" not in (batch := columns.get("batch_tokens", "token")):
        unit = f"The batch is in the unit of {batch}: so are E_min, B_crit and B_star."
        doubted = (unit, *doubted)
    manifest = replace(laws.manifest, conventions=conventions, columns=columns)
    study = replace(study_of_table(options.runs.name, runs), left_out=left_out)
    warnings = (*doubted, *laws.warnings)
    return replace(laws, conventions=conventions, warnings=warnings, manifest=manifest), study, doubted


def _more_columns(options: argparse.Namespace) -> dict[str, str]:
    """Columns besides N, D, C and loss: those that were named, and those that a form needs."""
    from scaling_laws.laws.results.chosen_forms import COLUMNS, more_variables

    needed = {variable for form in getattr(options, "form", None) or () for variable in more_variables(form)}
    more = {}
    for option, variable in MORE_COLUMNS.items():
        if getattr(options, option) is not None or variable in needed:
            more[COLUMNS[variable]] = getattr(options, option) or COLUMNS[variable]
    if options.weight is not None:
        more["weight"] = options.weight
    return more


def _conventions(columns: Mapping[str, str], runs: pd.DataFrame) -> Conventions:
    """What N and C are, by the names that the user gave them."""
    from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
    from scaling_laws.laws.results.types import Conventions

    C = columns.get("c", "C")
    if "c" not in columns and {"N", "D", "C"} <= {*runs.columns}:
        six_N_D = FLOPS_PER_PARAMETER_TOKEN * runs["N"] * runs["D"]
        C = "6 N D" if (runs["C"] == six_N_D).all() else C
    return Conventions(N=columns.get("n", "N"), C=C, loss=columns.get("loss", "loss"))
