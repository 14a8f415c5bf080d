"""A recurrent network without attention for `scaling-laws fit` and for sweeps, trained in parallel over time.

Each channel is a leaky memory, h_t = (1 - z_t) h_{t-1} + z_t c_t, whose gate z_t and candidate c_t are made
of the token's own input alone (Feng et al. 2024, "Were RNNs All We Needed?", the minGRU; a diagonal
state-space model whose decay depends on the input, as Mamba's). So h is a sum with weights that are products
of gates, and all positions are computed at once by a cumulative sum of logarithms.

    scaling-laws sweep configs/sweeps/own_families.yaml

Shapes: B sequences, T tokens, V vocabulary, d = d_model, w = expansion * d.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class GatedRecurrence(nn.Module):
    """Maps token ids (B, T) to logits (B, T, V) for any T; position t sees tokens 0..t only.

    Args:
        n_vocab, n_ctx: given by the corpus and by data.n_ctx.
        n_layer: blocks.
        d_model: width of the residual stream.
        expansion: channels of memory a channel of the stream.
    """

    family = "gated_recurrence"

    def __init__(self, n_vocab: int, n_ctx: int, n_layer: int, d_model: int, expansion: int = 2) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(n_vocab, d_model)
        self.blocks = nn.ModuleList(Block(d_model, expansion * d_model) for _ in range(n_layer))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, n_vocab, bias=False)
        self.head.weight = self.token_embedding.weight
        initialise(self)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.before_head(tokens))  # (B, T, V)
        return logits

    def before_head(self, tokens: Tensor) -> Tensor:
        """What the head multiplies, (B, T, d)."""
        x = self.token_embedding(tokens)
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed

    def parameters_by_group(self) -> dict[str, int]:
        """Trainable parameters; N leaves out the embedding, which the head shares."""
        embedding = self.token_embedding.weight.numel()
        total = sum(weight.numel() for weight in self.parameters())
        return {"token_embedding": embedding, "recurrence": total - embedding, "head": 0}

    def flops_per_token(self) -> dict[str, float]:
        """Forward FLOPs a token, a multiply-add as two; the scan costs a few a channel and is dropped."""
        matrices = (weight for name, weight in self.named_parameters() if name.startswith("blocks"))
        return {
            "recurrence": sum(2.0 * weight.numel() for weight in matrices if weight.ndim == 2),
            "de_embed": 2.0 * self.head.weight.numel(),
        }


class Block(nn.Module):
    """x + project(memory(norm(x)) * silu(open(norm(x)))); (B, T, d) to (B, T, d)."""

    def __init__(self, d_model: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.gate = nn.Linear(d_model, width)
        self.candidate = nn.Linear(d_model, width)
        self.open = nn.Linear(d_model, width, bias=False)
        self.project = nn.Linear(width, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        memory = remembered(self.gate(normed).float(), self.candidate(normed).float()).to(x.dtype)
        projected: Tensor = self.project(memory * functional.silu(self.open(normed)))
        return x + projected


def remembered(gate: Tensor, candidate: Tensor) -> Tensor:
    """h_t = (1 - z_t) h_{t-1} + z_t c_t from 0, with z = sigmoid(gate) and c = exp(candidate); (B, T, w).

    With a_t = log(1 - z_0) + ... + log(1 - z_t), log h_t is a_t and the logarithm of the sum over s <= t of
    exp(log z_s + log c_s - a_s). Candidates are positive, so that they have a logarithm; signs come behind.
    """
    kept = functional.logsigmoid(-gate).cumsum(1)
    written = functional.logsigmoid(gate) + candidate
    return (kept + torch.logcumsumexp(written - kept, dim=1)).exp()


@torch.no_grad()
def initialise(network: GatedRecurrence) -> None:
    """As the project's Transformer; gates begin with memories of 1 to 100 tokens, even over the logarithm.

    | weight                          | value                                          |
    |---------------------------------|------------------------------------------------|
    | token embedding                 | normal, std 1 / sqrt(d_model)                  |
    | matrices into a block           | normal, std 1 / sqrt(fan_in)                   |
    | matrix back to the residual     | 0: every block starts as the identity          |
    | bias of the gate                | -log(memory in tokens)                         |
    | bias of the candidate           | 0                                              |
    """
    d_model = network.token_embedding.embedding_dim
    nn.init.normal_(network.token_embedding.weight, std=1 / math.sqrt(d_model))
    for block in network.blocks:
        assert isinstance(block, Block)
        for layer in (block.gate, block.candidate, block.open):
            nn.init.normal_(layer.weight, std=1 / math.sqrt(d_model))
        nn.init.zeros_(block.project.weight)
        nn.init.zeros_(block.candidate.bias)
        block.gate.bias.copy_(-torch.linspace(0, math.log(100), len(block.gate.bias)))
