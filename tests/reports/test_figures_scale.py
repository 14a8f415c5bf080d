"""Figures 1 and 2: what is drawn is what was measured, and says what the known laws say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from tests.support.by_hand import laws_with, study_of, tables_of
from tests.support.drawn import figures_in, line_named, said, shown

from scaling_laws.laws.forms.single import KaplanN
from scaling_laws.report.figures import learning_curves, power_laws
from scaling_laws.study.units import PF_DAY_FLOPS

FIGURES = (
    *figures_in(power_laws),
    *figures_in(learning_curves),
)
POWER = {"alpha_N": 0.08, "N_c": 1e12}
SIZES = (1e4, 3e4, 1e5, 3e5, 1e6)


def points_of(axes: Axes) -> list[tuple[float, float]]:
    """Points of the first scatter of some axes, sorted."""
    scatter = next(artist for artist in axes.collections if isinstance(artist, PathCollection))
    return sorted((float(x), float(y)) for x, y in np.asarray(scatter.get_offsets()))


def words(figure: Figure) -> str:
    """All that stands written in a figure's own words: notes, not axes."""
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return " ".join(text.get_text().replace("\n", " ") for text in texts)


# --- Figures 1 and 2 ------------------------------------------------------------------------------


def test_figure_1_plots_the_runs_of_each_law(synthetic: Any) -> None:
    runs = synthetic.study.runs.query("family == 'transformer'")
    figure = shown(power_laws.power_laws, synthetic.tables, synthetic.laws)
    by_compute, by_data, by_size = figure.axes[:3]
    assert points_of(by_compute) == sorted(zip(runs["C"] / PF_DAY_FLOPS, runs["loss"], strict=True))
    assert by_compute.get_xlabel() == "C = 6ND, PF-days"
    largest = runs[runs["N"] == runs["N"].max()]
    assert points_of(by_data) == sorted(zip(largest["D"].astype(float), largest["loss"], strict=True))
    horizon = largest["D"].max()  # the largest sizes stop earliest, so their last horizon is common to all
    common = runs[runs["D"] == horizon]
    assert points_of(by_size) == sorted(zip(common["N"].astype(float), common["loss"], strict=True))


def test_figure_1_draws_the_fitted_laws(synthetic: Any) -> None:
    figure = shown(power_laws.power_laws, synthetic.tables, synthetic.laws)
    fits = {fit["form"]: fit for fit in synthetic.laws.to_json()["fits"] if fit["family"] == "transformer"}
    for axes, form, x_c, exponent, unit in (
        (figure.axes[0], "kaplan_c", "C_c", "alpha_C", PF_DAY_FLOPS),
        (figure.axes[2], "kaplan_n", "N_c", "alpha_N", 1.0),
    ):
        parameters = fits[form]["parameters"]
        line = line_named(axes, "fit")
        x = unit * np.asarray(line.get_xdata())
        np.testing.assert_allclose(line.get_ydata(), (parameters[x_c] / x) ** parameters[exponent], rtol=1e-9)
        assert f"{parameters[exponent]:.3f}" in axes.get_title()


def test_figure_1_has_the_papers_exponents_through_our_points(synthetic: Any) -> None:
    figure = shown(power_laws.power_laws, synthetic.tables, synthetic.laws)
    for axes, exponent in zip(figure.axes[:3], (0.057, 0.095, 0.076), strict=True):
        line = line_named(axes, "Kaplan 2020")
        assert f"{exponent}" in line.get_label()
        (x0, x1), (y0, y1) = line.get_xdata(), line.get_ydata()
        assert np.log(y0 / y1) / np.log(x1 / x0) == pytest.approx(exponent)


def test_a_slope_goes_through_the_middle_of_the_points() -> None:
    x, loss = np.array([1e3, 1e5]), np.array([4.0, 1.0])
    assert power_laws.slope_through(x, loss, 0.3, [1e4])[0] == pytest.approx(2.0)
    assert power_laws.slope_through(x, loss, 0.3, [1e5])[0] == pytest.approx(2.0 * 10**-0.3)
    own = power_laws.slope_through(SIZES, KaplanN(**POWER).loss(SIZES), 0.08, SIZES)
    np.testing.assert_allclose(own, KaplanN(**POWER).loss(SIZES))


def test_compute_during_training_grows_with_tokens(synthetic: Any) -> None:
    runs = synthetic.tables.of("transformer")
    curves = learning_curves.curves_by_compute(synthetic.tables, runs)
    ends = curves.groupby("run").last()
    at_end = runs.set_index("run").loc[ends.index]
    np.testing.assert_allclose(ends["pf_days"], at_end["C"] / PF_DAY_FLOPS)
    np.testing.assert_allclose(ends["loss"], at_end["loss"], rtol=1e-4)
    assert set(curves["run"]) == set(runs["run"])


def test_learning_curves_end_at_the_runs(synthetic: Any) -> None:
    runs = synthetic.study.runs.query("family == 'transformer'").set_index("run")
    figure = shown(learning_curves.learning_curves, synthetic.tables, synthetic.laws)
    for axes, x in ((figure.axes[0], runs["D"]), (figure.axes[1], runs["C"] / PF_DAY_FLOPS)):
        lines = [line for line in axes.lines if len(line.get_xdata()) > 2 and line.get_color() != "#B3123B"]
        ends = sorted((float(line.get_xdata()[-1]), round(float(line.get_ydata()[-1]), 3)) for line in lines)
        expected = sorted(zip(x.astype(float), runs["loss"].round(3), strict=True))
        np.testing.assert_allclose(ends, expected, rtol=1e-6)
    sentence = said(learning_curves.learning_curves, synthetic.tables, synthetic.laws)
    points = next(e for e in synthetic.laws.to_json()["frontier"] if e["family"] == "transformer")["points"]
    assert f"{min(point['C'] for point in points) / PF_DAY_FLOPS:.1e}" in sentence


# --- studies that cannot support them -------------------------------------------------------------


def test_small_studies_get_a_note_or_a_figure(one_run: Any) -> None:
    for tables, laws in ((one_run.tables, one_run.laws), (tables_of(study_of()), laws_with())):
        for entry in FIGURES:
            figure = shown(entry, tables, laws)
            if not figure.axes:
                assert "configs/sweeps/size.yaml" in words(figure), entry.name
            assert "nan" not in said(entry, tables, laws), entry.name


def test_runs_without_curves_are_drawn_at_their_ends(fitted: Any, tmp_path: Any) -> None:
    study, laws, tables = fitted(
        tmp_path / "s", families=("lstm",), max_sizes=2, curves=False, positions=False
    )
    assert points_of(shown(power_laws.power_laws, tables, laws).axes[0])
    assert "with learning curves" in words(shown(learning_curves.learning_curves, tables, laws))
    assert len(study.runs) and "nan" not in said(power_laws.power_laws, tables, laws)


def test_the_whole_paper_is_drawn(paper: Any) -> None:
    for entry in FIGURES:
        assert not words(shown(entry, paper.tables, paper.laws)), entry.name
        assert "nan" not in said(entry, paper.tables, paper.laws)
