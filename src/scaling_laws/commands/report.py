"""`scaling-laws report`: everything that a study's folder can tell, and a small copy of it to keep.

`study` ends with the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_laws.study.own_files import require_own_folder

if TYPE_CHECKING:
    from scaling_laws.report.content import Content
    from scaling_laws.study.runs import Study

FORCE = "replace files that scaling-laws did not write, in folders that it did not make"


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
    from scaling_laws.report.export import EARLIER_EXPORT, export
    from scaling_laws.study.runs import load_study

    study = load_study(options.study)
    output = options.output or (study.folder / "report" if study.exported else study.folder)
    if options.export is not None:
        require_own_folder(options.export, earlier=EARLIER_EXPORT, force=options.force)
    content = write_and_say(study, output, force=options.force)
    if options.export is not None:
        said = export(study, content.laws, content.pictures, options.export, force=options.force)
        print(f"export: {said}")


def write_and_say(study: Study, output: Path, *, force: bool = False) -> Content:
    """Write a study's report; print the headline table, and where the page is."""
    from scaling_laws.report.study_report import PAGE, write_study_report
    from scaling_laws.report.tables import headline_text

    content = write_study_report(study, output, force=force)
    print(headline_text(content.laws))
    print(f"report: {(output / PAGE).resolve()}")
    return content
