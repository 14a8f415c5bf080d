"""Fits at the edge: any delta, any weights, and laws that their own intervals do not bound."""

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.checks.holdout import hold_out_largest
from scaling_laws.laws.checks.learning_curve import predict_final
from scaling_laws.laws.checks.rollout import roll_out
from scaling_laws.laws.checks.sensitivity import sensitivity
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.intervals import why_uncertain
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla, KaplanND
from scaling_laws.laws.forms.repeated import Muennighoff
from scaling_laws.laws.forms.single import BrokenN, KaplanD, KaplanN, LogN, PowerN
from scaling_laws.laws.forms.steps import CriticalBatch, TimeData
from scaling_laws.laws.results.chosen_forms import fit_forms
from scaling_laws.laws.results.fitted import Settings
from scaling_laws.study.errors import InputError

TRUTH = Chinchilla(E=1.8, A=400.0, B=1800.0, alpha=0.34, beta=0.36)
N, D = (values.ravel() for values in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e8, 1e11, 6)))
LOSS = TRUTH.loss(N, D) * np.exp(np.random.default_rng(0).normal(scale=0.01, size=N.size))


@pytest.mark.parametrize("form", [Chinchilla, KaplanND, PowerN, LogN])
def test_a_large_delta_is_least_squares_whatever_it_is(form):
    rows = make_rows({name: {"N": N, "D": D}[name] for name in form.variables}, LOSS)
    fits = [fit_law(form, rows, delta=delta) for delta in (1e1, 1e6, 3e7, 1e300)]
    for fit in fits[1:]:
        assert vars(fit.law) == pytest.approx(vars(fits[0].law), rel=1e-9)
        assert fit.reason == fits[0].reason
        assert fit.objective == pytest.approx(fits[0].objective)


def test_a_large_delta_finds_the_law():
    fit = fit_law(Chinchilla, make_rows({"N": N, "D": D}, TRUTH.loss(N, D)), delta=1e9)
    assert fit.identified
    assert vars(fit.law) == pytest.approx(vars(TRUTH), rel=1e-5)


@pytest.mark.parametrize("weight", [1e-300, 1.0, 1e300])
def test_equal_weights_are_no_weights(weight):
    rows = make_rows({"N": N, "D": D}, LOSS)
    weighted = fit_law(Chinchilla, rows, weights=np.full(N.size, weight))
    assert vars(weighted.law) == vars(fit_law(Chinchilla, rows).law)


def test_weights_of_a_wide_span_are_fitted_and_of_any_more_refused():
    rows = make_rows({"N": N, "D": D}, LOSS)
    wide = fit_law(Chinchilla, rows, weights=np.where(np.arange(N.size) == 3, 1e3, 1e-8))
    assert all(np.isfinite(value) for value in vars(wide.law).values())
    for weights in (np.geomspace(1e-300, 1e300, N.size), np.where(np.arange(N.size) == 3, 1e300, 1.0)):
        with pytest.raises(InputError, match=r"weights: they go from .* a span of more than 1e\+12"):
            fit_law(Chinchilla, rows, weights=weights)


def test_what_its_interval_does_not_bound_is_not_identified():
    exponents = {"alpha_N": (0.05, 0.1), "N_c": (1e8, 1e12)}
    assert why_uncertain(KaplanN, exponents) == ""
    assert "alpha_N, -0.19 to 0.35, holds 0" in why_uncertain(KaplanN, exponents | {"alpha_N": (-0.19, 0.35)})
    assert "powers of ten" in why_uncertain(KaplanN, exponents | {"N_c": (1.7e-59, 2.5e134)})
    assert "powers of ten" in why_uncertain(KaplanN, exponents | {"N_c": (0.0, 1e12)})
    assert "is open" in why_uncertain(KaplanN, exponents | {"N_c": (1e3, None)})
    assert "b, -0.84 to 1.06, holds 0" in why_uncertain(LogN, {"a": (-20.0, 30.0), "b": (-0.84, 1.06)})
    assert "c_1, -0.1 to 0.1" in why_uncertain(BrokenN, {"c_0": (0.1, 0.2), "c_1": (-0.1, 0.1)})
    assert "alpha_B is open" in why_uncertain(CriticalBatch, {"alpha_B": (0.2, None)})


def test_a_level_of_the_response_may_be_nothing():
    assert why_uncertain(PowerN, {"E": (0.0, 1.9), "A": (1.0, 9.0), "alpha": (0.1, 0.4)}) == ""
    assert why_uncertain(TimeData, {"S_min": (1e-30, 3.0), "E_min": (1e6, 1e8)}) == ""


def test_a_profile_that_does_not_close_bounds_on_one_side_only():
    intervals = {"R_D_star": (19.7, 5.7e11)}
    assert "R_D_star does not close" in why_uncertain(Muennighoff, intervals, {"R_D_star": (12.0, None)})
    assert why_uncertain(Muennighoff, intervals, {"R_D_star": (12.0, 90.0), "E": (None, 1.9)}) == ""


def test_noise_alone_identifies_no_form_of_one_variable():
    random = np.random.default_rng(1)
    loss = 3 * np.exp(random.normal(scale=2.0, size=60))
    runs = pd.DataFrame(
        {
            "run": [f"r{i}" for i in range(60)],
            "trunk": [f"r{i}" for i in range(60)],
            "family": "all",
            "N": random.permutation(np.geomspace(1e5, 1e9, 60)),
            "D": random.permutation(np.geomspace(1e7, 1e11, 60)),
            "loss": loss,
        }
    )
    runs["C"] = 6 * runs["N"] * runs["D"]
    settings = Settings(n="N", c="C", delta=1e-3, resamples=100, seed=0)
    laws = fit_forms("noise", runs, ["kaplan_n", "kaplan_c", "log_n", "log_d", "power_c"], settings=settings)
    for fit in laws.by_family[0].fits:
        assert not fit.identified, fit.form
        assert fit.reason
        assert not fit.intervals


def noisy_runs(seed):
    """Rows that determine a law of N and D, whose intervals bound nothing."""
    noise = np.exp(np.random.default_rng(seed).normal(scale=1.0, size=N.size))
    names = [str(row) for row in range(N.size)]
    return pd.DataFrame({"run": names, "trunk": names, "N": N, "D": D, "C": 6 * N * D, "loss": 3 * noise})


def test_a_law_that_its_intervals_do_not_bound_predicts_nothing():
    runs = noisy_runs(0)
    below = runs[runs["N"] < N.max()]
    rows = make_rows({"N": below["N"], "D": below["D"]}, below["loss"], below["trunk"])
    assert fit_law(KaplanND, rows).identified
    held_out = hold_out_largest(KaplanND, runs)
    assert held_out.mean_absolute_error is None and "90 % interval of" in held_out.reason
    assert all("kaplan_nd" not in window.predicted for window in roll_out(runs, "N").windows)


def test_the_end_of_a_noisy_curve_is_not_predicted():
    tokens = np.geomspace(1e6, 1e8, 30)
    loss = 3 * np.exp(np.random.default_rng(1).normal(scale=0.5, size=30))
    assert predict_final(tokens, loss, 1e9, form=KaplanD).loss is None
    falling = KaplanD(alpha_D=0.1, D_c=1e13).loss(tokens) * np.exp(
        np.random.default_rng(1).normal(scale=0.01, size=30)
    )
    assert predict_final(tokens, falling, 1e9, form=KaplanD).loss is not None


def test_exponents_of_noise_are_not_compared():
    runs = noisy_runs(11)
    assert fit_law(Chinchilla, make_rows({"N": N, "D": D}, runs["loss"], runs["trunk"])).identified
    as_fitted, *_, without_each = sensitivity(runs, n="N", c="C", delta=1e-3)
    assert as_fitted.alpha is None and "90 % interval of" in as_fitted.reason
    assert without_each.alpha_range is None and without_each.reason == as_fitted.reason
