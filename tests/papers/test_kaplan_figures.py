"""All figures of Kaplan 2020: what is drawn is readable, and what cannot be names the sweep that it needs."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tests.papers.kaplan_study import by_hand, kaplan_of, timed_study

import scaling_laws.papers.kaplan2020.figures as package
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.report.figure import StudyFigure, figures_of

FIGURES = figures_of(package)
FROM_CONSTANTS = {"fig03_growth", "fig12_cost_of_a_wrong_size", "fig15_crossing"}
"""Those that show the paper's own numbers beside nothing."""


@pytest.fixture(scope="module")
def of_paper(paper: Any) -> KaplanTables:
    return kaplan_of(paper)


@pytest.fixture(scope="module")
def of_one_run(one_run: Any) -> KaplanTables:
    return kaplan_of(one_run)


@pytest.fixture(scope="module")
def of_batches() -> KaplanTables:
    return timed_study()


def test_a_figure_has_the_number_of_the_paper_s() -> None:
    numbers = {int(each.name[3:5]) for each in FIGURES}
    assert len(numbers) == len(FIGURES)
    assert numbers == set(range(1, 25)) - {1, 2, 7, 10, 20}  # those are the report's
    assert all(pickle.loads(pickle.dumps(each)) is each for each in FIGURES)


@pytest.mark.parametrize("each", FIGURES, ids=lambda each: each.name)
def test_the_whole_paper_is_drawn(of_paper: KaplanTables, each: StudyFigure[Any]) -> None:
    data = each.prepare(of_paper, of_paper.laws)
    assert not isinstance(data, str), data
    figure = each.draw(data)
    assert not figure.texts or figure.texts == [figure._suptitle]  # type: ignore[attr-defined]
    assert not [text for axes in figure.axes for text in axes.texts if "Needs" in text.get_text()]
    FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        if axes.get_label() != "<colorbar>" and axes.axison:
            _is_readable(axes)
        _is_inside(axes, figure.bbox.width, figure.bbox.height)
    sentence = each.describe(data)
    assert sentence.endswith(".") and "nan" not in sentence and "\n" not in sentence


def _is_readable(axes: Axes) -> None:
    """A label, two to nine ticks, and no tick labels that touch."""
    assert axes.get_xlabel()
    low, high = sorted(axes.get_xlim())
    labels = [label for label in axes.get_xticklabels() if label.get_text()]
    boxes = [label.get_window_extent() for label in labels if low <= label.get_position()[0] <= high]
    assert 2 <= len(boxes) <= 9
    assert all(left.x1 < right.x0 for left, right in pairwise(sorted(boxes, key=lambda box: box.x0)))


def _is_inside(axes: Axes, width: float, height: float) -> None:
    for artist in (axes.get_legend(), axes.title if axes.get_title() else None):
        if artist is not None:
            box = artist.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height


@pytest.mark.parametrize("each", FIGURES, ids=lambda each: each.name)
def test_studies_that_lack_something_are_drawn_or_say_what(
    of_one_run: KaplanTables, of_batches: KaplanTables, synthetic: Any, flat: Any, each: StudyFigure[Any]
) -> None:
    """One run, none, sizes without batches, batches alone, and a world in which nothing scales."""
    nothing = by_hand()
    others = (of_batches, kaplan_of(synthetic), kaplan_of(flat))
    for study in (nothing, of_one_run, *others):
        data = each.prepare(study, study.laws)
        if isinstance(data, str):
            assert "configs/sweeps/" in data or "make shape" in data
            continue
        assert study is not nothing or each.name in FROM_CONSTANTS
        each.draw(data)
        sentence = each.describe(data)
        assert sentence.endswith(".") and "nan" not in sentence
