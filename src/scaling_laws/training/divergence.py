"""Notices that a training has gone wrong, and gives back the weights from before it did."""

from __future__ import annotations

import math

from torch import nn

from scaling_laws.training.kept_weights import KeptWeights

DIVERGED_FACTOR = 1.5
"""A mean loss above this multiple of the untrained network's says that the training has been undone."""


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
