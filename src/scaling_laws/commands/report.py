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

if TYPE_CHECKING:
    import pandas as pd

    from scaling_laws.study.runs import Study

LARGEST_EXPORT_BYTES = 20_000_000
POINTS_A_CURVE = 60
KEPT_FILES = ("runs.csv", "laws.json", "headline.md", "plan.json")
FIGURES = "figures"


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """What `report` takes."""
    parser.add_argument("study", type=Path, metavar="STUDY", help="a study's folder")
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
    write_study_report(study)
    if options.export is not None:
        print(f"export: {export(study, options.export)}")


def write_study_report(study: Study) -> None:
    """Fit, draw and write everything that a study's folder can tell; print the headline table."""
    from scaling_laws.commands.laws import fit_folder
    from scaling_laws.report.content import content_of
    from scaling_laws.report.evidence import no_laws
    from scaling_laws.report.html import write_content
    from scaling_laws.report.tables import headline, headline_text
    from scaling_laws.report.tensorboard import write_study_summary
    from scaling_laws.study.records import write_atomically

    laws = no_laws(study) if study.runs.empty else fit_folder(study)
    write_atomically(study.folder / "laws.json", json.dumps(laws, indent=1, allow_nan=False) + "\n")
    write_atomically(study.folder / "runs.csv", study.runs.to_csv(index=False))
    write_atomically(study.folder / "headline.md", headline(laws).markdown() + "\n")
    content = content_of(study, laws)
    page = write_content(content, study.folder / "report.html")
    write_study_summary(content, study.folder)
    print(headline_text(laws))
    print(f"report: {page.resolve()}")


def export(study: Study, folder: Path) -> str:
    """Copy a study's small results, and say how large they are.

    `runs.csv`, `laws.json`, the plan, `curves.csv.gz` (at most `POINTS_A_CURVE` evaluations of
    each run) and the figures, as SVG and as PNG of fewer pixels. The same study gives the same bytes.

    Args:
        folder: made where it is missing; figures of an earlier export that are no longer drawn are removed.

    Raises:
        InputError: the results are larger than `LARGEST_EXPORT_BYTES`, or the folder cannot be written to.
    """
    small = {name: study.folder / name for name in KEPT_FILES}
    content = {name: path.read_bytes() for name, path in small.items() if path.is_file()}
    content["curves.csv.gz"] = gzip.compress(thinned(study.curves()).to_csv(index=False).encode(), mtime=0)
    return export_files(content | figures_to_keep(study.folder), folder)


def figures_to_keep(folder: Path) -> dict[str, bytes]:
    """The contents of a page's figures, as SVG and as PNG of fewer pixels, by name."""
    from scaling_laws.report.pictures import smaller_png

    content = {}
    for path in sorted((folder / FIGURES).glob("*.svg")):
        content[f"{FIGURES}/{path.name}"] = path.read_bytes()
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
    from scaling_laws.study.records import CURVE, MAIN_CORPUS, loss_column

    main_loss = loss_column(MAIN_CORPUS)
    if main_loss not in curves.columns:
        return curves[["run"]].iloc[:0]
    evaluated = curves.dropna(subset=[main_loss])
    place = evaluated.groupby("run").cumcount(ascending=False)
    every = -(-evaluated.groupby("run")["step"].transform("size") // POINTS_A_CURVE)
    chosen = {"run", *(column.name for column in CURVE if column.exported), main_loss}
    columns = [column for column in curves.columns if column in chosen]
    return evaluated.loc[place % every == 0, columns]
