"""Estimating a law from checkpoints: the fit, claims in two worlds, a public table's numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.results.study import no_laws
from scaling_laws.papers.choshen2024 import PAPER, checkpoints, ladder_table
from scaling_laws.papers.choshen2024.checkpoints import (
    CheckpointTables,
    Errors,
    SizeLadder,
    errors_of,
)
from scaling_laws.papers.choshen2024.least_squares import fit_additive
from scaling_laws.study.runs import study_of_table

RESAMPLES = 15
ROOT = Path(__file__).parents[2]
CLAIMS = {claim.slug: claim for claim in PAPER.claims}
OPT = Path(os.environ.get("SCALING_LAWS_DATA", ROOT.parent / "shared" / "data")) / "opt_trajectories.csv"
OPT_SIZES = {"125m": 125e6, "1.3b": 1.3e9, "6.7b": 6.7e9, "13b": 13e9, "30b": 30e9, "175b": 175e9}


def study(start: float = 0.0, noise: float = 0.0) -> CheckpointTables:
    """Eight sizes; a start of the training that the law does not know, and noise of the last checkpoints."""
    random = np.random.default_rng(0)
    N, share = np.repeat(np.geomspace(1e4, 1e7, 8), 20), np.tile(np.linspace(0.02, 1, 20), 8)
    D = 1e8 * share
    loss = 1.5 + 30 * N**-0.3 + 90 * D**-0.3 + start * np.exp(-share / 0.04)
    loss = np.where((share == 1) & (N < 1e7), loss + noise * random.normal(size=len(N)), loss)
    runs = [f"run-{place}" for place in range(len(N))]
    table = pd.DataFrame(
        {"run": runs, "trunk": runs, "family": "transformer", "N": N, "D": D, "C": 6 * N * D}
    )
    whole = study_of_table("world", table.assign(loss=loss))
    return CheckpointTables.read(whole, no_laws(whole))


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "RESAMPLES", RESAMPLES)
        yield


@pytest.fixture(scope="module")
def plain_world() -> CheckpointTables:
    return study()


@pytest.fixture(scope="module")
def paper_world() -> CheckpointTables:
    return study(start=12.0, noise=0.1)


def verdict(slug: str, tables: CheckpointTables) -> str:
    return CLAIMS[slug].finding(tables, no_laws(tables.study)).verdict


def test_the_fit_finds_the_law() -> None:
    random = np.random.default_rng(1)
    N, D = np.exp(random.uniform(10, 16, 60)), np.exp(random.uniform(14, 20, 60))
    fit = fit_additive(N, D, 1.7 + 40 * N**-0.31 + 300 * D**-0.4)
    assert (fit.E, fit.alpha, fit.beta) == pytest.approx((1.7, 0.31, 0.4), rel=2e-3)
    assert fit.rms < 1e-5
    assert fit.loss(2e6, 1e9) == pytest.approx(1.7 + 40 * 2e6**-0.31 + 300 * 1e9**-0.4, rel=1e-5)


def test_nothing_falls_below_zero() -> None:
    D = np.geomspace(1e5, 1e8, 12)
    fit = fit_additive(np.full(12, 1e6), D, 5 - 0.2 * np.log(D))
    assert min(fit.E, fit.A, fit.B, fit.alpha, fit.beta) >= 0


def test_claims_of_the_paper_in_its_world(paper_world: CheckpointTables) -> None:
    for slug in ("the-first-tenth-harms", "five-sizes-suffice"):
        assert verdict(slug, paper_world) == "confirmed", slug
    noisier = study(start=12.0, noise=0.3)
    assert verdict("whole-curves-beat-last-checkpoints", noisier) == "confirmed"
    assert isinstance(paper_world.errors, Errors)
    assert len(ladder_table(paper_world, no_laws(paper_world.study)).rows) == 8


def test_the_opposite_worlds(paper_world: CheckpointTables) -> None:
    errors = paper_world.errors
    assert isinstance(errors, Errors)
    swapped = replace(
        errors,
        by_use={"final": errors.by_use["cut"], "all": 0.0, "cut": 0.5},
        drawn={use: np.zeros(7) + 0.5 * (use == "cut") for use in errors.drawn},
    )
    for slug in ("whole-curves-beat-last-checkpoints", "the-first-tenth-harms", "four-per-cent-to-expect"):
        assert verdict(slug, replace(paper_world, errors=swapped)) == "contradicted", slug
    harmful = replace(errors, gains={2.0: np.full(8, 0.2), 4.0: np.full(8, 0.3)})
    assert verdict("five-sizes-suffice", replace(paper_world, errors=harmful)) == "contradicted"
    ends = replace(errors, own_ends=np.full(8, 0.3))
    assert verdict("first-third-predicts-the-end", replace(paper_world, errors=ends)) == "contradicted"


def test_intervals_are_as_wide_as_the_noise(
    plain_world: CheckpointTables, paper_world: CheckpointTables
) -> None:
    widths = []
    for tables in (plain_world, paper_world):
        assert isinstance(tables.errors, Errors)
        _, (low, high) = tables.errors.with_interval("cut")
        assert low is not None and high is not None
        widths.append(high - low)
        assert set(tables.errors.gains) == {each for each in tables.errors.gains if each > 1}
        assert all(len(draws) == 1 + RESAMPLES for draws in tables.errors.gains.values())
    assert widths[0] < 1e-3 < widths[1]


def test_too_few_sizes_are_said(plain_world: CheckpointTables) -> None:
    few = plain_world
    assert isinstance(few.errors, Errors)
    three = SizeLadder(table=few.errors.ladder.of(few.errors.ladder.sizes[:3]))
    reason = errors_of(three)
    assert isinstance(reason, str) and "3 sizes" in reason
    assert verdict("five-sizes-suffice", replace(few, errors=reason)) == "not measured"


@pytest.mark.skipif(not OPT.exists(), reason="the public run tables are not on this machine")
def test_opt_as_an_independent_fit_has_it() -> None:
    opt = pd.read_csv(OPT)
    N, D = opt["model_size"].str.lower().map(OPT_SIZES), 10 ** opt["num_token"]
    table = pd.DataFrame({"N": N, "D": D, "loss": np.log(opt["ppl"])})
    whole, cut = SizeLadder(table=table), SizeLadder(table=table[table["D"] > 1e10])
    *smaller, _ = whole.sizes
    found = [100 * ladder.error(smaller[:n], "all") for ladder in (whole, cut) for n in (5, 4, 3)]
    assert found == pytest.approx([5.04, 5.12, 4.04, 3.11, 3.52, 3.20], abs=0.015)
    assert 100 * whole.best_seen() == pytest.approx(5.82, abs=0.01)
    # Five points do not determine five parameters: 10.0 % by another way there.
    assert 8 < 100 * whole.error(smaller, "final") < 12
