"""A decoder-only Transformer, as in Kaplan et al. 2020: learned positions, LayerNorm, GELU, tied head.

Shapes: B sequences, T tokens, V vocabulary, d = d_model, a = d_attn, H heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from scaling_laws.models.attention import causal_attention
from scaling_laws.models.parametrization import ScaledShape
from scaling_laws.models.transformer_config import TransformerConfig
from scaling_laws.study.errors import InputError


class Transformer(nn.Module):
    """Maps token ids (B, T) to logits (B, T, V), T <= n_ctx; position t sees tokens 0..t only.

    The arguments are those of `TransformerConfig`, which says what each means.

    Raises:
        InputError: the shape is impossible, or (in `forward`) T exceeds n_ctx.
    """

    def __init__(
        self,
        n_vocab: int,
        n_ctx: int,
        n_layer: int,
        d_model: int,
        n_heads: int = 1,
        d_ff: int | None = None,
        d_attn: int | None = None,
        n_reuse: int = 1,
        dropout: float = 0.0,
        tied: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.config = config = TransformerConfig(
            n_vocab=n_vocab,
            n_ctx=n_ctx,
            n_layer=n_layer,
            d_model=d_model,
            n_heads=n_heads,
            d_ff=d_ff,
            d_attn=d_attn,
            n_reuse=n_reuse,
            dropout=dropout,
            tied=tied,
            bias=bias,
        )
        self.family = config.family
        self.token_embedding = nn.Embedding(n_vocab, d_model)
        self.position_embedding = nn.Embedding(n_ctx, d_model)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(n_layer))
        self.norm = nn.LayerNorm(d_model, bias=bias)
        self.head = nn.Linear(d_model, n_vocab, bias=False)
        if tied:
            self.head.weight = self.token_embedding.weight
        self.logit_scale = 1.0
        initialise(self)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.before_head(tokens))  # (B, T, V)
        return logits

    def before_head(self, tokens: Tensor) -> Tensor:
        """What the head multiplies, (B, T, d), of token ids (B, T)."""
        n_tokens = tokens.shape[1]
        if n_tokens > self.config.n_ctx:
            raise InputError(f"transformer: {n_tokens} tokens do not fit into n_ctx = {self.config.n_ctx}")
        x = self.token_embedding(tokens) + self.position_embedding.weight[:n_tokens]  # (B, T, d)
        x = self.dropout(x)
        for _ in range(self.config.n_reuse):
            for block in self.blocks:
                x = block(x)
        normed: Tensor = self.norm(x)
        return normed if self.logit_scale == 1.0 else normed * self.logit_scale

    def scaled_shape(self) -> ScaledShape:
        """What parametrisations are about."""
        config = self.config
        return ScaledShape(config.d_model, config.n_layer, config.attention_width // config.n_heads)

    @torch.no_grad()
    def scale(self, *, embedding: float, query: float, branch: float, logits: float) -> None:
        """Multiply the initial embedding and untied head, and from now on queries, branches and logits."""
        for weight in {self.token_embedding.weight, self.head.weight}:
            weight.mul_(embedding)
        self.logit_scale = logits
        for block in self.blocks:
            assert isinstance(block, Block)
            block.branch_scale, block.attention.query_scale = branch, query

    def parameters_by_group(self) -> dict[str, int]:
        """Trainable parameters by group."""
        return self.config.parameters_by_group()

    def flops_per_token(self) -> dict[str, float]:
        """Forward FLOPs per token by row of Table 1."""
        return self.config.flops_per_token()


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)); (B, T, d) to (B, T, d)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.d_model, bias=config.bias)
        self.attention = CausalSelfAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.d_model, bias=config.bias)
        self.feed_forward = FeedForward(config)
        self.branch_scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._scaled(self.attention(self.attention_norm(x)))
        x = x + self._scaled(self.feed_forward(self.feed_forward_norm(x)))
        return x

    def _scaled(self, branch: Tensor) -> Tensor:
        return branch if self.branch_scale == 1.0 else branch * self.branch_scale


class CausalSelfAttention(nn.Module):
    """Multi-head attention over the tokens up to one's own; (B, T, d) to (B, T, d)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.dropout = config.dropout
        self.query_key_value = nn.Linear(config.d_model, 3 * config.attention_width, bias=config.bias)
        self.project = nn.Linear(config.attention_width, config.d_model, bias=config.bias)
        self.output_dropout = nn.Dropout(config.dropout)
        self.query_scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        n_batch, n_tokens, _ = x.shape
        heads = self.query_key_value(x).view(n_batch, n_tokens, 3, self.n_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, H, T, a / H)
        if self.query_scale != 1.0:
            query = query * self.query_scale
        dropout = self.dropout if self.training else 0.0
        mixed = causal_attention(query, key, value, dropout)
        mixed = mixed.transpose(1, 2).reshape(n_batch, n_tokens, -1)  # (B, T, a)
        projected: Tensor = self.output_dropout(self.project(mixed))
        return projected


class FeedForward(nn.Module):
    """Two linear layers around a GELU; (B, T, d) to (B, T, d)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.d_model, config.feed_forward_width, bias=config.bias)
        self.project = nn.Linear(config.feed_forward_width, config.d_model, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.dropout(self.project(functional.gelu(self.expand(x))))
        return projected


@torch.no_grad()
def initialise(network: Transformer) -> None:
    """Set every weight; the paper does not state its initialisation.

    | weight                          | value                                          |
    |---------------------------------|------------------------------------------------|
    | token embedding                 | normal, std 1 / sqrt(d_model): the tied head   |
    |                                 | then starts with logits of order 1             |
    | position embedding              | normal, std 0.02 (GPT-2)                       |
    | head, untied                    | normal, std 1 / sqrt(d_model)                  |
    | matrices into a block           | normal, std 1 / sqrt(fan_in)                   |
    | matrices back to the residual   | 0: every block starts as the identity          |
    | biases                          | 0                                              |
    | norms                           | weight 1, bias 0                               |

    GPT-2's fixed std of 0.02 is 1 / sqrt(2500): at our widths it starts the embedding far too small.
    Both this and the zeros were chosen by trial (docs/log.md, 2026-11-21).
    """
    for name, module in network.named_modules():
        if module is network.position_embedding:
            nn.init.normal_(module.weight, std=0.02)
        elif module is network.token_embedding or module is network.head:
            nn.init.normal_(module.weight, std=1 / math.sqrt(network.config.d_model))
        elif isinstance(module, nn.Linear):
            if name.endswith(".project"):
                nn.init.zeros_(module.weight)
            else:
                nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
