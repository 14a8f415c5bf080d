"""Slices of equal compute: how the best size follows from the runs alone (Hoffmann 2022, approach 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.allocation.isoflop import Slice
from scaling_laws.laws.allocation.power_lines import Allocation
from scaling_laws.laws.fit.level import interval_words
from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables, c_label, n_label
from scaling_laws.report.text import number, with_interval

NEEDS_SLICES = (
    "Needs at least three sizes trained to equal or overlapping compute, as the runs of "
    "`scaling-laws sweep configs/sweeps/isoflop.yaml`."
)
CHINCHILLA_RATIO = 20.0
"""Tokens per parameter that Hoffmann 2022's networks are best trained with."""


@dataclass(frozen=True, kw_only=True)
class EqualCompute:
    """Slices of one family.

    Attributes:
        slices: by compute.
        minima: of the slices that hold one: C, N, D, loss, ratio = D/N, with the ends of 90 % intervals of N,
            D and ratio as `<name>_low` and `<name>_high`, NaN without an interval.
        allocation: N_opt(C) through the minima.
        labels: of the axes: C, N.
    """

    family: str
    slices: tuple[Slice, ...]
    minima: pd.DataFrame
    allocation: Allocation
    labels: Mapping[str, str]


def _describe(data: EqualCompute) -> str:
    """How many slices hold their minimum, and where."""
    minima = data.minima
    words = f"{st.family_name(data.family)}: {len(minima)} of {len(data.slices)} slices hold their minimum"
    if minima.empty:
        return words + "."
    ends = minima.iloc[[0, -1]] if len(minima) > 1 else minima
    where = " and ".join(
        f"N_opt = {with_interval(at['N'], (at['N_low'], at['N_high']))} with {number(at['ratio'])} tokens a "
        f"parameter at {at['C']:.1e} FLOPs"
        for at in ends.to_dict("records")
    )
    return f"{words}: {where}."


def _draw(data: EqualCompute) -> Figure:
    """Left: loss against N at equal compute. Middle: N of the minima against compute. Right: their D/N."""
    figure, (valleys, sizes, ratios) = st.panels(3, width=13.0, height=5.0)
    colours = st.SizeColours([each.C for each in data.slices], "plasma")
    for each in data.slices:
        _draw_slice(valleys, each, colours(each.C))
    valleys.plot([], [], "D", color=st.FIT, label=f"minimum, {interval_words()} interval")
    if any(each.N_opt is None for each in data.slices):
        valleys.plot([], [], color=st.GREY, linestyle=":", linewidth=0.8, label="no minimum inside the slice")
    points = [point for each in data.slices for point in each.points]
    st.log_x(valleys, [point.N for point in points], data.labels["N"])
    st.log_y(valleys, [point.loss for point in points], st.LOSS_LABEL)
    valleys.set_title("Loss at equal compute")
    st.legend_below(valleys, columns=1)
    colours.bar(figure, [valleys], "C, training FLOPs")
    if data.minima.empty:
        for axes in (sizes, ratios):
            st.note_in(axes, "No slice holds its minimum: its best size is the smallest or the largest.")
    else:
        _draw_minima(sizes, ratios, data)
    return figure


def _draw_minima(sizes: Axes, ratios: Axes, data: EqualCompute) -> None:
    minima, allocation, label = data.minima, data.allocation, "minima"
    if allocation.exponent is not None and allocation.coefficient is not None:
        C = np.geomspace(minima["C"].min(), minima["C"].max(), 2)
        sizes.plot(C, allocation.coefficient * C**allocation.exponent, color=st.FIT, linewidth=1.2)
        label += f", $C^a$ with a = {with_interval(allocation.exponent, allocation.exponent_interval)}"
    for axes, name in ((sizes, "N"), (ratios, "ratio")):
        errors = [minima[name] - minima[f"{name}_low"], minima[f"{name}_high"] - minima[name]]
        errors = np.clip(np.nan_to_num(errors), 0, None)
        axes.errorbar(minima["C"], minima[name], errors, fmt="D", color=st.FIT, elinewidth=1.1, label=label)
        ends = [*minima[name], *minima[f"{name}_low"], *minima[f"{name}_high"]]
        st.log_x(axes, minima["C"], data.labels["C"], margin=0.12)
        st.log_y(axes, ends if axes is sizes else [*ends, CHINCHILLA_RATIO], "")
        label = "minima"
    sizes.set_ylabel("$N_{opt}$, " + data.labels["N"].partition(", ")[2])
    ratios.set_ylabel("$D_{opt}/N_{opt}$, tokens per parameter")
    line = f"Chinchilla 2022: about {CHINCHILLA_RATIO:.0f}"
    ratios.axhline(CHINCHILLA_RATIO, color=st.GREY, linestyle="--", linewidth=1.2, label=line)
    sizes.set_title("Best size against budget")
    ratios.set_title("Tokens per parameter, best size")
    for axes in (sizes, ratios):
        st.legend_below(axes, columns=1)


@figure("isoflop_slices", "Slices of equal compute", "compute", order=2, draw=_draw, describe=_describe)
def isoflop_slices(study: StudyTables, laws: Laws) -> EqualCompute | str:
    """Of the main family."""
    of_family = laws.of(study.main_family)
    slices = tuple(sorted((each for each in of_family.isoflop if each.points), key=lambda each: each.C))
    if not slices:
        return NEEDS_SLICES
    return EqualCompute(
        family=of_family.family,
        slices=slices,
        minima=_minima(slices),
        allocation=of_family.allocation_by("isoflop"),
        labels={"C": c_label(study, laws), "N": n_label(study, laws)},
    )


def _minima(slices: tuple[Slice, ...]) -> pd.DataFrame:
    """Where C is spent on more parameters it is spent on fewer tokens: D/N is lowest where N is highest."""
    names = ["C", "N", "N_low", "N_high", "D", "D_low", "D_high", "loss"]
    rows = [
        (each.C, each.N_opt, *_ends(each.N_opt_interval), each.D_opt, *_ends(each.D_opt_interval))
        + (each.loss_opt,)
        for each in slices
        if each.N_opt is not None
    ]
    table = pd.DataFrame(rows, columns=names, dtype=float)
    return table.assign(
        ratio=table["D"] / table["N"],
        ratio_low=table["D_low"] / table["N_high"],
        ratio_high=table["D_high"] / table["N_low"],
    )


def _ends(interval: Any) -> tuple[float, float]:
    return (np.nan, np.nan) if interval is None else interval


def _draw_slice(axes: Axes, each: Slice, colour: Any) -> None:
    """Its points, the parabola in ln N through them, and the minimum."""
    N, loss = (np.array([getattr(point, name) for point in each.points]) for name in ("N", "loss"))
    axes.plot(N, loss, "o", color=colour, ms=4.5)
    if each.N_opt is None or each.loss_opt is None:
        axes.plot(N, loss, color=colour, linewidth=0.8, linestyle=":")
        return
    x = np.geomspace(N.min(), N.max(), 60)
    parabola = np.polyfit(np.log(N / each.N_opt), loss, 2)
    axes.plot(x, np.polyval(parabola, np.log(x / each.N_opt)), color=colour, linewidth=1.1)
    if each.N_opt_interval:
        axes.plot(_ends(each.N_opt_interval), [each.loss_opt] * 2, color=st.FIT, linewidth=1.2, zorder=3)
    axes.plot(each.N_opt, each.loss_opt, "D", color=st.FIT, zorder=4)
