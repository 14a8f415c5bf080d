"""The closed forms of the laws against brute force."""

import pkgutil
from importlib import import_module

import numpy as np
import pytest

from scaling_laws.laws import forms
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.catalogue import FORMS, JOINT_FORMS
from scaling_laws.laws.forms.joint import (
    Chinchilla,
    ChinchillaGamma,
    ChinchillaTied,
    Droppo,
    JointLaw,
    KaplanND,
    PowerMean,
)
from scaling_laws.laws.forms.repeated import Muennighoff
from scaling_laws.laws.forms.single import BrokenN, LogC
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.forms.terms import Law, Numbers, Term
from scaling_laws.laws.published import BESIROGLU, HOFFMANN, KAPLAN_TABLE_2

JOINT_LAWS = {
    "Hoffmann": HOFFMANN,
    "Besiroglu": BESIROGLU,
    "Kaplan": KAPLAN_TABLE_2,
    "tied": ChinchillaTied(E=1.87, A=521.0, B=1488.0, alpha=0.353),
    "gamma": ChinchillaGamma(E=1.7, A=5e3, B=9e3, alpha=0.5, beta=0.45, gamma=0.7),
    "Droppo": Droppo(L_inf=1.5, N_c=3e9, D_c=2e12, alpha_N=0.15, alpha_D=0.2, a=0.4),
    "power mean": PowerMean(E=1.6, A=300.0, B=800.0, alpha=0.3, beta=0.32, p=1.5),
}
each_joint_law = pytest.mark.parametrize("law", JOINT_LAWS.values(), ids=JOINT_LAWS.keys())
MUENNIGHOFF = Muennighoff(E=1.87, A=521.0, B=1488.0, alpha=0.34, beta=0.36, R_D_star=15.4, R_N_star=5.3)


def test_every_declared_law_is_in_the_catalogue():
    modules = [
        import_module(f"{forms.__name__}.{module.name}") for module in pkgutil.iter_modules(forms.__path__)
    ]
    declared = {
        law
        for module in modules
        for law in vars(module).values()
        if isinstance(law, type) and issubclass(law, Law) and "form" in vars(law)
    }
    assert declared == set(FORMS.values())


def test_every_law_of_N_and_D_says_whose_it_is():
    labels = [law.label for law in JOINT_FORMS]
    assert len(set(labels)) == len(labels)
    assert not set(labels) & set(FORMS)


def test_formulas_in_latex():
    """matplotlib draws all of them; a few as a person would write them."""
    from matplotlib.mathtext import MathTextParser

    for law in FORMS.values():
        MathTextParser("path").parse(f"${law.latex}$")
    assert Chinchilla.latex == r"L(N,D) = E + A/N^{\alpha} + B/D^{\beta}"
    assert KaplanND.latex == r"L(N,D) = [(N_{c}/N)^{\alpha_{N}/\alpha_{D}} + D_{c}/D]^{\alpha_{D}}"
    assert BrokenN.latex == r"L(N) = E + b N^{-c_{0}} [1 + (N/d_{1})^{1/f_{1}}]^{-c_{1} f_{1}}"
    assert LogC.latex == r"L(C) = a - b \ln C"
    assert CriticalBatch.latex == r"B_{\mathrm{crit}}(L) = B^{*}/L^{1/\alpha_{B}}"


@pytest.mark.parametrize(
    ("values", "named"),
    [((1e6,), {}), ((1e6, 1e8, 1e8), {}), ((1e6,), {"N": 1e6}), ((), {"N": 1e6, "C": 1e12})],
)
def test_a_law_refuses_other_variables(values, named):
    with pytest.raises(TypeError, match="chinchilla is a law of N, D"):
        HOFFMANN.loss(*values, **named)


def test_a_law_is_one_declaration():
    """What follows from the terms: formula, units, LaTeX, loss, inverse, optimum, and a fit."""

    class Toy(
        JointLaw, form="toy", label="my own", of=(Term(None, "E"), Term("N", "A", "a"), Term("D", "B", "a"))
    ):
        E: Numbers
        A: Numbers
        B: Numbers
        a: Numbers

    law = Toy(E=1.5, A=200.0, B=600.0, a=0.3)
    same = ChinchillaTied(E=1.5, A=200.0, B=600.0, alpha=0.3)
    N, D = (values.ravel() for values in np.meshgrid(np.geomspace(1e5, 1e8, 5), np.geomspace(1e7, 1e10, 5)))
    assert Toy.formula == "L(N,D) = E + A/N^a + B/D^a"
    assert Toy.units == {
        "E": "nats/token",
        "A": "nats/token * parameters^a",
        "B": "nats/token * tokens^a",
        "a": "1",
    }
    assert np.array_equal(law.loss(N, D), same.loss(N, D))
    assert law.optimum(1e20) == same.optimum(1e20)
    fit = fit_law(Toy, make_rows({"N": N, "D": D}, law.loss(N, D)))
    assert vars(fit.law) == pytest.approx(vars(law))


@each_joint_law
@pytest.mark.parametrize("C", [1e12, 1e18, 1e24])
def test_optimum_is_the_numeric_minimum(law, C):
    N_opt, D_opt = law.optimum(C)
    assert 6 * N_opt * D_opt == pytest.approx(C)
    # Two grids about it: the minimum of a smooth function is known to the square root of rounding.
    N = float(N_opt) * np.exp(np.linspace(-3, 3, 20001))
    best = N[np.argmin(law.loss(N, C / (6 * N)))]
    assert best == pytest.approx(float(N_opt), rel=5e-4)


@each_joint_law
def test_exponents_of_the_optimum(law):
    N, D = law.optimum([1e18, 1e21])
    assert np.log(N[1] / N[0]) / np.log(1e3) == pytest.approx(law.a_opt)
    assert np.log(D[1] / D[0]) / np.log(1e3) == pytest.approx(law.b_opt)
    assert law.a_opt + law.b_opt == pytest.approx(1)


def test_hoffmanns_allocation_as_published():
    """N_opt ~ C^0.46 by approach 3, about 20 tokens per parameter at Chinchilla's budget by approach 1."""
    assert HOFFMANN.a_opt == pytest.approx(0.45, abs=0.01)
    assert BESIROGLU.a_opt == pytest.approx(0.513, abs=0.001)
    N, D = BESIROGLU.optimum(5.76e23)
    assert pytest.approx(20, rel=0.15) == D / N


@each_joint_law
def test_the_loss_is_inverted(law):
    N = np.array([1e8, 1e9])
    assert law.tokens_to_reach(law.loss(N, 3e10), N) == pytest.approx(3e10)
    assert np.isinf(law.tokens_to_reach(law.loss(1e8, np.inf) * 0.999, 1e8))
    assert law.compute_to_reach(law.loss(*law.optimum([1e18, 1e21]))) == pytest.approx([1e18, 1e21])
    assert np.isinf(law.compute_to_reach(0.5 * law.loss(np.inf, np.inf)))


@each_joint_law
def test_data_needed_against_overfitting(law):
    N = np.array([1e7, 1e9])
    assert law.overfitting(N, law.data_needed(N, excess=0.02)) == pytest.approx(0.02)


def test_overfitting_is_kaplans_equation():
    """(4.3): [1 + (N/N_c)^(alpha_N/alpha_D) D_c/D]^alpha_D - 1."""
    law, N, D = KAPLAN_TABLE_2, 1e7, 1e8
    bracket = 1 + (N / law.N_c) ** (law.alpha_N / law.alpha_D) * law.D_c / D
    assert law.overfitting(N, D) == pytest.approx(bracket**law.alpha_D - 1)


def test_special_cases_are_the_simpler_laws():
    N, D = np.geomspace(1e6, 1e9, 5), np.geomspace(1e8, 1e11, 5)
    chinchilla = vars(HOFFMANN)
    assert ChinchillaGamma(**chinchilla, gamma=1.0).loss(N, D) == pytest.approx(HOFFMANN.loss(N, D))
    assert PowerMean(**chinchilla, p=1.0).loss(N, D) == pytest.approx(HOFFMANN.loss(N, D))
    kaplan = vars(KAPLAN_TABLE_2)
    droppo = Droppo(L_inf=1e-30, **(kaplan | {"a": KAPLAN_TABLE_2.alpha_D}))
    assert droppo.loss(N, D) == pytest.approx(KAPLAN_TABLE_2.loss(N, D))
    droppo = JOINT_LAWS["Droppo"]
    mean = PowerMean(
        E=droppo.L_inf,
        A=droppo.N_c**droppo.alpha_N,
        B=droppo.D_c**droppo.alpha_D,
        alpha=droppo.alpha_N,
        beta=droppo.alpha_D,
        p=1 / droppo.a,
    )
    assert mean.loss(N, D) == pytest.approx(droppo.loss(N, D))


def test_a_broken_law_has_its_two_exponents():
    law = BrokenN(E=0.0, b=30.0, c_0=0.15, c_1=0.25, d_1=1e6, f_1=0.3)
    for N, exponent in ((1e2, 0.15), (1e10, 0.40)):
        slope = np.log(law.loss(1.01 * N) / law.loss(N)) / np.log(1.01)
        assert -slope == pytest.approx(exponent, abs=1e-4)


def test_a_logarithm_falls_by_b_an_e_fold():
    law = LogC(a=9.0, b=0.12)
    assert law.loss(1e12) - law.loss(1e12 * np.e) == pytest.approx(0.12)


def test_repeated_tokens_are_worth_less_and_less():
    """Muennighoff 2023: four epochs are nearly as good as new data, forty are not."""
    law, N, U = MUENNIGHOFF, 1e8, 1e10
    assert law.loss(N, U, U) == pytest.approx(law.unlimited.loss(N, U))
    epochs = np.array([1.0, 4.0, 40.0, 400.0])
    _, worth = law.effective(N, epochs * U, U)
    share = worth / (epochs * U)
    assert share[0] == pytest.approx(1) and share[1] > 0.9 and share[2] < 0.5
    assert worth[3] == pytest.approx(U * (1 + law.R_D_star), rel=1e-6)
    assert law.loss(N, 4 * U, U) < law.loss(N, U, U)


def test_parameters_beyond_the_unique_data_saturate():
    law, U = MUENNIGHOFF, 1e8
    matched = float(law.matched_parameters(U))
    slope_N = law.alpha * law.A / matched**law.alpha
    assert slope_N == pytest.approx(law.beta * law.B / U**law.beta)
    worth, _ = law.effective([0.5 * matched, matched, 1000 * matched], U, U)
    assert worth[:2] == pytest.approx([0.5 * matched, matched])
    assert worth[2] == pytest.approx(matched * (1 + law.R_N_star))


def test_parameters_may_be_draws():
    draws = Chinchilla(
        E=np.array([1.69, 1.8172]),
        A=np.array([406.4, 482.01]),
        B=np.array([410.7, 2085.43]),
        alpha=np.array([0.34, 0.3478]),
        beta=np.array([0.28, 0.3658]),
    )
    N, _ = draws.optimum(1e21)
    assert pytest.approx([float(law.optimum(1e21)[0]) for law in (HOFFMANN, BESIROGLU)]) == N
    assert draws.loss(1e9, 1e10)[1] == BESIROGLU.loss(1e9, 1e10)
    columns = KaplanND(
        alpha_N=np.array([[0.076], [0.08]]), alpha_D=np.array([[0.103]]), N_c=6.4e13, D_c=1.8e13
    )
    assert columns.loss(np.array([1e6, 1e7, 1e8]), 1e9).shape == (2, 3)
