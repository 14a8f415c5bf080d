"""Bytes that training needs on one device, by item, from the configuration alone. Standard library only.

Nothing is measured: the planner fills a column with it before anything is trained. The tests hold every item
equal to the tensors that torch keeps.

Shapes: B windows of T = n_ctx tokens (one micro-batch on one device), V vocabulary. An activation costs 4
bytes in full precision. Autocast (`bf16-mixed`) halves what goes into and comes out of matrix products;
`bf16-true` halves nearly everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scaling_laws.models.config import LSTMConfig, NetworkConfig, TransformerConfig

Optimizer = Literal["adamw", "adafactor"]
Shape = tuple[int, ...]

PRECISIONS: dict[str, tuple[int, int]] = {
    "32-true": (4, 4),
    "bf16-mixed": (4, 2),
    "16-mixed": (4, 2),
    "bf16-true": (2, 2),
    "16-true": (2, 2),
    "64-true": (8, 8),
}
"""Lightning's `precision` -> bytes of a weight (and of the residual stream), bytes of a matrix product."""
CHUNK_BYTES = {"cpu": 4 * 2**20, "cuda": 256 * 2**20}
"""Of logits in float32, of which the loss makes no more at a time (`training/loss.py`): what a core's share
of the cache holds; or enough to keep a GPU busy."""
LONGEST_SQUARE = 256
"""Tokens up to which attention in bfloat16 on a CPU keeps T x T probabilities (`models/attention.py`)."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device, where weights, gradients and optimiser are not sharded.

    Attributes:
        weights: the trainable parameters.
        gradients: as many.
        optimizer: the optimiser's moments and step counters.
        activations: what the forward pass of the network keeps for the backward pass; None where a user's own
            network does not let itself be counted.
        loss: a chunk of logits and their powers, and the gradients that the loss makes on the way; of a
            network that does not show its head the log-probabilities, and in the backward pass two gradients
            of their size.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int | None
    loss: int

    @property
    def total(self) -> int:
        """The sum of what is known.

        The peak lies below it by as much of the gradients as is made only after activations have been freed;
        the allocator's fragments and the libraries' workspaces come on top.
        """
        return self.weights + self.gradients + self.optimizer + (self.activations or 0) + self.loss


def training_memory(
    config: NetworkConfig,
    *,
    windows: int,
    precision: str = "32-true",
    optimizer: Optimizer = "adamw",
    on_cpu: bool = True,
) -> Memory:
    """What a built-in network needs.

    Args:
        windows: B of one micro-batch on one device.
        precision: one of `PRECISIONS`.
        on_cpu: whether torch's CPU kernels do the work; `activation_bytes` says what differs.
    """
    return memory_of(
        parameter_shapes(config),
        activations=activation_bytes(config, windows=windows, precision=precision, on_cpu=on_cpu),
        loss=loss_bytes(
            windows * config.n_ctx, config.n_vocab, d_head=config.d_model, precision=precision, on_cpu=on_cpu
        ),
        precision=precision,
        optimizer=optimizer,
    )


def memory_of(
    shapes: Sequence[Shape],
    *,
    activations: int | None,
    loss: int,
    precision: str,
    optimizer: Optimizer,
) -> Memory:
    """The items of any network.

    Args:
        shapes: of its trainable tensors.
        activations, loss: bytes, counted elsewhere.
    """
    weight_bytes, _ = PRECISIONS[precision]
    weights = weight_bytes * sum(math.prod(shape) for shape in shapes)
    return Memory(
        weights=weights,
        gradients=weights,
        optimizer=sum(_optimizer_bytes(shape, weight_bytes, optimizer) for shape in shapes),
        activations=activations,
        loss=loss,
    )


def loss_bytes(rows: int, n_vocab: int, *, d_head: int | None, precision: str, on_cpu: bool) -> int:
    """Of the cross-entropy (`training/loss.py`).

    Of a network that shows its head: products and powers of a chunk of rows, the gradients of all rows and of
    the head. Of another one, and in float16: float32 (float64 where the network's is) log-probabilities of
    all rows, and in the backward pass the incoming gradient and the outgoing one beside them.

    Args:
        rows: B T.
        d_head: width of what the head multiplies; None where the network does not show it.
    """
    weight_bytes, product = PRECISIONS[precision]
    summed = max(4, weight_bytes)
    if d_head is None or precision.startswith("16"):
        return 3 * summed * rows * n_vocab
    chunk = min(max(1, CHUNK_BYTES["cpu" if on_cpu else "cuda"] // (4 * n_vocab)), rows)
    space = summed if product == summed else summed + product
    return chunk * n_vocab * space + summed * d_head * (rows + n_vocab)


def parameter_shapes(config: NetworkConfig) -> tuple[Shape, ...]:
    """Shapes of the trainable tensors of a built-in network."""
    d_model, n_vocab = config.d_model, config.n_vocab
    shapes: list[Shape] = [(n_vocab, d_model)]
    if isinstance(config, TransformerConfig):
        d_attn, d_ff = config.attention_width, config.feed_forward_width
        bias, norm = config.bias, [(d_model,)] * (1 + config.bias)
        block: list[Shape] = [*norm, *norm]
        for n_out, n_in in ((3 * d_attn, d_model), (d_model, d_attn), (d_ff, d_model), (d_model, d_ff)):
            block += [(n_out, n_in), (n_out,)] if bias else [(n_out, n_in)]
        shapes += [(config.n_ctx, d_model), *norm, *block * config.n_layer]
    else:
        matrices_and_biases: list[Shape] = [(4 * d_model, d_model), (4 * d_model,)] * 2
        shapes += matrices_and_biases * config.n_layer
    return tuple(shapes) if config.tied else (*shapes, (n_vocab, d_model))


def activation_bytes(config: NetworkConfig, *, windows: int, precision: str, on_cpu: bool) -> int:
    """What autograd keeps of the forward pass besides the weights, from the token ids up to the logits.

    Autocast's half-precision copies of the weights are among it. Attention never has a T x T matrix, with two
    exceptions on CPUs: torch's kernel knows no dropout, and the plain one takes its place; and short contexts
    in bfloat16 have a way of their own (`models/attention.py`). A dropout keeps its mask as numbers on CPUs
    and as bytes on GPUs.

    Of an LSTM it is what oneDNN keeps on a CPU (`_onednn_workspace`, within 3 %, or 7 % below a width of 32);
    cuDNN's own reserve on a GPU is not known here and taken to be the same.
    """
    if isinstance(config, TransformerConfig):
        in_bfloat16 = on_cpu and precision.startswith("bf16")
        return _transformer_activations(config, windows, *PRECISIONS[precision], on_cpu, in_bfloat16)
    return _lstm_activations(config, windows, *PRECISIONS[precision], on_cpu)


def _transformer_activations(
    config: TransformerConfig, windows: int, stream: int, product: int, on_cpu: bool, in_bfloat16: bool
) -> int:
    """`stream`, `product`: bytes of an element of the residual stream and of a matrix product."""
    tokens = windows * config.n_ctx
    d_model, d_attn, d_ff = config.d_model, config.attention_width, config.feed_forward_width
    # A norm keeps its input (the residual stream), mean and deviation; the product behind it its own input.
    norm = stream * d_model + 2 * stream + product * d_model
    if config.dropout and on_cpu:
        # The plain kernel works in float32 at least: scaled queries and keys, values; softmax, mask and
        # masked softmax, T for each query and head. Its result. Where there is one head or one window, the
        # values are no copy: they keep the queries and keys beside them, too.
        beside = 2 * d_attn if product >= 4 and 1 in (config.n_heads, windows) else 0
        squares = 3 * config.n_heads * config.n_ctx
        attention = max(4, product) * (3 * d_attn + beside + squares) + product * d_attn
    elif in_bfloat16 and config.n_ctx <= LONGEST_SQUARE:
        attention = product * (4 * d_attn + config.n_heads * config.n_ctx)
    elif in_bfloat16:
        # Queries, keys, values and result in float32, and the result once more.
        attention = 4 * (4 * d_attn + config.n_heads) + product * d_attn
    else:
        # Queries, keys, values, result; the logarithm of each softmax's sum.
        attention = product * 4 * d_attn + max(4, product) * config.n_heads
    feed_forward = product * 2 * d_ff  # before and after the GELU
    masks = _mask_bytes(product, on_cpu) * 2 * d_model if config.dropout else 0
    block = 2 * norm + attention + feed_forward + masks
    input_mask = _mask_bytes(stream, on_cpu) * d_model if config.dropout else 0
    token_ids = 8
    kept = token_ids + input_mask + config.n_layer * config.n_reuse * block + norm
    matrices = config.n_layer * d_model * (4 * d_attn + 2 * d_ff) + d_model * config.n_vocab
    return tokens * kept + _autocast_copies(matrices, stream, product)


def _lstm_activations(config: LSTMConfig, windows: int, stream: int, product: int, on_cpu: bool) -> int:
    d_model, n_layer = config.d_model, config.n_layer
    tokens = windows * config.n_ctx
    # The first layer's input, every layer's output, and the last one's in the order that the head takes.
    kept = product * d_model * (n_layer + 2)
    if config.dropout:
        # Masks of input and output; between layers the mask and the masked output.
        kept += d_model * (_mask_bytes(stream, on_cpu) + _mask_bytes(product, on_cpu))
        kept += d_model * (n_layer - 1) * (_mask_bytes(product, on_cpu) + product)
    states = (
        4 * n_layer * product * windows * d_model
    )  # hidden and cell, before the first token and after the last
    token_ids = 8
    workspaces = n_layer * _onednn_workspace(windows, config.n_ctx, d_model, product)
    layer_weights = 4 * (2 * d_model * d_model + 2 * d_model)
    copied = n_layer * layer_weights + d_model * config.n_vocab
    return tokens * (token_ids + kept) + states + workspaces + _autocast_copies(copied, stream, product)


def _onednn_workspace(windows: int, n_ctx: int, d_model: int, product: int) -> int:
    """What oneDNN keeps of one LSTM layer: gates, states and room for their gradients.

    Found by measuring (x86-64, torch 2.13): four gates a token; eleven states a token, and one time more,
    seven of them in rows of whole cache lines that avoid multiples of 1 KiB. In half precision the gates and
    five of the states have two bytes.
    """
    gates = product * n_ctx * _row(4 * d_model, product)
    narrow, wide = (0, 7) if product >= 4 else (5, 2)
    width = max(4, product)
    states = (
        narrow * product * _row(d_model, product) + wide * width * _row(d_model, width) + 4 * width * d_model
    )
    return windows * (gates + (n_ctx + 1) * states)


def _row(n_elements: int, element_bytes: int) -> int:
    """Elements of a row of whole cache lines (64 bytes), one more where it would be a multiple of 1 KiB."""
    line = 64 // element_bytes
    padded = math.ceil(n_elements / line) * line
    return padded + line if padded * element_bytes % 1024 == 0 else padded


def _mask_bytes(element: int, on_cpu: bool) -> int:
    return element if on_cpu else 1


def _autocast_copies(n_weights: int, stream: int, product: int) -> int:
    """Autocast keeps one half-precision copy of every weight of a matrix product."""
    return product * n_weights if product < stream else 0


def _optimizer_bytes(shape: Shape, weight_bytes: int, optimizer: Optimizer) -> int:
    """Of one tensor; each has a step counter in float32, too."""
    if optimizer == "adamw":
        return 2 * weight_bytes * math.prod(shape) + 4  # mean gradient, mean squared gradient
    if len(shape) < 2:
        return weight_bytes * math.prod(shape) + 4
    # Adafactor keeps the mean square of every row and of every column (Shazeer and Stern 2018).
    *leading, n_rows, n_columns = shape
    return weight_bytes * math.prod(leading) * (n_rows + n_columns) + 4
