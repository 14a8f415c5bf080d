"""Optimisers, their parameter groups, and the gradient's norm."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from scaling_laws.models.optimizers import OPTIMIZERS, OptimizerName

BUILT: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adafactor": torch.optim.Adafactor,
}
"""By the names of `models/optimizers.py`."""


def make_optimizer(
    name: OptimizerName,
    network: nn.Module,
    *,
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """torch's AdamW or Adafactor, with decoupled decay.

    The decay falls on matrices only: it would pull a norm's weight away from 1.

    Adafactor (Shazeer and Stern 2018) keeps a row and a column of second moments a matrix and no first
    moment: Kaplan et al. used it above 1e9 parameters. Its rate is relative to the size of a weight, and
    torch caps it at 1 / sqrt(step).

    Args:
        betas: of AdamW; Adafactor has none.
        fused: one kernel for AdamW's whole step.
    """
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in trained if weight.ndim >= 2], "weight_decay": weight_decay},
        {"params": [weight for weight in trained if weight.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    own = {"betas": betas, "fused": fused} if "beta1" in OPTIMIZERS[name].settings else {}
    return BUILT[name](groups, lr=learning_rate, **own)


def gradient_norm(weights: Iterable[Tensor]) -> Tensor:
    """Euclidean norm of the gradients of all weights together; a scalar on their device."""
    norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm  # where weights are sharded


def clip_gradients(weights: list[Tensor], norm: Tensor, limit: float | None, algorithm: str | None) -> None:
    """Scale the gradients so that their `norm` is at most `limit`, or cut each value there."""
    if not limit:  # 0 and None do not clip
        return
    if algorithm == "value":
        nn.utils.clip_grad_value_(weights, limit)
    else:
        nn.utils.clip_grads_with_norm_(weights, limit, norm)
