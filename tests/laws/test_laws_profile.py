"""Profiles against the interval of a linear model, and where a parameter is bounded on one side only."""

import numpy as np
import pytest

from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.profile import profile_intervals
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla, ChinchillaGamma
from scaling_laws.laws.forms.single import KaplanN, PowerN

LEAST_SQUARES = 10.0
"""A delta so large that no residual is clipped."""


def noisy(law, sd, seed=0, n=12, **values):
    loss = law.loss(**values)
    return make_rows(values, loss * np.exp(sd * np.random.default_rng(seed).normal(size=len(loss))))


def test_of_a_straight_line_it_is_the_textbook_interval():
    """ln L = c - alpha ln N: alpha +- 1.645 s/sqrt(Sxx), s^2 of n - 2 degrees of freedom."""
    rows = noisy(KaplanN(alpha_N=0.08, N_c=1e13), 0.01, N=np.geomspace(1e4, 1e8, 30))
    fit = fit_law(KaplanN, rows, delta=LEAST_SQUARES)
    x, y = rows.centred("N"), np.log(rows.loss)
    slope = np.sum(x * y) / np.sum(x**2)
    residual = y - y.mean() - slope * x
    error = np.sqrt(np.sum(residual**2) / 28 / np.sum(x**2))
    low, high = profile_intervals(fit)["alpha_N"]
    assert (low, high) == pytest.approx((-slope - 1.6449 * error, -slope + 1.6449 * error), rel=1e-3)


def test_intervals_contain_the_optimum_and_grow_with_the_level():
    law = Chinchilla(E=1.7, A=400.0, B=400.0, alpha=0.34, beta=0.28)
    N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e9, 7), np.geomspace(1e8, 1e11, 7)))
    fit = fit_law(Chinchilla, noisy(law, 0.005, N=N, D=D))
    narrow, wide = profile_intervals(fit, 0.90), profile_intervals(fit, 0.95)
    assert set(narrow) == {"E", "alpha", "beta"}
    for name, (low, high) in narrow.items():
        assert wide[name][0] < low < getattr(fit.law, name) < high < wide[name][1]


def test_a_curved_law_has_profiles_too():
    law = ChinchillaGamma(E=1.7, A=5e3, B=9e3, alpha=0.5, beta=0.45, gamma=0.7)
    N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e9, 8), np.geomspace(1e8, 1e11, 8)))
    fit = fit_law(ChinchillaGamma, noisy(law, 0.001, N=N, D=D))
    low, high = profile_intervals(fit)["gamma"]
    assert low < 0.7 < high


def test_an_irreducible_loss_that_noise_hides_is_open_below():
    """Losses far above E and noisy: E may be zero for all that they tell."""
    rows = noisy(PowerN(E=0.5, A=40.0, alpha=0.2), 0.02, seed=1, N=np.geomspace(1e4, 1e6, 8))
    fit = fit_law(PowerN, rows)
    assert fit.objective is not None
    low, high = profile_intervals(fit)["E"]
    assert low is None and high > 0.5
