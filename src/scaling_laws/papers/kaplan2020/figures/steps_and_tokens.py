"""Steps against tokens to equal losses, and the least of both (Kaplan 2020, Figures 18 and 19)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from scaling_laws.laws.batch.batch_scan import steps_to_target
from scaling_laws.laws.forms.steps import TimeData
from scaling_laws.papers.kaplan2020.training_time import efficient_law, least_resources, loss_levels
from scaling_laws.report import style as st
from scaling_laws.report.batches import (
    all_curves,
    batch_law,
    batch_levels,
    entry_of,
    law_curves,
    why_no_batches,
)
from scaling_laws.report.evidence import Laws, StudyTables, n_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.text import number, short

SCAN_TITLE = "Steps against tokens to equal losses"
RESOURCES_TITLE = "Least steps and least tokens to a loss, by size"
N_CONTOURS = 8
N_LEVELS = 7
SHOWN_SIZES = 2
FEWEST_LEVELS = 3


# --- Figure 18 ------------------------------------------------------------------------------------


def scanned_sizes(laws: Laws, family: str | None) -> list[float]:
    """The sizes with the most batches, at most `SHOWN_SIZES`, with hyperbolas at three losses or more."""
    levels = batch_levels(laws, family)
    of_size = levels.groupby("N").agg(batches=("n_batches", "max"), losses=("loss", "size"))
    enough = of_size[of_size["losses"] >= FEWEST_LEVELS].sort_values(
        "batches", ascending=False, kind="stable"
    )
    return sorted(float(N) for N in enough.index[:SHOWN_SIZES])


@st.styled
def draw_scan(tables: StudyTables, laws: Laws) -> Figure:
    """One panel a size: steps and tokens to each loss at each batch, with the hyperbolas (5.1)."""
    family = tables.main_family
    sizes, levels = scanned_sizes(laws, family), batch_levels(laws, family)
    curves = all_curves(tables, laws, family)
    if not sizes or curves.empty:
        return st.note(SCAN_TITLE, why_no_batches(laws, family))
    scan = steps_to_target(curves[curves["N"].isin(sizes)], np.unique(levels["loss"])).dropna(
        subset=["steps"]
    )
    figure, axes = st.panels(len(sizes), width=5.6 * len(sizes) + 1.0, height=5.2)
    shown = levels[levels["N"].isin(sizes)]
    colours = st.SizeColours(shown["loss"], "plasma")
    for panel, N in zip(axes, sizes, strict=True):
        of_size = shown[shown["N"] == N].sort_values("loss")
        kept = of_size.iloc[np.unique(np.linspace(0, len(of_size) - 1, N_CONTOURS).round().astype(int))]
        steps, tokens = [], []
        for loss, S_min, E_min in kept[["loss", "S_min", "E_min"]].to_numpy():
            points = scan[(scan["N"] == N) & np.isclose(scan["loss"], loss, rtol=1e-9)]
            law = TimeData(S_min=S_min, E_min=E_min)
            B = np.geomspace(points["batch"].min() / 2, points["batch"].max() * 2, 80)
            panel.plot(law.steps(B), law.tokens(B), color=colours(loss), linewidth=1.2)
            panel.plot(points["steps"], points["tokens"], "o", color=colours(loss), ms=4.5)
            steps += [*points["steps"], S_min]
            tokens += [*points["tokens"], E_min]
        st.log_x(panel, steps, "S, optimizer steps")
        st.log_y(panel, tokens, "E = BS, tokens processed" if panel is axes[0] else "")
        panel.set_title(f"N = {short(N)}")
        panel.plot([], [], "o", color=st.GREY, label="a batch, its fastest learning rate")
        panel.plot([], [], color=st.GREY, label="$(S/S_{min}-1)(E/E_{min}-1) = 1$")
        st.legend_below(panel, columns=2)
    colours.bar(figure, axes, st.LOSS_LABEL)
    return figure


def describe_scan(tables: StudyTables, laws: Laws) -> str:
    """At the lowest loss of each size: S_min and E_min."""
    family = tables.main_family
    sizes, levels = scanned_sizes(laws, family), batch_levels(laws, family)
    if not sizes:
        return (
            f"No scan of batches: {entry_of(laws, 'critical_batch', family)['reason'] or 'too few losses'}."
        )
    words = []
    for N in sizes:
        lowest = levels[levels["N"] == N].sort_values("loss").iloc[0]
        least = f"{number(lowest['S_min'])} steps and {short(lowest['E_min'])} tokens"
        words.append(f"N = {short(N)} needs at least {least} to a loss of {lowest['loss']:.2f}")
    return f"{st.family_name(str(family))}: {'; '.join(words)}."


# --- Figure 19 ------------------------------------------------------------------------------------


@st.styled
def draw_resources(tables: StudyTables, laws: Laws) -> Figure:
    """Left: S_min against N, a line a loss. Right: E_min. Points by (5.4) from the curves of one batch."""
    family = tables.main_family
    batch, curves = batch_law(laws, family), law_curves(tables, family)
    if batch is None:
        return st.note(RESOURCES_TITLE, why_no_batches(laws, family))
    measured = least_resources(curves, batch, loss_levels(curves, N_LEVELS))
    if measured.empty:
        return st.note(RESOURCES_TITLE, "Needs three sizes of `scaling-laws sweep configs/sweeps/size.yaml`.")
    figure, axes = st.panels(2, width=12.0, height=5.2)
    colours, law = st.SizeColours(measured["loss"], "plasma"), efficient_law(laws, family)
    for panel, name, label in zip(
        axes, ("S_min", "E_min"), ("$S_{min}$, steps", "$E_{min}$, tokens"), strict=True
    ):
        for loss in np.unique(measured["loss"]):
            at_loss, colour = measured[measured["loss"] == loss], colours(loss)
            panel.plot(at_loss["N"], at_loss[name], "o", color=colour, ms=4.5)
            if law is None:
                panel.plot(at_loss["N"], at_loss[name], color=colour, linewidth=0.8, linestyle=":")
                continue
            N = np.geomspace(at_loss["N"].min(), measured["N"].max(), 60)
            S_min = law.of_steps.stop_step_bound(loss - law.converged_loss(N))
            expected = S_min if name == "S_min" else S_min * law.critical_batch(loss)
            reached = np.isfinite(expected)
            panel.plot(N[reached], expected[reached], color=colour, linewidth=1.2)
        st.log_x(panel, measured["N"], n_label(laws))
        st.log_y(panel, measured[name], label, margin=0.1)
        panel.plot([], [], "o", color=st.GREY, label="measured, converted with $B_{crit}(L)$")
        if law is not None:
            panel.plot([], [], color=st.GREY, label="$L(N, S_{min})$")
        st.legend_below(panel, columns=2)
    axes[0].set_title("Least steps (batch far above $B_{crit}$)")
    axes[1].set_title("Least tokens (batch far below $B_{crit}$)")
    colours.bar(figure, axes, st.LOSS_LABEL)
    return figure


def describe_resources(tables: StudyTables, laws: Laws) -> str:
    """How much more sample-efficient the largest size is, at the loss that spans most."""
    family = tables.main_family
    batch, curves = batch_law(laws, family), law_curves(tables, family)
    if batch is None:
        reason = entry_of(laws, "critical_batch", family)["reason"]
        return f"Without a law of the critical batch there is no S_min: {reason}."
    measured = least_resources(curves, batch, loss_levels(curves, N_LEVELS))
    levels = [
        (loss, measured[measured["loss"] == loss].sort_values("N")) for loss in np.unique(measured["loss"])
    ]
    ends = [(float(loss), at_loss) for loss, at_loss in levels if at_loss["N"].nunique() > 1]
    if not ends:
        return "No two sizes reached one loss."
    loss, widest = max(ends, key=lambda end: float(end[1]["E_min"].iloc[0] / end[1]["E_min"].iloc[-1]))
    small, large = widest.iloc[0], widest.iloc[-1]
    return (
        f"{st.family_name(str(family))}: to a loss of {loss:.2f}, N = {short(large['N'])} needs "
        f"{number(small['E_min'] / large['E_min'], 2)} times fewer tokens than N = {short(small['N'])}."
    )


FIGURES = (
    Entry(
        name="fig18_steps_and_tokens",
        title=SCAN_TITLE,
        paper="Fig. 18",
        question="batch",
        draw=draw_scan,
        describe=describe_scan,
    ),
    Entry(
        name="fig19_least_steps_and_tokens",
        title=RESOURCES_TITLE,
        paper="Fig. 19",
        question="batch",
        draw=draw_resources,
        describe=describe_resources,
    ),
)
