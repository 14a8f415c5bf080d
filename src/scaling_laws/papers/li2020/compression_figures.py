"""Compressed networks and times to a loss, drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.li2020.compression import (
    BITS,
    FULL_BITS,
    PRUNED,
    SETTINGS,
    Compressed,
    Setting,
)
from scaling_laws.papers.li2020.compression_tables import CompressionTables, TimedCurves
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.text import short


def draw_damage(data: Compressed) -> Figure:
    """Left: higher losses by bits. Right: by the share pruned. Only damages that are surely above zero."""
    drawing, axes = st.panels(2, width=11.0, height=4.4)
    colours = st.SizeColours(data.N)
    by_bits = [Setting(bits=bits, pruned=0.0) for bits in BITS if bits != FULL_BITS]
    by_share = [Setting(bits=FULL_BITS, pruned=share) for share in PRUNED if share]
    shown: list[float] = []
    for panel, settings in zip(axes, (by_bits, by_share), strict=True):
        damage = 100 * np.expm1([data.damage(each.bits, each.pruned) for each in settings])
        certain = np.array([data.is_certain(each.bits, each.pruned) for each in settings])
        x = np.array([each.bits if panel is axes[0] else 100 * each.pruned for each in settings])
        for size, N in enumerate(data.N):
            sure = certain[:, size]
            panel.plot(x[sure], damage[sure, size], "o-", ms=4, lw=1.2, color=colours(N))
            shown.extend(damage[sure, size])
    for panel in axes:
        st.log_y(panel, shown or [1.0], "loss higher by, %", margin=0.1)
    axes[0].set_xlabel("bits a weight")
    axes[0].set_title("quantised")
    axes[1].set_xlabel("pruned, %")
    axes[1].set_title("pruned")
    colours.bar(drawing, axes, "N")
    return drawing


def describe_damage(data: Compressed) -> str:
    small, large = (100 * np.expm1(data.damage(4, 0.0)[place]) for place in (0, -1))
    return (
        f"At 4 bits the loss of the smallest network, N = {short(data.N[0])}, is {small:.1f} % higher, that "
        f"of the largest, N = {short(data.N[-1])}, {large:.1f} %."
    )


@figure(
    "compression_damage",
    "What compression costs, by size",
    "scale",
    order=1,
    draw=draw_damage,
    describe=describe_damage,
)
def compression_damage(study: CompressionTables, laws: Laws) -> Compressed | str:
    return study.compressed


def draw_front(data: Compressed) -> Figure:
    """Loss against bytes: every network in every way, and the front."""
    drawing, (axes,) = st.panels(1, width=8.0, height=4.8)
    colours = st.SizeColours(data.N)
    # Losses beyond that of the smallest network as it was trained, and a little, say nothing.
    most = 1.1 * float(data.mean[0, 0])
    for size, N in enumerate(data.N):
        seen = data.mean[size] <= most
        axes.plot(data.n_bytes[size, seen], data.mean[size, seen], "o", ms=3.5, color=colours(N))
        axes.plot(data.n_bytes[size, 0], data.mean[size, 0], "s", ms=7, mfc="none", color=colours(N))
    front = data.front()
    front_bytes, front_losses = data.n_bytes[tuple(front.T)], data.mean[tuple(front.T)]
    seen = front_losses <= most
    axes.plot(
        front_bytes[seen], front_losses[seen], "-", color=st.FIT, label="the best at each size in bytes"
    )
    axes.plot([], [], "s", ms=7, mfc="none", color=st.INK, label="as trained, 32 bits")
    st.log_x(axes, data.n_bytes.ravel(), "bytes")
    axes.set_ylabel(st.LOSS_LABEL)
    st.legend_below(axes)
    colours.bar(drawing, [axes], "N")
    return drawing


def describe_front(data: Compressed) -> str:
    front = data.front()
    bits = [SETTINGS[place].bits for _, place in front]
    commonest = max(set(bits), key=bits.count)
    return (
        f"Of {len(front)} networks that no other beats in bytes and loss at once, {bits.count(commonest)} "
        f"have {commonest} bits a weight."
    )


@figure(
    "bytes_front",
    "Loss against bytes",
    "scale",
    order=2,
    draw=draw_front,
    describe=describe_front,
)
def bytes_front(study: CompressionTables, laws: Laws) -> Compressed | str:
    return study.compressed


def draw_times(data: TimedCurves) -> Figure:
    """Learning curves against steps and against seconds, by size."""
    drawing, axes = st.panels(2, width=11.0, height=4.4)
    colours = st.SizeColours(data.N)
    all_x: tuple[list[float], list[float]] = ([], [])
    for size, N in enumerate(data.N):
        steps, losses = data.steps[size], data.losses[size]
        for panel, x, seen in zip(axes, (steps, steps * data.step_s[size]), all_x, strict=True):
            panel.plot(x, losses, "o-", ms=3.5, lw=1.2, color=colours(N))
            seen.extend(x)
    for panel, seen, label in zip(axes, all_x, ("steps", "seconds of training"), strict=True):
        panel.axhline(data.target, color=st.FIT, lw=1.2)
        st.log_x(panel, seen, label)
        panel.set_ylabel(st.LOSS_LABEL)
    colours.bar(drawing, axes, "N")
    return drawing


def describe_times(data: TimedCurves) -> str:
    steps, seconds = data.steps_to_target, data.seconds_to_target
    return (
        f"To a loss of {data.target:.2f}, the line, the smallest network takes {short(steps[0])} steps and "
        f"{short(seconds[0])} s, the largest {short(steps[-1])} steps and {short(seconds[-1])} s."
    )


@figure(
    "loss_against_seconds",
    "Loss against steps and seconds, by size",
    "scale",
    order=3,
    draw=draw_times,
    describe=describe_times,
)
def loss_against_seconds(study: CompressionTables, laws: Laws) -> TimedCurves | str:
    return study.timed
