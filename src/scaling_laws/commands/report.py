"""`scaling-laws report`: everything that a study's folder can tell, and a small copy of it to keep.

`study` ends with the same.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_laws.study.errors import InputError
from scaling_laws.study.records import PLAN_FILE, QUESTION_FILE

if TYPE_CHECKING:
    import pandas as pd

    from scaling_laws.study.runs import Study

LARGEST_EXPORT_BYTES = 20_000_000
POINTS_A_CURVE = 60
REPORT_FILES = ("laws.json", "headline.md")
STUDY_FILES = (PLAN_FILE, QUESTION_FILE)
FIGURES = "figures"


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


def report(options: argparse.Namespace) -> None:
    """Write the report, and export what is small."""
    from scaling_laws.study.runs import load_study

    study = load_study(options.study)
    output = options.output or (study.folder / "report" if study.exported else study.folder)
    write_study_report(study, output)
    if options.export is not None:
        print(f"export: {export(study, options.export, output)}")


def write_study_report(study: Study, output: Path) -> None:
    """Fit, draw and write everything that a study's folder can tell; print the headline table."""
    from scaling_laws.laws.results.study import fit_folder
    from scaling_laws.report.content import content_of
    from scaling_laws.report.html import write_content
    from scaling_laws.report.tables import headline, headline_text
    from scaling_laws.report.tensorboard import write_study_summary
    from scaling_laws.study.records import write_atomically

    laws = fit_folder(study)
    write_atomically(output / "laws.json", json.dumps(laws.to_json(), indent=1, allow_nan=False) + "\n")
    write_atomically(output / "runs.csv", study.runs.to_csv(index=False))
    write_atomically(output / "headline.md", headline(laws).markdown() + "\n")
    content = content_of(study, laws)
    page = write_content(content, output / "report.html")
    write_study_summary(content, output)
    print(headline_text(laws))
    print(f"report: {page.resolve()}")


def export(study: Study, folder: Path, report: Path) -> str:
    """Copy a study's small results, and say how large they are; `load_study` reads the copy.

    `runs.csv`, `laws.json`, the plan, `curves.csv.gz` (at most `POINTS_A_CURVE` evaluations of each run) and
    the figures, as PNG of fewer pixels. The same study gives the same bytes.

    Args:
        report: the folder that the study's report was written to.
        folder: made where it is missing; figures of an earlier export that are no longer drawn are removed.

    Raises:
        InputError: the results are larger than `LARGEST_EXPORT_BYTES`, or the folder cannot be written to.
    """
    from scaling_laws.study.runs import EXPORTED_CURVES, EXPORTED_RUNS

    small = [report / name for name in REPORT_FILES] + [study.folder / name for name in STUDY_FILES]
    content = {path.name: path.read_bytes() for path in small if path.is_file()}
    content[EXPORTED_RUNS] = study.runs.to_csv(index=False).encode()
    curves = thinned(study.curves()).to_csv(index=False)
    content[EXPORTED_CURVES] = gzip.compress(curves.encode(), mtime=0)
    return export_files(content | figures_to_keep(report), folder)


def figures_to_keep(folder: Path) -> dict[str, bytes]:
    """The contents of a page's figures, as PNG of fewer pixels, by name."""
    from scaling_laws.report.pictures import smaller_png

    content = {}
    for path in sorted((folder / FIGURES).glob("*.png")):
        content[f"{FIGURES}/{path.name}"] = smaller_png(path.read_bytes())
    return content


def export_files(content: Mapping[str, bytes], folder: Path) -> str:
    """Write small results, remove the figures that an earlier export left, and say how large they are.

    Raises:
        InputError: they are larger than `LARGEST_EXPORT_BYTES`, or the folder cannot be written to.
    """
    from scaling_laws.study.records import write_atomically

    total = sum(map(len, content.values()))
    if total > LARGEST_EXPORT_BYTES:
        largest = max(content, key=lambda name: len(content[name]))
        raise InputError(
            f"{folder}: the results are {total / 1e6:.1f} MB, and {LARGEST_EXPORT_BYTES / 1e6:.0f} MB are "
            f"exported at most; the largest file is {largest}; nothing was written"
        )
    for name, data in content.items():
        write_atomically(folder / name, data)
    for path in (folder / FIGURES).glob("*"):
        if path.suffix in (".png", ".svg") and f"{FIGURES}/{path.name}" not in content:
            path.unlink()
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
