"""What the page's script is given: every run, by every convention; thin curves; JSON that stays inside."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scaling_laws.report import interactive
from scaling_laws.report.interactive import explorer_data, explorer_of, script_json
from scaling_laws.report.study_tables import training_losses
from scaling_laws.report.style import COMPUTE_LABELS, PARAMETER_LABELS


def test_every_run_by_every_convention(synthetic: Any) -> None:
    data = explorer_data(synthetic.tables, synthetic.laws)
    runs = synthetic.study.runs.set_index("run")
    columns = data["runs"]
    assert sorted(columns["run"]) == sorted(runs.index)
    for column in (*PARAMETER_LABELS, *COMPUTE_LABELS, "D", "unique_tokens", "loss"):
        np.testing.assert_allclose(columns[column], runs.loc[columns["run"], column], rtol=1e-5)
    assert [data["families"][number] for number in columns["family"]] == [
        {"transformer": "Transformer", "lstm": "LSTM"}[family]
        for family in runs.loc[columns["run"], "family"]
    ]
    assert all(columns["in_laws"])


def test_runs_outside_the_laws_and_of_several_experiments(synthetic: Any) -> None:
    complete = synthetic.tables.complete
    asked = ["size, data", "", *["size"] * (len(complete) - 2)]
    tables = replace(
        synthetic.tables,
        complete=complete.assign(experiments=asked),
        runs=synthetic.tables.runs[synthetic.tables.runs["run"] != complete["run"].iloc[1]],
    )
    data = explorer_data(tables, synthetic.laws)
    assert data["experiments"] == ["data", "size"]
    of_run = dict(zip(data["runs"]["run"], data["runs"]["experiments"], strict=True))
    assert of_run[complete["run"].iloc[0]] == [1, 0]
    assert of_run[complete["run"].iloc[1]] == []
    outside = [
        name for name, inside in zip(data["runs"]["run"], data["runs"]["in_laws"], strict=True) if not inside
    ]
    assert outside == [complete["run"].iloc[1]]


def test_curves_are_the_measured_ones_and_thin(synthetic: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive, "FEWEST_POINTS", 5)
    monkeypatch.setattr(interactive, "CURVE_POINTS", 1)
    data = explorer_data(synthetic.tables, synthetic.laws)
    measured = training_losses(synthetic.tables)
    for run, curve in zip(data["runs"]["run"], data["curves"], strict=True):
        whole = measured[measured["run"] == run]
        tokens, losses = curve
        assert len(tokens) == len(losses) <= 5 < len(whole)
        assert (tokens[0], tokens[-1]) == (whole["tokens"].iloc[0], whole["tokens"].iloc[-1])
        at = dict(zip(whole["tokens"], whole["loss"], strict=True))
        np.testing.assert_allclose(losses, [at[token] for token in tokens], rtol=1e-4)


def test_a_number_that_is_none_is_null(synthetic: Any) -> None:
    complete = synthetic.tables.complete.assign(C_exact=np.nan)
    data = explorer_data(replace(synthetic.tables, complete=complete, curves=pd.DataFrame()), synthetic.laws)
    assert set(data["runs"]["C_exact"]) == {None}
    assert not any(data["curves"])
    assert json.loads(script_json(data)) == data


def test_json_ends_no_script(synthetic: Any) -> None:
    hostile = "</script><!--<script>&\u2028'\""
    text = script_json({"run": hostile})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"run": hostile}


def test_the_explorer_of_a_study(synthetic: Any) -> None:
    explorer = explorer_of(synthetic.tables, synthetic.laws)
    assert explorer is not None
    assert explorer.families == ("Transformer", "LSTM")
    assert explorer.has_curves
    assert explorer.still.startswith("data:image/webp;base64,")
    script = gzip.decompress(base64.b64decode(explorer.plotly))
    assert script.startswith(b"/**\n* plotly.js v")
    empty = replace(synthetic.tables, complete=synthetic.tables.complete.iloc[:0])
    assert explorer_of(empty, synthetic.laws) is None
