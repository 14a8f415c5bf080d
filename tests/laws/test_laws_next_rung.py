"""The advice which run to train next, against refits with that run in hand."""

import numpy as np
import pytest
from tests.support.by_hand import laws_of

from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.intervals import Bootstrap, bootstrap
from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.plan.next_rung import candidates, next_rung, next_rung_from_laws
from scaling_laws.study.errors import InputError

TRUTH = Chinchilla(E=2.0, A=60.0, B=300.0, alpha=0.34, beta=0.38)
NOISE = SeedNoise(sd_log_loss=0.003, n_groups=100, n_runs=300, shared=0.0, reason="")
SIZES, HORIZONS = (1e4, 1e5, 1e6), (1e6, 1e7, 1e8)
TARGET = tuple(float(value) for value in TRUTH.optimum(1e17))


def draws_of(N, D, resamples=600):
    """Draws of a least-squares fit to exact losses, with seed noise of a known size; one cluster in all."""
    rows = make_rows({"N": N, "D": D}, TRUTH.loss(N, D), np.arange(len(N)) // 2)
    fit = fit_law(Chinchilla, rows, delta=10.0)
    return bootstrap(fit, noise=NOISE, resamples=resamples, seed=3)


@pytest.fixture(scope="module")
def first():
    N, D = (axis.ravel() for axis in np.meshgrid(SIZES, HORIZONS))
    return N, D, draws_of(N, D)


def spread(result, target):
    return np.std(result.draws.a_opt if target == "a_opt" else np.log(result.draws.loss(*TARGET)))


@pytest.mark.parametrize("target", ["loss", "a_opt"])
@pytest.mark.parametrize("run", [(8e6, 8e8), (1e4, 1e8), (1e6, 1e6), (4e5, 3e7)])
def test_the_promised_narrowing_is_what_a_refit_with_that_run_gives(first, run, target):
    """The target's spread after really adding the run, over its spread before."""
    N, D, before = first
    promised = next_rung(TRUTH, before, (np.array([run[0]]), np.array([run[1]])), target=target, at=TARGET)
    after = draws_of(np.append(N, run[0]), np.append(D, run[1]))
    kept = 1 - spread(after, target) / spread(before, target)
    assert promised.most.narrowing == pytest.approx(kept, abs=0.08)


def test_the_best_rung_beats_a_poor_one_in_a_refit(first):
    N, D, before = first
    found = next_rung(TRUTH, before, candidates((1e4, 1e6), (1e6, 1e8), 6e16), target="loss", at=TARGET)
    most = draws_of(np.append(N, found.most.N), np.append(D, found.most.D))
    poor = draws_of(np.append(N, 1e4), np.append(D, 1e6))
    assert spread(most, "loss") < 0.8 * spread(poor, "loss")
    assert found.target_sd == pytest.approx(spread(before, "loss"))


def test_ranking_and_costs(first):
    found = next_rung(TRUTH, first[2], candidates((1e4, 1e6), (1e6, 1e8), 1e14), target="a_opt")
    assert len(found.best) == 5 and found.best[0].narrowing_per_flop == 1.0
    ranked = [rung.narrowing / rung.cost for rung in found.best]
    assert ranked == sorted(ranked, reverse=True)
    for rung in (*found.best, found.most):
        assert rung.cost == pytest.approx(6 * rung.N * rung.D) and rung.cost <= 1e14 * 1.001
        assert rung.loss_nats == pytest.approx(float(TRUTH.loss(rung.N, rung.D)))
        assert found.most.narrowing / 4 <= rung.narrowing <= found.most.narrowing
    assert found.to_json()["best"][0]["N"] == found.best[0].N


def test_candidates_go_beyond_the_runs_but_not_above_the_cost():
    N, D = candidates((1e4, 1e6), (1e6, 1e8), 6 * 1e14)
    assert N.min() == 1e4 and N.max() > 4e6 and D.max() > 4e8
    assert np.all(6 * N * D <= 6.001e14)
    with pytest.raises(InputError, match="smallest fitted run costs 6e"):
        candidates((1e4, 1e6), (1e6, 1e8), 1e9)


def test_a_run_without_noise_at_the_target_tells_all():
    """One uncertain parameter: the run at the target fixes it; with noise, sd falls by sqrt(noise share)."""
    E = np.random.default_rng(0).normal(2.0, 0.01, size=4000)
    constant = {name: np.full(4000, getattr(TRUTH, name)) for name in ("A", "B", "alpha", "beta")}
    law = Chinchilla(E=E, **constant)
    at = (1e6, 1e8)
    sd = float(np.std(np.log(law.loss(*at))))
    runs = (np.array([at[0]]), np.array([at[1]]))
    for row_sd, left in ((0.0, 0.0), (sd, np.sqrt(0.5)), (3 * sd, np.sqrt(0.9))):
        found = next_rung(TRUTH, Bootstrap(draws=law, method="", row_sd=row_sd), runs, at=at)
        assert 1 - found.most.narrowing == pytest.approx(left, abs=1e-6)


def test_what_cannot_be_answered_is_refused(first):
    runs = (np.array([1e5]), np.array([1e7]))
    with pytest.raises(InputError, match="of which run"):
        next_rung(TRUTH, first[2], runs, target="loss")
    with pytest.raises(InputError, match="there are loss, a_opt"):
        next_rung(TRUTH, first[2], runs, target="E")
    still = Bootstrap(
        draws=Chinchilla(**{name: np.full(60, value) for name, value in vars(TRUTH).items()}),
        method="",
        row_sd=0,
    )
    with pytest.raises(InputError, match="do not differ"):
        next_rung(TRUTH, still, runs, target="a_opt")
    fit = {
        "form": "chinchilla",
        "family": "all",
        "formula": "",
        "parameters": dict(vars(TRUTH)),
        "identified": True,
        "reason": "",
        "resamples": {},
        "interval_method": "",
    }
    with pytest.raises(InputError, match="needs the law's resamples"):
        next_rung_from_laws(laws_of({"fits": [fit]}), target="a_opt")


def test_a_target_that_is_hardly_known_is_warned_of(first):
    vague = Chinchilla(
        **{
            name: np.random.default_rng(1).lognormal(np.log(value), 0.5, 200)
            for name, value in vars(TRUTH).items()
        }
    )
    result = Bootstrap(draws=vague, method="", row_sd=0.01)
    assert "too wide" in next_rung(TRUTH, result, (np.array([1e5]), np.array([1e7])), at=(1e3, 1e4)).warning
    assert next_rung(TRUTH, first[2], (np.array([1e5]), np.array([1e7])), at=TARGET).warning == ""
