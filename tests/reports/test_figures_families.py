"""Families, their efficiencies, noise and search of shapes: numbers against known laws, from rows by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from scipy.stats import t as student_t
from tests.support.by_hand import laws_with, searched, study_of, tables_of
from tests.support.drawn import figures_in, prepared, said, shown

from scaling_laws.laws.fit.noise import seed_noise
from scaling_laws.laws.shapes import (
    noise_between_shapes,
)
from scaling_laws.report.figure import StudyFigure
from scaling_laws.report.figures import compared_families, family_efficiency
from scaling_laws.report.figures.family_efficiency import family_efficiency as efficiency_figure
from scaling_laws.report.figures.shape_search import shape_search

FIGURES = (
    *figures_in(compared_families),
    *figures_in(family_efficiency),
)


def test_families_of_several_depths_are_told_apart_and_a_user_s_own_is_shown() -> None:
    rows = [
        {
            "N": N,
            "D": D,
            "n_layer": n_layer,
            "family": family,
            "loss": 5.0 * N**-0.05,
            "experiments": "families",
        }
        for family, n_layer in (("transformer", 2), ("lstm", 1), ("lstm", 4), ("My$Net", math.nan))
        for N in (1e4, 1e5)
        for D in (1e6, 2e6)
    ]
    rows += [{**row, "experiments": "size", "D": 8e6} for row in rows if row["family"] != "lstm"]
    tables = tables_of(study_of(rows))
    runs = compared_families.compared_runs(tables)
    assert set(runs["D"]) == {2e6} and set(runs["family"]) == {"transformer", "lstm", "My$Net"}
    figure = shown(compared_families.compared_families, tables, laws_with())
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "LSTM of 1 layer" in labels and "LSTM of 4 layers" in labels
    assert r"My\$Net: not identified" in labels


def shared_law(form: str, m_N: float, m_D: float) -> dict[str, Any]:
    interval = {
        name: [value / 2, value * 2] for name, value in (("m_N", m_N), ("m_D", m_D), ("m_C", m_N * m_D))
    }
    one = {
        "family": "lstm",
        "m_N": m_N,
        "m_D": m_D,
        "m_C": m_N * m_D,
        "intervals": interval,
        "parameters": {},
    }
    return {
        "form": form,
        "formula": form,
        "reference": "transformer",
        "efficiencies": [one],
        "reason": "",
        **BLANK,
    }


BLANK = {
    **{"parameters": {}, "objective": None, "separate_objective": None},
    **{"n_rows": 0, "interval_method": ""},
}


def test_efficiencies_stand_where_they_were_fitted() -> None:
    laws = laws_with(families=[shared_law("kaplan_nd", 0.5, 3.0), shared_law("chinchilla", 0.4, 2.0)])
    table = prepared(efficiency_figure, tables_of(study_of()), laws).table
    assert len(table) == 6
    figure = shown(family_efficiency.family_efficiency, tables_of(study_of()), laws)
    for axes, expected in zip(figure.axes, ((0.5, 0.4), (3.0, 2.0), (1.5, 0.8)), strict=True):
        marks = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
        assert [float(line.get_xdata()[0]) for line in marks] == pytest.approx(expected)
        assert [float(line.get_ydata()[0]) for line in marks] == [0, 1]
    sentence = said(family_efficiency.family_efficiency, tables_of(study_of()), laws)
    assert "one FLOP spent on LSTMs is worth 1.50 [0.750, 3.00] spent on Transformers" in sentence


def test_the_noise_band_is_that_of_few_runs() -> None:
    """Student's t of the runs less their groups, in Figure 5 as in a search of shapes (`laws/shapes.py`)."""
    losses = [[3.00, 3.06, 3.02], [3.1, 3.0, 3.07]]
    of_search = noise_between_shapes(losses)
    rows = [
        {"N": N, "D": 1e6, "seed": seed, "loss": loss, "trunk": f"{N}-{seed}"}
        for N, group in enumerate(losses, 1)
        for seed, loss in enumerate(group)
    ]
    noise = seed_noise(pd.DataFrame(rows))
    assert of_search is not None and of_search.band_percent == pytest.approx(noise.band_percent)
    t = student_t.ppf(0.95, 4)
    assert noise.band_percent == pytest.approx(100 * math.expm1(t * math.sqrt(2) * noise.sd_log_loss))


def test_a_search_of_shapes_is_drawn_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_bytes(msgspec.json.encode(searched()))
    result = shape_search.prepare(tables_of(study_of(folder=tmp_path)), laws_with())
    assert result == searched()
    assert "d_ff / d_model matters most (70 %)" in shape_search.describe(result)
    shape_search.draw(result)


def test_the_whole_paper_is_drawn(paper: Any) -> None:
    for entry in FIGURES:
        shown(entry, paper.tables, paper.laws)
        assert said(entry, paper.tables, paper.laws).endswith(".")


@pytest.mark.parametrize("entry", FIGURES, ids=lambda entry: entry.name)
def test_what_cannot_be_drawn_names_its_sweep(entry: StudyFigure[Any], one_run: Any) -> None:
    for tables, laws in ((tables_of(study_of()), laws_with()), (one_run.tables, one_run.laws)):
        figure = shown(entry, tables, laws)
        words = " ".join(text.get_text() for text in figure.texts)
        assert "Needs" in words and ("configs/sweeps/" in words or "make shape" in words)
        assert said(entry, tables, laws).endswith(".")
