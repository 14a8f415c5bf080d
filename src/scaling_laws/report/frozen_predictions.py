"""Forecasts that were written down before their runs: files of `plan --freeze` in a study's folder."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.laws.plan.predictions import SAME, Score, score_prediction
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.style import family_name
from scaling_laws.report.text import NOTHING, Table, number, short, with_interval
from scaling_laws.study.artefacts import read_json
from scaling_laws.study.errors import InputError

FOLDER = "predictions"
"""Of a study's folder."""
COLUMNS = ("written", "family", "N", "D", "loss predicted", "loss found", "off by", "in its interval")


def frozen_predictions(study: StudyTables) -> Table:
    """One row a forecast, whatever came of it; without rows where the study has none.

    It is scored by the study's run of its own N and D: the one that lies nearest, the mean over seeds.
    """
    rows = []
    for path in sorted((study.study.folder / FOLDER).glob("*.json")):
        prediction = read_json(path, kind="prediction", remedy="write one with: scaling-laws plan --freeze")
        try:
            rows.append(_row(prediction, study))
        except (InputError, KeyError, TypeError, ValueError) as error:
            rows.append((path.name, *[NOTHING] * (len(COLUMNS) - 2), f"cannot be read: {error}"))
    caption = (
        "Written by `scaling-laws plan --freeze` before the run was trained; the interval is of 90 %, of one "
        "new run. The file holds the law, its draws, the hash of the runs it was fitted to, and the version."
    )
    return Table(columns=COLUMNS, rows=tuple(rows), caption=caption)


def _row(prediction: dict[str, Any], study: StudyTables) -> tuple[str, ...]:
    family = prediction.get("family")
    low, high = prediction["loss_interval"]
    start = (
        str(prediction["written"])[:10],
        family_name(family) if family else "all",
        short(prediction["N"]),
        short(prediction["D"]),
        with_interval(prediction["loss_nats"], (low, high)),
    )
    runs = _trained(prediction, study)
    if runs.empty:
        return (*start, NOTHING, NOTHING, "not trained yet")
    score = _score(prediction, runs, study)
    inside = NOTHING if score.inside is None else "yes" if score.inside else "no"
    if score.warning:
        inside += f"; {score.warning}"
    return (*start, number(score.actual), f"{100 * score.relative_error:+.1f} %", inside)


def _trained(prediction: dict[str, Any], study: StudyTables) -> pd.DataFrame:
    """The runs of the forecast's N and D."""
    family, column = prediction.get("family"), str(prediction.get("convention", "N"))
    runs = study.runs if family in (None, "all") else study.of(family)
    if runs.empty or column not in study.complete.columns:
        return runs.iloc[:0]
    of_convention = study.complete.set_index("run")[column]
    N = runs["run"].map(of_convention).astype(float)
    near = (np.abs(np.log(N / prediction["N"])) <= SAME) & (
        np.abs(np.log(runs["D"] / prediction["D"])) <= SAME
    )
    return pd.DataFrame(runs[near])


def _score(prediction: dict[str, Any], runs: pd.DataFrame, study: StudyTables) -> Score:
    """By the mean loss over seeds; the run ended when its record was written."""
    records = [study.study.folder / run / "record.json" for run in runs["run"]]
    ends = [path.stat().st_mtime for path in records if path.is_file()]
    ended = datetime.fromtimestamp(min(ends), UTC) if ends else datetime.now(UTC)
    return score_prediction(prediction, loss_nats=float(runs["loss"].mean()), ended=ended)
