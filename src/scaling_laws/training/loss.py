"""Cross-entropy of the next token, in nats.

Where a network shows what it multiplies by its head (`FactoredNetwork`), the head's product is part of the
loss: the logits exist a chunk of rows at a time and are never kept. With a vocabulary of 1,024 and a width of
16 they are most of a step's memory traffic, and with one of 50,257 most of its memory. The idea, gradients in
the forward pass, is that of Hsu et al. 2024 ("Liger Kernel", section 3.2).

Shapes: B windows, T tokens, n = B T rows, V vocabulary, d = d_model.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from scaling_laws.models.memory import CHUNK_BYTES
from scaling_laws.models.network import FactoredNetwork, factored_network

LOG2_E = math.log2(math.e)


class Objective(ABC):
    """Base of a loss or a training step of a user's own, by class path: `model.objective`.

    Everything else stays as it is: schedule, optimiser, batches, evaluations, checkpoints, records.
    """

    @abstractmethod
    def training_loss(self, network: nn.Module, window: Tensor) -> Tensor:
        """A scalar of windows (B, T + 1), whose gradient is the step: `backward` is called on it.

        Where the step is more than a gradient (several steps on parts of the network, say), compute the
        change wanted as if it were a gradient g and return the loss, detached, plus the sum of
        g (w - w.detach()) over the weights w: its value is the loss, its gradient is g.
        """

    @abstractmethod
    def token_losses(self, network: nn.Module, window: Tensor) -> Tensor:
        """What is reported as the loss at each position, (B, T), of windows (B, T + 1), without gradients."""


def mean_loss(network: nn.Module, window: Tensor) -> Tensor:
    """Mean negative log-likelihood of tokens 1 ... T of windows (B, T + 1); a scalar to train with."""
    tokens, targets = window[:, :-1], window[:, 1:].flatten()
    factored = _factored(network)
    if factored is None:
        return functional.cross_entropy(network(tokens).float().flatten(0, 1), targets)
    hidden = factored.before_head(tokens).flatten(0, 1)
    loss: Tensor = _MeanLoss.apply(hidden, factored.head.weight, targets)  # type: ignore[no-untyped-call]
    return loss


def token_losses(network: nn.Module, window: Tensor) -> Tensor:
    """Negative log-likelihood (B, T) of tokens 1 ... T of windows (B, T + 1); not to train with."""
    tokens, targets = window[:, :-1], window[:, 1:].flatten()
    factored = _factored(network)
    if factored is None:
        logits = network(tokens).float().flatten(0, 1)
        return functional.cross_entropy(logits, targets, reduction="none").view(len(window), -1)
    with torch.no_grad():
        rows, head = _in_product_type(factored.before_head(tokens).flatten(0, 1), factored.head.weight)
        with torch.autocast(head.device.type, enabled=False):
            losses = [chunk.losses for chunk in _chunks(rows, head, targets)]
    return torch.cat(losses).view(len(window), -1)


def _factored(network: nn.Module) -> FactoredNetwork | None:
    """The network, where the loss takes the head's product on itself.

    In float16 the loss is scaled before its backward pass; gradients made before that would underflow.
    """
    factored = factored_network(network)
    return None if factored is None or _product_type(factored.head.weight) == torch.float16 else factored


class _MeanLoss(torch.autograd.Function):
    """Of rows (n, d), a head (V, d) and targets (n): the mean loss; its gradients are made on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        rows, head = _in_product_type(hidden, weight)
        # The head's gradient is made transposed: a CPU multiplies that twice as fast.
        summed = torch.promote_types(head.dtype, torch.float32)
        hidden_gradient = torch.empty_like(rows, dtype=summed)
        head_gradient = torch.zeros(head.shape[::-1], dtype=summed, device=head.device)
        losses = []
        with torch.autocast(head.device.type, enabled=False):
            for chunk in _chunks(rows, head, targets):
                losses.append(chunk.losses)
                # softmax - 1 at the target, times `sums`, by which the smaller factors are divided instead.
                chunk.powers.scatter_add_(1, chunk.targets, -chunk.sums)
                gradient = chunk.powers if chunk.space is chunk.powers else chunk.space.copy_(chunk.powers)
                hidden_gradient[chunk.rows] = (gradient @ head) / chunk.sums
                head_gradient += (rows[chunk.rows] / chunk.sums).to(head.dtype).t() @ gradient
        ctx.save_for_backward(
            hidden_gradient.div_(len(rows)).to(hidden.dtype), head_gradient.div_(len(rows)).to(weight.dtype)
        )
        return torch.cat(losses).mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_gradient, head_gradient = ctx.saved_tensors
        return hidden_gradient * gradients[0], head_gradient.t() * gradients[0], None


def _in_product_type(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the type in which autocast would multiply them, or in their own."""
    dtype = _product_type(weight)
    return hidden.to(dtype), weight.to(dtype)


def _product_type(weight: Tensor) -> torch.dtype:
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


@dataclass(frozen=True)
class _Chunk:
    """Some rows of the softmax, in float32 at least; the next chunk overwrites them.

    Attributes:
        rows: which, c of them.
        targets: (c, 1).
        powers: exp(logit - largest logit of the row), (c, V).
        sums: of each row's powers, (c, 1).
        losses: -log p of the targets, (c,).
        space: as large as the powers, in the type of the products.
    """

    rows: slice
    targets: Tensor
    powers: Tensor
    sums: Tensor
    losses: Tensor
    space: Tensor


def _chunks(rows: Tensor, head: Tensor, targets: Tensor) -> Iterator[_Chunk]:
    """Powers are those of two, which a CPU takes twice as fast: the rows are scaled by log2(e) before."""
    largest = CHUNK_BYTES.get(head.device.type, CHUNK_BYTES["cuda"]) // (4 * len(head))
    n_rows = min(max(1, largest), len(rows))
    summed = torch.promote_types(head.dtype, torch.float32)
    scaled = (rows.to(summed) * LOG2_E).to(head.dtype)
    products = head.new_empty(n_rows, len(head))
    powers = products if summed == head.dtype else torch.empty_like(products, dtype=summed)
    for start in range(0, len(rows), n_rows):
        chunk = slice(start, min(start + n_rows, len(rows)))
        its_targets = targets[chunk, None]
        its_products = torch.mm(scaled[chunk], head.t(), out=products[: len(its_targets)])
        its_powers = its_products
        if powers is not products:
            its_powers = powers[: len(its_targets)].copy_(its_products)
        its_powers -= its_powers.amax(1, keepdim=True)
        of_targets = its_powers.gather(1, its_targets)
        sums = its_powers.exp2_().sum(1, keepdim=True)
        losses = (sums.log2() - of_targets)[:, 0] / LOG2_E
        yield _Chunk(chunk, its_targets, its_powers, sums, losses, its_products)
