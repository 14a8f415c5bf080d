"""The compute-efficient frontier in C_min and as spent (Kaplan 2020, Figures 13 and 14)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scaling_laws.laws.forms.single import KaplanCMin
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.published import (
    KAPLAN_FIGURE_14_NAIVE_N,
    KAPLAN_SINGLE,
    KAPLAN_TABLE_6,
    PowerOfCompute,
)
from scaling_laws.papers.kaplan2020.time_points import compute_grid, envelope_of, time_points
from scaling_laws.papers.kaplan2020.training_time import C_MIN_LABEL, PF_DAYS, route_draws, why_no_frontier
from scaling_laws.report import style as st
from scaling_laws.report.batches import batch_law, entry_of, has_kaplans_tokens, law_curves
from scaling_laws.report.evidence import Laws, StudyTables, n_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.formulas import LEVELS
from scaling_laws.report.text import interval_text, number
from scaling_laws.study.units import PF_DAY_FLOPS

LOSS_TITLE = "The lowest loss for a compute"
SIZE_TITLE = "Best size and steps for a compute"
AS_SPENT = CriticalBatch(alpha_B=1.0, B_star=1e300)
"""A critical batch beyond all batches: C_min is then C as spent, and S_min vanishes."""
FEWEST_POINTS = 3
NAIVE = "#0072B2"


def efficient_envelope(laws: Laws, family: str | None) -> pd.DataFrame:
    """The measured frontier in C_min (FLOPs): C, loss, N, B_crit (tokens), S_min = C/(6 N B_crit)."""
    entry, batch = entry_of(laws, "training_time", family), batch_law(laws, family)
    points = entry.get("envelope") or []
    if batch is None or not points:
        return pd.DataFrame(columns=["C", "loss", "N", "B_crit", "S_min"], dtype=float)
    table = pd.DataFrame(points).rename(columns={"C_min": "C"}).astype(float)
    B_crit = batch.batch_tokens(table["loss"])
    S_min = table["C"] / (FLOPS_PER_PARAMETER_TOKEN * table["N"] * B_crit)
    return table.assign(B_crit=B_crit, S_min=S_min).sort_values("C", ignore_index=True)


def naive_envelope(curves: pd.DataFrame) -> pd.DataFrame:
    """The same in C as spent at the one batch of the curves: C, loss, N, batch, S = C/(6 N B).

    Args:
        curves: from `training_time.law_curves`.
    """
    empty = pd.DataFrame(columns=["C", "loss", "N", "batch", "S"], dtype=float)
    if curves.empty:
        return empty
    points = time_points(curves)
    if not len(points.N):
        return empty
    found = envelope_of(points, AS_SPENT, compute_grid(points, AS_SPENT))
    if found.reason:
        return empty
    batch = float(np.median(points.batch_tokens))
    S = found.C_min / (FLOPS_PER_PARAMETER_TOKEN * found.N * batch)
    return pd.DataFrame({"C": found.C_min, "loss": found.loss, "N": found.N, "batch": batch, "S": S})


def power_of(C: Any, values: Any) -> PowerOfCompute | None:
    """scale (C in PF-days)^exponent by least squares in logarithms; None for fewer than three points."""
    log_C, log_values = (
        np.log(np.asarray(C, dtype=float) / PF_DAY_FLOPS),
        np.log(np.asarray(values, dtype=float)),
    )
    if len(log_C) < FEWEST_POINTS:
        return None
    centre = float(log_C.mean())
    exponent, middle = np.polyfit(log_C - centre, log_values, 1)
    return PowerOfCompute(scale=float(np.exp(middle - exponent * centre)), exponent=float(exponent))


# --- Figure 13 ------------------------------------------------------------------------------------


@st.styled
def draw_loss(tables: StudyTables, laws: Laws) -> Figure:
    """Learning curves in C_min, their lower envelope with its fit, and the envelope in C as spent."""
    family = tables.main_family
    envelope, curves = efficient_envelope(laws, family), law_curves(tables, family)
    naive, batch = naive_envelope(curves), batch_law(laws, family)
    if envelope.empty and naive.empty:
        return st.note(LOSS_TITLE, why_no_frontier(laws, family))
    figure, (axes,) = st.panels(1, width=9.0, height=5.6)
    shown = [*envelope["loss"], *naive["loss"]]
    if batch is not None and not curves.empty:
        points = time_points(curves)
        colours, C_min = st.SizeColours(points.N), points.compute_min(batch, points.loss)
        for k, N in enumerate(points.N):
            of = points.training == k
            axes.plot(C_min[of] / PF_DAY_FLOPS, points.loss[of], color=colours(N), linewidth=0.9, alpha=0.6)
        colours.bar(figure, [axes], n_label(laws))
    C = np.geomspace(min([*envelope["C"], *naive["C"]]) / 2, max([*envelope["C"], *naive["C"]]) * 2, 60)
    if not envelope.empty:
        axes.plot(envelope["C"] / PF_DAY_FLOPS, envelope["loss"], "o", color=st.FIT, ms=4.5, zorder=4)
        _draw_efficient_fit(axes, laws, family, C)
    of_C = power_of(naive["C"], naive["loss"])
    if of_C is not None:
        points_style: dict[str, Any] = {
            "marker": "s",
            "mec": NAIVE,
            "color": "none",
            "linestyle": "none",
            "ms": 5,
        }
        axes.plot(naive["C"] / PF_DAY_FLOPS, naive["loss"], **points_style)
        theirs = KAPLAN_SINGLE.of_C_naive.alpha_C
        label = f"C as spent, $\\alpha_C$ = {number(-of_C.exponent)} (Kaplan 2020: {theirs})"
        axes.plot(C / PF_DAY_FLOPS, of_C.at(C), color=NAIVE, linestyle=(0, (4, 1.6)), label=label)
    kaplan = ((KAPLAN_SINGLE.of_C_min, "-", "$C_{min}$"), (KAPLAN_SINGLE.of_C_naive, "--", "C as spent"))
    for law, line, label in kaplan if has_kaplans_tokens(tables) else ():
        axes.plot(C / PF_DAY_FLOPS, law.loss(C), color=st.GREY, linestyle=line, label=f"Kaplan 2020, {label}")
        shown.extend(law.loss(C))
    st.log_x(axes, C / PF_DAY_FLOPS, f"compute, {PF_DAYS} (non-embedding)", margin=0.0)
    st.log_y(axes, shown, st.LOSS_LABEL, margin=0.2)
    axes.set_title("Loss against compute: in $C_{min}$, and as spent at one batch")
    st.legend_below(axes, columns=2)
    return figure


def describe_loss(tables: StudyTables, laws: Laws) -> str:
    """Both exponents of the loss in compute."""
    family = tables.main_family
    measured = entry_of(laws, "training_time", family).get("alpha_C_min")
    naive = naive_envelope(law_curves(tables, family))
    of_C = power_of(naive["C"], naive["loss"])
    if measured is None and of_C is None:
        return "The lower envelope over sizes was not measured."
    efficient = "is not measured" if measured is None else f"falls as C_min^-{_estimate(measured)}"
    spent = "is not measured" if of_C is None else f"as C^-{number(-of_C.exponent)}"
    kaplan = f"{KAPLAN_SINGLE.of_C_min.alpha_C} and {KAPLAN_SINGLE.of_C_naive.alpha_C}"
    return (
        f"{st.family_name(str(family))}: the lowest loss {efficient} and, in compute as spent at one batch, "
        f"{spent} (Kaplan 2020: {kaplan})."
    )


def _draw_efficient_fit(axes: Axes, laws: Laws, family: str | None, C: NDArray[Any]) -> None:
    entry = entry_of(laws, "training_time", family)
    fit = next(
        (fit for fit in entry["frontier"] if fit["form"] == KaplanCMin.form and fit["identified"]), None
    )
    if fit is None:
        return
    exponent = f"{_estimate(entry['alpha_C_min'])} (Kaplan 2020: {KAPLAN_SINGLE.of_C_min.alpha_C:.3f})"
    label = f"$C_{{min}}$, $\\alpha_C^{{min}}$ = {exponent}"
    axes.plot(C / PF_DAY_FLOPS, KaplanCMin(**fit["parameters"]).loss(C), color=st.FIT, label=label)
    draws = route_draws(laws, family, "alpha_C_min", "C_c_min")
    if draws is not None:
        low, high = np.percentile(KaplanCMin(**draws).loss(C), LEVELS, axis=0)
        axes.fill_between(C / PF_DAY_FLOPS, low, high, color=st.FIT, alpha=st.BAND_ALPHA, linewidth=0)


# --- Figure 14 ------------------------------------------------------------------------------------


@st.styled
def draw_size(tables: StudyTables, laws: Laws) -> Figure:
    """Left: the best size against compute. Right: the steps that it takes. In C_min, and as spent."""
    family = tables.main_family
    envelope, naive = efficient_envelope(laws, family), naive_envelope(law_curves(tables, family))
    if envelope.empty and naive.empty:
        return st.note(SIZE_TITLE, why_no_frontier(laws, family))
    figure, (sizes, steps) = st.panels(2, width=12.0, height=5.4)
    C = np.geomspace(min([*envelope["C"], *naive["C"]]) / 2, max([*envelope["C"], *naive["C"]]) * 2, 60)
    panels_of = (
        (sizes, "N", "N", "N", (KAPLAN_TABLE_6.N, KAPLAN_FIGURE_14_NAIVE_N)),
        (steps, "S_min", "S_min", "S", (KAPLAN_TABLE_6.steps_min, None)),
    )
    for axes, name, column, naive_column, (kaplan, kaplan_naive) in panels_of:
        shown = [*envelope[column], *naive[naive_column], *kaplan.at(C)]
        symbol = {"N": "N", "S_min": "S_{min}"}[name]
        if not envelope.empty:
            axes.plot(envelope["C"] / PF_DAY_FLOPS, envelope[column], "o", color=st.FIT, ms=5, zorder=4)
            _draw_power(axes, laws, family, name, symbol, C)
        of_naive = power_of(naive["C"], naive[naive_column])
        if of_naive is not None:
            axes.plot(naive["C"] / PF_DAY_FLOPS, naive[naive_column], "s", color="none", mec=NAIVE, ms=5)
            label = f"as spent at one batch: $C^{{{of_naive.exponent:.2f}}}$"
            axes.plot(C / PF_DAY_FLOPS, of_naive.at(C), color=NAIVE, linestyle=(0, (4, 1.6)), label=label)
        label = f"Kaplan 2020: ${symbol} \\propto C_{{min}}^{{{kaplan.exponent}}}$"
        axes.plot(C / PF_DAY_FLOPS, kaplan.at(C), color=st.GREY, label=label)
        if kaplan_naive is not None:
            label = f"Kaplan 2020, as spent: $C^{{{kaplan_naive.exponent}}}$"
            axes.plot(C / PF_DAY_FLOPS, kaplan_naive.at(C), color=st.GREY, linestyle="--", label=label)
            shown.extend(kaplan_naive.at(C))
        st.log_x(axes, C / PF_DAY_FLOPS, C_MIN_LABEL.replace("$C_{min}$", "compute"), margin=0.0)
        st.log_y(
            axes,
            shown,
            "$N_{opt}$, " + n_label(laws).partition(", ")[2] if axes is sizes else "optimizer steps",
        )
        st.legend_below(axes, columns=1)
    sizes.set_title("Best size")
    steps.set_title("Steps at the best size")
    return figure


def describe_size(tables: StudyTables, laws: Laws) -> str:
    """The exponents of N, B, S_min and D along the frontier."""
    family = tables.main_family
    optimal = entry_of(laws, "training_time", family).get("optimal")
    naive = naive_envelope(law_curves(tables, family))
    of_naive = power_of(naive["C"], naive["N"])
    if not optimal and of_naive is None:
        return "The lower envelope over sizes was not measured."
    words = []
    if optimal:
        kaplan = {
            "N": KAPLAN_TABLE_6.N,
            "B": KAPLAN_TABLE_6.batch_tokens,
            "S_min": KAPLAN_TABLE_6.steps_min,
            "D": KAPLAN_TABLE_6.D,
        }
        words += [
            f"{name} ~ C_min^{_exponent(optimal[name])} (Kaplan 2020: {power.exponent})"
            for name, power in kaplan.items()
        ]
    if of_naive is not None:
        words.append(
            f"as spent N ~ C^{number(of_naive.exponent)} (Kaplan 2020: {KAPLAN_FIGURE_14_NAIVE_N.exponent})"
        )
    return f"{st.family_name(str(family))}, along the frontier: {'; '.join(words)}."


def _draw_power(axes: Axes, laws: Laws, family: str | None, name: str, symbol: str, C: NDArray[Any]) -> None:
    """A power of C_min through the envelope (`optimal` of laws.json), with its band."""
    power = (entry_of(laws, "training_time", family).get("optimal") or {}).get(name)
    if power is None:
        return
    label = f"$ {symbol} \\propto C_{{min}}^p$, p = {_exponent(power)}"
    axes.plot(C / PF_DAY_FLOPS, power["coefficient"] * C ** power["exponent"], color=st.FIT, label=label)
    draws = route_draws(laws, family, f"{name} coefficient", f"{name} exponent")
    if draws is not None:
        drawn = draws[f"{name} coefficient"] * C ** draws[f"{name} exponent"]
        low, high = np.percentile(drawn, LEVELS, axis=0)
        axes.fill_between(C / PF_DAY_FLOPS, low, high, color=st.FIT, alpha=st.BAND_ALPHA, linewidth=0)


def _exponent(power: Any) -> str:
    return f"{number(power['exponent'], 2)} {interval_text(power['exponent_interval'], 2)}".strip()


def _estimate(estimate: Any) -> str:
    return f"{number(estimate['value'])} {interval_text(estimate['interval'])}".strip()


FIGURES = (
    Entry(
        name="fig13_compute_min",
        title=LOSS_TITLE,
        paper="Fig. 13",
        question="compute",
        draw=draw_loss,
        describe=describe_loss,
    ),
    Entry(
        name="fig14_size_and_steps",
        title=SIZE_TITLE,
        paper="Fig. 14",
        question="compute",
        draw=draw_size,
        describe=describe_size,
    ),
)
