"""Slices and approaches: what is drawn, against the laws that it was drawn from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tests.support.batch_study import batch_study, best_of, tables_of
from tests.support.drawn import figures_in, points_named, prepared, said, shown

from scaling_laws.laws.published import KAPLAN_TABLE_6
from scaling_laws.laws.results.study import no_laws
from scaling_laws.laws.results.types import Laws
from scaling_laws.report.figures import isoflop_slices, three_approaches
from scaling_laws.report.study_tables import StudyTables

ENTRIES = [
    *figures_in(three_approaches),
    *figures_in(isoflop_slices),
]
Timed = tuple[StudyTables, dict[str, Any]]


@pytest.fixture(scope="module")
def timed() -> Timed:
    return batch_study()


# --- slices and approaches ------------------------------------------------------------------------


def test_minima_of_slices_are_the_laws(timed: Timed) -> None:
    tables, laws = timed
    minima = prepared(isoflop_slices.isoflop_slices, tables, laws).minima
    inside = [entry for entry in laws.to_json()["isoflop"] if entry["N_opt"] is not None]
    assert len(minima) == len(inside) >= 3
    for row, entry in zip(
        minima.to_dict("records"), sorted(inside, key=lambda entry: entry["C"]), strict=True
    ):
        assert (row["C"], row["N"], row["D"]) == (entry["C"], entry["N_opt"], entry["D_opt"])
        assert [row["N_low"], row["N_high"]] == entry["N_opt_interval"]
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert best_of(row["C"])[0] == pytest.approx(row["N"], rel=0.3)
    valleys = shown(isoflop_slices.isoflop_slices, tables, laws).axes[0]
    drawn = sorted(
        float(line.get_xdata()[0])
        for line in valleys.lines
        if line.get_marker() == "D" and len(line.get_xdata())
    )
    assert drawn == sorted(minima["N"])


def with_slices(laws: Laws, **changes: Any) -> Laws:
    """The laws with the same change to every slice."""
    families = (
        replace(family, isoflop=tuple(replace(slice_, **changes) for slice_ in family.isoflop))
        for family in laws.by_family
    )
    return replace(laws, by_family=tuple(families))


def test_a_slice_without_its_minimum_is_shown_but_not_counted(timed: Timed) -> None:
    nothing = dict.fromkeys(("N_opt", "D_opt", "loss_opt", "N_opt_interval", "D_opt_interval"))
    laws = with_slices(timed[1], **nothing)
    figure = shown(isoflop_slices.isoflop_slices, timed[0], laws)
    assert "No slice holds its minimum" in figure.axes[1].texts[0].get_text().replace("\n", " ")
    assert said(isoflop_slices.isoflop_slices, timed[0], laws).startswith("Transformer: 0 of")
    assert prepared(isoflop_slices.isoflop_slices, timed[0], laws).minima.empty


def test_minima_without_noise_have_no_interval(timed: Timed) -> None:
    laws = with_slices(timed[1], N_opt_interval=None, D_opt_interval=None)
    assert prepared(isoflop_slices.isoflop_slices, timed[0], laws).minima["N_low"].isna().all()
    shown(isoflop_slices.isoflop_slices, timed[0], laws)
    assert "[" not in said(isoflop_slices.isoflop_slices, timed[0], laws)


def test_approaches_are_those_of_the_laws(timed: Timed) -> None:
    tables, laws = timed
    answered = [one for one in laws.to_json()["approaches"][0]["approaches"] if one["a"] is not None]
    found = prepared(three_approaches.three_approaches, tables, laws).exponents
    assert list(found["a"]) == [one["a"] for one in answered]
    assert {1, 2, 3} == set(found["approach"])
    points = prepared(three_approaches.three_approaches, tables, laws).optima
    assert sorted(points["N"]) == sorted(at["N_opt"] for one in answered for at in one["optima"])
    figure = shown(three_approaches.three_approaches, tables, laws)
    x, y = points_named(figure.axes[0], "Kaplan 2020")
    np.testing.assert_allclose(y, KAPLAN_TABLE_6.N.at(x))
    marked = [float(line.get_xdata()[0]) for line in figure.axes[1].lines if len(line.get_xdata()) == 1]
    assert marked == [*found["a"], 0.73, 0.50, 0.49, 0.46]
    # a by the law's frontier, at the fixed batch of this study: between those of Table 6 and of Figure 14
    assert found["a"].between(0.65, 0.9).all()


# --- whatever the study ---------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_nothing_to_draw_is_a_note_that_names_a_sweep(one_run: Any, entry: Any) -> None:
    empty = tables_of(pd.DataFrame(), pd.DataFrame())
    for tables, laws in ((empty, no_laws(empty.study)), (one_run.tables, one_run.laws)):
        figure = shown(entry, tables, laws)
        texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
        words = " ".join(text.get_text().replace("\n", " ") for text in texts)
        assert "configs/sweeps/" in words
        assert said(entry, tables, laws).endswith(".")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_study_without_curves_or_batches(synthetic: Any, timed: Timed, entry: Any) -> None:
    tables, laws = timed
    without = tables_of(tables.complete, pd.DataFrame())
    no_time = Laws.from_json(laws.to_json() | {"critical_batch": []}, "changed")
    for some_tables, some_laws in ((without, no_time), (tables, no_time), (synthetic.tables, synthetic.laws)):
        shown(entry, some_tables, some_laws)
        assert said(entry, some_tables, some_laws).endswith(".")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_axes_are_labelled_and_nothing_sticks_out(timed: Timed, entry: Any) -> None:
    figure = shown(entry, *timed)
    FigureCanvasAgg(figure).draw()
    width, height = figure.bbox.width, figure.bbox.height
    for axes in figure.axes:
        if axes.get_label() != "<colorbar>":
            assert axes.get_xlabel()
        for artist in (axes.get_legend(), axes.title):
            if artist is not None:
                box = artist.get_window_extent()
                assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height
