"""Small copies of results to keep: tables, laws, thinned curves, figures of fewer pixels."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from scaling_laws.laws.results.types import Laws
from scaling_laws.report.html import FIGURES_FOLDER
from scaling_laws.report.pictures import Picture, smaller_png
from scaling_laws.report.study_report import laws_text
from scaling_laws.report.tables import headline
from scaling_laws.study.artefacts import read_json
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import write_own_files
from scaling_laws.study.records import (
    CURVE,
    LOSS_SUFFIX,
    MAIN_CORPUS,
    PLAN_FILE,
    QUESTION_FILE,
    loss_column,
)
from scaling_laws.study.runs import (
    EXPORTED_CLASSES,
    EXPORTED_CURVES,
    EXPORTED_LAWS,
    EXPORTED_RUNS,
    EXPORTED_TASKS,
    Study,
)

LARGEST_EXPORT_BYTES = 20_000_000
POINTS_A_CURVE = 60
EARLIER_EXPORT = ("runs.csv", "headline.md", "laws.json")
"""What versions without a list of their files left, all of it."""


def export(
    study: Study, laws: Laws, pictures: Iterable[Picture], folder: Path, *, force: bool = False
) -> str:
    """Copy a study's small results, and say how large they are; `load_study` reads the copy.

    `runs.csv`, `laws.json`, the plan, `curves.csv.gz` (at most `POINTS_A_CURVE` evaluations of each run),
    `token_classes.csv.gz`, `task_scores.csv.gz` where runs were scored, and the figures, as PNG of fewer
    pixels. The same study gives the same bytes.

    Args:
        laws, pictures: the study's, as just fitted and drawn: no file of the study's folder is passed on.
        folder: made where it is missing; figures of an earlier export that are no longer drawn are removed.
        force: replace files there that are not known to be ours.

    Raises:
        InputError: the results are larger than `LARGEST_EXPORT_BYTES`, or the folder holds other files or
            cannot be written to.
    """
    curves = thinned(study.curves()).to_csv(index=False)
    classes = pooled_classes(study.token_classes(final_only=False))
    scores = study.task_scores(final_only=False)
    tasks = "" if scores.empty else scores.to_csv(index=False)
    content: dict[str, str | bytes] = {
        EXPORTED_LAWS: laws_text(laws),
        "headline.md": headline(laws).markdown() + "\n",
        EXPORTED_RUNS: study.runs.to_csv(index=False),
        EXPORTED_CURVES: gzip.compress(curves.encode(), mtime=0),
        **({EXPORTED_CLASSES: gzip.compress(classes.encode(), mtime=0)} if classes else {}),
        **({EXPORTED_TASKS: gzip.compress(tasks.encode(), mtime=0)} if tasks else {}),
        **_planned(study),
        **figures_to_keep(pictures),
    }
    return export_files(content, folder, earlier=EARLIER_EXPORT, force=force)


def pooled_classes(table: pd.DataFrame) -> str:
    """CSV of losses by class of token, folds pooled; before the last evaluation of the main corpus alone."""
    if table.empty:
        return ""
    last = table["step"] == table.groupby("run")["step"].transform("max")
    kept = table[last | (table["corpus"] == MAIN_CORPUS)].assign(fold=0)
    by = ["run", "step", "corpus", "fold", "token_class"]
    sums = kept.groupby(by, sort=False)[["loss_sum_nats", "count"]].sum().reset_index()
    return sums.to_csv(index=False, float_format="%.8g")


def _planned(study: Study) -> dict[str, str]:
    """A study's plan and question, written anew from what was read of them."""
    content = {}
    try:
        plan = read_json(study.folder / PLAN_FILE, kind="plan", remedy="")
        content[PLAN_FILE] = json.dumps(plan, indent=1, allow_nan=False) + "\n"
    except InputError:
        pass  # nothing depends on it
    if study.question:
        content[QUESTION_FILE] = json.dumps({"question": study.question}) + "\n"
    return content


def figures_to_keep(pictures: Iterable[Picture]) -> dict[str, bytes]:
    """The contents of a page's figures, as PNG of fewer pixels, by name."""
    return {f"{FIGURES_FOLDER}/{picture.name}.png": smaller_png(picture.png) for picture in pictures}


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
    main_loss = loss_column(MAIN_CORPUS)
    if main_loss not in curves.columns:
        return curves[["run"]].iloc[:0]
    evaluated = curves.dropna(subset=[main_loss])
    place = evaluated.groupby("run").cumcount(ascending=False)
    every = -(-evaluated.groupby("run")["step"].transform("size") // POINTS_A_CURVE)
    chosen = {"run", *(column.name for column in CURVE if column.exported)}
    columns = [column for column in curves.columns if column in chosen or column.endswith(LOSS_SUFFIX)]
    return evaluated.loc[place % every == 0, columns]
