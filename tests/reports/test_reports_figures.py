"""What is drawn is what was measured: artists against the tables and the known laws."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from tests.support.drawn import figures_in, line_named, said, shown
from tests.support.fitted_studies import FittedStudy

from scaling_laws.report import style as st
from scaling_laws.report.figures import (
    compared_families,
    fit_quality,
    held_out,
    learning_curves,
    loss_by_position,
    position_exponents,
    power_laws,
)
from scaling_laws.report.pictures import RUNS_WORTH_PROCESSES, draw_pictures
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.style import SizeColours, log_x
from scaling_laws.report.text import short, tex

FIGURES = (
    *figures_in(learning_curves),
    *figures_in(compared_families),
    *figures_in(fit_quality),
    *figures_in(held_out),
    *figures_in(loss_by_position),
    *figures_in(position_exponents),
    *figures_in(power_laws),
)


def points_of(axes: Axes) -> list[tuple[float, float]]:
    """Points of the first scatter of some axes, sorted."""
    scatter = next(artist for artist in axes.collections if isinstance(artist, PathCollection))
    return sorted((float(x), float(y)) for x, y in np.asarray(scatter.get_offsets()))


@pytest.fixture(scope="module")
def drawn(synthetic: Any) -> dict[str, Figure]:
    return _drawn({entry.name: shown(entry, synthetic.tables, synthetic.laws) for entry in FIGURES})


def _drawn(figures: dict[str, Figure]) -> dict[str, Figure]:
    """Those that are more than a note, their texts in their places."""
    full = {name: figure for name, figure in figures.items() if figure.axes}
    for figure in full.values():
        FigureCanvasAgg(figure).draw()
    return full


def test_family_comparison_is_at_one_horizon(synthetic: Any, drawn: dict[str, Figure]) -> None:
    runs = synthetic.study.runs
    common = set.intersection(*(set(group["D"]) for _, group in runs.groupby(["family", "N"])))
    expected = runs[runs["D"] == max(common)]
    lines = [line for line in drawn["families"].axes[0].lines if line.get_linestyle() == "None"]
    points = sorted((x, y) for line in lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert points == sorted(zip(expected["N"], expected["loss"], strict=True))


def test_position_bins_pool_sums_exactly(synthetic: Any) -> None:
    pair = synthetic.laws.to_json()["late_positions"]["pairs"][-1]
    at, transformer, lstm = compared_families.resampled_pair(
        synthetic.tables, pair["transformer_run"], pair["lstm_run"]
    )
    table = synthetic.study.positions()
    for run, draws in ((pair["transformer_run"], transformer), (pair["lstm_run"], lstm)):
        rows = table[(table["run"] == run) & (table["corpus"] == "test")]
        last_bin = rows[rows["position"] > 2**6.5]
        assert at[-1] == last_bin["position"].mean()
        assert draws[0, -1] == pytest.approx(
            last_bin["loss_sum_nats"].sum() / last_bin["count"].sum(), rel=1e-6
        )
        low, high = np.percentile(draws[1:, -1], (5, 95))
        assert low < draws[0, -1] < high


def test_positions_recover_the_exponents(synthetic: Any, drawn: dict[str, Figure]) -> None:
    lstm = line_named(drawn["position_exponents"].axes[0], "LSTM")
    np.testing.assert_allclose(lstm.get_ydata(), 0.80, atol=0.03)


def test_every_axis_is_labelled_and_readable(drawn: dict[str, Figure]) -> None:
    check_axes(drawn)


def test_legends_and_titles_stay_inside_the_figure(drawn: dict[str, Figure]) -> None:
    check_legends_and_titles(drawn)


def check_axes(drawn: dict[str, Figure]) -> None:
    """No axis without a label or with fewer than two ticks; no tick labels that touch."""
    for name, figure in drawn.items():
        for axes in figure.axes:
            if axes.get_label() == "<colorbar>" or not axes.axison:
                continue
            assert axes.get_xlabel(), name
            low, high = axes.get_xlim()
            shown = [
                label.get_window_extent()
                for label in axes.get_xticklabels()
                if label.get_text() and low <= label.get_position()[0] <= high
            ]
            assert 2 <= len(shown) <= 9, (name, axes.get_xlabel())
            assert all(left.x1 < right.x0 for left, right in pairwise(shown)), (name, axes.get_xlabel())
        labels = [axes.get_ylabel() for axes in figure.axes]
        assert any(unit in label for unit in ("nats", "exponent", "%") for label in labels), name


def check_legends_and_titles(drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        width, height = figure.bbox.width, figure.bbox.height
        for axes in figure.axes:
            for artist in (axes.get_legend(), axes.title):
                if (
                    artist is not None
                    and artist.get_visible()
                    and (artist is not axes.title or artist.get_text())
                ):
                    box = artist.get_window_extent()
                    assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height, name


def test_descriptions_state_what_was_measured(synthetic: Any) -> None:
    largest = max(synthetic.laws.to_json()["late_positions"]["pairs"], key=lambda pair: pair["N_transformer"])
    assert f"{largest['difference_nats']:+.3f}" in said(
        compared_families.compared_families, synthetic.tables, synthetic.laws
    )


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (3e8, 2e13, ["$10^{9}$", "$10^{10}$", "$10^{11}$", "$10^{12}$", "$10^{13}$"]),
        (1, 128, ["1", "2", "5", "10", "20", "50", "100"]),
        (1, 1024, ["1", "10", "100", "1000"]),
        (5e5, 8e6, ["500k", "1M", "2M", "5M"]),
        (2.8, 4.1, ["3", "3.5", "4"]),
        (3.045, 3.147, ["3.05", "3.075", "3.1", "3.125"]),
        (1e-300, 1e300, [f"$10^{{{exponent}}}$" for exponent in range(-300, 301, 100)]),
        (4e9, 3e10, [r"$5 \cdot 10^{9}$", "$10^{10}$", r"$2 \cdot 10^{10}$"]),
        (
            0.9e17,
            1.1e19,
            ["$10^{17}$", "", r"$5 \cdot 10^{17}$", "$10^{18}$", "", r"$5 \cdot 10^{18}$", "$10^{19}$"],
        ),
        (0.9e-9, 1.1e-8, [r"$10^{-9}$", r"$2 \cdot 10^{-9}$", r"$5 \cdot 10^{-9}$", "$10^{-8}$"]),
    ],
)
def test_logarithmic_ticks(low: float, high: float, labels: list[str]) -> None:
    axes = Figure().subplots()
    log_x(axes, [low, high], "x", margin=0.0)
    assert [label.get_text() for label in axes.get_xticklabels()] == labels


def test_numbers_are_short() -> None:
    assert [short(value) for value in (0, 6144, 999_999, 1.3e9, 2e12, 0.0123)] == [
        "0",
        "6.14k",
        "1M",
        "1.3B",
        "2T",
        "0.0123",
    ]
    assert tex(3.1e9) == r"3.1 \cdot 10^{9}"
    assert tex(1e12) == "10^{12}"


def test_colour_follows_log_n_and_darkness() -> None:
    """In order of N when printed in black and white: luminance rises with N."""
    colours = SizeColours([1e3, 1e6])
    luminance = [float(np.dot(colours(10**e)[:3], (0.2126, 0.7152, 0.0722))) for e in np.linspace(3, 6, 9)]
    assert all(darker < lighter for darker, lighter in pairwise(luminance))
    assert math.isclose(colours.norm(10**4.5), 0.5)


def test_a_paper_of_many_runs_needs_no_figure(synthetic: FittedStudy) -> None:
    runs = pd.concat([synthetic.study.runs] * 20, ignore_index=True)
    tables = replace(StudyTables.read(synthetic.study, synthetic.laws), complete=runs)
    assert len(runs) >= RUNS_WORTH_PROCESSES
    assert draw_pictures([], tables, synthetic.laws) == ((), ())


def test_a_narrow_figure_stacks_its_panels_and_leaves_no_gap() -> None:
    @st.styled
    def drawn(empty: bool, name: str = "runs") -> Figure:
        figure, (first, second) = st.panels(2)
        first.plot([1, 2])
        first.plot([2, 3], label=name)
        st.legend_below(first)
        st.note_in(second, "nothing to draw") if empty else second.plot([1, 2])
        return figure

    with st.drawn_for(st.ONE_COLUMN):
        whole, gap = drawn(False, "a name of somebody's that does not end " * 5), drawn(True)
    first, second = (axes.get_position() for axes in whole.axes)
    assert first.y0 > second.y1 and first.width > 0.5
    assert whole.get_figwidth() == gap.get_figwidth() == 3.4
    assert gap.get_figheight() < 0.8 * whole.get_figheight()
    assert drawn(False).get_figwidth() == 11.0
