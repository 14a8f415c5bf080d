"""A network of one's own for `scaling-laws fit` and for sweeps: a decoder as it is built since Llama.

Rotary positions (Su et al. 2021), RMSNorm (Zhang and Sennrich 2019), SwiGLU (Shazeer 2020), no biases, and,
where asked for, keys and values that groups of heads share (Ainslie et al. 2023).

    scaling-laws fit --config configs/train/modern_decoder.yaml
    scaling-laws study configs/sweeps/own_network.yaml

Copy this file to begin with: everything that the project asks of a network is in the class `ModernDecoder`.

Shapes: B sequences, T tokens, V vocabulary, d = d_model, H heads of width w = d / H, K heads of keys and
values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from scaling_laws.models.attention import causal_attention
from scaling_laws.models.parametrization import ScaledShape
from scaling_laws.study.errors import InputError


class ModernDecoder(nn.Module):
    """Maps token ids (B, T) to logits (B, T, V), T <= n_ctx; position t sees tokens 0..t only.

    Args:
        n_vocab, n_ctx: given by the corpus and by data.n_ctx.
        n_layer: blocks.
        d_model: width of the residual stream.
        n_heads: heads of queries; their width is even, for rotations turn pairs.
        n_kv_heads: heads of keys and values, a divisor of n_heads; None means n_heads, 1 is multi-query.
        d_ff: width of the feed-forward layer; None means 8/3 d_model, rounded up to a multiple of 8. Its
            three matrices then have as many weights as the usual two of width 4 d_model.
        tied: whether the head shares the token embedding's matrix.
        rotary_base: wavelengths of the rotations run from 2 pi to 2 pi rotary_base tokens.

    Raises:
        InputError: the shape is impossible, or (in `forward`) T exceeds n_ctx.
    """

    family = "modern_decoder"
    cosine: Tensor
    sine: Tensor

    def __init__(
        self,
        n_vocab: int,
        n_ctx: int,
        n_layer: int,
        d_model: int,
        n_heads: int = 1,
        n_kv_heads: int | None = None,
        d_ff: int | None = None,
        tied: bool = True,
        rotary_base: float = 10_000.0,
    ) -> None:
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        d_ff = 8 * math.ceil(d_model / 3) if d_ff is None else d_ff
        sizes = dict(n_layer=n_layer, d_model=d_model, n_heads=n_heads, n_kv_heads=n_kv_heads, d_ff=d_ff)
        if wrong := [name for name, size in sizes.items() if size <= 0]:
            raise InputError(f"modern_decoder: {wrong[0]} is {sizes[wrong[0]]}; it must be positive")
        if d_model % (2 * n_heads):
            raise InputError(f"modern_decoder: d_model = {d_model} gives {n_heads} heads no even width")
        if n_heads % n_kv_heads:
            raise InputError(f"modern_decoder: n_kv_heads = {n_kv_heads} does not divide n_heads = {n_heads}")
        self.n_ctx = n_ctx
        self.token_embedding = nn.Embedding(n_vocab, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads, n_kv_heads, d_ff) for _ in range(n_layer))
        self.norm = RMSNorm(d_model)
        self.head = nn.Linear(d_model, n_vocab, bias=False)
        if tied:
            self.head.weight = self.token_embedding.weight
        # Recomputed from the constructor's arguments, and so no part of a checkpoint.
        rotation = rotation_angles(n_ctx, d_model // n_heads, rotary_base)
        self.register_buffer("cosine", rotation.cos(), persistent=False)
        self.register_buffer("sine", rotation.sin(), persistent=False)
        self.logit_scale = 1.0
        initialise(self)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.before_head(tokens))  # (B, T, V)
        return logits

    def before_head(self, tokens: Tensor) -> Tensor:
        """What the head multiplies, (B, T, d). Not asked for; with it the loss need not keep the logits."""
        n_tokens = tokens.shape[1]
        if n_tokens > self.n_ctx:
            raise InputError(f"modern_decoder: {n_tokens} tokens do not fit into n_ctx = {self.n_ctx}")
        x = self.token_embedding(tokens)  # (B, T, d)
        for block in self.blocks:
            x = block(x, self.cosine[:n_tokens], self.sine[:n_tokens])
        normed: Tensor = self.norm(x)
        return normed * self.logit_scale

    def scaled_shape(self) -> ScaledShape:
        """Not asked for: with it and `scale` the network can be parametrised by muP and CompleteP."""
        attention = self.blocks[0].attention
        width = self.token_embedding.embedding_dim
        return ScaledShape(width, len(self.blocks), width // attention.n_heads)

    @torch.no_grad()
    def scale(self, *, embedding: float, query: float, branch: float, logits: float) -> None:
        """Multiply the initial embedding and untied head, and from now on queries, branches and logits."""
        for weight in {self.token_embedding.weight, self.head.weight}:
            weight.mul_(embedding)
        self.logit_scale = logits
        for block in self.blocks:
            block.branch_scale, block.attention.query_scale = branch, query

    def parameters_by_group(self) -> dict[str, int]:
        """Trainable parameters; N leaves out `token_embedding` and `head`, the other groups are yours."""
        tied = self.head.weight is self.token_embedding.weight
        return {
            "token_embedding": self.token_embedding.weight.numel(),
            "attention": self._count(RotaryAttention),
            "feed_forward": self._count(SwiGLU),
            "norm": self._count(RMSNorm),
            "head": 0 if tied else self.head.weight.numel(),
        }

    def flops_per_token(self) -> dict[str, float]:
        """Forward FLOPs per token, a multiply-add as two, in rows that N and C by every convention know.

        Each weight of a matrix product costs 2. Scores and values cost 2 + 2 per pair of positions and
        channel; causality halves the pairs. Norms, rotations and nonlinearities are dropped, as in Kaplan's
        Table 1.
        """
        d_model = self.token_embedding.embedding_dim
        return {
            "attention": 2.0 * self._count(RotaryAttention),
            "attention_mask": 2.0 * len(self.blocks) * self.n_ctx * d_model,
            "feed_forward": 2.0 * self._count(SwiGLU),
            "de_embed": 2.0 * self.head.weight.numel(),
        }

    def _count(self, kind: type[nn.Module]) -> int:
        """Weights in all modules of a kind."""
        modules = (module for module in self.modules() if isinstance(module, kind))
        return sum(weight.numel() for module in modules for weight in module.parameters())


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)); (B, T, d) to (B, T, d)."""

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int, d_ff: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(d_model)
        self.attention = RotaryAttention(d_model, n_heads, n_kv_heads)
        self.feed_forward_norm = RMSNorm(d_model)
        self.feed_forward = SwiGLU(d_model, d_ff)
        self.branch_scale = 1.0

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        x = x + self.branch_scale * self.attention(self.attention_norm(x), cosine, sine)
        x = x + self.branch_scale * self.feed_forward(self.feed_forward_norm(x))
        return x


class RotaryAttention(nn.Module):
    """Causal attention whose queries and keys are turned by angles that grow with their position."""

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads
        kv_width = d_model // n_heads * n_kv_heads
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, kv_width, bias=False)
        self.value = nn.Linear(d_model, kv_width, bias=False)
        self.project = nn.Linear(d_model, d_model, bias=False)
        self.query_scale = 1.0

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        n_batch, n_tokens, d_model = x.shape
        query = self.query(x).view(n_batch, n_tokens, self.n_heads, -1).transpose(1, 2)  # (B, H, T, w)
        key = self.key(x).view(n_batch, n_tokens, self.n_kv_heads, -1).transpose(1, 2)  # (B, K, T, w)
        value = self.value(x).view(n_batch, n_tokens, self.n_kv_heads, -1).transpose(1, 2)
        query, key = rotate(query * self.query_scale, cosine, sine), rotate(key, cosine, sine)
        if self.n_kv_heads != self.n_heads:
            key, value = (part.repeat_interleave(self.n_heads // self.n_kv_heads, 1) for part in (key, value))
        mixed = causal_attention(query, key, value)
        projected: Tensor = self.project(mixed.transpose(1, 2).reshape(n_batch, n_tokens, d_model))
        return projected


class SwiGLU(nn.Module):
    """A feed-forward layer whose hidden units are gated: project(silu(gate(x)) * expand(x))."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.expand = nn.Linear(d_model, d_ff, bias=False)
        self.project = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.project(functional.silu(self.gate(x)) * self.expand(x))
        return projected


class RMSNorm(nn.Module):
    """x over its root mean square, times a weight a channel."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), self.weight, eps=1e-6)


def rotation_angles(n_ctx: int, head_width: int, base: float) -> Tensor:
    """Angle (T, w / 2) of each pair of channels at each position: t / base^(2 i / w)."""
    frequencies = base ** -(torch.arange(0, head_width, 2) / head_width)
    return torch.arange(n_ctx)[:, None] * frequencies


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn channel i together with channel i + w / 2 of (B, H, T, w), by the angle of position and pair."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1).to(x.dtype)


@torch.no_grad()
def initialise(network: ModernDecoder) -> None:
    """Set every weight as the project's Transformer does, so that a comparison is one of architectures.

    | weight                          | value                                                          |
    |---------------------------------|----------------------------------------------------------------|
    | token embedding, head           | normal, std 1 / sqrt(d_model): logits of order 1               |
    | matrices into a block           | normal, std 1 / sqrt(fan_in)                                   |
    | matrices back to the residual   | 0: every block starts as the identity                          |
    | norms                           | 1                                                              |
    """
    for name, module in network.named_modules():
        if module is network.token_embedding:
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.embedding_dim))
        elif isinstance(module, nn.Linear):
            if name.endswith(".project"):
                nn.init.zeros_(module.weight)
            else:
                nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features))
