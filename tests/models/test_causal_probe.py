"""A position must not see later tokens: what is probed, and what the probe leaves as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from examples.gated_recurrence import GatedRecurrence, remembered
from examples.mixture_of_experts import MixtureOfExperts
from examples.modern_decoder import ModernDecoder
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from scaling_laws.models.lstm import LSTM
from scaling_laws.models.network import require_accounting, require_causal
from scaling_laws.models.transformer import Transformer
from scaling_laws.study.conventions import flops_doubt, parameter_counts
from scaling_laws.study.errors import InputError

N_VOCAB, N_CTX = 31, 12
NETWORKS: list[tuple[type[Any], dict[str, Any]]] = [
    (Transformer, {"n_layer": 2, "d_model": 8, "n_heads": 2, "dropout": 0.3}),
    (LSTM, {"n_layer": 2, "d_model": 8}),
    (ModernDecoder, {"n_layer": 1, "d_model": 8}),
    (MixtureOfExperts, {"n_layer": 2, "d_model": 8, "n_experts": 4}),
    (GatedRecurrence, {"n_layer": 2, "d_model": 8}),
]
EXAMPLES = NETWORKS[2:]


class Bidirectional(nn.Module):
    """A GRU that reads from both ends, as one that trained to 0.48 nats."""

    def __init__(self, both: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(N_VOCAB, 8)
        self.recurrent = nn.GRU(8, 8, batch_first=True, bidirectional=both)
        self.head = nn.Linear(16 if both else 8, N_VOCAB)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.recurrent(self.embedding(tokens))[0])
        return logits


class Hidden(nn.Module):
    """Looks one token ahead through a matrix that starts at zero."""

    def __init__(self, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.embedding = nn.Embedding(N_VOCAB, 8)
        self.project = nn.Linear(8, N_VOCAB, bias=False)
        nn.init.zeros_(self.project.weight)
        self.head = nn.Linear(8, N_VOCAB)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        shifted = torch.roll(x, -self.ahead, dims=1)
        logits: Tensor = self.head(x) + self.project(shifted)
        return logits


@pytest.mark.parametrize(("kind", "shape"), NETWORKS, ids=lambda each: getattr(each, "__name__", ""))
def test_causal_networks_pass_and_are_as_they_were(kind: type[Any], shape: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = kind(n_vocab=N_VOCAB, n_ctx=N_CTX, **shape)
    before, generator = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    require_causal(network, N_VOCAB, N_CTX)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert network.training and all(module.training for module in network.modules())


@pytest.mark.parametrize("network", [Bidirectional(), Hidden(1), Hidden(3)], ids=["gru", "one", "three"])
def test_what_sees_later_tokens_is_refused(network: nn.Module) -> None:
    with pytest.raises(InputError, match=r"sees later tokens.*position t must see tokens 0 to t only"):
        require_causal(network, N_VOCAB, N_CTX)
    require_causal(Bidirectional(both=False), N_VOCAB, N_CTX)


# --- the examples ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "shape"), EXAMPLES, ids=lambda each: getattr(each, "__name__", ""))
def test_an_example_counts_itself(kind: type[Any], shape: dict[str, Any]) -> None:
    """Its FLOPs are those that torch counts, which knows nothing of its attention on a CPU."""
    network = kind(n_vocab=N_VOCAB, n_ctx=N_CTX, **shape)
    require_accounting(network)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(3, N_CTX, dtype=torch.int64))
    rows = network.flops_per_token()
    counted = sum(rows.values()) - rows.get("attention_mask", 0.0)
    assert counter.get_total_flops() / (3 * N_CTX) == pytest.approx(counted)


def test_a_memory_is_its_recurrence() -> None:
    gate, candidate = torch.randn(2, 2, 9, 5, dtype=torch.float64)
    z, c = gate.sigmoid(), candidate.exp()
    memory = torch.zeros(2, 5, dtype=torch.float64)
    for t in range(9):
        memory = (1 - z[:, t]) * memory + z[:, t] * c[:, t]
        torch.testing.assert_close(remembered(gate, candidate)[:, t], memory)


def test_a_mixture_of_one_is_its_expert_and_idle_experts_are_not_active() -> None:
    torch.manual_seed(0)
    network = MixtureOfExperts(N_VOCAB, N_CTX, n_layer=2, d_model=8, n_experts=4, n_active=1)
    experts = network._blocks()[0].experts
    nn.init.normal_(experts.project)
    x = torch.randn(7, 8)
    chosen = experts.router(x).argmax(-1)
    for row, expert in enumerate(chosen.tolist()):
        hidden = nn.functional.gelu(x[row] @ experts.expand[expert].t())
        torch.testing.assert_close(experts(x)[row], hidden @ experts.project[expert].t())
    N = parameter_counts(network.parameters_by_group(), network.flops_per_token())["N"]
    one = experts.expand[0].numel() + experts.project[0].numel()
    assert network.active_parameters() == N - 2 * 3 * one
    assert network.auxiliary_loss().item() > 0


def test_six_n_is_doubted_where_experts_are_idle() -> None:
    counts = {
        n: (network.parameters_by_group(), network.flops_per_token())
        for n in (2, 8)
        for network in [MixtureOfExperts(N_VOCAB, N_CTX, n_layer=1, d_model=32, n_experts=n)]
    }
    assert flops_doubt("experts", *counts[2]) == ""
    assert "6 N is" in flops_doubt("experts", *counts[8]) and "--n N_active" in flops_doubt("e", *counts[8])
