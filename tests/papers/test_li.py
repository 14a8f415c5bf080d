"""Compression after training: what rounding and pruning do; claims where they hold, and where not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from scaling_laws.laws.results.study import no_laws
from scaling_laws.papers.li2020 import PAPER, damage_law, damages, front_table
from scaling_laws.papers.li2020.compression import (
    SETTINGS,
    Compressed,
    Setting,
    compressed,
    pruned,
    quantised,
    stored_bytes,
)
from scaling_laws.papers.li2020.compression_tables import CompressionTables, TimedCurves
from scaling_laws.study.runs import nothing

CLAIMS = {claim.slug: claim for claim in PAPER.claims}
N = np.geomspace(1e4, 1e6, 6)
W = 64


def tables_of(data: Compressed | str, timed: TimedCurves | str = "none") -> CompressionTables:
    study = nothing("world")
    return replace(CompressionTables.read(study, no_laws(study)), compressed=data, timed=timed)


def world(*, in_size: float = 0.5, in_bits: float = 2.0, heavy: float = 0.0) -> Compressed:
    """Damage as N^-in_size 2^(-in_bits bits), and by pruning as N^-in_size; a loss that falls with N."""
    random = np.random.default_rng(0)
    loss = 2 + 20 * N**-0.25
    damage = np.array(
        [
            [
                (each.bits < 32) * 8 * (size / N[0]) ** -in_size * 2.0 ** (-in_bits * each.bits)
                + heavy * (each.bits <= 4 or each.pruned >= 0.6)
                + 0.3 * each.pruned**4 * (size / N[0]) ** -in_size
                for each in SETTINGS
            ]
            for size in N
        ]
    )
    n_bytes = np.array([[size * (1 - each.pruned) * each.bits / 8 for each in SETTINGS] for size in N])
    windows = 0.1 * random.normal(size=W)
    losses = (loss[:, None] * np.exp(damage))[..., None] + windows
    return Compressed(N=N, n_bytes=n_bytes, losses=losses + 1e-6 * random.normal(size=losses.shape))


def timed(*, in_steps: float, step_s: float) -> TimedCurves:
    """Sizes that reach a loss in N^-in_steps steps of N^step_s seconds."""
    steps = np.geomspace(10, 1e4, 20)
    losses = [2 + 5 * (steps * (size / N[0]) ** in_steps) ** -0.3 for size in N]
    return TimedCurves(
        N=N,
        steps=(steps,) * len(N),
        losses=tuple(losses),
        step_s=1e-3 * (N / N[0]) ** step_s * np.exp(0.02 * np.random.default_rng(0).normal(size=len(N))),
    )


def verdict(slug: str, tables: CompressionTables) -> str:
    return CLAIMS[slug].finding(tables, no_laws(tables.study)).verdict


def test_rounding_and_pruning() -> None:
    weight = torch.randn(8, 40, generator=torch.Generator().manual_seed(0))
    for bits in (8, 4, 3):
        rounded = quantised(weight, bits)
        assert all(len(row.unique()) <= 2**bits - 1 for row in rounded)
        step = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        assert ((rounded - weight).abs() <= step / 2 + 1e-6).all()
    assert quantised(weight, 32) is weight
    assert not quantised(torch.zeros(2, 3), 4).any()
    cut = pruned(weight, 0.75)
    assert int((cut == 0).sum()) == 240
    assert weight[cut == 0].abs().max() < cut[cut != 0].abs().min()


def test_a_network_is_compressed_and_left_alone() -> None:
    network = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32))
    before = network[0].weight.detach().clone()
    smaller = compressed(network, Setting(bits=4, pruned=0.5))
    assert int((smaller[0].weight == 0).sum()) >= 256
    assert torch.equal(network[0].weight, before)
    assert torch.equal(smaller[0].bias, network[0].bias)
    vectors = 4 * (32 + 32 + 32)
    assert stored_bytes(network, SETTINGS[0]) == 4 * 512 + vectors
    assert stored_bytes(network, Setting(bits=4, pruned=0.5)) == 256 / 2 + 512 / 8 + 32 * 4 + vectors


def test_damage_by_size() -> None:
    slugs = ("larger-networks-lose-less-when-quantised", "larger-networks-lose-less-when-pruned")
    for slug in slugs:
        assert verdict(slug, tables_of(world())) == "confirmed"
        assert verdict(slug, tables_of(world(in_size=-0.3))) == "contradicted"


def test_the_law_of_damage_is_found() -> None:
    slug = "a-bit-less-is-four-times-the-damage"
    law = damage_law(world())
    assert law is not None
    assert law.x == pytest.approx(0.5, abs=0.02) and law.y == pytest.approx(2.0, abs=0.02)
    assert verdict(slug, tables_of(world())) == "confirmed"
    assert verdict(slug, tables_of(world(in_bits=1.0))) == "contradicted"
    unharmed = world()
    assert verdict(
        slug, tables_of(replace(unharmed, losses=unharmed.losses[:, :1].repeat(len(SETTINGS), 1)))
    ) == ("inconclusive")


def test_large_and_compressed_or_small() -> None:
    slug = "compressed-large-networks-win"
    assert verdict(slug, tables_of(world())) == "confirmed"
    assert verdict(slug, tables_of(world(heavy=2.0))) == "contradicted"


def test_steps_and_seconds() -> None:
    tables = tables_of("none", timed(in_steps=0.4, step_s=1.0))
    assert verdict("larger-networks-need-fewer-steps", tables) == "confirmed"
    assert verdict("larger-networks-need-less-time", tables) == "contradicted"
    tables = tables_of("none", timed(in_steps=0.4, step_s=0.1))
    assert verdict("larger-networks-need-less-time", tables) == "confirmed"
    slower = tables_of("none", timed(in_steps=-0.2, step_s=0.1))
    assert verdict("larger-networks-need-fewer-steps", slower) == "contradicted"


def test_front_and_tables() -> None:
    tables = tables_of(world())
    data = world()
    front = data.front()
    losses, n_bytes = data.mean[tuple(front.T)], data.n_bytes[tuple(front.T)]
    assert (np.diff(n_bytes) > 0).all() and (np.diff(losses) < 0).all()
    for loss, size in zip(losses, n_bytes, strict=True):
        assert loss <= data.mean[data.n_bytes <= size].min()
    assert len(front_table(tables, no_laws(tables.study)).rows) == len(front)
    assert len(damages(tables, no_laws(tables.study)).rows) == len(N)


def test_without_runs_there_is_a_reason() -> None:
    tables = CompressionTables.read(nothing("none"), no_laws(nothing("none")))
    assert {verdict(slug, tables) for slug in CLAIMS} == {"not measured"}
