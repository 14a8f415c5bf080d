"""Kaplan's printed constants against values computed from them by hand (reference/kaplan.md, part 9.1)."""

import numpy as np
import pytest

from scaling_laws.laws.published import (
    KAPLAN_SINGLE,
    KAPLAN_TABLE_2,
    KAPLAN_TABLE_3,
    KAPLAN_TABLE_6,
    PF_DAY_FLOPS,
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
    """Equations (B.12) to (B.14)."""
    ratios = KAPLAN_SINGLE.efficient.stopping_ratios(0.10, 0.02)
    assert ratios == pytest.approx((2.701, 0.1329, 0.3589), rel=1e-3)


def test_table_6_agrees_with_itself():
    assert KAPLAN_SINGLE.efficient.critical_batch(1.0) == pytest.approx(2.1e8)
    loss = KAPLAN_SINGLE.of_C_min.loss(PF_DAY_FLOPS)
    assert KAPLAN_SINGLE.efficient.critical_batch(loss) == pytest.approx(1.997e6, rel=1e-3)
    tokens = PF_DAY_FLOPS / (6 * KAPLAN_TABLE_6.N.at(PF_DAY_FLOPS))
    assert tokens / KAPLAN_TABLE_6.batch_tokens.at(PF_DAY_FLOPS) == pytest.approx(5.54e3, rel=1e-3)
