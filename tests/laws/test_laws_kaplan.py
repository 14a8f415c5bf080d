"""Kaplan's printed constants against values computed from them by hand (reference/kaplan.md, part 9.1)."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from scaling_laws.laws.batch.compute_efficient import crossing
from scaling_laws.laws.forms.single import KaplanD, PowerCMin, PowerD
from scaling_laws.laws.published import (
    KAPLAN_SINGLE,
    KAPLAN_TABLE_2,
    KAPLAN_TABLE_3,
    KAPLAN_TABLE_6,
    PF_DAY_FLOPS,
    PowerOfCompute,
)


@pytest.mark.parametrize(
    ("law", "unit", "values"),
    [
        (KAPLAN_SINGLE.of_N, 1, {1e4: 5.699, 1e5: 4.784, 1e6: 4.016, 1e7: 3.371, 1e8: 2.830, 1e9: 2.376}),
        (KAPLAN_SINGLE.of_D, 1, {2.2e7: 4.046, 1e8: 3.504, 1e9: 2.816, 1e10: 2.262, 2.2e10: 2.099}),
        (
            KAPLAN_SINGLE.of_C_min,
            PF_DAY_FLOPS,
            {1e-8: 6.677, 1e-6: 5.304, 1e-4: 4.213, 1e-2: 3.346, 1: 2.658, 1e4: 1.677},
        ),
        (KAPLAN_SINGLE.of_C_naive, PF_DAY_FLOPS, {1e-6: 5.658, 1e-4: 4.352, 1e-2: 3.347, 1: 2.574}),
    ],
    ids=["L(N)", "L(D)", "L(C_min)", "L(C)"],
)
def test_laws_of_one_variable(law, unit, values):
    x = np.array(list(values)) * unit
    assert law.loss(x) == pytest.approx(list(values.values()), abs=6e-4)


@pytest.mark.parametrize(
    ("N", "losses"),
    [
        (393_216, (4.457, 4.227, 4.208)),
        (3e6, (4.196, 3.676, 3.607)),
        (25e6, (4.110, 3.293, 3.074)),
        (708e6, (4.086, 3.089, 2.422)),
    ],
)
def test_joint_law_of_table_2(N, losses):
    assert KAPLAN_TABLE_2.loss(N, [2.1e7, 3.44e8, 2.2e10]) == pytest.approx(losses, abs=6e-4)


def test_data_needed_against_overfitting():
    """Equation (4.4), D = 5e3 N^0.74, is a rounding of what (4.3) gives: 5.52e3 N^0.738."""
    N = np.array([1e5, 1e6, 1e7, 1e8, 1e9])
    needed = KAPLAN_TABLE_2.data_needed(N)
    assert needed == pytest.approx(5.52e3 * N ** (0.076 / 0.103), rel=1e-3)
    assert needed == pytest.approx([2.51e7, 1.38e8, 7.57e8, 4.16e9, 2.29e10], rel=0.08)
    assert KAPLAN_TABLE_2.overfitting(N, needed) == pytest.approx(0.02)
    assert KAPLAN_TABLE_2.loss(N, needed) / KAPLAN_TABLE_2.loss(N, 1e300) == pytest.approx(1.02)


def test_frontier_scale_of_both_tables():
    """Equation (B.8)."""
    assert KAPLAN_SINGLE.efficient.C_c == pytest.approx(1.914e28, rel=1e-3)
    assert KAPLAN_SINGLE.efficient.C_c / PF_DAY_FLOPS == pytest.approx(2.215e8, rel=1e-3)
    assert KAPLAN_TABLE_3.C_c / PF_DAY_FLOPS == pytest.approx(1.610e8, rel=1e-3)
    assert KAPLAN_SINGLE.efficient.alpha_C == pytest.approx(0.0520, abs=5e-5)
    assert KAPLAN_TABLE_3.alpha_C == pytest.approx(0.0525, abs=5e-5)


@pytest.mark.parametrize("pf_days", [1e-3, 1.0, 1e3])
def test_frontier_is_the_minimum_of_the_implicit_law(pf_days):
    """Minimise (B.3) over N on a grid, solving its L by bisection: no equation after (B.3) is used."""
    law, C = KAPLAN_TABLE_3, pf_days * PF_DAY_FLOPS
    N = np.exp(np.linspace(-1, 1, 4001)) * float(law.optimal_N(C))
    low, high = np.full_like(N, 0.1), np.full_like(N, 1e3)
    for _ in range(200):
        L = np.sqrt(low * high)
        too_low = law.loss(N, C / (6 * N * law.critical_batch(L))) > L
        low, high = np.where(too_low, L, low), np.where(too_low, high, L)
    best = int(np.argmin(L))
    assert N[best] == pytest.approx(float(law.optimal_N(C)), rel=2e-3)
    assert L[best] == pytest.approx(float(law.frontier_loss(C)), rel=1e-6)
    assert L[best] / (law.N_c / N[best]) ** law.alpha_N == pytest.approx(1.1013, abs=2e-4)
    if pf_days == 1.0:
        assert float(law.optimal_N(C)) == pytest.approx(5.84e8, rel=2e-3)
        assert float(law.optimal_S(C)) == pytest.approx(1.316e4, rel=2e-3)
        assert float(law.frontier_loss(C)) == pytest.approx(2.694, abs=1e-3)


def test_wrong_model_size():
    """Equations (B.16) and (B.17); the bracket vanishes below N/N_eff = 0.2855."""
    law = KAPLAN_TABLE_3
    ratios = [0.4, 0.5, 0.6, 1, 2, 2.2, 5, 10]
    assert law.compute_ratio(ratios) == pytest.approx(
        [2.151, 1.393, 1.165, 1, 1.160, 1.204, 1.826, 2.839], abs=6e-4
    )
    assert law.steps_ratio(ratios) == pytest.approx(
        [5.377, 2.787, 1.941, 1, 0.580, 0.547, 0.365, 0.284], abs=6e-4
    )
    assert law.compute_ratio([0.577, 2.183]) == pytest.approx([1.2, 1.2], abs=2e-3)
    assert np.isinf(law.compute_ratio(0.28))
    assert np.isfinite(law.compute_ratio(0.29))


def test_stopping_early_or_late():
    """Equations (B.12) to (B.14): N, S and C of two trainings to one loss, 10 % and 2 % above convergence."""
    law, loss, f = KAPLAN_SINGLE.efficient, 2.5, np.array([0.10, 0.02])
    N = law.N_c * ((1 + f) / loss) ** (1 / law.alpha_N)
    C = law.compute_to_reach(N, loss)
    assert law.excess(N, C) == pytest.approx(f)
    assert (N[0] / N[1], C[0] / C[1]) == pytest.approx((2.701, 0.3589), rel=1e-3)
    assert C[0] / C[1] / (N[0] / N[1]) == pytest.approx(0.1329, rel=1e-3)


def test_table_6_agrees_with_itself():
    assert KAPLAN_SINGLE.efficient.critical_batch(1.0) == pytest.approx(2.1e8)
    loss = KAPLAN_SINGLE.of_C_min.loss(PF_DAY_FLOPS)
    assert KAPLAN_SINGLE.efficient.critical_batch(loss) == pytest.approx(1.997e6, rel=1e-3)
    tokens = PF_DAY_FLOPS / (6 * KAPLAN_TABLE_6.N.at(PF_DAY_FLOPS))
    assert tokens / KAPLAN_TABLE_6.batch_tokens.at(PF_DAY_FLOPS) == pytest.approx(5.54e3, rel=1e-3)


@pytest.mark.parametrize("pf_days", [1e-6, 1.0, 1e4])
def test_implicit_law_of_compute(pf_days):
    """(B.3) holds where its solution says, (B.4) at the minimum alone, and (B.5), (B.6), (B.9), (B.10)."""
    law, C = KAPLAN_TABLE_3, pf_days * PF_DAY_FLOPS
    around = float(law.optimal_N(C))
    N = around * np.array([0.01, 0.3, 1, 3, 100])
    L = law.loss_at_compute(N, C)
    of_C = (6 * 2.1e8 * 2.1e3 * N / (L ** (1 / 0.21) * C)) ** 0.76
    assert pytest.approx((6.5e13 / N) ** 0.077 + of_C, rel=1e-12) == L
    lowest = minimize_scalar(
        lambda log_N: law.loss_at_compute(np.exp(log_N), C),
        np.log([around / 100, around * 100]),
        tol=1e-12,
    )
    assert np.exp(lowest.x) == pytest.approx(around, rel=1e-5)
    assert lowest.fun == pytest.approx(float(law.frontier_loss(C)), rel=1e-12)
    assert lowest.fun / (6.5e13 / around) ** 0.077 == pytest.approx(1 + 0.077 / 0.76, rel=1e-9)
    balance = 0.077 / 0.76 * (6.5e13 / N) ** 0.077 / of_C  # (B.4): one at the optimum
    assert balance[2] == pytest.approx(1, abs=1e-9)
    assert np.all(np.diff(balance) < 0)
    assert law.excess(around, C) == pytest.approx(0.077 / 0.76)
    assert law.loss(around, law.optimal_S(C)) == pytest.approx(lowest.fun)
    batch = 2.1e8 / lowest.fun ** (1 / 0.21)
    assert 6 * around * batch * law.optimal_S(C) == pytest.approx(C)
    assert law.optimal_D(C) == pytest.approx(2 * batch * law.optimal_S(C))


def test_compute_of_a_size_to_a_loss():
    """(B.15) inverts (B.3), and its ratio to the optimum is (B.16)."""
    law, C = KAPLAN_TABLE_3, PF_DAY_FLOPS
    N_eff, L = float(law.optimal_N(C)), float(law.frontier_loss(C))
    N = N_eff * np.array([0.4, 0.5, 0.6, 1, 2, 2.2, 5, 10])
    needed = law.compute_to_reach(N, L)
    assert needed / C == pytest.approx([2.151, 1.393, 1.165, 1, 1.160, 1.204, 1.826, 2.839], abs=6e-4)
    assert law.loss_at_compute(N, needed) == pytest.approx(L)
    assert np.isinf(law.compute_to_reach(0.28 * N_eff, L))


def test_exponents_add_to_one():
    """(1.7), (1.8): 0.684 and 0.681 are the formula's exponents of N; 0.73 and 0.71 are printed."""
    for law, of_N in ((KAPLAN_SINGLE.efficient, 0.684), (KAPLAN_TABLE_3, 0.681)):
        exponents = law.exponents
        assert exponents["N"] == pytest.approx(of_N, abs=6e-4)
        assert exponents["N"] + exponents["B"] + exponents["S_min"] == pytest.approx(1)
        assert exponents["D"] == pytest.approx(1 - exponents["N"])
        C = np.array([1e15, 1e21])
        for name, values in {"N": law.optimal_N(C), "S_min": law.optimal_S(C), "D": law.optimal_D(C)}.items():
            assert np.log(values[1] / values[0]) / np.log(1e6) == pytest.approx(exponents[name])


def test_fixed_batch():
    """(5.6) with (5.4): far above B_crit the steps count in full, at B_crit half of them."""
    law = KAPLAN_TABLE_3
    assert law.loss_at_batch(1e8, 1e5, 1e15) == pytest.approx(float(law.loss(1e8, 1e5)))
    L = float(law.loss(1e8, 1e5))
    batch = float(law.critical_batch(L))
    assert law.loss_at_batch(1e8, 2e5, batch) == pytest.approx(L)
    assert law.of_batch.steps_min(2e5, batch, L) == pytest.approx(1e5)
    assert law.of_batch.steps(1e5, batch, L) == pytest.approx(2e5)
    C = 6 * 1e8 * batch * 2e5
    assert law.of_batch.compute_min(C, batch, L) == pytest.approx(C / 2)
    assert law.of_batch.compute(C / 2, batch, L) == pytest.approx(C)
    # Small batches lose steps and no compute, large ones the reverse.
    assert law.of_batch.compute_min(C, 1.0, L) == pytest.approx(C, rel=1e-4)
    losses = law.loss_at_batch(np.array([1e6, 1e8])[:, None], 1e5, np.geomspace(1e3, 1e9, 9))
    assert losses.shape == (2, 9)
    assert np.all(np.diff(losses, axis=1) < 0)


def test_critical_batch_of_figure_10():
    losses = [10, 8, 6, 5, 4, 3.5, 3, 2.5]
    batches = [3.63e3, 1.05e4, 4.14e4, 9.86e4, 2.85e5, 5.39e5, 1.12e6, 2.68e6]
    assert KAPLAN_SINGLE.efficient.critical_batch(losses) == pytest.approx(batches, rel=3e-3)


def test_stop_step():
    """(5.7): trained beyond it, limited data fall behind unlimited ones by the excess."""
    law = KAPLAN_TABLE_3.of_steps
    excess = KAPLAN_TABLE_2.loss(1e8, 1e9) - KAPLAN_TABLE_2.loss(1e8, np.inf)
    S = law.stop_step_bound(excess)
    assert law.loss(1e8, S) - law.loss(1e8, np.inf) == pytest.approx(float(excess))
    assert np.isinf(law.stop_step_bound(0.0))


@pytest.mark.parametrize(
    ("tokens", "pf_days", "N", "D", "loss"),
    [
        (KAPLAN_TABLE_6.D, 1.12e4, 1.17e12, 2.5e11, 1.67),
        (PowerOfCompute(scale=4e10, exponent=0.26), 1.06e5, 6.1e12, 8.1e11, 1.49),
    ],
    ids=["Table 6", "(6.7)"],
)
def test_crossing(tokens, pf_days, N, D, loss):
    """Equation (6.8) with the constants of Table 5."""
    found = crossing(KAPLAN_SINGLE.of_C_min.loss, KAPLAN_SINGLE.of_D.loss, tokens.at, KAPLAN_TABLE_6.N.at)
    assert found.reason == ""
    measured = [found.C / PF_DAY_FLOPS, found.N, found.D]
    assert measured == pytest.approx([pf_days, N, D], rel=1e-2)
    assert found.loss == pytest.approx(loss, abs=5e-3)


def test_crossing_of_closed_forms():
    """The crossing of appendix B's own frontier, against the two lines' intersection in logarithms."""
    law, of_D = KAPLAN_TABLE_3, KaplanD(alpha_D=0.103, D_c=1.8e13)
    found = crossing(law.frontier_loss, of_D.loss, law.optimal_D, law.optimal_N)
    p = law.exponents["D"]
    D_at_one = np.log(float(law.optimal_D(1.0)))
    log_C = (law.alpha_C * np.log(law.C_c) - 0.103 * (np.log(1.8e13) - D_at_one)) / (law.alpha_C - 0.103 * p)
    assert np.log(found.C) == pytest.approx(log_C)
    assert found.loss == pytest.approx(float(of_D.loss(found.D)))


def test_no_crossing():
    """Both laws level out: the data's floor lies below the frontier's."""
    frontier = PowerCMin(E=2.0, K=30.0, gamma=0.1)
    of_D = PowerD(E=1.0, B=400.0, beta=0.35)
    found = crossing(frontier.loss, of_D.loss, KAPLAN_TABLE_6.D.at, KAPLAN_TABLE_6.N.at)
    assert found.C is None
    assert found.reason.startswith("no crossing")
