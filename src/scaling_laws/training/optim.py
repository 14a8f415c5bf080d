"""Optimisers, their parameter groups, and clipping."""

from __future__ import annotations

import torch
from torch import nn


def clip_gradients(optimizer: torch.optim.Optimizer, value: float | None, algorithm: str | None) -> None:
    """Clip by the norm over all weights of the optimizer, or by value; 0 and None do nothing."""
    if not value:
        return
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if algorithm == "value":
        nn.utils.clip_grad_value_(weights, value)
    else:
        nn.utils.clip_grad_norm_(weights, value)


def adamw(
    network: nn.Module,
    *,
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
    fused: bool = True,
) -> torch.optim.AdamW:
    """AdamW with decoupled decay on matrices only: it would pull a norm's weight away from 1."""
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in trained if weight.ndim >= 2], "weight_decay": weight_decay},
        {"params": [weight for weight in trained if weight.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=fused)
