"""A mixture of experts for `scaling-laws fit` and for sweeps: a token uses a few of many feed-forward layers.

Attention as in the built-in Transformer; in place of its feed-forward layer a router sends each token to the
`n_active` experts that it likes best, and adds what they say by its probabilities (Shazeer et al. 2017). A
loss of its own keeps the experts equally busy (Fedus et al. 2021, equation 4).

    scaling-laws sweep configs/sweeps/own_families.yaml

N counts all experts, and so does C = 6ND. What a token uses is `active_parameters()`, the column N_active of
a study; the FLOPs that are counted are those of the experts that are used: compare by `laws --n N_active
--c C_exact`.

Shapes: B sequences, T tokens, n = B T, V vocabulary, d = d_model, E experts, f = d_ff.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from scaling_laws.models.attention import causal_attention
from scaling_laws.study.errors import InputError


class MixtureOfExperts(nn.Module):
    """Maps token ids (B, T) to logits (B, T, V), T <= n_ctx; position t sees tokens 0..t only.

    Args:
        n_vocab, n_ctx: given by the corpus and by data.n_ctx.
        n_layer: blocks.
        d_model: width of the residual stream.
        n_heads: heads of attention.
        n_experts: feed-forward layers a block.
        n_active: how many of them a token uses.
        d_ff: width of each; None means 4 d_model.
        balance: weight of the loss that keeps experts equally busy.

    Raises:
        InputError: the shape is impossible.
    """

    family = "mixture_of_experts"

    def __init__(
        self,
        n_vocab: int,
        n_ctx: int,
        n_layer: int,
        d_model: int,
        n_heads: int = 4,
        n_experts: int = 8,
        n_active: int = 2,
        d_ff: int | None = None,
        balance: float = 0.01,
    ) -> None:
        super().__init__()
        if d_model % n_heads:
            raise InputError(f"mixture_of_experts: {n_heads} heads do not divide d_model = {d_model}")
        if not 1 <= n_active <= n_experts:
            raise InputError(f"mixture_of_experts: n_active = {n_active}; it must be 1 to {n_experts}")
        self.n_ctx, self.balance = n_ctx, balance
        self.token_embedding = nn.Embedding(n_vocab, d_model)
        self.position_embedding = nn.Embedding(n_ctx, d_model)
        self.blocks = nn.ModuleList(
            Block(d_model, n_heads, Experts(d_model, d_ff or 4 * d_model, n_experts, n_active))
            for _ in range(n_layer)
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, n_vocab, bias=False)
        self.head.weight = self.token_embedding.weight
        initialise(self)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.before_head(tokens))  # (B, T, V)
        return logits

    def before_head(self, tokens: Tensor) -> Tensor:
        """What the head multiplies, (B, T, d)."""
        x = self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed

    def auxiliary_loss(self) -> Tensor:
        """Of the last forward pass: 1 for each block where all experts are equally busy, times `balance`."""
        return self.balance * torch.stack([block.experts.imbalance for block in self._blocks()]).sum()

    def active_parameters(self) -> int:
        """N without the experts that a token does not use."""
        idle = sum(block.experts.idle_parameters() for block in self._blocks())
        counts = self.parameters_by_group()
        outside = ("token_embedding", "position_embedding", "head")
        return sum(count for group, count in counts.items() if group not in outside) - idle

    def parameters_by_group(self) -> dict[str, int]:
        """Trainable parameters; N leaves out the embeddings and the head, which is the embedding's."""
        embeddings = {
            "token_embedding": self.token_embedding.weight.numel(),
            "position_embedding": self.position_embedding.weight.numel(),
        }
        experts = sum(weight.numel() for block in self._blocks() for weight in block.experts.parameters())
        total = sum(weight.numel() for weight in self.parameters())  # a tied head is in it once
        rest = total - experts - sum(embeddings.values())
        return {**embeddings, "attention_and_norms": rest, "experts": experts, "head": 0}

    def flops_per_token(self) -> dict[str, float]:
        """Forward FLOPs a token, a multiply-add as two: of the experts those that are used."""
        d_model = self.token_embedding.embedding_dim
        n_layer = len(self.blocks)
        return {
            "attention": 2.0 * n_layer * 4 * d_model * d_model,
            "attention_mask": 2.0 * n_layer * self.n_ctx * d_model,
            "router": sum(2.0 * block.experts.router.weight.numel() for block in self._blocks()),
            "experts": sum(
                2.0 * block.experts.n_active * 2 * block.experts.expand[0].numel() for block in self._blocks()
            ),
            "de_embed": 2.0 * self.head.weight.numel(),
        }

    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]


class Block(nn.Module):
    """x + attention(norm(x)), then x + experts(norm(x)); (B, T, d) to (B, T, d)."""

    def __init__(self, d_model: int, n_heads: int, experts: Experts) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm = nn.LayerNorm(d_model)
        self.query_key_value = nn.Linear(d_model, 3 * d_model, bias=False)
        self.project = nn.Linear(d_model, d_model, bias=False)
        self.experts_norm = nn.LayerNorm(d_model)
        self.experts = experts

    def forward(self, x: Tensor) -> Tensor:
        n_batch, n_tokens, d_model = x.shape
        heads = self.query_key_value(self.attention_norm(x)).view(n_batch, n_tokens, 3, self.n_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = causal_attention(query, key, value).transpose(1, 2).reshape(n_batch, n_tokens, d_model)
        x = x + self.project(mixed)
        normed = self.experts_norm(x).flatten(0, 1)  # (n, d)
        mixture: Tensor = self.experts(normed)
        return x + mixture.view_as(x)


class Experts(nn.Module):
    """Feed-forward layers of which each token uses those that its router likes best; (n, d) to (n, d).

    Attributes:
        imbalance: of the last forward pass: E times the sum over experts of the share of tokens that use one
            and the mean probability of using it; 1 where all are equally busy.
    """

    def __init__(self, d_model: int, d_ff: int, n_experts: int, n_active: int) -> None:
        super().__init__()
        self.n_experts, self.n_active = n_experts, n_active
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.expand = nn.Parameter(torch.empty(n_experts, d_ff, d_model))
        self.project = nn.Parameter(torch.zeros(n_experts, d_model, d_ff))
        self.imbalance = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        probabilities = self.router(x).softmax(-1)  # (n, E)
        weights, chosen = probabilities.topk(self.n_active)  # (n, k)
        used = torch.zeros_like(probabilities).scatter(1, chosen, 1.0)
        self.imbalance = (used.mean(0) / self.n_active * probabilities.mean(0)).sum() * self.n_experts
        weights = weights / weights.sum(-1, keepdim=True)
        mixture = torch.zeros_like(x)
        for expert in range(self.n_experts):
            rows, place = (chosen == expert).nonzero(as_tuple=True)
            hidden = functional.gelu(x[rows] @ self.expand[expert].t())
            said = (hidden @ self.project[expert].t()) * weights[rows, place, None]
            mixture = mixture.index_add(0, rows, said.to(mixture.dtype))
        return mixture

    def idle_parameters(self) -> int:
        """Of the experts that a token does not use."""
        return (self.n_experts - self.n_active) * (self.expand[0].numel() + self.project[0].numel())


@torch.no_grad()
def initialise(network: MixtureOfExperts) -> None:
    """As the project's Transformer: std 1 / sqrt(fan_in), 0 for matrices back to the residual stream."""
    d_model = network.token_embedding.embedding_dim
    nn.init.normal_(network.token_embedding.weight, std=1 / math.sqrt(d_model))
    nn.init.normal_(network.position_embedding.weight, std=0.02)
    for block in network._blocks():
        nn.init.normal_(block.query_key_value.weight, std=1 / math.sqrt(d_model))
        nn.init.zeros_(block.project.weight)
        nn.init.normal_(block.experts.router.weight, std=1 / math.sqrt(d_model))
        nn.init.normal_(block.experts.expand, std=1 / math.sqrt(d_model))
