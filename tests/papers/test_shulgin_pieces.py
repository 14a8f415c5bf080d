"""A Transformer trained in pieces: the step against plain SGD, and claims where they hold and do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scaling_laws.laws.results.study import no_laws
from scaling_laws.models.transformer import Transformer
from scaling_laws.papers.shulgin2023 import PAPER, extent, pieces_table
from scaling_laws.papers.shulgin2023.network_runs import (
    FULL,
    NetworkScale,
    PieceRun,
    PieceRuns,
    flops_per_token,
    planned,
    train_pieces,
)
from scaling_laws.papers.shulgin2023.piece_figures import draw_pieces
from scaling_laws.papers.shulgin2023.subnetwork_simulation import SubnetworkSimulation, simulate
from scaling_laws.papers.shulgin2023.subnetwork_steps import SubnetworkSteps
from scaling_laws.papers.shulgin2023.word_chain import WordChain
from scaling_laws.study.errors import InputError
from scaling_laws.study.runs import nothing
from scaling_laws.training.loss import mean_loss

LAWS = no_laws(nothing("simulated"))
CLAIMS = {claim.slug: claim for claim in PAPER.claims}
RATE = 0.3


@pytest.fixture(scope="module")
def simulation() -> SubnetworkSimulation:
    return simulate(n=3, n_problems=2, repetitions=3, steps=3, rates=(0.2, 0.1))


@pytest.fixture
def network() -> Transformer:
    torch.manual_seed(0)
    made = Transformer(n_vocab=11, n_ctx=6, n_layer=2, d_model=8, n_heads=2, d_ff=12)
    for block in made.blocks:  # they start as the identity, which would hide the hidden units
        torch.nn.init.normal_(block.feed_forward.project.weight, std=0.3)
    return made


def windows(n: int) -> torch.Tensor:
    return torch.randint(11, (n, 7), generator=torch.Generator().manual_seed(1))


def after_a_round(
    network: Transformer, objective: SubnetworkSteps, window: torch.Tensor
) -> dict[str, torch.Tensor]:
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    objective.training_loss(network, window).backward()
    optimizer.step()
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def test_one_worker_is_plain_descent(network: Transformer) -> None:
    window, start = windows(8), {name: each.clone() for name, each in network.state_dict().items()}
    found = after_a_round(network, SubnetworkSteps(n_workers=1, local_steps=4, rate=RATE), window)
    network.load_state_dict(start)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    for share in window.view(4, 2, 7):
        optimizer.zero_grad()
        mean_loss(network, share).backward()
        optimizer.step()
    for name, weight in network.named_parameters():
        torch.testing.assert_close(found[name], weight.detach(), rtol=1e-4, atol=1e-6)


def silenced(mask: torch.Tensor) -> Callable[[torch.nn.Module, tuple[torch.Tensor]], tuple[torch.Tensor]]:
    return lambda module, given: (given[0] * mask,)


def test_two_workers_are_masks_on_the_hidden_units(network: Transformer) -> None:
    """Against the whole network with the other worker's units silenced by hooks."""
    window, before = windows(4), {name: each.detach().clone() for name, each in network.named_parameters()}
    draws = torch.Generator().manual_seed(int(window.sum()))
    deals = [torch.randperm(12, generator=draws).view(2, -1) for _ in network.blocks]
    gradients = []
    for worker, share in enumerate(window.view(2, 2, 7)):
        hooks = []
        for block, deal in zip(network.blocks, deals, strict=True):
            mask = torch.zeros(12)
            mask[deal[worker]] = 2.0
            hooks.append(block.feed_forward.project.register_forward_pre_hook(silenced(mask)))
        loss = torch.nn.functional.cross_entropy(network(share[:, :-1]).flatten(0, 1), share[:, 1:].flatten())
        gradients.append(torch.autograd.grad(loss, list(network.parameters())))
        for hook in hooks:
            hook.remove()
    found = after_a_round(network, SubnetworkSteps(n_workers=2, local_steps=1, rate=RATE), window)
    for name, first, second in zip(before, *gradients, strict=True):
        # An owner's units take its own step; what all share, the mean one; the sum is over twice the weights.
        divisor = 1 if ".feed_forward.expand." in name else 2
        expected = before[name] - RATE * (first + second) / divisor
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_dealt_is_refused(network: Transformer) -> None:
    with pytest.raises(InputError, match="n_workers is 0"):
        SubnetworkSteps(n_workers=0, local_steps=1, rate=RATE)
    with pytest.raises(InputError, match="no multiple of 2 workers x 2 steps"):
        SubnetworkSteps(n_workers=2, local_steps=2, rate=RATE).training_loss(network, windows(6))
    with pytest.raises(InputError, match="12 hidden units are no multiple of 5 workers"):
        SubnetworkSteps(n_workers=5, local_steps=1, rate=RATE).training_loss(network, windows(5))


def test_words_have_the_entropy_that_is_said() -> None:
    text = WordChain(n_tokens=400_000)
    words = text.tokens("train").reshape(text.N_CHAINS, -1).astype(np.int64)
    pairs = np.zeros((text.N_WORDS, text.N_WORDS))
    np.add.at(pairs, (words[:, :-1].ravel(), words[:, 1:].ravel()), 1)
    shares = pairs / pairs.sum(axis=1, keepdims=True)
    entropy = -(pairs * np.log(np.where(shares > 0, shares, 1.0))).sum() / pairs.sum()
    assert entropy == pytest.approx(text.entropy_nats, abs=0.01)
    assert (text.tokens("train") == WordChain(n_tokens=400_000).tokens("train")).all()


def test_equal_compute() -> None:
    whole = PieceRun(workers=1, local_steps=1, part=1, seed=1).rounds(1000)
    for run in planned(FULL):
        spent = run.rounds(1000) * run.local_steps * flops_per_token(max(run.workers, run.part))
        assert spent == pytest.approx(whole * flops_per_token(1), rel=0.02)


def test_pieces_are_trained_by_class_path(tmp_path: Path) -> None:
    few = NetworkScale(workers=(2,), local_steps=(2,), seeds=1, steps=12)
    data = train_pieces(few, tmp_path / "pieces", "made")
    assert [run.name for run in data.runs] == ["n1-j1-part1-s1", "n1-j1-part2-s1", "n2-j2-part1-s1"]
    assert (data.excess > 0).all() and (data.excess < np.log(32)).all()


def world(loss: Callable[[PieceRun], float]) -> PieceRuns:
    random, runs = np.random.default_rng(0), tuple(planned(FULL))
    noise = np.exp(0.02 * random.normal(size=len(runs)))
    return PieceRuns(runs=runs, excess=np.array([loss(run) for run in runs]) * noise, scale="made", steps=100)


def verdict(slug: str, simulation: SubnetworkSimulation, data: PieceRuns | str) -> str:
    return CLAIMS[slug].finding(replace(simulation, network=data), LAWS).verdict


def test_claims_of_pieces(simulation: SubnetworkSimulation) -> None:
    dear = world(lambda run: 0.1 * run.workers**0.5 * run.local_steps**0.2 * run.part)
    cheap = world(lambda run: 0.1 * run.workers**-0.5 * run.local_steps**-0.2 * run.part**-1.5)
    for slug in ("more-workers-cost-more", "rarer-averages-cost-more", "pieces-are-worth-more-than-one"):
        assert verdict(slug, simulation, dear) == "confirmed"
        assert verdict(slug, simulation, cheap) == "contradicted"
        assert verdict(slug, simulation, "none") == "not measured"
    assert len(pieces_table(replace(simulation, network=dear)).rows) == 1 + 3 + 9
    assert "scale made: 39 trainings of a network, 3 seeds" in extent(replace(simulation, network=dear))
    assert extent(replace(simulation, network="none")).endswith("of the network: none.")
    labels = draw_pieces(dear).axes[0].get_legend_handles_labels()[1]
    assert labels == ["1 local step", "4 local steps", "16 local steps", "one worker's part alone"]
