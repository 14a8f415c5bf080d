"""What everybody writes first, to be measured against: a nanoGPT-style network and loop.

It is written for this purpose: Karpathy's nanoGPT with our shapes, so pre-norm blocks, learned positions,
GELU, a tied head, torch's attention kernel, logits of the whole batch and torch's cross-entropy. So is the
loop: random windows, autocast where asked for, gradients clipped at 1, fused AdamW. The LSTM beside it is
`nn.LSTM` in the same loop.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class PlainGPT(nn.Module):
    """Token ids (B, T) to logits (B, T, V)."""

    def __init__(self, n_vocab: int, n_ctx: int, n_layer: int, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(n_vocab, d_model)
        self.positions = nn.Embedding(n_ctx, d_model)
        self.blocks = nn.ModuleList(PlainBlock(d_model, n_heads) for _ in range(n_layer))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, n_vocab, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


class PlainBlock(nn.Module):
    """Attention and a feed-forward network, each after a norm and beside a residual."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm_1, self.norm_2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attention, self.projection = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.expand, self.contract = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        n_batch, n_tokens, d_model = x.shape
        parts = self.attention(self.norm_1(x)).split(d_model, dim=2)
        query, key, value = (part.view(n_batch, n_tokens, self.n_heads, -1).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.projection(mixed.transpose(1, 2).reshape(n_batch, n_tokens, d_model))
        x = x + self.contract(functional.gelu(self.expand(self.norm_2(x))))
        return x


class PlainLSTM(nn.Module):
    """Token ids (B, T) to logits (B, T, V)."""

    def __init__(self, n_vocab: int, n_layer: int, d_model: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(n_vocab, d_model)
        self.recurrent = nn.LSTM(d_model, d_model, n_layer, batch_first=True)
        self.head = nn.Linear(d_model, n_vocab, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.recurrent(self.tokens(tokens))[0])
        return logits


def plain_steps(
    network: nn.Module,
    tokens: np.ndarray,
    *,
    n_ctx: int,
    batch_sequences: int,
    autocast: torch.dtype | None,
    compiled: bool = False,
    device: str = "cpu",
) -> Callable[[int], float]:
    """A function that trains for some steps and returns the last loss; nanoGPT's `train.py` in small.

    Args:
        network: token ids (B, T) to logits (B, T, V); it is moved to `device`.
        tokens: all of the training split.
        autocast: to this type, as nanoGPT does where it can. (float16 is left unscaled: its speed is meant.)
        compiled: network and loss in one, as in nanoGPT, whose network returns its loss.
    """
    network.to(device)
    decayed = [weight for weight in network.parameters() if weight.ndim >= 2]
    other = [weight for weight in network.parameters() if weight.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": other, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)

    def batch() -> tuple[Tensor, Tensor]:
        starts = torch.randint(len(tokens) - n_ctx, (batch_sequences,))
        windows = [torch.from_numpy(tokens[at : at + n_ctx + 1].astype(np.int64)) for at in starts]
        stacked = torch.stack(windows)
        if device == "cuda":  # as nanoGPT does it: copied while the GPU works
            stacked = stacked.pin_memory().to(device, non_blocking=True)
        return stacked[:, :-1], stacked[:, 1:]

    def mean_loss(inputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(network(inputs).flatten(0, 1), targets.flatten())

    loss_of = torch.compile(mean_loss) if compiled else mean_loss

    def steps(n_steps: int) -> float:
        for _ in range(n_steps):
            inputs, targets = batch()
            with torch.autocast(device, autocast, enabled=autocast is not None):
                loss = loss_of(inputs, targets)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return steps
