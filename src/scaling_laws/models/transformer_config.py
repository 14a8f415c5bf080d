"""The Transformer's shape, and what follows from it: parameters, FLOPs, tensors and memory. Without torch.

Names are those of Kaplan et al. 2020, section 2.1. `n_vocab` is given by the corpus.
"""

from __future__ import annotations

from dataclasses import dataclass

from scaling_laws.models.precision import LONGEST_SQUARE, Precision, Shape
from scaling_laws.study.bounds import (
    Layers,
    PositiveCount,
    PositiveLayers,
    ShareBelowOne,
    Vocabulary,
    Width,
    check_bounds,
)
from scaling_laws.study.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """A decoder-only Transformer: pre-norm, learned positions, GELU.

    Raises:
        InputError: a size is not positive, a share is not in [0, 1), or the heads do not divide d_attn.
    """

    n_vocab: Vocabulary
    n_ctx: Width
    """Longest context, in tokens."""
    n_layer: Layers
    """Distinct blocks; 0 leaves embedding, final norm and head."""
    d_model: Width
    n_heads: PositiveCount = 1
    d_ff: Width | None = None
    """Width of the feed-forward layer; None means 4 d_model."""
    d_attn: Width | None = None
    """Total width of the attention output over all heads; None means d_model."""
    n_reuse: PositiveLayers = 1
    """How often the stack of blocks is applied: above 1 it is the recurrent Transformer of Fig. 17."""
    dropout: ShareBelowOne = 0.0
    tied: bool = True
    """Whether the head shares the token embedding's matrix."""
    bias: bool = True
    """Whether linear layers and norms carry a bias, as in GPT-2."""

    def __post_init__(self) -> None:
        check_bounds(self, what="transformer")
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

    def parameters_by_group(self) -> dict[str, int]:
        """Trainable parameters by group, biases and norms included; the groups sum to the total."""
        d_model, d_attn, d_ff = self.d_model, self.attention_width, self.feed_forward_width
        attention = d_model * 3 * d_attn + d_attn * d_model
        feed_forward = 2 * d_model * d_ff
        norm = d_model
        if self.bias:
            attention += 3 * d_attn + d_model
            feed_forward += d_ff + d_model
            norm += d_model
        return {
            "token_embedding": self.n_vocab * d_model,
            "position_embedding": self.n_ctx * d_model,
            "attention": self.n_layer * attention,
            "feed_forward": self.n_layer * feed_forward,
            "norm": (2 * self.n_layer + 1) * norm,  # two a block, one before the head
            "head": 0 if self.tied else self.n_vocab * d_model,
        }

    def flops_per_token(self) -> dict[str, float]:
        """Forward FLOPs per token by row of Kaplan 2020, Table 1; a multiply-add counts as two."""
        d_model, d_attn, d_ff = self.d_model, self.attention_width, self.feed_forward_width
        blocks = self.n_layer * self.n_reuse
        return {
            "embed": 4.0 * d_model,
            "attention_qkv": 2.0 * blocks * d_model * 3 * d_attn,
            # Scores and values cost 2 + 2 per pair of positions; causality halves the pairs.
            "attention_mask": 2.0 * blocks * self.n_ctx * d_attn,
            "attention_project": 2.0 * blocks * d_attn * d_model,
            "feed_forward": 2.0 * blocks * 2 * d_model * d_ff,
            "de_embed": 2.0 * d_model * self.n_vocab,
        }

    def tensor_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the trainable tensors."""
        d_model, d_attn, d_ff = self.d_model, self.attention_width, self.feed_forward_width
        norm: list[Shape] = [(d_model,)] * (1 + self.bias)
        block: list[Shape] = [*norm, *norm]
        for n_out, n_in in ((3 * d_attn, d_model), (d_model, d_attn), (d_ff, d_model), (d_model, d_ff)):
            block += [(n_out, n_in), (n_out,)] if self.bias else [(n_out, n_in)]
        head: list[Shape] = [] if self.tied else [(self.n_vocab, d_model)]
        embeddings: list[Shape] = [(self.n_vocab, d_model), (self.n_ctx, d_model)]
        return (*embeddings, *norm, *block * self.n_layer, *head)

    def activation_bytes(self, windows: int, precision: Precision, on_cpu: bool) -> int:
        """What autograd keeps of the forward pass besides the weights, from the token ids up to the logits.

        Attention never has a T x T matrix, with two exceptions on CPUs: torch's kernel knows no dropout, and
        the plain one takes its place; and short contexts in bfloat16 have a way of their own
        (`models/attention.py`).
        """
        stream, product = precision.stream, precision.product
        tokens = windows * self.n_ctx
        d_model, d_attn, d_ff = self.d_model, self.attention_width, self.feed_forward_width
        # A norm keeps its input (the residual stream), mean and deviation; the product behind it its own
        # input.
        norm = stream * d_model + 2 * stream + product * d_model
        if self.dropout and on_cpu:
            # The plain kernel works in float32 at least: scaled queries and keys, values; softmax, mask and
            # masked softmax, T for each query and head. Its result. Where there is one head or one window,
            # the values are no copy: they keep the queries and keys beside them, too.
            beside = 2 * d_attn if product >= 4 and 1 in (self.n_heads, windows) else 0
            squares = 3 * self.n_heads * self.n_ctx
            attention = max(4, product) * (3 * d_attn + beside + squares) + product * d_attn
        elif on_cpu and precision.bfloat16 and self.n_ctx <= LONGEST_SQUARE:
            attention = product * (4 * d_attn + self.n_heads * self.n_ctx)
        elif on_cpu and precision.bfloat16:
            # Queries, keys, values and result in float32, and the result once more.
            attention = 4 * (4 * d_attn + self.n_heads) + product * d_attn
        else:
            # Queries, keys, values, result; the logarithm of each softmax's sum.
            attention = product * 4 * d_attn + max(4, product) * self.n_heads
        feed_forward = product * 2 * d_ff  # before and after the GELU
        masks = precision.mask(on_cpu) * 2 * d_model if self.dropout else 0
        block = 2 * norm + attention + feed_forward + masks
        input_mask = precision.mask(on_cpu, of_stream=True) * d_model if self.dropout else 0
        token_ids = 8
        kept = token_ids + input_mask + self.n_layer * self.n_reuse * block + norm
        matrices = self.n_layer * d_model * (4 * d_attn + 2 * d_ff) + d_model * self.n_vocab
        return tokens * kept + precision.copies(matrices)
