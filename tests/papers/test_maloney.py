"""The solvable model: closed form against simulation and brute force, and claims in other worlds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scaling_laws.laws.results.study import no_laws
from scaling_laws.papers.maloney2022 import PAPER
from scaling_laws.papers.maloney2022.ridge import Spectrum, best_loss, loss, power_law
from scaling_laws.papers.maloney2022.ridge_simulation import RidgeSimulation, simulate
from scaling_laws.papers.maloney2022.text_spectrum import RANGES, spectrum_of
from scaling_laws.study.runs import nothing

LAWS = no_laws(nothing("simulated"))
CLAIMS = {claim.slug: claim for claim in PAPER.claims}


@pytest.fixture(scope="module")
def simulation() -> RidgeSimulation:
    return simulate(M=300, draws=40, sizes=(15, 30, 60), T=30)


def verdict(slug: str, simulation: RidgeSimulation) -> str:
    return CLAIMS[slug].finding(simulation, LAWS).verdict


def test_settings_worked_out_elsewhere() -> None:
    # (samples, features, ridge), from an independent script.
    known = {
        (50, 200, 0.001): 0.568,
        (200, 50, 0.001): 0.569,
        (100, 100, 0.001): 2.50,
        (200, 200, 0.1): 0.304,
    }
    for (T, N, ridge), expected in known.items():
        assert loss(power_law(0.5, 1000), N, T, ridge) == pytest.approx(expected, abs=5e-3)


def test_simulation_and_closed_form_agree(simulation: RidgeSimulation) -> None:
    z = np.array([each.z for each in simulation.compared if each.ridge > 0.1])
    assert np.abs(z).max() < 3.5
    assert np.mean(z**2) < 1 + 4 * np.sqrt(2 / len(z))


def test_a_wrong_closed_form_is_seen(simulation: RidgeSimulation) -> None:
    best = tuple(replace(each, theory=1.2 * each.theory) for each in simulation.best)
    swapped = tuple(replace(each, theory=1.2 * each.theory) for each in simulation.swapped)
    assert (
        verdict("ridge-simulation-is-closed-form", replace(simulation, best=best, swapped=swapped))
        == "contradicted"
    )


def test_the_best_ridge_is_the_lowest() -> None:
    spectrum = power_law(0.5, 400)
    lowest, ridge = best_loss(spectrum, 40, 60)
    around = [loss(spectrum, 40, 60, factor * ridge) for factor in (0.5, 0.9, 1.0, 1.1, 2.0)]
    assert min(around) == around[2] == pytest.approx(lowest, rel=1e-4)


def test_bins_of_a_long_spectrum_change_nothing() -> None:
    index = np.arange(1.0, 20_001)
    exact = Spectrum(variance=index**-1.5, count=np.ones_like(index), M=20_000)
    assert best_loss(power_law(0.5, 20_000), 50, 80)[0] == pytest.approx(
        best_loss(exact, 50, 80)[0], rel=1e-5
    )


def test_the_spectrum_of_a_text_with_a_known_one(simulation: RidgeSimulation) -> None:
    random, share = np.random.default_rng(0), np.arange(1.0, 513) ** -1.5
    documents = [random.choice(512, size=8_000, p=share / share.sum()) for _ in range(20)]
    found = spectrum_of(documents, 512, {"alpha_N": (0.5, (0.45, 0.55))})
    value, interval = found.alphas["one", RANGES[0]]
    assert value == pytest.approx(0.5, abs=0.05)  # a token's variance is about its frequency
    assert None not in interval and interval[1] - interval[0] < 0.2
    low = {key: (0.5, (0.49, 0.51)) for key in found.alphas}
    narrow = replace(found, alphas=low, measured={"alpha_N": (0.5, (0.49, 0.51))})
    slug = "spectrum-is-exponent-in-size"
    assert verdict(slug, replace(simulation, text=narrow)) == "confirmed"
    far = replace(narrow, measured={"alpha_N": (0.1, (0.09, 0.11))})
    assert verdict(slug, replace(simulation, text=far)) == "contradicted"
    assert verdict("spectrum-is-exponent-in-data", replace(simulation, text=far)) == "not measured"


def test_claims_and_their_opposites(simulation: RidgeSimulation) -> None:
    assert verdict("peak-without-ridge", simulation) == "confirmed"
    assert verdict("no-peak-with-best-ridge", simulation) == "confirmed"
    swapped = replace(simulation, little=simulation.best, best=simulation.little)
    assert verdict("peak-without-ridge", swapped) == "contradicted"
    assert verdict("no-peak-with-best-ridge", swapped) == "contradicted"
    assert verdict("equal-features-and-samples-are-best", simulation) == "confirmed"
    assert verdict(
        "equal-features-and-samples-are-best", replace(simulation, best_N=3 * simulation.best_N)
    ) == ("contradicted")
    flat = replace(simulation, slopes={100: (0.1, 0.2, 0.15)})
    assert verdict("exponent-is-that-of-the-data", flat) == "contradicted"
    assert verdict("power-law-ends-at-the-data", simulation) == "confirmed"
    falling = replace(simulation.plateau, with_noise=1 / simulation.plateau.N)
    assert verdict("power-law-ends-at-the-data", replace(simulation, plateau=falling)) == "contradicted"
    unlike = tuple(replace(each, losses=2 * each.losses) for each in simulation.swapped)
    assert (
        verdict("features-and-samples-are-exchangeable", replace(simulation, swapped=unlike))
        == "contradicted"
    )
