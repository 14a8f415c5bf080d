"""Figures 4, 9 and 16: the law of unique tokens, overfitting and stopping steps against known laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.papers.kaplan_study import by_hand, kaplan, kaplan_of
from tests.support.by_hand import laws_with, study_of, tables_of

from scaling_laws.laws.batch.constant_rate import curves_of_study
from scaling_laws.laws.forms.joint import KaplanND
from scaling_laws.laws.forms.steps import CriticalBatch, KaplanNS
from scaling_laws.laws.published import KAPLAN_TABLE_2
from scaling_laws.papers.kaplan2020.evidence import KaplanTables, fit_data_law
from scaling_laws.papers.kaplan2020.figures.data_and_steps import fig04_data_and_steps, points_in_steps_min
from scaling_laws.papers.kaplan2020.figures.early_stopping import (
    EarlyStopping,
    fig16_early_stopping,
    stopping_steps,
    training_gaps,
)
from scaling_laws.papers.kaplan2020.figures.overfitting import (
    data_needed,
    excess_at,
    excess_of,
    fig09_overfitting,
)

LAW = KaplanND(alpha_N=0.08, alpha_D=0.11, N_c=3e11, D_c=2e11)
STEPS = KaplanNS(alpha_N=0.08, alpha_S=0.7, N_c=3e11, S_c=90.0)
BATCH = CriticalBatch(alpha_B=0.21, B_star=9e5)
SIZES, PARTS = (5e3, 2e4, 8e4, 3e5), (1e5, 2e5, 4e5, 8e5, 3e6)


def rows() -> list[dict[str, Any]]:
    """A run of every size on every part of the corpus, stopped early at the loss of `LAW`."""
    return [
        {"run": f"n{N:g}-d{D:g}", "trunk": f"n{N:g}-d{D:g}", "experiments": "data, paper"}
        | {"N": N, "N_total": 2 * N, "D": 4 * D, "unique_tokens": D, "C": 24 * N * D}
        | {"loss": float(LAW.loss(N, D)), "stopped_early": True, "after_cooldown": False}
        | {"batch_tokens": 2048, "steps": 200}
        for N in SIZES
        for D in PARTS
    ]


def study_with(
    runs: Sequence[Mapping[str, Any]], stop_step: float | None = 100.0, **laws: Any
) -> KaplanTables:
    """No run is of a law of one recipe, as in a study of this experiment alone."""
    records = [SimpleNamespace(name=row["run"], evaluated_step=stop_step, steps=row["steps"]) for row in runs]
    study = study_of(runs)
    tables = tables_of(replace(study, records=tuple(records)))  # type: ignore[arg-type]
    return kaplan(replace(tables, runs=study.runs.iloc[:0]), laws_with(**laws))


def test_runs_of_the_experiment_count_by_their_unique_tokens() -> None:
    other = rows()[0] | {"run": "other", "experiments": "size", "N": 7e7}
    lstm = rows()[1] | {"run": "lstm", "family": "lstm", "N": 7e7}
    table = study_with([*rows(), other, lstm], stop_step=None).data_runs()
    assert sorted(set(table["N"])) == list(SIZES) and sorted(set(table["D"])) == list(PARTS)
    assert len(table) == len(SIZES) * len(PARTS)
    assert (table["stop_step"] == 200).all()  # where the record does not say, the last step
    in_total = study_with(rows(), conventions={"N": "N_total", "C": "C", "loss": "loss"})
    assert in_total.data_runs()["N"].min() == 2 * min(SIZES)


def test_the_law_of_unique_tokens_is_found() -> None:
    found = fit_data_law(study_with(rows()).data_runs(), resamples=20)
    assert found.law is not None and found.draws is not None
    assert found.law.alpha_N == pytest.approx(LAW.alpha_N, rel=1e-3)
    assert found.law.alpha_D == pytest.approx(LAW.alpha_D, rel=1e-3)
    assert found.draws.loss(1e4, np.array([[1e5, 1e6]])).shape == (20, 2)


def test_overfitting_is_one_function_of_size_and_data() -> None:
    runs = study_with(rows()).data_runs()
    table = excess_of(runs, LAW)
    np.testing.assert_allclose(table["excess"], table["predicted"], rtol=1e-9)
    np.testing.assert_allclose(excess_at(table["x"].to_numpy(), LAW), table["excess"], rtol=1e-9)
    raised = excess_of(runs.assign(loss=1.05 * runs["loss"]), LAW)
    np.testing.assert_allclose((1 + raised["excess"]) / (1 + raised["predicted"]), 1.05)


def test_the_data_that_is_needed_is_the_papers() -> None:
    k, p = data_needed(KAPLAN_TABLE_2)
    assert k == pytest.approx(5.52e3, rel=0.01) and p == pytest.approx(0.738, abs=1e-3)
    assert KAPLAN_TABLE_2.overfitting(1e6, k * 1e6**p) == pytest.approx(0.02)


def test_steps_are_converted_at_the_loss_of_each_point() -> None:
    runs = pd.DataFrame([{"run": "a", "trunk": "a", "N": 1e4, "batch_tokens": 2048, "unique_tokens": 1e7}])
    steps = np.array([2, 10, 100, 1000, 1100])
    curve = pd.DataFrame(
        {"run": "a", "step": steps, "tokens": 2048 * steps, "learning_rate": [0.5, 1, 1, 1, 0.2]}
        | {"test_loss_nats": [6.0, 5.0, 4.0, 3.5, 3.2]}
    )
    points = points_in_steps_min(curves_of_study(curve, runs), BATCH)
    assert list(points["step"]) == [10, 100, 1000]  # neither warm-up nor cooldown
    expected = points["step"] / (1 + 9e5 / points["loss"] ** (1 / 0.21) / 2048)
    np.testing.assert_allclose(points["S_min"], expected)


def test_a_run_that_stops_where_unlimited_text_reaches_its_loss_is_on_the_bound() -> None:
    runs = study_with(rows()).data_runs()
    S_min = STEPS.S_c * (runs["loss"] - LAW.loss(runs["N"], np.inf)) ** (-1 / STEPS.alpha_S)  # (5.7)
    exact = runs.assign(stop_step=S_min * (1 + BATCH.batch_tokens(runs["loss"]) / 2048))  # (5.4)
    table = stopping_steps(exact, LAW, STEPS, BATCH)
    assert len(table) == len(runs)
    np.testing.assert_allclose(table["S_stop"], table["bound"])
    later = stopping_steps(exact.assign(stop_step=3 * exact["stop_step"]), LAW, STEPS, BATCH)
    np.testing.assert_allclose(later["S_stop"], 3 * later["bound"])
    assert stopping_steps(runs.assign(stopped_early=False), LAW, STEPS, BATCH).empty
    below = runs.assign(loss=0.9 * LAW.loss(runs["N"], np.inf))
    assert stopping_steps(below, LAW, STEPS, BATCH).empty


def test_gaps_are_of_the_largest_size_at_the_kept_weights() -> None:
    steps = np.array([25, 50, 98, 150, 200])
    curves = [
        pd.DataFrame(
            {"run": row["run"], "step": steps, "train_loss_nats": 3.0, "test_loss_nats": 3.0 + steps / 1000}
        )
        for row in rows()
    ]
    study = replace(study_with(rows()), curves=pd.concat(curves))
    table = training_gaps(study, study.data_runs())
    assert sorted(set(table["D"])) == list(PARTS) and len(set(table["run"])) == len(PARTS)
    assert set(table["run"]) == {f"n{max(SIZES):g}-d{D:g}" for D in PARTS}
    kept = table[table["at_stop"]]
    assert (kept["step"] == 98).all() and len(kept) == len(PARTS)
    np.testing.assert_allclose(kept["test"] - kept["train"], 0.098)


def prepared(figure: Any, study: KaplanTables) -> Any:
    data = figure.prepare(study, study.laws)
    assert not isinstance(data, str), data
    return data


def test_figure_9_shows_the_excess_of_every_run() -> None:
    data = prepared(fig09_overfitting, study_with(rows()))
    assert len(data.runs) == len(SIZES) * len(PARTS) and data.law.law is not None
    np.testing.assert_allclose(data.runs["excess"], excess_at(data.runs["x"], data.law.law), rtol=1e-3)
    sentence = fig09_overfitting.describe(data)
    assert "within 0.0 % (rms)" in sentence and "Kaplan 2020: 5.52k N^0.74" in sentence


def test_figure_4_shows_each_run_and_its_law() -> None:
    data = prepared(fig04_data_and_steps, study_with(rows()))
    shown = sorted(zip(data.runs["D"], data.runs["loss"], strict=True))
    np.testing.assert_allclose(shown, sorted((row["unique_tokens"], row["loss"]) for row in rows()))
    assert data.steps is None and data.points.empty
    sentence = fig04_data_and_steps.describe(data)
    assert "α_N = 0.08" in sentence and "(Kaplan 2020: 0.076, 0.103)" in sentence
    assert "B_crit must be known" in sentence


def test_figure_16_names_what_it_lacks() -> None:
    data: EarlyStopping = prepared(fig16_early_stopping, study_with(rows()))
    assert data.stops.empty and "configs/sweeps/batch.yaml" in data.reason and data.gaps.empty
    assert "was not tested" in fig16_early_stopping.describe(data)


def test_runs_without_records_say_why_there_is_no_stop() -> None:
    """As in an exported study."""
    study = study_with(rows())
    exported = replace(study, study=replace(study.study, records=()))
    reason = fig16_early_stopping.prepare(exported, exported.laws)
    assert "draw this from the runs' folders" in str(reason)


def test_one_size_does_not_make_a_law() -> None:
    study = study_with([row for row in rows() if row["N"] == SIZES[0]])
    assert "only one N" in fig09_overfitting.describe(prepared(fig09_overfitting, study))
    assert "only one N" in fig04_data_and_steps.describe(prepared(fig04_data_and_steps, study))
    assert "only one N" in prepared(fig16_early_stopping, study).reason


def test_a_study_without_the_experiment_says_which_sweep_has_it() -> None:
    study = by_hand()
    for each in (fig04_data_and_steps, fig09_overfitting, fig16_early_stopping):
        assert "configs/sweeps/data.yaml" in str(each.prepare(study, study.laws)), each.name


def test_the_papers_own_laws_come_back(paper: Any) -> None:
    """The study of the whole paper, with noise between runs."""
    study = kaplan_of(paper)
    data = prepared(fig16_early_stopping, study)
    assert len(data.runs) == 24 and data.law is not None
    assert data.law.alpha_N == pytest.approx(0.076, abs=0.004)
    assert data.law.alpha_D == pytest.approx(0.103, abs=0.02)
    table = excess_of(data.runs, data.law)
    assert np.abs(table["excess"] - table["predicted"]).max() < 0.03
    kept = data.gaps[data.gaps["at_stop"]].drop_duplicates("run")
    losses = data.runs.set_index("run")["loss"]
    np.testing.assert_allclose(kept["test"], losses[kept["run"]], rtol=0.02)
    assert len(data.stops) and (data.stops["bound"] > 0).all()
