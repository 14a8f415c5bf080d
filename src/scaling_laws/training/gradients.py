"""The gradient's norm, and what limits it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.distributed.tensor import DTensor


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
