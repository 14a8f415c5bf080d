"""Forecasts of a study's folder in its report: scored once the run is there, and kept whatever they say."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.by_hand import study_of, tables_of

from scaling_laws.laws.plan.planner import answer_published
from scaling_laws.laws.plan.predictions import frozen_prediction
from scaling_laws.laws.plan.question import Question
from scaling_laws.report.frozen_predictions import frozen_predictions
from scaling_laws.report.study_tables import StudyTables

N, D = 1e8, 2e9


def write_forecast(folder: Path) -> dict[str, Any]:
    question = Question(N=N, D=D)
    content = frozen_prediction(
        answer_published("besiroglu", question),
        question,
        now=datetime(2026, 1, 2, tzinfo=UTC),
        version="0",
        published="besiroglu",
    )
    (folder / "predictions").mkdir(parents=True)
    (folder / "predictions" / "largest.json").write_text(json.dumps(content), encoding="utf-8")
    return content


def tables_with(folder: Path, *rows: dict[str, Any]) -> StudyTables:
    tables = tables_of(study_of(rows, folder=folder))
    runs = tables.runs.assign(N_total=tables.runs["N"]) if rows else tables.runs
    return replace(tables, runs=runs, complete=runs)


def test_a_forecast_waits_for_its_run_and_is_scored_by_it(tmp_path: Path) -> None:
    forecast = write_forecast(tmp_path)
    other = {"N": 1e7, "D": D, "loss": 3.0, "C": 1.0}
    ((*_, waiting),) = frozen_predictions(tables_with(tmp_path, other)).rows
    assert waiting == "not trained yet"
    loss = forecast["loss_nats"] / 1.02
    found = frozen_predictions(tables_with(tmp_path, other, {"N": N, "D": D, "loss": loss, "C": 1.0}))
    (row,) = found.rows
    assert row[0] == "2026-01-02" and row[-2] == "+2.0 %"
    assert float(row[-3]) == pytest.approx(loss, rel=1e-3)


def test_a_damaged_forecast_is_a_row_that_says_so(tmp_path: Path) -> None:
    write_forecast(tmp_path)
    (tmp_path / "predictions" / "bad.json").write_text("{}", encoding="utf-8")
    rows = frozen_predictions(tables_with(tmp_path, {"N": 1e7, "D": D, "loss": 3.0, "C": 1.0})).rows
    assert rows[0][0] == "bad.json" and "cannot be read" in rows[0][-1] and len(rows) == 2


def test_without_forecasts_there_is_no_row(tmp_path: Path) -> None:
    assert not frozen_predictions(tables_with(tmp_path)).rows
