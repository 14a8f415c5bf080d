"""The dynamical model: closed form against simulation and brute force, and claims in other worlds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scaling_laws.laws.results.study import no_laws
from scaling_laws.papers.bordelon2024 import PAPER
from scaling_laws.papers.bordelon2024.dynamics import (
    errors_over_time,
    last_loss,
    mean_loss,
    mean_losses_of_reuse,
    reused_losses,
    simulated_losses,
    task,
)
from scaling_laws.papers.bordelon2024.fitted_curves import M_OF_STUDY, fit_curves
from scaling_laws.papers.bordelon2024.flow_simulation import FlowSimulation, best_sizes, simulate
from scaling_laws.papers.maloney2022.ridge import Spectrum, loss
from scaling_laws.study.runs import nothing

LAWS = no_laws(nothing("simulated"))
CLAIMS = {claim.slug: claim for claim in PAPER.claims}


@pytest.fixture(scope="module")
def simulation() -> FlowSimulation:
    return simulate(M=200, draws=50, sizes=(32, 64), M_of_limit=(300, 100_000), studies=0, reused_draws=24)


def verdict(slug: str, simulation: FlowSimulation) -> str:
    return CLAIMS[slug].finding(simulation, LAWS).verdict


def test_gradient_flow_is_many_small_steps() -> None:
    random = np.random.default_rng(0)
    B, v = random.normal(size=(5, 12)) / 3, random.normal(size=12)
    walked = v.copy()
    for _ in range(20_000):
        walked = walked - 1e-4 * B.T @ (B @ walked)
    assert errors_over_time(B, v, np.array([2.0]))[0] == pytest.approx(walked, abs=1e-3)


def test_simulation_and_theory_agree(simulation: FlowSimulation) -> None:
    for each in simulation.compared:
        assert np.abs(each.z).max() < 4, (each.task.a, each.task.b, each.N)
    last = np.array([each.z[-1] for each in simulation.compared])
    assert np.mean(last**2) < 1 + 4 * np.sqrt(2 / len(last))


def test_theory_at_its_ends() -> None:
    of = task(1.5, 1.25, 400, binned=False)
    assert mean_loss(of, 30, np.array([1e9]))[0] == pytest.approx(last_loss(of, 30), rel=1e-6)
    t = np.array([0.5, 50.0])
    assert mean_loss(of, 1e9, t) == pytest.approx(mean_loss(of, np.inf, t), rel=1e-6)
    wide, exact = task(1.5, 1.25, 5_000), task(1.5, 1.25, 5_000, binned=False)
    assert mean_loss(wide, 30, t) == pytest.approx(mean_loss(exact, 30, t), rel=1e-4)


def test_the_exponent_in_size_where_the_task_is_easy() -> None:
    # a - 1 = 2.5 is above b = 1: a loss falls as 1/N there, neither as N^-2.5 nor as N^-2.
    of, random = task(3.5, 1.0, 800, binned=False), np.random.default_rng(0)
    losses = [simulated_losses(of, N, np.array([np.inf]), 20, random)[:, 0] for N in (16, 64)]
    for N, each in zip((16, 64), losses, strict=True):
        assert abs(each.mean() - last_loss(of, N)) < 3.5 * each.std(ddof=1) / np.sqrt(20)
    slope = np.log(losses[1].mean() / losses[0].mean()) / np.log(4)
    assert -1.4 < slope < -0.7


def test_many_samples_are_infinitely_many() -> None:
    of, t, random = task(1.5, 1.25, 100, binned=False), np.array([1.0, 30.0]), np.random.default_rng(0)
    test, train = reused_losses(of, 20, 3_000, t, 20, random)
    error = test.std(axis=0, ddof=1) / np.sqrt(20)
    assert (np.abs(test.mean(axis=0) - mean_loss(of, 20, t)) < 4 * error).all()
    assert train.mean(axis=0) == pytest.approx(test.mean(axis=0), rel=0.03)


def test_the_theory_of_few_samples_at_its_ends() -> None:
    of, t = task(2.0, 1.5, 300, binned=False), np.array([0.5, 20.0, 1e6])
    test, train = mean_losses_of_reuse(of, 30, 1e9, t)
    assert test == pytest.approx(mean_loss(of, 30, t), rel=1e-5)
    assert train == pytest.approx(test, rel=1e-5)
    # At the end, as the solvable model of ridge regression has it, without a ridge.
    of = task(1.5, 1.5, 300, binned=False)
    spectrum = Spectrum(variance=of.variance, count=of.count, M=of.M)
    last = mean_losses_of_reuse(of, 40, 90, np.array([1e7]))[0][0]
    assert last == pytest.approx(loss(spectrum, 40, 90, 1e-10), rel=1e-3)


def test_simulation_and_theory_of_few_samples_agree(simulation: FlowSimulation) -> None:
    z = np.array([each.z for each in simulation.reused])
    assert np.abs(z).max() < 4
    assert verdict("reuse-simulation-is-theory", simulation) != "contradicted"
    endless = tuple(replace(each, theory=mean_loss(each.task, each.N, each.t)) for each in simulation.reused)
    assert verdict("reuse-simulation-is-theory", replace(simulation, reused=endless)) == "contradicted"


def test_the_best_size_is_the_lowest() -> None:
    of, C = task(1.5, 1.25, 10_000), np.array([1e4])
    (N,), (loss,) = best_sizes(of, C)
    around = [mean_loss(of, factor * N, C / (factor * N))[0] for factor in (0.6, 1.0, 1.6)]
    assert around[1] == pytest.approx(loss, rel=0.01) and around[1] < min(around[0], around[2])


def test_intervals_of_a_law_on_these_curves(simulation: FlowSimulation) -> None:
    slug = "intervals-hold-where-losses-are-no-sum"
    assert verdict(slug, simulation) == "inconclusive"  # nothing was fitted
    found = fit_curves(task(2.0, 1.5, M_OF_STUDY, binned=False), seed=0)
    assert found.loss > 0.5 and found.loss_interval is not None
    inside = replace(found, loss_interval=(0.9 * found.loss, 1.1 * found.loss))
    outside = replace(found, loss_interval=(2 * found.loss, None))
    assert verdict(slug, replace(simulation, fitted=(inside,) * 18)) == "confirmed"
    assert verdict(slug, replace(simulation, fitted=(outside,) * 18)) == "contradicted"


def test_claims_and_their_opposites(simulation: FlowSimulation) -> None:
    assert verdict("exponents-approach-the-limit", simulation) == "confirmed"
    assert verdict("time-before-width", simulation) == "confirmed"
    reversed_ = {
        spectrum: dict(zip(by_M, reversed(by_M.values()), strict=True))
        for spectrum, by_M in simulation.exponents.items()
    }
    other = replace(simulation, exponents=reversed_)
    assert verdict("exponents-approach-the-limit", other) == "contradicted"
    assert verdict("ensembles-lose-to-one-network", simulation) == "confirmed"
    swapped = {key: (single, ensemble) for key, (ensemble, single) in simulation.ensembles.items()}
    other = replace(simulation, ensembles=swapped)
    assert verdict("ensembles-lose-to-one-network", other) == "contradicted"
    assert verdict("gap-begins-as-one-over-samples", simulation) != "contradicted"
    flat = {P: (2 + test * 1e-3, train * 1e-3) for P, (test, train) in simulation.reuse.items()}
    assert verdict("gap-begins-as-one-over-samples", replace(simulation, reuse=flat)) == "contradicted"
    steep = {key: np.square(losses) for key, losses in simulation.samples.items()}
    assert verdict("data-and-size-have-one-exponent", replace(simulation, samples=steep)) == "contradicted"
    assert verdict("early-correction-is-one-over-size", simulation) == "confirmed"
    off = tuple(replace(each, theory=1.2 * each.theory) for each in simulation.compared)
    assert verdict("flow-simulation-is-theory", replace(simulation, compared=off)) == "contradicted"
