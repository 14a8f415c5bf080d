"""A study's report: fits, figures, page and summary, written into one folder."""

from __future__ import annotations

import json
from pathlib import Path

from scaling_laws.laws.results.study import fit_folder
from scaling_laws.laws.results.types import Laws, with_asked
from scaling_laws.report.content import Content, content_of
from scaling_laws.report.html import FIGURES_FOLDER, page_files
from scaling_laws.report.tables import headline
from scaling_laws.report.tensorboard_layout import EVENTS, SUMMARY_RUN
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import (
    is_laws_file,
    own_names,
    refuse_links,
    require_own_folder,
    write_own_files,
)
from scaling_laws.study.runs import Study

PAGE = "report.html"
EARLIER_REPORT = ("report.html", "report.md", "laws.json")
"""What versions without a list of their files left, all of it."""


def write_study_report(
    study: Study, output: Path, *, laws: Laws | None = None, force: bool = False
) -> Content:
    """Fit, draw and write everything that runs show; the page is `report.html`.

    Args:
        laws: those of the runs; fitted where there are none.
        output: the study's own folder, an empty one, or one with an earlier report.
        force: replace files there that are not known to be ours.

    Raises:
        InputError: `output` holds other files, or cannot be written to.
    """
    shared = output.is_dir() and study.folder.is_dir() and output.samefile(study.folder)
    require_own_folder(output, earlier=EARLIER_REPORT, shared=shared, force=force)
    old_summary = _old_summary(output)
    content = content_of(study, with_asked(laws or fit_folder(study), output / "laws.json"))
    files = {
        "laws.json": laws_text(content.laws),
        "runs.csv": study.runs.to_csv(index=False),
        "headline.md": headline(content.laws).markdown() + "\n",
        **page_files(content, Path(PAGE).stem),
        **_summary(content),
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
    return content


def _summary(content: Content) -> dict[str, bytes]:
    """TensorBoard's file; none where tensorboard is not installed, which only those need who look at it."""
    try:
        from scaling_laws.report.tensorboard import summary_files
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "tensorboard":
            raise
        return {}
    return summary_files(content)


def _old_summary(output: Path) -> list[Path]:
    """The TensorBoard files that an earlier version's report left, which named them in no list.

    Raises:
        InputError: the folder `summary` holds something else, a run of that name perhaps.
    """
    for name in (FIGURES_FOLDER, SUMMARY_RUN):
        refuse_links(output, name)
        if (output / name).is_file():
            raise InputError(f"{output / name}: is a file, where the report keeps a folder; move it away")
    folder, ours = output / SUMMARY_RUN, own_names(output)
    found = [path for path in folder.glob("*") if f"{SUMMARY_RUN}/{path.name}" not in ours]
    for path in found:
        if path.is_symlink() or not path.is_file() or not path.name.startswith(EVENTS):
            raise InputError(
                f"{folder}: holds {path.name}, and is where the report keeps TensorBoard's files; "
                "move it away, and run the same command again"
            )
    return found


def laws_text(laws: Laws) -> str:
    """The content of a laws.json."""
    return json.dumps(laws.to_json(), indent=1, allow_nan=False) + "\n"
