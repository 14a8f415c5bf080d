"""The loss by position in the context at each evaluation: how a network learns to use what it reads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

BINS_PER_DOUBLING = 2
"""Of the position: single positions are noisy, and there are many."""


def binned(losses_nats: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean losses over bins of positions, each up to a power of 2^(1 / BINS_PER_DOUBLING): the bins'
    geometric centres, and the means.

    Args:
        losses_nats: by position, from 1 on.
    """
    positions, losses = np.array(list(losses_nats)), np.array(list(losses_nats.values()))
    bins = np.ceil(BINS_PER_DOUBLING * np.log2(positions) - 1e-9)
    members = [bins == number for number in np.unique(bins)]
    centres = [np.exp(np.log(positions[member]).mean()) for member in members]
    return np.array(centres), np.array([losses[member].mean() for member in members])


def position_figure(losses_nats: Mapping[int, Mapping[int, float]], batch_tokens: int) -> Figure:
    """One line an evaluation, from light (early) to dark (late).

    Args:
        losses_nats: by step, the loss at each position; of two steps or more.
        batch_tokens: tokens per step.
    """
    tokens = [step * batch_tokens for step in losses_nats]
    share, colours = LogNorm(min(tokens), max(tokens)), colormaps["cividis_r"]
    figure = Figure(figsize=(6, 4), dpi=110, layout="constrained")
    axes = figure.add_subplot(xlabel="position in the context", ylabel="loss on test, nats per token")
    axes.set_xscale("log", base=2)
    for seen, losses in zip(tokens, losses_nats.values(), strict=True):
        axes.plot(*binned(losses), color=colours(share(seen)), linewidth=1.5)
    figure.colorbar(ScalarMappable(share, colours), ax=axes, label="training tokens")
    return figure
