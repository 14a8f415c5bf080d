"""Weights to go back to: those before a training went wrong, and those of the lowest held-out loss."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

DIVERGED_FACTOR = 1.5
"""A mean loss above this multiple of the untrained network's says that the training has been undone."""


class KeptWeights:
    """The trained weights (where they are sharded, this rank's part) as they were at the last `keep`; at
    first, as they are now."""

    def __init__(self, network: nn.Module) -> None:
        self._weights = trained_weights(network)
        self.copies: list[Tensor] = [weight.clone() for weight in self._weights]

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the present weights."""
        torch._foreach_copy_(self.copies, self._weights)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the copy back into the network."""
        torch._foreach_copy_(self._weights, self.copies)


def trained_weights(network: nn.Module) -> list[Tensor]:
    """The trainable tensors; where they are sharded, this rank's part of each."""
    trained = [weight.detach() for weight in network.parameters() if weight.requires_grad]
    return [weight.to_local() if isinstance(weight, DTensor) else weight for weight in trained]


def are_finite(weights: list[Tensor]) -> bool:
    """Whether no weight is NaN or infinite (or so large that their sum is)."""
    return bool(torch.stack(torch._foreach_norm(weights, 1)).isfinite().all())


class DivergenceGuard:
    """Judges each interval between two rows of the curve, and keeps the weights of the last good one.

    The copy is made on the device, once an interval: it costs one more set of weights, beside AdamW's three.

    Args:
        network: what is trained; its weights are copied now.
        n_vocab: V; a network that has learned nothing guesses at about ln V nats.
    """

    def __init__(self, network: nn.Module, n_vocab: int) -> None:
        self.first_loss_nats = math.inf
        """Loss of the untrained network on its first batch; set by the recorder."""
        self._uniform_loss_nats = math.log(n_vocab)
        self.good_weights = KeptWeights(network)
        self.good_step = 0
        """Step after which those weights stood."""

    def fault(self, loss_nats: float, largest_gradient_norm: float, weights_are_finite: bool) -> str:
        """What is wrong with an interval; empty where nothing is.

        Args:
            loss_nats: mean training loss of the interval.
            largest_gradient_norm: of its steps, before clipping.
            weights_are_finite: after its last step, whose update no loss has seen yet.
        """
        limit = DIVERGED_FACTOR * max(self.first_loss_nats, self._uniform_loss_nats)
        if not math.isfinite(loss_nats):
            return f"the training loss is {loss_nats}"
        if not math.isfinite(largest_gradient_norm):
            return f"a gradient's norm is {largest_gradient_norm}"
        if not weights_are_finite:
            return "a weight is not finite"
        if loss_nats > limit:
            return (
                f"the training loss is {loss_nats:.4g} nats, {DIVERGED_FACTOR} times the untrained network's"
            )
        return ""


class BestWeights:
    """Keeps a copy of the weights at the lowest loss so far.

    Kaplan et al. 2020 stop when the *test* loss stops falling, which chooses the weights on the very text
    that the law describes; here another held-out corpus may decide.

    Args:
        network: what is trained.
        patience: evaluations without a new lowest loss after which to stop.
    """

    def __init__(self, network: nn.Module, patience: int) -> None:
        self.patience = patience
        self.step = 0
        self._loss_nats = math.inf
        self._n_since = 0
        self._kept = KeptWeights(network)

    def add(self, step: int, loss_nats: float) -> None:
        """Look at the weights after `step`."""
        if loss_nats < self._loss_nats:
            self._loss_nats, self.step, self._n_since = loss_nats, step, 0
            self._kept.keep()
        else:
            self._n_since += 1

    @property
    def exhausted(self) -> bool:
        """Whether the loss has not fallen for `patience` evaluations."""
        return self._n_since >= self.patience

    def restore(self) -> None:
        """Put the best weights into the network."""
        self._kept.restore()

    def state_dict(self) -> dict[str, Any]:
        """What an exact resume needs, the weights among it."""
        return {
            "step": self.step,
            "loss_nats": self._loss_nats,
            "n_since": self._n_since,
            "weights": self._kept.copies,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.step, self._loss_nats, self._n_since = state["step"], state["loss_nats"], state["n_since"]
        for copy, weight in zip(self._kept.copies, state["weights"], strict=True):
            copy.copy_(weight)
