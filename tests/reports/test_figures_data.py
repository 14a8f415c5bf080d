"""Figures 4, 9 and 16: the law of unique tokens, overfitting and stopping steps against known laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from tests.support.by_hand import laws_with, study_of, tables_of
from tests.support.drawn import said, shown

from scaling_laws.laws.forms.joint import KaplanND
from scaling_laws.laws.forms.steps import CriticalBatch, KaplanNS
from scaling_laws.laws.published import KAPLAN_TABLE_2
from scaling_laws.laws.results.types import CriticalBatchLaw, plain_json
from scaling_laws.papers.kaplan2020.figures import data, stopping
from scaling_laws.papers.kaplan2020.limited_data import (
    data_needed,
    data_runs,
    excess_at,
    fit_data_law,
    overfitting,
    points_in_steps_min,
    steps_law,
    stopping_steps,
    training_gaps,
)
from scaling_laws.report.batches import batch_law
from scaling_laws.report.evidence import StudyTables

LAW = KaplanND(alpha_N=0.08, alpha_D=0.11, N_c=3e11, D_c=2e11)
STEPS = KaplanNS(alpha_N=0.08, alpha_S=0.7, N_c=3e11, S_c=90.0)
BATCH = CriticalBatch(alpha_B=0.21, B_star=9e5)
SIZES, PARTS = (5e3, 2e4, 8e4, 3e5), (1e5, 2e5, 4e5, 8e5, 3e6)
FIGURES = (*data.FIGURES, *stopping.FIGURES)


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


def tables_with(runs: Sequence[Mapping[str, Any]], stop_step: float | None = 100.0) -> StudyTables:
    """No run is of a law of one recipe, as in a study of this experiment alone."""
    records = [SimpleNamespace(name=row["run"], evaluated_step=stop_step, steps=row["steps"]) for row in runs]
    study = study_of(runs)
    tables = tables_of(replace(study, records=tuple(records)))  # type: ignore[arg-type]
    return replace(tables, runs=study.runs.iloc[:0])


def of_batch(family: str, **known: Any) -> dict[str, Any]:
    """An entry of `critical_batch`."""
    law = CriticalBatchLaw(**({"reason": ""} | known))
    return {"family": family, **plain_json(law)}


def known_laws() -> dict[str, Any]:
    """The laws of training time as they stand in laws.json."""
    return laws_with(
        critical_batch=[of_batch("transformer", identified=True, parameters=vars(BATCH))],
        training_time=[
            {"family": "transformer", "steps": {"identified": True, "parameters": vars(STEPS)}, "reason": ""}
        ],
    )


def words(figure: Figure) -> str:
    """All that stands written in a figure."""
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return " ".join(text.get_text().replace("\n", " ") for text in texts)


def test_runs_of_the_experiment_count_by_their_unique_tokens() -> None:
    other = rows()[0] | {"run": "other", "experiments": "size", "N": 7e7}
    lstm = rows()[1] | {"run": "lstm", "family": "lstm", "N": 7e7}
    table = data_runs(tables_with([*rows(), other, lstm], stop_step=None), laws_with())
    assert sorted(set(table["N"])) == list(SIZES) and sorted(set(table["D"])) == list(PARTS)
    assert len(table) == len(SIZES) * len(PARTS)
    assert (table["stop_step"] == 200).all()  # where the record does not say, the last step
    in_total = laws_with(conventions={"N": "N_total", "C": "C", "loss": "loss"})
    assert data_runs(tables_with(rows()), in_total)["N"].min() == 2 * min(SIZES)


def test_the_law_of_unique_tokens_is_found() -> None:
    found = fit_data_law(data_runs(tables_with(rows()), laws_with()), resamples=20)
    assert found.law is not None and found.draws is not None
    assert found.law.alpha_N == pytest.approx(LAW.alpha_N, rel=1e-3)
    assert found.law.alpha_D == pytest.approx(LAW.alpha_D, rel=1e-3)
    assert found.draws.loss(1e4, np.array([[1e5, 1e6]])).shape == (20, 2)


def test_overfitting_is_one_function_of_size_and_data() -> None:
    runs = data_runs(tables_with(rows()), laws_with())
    table = overfitting(runs, LAW)
    np.testing.assert_allclose(table["excess"], table["predicted"], rtol=1e-9)
    np.testing.assert_allclose(excess_at(table["x"].to_numpy(), LAW), table["excess"], rtol=1e-9)
    raised = overfitting(runs.assign(loss=1.05 * runs["loss"]), LAW)
    np.testing.assert_allclose((1 + raised["excess"]) / (1 + raised["predicted"]), 1.05)


def test_the_data_that_is_needed_is_the_papers() -> None:
    k, p = data_needed(KAPLAN_TABLE_2)
    assert k == pytest.approx(5.52e3, rel=0.01) and p == pytest.approx(0.738, abs=1e-3)
    assert KAPLAN_TABLE_2.overfitting(1e6, k * 1e6**p) == pytest.approx(0.02)


def test_steps_are_converted_at_the_loss_of_each_point() -> None:
    runs = [
        {"run": "a", "N": 1e4, "batch_tokens": 2048, "unique_tokens": 1e7, "D": 1e7, "C": 1.0, "loss": 3.0}
    ]
    steps = np.array([2, 10, 100, 1000, 1100])
    curve = pd.DataFrame(
        {"run": "a", "step": steps, "tokens": 2048 * steps, "learning_rate": [0.5, 1, 1, 1, 0.2]}
        | {"test_loss_nats": [6.0, 5.0, 4.0, 3.5, 3.2]}
    )
    tables = replace(tables_of(study_of(runs)), curves=curve)
    points = points_in_steps_min(tables, laws_with(), tables.complete, BATCH)
    assert list(points["step"]) == [10, 100, 1000]  # neither warm-up nor cooldown
    expected = points["step"] / (1 + 9e5 / points["loss"] ** (1 / 0.21) / 2048)
    np.testing.assert_allclose(points["S_min"], expected)
    without = points_in_steps_min(tables_of(study_of(runs)), laws_with(), tables.complete, BATCH)
    assert without.empty


def test_a_run_that_stops_where_unlimited_text_reaches_its_loss_is_on_the_bound() -> None:
    runs = data_runs(tables_with(rows()), laws_with())
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
    tables = tables_with(rows())
    steps = np.array([25, 50, 98, 150, 200])
    curves = [
        pd.DataFrame(
            {"run": row["run"], "step": steps, "train_loss_nats": 3.0, "test_loss_nats": 3.0 + steps / 1000}
        )
        for row in rows()
    ]
    tables = replace(tables, curves=pd.concat(curves))
    table = training_gaps(tables, data_runs(tables, laws_with()))
    assert sorted(set(table["D"])) == list(PARTS) and len(set(table["run"])) == len(PARTS)
    assert set(table["run"]) == {f"n{max(SIZES):g}-d{D:g}" for D in PARTS}
    kept = table[table["at_stop"]]
    assert (kept["step"] == 98).all() and len(kept) == len(PARTS)
    np.testing.assert_allclose(kept["test"] - kept["train"], 0.098)


def test_laws_of_training_time_are_read_or_missing() -> None:
    assert batch_law(known_laws(), "transformer") == BATCH and steps_law(known_laws(), "transformer") == STEPS
    assert batch_law(known_laws(), "lstm") is None and steps_law(known_laws(), "lstm") is None
    reason_only = laws_with(critical_batch=[of_batch("lstm", reason="no curves")])
    reason_only["training_time"] = [{"family": "lstm", "reason": "no curves"}]
    assert batch_law(reason_only, "lstm") is None and steps_law(reason_only, "lstm") is None
    assert batch_law(laws_with(), "lstm") is None and steps_law({}, "lstm") is None


def test_figure_9_shows_the_excess_of_every_run() -> None:
    tables = tables_with(rows())
    figure = data.draw_overfitting(tables, laws_with())
    found = fit_data_law(data_runs(tables, laws_with()))
    assert found.law is not None
    expected = overfitting(data_runs(tables, laws_with()), found.law)
    shown = np.asarray(figure.axes[1].collections[0].get_offsets())
    np.testing.assert_allclose(shown, expected[["x", "excess"]])
    line = next(line for line in figure.axes[1].lines if "(4.3)" in str(line.get_label()))
    np.testing.assert_allclose(line.get_ydata(), excess_at(np.asarray(line.get_xdata()), found.law))
    sentence = data.describe_overfitting(tables, laws_with())
    assert "within 0.0 % (rms)" in sentence and "Kaplan 2020: 5.52k N^0.74" in sentence


def test_figure_4_shows_each_run_and_its_law() -> None:
    tables = tables_with(rows())
    left = data.draw_data_and_steps(tables, laws_with()).axes[0]
    shown = sorted(tuple(point) for dots in left.collections for point in _offsets(dots))
    assert len(shown) == len(SIZES) * len(PARTS)
    np.testing.assert_allclose(shown, sorted((row["unique_tokens"], row["loss"]) for row in rows()))
    sentence = data.describe_data_and_steps(tables, laws_with())
    assert "α_N = 0.08" in sentence and "(Kaplan 2020: 0.076, 0.103)" in sentence
    assert "B_crit must be known" in sentence


def _offsets(dots: Any) -> np.ndarray:
    offsets = np.asarray(dots.get_offsets())
    return offsets[(offsets != 0).any(axis=1)]  # a band has the origin for an offset


def test_figure_16_names_what_it_lacks() -> None:
    tables = tables_with(rows())
    figure = stopping.draw(tables, laws_with())
    assert "configs/sweeps/batch.yaml" in words(figure) and "learning curves" in words(figure)
    assert "was not tested" in stopping.describe(tables, laws_with())


def test_one_size_does_not_make_a_law() -> None:
    tables = tables_with([row for row in rows() if row["N"] == SIZES[0]])
    assert "only one N" in words(data.draw_overfitting(tables, laws_with()))
    assert "only one N" in data.describe_overfitting(tables, laws_with())
    data.draw_data_and_steps(tables, laws_with())
    assert "only one N" in words(stopping.draw(tables, laws_with()))


def test_a_study_without_the_experiment_says_which_sweep_has_it(one_run: Any) -> None:
    for tables, laws in ((one_run.tables, one_run.laws), (tables_of(study_of()), laws_with())):
        for entry in FIGURES:
            assert "configs/sweeps/data.yaml" in words(shown(entry, tables, laws)), entry.name
            assert "\n" not in said(entry, tables, laws)


def test_the_papers_own_laws_come_back(paper: Any) -> None:
    """The study of the whole paper, with noise between runs."""
    runs = data_runs(paper.tables, paper.laws)
    assert len(runs) == 24
    found = fit_data_law(runs)
    assert found.law is not None
    assert found.law.alpha_N == pytest.approx(0.076, abs=0.004)
    assert found.law.alpha_D == pytest.approx(0.103, abs=0.02)
    table = overfitting(runs, found.law)
    assert np.abs(table["excess"] - table["predicted"]).max() < 0.03
    curves = training_gaps(paper.tables, runs)
    kept = curves[curves["at_stop"]].drop_duplicates("run")
    losses = runs.set_index("run")["loss"]
    np.testing.assert_allclose(kept["test"], losses[kept["run"]], rtol=0.02)
    for entry in FIGURES:
        figure = shown(entry, paper.tables, paper.laws)
        assert len(figure.axes) >= 2 and not words(figure), entry.name
        assert "nan" not in said(entry, paper.tables, paper.laws)
