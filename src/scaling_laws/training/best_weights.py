"""Early stopping: the weights with the lowest held-out loss, and when to stop looking for lower ones."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from scaling_laws.training.kept_weights import KeptWeights


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
