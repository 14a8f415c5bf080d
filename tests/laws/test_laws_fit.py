"""The fitter against laws that are known, and against tables that determine nothing."""

from dataclasses import replace

import numpy as np
import pytest

from scaling_laws.laws.fit.coordinates import make_problem
from scaling_laws.laws.fit.fit import coordinates_of, fit_law
from scaling_laws.laws.fit.huber import minimise, objective
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.catalogue import FORMS
from scaling_laws.laws.forms.joint import (
    Chinchilla,
    ChinchillaGamma,
    ChinchillaTied,
    Droppo,
    KaplanND,
    PowerMean,
)
from scaling_laws.laws.forms.repeated import Muennighoff
from scaling_laws.laws.forms.single import (
    BrokenC,
    BrokenD,
    BrokenN,
    KaplanC,
    KaplanCMin,
    KaplanD,
    KaplanN,
    LogC,
    LogD,
    LogN,
    Position,
    PowerC,
    PowerCMin,
    PowerD,
    PowerN,
)
from scaling_laws.laws.forms.steps import CriticalBatch, KaplanNS, TimeData
from scaling_laws.study.errors import InputError

N, D = (values.ravel() for values in np.meshgrid(np.geomspace(1e4, 1e8, 7), np.geomspace(1e6, 1e10, 8)))
EPOCHS = np.resize([1.0, 1.0, 4.0, 16.0, 64.0], N.size)
GRID = {
    "N": N,
    "D": D,
    "C": 6 * N * D,
    "C_min": 3 * N * D,
    "U": D / EPOCHS,
    "S_min": D / 1e5,
    "T": np.arange(1.0, 57.0),
    "B": np.geomspace(1e3, 1e7, 56),
    "L": np.linspace(2.5, 6.0, 56),
}
POWER_SUMS = [
    KaplanN(alpha_N=0.076, N_c=8.8e13),
    KaplanD(alpha_D=0.095, D_c=5.4e13),
    KaplanC(alpha_C=0.050, C_c=2.7e28),
    KaplanCMin(alpha_C_min=0.050, C_c_min=2.7e28),
    PowerN(E=1.7, A=406.0, alpha=0.34),
    PowerD(E=1.7, B=410.0, beta=0.28),
    PowerC(E=1.7, K=1070.0, gamma=0.155),
    PowerCMin(E=1.7, K=1070.0, gamma=0.155),
    Position(a=2.4, b=5.1, c=0.61),
    TimeData(S_min=2000.0, E_min=6e8),
    CriticalBatch(alpha_B=0.21, B_star=2.1e8),
    KaplanNS(alpha_N=0.077, alpha_S=0.76, N_c=6.5e13, S_c=2.1e3),
    ChinchillaTied(E=1.87, A=521.0, B=1488.0, alpha=0.353),
    Droppo(L_inf=1.5, N_c=3e9, D_c=2e12, alpha_N=0.15, alpha_D=0.2, a=0.4),
    PowerMean(E=1.6, A=300.0, B=800.0, alpha=0.3, beta=0.32, p=1.5),
    KaplanND(alpha_N=0.076, alpha_D=0.103, N_c=6.4e13, D_c=1.8e13),
    Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28),
]
CURVED = [
    LogN(a=9.0, b=0.35),
    LogD(a=9.0, b=0.3),
    LogC(a=9.0, b=0.12),
    BrokenN(E=1.2, b=30.0, c_0=0.15, c_1=0.25, d_1=1e6, f_1=0.5),
    BrokenD(E=1.2, b=40.0, c_0=0.15, c_1=0.2, d_1=1e8, f_1=0.6),
    BrokenC(E=1.2, b=90.0, c_0=0.1, c_1=0.15, d_1=1e15, f_1=0.8),
    ChinchillaGamma(E=1.7, A=5e3, B=9e3, alpha=0.5, beta=0.45, gamma=0.7),
    Muennighoff(E=1.87, A=521.0, B=1488.0, alpha=0.34, beta=0.36, R_D_star=15.4, R_N_star=5.3),
]
TRUTHS = [*CURVED, *POWER_SUMS]


def response(law, **values):
    """What the law predicts, under its own name."""
    return law.loss(**values)


def at_rows(form, rows):
    return {variable: rows.values[variable] for variable in form.variables}


def exact_rows(truth):
    values = {variable: GRID[variable] for variable in truth.variables}
    return make_rows(values, response(truth, **values))


@pytest.mark.parametrize("law", POWER_SUMS, ids=lambda law: law.form)
def test_the_loss_is_what_the_formula_says(law):
    values = {variable: GRID[variable] for variable in law.variables}
    right = law.formula.split(" = ")[1].replace("^", "**").replace("[", "(").replace("]", ")")
    assert law.loss(**values) == pytest.approx(eval(right, {}, vars(law) | values))
    assert law.loss(*values.values()) == pytest.approx(law.loss(**values))
    assert law.outer(law.inverse(law.loss(**values))) == pytest.approx(law.loss(**values))


def test_every_form_is_tested():
    assert {type(law) for law in TRUTHS} == set(FORMS.values())


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda law: law.form)
def test_recovers_an_exact_law(truth):
    fit = fit_law(type(truth), exact_rows(truth))
    assert fit.identified, fit.reason
    assert set(vars(fit.law)) == set(truth.units) == set(vars(truth))
    for name, value in vars(truth).items():
        assert getattr(fit.law, name) == pytest.approx(value, rel=1e-5)
    assert fit.certificate.rms_log_residual < 1e-8
    assert fit.certificate.on_bound == ()


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda law: law.form)
def test_derivatives_are_those_of_finite_differences(truth):
    rows = exact_rows(truth)
    problem = make_problem(coordinates_of(type(truth), rows), rows, np.ones(rows.n), 0.05)
    problem = replace(problem, log_loss=problem.log_loss + 0.1 * np.sin(np.arange(rows.n)))
    theta = coordinates_of(type(truth), rows).starts(problem)[:1] + 0.01
    step = 1e-6
    for p in range(theta.shape[1]):
        ahead, behind = theta.copy(), theta.copy()
        ahead[0, p] += step
        behind[0, p] -= step
        slope = (problem.model.predict(ahead).log_loss - problem.model.predict(behind).log_loss) / (2 * step)
        assert problem.model.predict(theta).jacobian[..., p] == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize("form", [KaplanN, PowerN, KaplanND, Chinchilla])
@pytest.mark.parametrize("delta", [1e-4, 1e-3, 1e-1])
def test_the_minimum_is_a_minimum(form, delta):
    """With noise: no step in any direction lowers the objective, and the objective is Huber's sum."""
    rows = exact_rows(TRUTHS[-1])
    noisy = rows.loss * np.exp(np.random.default_rng(0).normal(scale=0.01, size=rows.n))
    rows = make_rows(rows.values, noisy)
    fit = fit_law(form, rows, delta=delta)
    predicted = fit.law.loss(**at_rows(form, rows))
    size = np.abs(np.log(predicted / rows.loss))
    huber = np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))
    assert fit.objective == pytest.approx(huber.sum(), rel=1e-9)
    problem = make_problem(coordinates_of(form, rows), rows, fit.weights, delta)
    steps = np.random.default_rng(1).normal(scale=1e-3, size=(200, fit.minima.shape[1]))
    assert np.all(objective(problem, fit.minima[:1] + steps) >= fit.objective * (1 - 1e-12))
    assert fit.certificate.gradient_norm < 1e-9


def test_a_batch_solves_each_problem_as_alone():
    rows = exact_rows(TRUTHS[-1])
    problem = make_problem(coordinates_of(Chinchilla, rows), rows, np.ones(rows.n), 1e-3)
    random = np.random.default_rng(0)
    batch = replace(problem, log_loss=problem.log_loss + random.normal(scale=0.01, size=(5, rows.n)))
    theta = np.tile(coordinates_of(Chinchilla, rows).starts(problem)[10], (5, 1))
    together = minimise(batch, theta)
    for i in range(5):
        alone = minimise(batch.select(np.array([i])), theta[:1])
        assert together.theta[i] == pytest.approx(alone.theta[0], rel=1e-6)
    assert together.solved.all()


def test_a_search_that_is_kept_is_that_of_the_same_rows_alone():
    """A law fitted again is not searched again; one of other rows, weights, delta or starts is."""
    N, D = np.array(np.meshgrid([1e4, 1e5, 1e6], [1e6, 1e7, 1e8])).reshape(2, -1)
    rows = make_rows({"N": N, "D": D}, 1.7 + 400 / N**0.34 + 410 / D**0.28 + 0.01 * np.cos(N + D))
    coordinates = coordinates_of(Chinchilla, rows)
    problem = make_problem(coordinates, rows, np.ones(rows.n), 1e-3)
    starts = coordinates.starts(problem)
    first = minimise(problem, starts)
    assert minimise(make_problem(coordinates, rows, np.ones(rows.n), 1e-3), starts.copy()) is first
    weights = np.ones(rows.n)
    weights[0] = 2
    others = {
        "loss": replace(problem, log_loss=1.01 * problem.log_loss),
        "weights": replace(problem, weights=weights[None]),
        "delta": replace(problem, delta=2e-3),
        "above": replace(problem, above=0.5),
        "rows": make_problem(
            coordinates_of(Chinchilla, rows.some(slice(1, None))),
            rows.some(slice(1, None)),
            weights[1:],
            1e-3,
        ),
    }
    for name, other in others.items():
        assert minimise(other, starts).objective.min() != first.objective.min(), name
    assert len(minimise(problem, starts[:3]).theta) == 3
    assert not np.array_equal(minimise(problem, starts, 2).theta, first.theta)


def test_units_of_N_D_and_loss_do_not_matter():
    rows = exact_rows(TRUTHS[-1])
    noisy = rows.loss * np.exp(np.random.default_rng(0).normal(scale=0.01, size=rows.n))
    fit = fit_law(Chinchilla, make_rows(rows.values, noisy))
    scaled = fit_law(
        Chinchilla, make_rows({"N": rows.values["N"] / 1e6, "D": rows.values["D"] / 1e9}, 3 * noisy)
    )
    assert scaled.objective == pytest.approx(fit.objective, rel=1e-9)
    assert scaled.law.alpha == pytest.approx(fit.law.alpha, rel=1e-6)
    assert scaled.law.beta == pytest.approx(fit.law.beta, rel=1e-6)
    assert pytest.approx(3 * fit.law.E, rel=1e-6) == scaled.law.E
    assert pytest.approx(3 * fit.law.A / 1e6**fit.law.alpha, rel=1e-6) == scaled.law.A
    assert scaled.certificate.condition_number == pytest.approx(fit.certificate.condition_number, rel=1e-5)


def test_a_weight_of_two_is_a_row_twice():
    rows = exact_rows(TRUTHS[-1])
    noisy = rows.loss * np.exp(np.random.default_rng(0).normal(scale=0.01, size=rows.n))
    weights = np.where(np.arange(rows.n) < 10, 2.0, 1.0)
    twice = [np.concatenate([column, column[:10]]) for column in (rows.values["N"], rows.values["D"], noisy)]
    weighted = fit_law(Chinchilla, make_rows(rows.values, noisy), weights=weights)
    repeated = fit_law(Chinchilla, make_rows({"N": twice[0], "D": twice[1]}, twice[2]))
    assert weighted.objective * weights.mean() == pytest.approx(repeated.objective)
    assert vars(weighted.law) == pytest.approx(vars(repeated.law))


def degenerate(name):
    truth = TRUTHS[-1]
    line = np.geomspace(1e4, 1e8, 12)
    values = {
        "fewer points than parameters": (line[:3], line[[0, 2, 1]] * 20),
        "only one N": (np.full(12, 1e6), line),
        "only one D": (line, np.full(12, 1e9)),
        "only 2 different N": (np.tile([1e5, 1e6], 6), np.repeat(np.geomspace(1e7, 1e10, 6), 2)),
        "collinear": (line, 20 * line),
    }
    N, D = values.get(name, (GRID["N"], GRID["D"]))
    loss = truth.loss(N, D)
    if name == "the loss is the same":
        loss = np.full(len(N), 3.0)
    if name == "E -> 0":
        loss = 406.4 * N**-0.34 + 410.7 * D**-0.28
        loss = loss * np.exp(-0.02 * np.log(loss) ** 2)
    if name == "alpha left its range":
        loss = 2 + 0.1 * np.log(N) + 410.7 * D**-0.28
    if name == "B -> 0":
        loss = 1.7 + 406.4 * N**-0.34
    return make_rows({"N": N, "D": D}, loss)


@pytest.mark.parametrize(
    "reason",
    [
        "fewer points than parameters",
        "only one N",
        "only one D",
        "only 2 different N",
        "collinear",
        "the loss is the same",
        "E -> 0",
    ],
)
def test_rows_that_determine_nothing_are_not_identified(reason):
    fit = fit_law(Chinchilla, degenerate(reason))
    assert not fit.identified
    assert reason in fit.reason


@pytest.mark.parametrize("case", ["alpha left its range", "B -> 0"])
def test_a_term_that_the_rows_do_not_show_is_not_identified(case):
    """Which parameter goes first is a matter of rounding: some reason is given."""
    fit = fit_law(Chinchilla, degenerate(case))
    assert not fit.identified
    assert fit.certificate.on_bound or fit.certificate.condition_number > 1e5
    assert fit.reason


def test_as_many_points_as_parameters_prove_nothing():
    rows = make_rows({"N": [1e4, 1e5, 1e6]}, TRUTHS[3].loss([1e4, 1e5, 1e6]))
    fit = fit_law(PowerN, rows)
    assert not fit.identified
    assert "nothing is left to test it" in fit.reason


def test_no_rows():
    fit = fit_law(KaplanN, make_rows({"N": []}, []))
    assert (fit.law, fit.identified, fit.certificate) == (None, False, None)


@pytest.mark.parametrize(
    ("values", "loss", "message"),
    [
        ({"N": [1e4, 0.0]}, [3.0, 2.0], "N of row 1 is 0.0"),
        ({"N": [1e4, 1e5]}, [3.0, np.nan], "loss of row 1 is nan"),
        ({"N": [1e4]}, [3.0, 2.0], "shape"),
    ],
)
def test_bad_rows_are_refused(values, loss, message):
    with pytest.raises(InputError, match=message):
        make_rows(values, loss)


def test_bad_delta_and_weights_are_refused():
    rows = make_rows({"N": [1e4, 1e5, 1e6]}, [4.0, 3.0, 2.5])
    with pytest.raises(InputError, match="delta"):
        fit_law(KaplanN, rows, delta=0)
    with pytest.raises(InputError, match="weights"):
        fit_law(KaplanN, rows, weights=[1, 1, 0])
