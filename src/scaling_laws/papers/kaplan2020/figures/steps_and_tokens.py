"""Steps against tokens to equal losses, and the least of both (Kaplan 2020, Figures 18 and 19)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.batch.batch_scan import steps_to_target
from scaling_laws.laws.batch.compute_efficient import ComputeEfficient
from scaling_laws.laws.forms.steps import TimeData
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.text import number, short

N_CONTOURS = 8
N_LEVELS = 7
SHOWN_SIZES = 2
FEWEST_LEVELS = 3


# --- Figure 18 ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ScannedBatches:
    """Steps and tokens to each loss, of one family's sizes with the most batches.

    Attributes:
        family: in words.
        levels: from `scanned_levels`, by N and loss.
        contours: those of them that are drawn.
        points: N, loss, batch, steps, tokens: what was measured, at the contours' losses.
    """

    family: str
    levels: pd.DataFrame
    contours: pd.DataFrame
    points: pd.DataFrame


def draw_scan(data: ScannedBatches) -> Figure:
    """One panel a size: steps and tokens to each loss at each batch, with the hyperbolas (5.1)."""
    sizes = data.levels["N"].unique()
    figure, axes = st.panels(len(sizes), width=5.6 * len(sizes) + 1.0, height=5.2)
    colours = st.SizeColours(data.levels["loss"], "plasma")
    for panel, N in zip(axes, sizes, strict=True):
        contours, of_size = (table[table["N"] == N] for table in (data.contours, data.points))
        for loss, S_min, E_min in contours[["loss", "S_min", "E_min"]].to_numpy():
            points = of_size[of_size["loss"] == loss]
            law = TimeData(S_min=S_min, E_min=E_min)
            B = np.geomspace(points["batch"].min() / 2, points["batch"].max() * 2, 80)
            panel.plot(law.steps(B), law.tokens(B), color=colours(loss), linewidth=1.2)
            panel.plot(points["steps"], points["tokens"], "o", color=colours(loss), ms=4.5)
        st.log_x(panel, [*of_size["steps"], *contours["S_min"]], "S, optimizer steps")
        label = "E = BS, tokens processed" if panel is axes[0] else ""
        st.log_y(panel, [*of_size["tokens"], *contours["E_min"]], label)
        panel.set_title(f"N = {short(N)}")
        panel.plot([], [], "o", color=st.GREY, label="a batch, its fastest learning rate")
        panel.plot([], [], color=st.GREY, label="$(S/S_{min}-1)(E/E_{min}-1) = 1$")
        st.legend_below(panel, columns=2)
    colours.bar(figure, axes, st.LOSS_LABEL)
    return figure


def describe_scan(data: ScannedBatches) -> str:
    """At the lowest loss of each size: S_min and E_min."""
    lowest = data.levels.drop_duplicates("N")
    words = [
        f"N = {short(N)} needs at least {number(S_min)} steps and {short(E_min)} tokens to a loss of "
        f"{loss:.2f}"
        for N, loss, S_min, E_min in lowest[["N", "loss", "S_min", "E_min"]].to_numpy()
    ]
    return f"{data.family}: {'; '.join(words)}."


@figure(
    "fig18_steps_and_tokens",
    "Steps against tokens to equal losses",
    "batch",
    draw=draw_scan,
    describe=describe_scan,
)
def fig18_steps_and_tokens(study: KaplanTables, laws: Laws) -> ScannedBatches | str:
    levels, curves = (
        scanned_levels(study),
        study.curves_of_all(),
    )
    if levels.empty or curves.empty:
        return study.why_no_batches
    evenly = [
        of_size.iloc[np.unique(np.linspace(0, len(of_size) - 1, N_CONTOURS).round().astype(int))]
        for _, of_size in levels.groupby("N")
    ]
    contours = pd.concat(evenly, ignore_index=True)
    of_sizes = curves[curves["N"].isin(levels["N"])]
    scan = steps_to_target(of_sizes, np.unique(contours["loss"])).dropna(subset=["steps"])
    return ScannedBatches(
        family=study.main_name,
        levels=levels,
        contours=contours,
        points=scan.merge(contours[["N", "loss"]], on=["N", "loss"]),
    )


def scanned_levels(study: KaplanTables) -> pd.DataFrame:
    """`ScannedBatches.levels`: at most `SHOWN_SIZES` sizes, with hyperbolas at three losses or more."""
    columns = ["N", "loss", "S_min", "E_min", "n_batches"]
    levels = [level for level in study.critical_batch().levels if level.B_crit is not None]
    rows = [[getattr(level, name) for name in columns] for level in levels]
    table = pd.DataFrame(rows, columns=columns, dtype=float)
    of_size = table.groupby("N").agg(batches=("n_batches", "max"), losses=("loss", "size"))
    enough = of_size[of_size["losses"] >= FEWEST_LEVELS]
    most = enough.sort_values("batches", ascending=False, kind="stable").index[:SHOWN_SIZES]
    return table[table["N"].isin(most)].sort_values(["N", "loss"], ignore_index=True)


# --- Figure 19 ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LeastResources:
    """The least steps and tokens of each size to equal losses, of one family.

    Attributes:
        family, n_label: in words.
        measured: from `KaplanTables.least_resources`.
        law: L(N,S_min) and B_crit(L); None where they are not identified.
    """

    family: str
    n_label: str
    measured: pd.DataFrame
    law: ComputeEfficient | None


def draw_resources(data: LeastResources) -> Figure:
    """Left: S_min against N, a line a loss. Right: E_min. Points by (5.4) from the curves of one batch."""
    figure, axes = st.panels(2, width=12.0, height=5.2)
    colours = st.SizeColours(data.measured["loss"], "plasma")
    _draw_least(axes[0], data, colours, "S_min", "$S_{min}$, steps")
    _draw_least(axes[1], data, colours, "E_min", "$E_{min}$, tokens")
    axes[0].set_title("Fewest steps (batch far above $B_{crit}$)")
    axes[1].set_title("Fewest tokens (batch far below $B_{crit}$)")
    colours.bar(figure, axes, st.LOSS_LABEL)
    return figure


def _draw_least(axes: Axes, data: LeastResources, colours: st.SizeColours, name: str, label_y: str) -> None:
    for loss in np.unique(data.measured["loss"]):
        at_loss, colour = data.measured[data.measured["loss"] == loss], colours(loss)
        axes.plot(at_loss["N"], at_loss[name], "o", color=colour, ms=4.5)
        if data.law is None:
            axes.plot(at_loss["N"], at_loss[name], color=colour, linewidth=0.8, linestyle=":")
            continue
        N = np.geomspace(at_loss["N"].min(), data.measured["N"].max(), 60)
        expected = data.law.of_steps.stop_step_bound(loss - data.law.converged_loss(N))
        if name == "E_min":
            expected = expected * data.law.critical_batch(loss)
        reached = np.isfinite(expected)
        axes.plot(N[reached], expected[reached], color=colour, linewidth=1.2)
    st.log_x(axes, data.measured["N"], data.n_label)
    st.log_y(axes, data.measured[name], label_y, margin=0.1)
    axes.plot([], [], "o", color=st.GREY, label="measured, converted with $B_{crit}(L)$")
    if data.law is not None:
        axes.plot([], [], color=st.GREY, label="$L(N, S_{min})$")
    st.legend_below(axes, columns=2)


def describe_resources(data: LeastResources) -> str:
    """How much more sample-efficient the largest size is, at the loss that spans most."""
    by_loss = (at_loss.sort_values("N") for _, at_loss in data.measured.groupby("loss"))
    ends = [(at_loss.iloc[0], at_loss.iloc[-1]) for at_loss in by_loss if at_loss["N"].nunique() > 1]
    if not ends:
        return "No two sizes reached the same loss."
    small, large = max(ends, key=lambda pair: float(pair[0]["E_min"] / pair[1]["E_min"]))
    return (
        f"{data.family}: to a loss of {small['loss']:.2f}, N = {short(large['N'])} needs "
        f"{number(small['E_min'] / large['E_min'], 2)} times fewer tokens than N = {short(small['N'])}."
    )


@figure(
    "fig19_least_steps_and_tokens",
    "Fewest steps and fewest tokens to a loss, by size",
    "batch",
    draw=draw_resources,
    describe=describe_resources,
)
def fig19_least_steps_and_tokens(study: KaplanTables, laws: Laws) -> LeastResources | str:
    if study.critical_batch().law is None:
        return study.why_no_batches
    measured = study.least_resources(N_LEVELS)
    if measured.empty:
        return "Needs three sizes of `scaling-laws sweep configs/sweeps/size.yaml`."
    return LeastResources(
        family=study.main_name,
        n_label=study.n_label,
        measured=measured,
        law=study.route().efficient,
    )
