"""Slices and allocations against laws whose optimum is known in closed form, and against published optima."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.allocation.frontier import envelope, planned_computes, size_curves, slice_computes
from scaling_laws.laws.allocation.isoflop import isoflop_slice, loss_at, minima, minimum
from scaling_laws.laws.allocation.power_lines import (
    akima_optima,
    allocation_bias,
    envelope_optima,
    fit_allocation,
    isoflop_optima,
    measure_allocation,
    power_line,
    summarise,
)
from scaling_laws.laws.forms.joint import Chinchilla

DATA = Path(os.environ.get("SCALING_LAWS_DATA", Path(__file__).parents[3] / "shared" / "data"))
TRUTH = Chinchilla(E=1.7, A=60.0, B=300.0, alpha=0.34, beta=0.38)
LOPSIDED = Chinchilla(E=1.7, A=60.0, B=3000.0, alpha=0.25, beta=0.45)
BUDGETS = np.geomspace(1e13, 1e17, 5)


def table(N, D, law=TRUTH, noise=0.0, seed=0):
    N, D = np.asarray(N, dtype=float), np.asarray(D, dtype=float)
    loss = law.loss(N, D) * np.exp(noise * np.random.default_rng(seed).normal(size=len(N)))
    runs = [f"{n:g}-{d:g}" for n, d in zip(N, D, strict=True)]
    return pd.DataFrame(
        {"run": runs, "trunk": runs, "family": "all", "N": N, "D": D, "C": 6 * N * D, "loss": loss}
    )


def grid(law=TRUTH, noise=0.0):
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e4, 1e7, 13), np.geomspace(1e5, 1e10, 30)))
    return table(N, D, law, noise)


def budgets(law=TRUTH, n_sizes=7, width=4.0, jitter=0.0, noise=0.0):
    """IsoFLOP budgets: sizes about the optimum of each, no size trained twice, D rounded by `jitter`."""
    random = np.random.default_rng(1)
    N = np.concatenate([law.optimum(C)[0] * np.geomspace(1 / width, width, n_sizes) for C in BUDGETS])
    C = np.repeat(BUDGETS, n_sizes) * np.exp(random.uniform(-jitter, jitter, size=len(N)))
    return table(N, C / (6 * N), law, noise)


def test_the_bias_of_a_slice_is_what_it_gets_wrong_without_noise():
    curves = size_curves(grid(LOPSIDED))
    errors = {}
    for method in ("parabola", "akima"):
        found = isoflop_slice(curves, 1e14, method=method, law=LOPSIDED)
        errors[method] = np.log(found.N_opt / LOPSIDED.optimum(1e14)[0])
        assert found.bias_log_N == pytest.approx(errors[method], abs=0.02)  # losses are interpolated
        assert found.method == method
    # Over three decades of N a parabola is a poor valley; Akima's curve goes through the losses.
    assert abs(errors["parabola"]) > 0.1
    assert abs(errors["akima"]) < 0.03
    assert (
        "on the fitted law's own losses these sizes put N_opt"
        in isoflop_slice(curves, 1e14, law=LOPSIDED).warning
    )


def test_a_symmetric_slice_has_no_bias():
    law = Chinchilla(E=1.7, A=60.0, B=60.0, alpha=0.3, beta=0.3)
    found = isoflop_slice(size_curves(budgets(law)), BUDGETS[2], law=law)
    assert found.bias_log_N == pytest.approx(0.0, abs=1e-9)
    assert found.N_opt == pytest.approx(float(law.optimum(BUDGETS[2])[0]), rel=1e-6)
    assert (found.warning, found.interpolated) == ("", False)
    elsewhere = isoflop_slice(size_curves(grid(law).assign(C=lambda t: 3 * t["C"])), 3e14, law=law)
    assert elsewhere.bias_log_N is None  # C is not 6 N D: the law's optimum is not that of this slice


def test_sizes_that_are_not_about_their_minimum_are_off_centre():
    C, centre = BUDGETS[2], float(TRUTH.optimum(BUDGETS[2])[0])
    N = centre * np.geomspace(1 / 2, 64, 8)
    found = isoflop_slice(size_curves(table(N, C / (6 * N))), C, law=TRUTH)
    assert "off the centre" in found.warning
    assert "train smaller" in found.warning
    assert abs(found.bias_log_N) > 0.1
    assert isoflop_slice(size_curves(budgets()), C, law=TRUTH).warning == ""


def test_planned_budgets_are_found_and_their_runs_taken_as_they_are():
    runs = budgets(jitter=0.008)
    curves = size_curves(runs)
    assert all(len(curve.log_C) == 1 for curve in curves)
    assert slice_computes(curves) == pytest.approx(BUDGETS, rel=0.01)
    for C in slice_computes(curves):
        found = isoflop_slice(curves, C, law=TRUTH)
        assert (len(found.points), found.interpolated) == (7, False)
        assert np.isin(np.round([point.loss for point in found.points], 9), np.round(runs["loss"], 9)).all()
        assert found.N_opt == pytest.approx(float(TRUTH.optimum(C)[0]), rel=0.05)
        assert found.N_opt * found.D_opt * 6 == pytest.approx(C, rel=0.02)
    for optima, tolerance in ((isoflop_optima, 0.01), (akima_optima, 0.01), (envelope_optima, 0.05)):
        allocation = fit_allocation(curves, optima)
        assert allocation.n_points == 5
        assert allocation.exponent == pytest.approx(TRUTH.a_opt, abs=tolerance)
        assert allocation.D_exponent == pytest.approx(TRUTH.b_opt, abs=tolerance)
    assert len(envelope(curves)) == 5


def test_a_size_that_missed_a_budget_is_no_part_of_its_slice():
    N = np.array([1e5, 2e5, 4e5, 8e5])
    rows = [(n, C / (6 * n)) for C in (1e13, 2e13, 4e13) for n in N if not (n == 8e5 and C == 2e13)]
    curves = size_curves(table(*np.transpose(rows)))
    found = isoflop_slice(curves, 2e13)
    sizes = [point.N for point in found.points]
    assert pytest.approx([1e5, 2e5, 4e5]) == sizes  # 8e5 would have to be interpolated over a factor of 4
    assert pytest.approx(list(N)) == [point.N for point in isoflop_slice(curves, 1e13).points]


def test_a_grid_of_sizes_and_horizons_has_no_planned_budgets():
    curves = size_curves(grid())
    assert len(planned_computes(curves)) == 0
    assert len(slice_computes(curves)) == 6
    assert len(planned_computes([])) == 0


def test_akima_through_three_points_is_their_parabola():
    log_N, log_loss = np.array([0.0, 1.0, 2.0]), np.array([0.3, 0.1, 0.2])
    curvature, slope, _ = np.polyfit(log_N, log_loss, 2)
    assert minima(log_N, log_loss[None], "akima")[0] == pytest.approx(-slope / (2 * curvature), abs=1e-4)


def test_akimas_curve_does_not_run_through_sizes_that_nearly_coincide():
    """A worse shape beside the best size but one: its step in loss is no slope to follow."""
    log_N = np.log([1e4, 2e4, 4e4, 6.9e4, 7e4, 1.6e5])
    log_loss = 0.02 * (log_N - np.log(7e4)) ** 2 + np.array([0, 0, 0, 0.008, 0, 0])
    lowest, refused = minimum(log_N, log_loss, "akima")
    assert not refused and lowest == pytest.approx(np.log(7e4), abs=0.3)
    assert loss_at(log_N, log_loss, lowest, "akima") > 0.995
    assert "differ by 5 %" in minimum(np.log([1e4, 1.01e4, 3e4]), np.array([0.1, 0, 0.1]), "akima")[1]


@pytest.mark.parametrize("method", ["parabola", "akima"])
def test_a_minimum_at_the_edge_is_refused(method):
    log_N = np.linspace(0, 3, 5)
    found, why = minimum(log_N, np.log(2 + (log_N - 4) ** 2), method)
    assert found is None
    assert "largest size" in why
    falling = minima(log_N, np.log([5 - 0.1 * log_N**2, 5 - 0.1 * (log_N - 3) ** 2]), method)
    assert falling == pytest.approx([3.0, 0.0])


def test_the_interval_of_a_minimum_is_that_of_propagated_noise():
    """A vertex moves linearly with small noise: its sd from the derivatives, by finite differences."""
    curves, C, sd = size_curves(budgets()), BUDGETS[2], 2e-4
    found = isoflop_slice(curves, C, noise_sd=sd, resamples=4000)
    log_N, log_loss = np.log([(point.N, point.loss) for point in found.points]).T
    step = 1e-6
    moved = minima(log_N, log_loss + step * np.eye(len(log_N)), "parabola")
    gradient = (moved - np.log(found.N_opt)) / step
    expected = 1.645 * sd * np.linalg.norm(gradient)
    low, high = np.log(found.N_opt_interval) - np.log(found.N_opt)
    assert (-low, high) == pytest.approx((expected, expected), rel=0.1)
    D_low, D_high = np.log(found.D_opt_interval) - np.log(found.D_opt)
    assert (-D_low, D_high) == pytest.approx((expected, expected), rel=0.1)  # D = C/(6 N)


def test_akimas_estimate_is_the_median_of_the_noisy_minima():
    curves = size_curves(budgets(noise=2e-3))
    plain = isoflop_slice(curves, BUDGETS[2], method="akima")
    noisy = isoflop_slice(curves, BUDGETS[2], method="akima", noise_sd=2e-3, resamples=400)
    assert noisy.N_opt != plain.N_opt
    low, high = noisy.N_opt_interval
    assert low < noisy.N_opt < high


def test_the_robust_line_weights_each_optimum_by_its_variance():
    random = np.random.default_rng(0)
    log_C, sd = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.01, 0.02, 0.01, 1.0])
    drawn = 0.5 * log_C + sd * random.normal(size=(4000, 4))
    drawn[:, 3] += 2.0  # an outlier, and known to be uncertain
    missing = np.where(random.random((4000, 4)) < 0.7, np.nan, drawn)
    found, lines, _ = summarise(log_C, (drawn[0], -drawn[0]), (drawn, -drawn), robust=True)
    weights = 1 / sd**2
    expected = np.polyfit(log_C, np.median(drawn, axis=0), 1, w=np.sqrt(weights))[0]
    assert found.exponent == pytest.approx(expected, abs=2e-3)
    assert found.exponent == pytest.approx(0.5, abs=0.01)
    assert np.polyfit(log_C, np.median(drawn, axis=0), 1)[0] > 0.9  # what equal weights would say
    assert np.std(lines.exponent) == pytest.approx(1 / np.sqrt(weights[:3] @ (log_C[:3] - 2) ** 2), rel=0.1)
    nothing, _, _ = summarise(log_C, (drawn[0], drawn[0]), (missing, missing), robust=True)
    assert (nothing.exponent, nothing.n_points) == (None, 0)  # most draws have no optimum


@pytest.mark.parametrize("optima", [isoflop_optima, akima_optima])
def test_intervals_of_the_exponent_hold_the_truth_and_shrink_with_the_noise(optima):
    widths = []
    for noise in (1e-4, 1e-3):
        curves = size_curves(budgets(noise=noise))
        found = fit_allocation(curves, optima, noise_sd=noise, resamples=200)
        low, high = found.exponent_interval
        assert low - 0.004 < TRUTH.a_opt < high + 0.004
        assert found.D_exponent == pytest.approx(1 - found.exponent, abs=1e-6)
        widths.append(high - low)
    assert widths[0] * 5 < widths[1] < widths[0] * 20


def test_draws_of_the_lines_give_intervals_of_the_optimum():
    curves = size_curves(budgets(noise=1e-3))
    found, N_lines, D_lines = measure_allocation(curves, isoflop_optima, noise_sd=1e-3, resamples=100)
    assert N_lines.at(1e15).shape == (100,)
    assert np.median(N_lines.at(1e15)) == pytest.approx(found.coefficient * 1e15**found.exponent, rel=0.03)
    assert 6 * N_lines.at(1e15) * D_lines.at(1e15) == pytest.approx(1e15, rel=1e-3)


def test_the_bias_of_an_exponent_on_the_laws_own_losses():
    curves = size_curves(grid(LOPSIDED, noise=0.01))
    found = allocation_bias(curves, isoflop_optima, LOPSIDED)
    clean = fit_allocation(size_curves(grid(LOPSIDED)), isoflop_optima).exponent
    assert found.exponent == pytest.approx(clean)
    assert found.bias == pytest.approx(clean - LOPSIDED.a_opt)
    assert f"{found.bias:+.3f}" in found.sentence
    other = allocation_bias(size_curves(grid().assign(C=lambda t: 2 * t["C"])), isoflop_optima, TRUTH)
    assert other.bias is None
    assert "not 6 N D" in other.sentence


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no public run tables in {DATA}")
@pytest.mark.parametrize(
    ("convention", "a", "b"),
    [
        ("kaplan_transformer_plus_lm_head", 0.524, 0.49),
        ("chinchilla_all_params", 0.366, 0.50),
        ("transformer_only", 0.681, 0.41),
    ],
)
def test_nanochats_exponents_by_convention(convention, a, b):
    """Of the same runs: what N counts moves its exponent by 0.3.

    The exponents of D that are quoted for the table lie 0.010 to 0.013 above its least squares.
    """
    optima = pd.read_csv(DATA / "nanochat_isoflop_optima.csv").query("convention == @convention")
    log_C, log_D = np.log(optima["flops"].to_numpy()), np.log(optima["tokens"].to_numpy())
    assert power_line(log_C, np.log(optima["eff_params"].to_numpy())).exponent == pytest.approx(a, abs=6e-4)
    of_D = float(power_line(log_C, log_D).exponent)
    assert of_D == pytest.approx(np.polyfit(log_C, log_D, 1)[0])
    assert of_D == pytest.approx(b, abs=0.015)
