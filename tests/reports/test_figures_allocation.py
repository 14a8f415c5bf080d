"""Slices, approaches and Figures 11 to 14: what is drawn, against the laws that it was drawn from."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.optimize import minimize_scalar
from tests.support.batch_study import BATCH_TOKENS, LAW, SIZES, STEPS, batch_study, tables_of
from tests.support.drawn import figures_in, prepared, said, shown

from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.published import KAPLAN_FIGURE_14_NAIVE_N, KAPLAN_TABLE_6
from scaling_laws.laws.results.study import no_laws
from scaling_laws.papers.kaplan2020.figures import frontier, sizes
from scaling_laws.papers.kaplan2020.training_time import (
    efficient_law,
    even_values,
    least_resources,
    loss_levels,
    losses_at,
)
from scaling_laws.report.batches import law_curves
from scaling_laws.report.evidence import StudyTables, plain_of
from scaling_laws.report.figures import isoflop_slices, three_approaches
from scaling_laws.study.units import PF_DAY_FLOPS

ENTRIES = [
    *figures_in(three_approaches),
    *figures_in(isoflop_slices),
    *frontier.FIGURES,
    *sizes.FIGURES,
]
Timed = tuple[StudyTables, dict[str, Any]]


@pytest.fixture(scope="module")
def timed() -> Timed:
    return batch_study()


def line_named(axes: Any, start: str) -> tuple[np.ndarray, np.ndarray]:
    line = next(line for line in axes.lines if str(line.get_label()).startswith(start))
    return np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)


def best_of(C: float) -> tuple[float, float]:
    """The size of lowest loss at C = 6 N B S spent at the study's batch, and that loss."""
    found = minimize_scalar(
        lambda log_N: float(
            LAW.loss_at_batch(np.exp(log_N), C / (6 * np.exp(log_N) * BATCH_TOKENS), BATCH_TOKENS)
        ),
        bounds=(np.log(1e3), np.log(1e8)),
        method="bounded",
    )
    return float(np.exp(found.x)), float(found.fun)


# --- Figure 11 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", ["step", "C"])
def test_losses_at_fixed_compute_and_steps(timed: Timed, axis: str) -> None:
    curves = law_curves(timed[0], "transformer")
    values = even_values(curves, axis, 5)
    measured = losses_at(curves, axis, values)
    for value in values[1:]:
        at_value = measured[np.isclose(measured[axis], value)]
        assert len(at_value) >= 3
        expected = sizes.loss_at_fixed(LAW, at_value["N"].to_numpy(), axis, value, BATCH_TOKENS)
        np.testing.assert_allclose(at_value["loss"], expected, rtol=0.005)


def test_a_law_at_fixed_compute_takes_fewer_steps_with_more_parameters() -> None:
    N = np.array([1e4, 1e5])
    expected = [float(LAW.loss_at_batch(n, 1e13 / (6 * n * 2048), 2048)) for n in N]
    np.testing.assert_allclose(sizes.loss_at_fixed(LAW, N, "C", 1e13, 2048), expected)
    np.testing.assert_allclose(
        sizes.loss_at_fixed(LAW, N, "step", 500, 2048), [float(LAW.loss_at_batch(n, 500, 2048)) for n in N]
    )


def test_values_that_three_sizes_reached(timed: Timed) -> None:
    curves = law_curves(timed[0], "transformer")
    steps = even_values(curves, "step", 6)
    assert np.allclose(np.diff(np.log(steps)), np.log(steps[1] / steps[0]))
    assert steps[-1] <= STEPS  # all sizes train as long
    at_most = 6 * SIZES[-3] * BATCH_TOKENS * STEPS
    computes = even_values(curves, "C", 6)
    assert 0.7 * at_most < computes[-1] <= at_most * (1 + 1e-9)
    assert not len(even_values(curves[curves["N"] < SIZES[2]], "C", 6))


# --- Figure 12 ------------------------------------------------------------------------------------


def test_measured_costs_are_those_of_appendix_b() -> None:
    """(B.16) and (B.17) by the law's own compute to each loss, on a fine grid of sizes."""
    N = np.geomspace(2e3, 1e7, 60)
    table = pd.concat(
        [pd.DataFrame({"N": N, "loss": loss, "C_min": LAW.compute_to_reach(N, loss)}) for loss in (5.0, 5.5)]
    )
    costs = sizes.measured_costs(table[np.isfinite(table["C_min"])])
    assert set(costs["loss"]) == {5.0, 5.5}
    for loss in (5.0, 5.5):
        of_loss = costs[(costs["loss"] == loss) & costs["size_ratio"].between(0.4, 10)]
        np.testing.assert_allclose(
            of_loss["compute_ratio"], LAW.compute_ratio(of_loss["size_ratio"]), rtol=0.01
        )
        np.testing.assert_allclose(of_loss["steps_ratio"], LAW.steps_ratio(of_loss["size_ratio"]), rtol=0.01)


def test_no_cost_where_the_cheapest_size_is_at_the_edge() -> None:
    N = np.geomspace(1e6, 1e7, 5)  # all larger than the best
    table = pd.DataFrame({"N": N, "loss": 5.5, "C_min": LAW.compute_to_reach(N, 5.5)})
    assert sizes.measured_costs(table).empty


def test_least_resources_are_those_of_the_law(timed: Timed) -> None:
    curves = law_curves(timed[0], "transformer")
    levels = loss_levels(curves, 6)
    found = least_resources(curves, LAW.of_batch, levels)
    assert len(found) > 15
    gap = found["loss"] - LAW.converged_loss(found["N"])
    S_min = LAW.S_c * gap ** (-1 / LAW.alpha_S)
    np.testing.assert_allclose(found["S_min"], S_min, rtol=0.06)
    np.testing.assert_allclose(found["E_min"], S_min * LAW.critical_batch(found["loss"]), rtol=0.06)
    np.testing.assert_allclose(found["C_min"], 6 * found["N"] * found["E_min"], rtol=1e-12)
    np.testing.assert_allclose(
        found["S_min"] / found["steps"] + found["E_min"] / found["tokens"], 1, rtol=1e-9
    )


def test_the_study_finds_its_law(timed: Timed) -> None:
    """What the red lines of Figures 11, 12 and 19 are drawn from."""
    law = efficient_law(timed[1], "transformer")
    assert law is not None
    assert law.alpha_S == pytest.approx(LAW.alpha_S, rel=0.02)
    assert law.alpha_B == pytest.approx(LAW.alpha_B, rel=0.02)
    np.testing.assert_allclose(law.compute_ratio([0.6, 3.0]), LAW.compute_ratio([0.6, 3.0]), rtol=0.03)
    low, high = LAW.tolerated_sizes(0.2)
    assert (
        float(LAW.compute_ratio(low)) == pytest.approx(1.2) == pytest.approx(float(LAW.compute_ratio(high)))
    )
    x, y = line_named(sizes.draw_cost(*timed).axes[0], "this study's")
    np.testing.assert_allclose(y, law.compute_ratio(x))


# --- Figures 13 and 14 ----------------------------------------------------------------------------


def test_envelope_as_spent_is_the_best_over_sizes(timed: Timed) -> None:
    naive = frontier.naive_envelope(law_curves(timed[0], "transformer"))
    assert len(naive) >= 5
    best = np.array([best_of(C) for C in naive["C"]])
    np.testing.assert_allclose(naive["loss"], best[:, 1], rtol=0.01)
    np.testing.assert_allclose(naive["N"], best[:, 0], rtol=0.35)
    np.testing.assert_allclose(naive["S"] * 6 * naive["N"] * BATCH_TOKENS, naive["C"], rtol=1e-9)


def test_envelope_in_C_min_is_the_frontier(timed: Timed) -> None:
    envelope = frontier.efficient_envelope(timed[1], "transformer")
    assert len(envelope) >= 5
    np.testing.assert_allclose(envelope["loss"], LAW.frontier_loss(envelope["C"]), rtol=0.015)
    np.testing.assert_allclose(envelope["N"], LAW.optimal_N(envelope["C"]), rtol=0.4)
    np.testing.assert_allclose(
        envelope["C"], 6 * envelope["N"] * envelope["B_crit"] * envelope["S_min"], rtol=1e-9
    )


def test_a_power_is_found_exactly() -> None:
    C = np.array([1e10, 3e11, 2e13])
    found = frontier.power_of(C, KAPLAN_TABLE_6.N.at(C))
    assert found is not None
    assert (found.scale, found.exponent) == pytest.approx((1.3e9, 0.73))
    assert frontier.power_of(C[:2], C[:2]) is None


def test_figure_14_stands_beside_kaplan(timed: Timed) -> None:
    tables, laws = timed
    size_axes, step_axes = frontier.draw_size(tables, laws).axes[:2]
    days, N = line_named(size_axes, "Kaplan 2020: $N")
    np.testing.assert_allclose(N, 1.3e9 * days**0.73)
    days, N = line_named(size_axes, "Kaplan 2020, as spent")
    np.testing.assert_allclose(N, KAPLAN_FIGURE_14_NAIVE_N.at(days * PF_DAY_FLOPS))
    days, S = line_named(step_axes, "Kaplan 2020")
    np.testing.assert_allclose(S, 5.4e3 * days**0.03)
    ours = laws["training_time"][0]["optimal"]["S_min"]
    days, S = line_named(step_axes, "$ S_{min}")
    np.testing.assert_allclose(S, ours["coefficient"] * (days * PF_DAY_FLOPS) ** ours["exponent"])
    assert f"{number_of(ours['exponent'])}" in frontier.describe_size(tables, laws)


def number_of(value: float) -> str:
    return f"{value:#.2g}"


def test_a_batch_beyond_all_is_compute_as_spent() -> None:
    assert isinstance(frontier.AS_SPENT, CriticalBatch)
    assert float(frontier.AS_SPENT.compute_min(1e20, 2**19, 3.0)) == pytest.approx(1e20, rel=1e-12)


# --- slices and approaches ------------------------------------------------------------------------


def test_minima_of_slices_are_the_laws(timed: Timed) -> None:
    tables, laws = timed
    minima = prepared(isoflop_slices.isoflop_slices, tables, laws).minima
    inside = [entry for entry in laws["isoflop"] if entry["N_opt"] is not None]
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


def test_a_slice_without_its_minimum_is_shown_but_not_counted(timed: Timed) -> None:
    laws = copy.deepcopy(timed[1])
    for entry in laws["isoflop"]:
        entry |= {
            "N_opt": None,
            "D_opt": None,
            "loss_opt": None,
            "N_opt_interval": None,
            "D_opt_interval": None,
        }
    figure = shown(isoflop_slices.isoflop_slices, timed[0], laws)
    assert "No slice holds its minimum" in figure.axes[1].texts[0].get_text().replace("\n", " ")
    assert said(isoflop_slices.isoflop_slices, timed[0], laws).startswith("Transformer: 0 of")
    assert prepared(isoflop_slices.isoflop_slices, timed[0], laws).minima.empty


def test_minima_without_noise_have_no_interval(timed: Timed) -> None:
    laws = copy.deepcopy(timed[1])
    for entry in laws["isoflop"]:
        entry |= {"N_opt_interval": None, "D_opt_interval": None}
    assert prepared(isoflop_slices.isoflop_slices, timed[0], laws).minima["N_low"].isna().all()
    shown(isoflop_slices.isoflop_slices, timed[0], laws)
    assert "[" not in said(isoflop_slices.isoflop_slices, timed[0], laws)


def test_approaches_are_those_of_the_laws(timed: Timed) -> None:
    tables, laws = timed
    answered = [one for one in laws["approaches"][0]["approaches"] if one["a"] is not None]
    found = prepared(three_approaches.three_approaches, tables, laws).exponents
    assert list(found["a"]) == [one["a"] for one in answered]
    assert {1, 2, 3} == set(found["approach"])
    points = prepared(three_approaches.three_approaches, tables, laws).optima
    assert sorted(points["N"]) == sorted(at["N_opt"] for one in answered for at in one["optima"])
    figure = shown(three_approaches.three_approaches, tables, laws)
    x, y = line_named(figure.axes[0], "Kaplan 2020")
    np.testing.assert_allclose(y, KAPLAN_TABLE_6.N.at(x))
    marked = [float(line.get_xdata()[0]) for line in figure.axes[1].lines if len(line.get_xdata()) == 1]
    assert marked == [*found["a"], 0.73, 0.50, 0.49, 0.46]
    # a by the law's frontier, at the fixed batch of this study: between those of Table 6 and of Figure 14
    assert found["a"].between(0.65, 0.9).all()


# --- whatever the study ---------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_nothing_to_draw_is_a_note_that_names_a_sweep(one_run: Any, entry: Any) -> None:
    empty = tables_of(pd.DataFrame(), pd.DataFrame())
    for tables, laws in ((empty, plain_of(no_laws(empty.study))), (one_run.tables, one_run.laws)):
        figure = shown(entry, tables, laws)
        texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
        words = " ".join(text.get_text().replace("\n", " ") for text in texts)
        assert "configs/sweeps/" in words
        assert said(entry, tables, laws).endswith(".")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_study_without_curves_or_batches(synthetic: Any, timed: Timed, entry: Any) -> None:
    tables, laws = timed
    without = tables_of(tables.complete, pd.DataFrame())
    no_time = laws | {"critical_batch": [], "training_time": []}
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
