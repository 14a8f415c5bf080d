"""Envelope and isoFLOP slices of a law whose optimum is known in closed form."""

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.allocation.frontier import envelope, size_curves, slice_computes
from scaling_laws.laws.allocation.isoflop import isoflop_slice
from scaling_laws.laws.allocation.power_lines import envelope_optima, fit_allocation, isoflop_optima
from scaling_laws.laws.forms.joint import Chinchilla

TRUTH = Chinchilla(E=1.7, A=60.0, B=300.0, alpha=0.34, beta=0.38)


def ladder(sizes, horizons, noise=0.0):
    random = np.random.default_rng(0)
    runs = pd.DataFrame([{"N": N, "D": D} for N in sizes for D in horizons])
    loss = TRUTH.loss(runs["N"], runs["D"]) * np.exp(noise * random.normal(size=len(runs)))
    names = [f"{N:g}-{D:g}" for N, D in zip(runs["N"], runs["D"], strict=True)]
    return runs.assign(C=6 * runs["N"] * runs["D"], loss=loss, run=names)


DENSE = ladder(np.geomspace(1e4, 1e7, 13), np.geomspace(1e5, 1e10, 30))


def test_slices_find_the_optimum():
    curves = size_curves(DENSE)
    N_opt, D_opt = TRUTH.optimum(1e14)
    found = isoflop_slice(curves, 1e14)
    assert found.warning == ""
    # The parabola's own bias, over three decades of N: Hoffmann's approach 2 is not exact.
    assert found.N_opt == pytest.approx(float(N_opt), rel=0.35)
    assert found.N_opt * found.D_opt * 6 == pytest.approx(1e14, rel=1e-3)
    near = [curve for curve in curves if 0.2 < curve.N / N_opt < 5]
    close = isoflop_slice(near, 1e14)
    assert close.N_opt == pytest.approx(float(N_opt), rel=0.03)
    assert close.D_opt == pytest.approx(float(D_opt), rel=0.03)
    assert close.loss_opt == pytest.approx(float(TRUTH.loss(N_opt, D_opt)), rel=2e-3)


def test_losses_are_interpolated_and_never_extrapolated():
    curves = size_curves(ladder([1e4, 1e5, 1e6], [1e6, 1e7]))
    between = isoflop_slice(curves[1:2], 6e5 * 3e6)
    expected = np.interp(np.log(3e6), np.log([1e6, 1e7]), np.log(TRUTH.loss(1e5, [1e6, 1e7])))
    assert [point.loss for point in between.points] == pytest.approx([np.exp(expected)])
    assert [point.D for point in between.points] == pytest.approx([3e6])
    assert isoflop_slice(curves, 1e9).points == ()
    assert [point.N for point in isoflop_slice(curves, 6e5 * 1e7).points] == [1e5, 1e6]
    assert len(slice_computes(size_curves(ladder([1e4, 1e6, 1e8], [1e6, 1e7])))) == 0


@pytest.mark.parametrize(
    ("sizes", "warning"), [([1e6, 2e6, 4e6], "smallest size"), ([1e3, 2e3, 4e3], "largest size")]
)
def test_a_minimum_on_the_edge_is_flagged(sizes, warning):
    C = 6 * sizes[1] * 1e7 if warning == "smallest size" else 6 * sizes[1] * 1e8
    runs = ladder(sizes, np.geomspace(1e6, 1e9, 20))
    found = isoflop_slice(size_curves(runs), C, noise_sd=0.01)
    assert (found.N_opt, found.N_opt_interval) == (None, None)
    assert warning in found.warning


def test_two_sizes_are_no_slice():
    found = isoflop_slice(size_curves(ladder([1e5, 1e6], [1e5, 1e6, 1e7, 1e8])), 6e12)
    assert found.N_opt is None
    assert "at least 3" in found.warning


def test_noise_widens_the_interval_until_it_reaches_the_edge():
    runs = ladder(np.geomspace(3e4, 1e6, 5), np.geomspace(1e5, 1e10, 30))
    widths = []
    for noise_sd in (1e-4, 1e-3, 1e-1):
        found = isoflop_slice(size_curves(runs), 1e13, noise_sd=noise_sd, resamples=200)
        low, high = found.N_opt_interval
        assert low <= found.N_opt <= high
        widths.append(np.log(high / low))
    assert widths == sorted(widths)
    assert "edge" in found.warning


def test_envelope_holds_the_unbeaten_runs_alone():
    points = envelope(size_curves(DENSE))
    assert [point.C for point in points] == sorted(point.C for point in points)
    assert len({point.N for point in points}) > 5
    for point in points:
        row = DENSE[DENSE["run"] == point.run].iloc[0]
        assert (row["N"], row["D"], row["loss"]) == pytest.approx((point.N, point.D, point.loss))
        # No size between the trained ones, nor above them, was there to beat it.
        best = float(TRUTH.loss(*TRUTH.optimum(point.C)))
        assert best <= point.loss < 1.03 * best


def test_a_run_without_a_rival_is_not_on_the_envelope():
    runs = ladder([1e4, 1e6], [1e6, 1e7])  # computes do not overlap
    assert envelope(size_curves(runs)) == []
    assert envelope(size_curves(runs[runs["N"] == 1e4])) == []


def test_replicates_count_once_at_their_mean_log_loss():
    runs = ladder([1e4, 2e4], [1e6, 2e6])
    twice = pd.concat([runs, runs.assign(loss=runs["loss"] * 1.1, run=runs["run"] + "-s2")])
    for once, both in zip(size_curves(runs), size_curves(twice), strict=True):
        assert both.log_loss == pytest.approx(once.log_loss + np.log(1.1) / 2)
        assert both.runs == once.runs


@pytest.mark.parametrize("optima", [envelope_optima, isoflop_optima])
def test_exponent_of_the_optima(optima):
    found = fit_allocation(size_curves(DENSE), optima, noise_sd=1e-3, resamples=30)
    assert found.exponent == pytest.approx(TRUTH.a_opt, abs=0.05)
    low, high = found.exponent_interval
    assert low <= found.exponent + 0.02
    assert high >= found.exponent - 0.02
    C = 1e14
    assert found.coefficient * C**found.exponent == pytest.approx(float(TRUTH.optimum(C)[0]), rel=0.4)


def test_too_few_optima_have_no_exponent():
    found = fit_allocation(size_curves(ladder([1e5, 1e6], [1e6, 1e8])), isoflop_optima, noise_sd=0.01)
    assert (found.exponent, found.exponent_interval, found.n_points) == (None, None, 0)
    assert found.reason
