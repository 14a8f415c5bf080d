"""The compute-efficient frontier in C_min and as spent (Kaplan 2020, Figures 13 and 14)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.fit.level import interval_percentiles
from scaling_laws.laws.forms.single import KaplanCMin
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.published import (
    KAPLAN_FIGURE_14_NAIVE_N,
    KAPLAN_SINGLE,
    KAPLAN_TABLE_6,
    PowerOfCompute,
)
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.papers.kaplan2020.route import KaplanRoute
from scaling_laws.papers.kaplan2020.time_points import envelope_of, time_points
from scaling_laws.report import style as st
from scaling_laws.report.batch_laws import has_kaplans_tokens
from scaling_laws.report.figure import figure
from scaling_laws.report.text import interval_text, number
from scaling_laws.study.units import PF_DAY_FLOPS

AS_SPENT = CriticalBatch(alpha_B=1.0, B_star=1e300)
"""A critical batch beyond all batches: C_min is then C as spent, and S_min vanishes."""
FEWEST_POINTS = 3
NAIVE: dict[str, Any] = {"color": "#0072B2", "linestyle": (0, (4, 1.6))}
NAIVE_POINTS: dict[str, Any] = {"marker": "s", "mec": "#0072B2", "color": "none", "ls": "none", "ms": 5}


@dataclass(frozen=True, kw_only=True)
class EfficientFrontier:
    """The lowest loss over sizes at each compute, of one family. C in FLOPs.

    Attributes:
        family, n_label: in words.
        route: its laws and draws.
        envelope: in C_min: C, loss, N, B_crit (tokens), S_min = C/(6 N B_crit).
        naive: in C as spent at the one batch of the curves: C, loss, N, batch (tokens), S = C/(6 N B).
        curves: what the envelope in C_min is of: training, N, C, loss.
        has_kaplans_tokens: whether the paper's losses stand beside these.
    """

    family: str
    n_label: str
    route: KaplanRoute
    envelope: pd.DataFrame
    naive: pd.DataFrame
    curves: pd.DataFrame
    has_kaplans_tokens: bool

    @property
    def C(self) -> NDArray[Any]:
        """FLOPs at which lines are drawn."""
        shown = [*self.envelope["C"], *self.naive["C"]]
        return np.geomspace(min(shown) / 2, max(shown) * 2, 60)


def efficient_frontier(study: KaplanTables, laws: Laws) -> EfficientFrontier | str:
    """What both figures are drawn from."""
    route, curves = study.route(), study.curves_of_laws()
    envelope, naive = efficient_envelope(route), naive_envelope(curves)
    if envelope.empty and naive.empty:
        return study.why_no_frontier
    in_C_min = pd.DataFrame(columns=["training", "N", "C", "loss"])
    batch = study.critical_batch().law
    if batch is not None and not curves.empty:
        points = time_points(curves)
        C, N = points.compute_min(batch, points.loss), points.N[points.training]
        in_C_min = pd.DataFrame({"training": points.training, "N": N, "C": C, "loss": points.loss})
    return EfficientFrontier(
        family=study.main_name,
        n_label=study.n_label,
        route=route,
        envelope=envelope,
        naive=naive,
        curves=in_C_min,
        has_kaplans_tokens=has_kaplans_tokens(study),
    )


def efficient_envelope(route: KaplanRoute) -> pd.DataFrame:
    """`EfficientFrontier.envelope`."""
    if route.envelope is None or route.batch is None:
        return pd.DataFrame(columns=["C", "loss", "N", "B_crit", "S_min"], dtype=float)
    C, N, loss = route.envelope.C_min, route.envelope.N, route.envelope.loss
    B_crit = route.batch.batch_tokens(loss)
    S_min = C / (FLOPS_PER_PARAMETER_TOKEN * N * B_crit)
    return pd.DataFrame({"C": C, "loss": loss, "N": N, "B_crit": B_crit, "S_min": S_min})


def naive_envelope(curves: pd.DataFrame) -> pd.DataFrame:
    """`EfficientFrontier.naive`.

    Args:
        curves: from `KaplanTables.curves_of_laws`.
    """
    empty = pd.DataFrame(columns=["C", "loss", "N", "batch", "S"], dtype=float)
    points = None if curves.empty else time_points(curves)
    if points is None or not len(points.N):
        return empty
    envelope = envelope_of(points, AS_SPENT, points.compute_grid(AS_SPENT))
    batch = float(np.median(points.batch_tokens))
    S = envelope.C_min / (FLOPS_PER_PARAMETER_TOKEN * envelope.N * batch)
    columns = {"C": envelope.C_min, "loss": envelope.loss, "N": envelope.N, "batch": batch, "S": S}
    return empty if envelope.reason else pd.DataFrame(columns)


def power_of(C: ArrayLike, values: ArrayLike) -> PowerOfCompute | None:
    """scale (C in PF-days)^exponent by least squares in logarithms; None for fewer than three points."""
    log_C = np.log(np.asarray(C, dtype=float) / PF_DAY_FLOPS)
    log_values = np.log(np.asarray(values, dtype=float))
    if len(log_C) < FEWEST_POINTS:
        return None
    centre = float(log_C.mean())
    exponent, middle = np.polyfit(log_C - centre, log_values, 1)
    return PowerOfCompute(scale=float(np.exp(middle - exponent * centre)), exponent=float(exponent))


# --- Figure 13 ------------------------------------------------------------------------------------


def draw_loss(data: EfficientFrontier) -> Figure:
    """Learning curves in C_min, their lower envelope with its fit, and the envelope in C as spent."""
    figure, (axes,) = st.panels(1, width=9.0, height=5.6)
    shown = [*data.envelope["loss"], *data.naive["loss"]]
    if len(data.curves):
        colours = st.SizeColours(data.curves["N"])
        for _, curve in data.curves.groupby("training"):
            colour = colours(curve["N"].iloc[0])
            axes.plot(curve["C"] / PF_DAY_FLOPS, curve["loss"], color=colour, linewidth=0.9, alpha=0.6)
        colours.bar(figure, [axes], data.n_label)
    C = data.C
    alpha, law = data.route.estimate("alpha_C_min"), data.route.law_of_C_min
    if not data.envelope.empty:
        axes.plot(
            data.envelope["C"] / PF_DAY_FLOPS, data.envelope["loss"], "o", color=st.FIT, ms=4.5, zorder=4
        )
    if alpha is not None and law is not None:
        exponent = f"{number(alpha.value)} {interval_text(alpha.interval)}".strip()
        exponent += f" (Kaplan 2020: {KAPLAN_SINGLE.of_C_min.alpha_C:.3f})"
        label = f"$C_{{min}}$, $\\alpha_C^{{min}}$ = {exponent}"
        axes.plot(C / PF_DAY_FLOPS, law.loss(C), color=st.FIT, label=label)
        _draw_band(axes, C, data.route.columns("alpha_C_min", "C_c_min"), lambda d: KaplanCMin(**d).loss(C))
    of_C = power_of(data.naive["C"], data.naive["loss"])
    if of_C is not None:
        axes.plot(data.naive["C"] / PF_DAY_FLOPS, data.naive["loss"], **NAIVE_POINTS)
        theirs = KAPLAN_SINGLE.of_C_naive.alpha_C
        label = f"C as spent, $\\alpha_C$ = {number(-of_C.exponent)} (Kaplan 2020: {theirs})"
        axes.plot(C / PF_DAY_FLOPS, of_C.at(C), **NAIVE, label=label)
    kaplan = ((KAPLAN_SINGLE.of_C_min, "-", "$C_{min}$"), (KAPLAN_SINGLE.of_C_naive, "--", "C as spent"))
    for of_paper, line, words in kaplan if data.has_kaplans_tokens else ():
        loss = of_paper.loss(C)
        axes.plot(C / PF_DAY_FLOPS, loss, color=st.GREY, linestyle=line, label=f"Kaplan 2020, {words}")
        shown.extend(loss)
    st.log_x(axes, C / PF_DAY_FLOPS, "compute, PF-days (non-embedding)", margin=0.0)
    st.log_y(axes, shown, st.LOSS_LABEL, margin=0.2)
    axes.set_title("Loss against compute: in $C_{min}$, and as spent at one batch")
    st.legend_below(axes, columns=2)
    return figure


def describe_loss(data: EfficientFrontier) -> str:
    """Both exponents of the loss in compute."""
    alpha, of_C = data.route.estimate("alpha_C_min"), power_of(data.naive["C"], data.naive["loss"])
    if alpha is None and of_C is None:
        return f"{data.family}: the frontier has too few points for exponents."
    efficient = spent = "is not measured"
    if alpha is not None:
        efficient = f"falls as C_min^-{number(alpha.value)} {interval_text(alpha.interval)}".strip()
    if of_C is not None:
        spent = f"as C^-{number(-of_C.exponent)}"
    kaplan = f"{KAPLAN_SINGLE.of_C_min.alpha_C} and {KAPLAN_SINGLE.of_C_naive.alpha_C}"
    return (
        f"{data.family}: the lowest loss {efficient} and, in compute as spent at one batch, "
        f"{spent} (Kaplan 2020: {kaplan})."
    )


@figure(
    "fig13_compute_min",
    "The lowest loss for a compute",
    "compute",
    draw=draw_loss,
    describe=describe_loss,
)
def fig13_compute_min(study: KaplanTables, laws: Laws) -> EfficientFrontier | str:
    return efficient_frontier(study, laws)


# --- Figure 14 ------------------------------------------------------------------------------------


def draw_size(data: EfficientFrontier) -> Figure:
    """Left: the best size against compute. Right: the steps that it takes. In C_min, and as spent."""
    figure, (sizes, steps) = st.panels(2, width=12.0, height=5.4)
    N_label = "$N_{opt}$, " + data.n_label.partition(", ")[2]
    _draw_powers(sizes, data, "N", "N", "N", N_label, KAPLAN_TABLE_6.N, KAPLAN_FIGURE_14_NAIVE_N)
    _draw_powers(steps, data, "S_min", "S_{min}", "S", "optimizer steps", KAPLAN_TABLE_6.steps_min, None)
    sizes.set_title("Best size")
    steps.set_title("Steps at the best size")
    return figure


def describe_size(data: EfficientFrontier) -> str:
    """The exponents of N, B, S_min and D along the frontier."""
    kaplan = {
        "N": KAPLAN_TABLE_6.N,
        "B": KAPLAN_TABLE_6.batch_tokens,
        "S_min": KAPLAN_TABLE_6.steps_min,
        "D": KAPLAN_TABLE_6.D,
    }
    words = [
        f"{name} ~ C_min^{_exponent(data.route, name)} (Kaplan 2020: {power.exponent})"
        for name, power in kaplan.items()
        if data.route.optimal(name)
    ]
    as_spent = power_of(data.naive["C"], data.naive["N"])
    if as_spent is not None:
        theirs = KAPLAN_FIGURE_14_NAIVE_N.exponent
        words.append(f"as spent N ~ C^{number(as_spent.exponent)} (Kaplan 2020: {theirs})")
    if not words:
        return f"{data.family}: the frontier has too few points for exponents."
    return f"{data.family}, along the frontier: {'; '.join(words)}."


@figure(
    "fig14_size_and_steps",
    "Best size and steps for a compute",
    "compute",
    draw=draw_size,
    describe=describe_size,
)
def fig14_size_and_steps(study: KaplanTables, laws: Laws) -> EfficientFrontier | str:
    return efficient_frontier(study, laws)


def _draw_powers(
    axes: Axes,
    data: EfficientFrontier,
    name: str,
    symbol: str,
    naive_name: str,
    label_y: str,
    kaplan: PowerOfCompute,
    kaplan_naive: PowerOfCompute | None,
) -> None:
    """One quantity against compute: in C_min with its band, as spent, and the paper's."""
    C, days = data.C, data.C / PF_DAY_FLOPS
    shown = [*data.envelope[name], *data.naive[naive_name], *kaplan.at(C)]
    power = data.route.optimal(name)
    if not data.envelope.empty:
        axes.plot(data.envelope["C"] / PF_DAY_FLOPS, data.envelope[name], "o", color=st.FIT, ms=5, zorder=4)
    if power is not None:
        label = f"$ {symbol} \\propto C_{{min}}^p$, p = {_exponent(data.route, name)}"
        axes.plot(days, power.at(C), color=st.FIT, label=label)
        k, p = f"{name} coefficient", f"{name} exponent"
        _draw_band(axes, C, data.route.columns(k, p), lambda d: d[k] * C ** d[p])
    as_spent = power_of(data.naive["C"], data.naive[naive_name])
    if as_spent is not None:
        axes.plot(data.naive["C"] / PF_DAY_FLOPS, data.naive[naive_name], **NAIVE_POINTS)
        label = f"as spent at one batch: $C^{{{as_spent.exponent:.2f}}}$"
        axes.plot(days, as_spent.at(C), **NAIVE, label=label)
    label = f"Kaplan 2020: ${symbol} \\propto C_{{min}}^{{{kaplan.exponent}}}$"
    axes.plot(days, kaplan.at(C), color=st.GREY, label=label)
    if kaplan_naive is not None:
        label = f"Kaplan 2020, as spent: $C^{{{kaplan_naive.exponent}}}$"
        axes.plot(days, kaplan_naive.at(C), color=st.GREY, linestyle="--", label=label)
        shown.extend(kaplan_naive.at(C))
    st.log_x(axes, days, "compute, PF-days (non-embedding)", margin=0.0)
    st.log_y(axes, shown, label_y)
    st.legend_below(axes, columns=1)


def _draw_band(
    axes: Axes,
    C: NDArray[Any],
    draws: dict[str, NDArray[Any]] | None,
    values: Callable[[dict[str, NDArray[Any]]], NDArray[Any]],
) -> None:
    """90 % of what the draws say at each compute."""
    if draws is not None:
        low, high = np.percentile(values(draws), interval_percentiles(), axis=0)
        axes.fill_between(C / PF_DAY_FLOPS, low, high, color=st.FIT, alpha=st.BAND_ALPHA, linewidth=0)


def _exponent(route: KaplanRoute, name: str) -> str:
    power = route.optimal(name)
    assert power is not None
    return f"{number(power.exponent, 2)} {interval_text(power.exponent_interval, 2)}".strip()
