"""Token trajectories: trends of made tokens, and claims in worlds in which they hold and do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scaling_laws.laws.results.study import no_laws
from scaling_laws.papers.xia2022 import PAPER, shares_table
from scaling_laws.papers.xia2022.trajectories import Trajectories, TrajectoryTables
from scaling_laws.study.runs import nothing

CLAIMS = {claim.slug: claim for claim in PAPER.claims}
N = np.geomspace(1e3, 1e6, 5)
TOKENS = np.geomspace(1e4, 1e6, 14)
W, T = 10, 30


def tables_of(losses: np.ndarray) -> TrajectoryTables:
    study = nothing("world")
    tables = TrajectoryTables.read(study, no_laws(study))
    return replace(tables, trajectories=Trajectories(N=N, tokens=TOKENS, losses=losses))


def by_loss() -> np.ndarray:
    """Losses that follow one of N and D, each token as steeply as it likes."""
    random = np.random.default_rng(0)
    driver = 2 + 10 * N[:, None] ** -0.2 * TOKENS**-0.05 + 20 * TOKENS**-0.3
    steepness = random.uniform(0.5, 1.5, size=(W, T))
    return driver[:, :, None, None] * steepness + 0.01 * random.normal(size=(5, 14, W, T))


def by_compute() -> np.ndarray:
    """Half of the tokens rise with compute and half fall; a few that follow D alone make the total loss."""
    random = np.random.default_rng(0)
    compute = np.log(N)[:, None] + np.log(TOKENS)
    sign = np.where(np.arange(T) % 2, 1.0, -1.0) * np.ones((W, 1))
    losses = 6 + 0.1 * (compute - compute.mean())[:, :, None, None] * sign
    losses[..., :2] = np.broadcast_to(12 - 0.4 * np.log(TOKENS), (5, 14))[:, :, None, None]
    return losses + 0.01 * random.normal(size=(5, 14, W, T))


def stagnant(growing: bool) -> np.ndarray:
    """Of losses as `by_loss`, tokens that stay where they are, more or fewer in larger networks."""
    random, losses = np.random.default_rng(1), by_loss()
    place = random.uniform(size=(W, T))
    for size in range(5):
        share = (0.1 + 0.15 * size) if growing else (0.7 - 0.15 * size)
        losses[size] = np.where(place < share, 3 + 0.002 * random.normal(size=(14, W, T)), losses[size])
    return losses


def verdict(slug: str, tables: TrajectoryTables) -> str:
    return CLAIMS[slug].finding(tables, no_laws(tables.study)).verdict


def test_trends_are_those_that_were_made() -> None:
    tokens = np.linspace(0, 1, 12) + 0.1
    random = np.random.default_rng(0)
    made = np.stack([3 - tokens, 3 + tokens, np.full(12, 3.0), 3 + 0.5 * (-1.0) ** np.arange(12)])
    losses = made.T[None, :, None] + 1e-3 * random.normal(size=(1, 12, 1, 4))
    trends = Trajectories(N=np.ones(1), tokens=tokens, losses=losses).trends()
    assert trends["downward"][0, 0].tolist()[:2] == [True, False]
    assert trends["upward"][0, 0].tolist()[:2] == [False, True]
    assert [bool(trend[0, 0, 3]) for trend in trends.values()] == [False, False, False]


def test_chance_is_called_a_trend_once_in_twenty() -> None:
    losses = 3 + 1e-3 * np.random.default_rng(0).normal(size=(1, 12, 40, 50))
    trends = Trajectories(N=np.ones(1), tokens=np.linspace(1, 10, 12), losses=losses).trends()
    share = (trends["upward"] | trends["downward"]).mean()
    assert share == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 2000))
    assert trends["stagnated"].mean() == pytest.approx(1 - share)


def test_what_curves_follow() -> None:
    slug = "curves-fall-together-against-loss"
    assert verdict(slug, tables_of(by_loss())) == "confirmed"
    assert verdict(slug, tables_of(by_compute())) == "contradicted"


def test_stagnation_by_size() -> None:
    more, fewer = tables_of(stagnant(growing=True)), tables_of(stagnant(growing=False))
    assert verdict("stagnation-grows-with-size", more) == "confirmed"
    assert verdict("stagnation-grows-with-size", fewer) == "contradicted"
    assert verdict("stagnation-grows-with-size", tables_of(by_loss())) == "inconclusive"  # none stagnates
    assert len(shares_table(more, no_laws(more.study)).rows) == 5


def test_what_stagnates_in_a_small_network() -> None:
    losses = stagnant(growing=True)
    assert verdict("what-stagnates-stays", tables_of(losses)) == "confirmed"
    elsewhere = losses.copy()
    elsewhere[-1] = losses[-1, :, ::-1, ::-1]  # as many, of other tokens
    assert verdict("what-stagnates-stays", tables_of(elsewhere)) != "confirmed"
    none = losses.copy()
    none[1] = by_loss()[1]
    assert verdict("what-stagnates-stays", tables_of(none)) == "inconclusive"


def test_without_folders_there_is_a_reason() -> None:
    study = nothing("none")
    tables = TrajectoryTables.read(study, no_laws(study))
    assert verdict("stagnation-grows-with-size", tables) == "not measured"
    assert verdict("difference-of-networks-scales-inversely", tables) == "not measured"


def test_sampled_text_by_size() -> None:
    slug, tables = "difference-of-networks-scales-inversely", tables_of(by_loss())
    rising = np.linspace(4, 6, 5)[:, None] + 0.1 * np.random.default_rng(0).normal(size=(5, W))
    assert verdict(slug, replace(tables, sampled=rising)) == "confirmed"
    assert verdict(slug, replace(tables, sampled=rising[::-1].copy())) == "contradicted"
