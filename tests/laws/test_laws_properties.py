"""What must hold for any table: the units of N, D and loss and the order of rows do not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.catalogue import JOINT_FORMS
from scaling_laws.laws.forms.joint import Chinchilla, ChinchillaTied, KaplanND
from scaling_laws.laws.forms.single import BrokenN, KaplanN, LogN, PowerN

TRUTH = Chinchilla(E=1.7, A=400.0, B=400.0, alpha=0.34, beta=0.28)
N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e5, 1e8, 7), np.geomspace(1e7, 1e10, 6)))
LOSS = TRUTH.loss(N, D) * np.exp(0.01 * np.random.default_rng(0).normal(size=N.size))
MANY_N = np.geomspace(1e5, 1e8, N.size)
LOSS_OF_N = TRUTH.loss(MANY_N, 1e10) * LOSS / TRUTH.loss(N, D)
EXPONENTS = {"alpha", "beta", "alpha_N", "alpha_D", "gamma", "p", "a", "c_0", "c_1", "f_1"}


def fit(form, N=N, D=D, loss=LOSS, weights=None):
    values = {"N": N, "D": D}
    return fit_law(form, make_rows({name: values[name] for name in form.variables}, loss), weights=weights)


@pytest.mark.parametrize("form", [*JOINT_FORMS, KaplanN, PowerN, BrokenN, LogN], ids=lambda form: form.form)
def test_units_do_not_matter(form):
    sizes, losses = (N, LOSS) if "D" in form.variables else (MANY_N, LOSS_OF_N)
    mine, theirs = fit(form, sizes, D, losses), fit(form, sizes / 1e6, D / 1e9, 3 * losses)
    if form is LogN:  # linear in the loss: only b scales with it
        assert theirs.law.b == pytest.approx(3 * mine.law.b, rel=1e-6)
        return
    assert theirs.objective == pytest.approx(mine.objective, rel=1e-7)
    for name in EXPONENTS & set(form.units):
        assert getattr(theirs.law, name) == pytest.approx(getattr(mine.law, name), rel=2e-4)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), N_unit=st.floats(1e-9, 1e9), D_unit=st.floats(1e-9, 1e9))
@pytest.mark.parametrize("form", [KaplanND, ChinchillaTied, Chinchilla], ids=lambda form: form.form)
def test_order_and_units_of_rows_do_not_matter(form, seed, N_unit, D_unit):
    order = np.random.default_rng(seed).permutation(N.size)
    mine, theirs = fit(form), fit(form, N_unit * N[order], D_unit * D[order], LOSS[order])
    assert theirs.objective == pytest.approx(mine.objective, rel=1e-8)
    assert theirs.law.a_opt == pytest.approx(mine.law.a_opt, rel=1e-5)
    N_opt, theirs_opt = mine.law.optimum(1e16)[0], theirs.law.optimum(1e16 * N_unit * D_unit)[0]
    assert theirs.certificate.condition_number == pytest.approx(mine.certificate.condition_number, rel=1e-4)
    assert theirs_opt == pytest.approx(N_unit * N_opt, rel=1e-4)


@pytest.mark.parametrize("form", JOINT_FORMS, ids=lambda form: form.form)
def test_a_weight_of_two_is_a_row_twice(form):
    weights = np.ones(N.size)
    weights[::5] = 2.0
    doubled = np.concatenate([np.arange(N.size), np.arange(0, N.size, 5)])
    mine, theirs = fit(form, weights=weights), fit(form, N[doubled], D[doubled], LOSS[doubled])
    assert theirs.objective == pytest.approx(mine.objective * weights.mean(), rel=1e-7)  # mean weight one
    assert theirs.law.a_opt == pytest.approx(mine.law.a_opt, rel=1e-4)


@pytest.mark.parametrize("form", JOINT_FORMS, ids=lambda form: form.form)
def test_a_law_that_contains_another_never_fits_worse(form):
    contains = {"chinchilla": (ChinchillaTied,), "chinchilla_gamma": (Chinchilla,), "droppo": (KaplanND,)}
    contains["power_mean"] = (Chinchilla, KaplanND)
    for simpler in contains.get(form.form, ()):
        assert fit(form).objective <= fit(simpler).objective * (1 + 1e-9)
