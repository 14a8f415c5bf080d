"""The efficiency multiplier of a family against laws in which it is known."""

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.fit.shared_exponents import SHARED_FORMS, fit_families
from scaling_laws.laws.forms.joint import Chinchilla, ChinchillaTied, KaplanND

REFERENCES = {
    "kaplan_nd": KaplanND(alpha_N=0.1, alpha_D=0.15, N_c=5e9, D_c=1e9),
    "chinchilla": Chinchilla(E=1.7, A=40.0, B=60.0, alpha=0.3, beta=0.28),
    "chinchilla_tied": ChinchillaTied(E=1.7, A=40.0, B=60.0, alpha=0.29),
}
M_N, M_D = 0.7, 2.5


def two_families(truth, noise=0.0, seed=0):
    """`other` is the reference with each parameter worth M_N of its own, each token M_D."""
    random = np.random.default_rng(seed)
    rows = []
    for family, factors in {"transformer": (1.0, 1.0), "other": (M_N, M_D)}.items():
        for N in np.geomspace(1e4, 1e7, 8 if family == "transformer" else 6):
            for D in np.geomspace(1e6, 1e9, 5):
                loss = float(truth.loss(factors[0] * N, factors[1] * D)) * np.exp(noise * random.normal())
                rows.append({"family": family, "trunk": f"{family}-{N:g}", "N": N, "D": D, "loss": loss})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("form", SHARED_FORMS, ids=lambda form: form.form)
def test_recovers_the_multipliers(form):
    result = fit_families(form, two_families(REFERENCES[form.form]), resamples=20)
    assert result.reason == "" and result.reference == "transformer"
    (other,) = result.efficiencies
    assert other.family == "other"
    assert (other.m_N, other.m_D) == pytest.approx((M_N, M_D), rel=1e-4)
    assert other.m_C == pytest.approx(M_N * M_D, rel=1e-4)


def test_the_multiplier_is_a_ratio_of_computes_at_equal_loss():
    truth = REFERENCES["chinchilla"]
    result = fit_families(Chinchilla, two_families(truth), resamples=20)
    law = Chinchilla(**result.efficiencies[0].parameters)
    for C in (1e12, 1e18):
        loss = law.loss(*law.optimum(C))
        assert truth.compute_to_reach(loss) / C == pytest.approx(result.efficiencies[0].m_C, rel=1e-3)


def test_intervals_cover_and_narrow_with_the_noise():
    widths = []
    for noise in (0.002, 0.01):
        covered = 0
        for seed in range(6):
            runs = two_families(REFERENCES["kaplan_nd"], noise, seed)
            (other,) = fit_families(KaplanND, runs, resamples=60).efficiencies
            low, high = other.intervals["m_C"]
            covered += low <= M_N * M_D <= high
            widths.append(np.log(high / low))
        assert covered >= 3  # 90 % of 6: fewer than 3 happens once in 800
    assert np.mean(widths[6:]) > 3 * np.mean(widths[:6])


def test_what_cannot_be_compared_says_why():
    runs = two_families(REFERENCES["kaplan_nd"])
    one = fit_families(KaplanND, runs[runs["family"] == "other"])
    assert one.efficiencies == () and "one family" in one.reason
    few = pd.concat([runs[runs["family"] == "transformer"], runs[runs["family"] == "other"].iloc[:2]])
    assert "other has fewer than 3 different runs" in fit_families(KaplanND, few).reason


def test_the_reference_can_be_chosen():
    runs = two_families(REFERENCES["kaplan_nd"])
    result = fit_families(KaplanND, runs, reference="other", resamples=20)
    assert result.efficiencies[0].family == "transformer"
    assert result.efficiencies[0].m_C == pytest.approx(1 / (M_N * M_D), rel=1e-4)
