"""Kaplan's route against curves that follow (5.6), (5.4) and (1.4) exactly, and against others."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.laws.test_laws_critical_batch import TRUTH, batch_scan, sweep

from scaling_laws.laws.batch.compute_efficient import ComputeEfficient
from scaling_laws.laws.batch.critical_batch import critical_batch_from_curves
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.forms.joint import KaplanND
from scaling_laws.laws.forms.single import KaplanD
from scaling_laws.laws.forms.steps import KaplanNS
from scaling_laws.papers.kaplan2020.route import kaplan_route
from scaling_laws.papers.kaplan2020.time_points import envelope_of, time_points

LAW = ComputeEfficient(**TRUTH)
ALPHA_C = 1 / (1 / 0.1 + 1 / 0.6 + 1 / 0.25)


def route_of(curves, batch, resamples):
    """With a law of `critical_batch_from_curves`."""
    return kaplan_route(curves, batch.law, batch.draws, no_batch=batch.reason, resamples=resamples)


def fit_of_steps(curves, batch):
    points = time_points(curves)
    return fit_law(KaplanNS, points.rows(batch, points.loss))


@pytest.fixture(scope="module")
def noisy_route():
    scan = batch_scan(noise_sd=0.003, seed=1)
    batch = critical_batch_from_curves(scan, resamples=100)
    return batch, route_of(pd.concat([sweep(noise_sd=0.003, seed=2), scan]), batch, 100)


def test_exact_curves_give_the_laws():
    points = time_points(sweep())
    fit = fit_of_steps(sweep(), LAW.of_batch)
    assert fit.identified, fit.reason
    assert list(vars(fit.law).values()) == pytest.approx(list(vars(LAW.of_steps).values()), rel=1e-3)
    S_min = points.steps_min(LAW.of_batch, points.loss)
    assert LAW.loss(points.N[points.training], S_min) == pytest.approx(points.loss, rel=1e-5)
    grid = points.compute_grid(LAW.of_batch)
    envelope = envelope_of(points, LAW.of_batch, grid)
    assert len(envelope.C_min) > 15
    assert envelope.loss == pytest.approx(LAW.frontier_loss(envelope.C_min), rel=3e-3)
    # Parabolas through three sizes, each 2.7 times the other.
    assert np.log(envelope.N / LAW.optimal_N(envelope.C_min)).std() < 0.1


def test_a_worse_shape_of_nearly_the_same_size_takes_no_envelope_below_the_measured_losses():
    """A parabola through two losses at nearly one N and a third far away fell to a third of every loss."""
    curves = sweep()
    deep = curves[np.isclose(curves["N"], curves["N"].unique()[3])]
    deep = deep.assign(run=deep["run"] + "-deep", N=deep["N"] * 0.97, loss=deep["loss"] * 1.05)
    points = time_points(pd.concat([curves, deep], ignore_index=True))
    envelope = envelope_of(points, LAW.of_batch, points.compute_grid(LAW.of_batch))
    assert envelope.loss == pytest.approx(LAW.frontier_loss(envelope.C_min), rel=0.03)
    far = points.N * np.where(points.N > 1e6, 1e5, 1.0)
    uneven = envelope_of(replace(points, N=far), LAW.of_batch, points.compute_grid(LAW.of_batch))
    assert uneven.loss.min() > points.loss.min()


def test_the_best_rate_of_a_size_and_batch_counts():
    best = sweep(sizes=3).assign(learning_rate=0.01)
    worse = best.assign(run=best["run"] + "x", learning_rate=0.03)
    worse = worse.assign(loss=worse["loss"] * 1.02)
    both = time_points(pd.concat([worse, best], ignore_index=True))
    assert both.loss.tolist() == time_points(best).loss.tolist()
    assert both.steps.tolist() == time_points(best).steps.tolist()


def test_unconverted_steps_do_not_collapse():
    """What the conversion is for: at batches that differ by 16, raw steps are no variable of the loss."""
    curves = sweep(batches=((4096.0, 3e4), (65536.0, 1e4)))
    fit = fit_of_steps(curves, LAW.of_batch)
    tiny = ComputeEfficient(**{**TRUTH, "B_star": 1e-3})
    raw = fit_of_steps(curves, tiny.of_batch)
    assert raw.certificate.rms_log_residual > 30 * fit.certificate.rms_log_residual


def test_noisy_curves_give_intervals_that_hold_the_laws(noisy_route):
    batch, route = noisy_route
    intervals = {name: batch.intervals.get(name) or route.interval(name) for name in TRUTH}
    for name, true in TRUTH.items():
        low, high = intervals[name]
        assert low < true < high, name
    assert intervals["alpha_N"][1] - intervals["alpha_N"][0] < 0.01
    assert intervals["alpha_S"][1] - intervals["alpha_S"][0] < 0.1
    assert "bootstrap over 30 trainings" in route.method
    assert route.reason == ""


def test_identity_of_the_exponents(noisy_route):
    """(1.8) on the measured envelope, and (1.7) along it."""
    _, route = noisy_route
    for name in ("predicted alpha_C_min", "alpha_C_min"):
        estimate = route.estimate(name)
        assert estimate.value == pytest.approx(ALPHA_C, rel=0.05)
        assert estimate.interval[0] < ALPHA_C < estimate.interval[1]
    assert route.agrees
    assert "agrees with" in route.identity
    difference = route.estimate("difference")
    assert difference.interval[0] < 0 < difference.interval[1]
    assert route.estimate("exponent sum").value == pytest.approx(1, abs=0.03)
    optimal = {name: route.optimal(name) for name in ("N", "B", "S_min", "D")}
    assert optimal["N"].exponent + optimal["B"].exponent + optimal["S_min"].exponent == pytest.approx(1)
    assert optimal["D"].exponent == pytest.approx(1 - optimal["N"].exponent)
    for name, true in LAW.exponents.items():
        low, high = optimal[name].exponent_interval
        assert low < true < high, name
        predicted = route.estimate(f"predicted {name} exponent")
        assert predicted.value == pytest.approx(true, abs=0.03)
        assert predicted.interval[0] < true < predicted.interval[1]
    C = np.sqrt(route.envelope.C_min[0] * route.envelope.C_min[-1])
    assert optimal["N"].at(C) == pytest.approx(LAW.optimal_N(C), rel=0.1)
    assert optimal["D"].at(C) == pytest.approx(LAW.optimal_D(C), rel=0.1)
    assert optimal["S_min"].at(C) == pytest.approx(LAW.optimal_S(C), rel=0.15)
    kaplan, power = route.frontier
    assert kaplan.law.alpha_C_min == pytest.approx(route.numbers["alpha_C_min"])
    low, high = route.interval("alpha_C_min")
    assert low < kaplan.law.alpha_C_min < high
    assert power.law is None or power.law.loss(C) == pytest.approx(LAW.frontier_loss(C), rel=5e-3)


def of_power_mean(p, sizes=12):
    """Curves of L^p = (N_c/N)^(p alpha_N) + (S_c/S_min)^(p alpha_S): the frontier of (1.8), not its sum."""
    tables = []
    for N in np.geomspace(1e4, 1e7, sizes):
        for batch, last_step in ((16384.0, 3e4), (65536.0, 1e4)):
            S_min = np.geomspace(1e-1, 1e9, 4000)
            L = ((1e11 / N) ** (0.1 * p) + (300 / S_min) ** (0.6 * p)) ** (1 / p)
            S = S_min * (1 + 2e6 * L**-4 / batch)
            step = np.geomspace(100, last_step, 60)
            loss = np.exp(np.interp(np.log(step), np.log(S), np.log(L)))
            columns = {"run": f"{N:.3e}-{batch:.0f}", "N": N, "batch_tokens": batch, "step": step}
            tables.append(pd.DataFrame({**columns, "tokens": batch * step, "loss": loss}))
    return pd.concat(tables, ignore_index=True)


def test_a_broken_identity_is_seen():
    """The envelope has the exponent of (1.8) with the true alphas; those of a wrong form do not give it."""
    batch = critical_batch_from_curves(batch_scan(), resamples=40)
    assert route_of(of_power_mean(1), batch, 40).agrees is True
    route = route_of(of_power_mean(2), batch, 40)
    assert route.agrees is False
    assert "does not agree with" in route.identity
    assert route.numbers["alpha_C_min"] == pytest.approx(ALPHA_C, rel=5e-3)
    assert route.numbers["predicted alpha_C_min"] > 1.03 * ALPHA_C


def test_a_floor_shows_in_the_frontier():
    """(1.8) hardly notices an irreducible loss of 2 nats; the frontier above a floor does."""
    batch = critical_batch_from_curves(batch_scan(), resamples=20)
    curves = sweep(sizes=16)
    _, power = route_of(curves.assign(loss=curves["loss"] + 2.0), batch, 5).frontier
    assert 1.6 < power.law.E < 2.4
    _, power = route_of(curves, batch, 5).frontier
    assert power.law.E < 0.1


def test_crossing_of_fitted_laws(noisy_route):
    alpha_D, far = 0.15, 1e20
    D_c = float(LAW.optimal_D(far) * LAW.frontier_loss(far) ** (1 / alpha_D))
    of_D = KaplanD(alpha_D=alpha_D, D_c=D_c)
    _, route = noisy_route
    found, interval = route.crossing(of_D.loss)
    assert found.reason == ""
    assert found.loss == pytest.approx(float(of_D.loss(found.D)))
    assert found.loss == pytest.approx(float(route.law_of_C_min.loss(found.C)))
    assert interval[0] < far < interval[1]
    draws = [KaplanD(alpha_D=alpha_D, D_c=D_c * factor).loss for factor in (0.8, 1.25)]
    _, wider = route.crossing(of_D.loss, draws)
    assert wider[0] < interval[0] < interval[1] < wider[1]


def test_few_trainings_get_noise_instead():
    batch = critical_batch_from_curves(batch_scan(noise_sd=0.002), resamples=30)
    few = sweep(noise_sd=0.002, sizes=4, batches=((65536.0, 1e4),))
    route = route_of(few, batch, 30)
    assert "parametric bootstrap with the residual noise (4 trainings)" in route.method
    low, high = route.interval("alpha_N")
    assert low < route.law_of_steps.alpha_N < high


def test_reasons_in_words():
    one_batch = sweep(sizes=3, batches=((65536.0, 1e4),))
    without = route_of(one_batch, critical_batch_from_curves(one_batch), 5)
    assert without.reason.startswith("no law of the critical batch: no loss was reached by 3 batches")
    assert without.identity.startswith("Whether (1.8) holds is not known: no law of the critical batch")
    assert without.crossing(KaplanD(alpha_D=0.1, D_c=1e13).loss)[0].reason.startswith("no measured")
    batch = critical_batch_from_curves(batch_scan(), resamples=10)
    one_size = route_of(sweep(sizes=1), batch, 5)
    assert "L(N,S_min): only one N" in one_size.reason
    assert "L(C_min): 1 sizes: an envelope over sizes needs at least 3" in one_size.reason
    assert one_size.agrees is None
    cosine = one_batch.assign(learning_rate=1 / one_batch["step"])
    assert "no training has two points" in route_of(cosine, batch, 5).reason


def test_stop_step():
    """(5.7) by hand, with the joint law of N and D."""
    joint = KaplanND(alpha_N=0.1, alpha_D=0.1, N_c=1e11, D_c=1e12)
    bound = LAW.of_steps.stop_step_bound(joint.loss(1e6, 1e8) - joint.loss(1e6, np.inf))
    excess = (1e11 / 1e6 + 1e12 / 1e8) ** 0.1 - (1e11 / 1e6) ** 0.1
    assert bound == pytest.approx(300 * excess ** (-1 / 0.6))
    assert np.isinf(LAW.of_steps.stop_step_bound(0.0))
