"""The analytic account against brute force, and against the numbers of Pearce & Song 2024."""

import numpy as np
import pytest

from scaling_laws.laws.forms.joint import Chinchilla, KaplanND
from scaling_laws.laws.published import BESIROGLU
from scaling_laws.papers.pearce_song2024.closed_account import (
    CHINCHILLA_VOCABULARY_WEIGHT,
    KAPLAN_RANGE_C,
    KAPLAN_RANGE_N,
    PearceSong,
    apparent_exponents,
    fit_vocabulary_weight,
    kaplan_counting,
    vocabulary_weight,
)
from scaling_laws.study.errors import InputError

HOFFMANN_UNROUNDED = Chinchilla(E=1.6934, A=406.4, B=410.7, alpha=0.3392, beta=0.2849)


@pytest.mark.parametrize(
    ("law", "a", "a_total", "loss", "reducible"),
    [(HOFFMANN_UNROUNDED, 0.740, 0.46, 0.066, 0.155), (BESIROGLU, 0.775, 0.51, 0.069, 0.178)],
    ids=["hoffmann", "besiroglu"],
)
def test_published_exponents(law, a, a_total, loss, reducible):
    found = apparent_exponents(PearceSong(law=law))
    assert found.a == pytest.approx(a, abs=1.1e-3)
    assert found.a_total == pytest.approx(a_total, abs=0.005)
    assert found.loss_exponent == pytest.approx(loss, abs=5e-4)
    assert found.reducible_exponent == pytest.approx(reducible, abs=5e-4)
    # Kaplan's sizes reach about this far.
    assert found.N[1] == pytest.approx(KAPLAN_RANGE_N[1], rel=0.3)
    assert found.C == KAPLAN_RANGE_C
    assert found.a_ends[1] < found.a


def test_the_vocabulary_of_chinchillas_networks():
    assert vocabulary_weight(32_000, 39.2) == pytest.approx(CHINCHILLA_VOCABULARY_WEIGHT, rel=1e-3)


@pytest.mark.parametrize("growth", [1 / 3, 1 / 2])
@pytest.mark.parametrize("law", [BESIROGLU, KaplanND(alpha_N=0.076, alpha_D=0.103, N_c=6.4e13, D_c=1.8e13)])
def test_the_closed_form_is_the_optimum(law, growth):
    account = PearceSong(law=law, weight=3_000.0, growth=growth)
    for N in (1e5, 1e7, 1e9):
        C = float(account.compute(N))
        sizes = N * np.exp(np.linspace(-0.5, 0.5, 20_001))
        best = sizes[np.argmin(law.loss(account.total(sizes), C / (6 * sizes)))]
        assert best == pytest.approx(N, rel=1e-3)
        assert account.tokens(N) == pytest.approx(C / (6 * N), rel=1e-12)
        assert account.loss(N) == pytest.approx(law.loss(account.total(N), C / (6 * N)))


def test_the_closed_form_as_printed():
    w, law, N = CHINCHILLA_VOCABULARY_WEIGHT, BESIROGLU, np.geomspace(768, 1.5e9, 7)
    root = N ** (1 / 3)
    printed = (
        6
        * N
        * (N + w / 3 * root) ** (-1 / law.beta)
        * (N + w * root) ** ((1 + law.alpha) / law.beta)
        * (law.beta * law.B / (law.alpha * law.A)) ** (1 / law.beta)
    )
    assert PearceSong(law=law).compute(N) == pytest.approx(printed, rel=1e-10)


def test_the_local_exponent_is_the_slope_and_ends_at_the_laws_own():
    account, step = PearceSong(law=BESIROGLU), 1e-4
    for N in (1e3, 1e6, 1e9):
        rise = np.log(account.compute(N * np.exp(step)) / account.compute(N * np.exp(-step)))
        assert account.local_exponent(N) == pytest.approx(2 * step / rise, rel=1e-6)
    assert account.local_exponent(1e20) == pytest.approx(BESIROGLU.a_opt, abs=1e-4)
    without = PearceSong(law=BESIROGLU, weight=0.0)
    assert without.local_exponent(1e6) == pytest.approx(BESIROGLU.a_opt)
    assert without.compute(1e6) == pytest.approx(6e6 * float(without.tokens(1e6)))
    assert BESIROGLU.optimum(without.compute(1e6))[0] == pytest.approx(1e6)


def test_a_users_own_law_and_runs():
    N = np.repeat(np.geomspace(1e4, 1e6, 6), 3)
    found = kaplan_counting(BESIROGLU, N, N + 500 * np.sqrt(N))
    assert (found.weight, found.growth) == pytest.approx((500, 0.5))
    account = PearceSong(law=BESIROGLU, weight=500.0, growth=0.5)
    size = np.geomspace(1e4, 1e6, 4000)
    log_C = np.log(account.compute(size))
    even = np.interp(np.linspace(log_C[0], log_C[-1], 4000), log_C, np.log(size))
    expected = np.polyfit(np.linspace(log_C[0], log_C[-1], 4000), even, 1)[0]
    assert found.a == pytest.approx(expected, abs=1e-4)
    assert found.a > found.a_total == pytest.approx(BESIROGLU.a_opt)
    assert found.a_interval is None
    assert f"{found.a:.2f}" in found.sentence
    assert "rough" not in found.sentence


def test_draws_of_the_law_give_the_interval():
    random, N = np.random.default_rng(0), np.geomspace(1e4, 1e6, 6)
    spread = {name: getattr(BESIROGLU, name) * np.ones(50) for name in ("E", "A", "B")}
    draws = Chinchilla(
        **spread, alpha=0.3478 + 0.01 * random.normal(size=50), beta=0.3658 + 0.01 * random.normal(size=50)
    )
    found = kaplan_counting(BESIROGLU, N, N + 500 * np.sqrt(N), draws=draws)
    one_by_one = [
        kaplan_counting(
            Chinchilla(E=1.8, A=482.01, B=2085.43, alpha=float(alpha), beta=float(beta)),
            N,
            N + 500 * np.sqrt(N),
        ).a
        for alpha, beta in zip(draws.alpha, draws.beta, strict=True)
    ]
    assert min(one_by_one) <= found.a_interval[0] < found.a < found.a_interval[1] <= max(one_by_one)
    assert found.a_interval[0] == pytest.approx(np.quantile(one_by_one, 0.05), abs=0.01)
    # Both are exponents of one law: their difference is known far better than either.
    differences = np.array(one_by_one) - draws.a_opt
    low, high = found.difference_interval
    assert (low, high) == pytest.approx(tuple(np.quantile(differences, [0.05, 0.95])), abs=0.002)
    assert low < found.a - found.a_total < high
    apart = (found.a_interval[1] - found.a_total_interval[0]) - (
        found.a_interval[0] - found.a_total_interval[1]
    )
    assert high - low < 0.3 * apart


def test_embeddings_that_follow_no_power_are_said_to():
    N = np.geomspace(1e4, 1e6, 6)
    uneven = N + 500 * np.sqrt(N) * np.array([1, 2, 1, 2, 1, 2])
    assert "rough" in kaplan_counting(BESIROGLU, N, uneven).sentence


@pytest.mark.parametrize(
    ("N", "N_total", "words"),
    [
        ([1e5], [2e5], "two sizes"),
        ([1e5, 2e5], [1e5, 2e5], "larger than N"),
        ([1e5, 2e5], [2e5, 1e5], "larger"),
    ],
)
def test_wrong_counts_are_refused(N, N_total, words):
    with pytest.raises(InputError, match=words):
        fit_vocabulary_weight(N, N_total)
