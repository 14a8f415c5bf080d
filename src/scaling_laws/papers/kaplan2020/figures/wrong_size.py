"""What another size than the best costs (Kaplan 2020, Figure 12)."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.batch.compute_efficient import ComputeEfficient
from scaling_laws.laws.fit.level import interval_percentiles
from scaling_laws.laws.published import KAPLAN_TABLE_3
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.text import number

N_LEVELS = 8
TOLERATED = 0.2
"""Compute above the least that counts as little."""
OFF_THE_AXIS = 1e3
"""In place of the infinite cost of a size that never reaches the loss."""
RATIOS = np.geomspace(0.1, 10, 400)
"""N over the best size, as in the paper's figure."""


@dataclass(frozen=True, kw_only=True)
class SizeCosts:
    """What sizes cost over the best one.

    Attributes:
        measured: from `measured_costs`, near enough to the best size to be drawn.
        law: L(N,S_min) and B_crit(L); None where they are not identified.
        draws: the law with a column of draws for alpha_N and alpha_S; None without any.
        reason: which runs the study lacks for a law.
    """

    measured: pd.DataFrame
    law: ComputeEfficient | None
    draws: ComputeEfficient | None
    reason: str


def draw(data: SizeCosts) -> Figure:
    """Left: compute over the least against N over the best N, (B.16). Right: steps, (B.17)."""
    figure, axes = st.panels(2, width=12.0, height=5.2)
    colours = st.SizeColours(data.measured["loss"], "plasma") if len(data.measured) else None
    _draw_cost(axes[0], data, colours, "compute_ratio", (0.9, 3.0), "$C_{min}$ over that of the best size")
    _draw_cost(axes[1], data, colours, "steps_ratio", (0.2, 10.0), "$S_{min}$ over that of the best size")
    axes[0].set_title("Compute to the same loss")
    axes[1].set_title("Serial steps to the same loss")
    if colours is not None:
        colours.bar(figure, axes, "loss reached, nats per token")
    elif data.law is None:
        words = textwrap.fill(f"Only the paper's constants. {data.reason}", 130)
        figure.suptitle(words, color=st.INK, parse_math=False, fontsize=9)
    return figure


def describe(data: SizeCosts) -> str:
    """Between which sizes the compute stays near the least, here and in the paper."""
    low, high = KAPLAN_TABLE_3.tolerated_sizes(TOLERATED)
    paper = f"{low:.2g} to {high:.2g} times the best size in the paper's constants"
    sentence = f"At most {100 * TOLERATED:.0f} % more compute than the best size needs: {paper}"
    if data.law is None:
        return f"{sentence}; this study has no L(N, S_min) to compare."
    low, high = data.law.tolerated_sizes(TOLERATED)
    sentence += f", {low:.2g} to {high:.2g} in this study's"
    near = data.measured[data.measured["size_ratio"].between(low, high)]
    if near.empty:
        return f"{sentence}; no size was measured between."
    most = number(near["compute_ratio"].max())
    return f"{sentence}; there {len(near)} measured costs are at most {most} times the least."


@figure(
    "fig12_cost_of_a_wrong_size",
    "What a size other than the best costs",
    "compute",
    draw=draw,
    describe=describe,
)
def fig12_cost_of_a_wrong_size(study: KaplanTables, laws: Laws) -> SizeCosts:
    measured = measured_costs(study.least_resources(N_LEVELS))
    law, draws = study.route().efficient, study.route().columns("alpha_N", "alpha_S")
    return SizeCosts(
        measured=measured[measured["size_ratio"].between(RATIOS[0], RATIOS[-1])],
        law=law,
        draws=None if law is None or draws is None else ComputeEfficient(**(vars(law) | draws)),
        reason=study.why_no_frontier,
    )


def measured_costs(resources: pd.DataFrame) -> pd.DataFrame:
    """What each size costs over the best one at the same loss.

    Columns N, loss, size_ratio, compute_ratio, steps_ratio. The best size at a loss is the minimum of the
    parabola of ln C_min in ln N through the cheapest size and its two neighbours; a loss at which the
    cheapest is the smallest or largest that reached it has no rows.
    At one loss S_min ~ C_min/N, since B_crit is the same.

    Args:
        resources: from `KaplanTables.least_resources`.
    """
    rows = []
    for loss, at_loss in resources.sort_values("N").groupby("loss"):
        log_N, log_C = (np.log(at_loss[name].to_numpy(dtype=float)) for name in ("N", "C_min"))
        cheapest = int(np.argmin(log_C))
        if cheapest in (0, len(log_C) - 1):
            continue
        near = slice(cheapest - 1, cheapest + 2)
        curvature, slope, height = np.polyfit(log_N[near] - log_N[cheapest], log_C[near], 2)
        if not curvature > 0:
            continue
        shift = -slope / (2 * curvature)
        size_ratio = np.exp(log_N - log_N[cheapest] - shift)
        compute_ratio = np.exp(log_C - height - slope * shift / 2)
        for N, of_size, of_compute in zip(at_loss["N"], size_ratio, compute_ratio, strict=True):
            rows.append((N, loss, of_size, of_compute, of_compute / of_size))
    columns = ["N", "loss", "size_ratio", "compute_ratio", "steps_ratio"]
    return pd.DataFrame(rows, columns=columns, dtype=float)


def _draw_cost(
    axes: Axes,
    data: SizeCosts,
    colours: st.SizeColours | None,
    name: str,
    shown: tuple[float, float],
    label_y: str,
) -> None:
    """One of `compute_ratio` and `steps_ratio`: the paper's, the study's law, and what was measured."""
    low, high = KAPLAN_TABLE_3.tolerated_sizes(TOLERATED)
    label = f"Kaplan 2020: at most {100 * TOLERATED:.0f} % more compute, {low:.2g} to {high:.2g}"
    axes.axvspan(low, high, color=st.GREY, alpha=0.12, linewidth=0, label=label)
    theirs = getattr(KAPLAN_TABLE_3, name)(RATIOS)
    axes.plot(RATIOS, theirs, color=st.GREY, linestyle="--", label="Kaplan 2020")
    if data.law is not None:
        axes.plot(RATIOS, getattr(data.law, name)(RATIOS), color=st.FIT, label="this study's $L(N, S_{min})$")
    if data.draws is not None:
        drawn = np.minimum(getattr(data.draws, name)(RATIOS), OFF_THE_AXIS)
        band = np.percentile(drawn, interval_percentiles(), axis=0)
        axes.fill_between(RATIOS, *band, color=st.FIT, alpha=st.BAND_ALPHA, linewidth=0)
    if colours is not None:
        by_loss = [colours(loss) for loss in data.measured["loss"]]
        axes.scatter(data.measured["size_ratio"], data.measured[name], s=20, c=by_loss, zorder=3)
        axes.plot([], [], "o", color=st.GREY, label="measured at one loss")
    st.log_x(axes, RATIOS, "$N\\,/\\,N_{best}$ at the same loss", margin=0.0)
    st.log_y(axes, shown, label_y, margin=0.0)
    st.legend_below(axes, columns=1)
