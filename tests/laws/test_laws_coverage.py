"""Whether the 90 % intervals cover what was put in: 100 known laws, the quick half of `make coverage`.

The bound: of 100 exact and independent 90 % intervals, 80 to 98 contain the truth. A count below 80 has
probability 0.0008 and one above 98 probability 0.0003, so that a right interval raises a false alarm once in
900; all five quantities together, at most once in 180. Seeds are fixed: it is raised always or never.
"""

import importlib.util
import math
import sys
from pathlib import Path

import pytest
from scipy.stats import binom

TRUTHS, NOISE, RESAMPLES = 100, 0.01, 150
FEWEST, MOST = 80, 98
QUANTITIES = ("alpha", "beta", "a_opt", "N_opt", "loss")

SPECIFICATION = importlib.util.spec_from_file_location(
    "coverage_benchmark", Path(__file__).parents[2] / "benchmarks" / "coverage.py"
)
coverage = importlib.util.module_from_spec(SPECIFICATION)
sys.modules[SPECIFICATION.name] = coverage  # where dataclasses look up their annotations
SPECIFICATION.loader.exec_module(coverage)


@pytest.fixture(scope="module")
def trials():
    """48 runs of 8 sizes and 6 horizons for each law; N_opt and the loss at ten times their compute."""
    design = coverage.DESIGNS[0]
    return list(coverage.trials(design, NOISE, truths=TRUTHS, resamples=RESAMPLES, seed=1))


def hits(trials, name, stretch=1.0):
    """Intervals that cover, each stretched about its middle (in logarithm where it is of a scale)."""
    count = 0
    for trial in trials:
        low, high, true = *trial.intervals[name], trial.true[name]
        if name == "N_opt":
            low, high, true = math.log(low), math.log(high), math.log(true)
        middle, half = (low + high) / 2, stretch * (high - low) / 2
        count += middle - half <= true <= middle + half
    return count


def test_the_bound_is_what_it_is_said_to_be():
    exact = binom(TRUTHS, 0.9)
    assert exact.cdf(FEWEST - 1) == pytest.approx(0.0008, abs=5e-5)
    assert exact.sf(MOST) == pytest.approx(0.0003, abs=5e-5)


def test_every_fit_is_identified(trials):
    assert len(trials) == TRUTHS and None not in trials


@pytest.mark.parametrize("name", QUANTITIES)
def test_intervals_cover(trials, name):
    assert FEWEST <= hits(trials, name) <= MOST


@pytest.mark.parametrize("name", QUANTITIES)
def test_wrong_intervals_are_found(trials, name):
    """The bound can fail: at half the width it does, and at twice the width."""
    assert hits(trials, name, 0.5) < FEWEST
    assert hits(trials, name, 2.5) > MOST


def test_the_laws_differ(trials):
    """100 truths, not one: the exponents and the interval's own side vary."""
    assert len({round(trial.true["alpha"], 6) for trial in trials}) == TRUTHS
    below = sum(trial.true["alpha"] < sum(trial.intervals["alpha"]) / 2 for trial in trials)
    assert 30 <= below <= 70


def test_resampling_slices_mends_the_intervals_of_runs_that_share_noise_in_them():
    """alpha, beta and E of six isoFLOP slices, 40 laws: of 120 honest intervals 100 or more cover."""
    covered = {}
    for design in (each for each in coverage.DESIGNS if each.slices and not each.profile):
        of_design = [
            trial for trial in coverage.trials(design, NOISE, truths=40, resamples=60, seed=2) if trial
        ]
        covered[design.cluster] = sum(
            trial.covers(name) for trial in of_design for name in ("alpha", "beta", "E")
        )
        assert len(of_design) >= 38
    assert covered[False] < 100 < covered[True]
