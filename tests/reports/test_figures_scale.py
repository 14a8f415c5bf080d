"""Figures 1, 2, 6 and 23: what is drawn is what was measured, and says what the known laws say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from tests.support.by_hand import fit_of, laws_with, study_of, tables_of
from tests.support.drawn import figures_in, said, shown

from scaling_laws.laws.forms.single import KaplanN, LogN
from scaling_laws.papers.kaplan2020.figures import counting, power_or_logarithm
from scaling_laws.report.figures import learning_curves, power_laws
from scaling_laws.study.units import PF_DAY_FLOPS

FIGURES = (
    *figures_in(power_laws),
    *power_or_logarithm.FIGURES,
    *figures_in(learning_curves),
    *counting.FIGURES,
)
POWER = {"alpha_N": 0.08, "N_c": 1e12}
LOGARITHM = {"a": 8.0, "b": 0.4}
SIZES = (1e4, 3e4, 1e5, 3e5, 1e6)


def points_of(axes: Axes) -> list[tuple[float, float]]:
    """Points of the first scatter of some axes, sorted."""
    scatter = next(artist for artist in axes.collections if isinstance(artist, PathCollection))
    return sorted((float(x), float(y)) for x, y in np.asarray(scatter.get_offsets()))


def line_named(axes: Axes, start: str) -> Any:
    return next(line for line in axes.lines if str(line.get_label()).startswith(start))


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
    fits = {fit["form"]: fit for fit in synthetic.laws["fits"] if fit["family"] == "transformer"}
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
    points = next(e for e in synthetic.laws["frontier"] if e["family"] == "transformer")["points"]
    assert f"{min(point['C'] for point in points) / PF_DAY_FLOPS:.1e}" in sentence


# --- Figure 23 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "exact", "other"),
    [(KaplanN(**POWER).loss, "kaplan_n", "log_n"), (LogN(**LOGARITHM).loss, "log_n", "kaplan_n")],
)
def test_the_true_form_leaves_nothing_over(loss: Any, exact: str, other: str) -> None:
    tables = tables_of(study_of([{"N": N, "D": 1e6, "C": 6e6 * N, "loss": float(loss(N))} for N in SIZES]))
    fits = [fit_of("kaplan_n", POWER), fit_of("log_n", LOGARITHM)]
    table = power_or_logarithm.residuals_by_form(tables, laws_with(fits=fits))
    residuals = {form: rows["residual_percent"].abs().max() for form, rows in table.groupby("form")}
    assert residuals[exact] < 1e-9 < 0.1 < residuals[other]
    assert list(table[table["form"] == exact]["N"]) == list(SIZES)


def test_predictions_are_compared_where_both_made_them() -> None:
    def entry(**error: float | None) -> dict[str, Any]:
        scores = [{"form": form, "error": value} for form, value in error.items()]
        return {"family": "transformer", "axis": "N", "kind": "single", "scores": scores}

    both = laws_with(rollout=[entry(kaplan_n=0.01, log_n=0.03, power_n=0.5)])
    assert power_or_logarithm.prediction_errors(both, "transformer") == {"kaplan_n": 0.01, "log_n": 0.03}
    assert power_or_logarithm.prediction_errors(both, "lstm") == {}
    one = laws_with(rollout=[entry(kaplan_n=0.01, log_n=None)])
    assert power_or_logarithm.prediction_errors(one, "transformer") == {"kaplan_n": 0.01}
    assert power_or_logarithm.prediction_errors({}, "transformer") == {}


def test_figure_23_says_how_far_each_form_misses(synthetic: Any) -> None:
    table = power_or_logarithm.residuals_by_form(synthetic.tables, synthetic.laws)
    figure = power_or_logarithm.draw_power_or_logarithm(synthetic.tables, synthetic.laws)
    sentence = power_or_logarithm.describe_power_or_logarithm(synthetic.tables, synthetic.laws)
    for form, name in power_or_logarithm.RIVALS.items():
        of_form = table[table["form"] == form]
        rms = f"{np.sqrt((of_form['residual_percent'] ** 2).mean()):.2f} %"
        line = line_named(figure.axes[1], name)
        assert rms in line.get_label() and f"the {name} by {rms}" in sentence
        np.testing.assert_allclose(line.get_ydata(), of_form["residual_percent"])
    assert "predicting larger sizes" in sentence


# --- Figure 6 -------------------------------------------------------------------------------------


def depth_row(n_layer: int, N: float, embedding: float, D: float = 1e6, **more: Any) -> dict[str, Any]:
    row = {"n_layer": n_layer, "N": N, "N_total": N + embedding, "D": D, "C": 6 * N * D}
    loss = float(KaplanN(**POWER).loss(N))
    return row | {"loss": loss, "after_cooldown": True, "experiments": "size"} | more


def test_losses_lie_on_one_line_in_the_parameters_that_count() -> None:
    runs = [
        depth_row(n_layer, N, embedding=1e6 / n_layer**2 * (N / 1e5) ** 0.5, run=f"{n_layer}-{N:g}")
        for n_layer in (2, 3, 6)
        for N in SIZES
    ]
    sizes = counting.sizes_by_depth(tables_of(study_of(runs)))
    assert len(sizes) == 15
    assert counting.scatter_percent(sizes["N"], sizes["loss"]) < 1e-9
    assert counting.scatter_percent(sizes["N_total"], sizes["loss"]) > 1
    sentence = counting.describe(tables_of(study_of(runs)), laws_with())
    assert (
        "networks of 2, 3 and 6 layers lie 0.0 % (rms) off one power law in the parameters without"
        in sentence
    )


def test_depths_are_compared_at_one_horizon_with_their_best_rate() -> None:
    runs = [depth_row(n_layer, N, 1e5, D=5e5) for n_layer in (1, 2) for N in SIZES]
    runs += [depth_row(2, N, 1e5, D=4e6) for N in SIZES]  # a longer horizon that one depth has
    runs += [depth_row(2, SIZES[0], 1e5, D=5e5, learning_rate=1.0, loss=9.0)]
    runs += [depth_row(3, SIZES[0], 1e5, D=5e5, after_cooldown=False)]
    runs += [depth_row(6, SIZES[0], 1e5, D=5e5, experiments="depth")]
    runs += [depth_row(4, SIZES[0], 1e5, D=5e5, family="lstm")]
    sizes = counting.sizes_by_depth(tables_of(study_of(runs)))
    assert set(sizes["D"]) == {5e5} and set(sizes["n_layer"]) == {1, 2} and len(sizes) == 10
    assert sizes["loss"].max() == pytest.approx(KaplanN(**POWER).loss(SIZES[0]))


def test_networks_without_a_layer_have_no_place_among_non_embedding_parameters() -> None:
    runs = [depth_row(0, 32 + i, 1e4 * 2**i, loss=5.0 - 0.1 * i) for i in range(3)]
    runs += [depth_row(2, N, 1e4) for N in SIZES]
    figure = counting.draw(tables_of(study_of(runs)), laws_with())
    every, without = (sorted(str(line.get_label()) for line in axes.lines) for axes in figure.axes[:2])
    assert every == ["0 layers", "2 layers"] and without == ["2 layers"]
    assert "Too few sizes" in counting.describe(tables_of(study_of(runs)), laws_with())


# --- studies that cannot support them -------------------------------------------------------------


def test_small_studies_get_a_note_or_a_figure(one_run: Any) -> None:
    for tables, laws in ((one_run.tables, one_run.laws), (tables_of(study_of()), laws_with())):
        for entry in FIGURES:
            figure = shown(entry, tables, laws)
            if not figure.axes:
                assert "configs/sweeps/size.yaml" in words(figure), entry.name
            assert "nan" not in said(entry, tables, laws), entry.name
    assert "configs/sweeps/size.yaml" in words(
        power_or_logarithm.draw_power_or_logarithm(one_run.tables, one_run.laws)
    )
    assert "configs/sweeps/size.yaml" in words(counting.draw(one_run.tables, one_run.laws))


def test_runs_without_curves_are_drawn_at_their_ends(fitted: Any, tmp_path: Any) -> None:
    study, laws, tables = fitted(
        tmp_path / "s", families=("lstm",), max_sizes=2, curves=False, positions=False
    )
    assert points_of(shown(power_laws.power_laws, tables, laws).axes[0])
    assert "with learning curves" in words(shown(learning_curves.learning_curves, tables, laws))
    assert len(study.runs) and "nan" not in said(power_laws.power_laws, tables, laws)


def test_the_paper_is_recognised(paper: Any) -> None:
    """In a study of all experiments the losses of all depths collapse on N, and on nothing else."""
    sizes = counting.sizes_by_depth(paper.tables)
    assert {0, 1, 2, 3, 6} == set(sizes["n_layer"])
    deep = sizes[sizes["n_layer"] >= 2]
    assert counting.scatter_percent(deep["N"], deep["loss"]) < counting.scatter_percent(
        deep["N_total"], deep["loss"]
    )
    for entry in FIGURES:
        assert not words(shown(entry, paper.tables, paper.laws)), entry.name
        assert "nan" not in said(entry, paper.tables, paper.laws)
