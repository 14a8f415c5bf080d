"""What an independent analysis of results/cpu found, from this project's functions on the recorded tables.

The expected numbers are that analysis's, not ours: least squares of its own, on the same runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scaling_laws.laws.allocation.frontier import size_curves
from scaling_laws.laws.allocation.worth import worth_by_compute
from scaling_laws.laws.checks.local_exponents import local_exponents
from scaling_laws.laws.results.types import read_laws
from scaling_laws.papers.kaplan2020 import PAPER
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.papers.pearce_song2024 import counting
from scaling_laws.report.claims import Finding
from scaling_laws.study.runs import load_study

RECORDED = Path(__file__).parents[2] / "results" / "cpu"


@pytest.fixture(scope="module")
def recorded() -> KaplanTables:
    return KaplanTables.read(load_study(RECORDED), read_laws(RECORDED / "laws.json"))


def finding(recorded: KaplanTables, slug: str) -> Finding:
    (claim,) = [claim for claim in PAPER.claims if claim.slug == slug]
    return claim.finding(recorded, recorded.laws)


def test_the_exponent_of_N_doubles_with_the_horizon(recorded: KaplanTables) -> None:
    runs = recorded.of("transformer")
    found = local_exponents(runs[runs["n_layer"] == 2])
    of_N = {round(each.at / 1e6): each.exponent for each in found if each.of == "N" and each.at > 9e5}
    assert of_N == pytest.approx({1: 0.049, 2: 0.063, 4: 0.082, 8: 0.102}, abs=0.001)
    of_D = [each.exponent for each in found if each.of == "D"]
    assert of_D == pytest.approx([0.030, 0.041, 0.057, 0.085, 0.104, 0.122, 0.125], abs=0.002)
    joint = recorded.laws.of("transformer").fit("kaplan_nd")
    assert joint is not None
    exponents = [joint.parameters["alpha_N"], joint.parameters["alpha_D"]]
    assert exponents == pytest.approx([0.0964, 0.174], abs=0.001)


def test_so_the_claim_about_N_is_left_open(recorded: KaplanTables) -> None:
    found = finding(recorded, "loss-falls-with-size")
    assert found.verdict == "inconclusive" and found.value == pytest.approx(0.102, abs=0.001)
    assert "0.082 at half as many tokens" in found.why
    assert finding(recorded, "loss-falls-with-compute").verdict == "inconclusive"


def test_the_difference_of_two_counts_is_paired(recorded: KaplanTables) -> None:
    found = counting(recorded, recorded.laws, "transformer")
    assert found is not None and found.difference_interval is not None
    assert found.a - found.a_total == pytest.approx(0.156, abs=0.006)
    low, high = found.difference_interval
    assert low is not None and high is not None and 0.10 < low < 0.156 < high < 0.19


def test_the_noise_scale_does_not_follow_the_critical_batch(recorded: KaplanTables) -> None:
    found = finding(recorded, "noise-scale-predicts-batch")
    assert found.verdict == "inconclusive" and "rank correlation -0.15" in found.why
    assert found.value == pytest.approx(1.24, abs=0.01)
    assert found.interval == pytest.approx((0.48, 3.2), rel=0.01)


def test_the_critical_batch_of_one_size(recorded: KaplanTables) -> None:
    levels = recorded.laws.of("transformer").critical_batch.levels
    known = [(level.loss, level.B_crit) for level in levels if level.N == 47_696 and level.B_crit]
    loss, B_crit = np.array(sorted(known)).T
    nearest = [int(np.argmin(np.abs(loss - wanted))) for wanted in (4.6, 4.75, 4.9, 5.2, 5.6)]
    assert B_crit[nearest] == pytest.approx([5473, 3750, 2787, 1869, 1324], rel=0.03)


def test_other_text_is_compared_in_bits_per_byte(recorded: KaplanTables) -> None:
    found = finding(recorded, "other-text-costs-an-offset")
    assert found.verdict == "inconclusive" and found.value == pytest.approx(0.938, abs=0.001)
    assert "in nats per token the slope is 0.916" in found.why


def test_slices_and_held_out_size(recorded: KaplanTables) -> None:
    laws = recorded.laws.of("transformer")
    assert laws.allocation_by("isoflop").exponent == pytest.approx(0.657, abs=0.015)
    errors = [each.mean_absolute_error for each in laws.holdout]
    assert errors == pytest.approx([0.040, 0.050], abs=0.001)


def test_an_LSTM_is_worth_less_the_more_compute_there_is(recorded: KaplanTables) -> None:
    transformer, lstm = (size_curves(recorded.of(family)) for family in ("transformer", "lstm"))
    curve = worth_by_compute(transformer, lstm, noise_sd=None)
    assert curve is not None and curve.crossing is not None
    worth = curve.worth[np.isfinite(curve.worth)]
    assert worth.max() > 1.5 and worth[-1] < 1
    assert 4e12 < curve.crossing < 6e12
