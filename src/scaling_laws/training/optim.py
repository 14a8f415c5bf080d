"""The optimiser's parameter groups, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from scaling_laws.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warm-up, constant, then a 1-sqrt cooldown to (almost) zero (Hägele et al. 2024).

    Nothing before the cooldown depends on the horizon, so runs of several horizons share a trunk.
    """

    warmup_steps: int = 40
    cooldown_share: float = 0.2
    """Share of all steps spent in the cooldown; 0 keeps the rate constant to the end."""

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise InputError(f"schedule: warmup_steps is {self.warmup_steps}; it must be 0 or more")
        if not 0 <= self.cooldown_share <= 1:
            raise InputError(f"schedule: cooldown_share is {self.cooldown_share}; it must lie in [0, 1]")

    def cooldown_start(self, steps: int) -> int:
        """First step of the cooldown of a run of `steps` steps."""
        return steps - round(self.cooldown_share * steps)

    def factor(self, step: int, steps: int) -> float:
        """Share of the peak learning rate at `step` (0-based) of `steps`: eta(n) / eta_max of the paper."""
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        start = self.cooldown_start(steps)
        if step < start:
            return warmup
        return warmup * (1 - math.sqrt((step - start) / (steps - start)))


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
