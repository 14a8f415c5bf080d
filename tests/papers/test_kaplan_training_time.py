"""Figures 11 to 14, 18, 19 and 22: what is prepared, against the laws that it was drawn from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.papers.kaplan_study import kaplan_of, timed_study
from tests.support.batch_study import BATCH_TOKENS, LAW, SCANNED_SIZES, SIZES, STEPS, best_of
from tests.support.drawn import points_named

from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.published import KAPLAN_FIGURE_14_NAIVE_N, KAPLAN_TABLE_6
from scaling_laws.papers.kaplan2020.evidence import KaplanTables, loss_levels, points_by_compute
from scaling_laws.papers.kaplan2020.figures import rate_schedules, steps_and_tokens
from scaling_laws.papers.kaplan2020.figures.efficient_frontier import (
    AS_SPENT,
    fig13_compute_min,
    fig14_size_and_steps,
    power_of,
)
from scaling_laws.papers.kaplan2020.figures.fixed_compute import (
    even_values,
    fig11_fixed_compute_and_steps,
    loss_at_fixed,
    losses_at,
)
from scaling_laws.papers.kaplan2020.figures.rate_schedules import fig22_schedules, schedule_means
from scaling_laws.papers.kaplan2020.figures.steps_and_tokens import (
    fig18_steps_and_tokens,
    fig19_least_steps_and_tokens,
)
from scaling_laws.papers.kaplan2020.figures.wrong_size import fig12_cost_of_a_wrong_size, measured_costs
from scaling_laws.study.units import PF_DAY_FLOPS


@pytest.fixture(scope="module")
def timed() -> KaplanTables:
    return timed_study()


def prepared(figure: Any, study: KaplanTables) -> Any:
    data = figure.prepare(study, study.laws)
    assert not isinstance(data, str), data
    return data


# --- Figure 11 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", ["step", "C"])
def test_losses_at_fixed_compute_and_steps(timed: KaplanTables, axis: str) -> None:
    points = points_by_compute(timed.curves_of_laws())
    values = even_values(points, axis, 5)
    measured = losses_at(points, axis, values)
    for value in values[1:]:
        at_value = measured[np.isclose(measured[axis], value)]
        assert len(at_value) >= 3
        expected = loss_at_fixed(LAW, at_value["N"].to_numpy(), axis, value, BATCH_TOKENS)
        np.testing.assert_allclose(at_value["loss"], expected, rtol=0.005)


def test_a_law_at_fixed_compute_takes_fewer_steps_with_more_parameters() -> None:
    N = np.array([1e4, 1e5])
    expected = [float(LAW.loss_at_batch(n, 1e13 / (6 * n * 2048), 2048)) for n in N]
    np.testing.assert_allclose(loss_at_fixed(LAW, N, "C", 1e13, 2048), expected)
    np.testing.assert_allclose(
        loss_at_fixed(LAW, N, "step", 500, 2048), [float(LAW.loss_at_batch(n, 500, 2048)) for n in N]
    )


def test_values_that_three_sizes_reached(timed: KaplanTables) -> None:
    points = points_by_compute(timed.curves_of_laws())
    steps = even_values(points, "step", 6)
    assert np.allclose(np.diff(np.log(steps)), np.log(steps[1] / steps[0]))
    assert steps[-1] <= STEPS  # all sizes train as long
    at_most = 6 * SIZES[-3] * BATCH_TOKENS * STEPS
    computes = even_values(points, "C", 6)
    assert 0.7 * at_most < computes[-1] <= at_most * (1 + 1e-9)
    assert not len(even_values(points[points["N"] < SIZES[2]], "C", 6))
    data = prepared(fig11_fixed_compute_and_steps, timed)
    assert data.at_compute["C"].nunique() == data.at_steps["step"].nunique() == 6 and data.law is not None


# --- Figure 12 ------------------------------------------------------------------------------------


def test_measured_costs_are_those_of_appendix_b() -> None:
    """(B.16) and (B.17) by the law's own compute to each loss, on a fine grid of sizes."""
    N = np.geomspace(2e3, 1e7, 60)
    table = pd.concat(
        [pd.DataFrame({"N": N, "loss": loss, "C_min": LAW.compute_to_reach(N, loss)}) for loss in (5.0, 5.5)]
    )
    costs = measured_costs(table[np.isfinite(table["C_min"])])
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
    assert measured_costs(table).empty


def test_least_resources_are_those_of_the_law(timed: KaplanTables) -> None:
    found = timed.least_resources(6)
    np.testing.assert_allclose(
        found["loss"].unique(), loss_levels(timed.curves_of_laws(), 6)[: found["loss"].nunique()]
    )
    assert len(found) > 15
    gap = found["loss"] - LAW.converged_loss(found["N"])
    S_min = LAW.S_c * gap ** (-1 / LAW.alpha_S)
    np.testing.assert_allclose(found["S_min"], S_min, rtol=0.06)
    np.testing.assert_allclose(found["E_min"], S_min * LAW.critical_batch(found["loss"]), rtol=0.06)
    np.testing.assert_allclose(found["C_min"], 6 * found["N"] * found["E_min"], rtol=1e-12)
    np.testing.assert_allclose(
        found["S_min"] / found["steps"] + found["E_min"] / found["tokens"], 1, rtol=1e-9
    )


def test_the_study_finds_its_law(timed: KaplanTables) -> None:
    """What the red lines of Figures 11, 12 and 19 are drawn from."""
    law = timed.route().efficient
    assert law is not None and timed.route().agrees
    assert law.alpha_S == pytest.approx(LAW.alpha_S, rel=0.02)
    assert law.alpha_B == pytest.approx(LAW.alpha_B, rel=0.02)
    np.testing.assert_allclose(law.compute_ratio([0.6, 3.0]), LAW.compute_ratio([0.6, 3.0]), rtol=0.03)
    low, high = LAW.tolerated_sizes(0.2)
    assert (
        float(LAW.compute_ratio(low)) == pytest.approx(1.2) == pytest.approx(float(LAW.compute_ratio(high)))
    )
    x, y = points_named(
        fig12_cost_of_a_wrong_size.draw(prepared(fig12_cost_of_a_wrong_size, timed)).axes[0], "this study's"
    )
    np.testing.assert_allclose(y, law.compute_ratio(x))


def test_the_route_is_made_once_and_anew_of_other_tables(timed: KaplanTables) -> None:
    assert timed.route() is timed.route("transformer")
    others = replace(timed, curves=timed.curves[timed.curves["step"] < 400])
    assert others.route().numbers != timed.route().numbers
    again = replace(timed)
    assert again.route().numbers == timed.route().numbers and again.route() is not timed.route()


# --- Figures 13 and 14 ----------------------------------------------------------------------------


def test_envelope_as_spent_is_the_best_over_sizes(timed: KaplanTables) -> None:
    naive = prepared(fig13_compute_min, timed).naive
    assert len(naive) >= 5
    best = np.array([best_of(C) for C in naive["C"]])
    np.testing.assert_allclose(naive["loss"], best[:, 1], rtol=0.01)
    np.testing.assert_allclose(naive["N"], best[:, 0], rtol=0.35)
    np.testing.assert_allclose(naive["S"] * 6 * naive["N"] * BATCH_TOKENS, naive["C"], rtol=1e-9)


def test_envelope_in_C_min_is_the_frontier(timed: KaplanTables) -> None:
    envelope = prepared(fig13_compute_min, timed).envelope
    assert len(envelope) >= 5
    np.testing.assert_allclose(envelope["loss"], LAW.frontier_loss(envelope["C"]), rtol=0.015)
    np.testing.assert_allclose(envelope["N"], LAW.optimal_N(envelope["C"]), rtol=0.4)
    np.testing.assert_allclose(
        envelope["C"], 6 * envelope["N"] * envelope["B_crit"] * envelope["S_min"], rtol=1e-9
    )


def test_a_power_is_found_exactly() -> None:
    C = np.array([1e10, 3e11, 2e13])
    found = power_of(C, KAPLAN_TABLE_6.N.at(C))
    assert found is not None
    assert (found.scale, found.exponent) == pytest.approx((1.3e9, 0.73))
    assert power_of(C[:2], C[:2]) is None


def test_figure_14_stands_beside_kaplan(timed: KaplanTables) -> None:
    data = prepared(fig14_size_and_steps, timed)
    size_axes, step_axes = fig14_size_and_steps.draw(data).axes[:2]
    days, N = points_named(size_axes, "Kaplan 2020: $N")
    np.testing.assert_allclose(N, 1.3e9 * days**0.73)
    days, N = points_named(size_axes, "Kaplan 2020, as spent")
    np.testing.assert_allclose(N, KAPLAN_FIGURE_14_NAIVE_N.at(days * PF_DAY_FLOPS))
    days, S = points_named(step_axes, "Kaplan 2020")
    np.testing.assert_allclose(S, 5.4e3 * days**0.03)
    ours = timed.route().optimal("S_min")
    assert ours is not None
    days, S = points_named(step_axes, "$ S_{min}")
    np.testing.assert_allclose(S, ours.at(days * PF_DAY_FLOPS))
    assert f"{ours.exponent:#.2g}" in fig14_size_and_steps.describe(data)


def test_a_batch_beyond_all_is_compute_as_spent() -> None:
    assert isinstance(AS_SPENT, CriticalBatch)
    assert float(AS_SPENT.compute_min(1e20, 2**19, 3.0)) == pytest.approx(1e20, rel=1e-12)


# --- Figures 18 and 19 ----------------------------------------------------------------------------


def test_figure_18_is_of_the_scanned_sizes_and_obeys_5_1(timed: KaplanTables) -> None:
    data = prepared(fig18_steps_and_tokens, timed)
    assert tuple(data.levels["N"].unique()) == SCANNED_SIZES
    assert data.contours.groupby("N").size().between(3, steps_and_tokens.N_CONTOURS).all()
    assert len(data.points) > 40
    points = data.points.merge(data.contours[["N", "loss", "S_min", "E_min"]], on=["N", "loss"])
    hyperbola = points["S_min"] + points["E_min"] / points["batch"]
    np.testing.assert_allclose(points["steps"], hyperbola, rtol=0.1)
    for axes in fig18_steps_and_tokens.draw(data).axes[:2]:
        contours = [line for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]
        for contour in contours:
            S, E = np.asarray(contour.get_xdata()), np.asarray(contour.get_ydata())
            away = [
                np.abs((S / S_min - 1) * (E / E_min - 1) - 1).max()
                for S_min, E_min in data.contours[["S_min", "E_min"]].to_numpy()
            ]
            assert min(away) < 1e-6


def test_figure_19_has_the_law_under_its_points(timed: KaplanTables) -> None:
    data = prepared(fig19_least_steps_and_tokens, timed)
    assert data.law is not None and data.measured["loss"].nunique() == steps_and_tokens.N_LEVELS
    S_min = data.law.of_steps.stop_step_bound(
        data.measured["loss"] - data.law.converged_loss(data.measured["N"])
    )
    reached = np.isfinite(S_min)
    np.testing.assert_allclose(data.measured["S_min"][reached], S_min[reached], rtol=0.12)
    E_min = S_min * data.law.critical_batch(data.measured["loss"])
    np.testing.assert_allclose(data.measured["E_min"][reached], E_min[reached], rtol=0.12)


# --- schedules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "name"),
    [
        ({"decay": "cosine", "final_share": 0.1}, "cosine to 10 %"),
        ({"decay": "linear"}, "linear to 0 %"),
        ({"decay": "cooldown", "cooldown_share": 0.2}, "cooldown over 20 %"),
        ({"decay": "linear_cooldown", "cooldown_share": 0.5}, "linear cooldown over 50 %"),
        ({"decay": "constant", "cooldown_share": 0.2}, "constant"),
    ],
)
def test_schedules_in_words(schedule: dict[str, Any], name: str) -> None:
    assert rate_schedules.schedule_name(schedule) == name


SCHEDULES = {
    "a1": {"decay": "cosine"},
    "a2": {"decay": "cosine"},
    "b": {"decay": "constant"},
    "c": {"decay": "linear"},
}


def schedule_runs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": ["a1", "a2", "b", "c", "unknown"],
            "family": "transformer",
            "experiments": ["schedule", "seeds, schedule", "schedule", "schedule", "schedule"],
            "N": 1e5,
            "learning_rate": [1e-3, 1e-3, 1e-3, 2e-3, 1e-3],
            "summed_learning_rate": [0.5, 0.7, 1.0, 1.0, 9.0],
            "loss": [3.0, 3.2, 3.3, 2.9, 9.0],
        }
    )


def test_seeds_of_a_schedule_are_one_point() -> None:
    names = {run: rate_schedules.schedule_name(schedule) for run, schedule in SCHEDULES.items()}
    means = schedule_means(schedule_runs(), names).set_index("schedule")
    assert set(means.index) == {"cosine to 0 %", "constant", "linear to 0 %"}
    cosine = means.loc["cosine to 0 %"]
    assert (cosine["summed"], cosine["loss"]) == pytest.approx((0.6, 3.1))
    assert (cosine["low"], cosine["high"], cosine["n_seeds"]) == (3.0, 3.2, 2)
    assert means.loc["linear to 0 %", "peak"] == 2e-3


def test_figure_22_without_curves_has_the_losses(synthetic: Any, timed: KaplanTables) -> None:
    template = synthetic.study.records[0]
    records = tuple(replace(template, name=run, schedule=schedule) for run, schedule in SCHEDULES.items())
    study = replace(
        timed,
        complete=schedule_runs(),
        curves=pd.DataFrame(),
        study=replace(timed.study, records=records),
    )
    data = prepared(fig22_schedules, study)
    assert data.rates.empty
    shown = sorted(zip(data.means["summed"], data.means["loss"], strict=True))
    np.testing.assert_allclose(shown, [(0.6, 3.1), (1.0, 2.9), (1.0, 3.3)])
    sentence = fig22_schedules.describe(data)
    assert "linear to 0 % is lowest with 2.900" in sentence and "constant highest with 3.300" in sentence


def test_figure_22_of_a_whole_study(paper: Any) -> None:
    """Seven schedules at three peaks; the areas under the rates are the sums."""
    study = kaplan_of(paper)
    data = prepared(fig22_schedules, study)
    means = data.means
    assert len(means) == 21 and (means["n_seeds"] == 3).all()
    runs = study.of_experiment("schedule", "transformer")
    np.testing.assert_allclose(means["loss"].mean(), runs["loss"].mean())
    assert data.rates["schedule"].nunique() == 7
    middle = means[np.isclose(means["peak"], data.middle)].set_index("schedule")["summed"]
    for name, curve in data.rates.groupby("schedule"):
        step, rate = (curve[column].to_numpy(dtype=float) for column in ("step", "learning_rate"))
        assert np.trapezoid(rate, step) + rate[0] * step[0] == pytest.approx(middle[name], rel=0.08)
