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

from scaling_laws.models.families import NetworkConfig
from scaling_laws.models.optimizers import optimizer_named
from scaling_laws.models.precision import PRECISIONS, Shape

CHUNK_BYTES = {"cpu": 4 * 2**20, "cuda": 256 * 2**20}
"""Of logits in float32, of which the loss makes no more at a time (`training/loss.py`): what a core's share
of the cache holds; or enough to keep a GPU busy."""


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
    optimizer: str = "adamw",
    on_cpu: bool = True,
) -> Memory:
    """What a built-in network needs.

    Args:
        windows: B of one micro-batch on one device.
        precision: one of `PRECISIONS`.
        optimizer: one of `OPTIMIZERS`.
        on_cpu: whether torch's CPU kernels do the work; each family's `activation_bytes` says what differs.
    """
    return memory_of(
        config.tensor_shapes(),
        activations=config.activation_bytes(windows, PRECISIONS[precision], on_cpu),
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
    optimizer: str,
) -> Memory:
    """The items of any network.

    Args:
        shapes: of its trainable tensors.
        activations, loss: bytes, counted elsewhere.
    """
    weight_bytes = PRECISIONS[precision].stream
    weights = weight_bytes * sum(math.prod(shape) for shape in shapes)
    state = optimizer_named(optimizer)
    return Memory(
        weights=weights,
        gradients=weights,
        optimizer=sum(state.state_bytes(shape, weight_bytes) for shape in shapes),
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
    product, summed = PRECISIONS[precision].product, max(4, PRECISIONS[precision].stream)
    if d_head is None or precision.startswith("16"):
        return 3 * summed * rows * n_vocab
    chunk = min(max(1, CHUNK_BYTES["cpu" if on_cpu else "cuda"] // (4 * n_vocab)), rows)
    space = summed if product == summed else summed + product
    return chunk * n_vocab * space + summed * d_head * (rows + n_vocab)
