"""What another size than the best costs (Kaplan 2020, Figures 11 and 12)."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.laws.batch.compute_efficient import ComputeEfficient
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.published import KAPLAN_TABLE_3
from scaling_laws.papers.kaplan2020.training_time import (
    C_LABEL,
    efficient_law,
    even_values,
    least_resources,
    loss_levels,
    losses_at,
    route_draws,
    why_no_frontier,
)
from scaling_laws.report import style as st
from scaling_laws.report.batches import batch_law, entry_of, law_curves
from scaling_laws.report.evidence import Laws, StudyTables, n_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.formulas import LEVELS
from scaling_laws.report.text import number, short
from scaling_laws.study.units import PF_DAY_FLOPS

FIXED_TITLE = "Loss against size at fixed compute and at fixed steps"
COST_TITLE = "What another size than the best costs"
NEEDS_SIZES = "Needs three sizes of `scaling-laws sweep configs/sweeps/size.yaml` with learning curves."
N_VALUES = 6
N_LEVELS = 8
TOLERATED = 0.2
"""Compute above the least that counts as little."""
OFF_THE_AXIS = 1e3
"""In place of the infinite cost of a size that never reaches the loss."""
RATIOS = np.geomspace(0.1, 10, 400)
"""N over the best size, as in Figure 12."""


# --- Figure 11 ------------------------------------------------------------------------------------


@st.styled
def draw_fixed(tables: StudyTables, laws: Laws) -> Figure:
    """Left: loss against N at fixed compute. Right: at fixed steps. Lines by (5.6), (5.4) and (5.5)."""
    family = tables.main_family
    curves = law_curves(tables, family)
    computes, steps = even_values(curves, "C", N_VALUES), even_values(curves, "step", N_VALUES)
    if not len(computes) and not len(steps):
        return st.note(FIXED_TITLE, NEEDS_SIZES)
    figure, axes = st.panels(2, width=12.0, height=5.0)
    law = efficient_law(laws, family)
    for panel, column, values, unit, label in (
        (axes[0], "C", computes, PF_DAY_FLOPS, C_LABEL),
        (axes[1], "step", steps, 1.0, "optimizer steps"),
    ):
        measured = losses_at(curves, column, values)
        if measured.empty:
            st.note_in(panel, NEEDS_SIZES)
            continue
        colours = st.SizeColours(measured[column] / unit, "plasma")
        for value in np.unique(measured[column]):
            at_value = measured[measured[column] == value]
            look: dict[str, Any] = {"color": colours(value / unit)}
            panel.plot(at_value["N"], at_value["loss"], "o", ms=4.5, **look)
            if law is None:
                panel.plot(at_value["N"], at_value["loss"], linestyle=":", linewidth=0.8, **look)
                continue
            N = np.geomspace(at_value["N"].min(), at_value["N"].max(), 60)
            batch = float(at_value["batch_tokens"].iloc[0])
            expected = loss_at_fixed(law, N, column, value, batch)
            panel.plot(N, expected, linewidth=1.2, **look)
        st.log_x(panel, measured["N"], n_label(laws))
        st.log_y(panel, measured["loss"], st.LOSS_LABEL if panel is axes[0] else "")
        panel.plot([], [], "o", color=st.GREY, label="measured at a constant rate, one batch")
        if law is not None:
            panel.plot([], [], color=st.GREY, label="$L(N, S_{min})$ at that batch")
        panel.set_title("At fixed compute" if panel is axes[0] else "At fixed steps")
        st.legend_below(panel, columns=2)
        colours.bar(figure, [panel], label)
    return figure


def loss_at_fixed(law: ComputeEfficient, N: Any, axis: str, value: float, batch_tokens: float) -> Any:
    """The law's loss of N parameters after fixed steps or compute, at a batch: (5.4) and (5.6).

    Args:
        axis: `step`, or `C` = 6 N B S in FLOPs.
        value: of it.
    """
    steps = value if axis == "step" else value / (FLOPS_PER_PARAMETER_TOKEN * N * batch_tokens)
    return law.loss_at_batch(N, steps, batch_tokens)


def describe_fixed(tables: StudyTables, laws: Laws) -> str:
    """The size of lowest loss at the least and at the most compute, and how well the law fits the points."""
    family = tables.main_family
    curves = law_curves(tables, family)
    measured = losses_at(curves, "C", even_values(curves, "C", N_VALUES))
    if measured.empty:
        return "Too few sizes left learning curves of overlapping compute."
    ends = measured[measured["C"].isin([measured["C"].min(), measured["C"].max()])]
    best = ends.loc[ends.groupby("C")["loss"].idxmin()]
    words = " and ".join(
        f"N = {short(N)} at {C / PF_DAY_FLOPS:.1e} PF-days" for N, C in zip(best["N"], best["C"], strict=True)
    )
    law = efficient_law(laws, family)
    sentence = f"{st.family_name(str(family))}: of the sizes trained, the loss is lowest for {words}"
    if law is None:
        reason = entry_of(laws, "training_time", family)["reason"]
        return f"{sentence}; no law L(N, S_min) stands beside it: {reason}."
    N, C, B = (measured[name].to_numpy(dtype=float) for name in ("N", "C", "batch_tokens"))
    expected = law.loss_at_batch(N, C / (FLOPS_PER_PARAMETER_TOKEN * N * B), B)
    error = np.abs(expected / measured["loss"] - 1).mean()
    return f"{sentence}; L(N, S_min) is {100 * error:.2g} % off on average."


# --- Figure 12 ------------------------------------------------------------------------------------


def measured_costs(resources: pd.DataFrame) -> pd.DataFrame:
    """What each size costs over the best one at the same loss.

    Columns N, loss, size_ratio, compute_ratio, steps_ratio. The best size at a loss is the minimum of the
    parabola of ln C_min in ln N through the cheapest size and its two neighbours; a loss at which the
    cheapest is the smallest or largest that reached it has no rows.
    At one loss S_min ~ C_min/N, since B_crit is the same.

    Args:
        resources: from `training_time.least_resources`.
    """
    rows = []
    for loss in np.unique(resources["loss"]):
        at_loss = resources[resources["loss"] == loss].sort_values("N")
        log_N, log_C = (
            np.log(at_loss["N"].to_numpy(dtype=float)),
            np.log(at_loss["C_min"].to_numpy(dtype=float)),
        )
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


@st.styled
def draw_cost(tables: StudyTables, laws: Laws) -> Figure:
    """Left: compute over the least against N over the best N, (B.16). Right: steps, (B.17)."""
    figure, axes = st.panels(2, width=12.0, height=5.2)
    measured = _costs(tables, laws)
    law = efficient_law(laws, tables.main_family)
    draws = route_draws(laws, tables.main_family, "alpha_N", "alpha_S")
    measured = measured[measured["size_ratio"].between(RATIOS[0], RATIOS[-1])]
    colours = st.SizeColours(measured["loss"], "plasma") if len(measured) else None
    for panel, name, height, symbol in (
        (axes[0], "compute_ratio", 3.0, "C_{min}"),
        (axes[1], "steps_ratio", 10.0, "S_{min}"),
    ):
        low, high = KAPLAN_TABLE_3.tolerated_sizes(TOLERATED)
        label = f"Kaplan 2020: at most {100 * TOLERATED:.0f} % more compute, {low:.2g} to {high:.2g}"
        panel.axvspan(low, high, color=st.GREY, alpha=0.12, linewidth=0, label=label)
        panel.plot(
            RATIOS, getattr(KAPLAN_TABLE_3, name)(RATIOS), color=st.GREY, linestyle="--", label="Kaplan 2020"
        )
        if law is not None:
            panel.plot(RATIOS, getattr(law, name)(RATIOS), color=st.FIT, label="this study's $L(N, S_{min})$")
        if law is not None and draws is not None:
            drawn = ComputeEfficient(**(vars(law) | draws))
            band = np.percentile(np.minimum(getattr(drawn, name)(RATIOS), OFF_THE_AXIS), LEVELS, axis=0)
            panel.fill_between(RATIOS, *band, color=st.FIT, alpha=st.BAND_ALPHA, linewidth=0)
        if colours is not None:
            panel.scatter(
                measured["size_ratio"],
                measured[name],
                s=20,
                c=[colours(loss) for loss in measured["loss"]],
                zorder=3,
            )
            panel.plot([], [], "o", color=st.GREY, label="measured at one loss")
        st.log_x(panel, RATIOS, "$N\\,/\\,N_{best}$ at the same loss", margin=0.0)
        st.log_y(
            panel,
            [0.2 if name == "steps_ratio" else 0.9, height],
            f"${symbol}$ over that of the best size",
            margin=0.0,
        )
        st.legend_below(panel, columns=1)
    axes[0].set_title("Compute to the same loss")
    axes[1].set_title("Serial steps to the same loss")
    if colours is not None:
        colours.bar(figure, axes, "loss reached, nats per token")
    elif law is None:
        words = f"Only the paper's constants. {why_no_frontier(laws, tables.main_family)}"
        figure.suptitle(textwrap.fill(words, 130), color=st.INK, parse_math=False, fontsize=9)
    return figure


def describe_cost(tables: StudyTables, laws: Laws) -> str:
    """Between which sizes the compute stays near the least, here and in the paper."""
    low, high = KAPLAN_TABLE_3.tolerated_sizes(TOLERATED)
    paper = f"{low:.2g} to {high:.2g} times the best size in the paper's constants"
    law = efficient_law(laws, tables.main_family)
    sentence = f"At most {100 * TOLERATED:.0f} % more compute than the best size needs: {paper}"
    if law is None:
        return f"{sentence}; this study has no L(N, S_min) to compare."
    low, high = law.tolerated_sizes(TOLERATED)
    sentence += f", {low:.2g} to {high:.2g} in this study's"
    measured = _costs(tables, laws)
    near = measured[measured["size_ratio"].between(low, high)]
    if near.empty:
        return f"{sentence}; no size was measured between."
    most = number(near["compute_ratio"].max())
    return f"{sentence}; there {len(near)} measured costs are at most {most} times the least."


def _costs(tables: StudyTables, laws: Laws) -> pd.DataFrame:
    curves, batch = law_curves(tables, tables.main_family), batch_law(laws, tables.main_family)
    if batch is None or curves.empty:
        return measured_costs(pd.DataFrame(columns=["N", "loss", "C_min"]))
    return measured_costs(least_resources(curves, batch, loss_levels(curves, N_LEVELS)))


FIGURES = (
    Entry(
        name="fig11_fixed_compute_and_steps",
        title=FIXED_TITLE,
        paper="Fig. 11",
        question="compute",
        draw=draw_fixed,
        describe=describe_fixed,
    ),
    Entry(
        name="fig12_cost_of_a_wrong_size",
        title=COST_TITLE,
        paper="Fig. 12",
        question="compute",
        draw=draw_cost,
        describe=describe_cost,
    ),
)
