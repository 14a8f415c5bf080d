"""Tables of more rows than every step of a fit could take: the same optimum, intervals as wide."""

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.fit import fit as fitting
from scaling_laws.laws.fit import huber, intervals, profile, thinned
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.huber import minimise
from scaling_laws.laws.fit.intervals import bootstrap, parameter_intervals
from scaling_laws.laws.fit.profile import profile_intervals
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla, ChinchillaGamma
from scaling_laws.laws.results import chosen_forms, study
from scaling_laws.laws.run_tables import read_runs

TRUTH = Chinchilla(E=1.8, A=400.0, B=1800.0, alpha=0.34, beta=0.36)


def rows_of(n, n_trainings, shared=0.0):
    random = np.random.default_rng(0)
    cluster = np.arange(n) % n_trainings
    N = np.exp(random.uniform(np.log(1e6), np.log(1e10), n_trainings))[cluster]
    D = np.exp(random.uniform(np.log(1e8), np.log(1e12), n))
    noise = (
        random.normal(scale=0.005, size=n) + shared * random.normal(scale=0.005, size=n_trainings)[cluster]
    )
    return make_rows({"N": N, "D": D}, TRUTH.loss(N, D) * np.exp(noise), cluster)


@pytest.fixture
def small_is_large(monkeypatch):
    """As if 1,500 rows were a large table, and 800 trainings many."""
    for module in (fitting, huber, intervals, profile):
        monkeypatch.setattr(module, "LARGE_ROWS", 1_500)
    monkeypatch.setattr(intervals, "MANY_TRAININGS", 800)
    monkeypatch.setattr(thinned, "MANY_TRAININGS", 800)
    monkeypatch.setattr(thinned, "PART_ROWS", 700)


@pytest.fixture(scope="module", params=[2_000, 40], ids=["many trainings", "few trainings"])
def with_all_rows(request):
    rows = rows_of(2_000, request.param, shared=2.0 if request.param == 40 else 0.0)
    fit = fit_law(Chinchilla, rows)
    return rows, fit, parameter_intervals(bootstrap(fit, resamples=100)), profile_intervals(fit)


def test_a_large_table_has_the_same_optimum_and_intervals(with_all_rows, small_is_large):
    rows, whole, of_whole, profile_of_whole = with_all_rows
    fit = fit_law(Chinchilla, rows)
    assert fit.identified and fit.objective == pytest.approx(whole.objective, rel=1e-12)
    np.testing.assert_allclose(fit.minima[0], whole.minima[0], rtol=1e-8)
    assert fit.certificate.gradient_norm < 1e-6 and fit.certificate.starts == whole.certificate.starts
    result = bootstrap(fit, resamples=400)
    assert ("sandwich" in result.method) == (rows.n_clusters > 800)
    for name, (low, high) in parameter_intervals(result).items():
        width = of_whole[name][1] - of_whole[name][0]
        assert 0.75 * width < high - low < 1.3 * width, name
    for name, (low, high) in profile_intervals(fit).items():
        width = profile_of_whole[name][1] - profile_of_whole[name][0]
        assert 0.75 * width < high - low < 1.3 * width, name


def test_sums_in_parts_are_the_sums(small_is_large, monkeypatch):
    rows = rows_of(2_000, 2_000)
    for form in (Chinchilla, ChinchillaGamma):  # a sum of powers, and a law that bends
        fit = fit_law(form, rows)
        in_parts = huber._derivatives(fit.problem, fit.minima[:1])
        with monkeypatch.context() as whole:
            whole.setattr(huber, "LARGE_ROWS", rows.n)
            for part, value in zip(in_parts, huber._derivatives(fit.problem, fit.minima[:1]), strict=True):
                np.testing.assert_allclose(part, value, rtol=1e-9, atol=1e-9 * np.abs(value).max() + 1e-12)
        assert minimise(fit.problem, fit.minima[:1]).solved[0]


def test_an_analysis_of_a_large_table_is_of_its_joint_laws(small_is_large, monkeypatch):
    for module in (study, chosen_forms):
        monkeypatch.setattr(module, "LARGE_ROWS", 1_500)
    monkeypatch.setattr(study, "FITTED_JOINT_FORMS", (Chinchilla,))
    rows = rows_of(2_000, 2_000)
    table = pd.DataFrame({**rows.values, "loss": rows.loss})
    laws = study.fit_study("large", read_runs(table), resamples=20)
    assert any("laws of N and D alone" in warning for warning in laws.warnings)
    chinchilla = laws.of("all").fit("chinchilla")
    assert chinchilla.identified and "starts on" in chinchilla.rows
    low, high = chinchilla.intervals["alpha"]
    assert low < 0.34 < high < low + 0.02
