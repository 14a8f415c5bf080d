"""Losses by position, over training and against size: numbers against the laws they were drawn from."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.by_hand import laws_with, study_of, tables_of
from tests.support.drawn import figures_in, said, shown
from tests.support.synthetic_study import write_synthetic_study

from scaling_laws.laws.positions import PositionLosses
from scaling_laws.report.by_position import (
    bin_starts,
    exponents_of_N,
    over_training,
)
from scaling_laws.report.figure import StudyFigure
from scaling_laws.report.figures import loss_by_position, position_exponents
from scaling_laws.study.records import write_record
from scaling_laws.study.runs import load_study

FIGURES = (*figures_in(loss_by_position), *figures_in(position_exponents))
T = np.arange(1, 129, dtype=float)


def losses_by_law(N: float, alpha: Callable[[np.ndarray], np.ndarray], seed: int = 0) -> PositionLosses:
    """10 (N / 1e5)^-alpha(T) nats at T, exactly in the mean over 8 folds that differ."""
    rng = np.random.default_rng(seed)
    folds = rng.normal(1, 0.05, (8, 1))
    mean = 10 * (N / 1e5) ** -alpha(T)
    return PositionLosses(T=T, loss_sum=mean * folds / folds.mean() * 4, count=np.full((8, len(T)), 4.0))


def test_the_exponent_of_size_at_each_position_is_that_of_the_law() -> None:
    def alpha(position: np.ndarray) -> np.ndarray:
        return 0.02 + 0.01 * np.log(position)

    sizes = (1e4, 3e4, 1e5, 4e5)
    study = study_of([{"N": N, "D": 1e6, "loss": 1.0} for N in sizes])
    losses = {f"run-{place}": losses_by_law(N, alpha, seed=place) for place, N in enumerate(sizes)}
    table = exponents_of_N(tables_of(study, losses), study.runs)
    first = table.iloc[0]
    assert first["T"] == 1 and first["alpha"] == pytest.approx(0.02, rel=1e-6)
    np.testing.assert_allclose(table["alpha"], alpha(table["T"].to_numpy()), rtol=0.02)  # bins bend a little
    assert (table["low"] < table["alpha"]).all() and (table["alpha"] < table["high"]).all()
    assert exponents_of_N(tables_of(study, losses), study.runs.iloc[:2]).empty


def test_bins_cover_every_position_once() -> None:
    for n in (1, 2, 8, 100, 128):
        starts = bin_starts(np.arange(1, n + 1, dtype=float))
        assert starts[0] == 0 and all(low < high for low, high in pairwise(starts)) and starts[-1] < n


@pytest.fixture
def trained(tmp_path: Path) -> Any:
    """A study of one run that was evaluated at four steps: the last on three times the text."""
    folder = write_synthetic_study(
        tmp_path / "one",
        families=("transformer",),
        max_sizes=1,
        horizons=(1e6,),
        seeds_of_small_sizes=1,
        diverged=0,
    )
    record = load_study(folder).records[0]
    rows = [
        (step, "test", fold, position, 2.0 * loss, 2)
        for step, loss, n_folds in ((10, 6.0, 1), (40, 5.0, 1), (160, 4.0, 1), (488, 3.0, 3))
        for fold in range(n_folds)
        for position in range(1, 129)
    ]
    columns = ["step", "corpus", "fold", "position", "loss_sum_nats", "count"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / record.name / "position_losses.csv", index=False)
    write_record(folder / record.name, record)  # vouches for the new table
    return tables_of(load_study(folder)), record.name


def test_over_training_compares_equal_text(trained: Any) -> None:
    tables, run = trained
    surface = over_training(tables, run)
    assert surface is not None
    assert surface.step.tolist() == [10, 40, 160]  # the last read other text
    np.testing.assert_allclose(surface.loss, np.array([6.0, 5.0, 4.0])[:, None] * np.ones(len(surface.T)))
    assert over_training(tables, "no such run") is None


def test_the_surface_says_when_half_of_the_fall_is_done(trained: Any) -> None:
    tables, run = trained
    entry = {
        "family": "transformer",
        "run": run,
        "N": 6144.0,
        "identified": False,
        "reason": "",
        "intervals": {},
        "interval_method": "",
        "corpus": "test",
        "parameters": {},
    }
    measured = losses_by_law(1e5, np.zeros_like)
    tables = tables_of(tables.study, {run: measured})
    sentence = said(loss_by_position.position_surface, tables, laws_with(positions=[entry]))
    assert "after 40 of 160 steps at position 1" in sentence
    figure = shown(loss_by_position.position_surface, tables, laws_with(positions=[entry]))
    assert figure.axes[0].get_xlabel() == "step"


def test_figure_20_prints_the_fits_and_draws_the_largest_network(synthetic: Any) -> None:
    figure = shown(loss_by_position.position, synthetic.tables, synthetic.laws)
    entries = [entry for entry in synthetic.laws.to_json()["positions"] if entry["family"] == "transformer"]
    fitted, during = figure.axes[:2]
    labels = [text.get_text() for text in fitted.get_legend().get_texts()]
    assert len(labels) == len(entries) == 6
    largest = max(entries, key=lambda entry: entry["N"])["parameters"]
    assert f"T^{{-{largest['c']:.2f}}}" in labels[-1] and f"{largest['a']:.2f}" in labels[-1]
    assert all(len(line.get_xdata()) == 2 for line in during.lines)  # both evaluations of the last run


def test_the_whole_paper_is_drawn(paper: Any) -> None:
    for entry in FIGURES:
        shown(entry, paper.tables, paper.laws)


@pytest.mark.parametrize("entry", FIGURES, ids=lambda entry: entry.name)
def test_without_runs_or_with_one_there_is_a_note(entry: StudyFigure[Any], one_run: Any) -> None:
    for tables, laws in (
        (tables_of(study_of()), laws_with()),
        (one_run.tables, one_run.laws),
    ):
        figure = shown(entry, tables, laws)
        assert figure.axes or any("Needs" in text.get_text() for text in figure.texts)
        assert said(entry, tables, laws).endswith(".")
    empty = shown(entry, tables_of(study_of()), laws_with())
    assert any("configs/sweeps/" in text.get_text() for text in empty.texts)
