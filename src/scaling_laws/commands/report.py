"""`scaling-laws report`: everything that a study's folder can tell, and a small copy of it to keep.

`study` ends with the same.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import (
    is_laws_file,
    own_names,
    refuse_links,
    require_own_folder,
    write_own_files,
)
from scaling_laws.study.records import PLAN_FILE, QUESTION_FILE

if TYPE_CHECKING:
    import pandas as pd

    from scaling_laws.laws.results.types import Laws
    from scaling_laws.report.content import Content
    from scaling_laws.report.pictures import Picture
    from scaling_laws.study.runs import Study

FORCE = "replace files that scaling-laws did not write, in folders that it did not make"
LARGEST_EXPORT_BYTES = 20_000_000
POINTS_A_CURVE = 60
FIGURES = "figures"
EARLIER_REPORT = ("report.html", "report.md", "laws.json")
EARLIER_EXPORT = ("runs.csv", "headline.md", "laws.json")
"""What versions without a list of their files left, all of it."""


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """What `report` takes."""
    parser.add_argument("study", type=Path, metavar="STUDY", help="a study's folder, or an exported one")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where to write the report (default: the study's folder; report/ in an exported one)",
    )
    parser.add_argument(
        "--export",
        type=Path,
        metavar="FOLDER",
        help="copy the small results there, too: tables, laws, thinned curves, figures",
    )
    parser.add_argument("--force", action="store_true", help=FORCE)


def report(options: argparse.Namespace) -> None:
    """Write the report, and export what is small."""
    from scaling_laws.study.runs import load_study

    study = load_study(options.study)
    output = options.output or (study.folder / "report" if study.exported else study.folder)
    if options.export is not None:
        require_own_folder(options.export, earlier=EARLIER_EXPORT, force=options.force)
    content = write_study_report(study, output, force=options.force)
    if options.export is not None:
        said = export(study, content.laws, content.pictures, options.export, force=options.force)
        print(f"export: {said}")


def write_study_report(study: Study, output: Path, *, force: bool = False) -> Content:
    """Fit, draw and write everything that a study's folder can tell; print the headline table.

    Args:
        output: the study's own folder, an empty one, or one with an earlier report.
        force: replace files there that are not known to be ours.

    Raises:
        InputError: `output` holds other files, or cannot be written to.
    """
    from scaling_laws.laws.results.study import fit_folder
    from scaling_laws.report.content import content_of
    from scaling_laws.report.html import page_files
    from scaling_laws.report.tables import headline, headline_text
    from scaling_laws.report.tensorboard import summary_files

    shared = output.is_dir() and output.samefile(study.folder)
    require_own_folder(output, earlier=EARLIER_REPORT, shared=shared, force=force)
    old_summary = _old_summary(output)
    content = content_of(study, fit_folder(study))
    files = {
        "laws.json": _laws_json(content.laws),
        "runs.csv": study.runs.to_csv(index=False),
        "headline.md": headline(content.laws).markdown() + "\n",
        **page_files(content, "report"),
        **summary_files(content),
    }
    write_own_files(
        output,
        files,
        writer="report",
        earlier=EARLIER_REPORT,
        known_by={"laws.json": is_laws_file},
        shared=shared,
        force=force,
    )
    for path in old_summary:
        path.unlink(missing_ok=True)
    print(headline_text(content.laws))
    print(f"report: {(output / 'report.html').resolve()}")
    return content


def _old_summary(output: Path) -> list[Path]:
    """The TensorBoard files that an earlier version's report left, which named them in no list.

    Raises:
        InputError: the folder `summary` holds something else, a run of that name perhaps.
    """
    from scaling_laws.report.tensorboard import EVENTS, SUMMARY_RUN

    refuse_links(output, FIGURES)
    refuse_links(output, SUMMARY_RUN)
    folder, ours = output / SUMMARY_RUN, own_names(output)
    found = [path for path in folder.glob("*") if f"{SUMMARY_RUN}/{path.name}" not in ours]
    for path in found:
        if path.is_symlink() or not path.is_file() or not path.name.startswith(EVENTS):
            raise InputError(
                f"{folder}: holds {path.name}, and is where the report keeps TensorBoard's files; "
                "move it away, and run the same command again"
            )
    return found


def _laws_json(laws: Laws) -> str:
    return json.dumps(laws.to_json(), indent=1, allow_nan=False) + "\n"


def export(
    study: Study, laws: Laws, pictures: Iterable[Picture], folder: Path, *, force: bool = False
) -> str:
    """Copy a study's small results, and say how large they are; `load_study` reads the copy.

    `runs.csv`, `laws.json`, the plan, `curves.csv.gz` (at most `POINTS_A_CURVE` evaluations of each run) and
    the figures, as PNG of fewer pixels. The same study gives the same bytes.

    Args:
        laws, pictures: the study's, as just fitted and drawn: no file of the study's folder is passed on.
        folder: made where it is missing; figures of an earlier export that are no longer drawn are removed.
        force: replace files there that are not known to be ours.

    Raises:
        InputError: the results are larger than `LARGEST_EXPORT_BYTES`, or the folder holds other files or
            cannot be written to.
    """
    from scaling_laws.report.tables import headline
    from scaling_laws.study.runs import EXPORTED_CURVES, EXPORTED_LAWS, EXPORTED_RUNS

    curves = thinned(study.curves()).to_csv(index=False)
    content: dict[str, str | bytes] = {
        EXPORTED_LAWS: _laws_json(laws),
        "headline.md": headline(laws).markdown() + "\n",
        EXPORTED_RUNS: study.runs.to_csv(index=False),
        EXPORTED_CURVES: gzip.compress(curves.encode(), mtime=0),
        **_planned(study),
        **figures_to_keep(pictures),
    }
    return export_files(content, folder, earlier=EARLIER_EXPORT, force=force)


def _planned(study: Study) -> dict[str, str]:
    """A study's plan and question, written anew from what was read of them."""
    content = {}
    try:
        plan = json.loads((study.folder / PLAN_FILE).read_text(encoding="utf-8"))
        content[PLAN_FILE] = json.dumps(plan, indent=1, allow_nan=False) + "\n"
    except (OSError, ValueError, RecursionError):
        pass  # nothing depends on it
    if study.question:
        content[QUESTION_FILE] = json.dumps({"question": study.question}) + "\n"
    return content


def figures_to_keep(pictures: Iterable[Picture]) -> dict[str, bytes]:
    """The contents of a page's figures, as PNG of fewer pixels, by name."""
    from scaling_laws.report.pictures import smaller_png

    return {f"{FIGURES}/{picture.name}.png": smaller_png(picture.png) for picture in pictures}


def export_files(
    content: Mapping[str, str | bytes], folder: Path, *, earlier: tuple[str, ...], force: bool = False
) -> str:
    """Write small results, remove those that an earlier export left, and say how large they are.

    Args:
        earlier: as `write_own_files`.
        force: replace files that are not known to be ours.

    Raises:
        InputError: they are larger than `LARGEST_EXPORT_BYTES`, or the folder holds other files or cannot be
            written to.
    """
    total = sum(len(each) for each in content.values())
    if total > LARGEST_EXPORT_BYTES:
        largest = max(content, key=lambda name: len(content[name]))
        raise InputError(
            f"{folder}: the results are {total / 1e6:.1f} MB, and {LARGEST_EXPORT_BYTES / 1e6:.0f} MB are "
            f"exported at most; the largest file is {largest}; nothing was written"
        )
    write_own_files(folder, content, writer="export", earlier=earlier, force=force)
    return f"{len(content)} files, {total / 1e6:.2f} MB, in {folder}"


def thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """Of each run's evaluations at most `POINTS_A_CURVE`, evenly spaced in order, the last among them."""
    from scaling_laws.study.records import CURVE, LOSS_SUFFIX, MAIN_CORPUS, loss_column

    main_loss = loss_column(MAIN_CORPUS)
    if main_loss not in curves.columns:
        return curves[["run"]].iloc[:0]
    evaluated = curves.dropna(subset=[main_loss])
    place = evaluated.groupby("run").cumcount(ascending=False)
    every = -(-evaluated.groupby("run")["step"].transform("size") // POINTS_A_CURVE)
    chosen = {"run", *(column.name for column in CURVE if column.exported)}
    columns = [column for column in curves.columns if column in chosen or column.endswith(LOSS_SUFFIX)]
    return evaluated.loc[place % every == 0, columns]
