"""Compression after training, without re-training: Li et al. 2020 (arXiv 2002.11794).

Every matrix is pruned, then quantised: of each the smallest entries are set to zero, and each row is rounded
to whole multiples of its largest entry over 2^(bits - 1) - 1 (uniform, symmetric). Vectors stay as they are.
torch is imported where networks are loaded: the list of papers needs none.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.study.records import MAIN_CORPUS

if TYPE_CHECKING:
    from torch import Tensor, nn

FloatArray = NDArray[np.float64]

FULL_BITS = 32
"""A weight as it was trained."""
BITS = (FULL_BITS, 8, 6, 4, 3)
PRUNED = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
"""Share of the entries of each matrix that is set to zero."""
N_WINDOWS = 128
"""Held-out windows whose losses are compared."""
RESAMPLES = 500


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How far a network is compressed."""

    bits: int
    pruned: float

    def __str__(self) -> str:
        return f"{self.bits} bits, {100 * self.pruned:.0f} % pruned"


SETTINGS = tuple(Setting(bits=bits, pruned=pruned) for bits in BITS for pruned in PRUNED)
"""The first is the network as it was trained."""


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """Networks of several sizes, each compressed in every way of `SETTINGS`.

    Attributes:
        N: (S,) non-embedding parameters, growing.
        n_bytes: (S, K) of all parameters, embeddings included.
        losses: (S, K, W) nats, by window of held-out text.
    """

    N: FloatArray
    n_bytes: FloatArray
    losses: FloatArray

    @property
    def mean(self) -> FloatArray:
        """(S, K): mean losses."""
        return np.asarray(self.losses.mean(axis=2))

    def damage(self, bits: int, pruned: float) -> FloatArray:
        """(S,): ln of the loss over that of the network as it was trained."""
        place = SETTINGS.index(Setting(bits=bits, pruned=pruned))
        return np.asarray(np.log(self.mean[:, place] / self.mean[:, 0]))

    def is_certain(self, bits: int, pruned: float) -> NDArray[np.bool_]:
        """(S,): whether the 90 % interval of the damage over windows lies above zero."""
        place = SETTINGS.index(Setting(bits=bits, pruned=pruned))
        draws = drawn_windows(self.losses.shape[2]) @ (self.losses[:, place] - self.losses[:, 0]).T
        return np.quantile(draws[1:], 0.05, axis=0) > 0

    def front(self) -> NDArray[np.intp]:
        """(F, 2): sizes and settings that no other beats in bytes and loss at once, by bytes."""
        order = np.argsort(self.n_bytes.ravel(), kind="stable")
        losses = self.mean.ravel()[order]
        best = np.concatenate([[True], losses[1:] < np.minimum.accumulate(losses)[:-1]])
        return np.stack(np.unravel_index(order[best], self.n_bytes.shape), axis=1)


def drawn_windows(n_windows: int, seed: int = 0) -> FloatArray:
    """(1 + RESAMPLES, W): weights of the windows that sum to one, the whole text first."""
    random = np.random.default_rng(seed)
    drawn = random.multinomial(n_windows, np.full(n_windows, 1 / n_windows), size=RESAMPLES)
    return np.concatenate([np.ones((1, n_windows)), drawn]) / n_windows


def interval_of(draws: FloatArray) -> Interval:
    """90 %, of draws that lead with the estimate."""
    return percentile_interval(draws[1:])


def pruned(weight: Tensor, share: float) -> Tensor:
    """A matrix without so large a share of its entries, the smallest ones."""
    n_zero = round(share * weight.numel())
    if n_zero == 0:
        return weight
    kept = weight.clone().flatten()
    kept[weight.abs().flatten().argsort()[:n_zero]] = 0
    return kept.view_as(weight)


def quantised(weight: Tensor, bits: int) -> Tensor:
    """A matrix whose rows take 2^bits - 1 values each, evenly spread about zero."""
    if bits == FULL_BITS:
        return weight
    step = weight.abs().amax(dim=-1, keepdim=True) / (2 ** (bits - 1) - 1)
    step[step == 0] = 1.0
    rounded: Tensor = (weight / step).round() * step
    return rounded


def stored_bytes(network: nn.Module, setting: Setting) -> float:
    """What the parameters take: entries that are left, a bit an entry that says which, a scale a row."""
    total = 0.0
    for weight in network.parameters():
        if weight.dim() < 2:
            total += weight.numel() * FULL_BITS / 8
            continue
        left = weight.numel() - round(setting.pruned * weight.numel())
        total += left * setting.bits / 8
        if setting.pruned:
            total += weight.numel() / 8
        if setting.bits != FULL_BITS:
            total += weight.numel() / weight.shape[-1] * FULL_BITS / 8
    return total


def compressed(network: nn.Module, setting: Setting) -> nn.Module:
    """A copy of the network, compressed."""
    import torch

    smaller = copy.deepcopy(network)
    with torch.no_grad():
        for weight in smaller.parameters():
            if weight.dim() >= 2:
                weight.copy_(quantised(pruned(weight, setting.pruned), setting.bits))
    return smaller


def compress_runs(folders: Sequence[Path], N: Sequence[float]) -> Compressed:
    """The final networks of finished runs, compressed in every way, and their losses.

    Raises:
        InputError: a run kept no weights, or its corpus is not there.
    """
    import torch

    from scaling_laws.training.loss import token_losses
    from scaling_laws.training.trained import read_trained

    n_bytes, losses = [], []
    for folder in folders:
        trained = read_trained(folder)
        windows, _ = trained.data.held_out(MAIN_CORPUS, N_WINDOWS)
        n_bytes.append([stored_bytes(trained.network, setting) for setting in SETTINGS])
        of_settings = []
        with torch.no_grad():
            for setting in SETTINGS:
                smaller = compressed(trained.network, setting)
                parts = [token_losses(smaller, some).mean(dim=1) for some in torch.split(windows, 32)]
                of_settings.append(torch.cat(parts).numpy())
        losses.append(np.stack(of_settings))
    return Compressed(
        N=np.array(N, dtype=np.float64), n_bytes=np.array(n_bytes), losses=np.stack(losses).astype(np.float64)
    )
