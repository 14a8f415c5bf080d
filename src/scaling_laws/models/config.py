"""Shapes of the networks, as plain values. Standard library only: the planner reads them without torch.

The names are those of Kaplan et al. 2020, section 2.1. `n_vocab` is given by the corpus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scaling_laws.study.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """A decoder-only Transformer: pre-norm, learned positions, GELU.

    Raises:
        InputError: a size is not positive, a share is not in [0, 1), or the heads do not divide d_attn.
    """

    n_vocab: int
    n_ctx: int
    """Longest context, in tokens."""
    n_layer: int
    """Distinct blocks; 0 leaves embedding, final norm and head."""
    d_model: int
    n_heads: int = 1
    d_ff: int | None = None
    """Width of the feed-forward layer; None means 4 d_model."""
    d_attn: int | None = None
    """Total width of the attention output over all heads; None means d_model."""
    n_reuse: int = 1
    """How often the stack of blocks is applied: above 1 it is the recurrent Transformer of Fig. 17."""
    dropout: float = 0.0
    tied: bool = True
    """Whether the head shares the token embedding's matrix."""
    bias: bool = True
    """Whether linear layers and norms carry a bias, as in GPT-2."""

    def __post_init__(self) -> None:
        _require_positive("transformer", n_vocab=self.n_vocab, n_ctx=self.n_ctx, d_model=self.d_model)
        _require_positive("transformer", n_heads=self.n_heads, n_reuse=self.n_reuse)
        _require_positive("transformer", d_ff=self.feed_forward_width, d_attn=self.attention_width)
        if self.n_layer < 0:
            raise InputError(f"transformer: n_layer is {self.n_layer}; it must be 0 or more")
        if not 0 <= self.dropout < 1:
            raise InputError(f"transformer: dropout is {self.dropout}; it must lie in [0, 1)")
        if self.attention_width % self.n_heads:
            raise InputError(
                f"transformer: n_heads = {self.n_heads} does not divide d_attn = {self.attention_width}"
            )

    @property
    def family(self) -> str:
        """`transformer`, or where blocks are reused `recurrent_transformer`: it follows a law of its own."""
        return "transformer" if self.n_reuse == 1 else "recurrent_transformer"

    @property
    def feed_forward_width(self) -> int:
        """d_ff with its default filled in."""
        return 4 * self.d_model if self.d_ff is None else self.d_ff

    @property
    def attention_width(self) -> int:
        """d_attn with its default filled in."""
        return self.d_model if self.d_attn is None else self.d_attn


@dataclass(frozen=True, kw_only=True)
class LSTMConfig:
    """Stacked LSTM layers of equal width between a token embedding and a head.

    Raises:
        InputError: a size is not positive, or the dropout is not in [0, 1).
    """

    family: ClassVar[str] = "lstm"

    n_vocab: int
    n_ctx: int
    """Length of the training windows, in tokens; the state is zero at the start of each."""
    n_layer: int
    d_model: int
    dropout: float = 0.0
    tied: bool = True
    """Whether the head shares the token embedding's matrix."""

    def __post_init__(self) -> None:
        _require_positive("lstm", n_vocab=self.n_vocab, n_ctx=self.n_ctx)
        _require_positive("lstm", n_layer=self.n_layer, d_model=self.d_model)
        if not 0 <= self.dropout < 1:
            raise InputError(f"lstm: dropout is {self.dropout}; it must lie in [0, 1)")


NetworkConfig = TransformerConfig | LSTMConfig


def _require_positive(family: str, **sizes: int) -> None:
    for name, value in sizes.items():
        if value <= 0:
            raise InputError(f"{family}: {name} is {value}; it must be positive")
