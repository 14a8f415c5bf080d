"""Causal attention, by whichever kernel is the fastest of those that compute it.

Shapes: B windows, H heads, T tokens, h width of a head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scaling_laws.models.precision import LONGEST_SQUARE


def causal_attention(query: Tensor, key: Tensor, value: Tensor, dropout: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(h)) v over the tokens up to one's own; all (B, H, T, h).

    It is torch's kernel, but in bfloat16 on a CPU, where the backward pass of that one takes three to five
    times as long as that of the plain products (docs/log.md, 2026-11-26): short windows take the products,
    and long ones torch's kernel in float32.
    """
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")  # what torch's kernel would be given
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if query.device.type != "cpu" or query.dtype != torch.bfloat16 or dropout:
        return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
    if query.shape[2] > LONGEST_SQUARE:
        with torch.autocast("cpu", enabled=False):
            mixed = functional.scaled_dot_product_attention(
                query.float(), key.float(), value.float(), is_causal=True
            )
        return mixed.to(query.dtype)
    product: Tensor = _Products.apply(query, key, value)  # type: ignore[no-untyped-call]
    return product


class _Products(torch.autograd.Function):
    """The formula as it stands, with T x T probabilities that are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        ctx.shape = shape = query.shape
        ctx.scale = 1 / math.sqrt(query.shape[-1])
        query, key, value = (part.flatten(0, 1) for part in (query, key, value))  # (B H, T, h)
        n_tokens = query.shape[1]
        mask = query.new_full((n_tokens, n_tokens), -math.inf).triu(1)  # 0 up to one's own token
        scores = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=ctx.scale)
        probabilities = torch.softmax(scores, -1)
        ctx.save_for_backward(query, key, value, probabilities)
        return torch.bmm(probabilities, value).view(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, probabilities = ctx.saved_tensors
        gradient = gradients[0].reshape(query.shape)
        of_value = torch.bmm(probabilities.transpose(1, 2), gradient)
        of_probabilities = torch.bmm(gradient, value.transpose(1, 2))
        of_scores = torch._softmax_backward_data(of_probabilities, probabilities, -1, query.dtype)
        of_query = torch.bmm(of_scores, key).mul_(ctx.scale)
        of_key = torch.bmm(of_scores.transpose(1, 2), query).mul_(ctx.scale)
        return of_query.view(ctx.shape), of_key.view(ctx.shape), of_value.view(ctx.shape)
