"""Trends of tokens by size, and the curves that fall together, drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.xia2022.trajectories import (
    TRENDS,
    Trajectories,
    TrajectoryTables,
    drawn_windows,
)
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure


def draw_shares(data: Trajectories) -> Figure:
    """Share of each trend by size, with 90 % intervals over windows of the text."""
    drawing, (axes,) = st.panels(1, width=7.5, height=4.4)
    weights = drawn_windows(data.losses.shape[2])
    for place, name in enumerate(TRENDS):
        shares = 100 * weights @ data.trends()[name].mean(axis=2).T / weights.sum(axis=1, keepdims=True)
        low, high = np.quantile(shares[1:], [0.05, 0.95], axis=0)
        axes.fill_between(data.N, low, high, color=st.FAMILY_COLOURS[place], alpha=st.BAND_ALPHA, lw=0)
        marker = st.FAMILY_MARKERS[place]
        axes.plot(data.N, shares[0], marker=marker, color=st.FAMILY_COLOURS[place], label=name)
    st.log_x(axes, data.N, "N, non-embedding parameters")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("tokens, %")
    st.legend_below(axes, columns=3)
    return drawing


def describe_shares(data: Trajectories) -> str:
    smallest, largest = (
        ", ".join(f"{100 * data.trends()[name][size].mean():.0f} % {name}" for name in TRENDS)
        for size in (0, -1)
    )
    return f"Of {data.losses[0, 0].size:,} tokens the smallest network has {smallest}; the largest {largest}."


@figure(
    "token_trends", "Trends of tokens by size", "scale", order=1, draw=draw_shares, describe=describe_shares
)
def token_trends(study: TrajectoryTables, laws: Laws) -> Trajectories | str:
    return study.trajectories


def draw_together(data: Trajectories) -> Figure:
    """The mean loss of the tokens that fall in the largest network, against three quantities."""
    drawing, axes = st.panels(3, width=12.5, height=4.2)
    tokens = data.trends()["downward"][-1]
    if not tokens.any():
        tokens = np.ones_like(tokens)
    losses = data.losses[:, :, tokens].mean(axis=2)
    quantities = data.quantities()
    colours = st.SizeColours(data.N)
    for panel, name in zip(axes, ("the total loss", "compute", "tokens"), strict=True):
        values = quantities[name] if name == "the total loss" else np.exp(quantities[name])
        for size, N in enumerate(data.N):
            panel.plot(values[size], losses[size], "o-", ms=3.5, lw=1.2, color=colours(N))
        label = {"the total loss": "total loss of the text, nats", "compute": "N D"}.get(name, "D, tokens")
        st.log_x(panel, values.ravel(), label)
        panel.set_title(f"against {name}")
    axes[0].set_ylabel("loss of tokens that fall in the largest, nats")
    colours.bar(drawing, axes, "N")
    return drawing


def describe_together(data: Trajectories) -> str:
    shares = {}
    for name, by in data.quantities().items():
        left, about = data.explained(by).sum(axis=1)
        shares[name] = 1 - left / about
    words = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    return f"Of the variance of single tokens' losses over sizes and time, a cubic explains: {words}."


@figure(
    "curves_together",
    "Curves of all sizes fall together against the total loss",
    "scale",
    order=2,
    draw=draw_together,
    describe=describe_together,
)
def curves_together(study: TrajectoryTables, laws: Laws) -> Trajectories | str:
    return study.trajectories
