"""Slices of equal compute: how the best size follows from the runs alone (Hoffmann 2022, approach 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables, c_label, find_allocation, n_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.text import interval_text, number

TITLE = "Slices of equal compute"
NEEDS_SLICES = (
    "Needs at least three sizes trained to equal or overlapping compute, as the runs of "
    "`scaling-laws sweep configs/sweeps/isoflop.yaml`."
)
CHINCHILLA_RATIO = 20.0
"""Tokens a parameter that Hoffmann 2022's networks are best trained with."""


def slices_of(laws: Laws, family: str | None) -> list[Mapping[str, Any]]:
    """The family's isoFLOP slices with points, by compute."""
    slices = [entry for entry in laws["isoflop"] if entry["family"] == family and entry["points"]]
    return sorted(slices, key=lambda entry: entry["C"])


def slice_minima(laws: Laws, family: str | None) -> pd.DataFrame:
    """The minimum of each slice that holds one: C, N, D, loss, ratio = D/N, with their 90 % intervals.

    Columns `<name>_low` and `<name>_high` of N, D and ratio; NaN without an interval. Where C is spent on
    more parameters it is spent on fewer tokens: the ratio is lowest where N is highest.
    """
    rows = []
    for entry in slices_of(laws, family):
        if entry["N_opt"] is None:
            continue
        N_low, N_high = entry["N_opt_interval"] or (np.nan, np.nan)
        D_low, D_high = entry["D_opt_interval"] or (np.nan, np.nan)
        rows.append(
            {
                "C": entry["C"],
                "N": entry["N_opt"],
                "N_low": N_low,
                "N_high": N_high,
                "D": entry["D_opt"],
                "D_low": D_low,
                "D_high": D_high,
                "loss": entry["loss_opt"],
                "ratio": entry["D_opt"] / entry["N_opt"],
                "ratio_low": D_low / N_high,
                "ratio_high": D_high / N_low,
            }
        )
    columns = [
        "C",
        "N",
        "N_low",
        "N_high",
        "D",
        "D_low",
        "D_high",
        "loss",
        "ratio",
        "ratio_low",
        "ratio_high",
    ]
    return pd.DataFrame(rows, columns=columns, dtype=float)


@st.styled
def draw(tables: StudyTables, laws: Laws) -> Figure:
    """Left: loss against N at equal compute. Middle: N of the minima against compute. Right: their D/N."""
    family = tables.main_family
    slices = slices_of(laws, family)
    if not slices:
        return st.note(TITLE, NEEDS_SLICES)
    figure, (valleys, sizes, ratios) = st.panels(3, width=13.0, height=5.0)
    colours = st.SizeColours([entry["C"] for entry in slices], "plasma")
    for entry in slices:
        _draw_slice(valleys, entry, colours(entry["C"]))
    valleys.plot([], [], "D", color=st.FIT, label="minimum, 90 % interval")
    if any(entry["N_opt"] is None for entry in slices):
        valleys.plot([], [], color=st.GREY, linestyle=":", linewidth=0.8, label="no minimum inside the slice")
    st.log_x(valleys, [point["N"] for entry in slices for point in entry["points"]], n_label(laws))
    st.log_y(valleys, [point["loss"] for entry in slices for point in entry["points"]], st.LOSS_LABEL)
    valleys.set_title("Loss at equal compute")
    st.legend_below(valleys, columns=1)
    colours.bar(figure, [valleys], "C, training FLOPs")

    minima = slice_minima(laws, family)
    if minima.empty:
        for axes in (sizes, ratios):
            st.note_in(axes, "No slice holds its minimum: its best size is the smallest or the largest.")
        return figure
    allocation = find_allocation(laws, "isoflop", family)
    label = "minima"
    if allocation["exponent"] is not None:
        C = np.geomspace(minima["C"].min(), minima["C"].max(), 2)
        sizes.plot(C, allocation["coefficient"] * C ** allocation["exponent"], color=st.FIT, linewidth=1.2)
        label += f", $C^a$ with a = {_with_interval(allocation['exponent'], allocation['exponent_interval'])}"
    for axes, name in ((sizes, "N"), (ratios, "ratio")):
        errors = [minima[name] - minima[f"{name}_low"], minima[f"{name}_high"] - minima[name]]
        errors = np.clip(np.nan_to_num(errors), 0, None)
        axes.errorbar(minima["C"], minima[name], errors, fmt="D", color=st.FIT, elinewidth=1.1, label=label)
        ends = [*minima[name], *minima[f"{name}_low"], *minima[f"{name}_high"]]
        st.log_x(axes, minima["C"], c_label(laws), margin=0.12)
        st.log_y(axes, ends if axes is sizes else [*ends, CHINCHILLA_RATIO], "")
        label = "minima"
    sizes.set_ylabel("$N_{opt}$, " + n_label(laws).partition(", ")[2])
    ratios.set_ylabel("$D_{opt}/N_{opt}$, tokens a parameter")
    line = f"Chinchilla 2022: about {CHINCHILLA_RATIO:.0f}"
    ratios.axhline(CHINCHILLA_RATIO, color=st.GREY, linestyle="--", linewidth=1.2, label=line)
    sizes.set_title("Best size against budget")
    ratios.set_title("Tokens a parameter, best size")
    for axes in (sizes, ratios):
        st.legend_below(axes, columns=1)
    return figure


def describe(tables: StudyTables, laws: Laws) -> str:
    """How many slices hold their minimum, and where."""
    family = tables.main_family
    slices, minima = slices_of(laws, family), slice_minima(laws, family)
    if not slices:
        return "No slices of equal compute were measured."
    words = f"{st.family_name(str(family))}: {len(minima)} of {len(slices)} slices hold their minimum"
    if minima.empty:
        return words + "."
    ends = minima.iloc[[0, -1]] if len(minima) > 1 else minima
    where = " and ".join(
        f"N_opt = {_with_interval(at['N'], (at['N_low'], at['N_high']))} with {number(at['ratio'])} tokens a "
        f"parameter at {at['C']:.1e} FLOPs"
        for at in ends.to_dict("records")
    )
    return f"{words}: {where}."


def _draw_slice(axes: Axes, entry: Mapping[str, Any], colour: Any) -> None:
    """Its points, the parabola in ln N through them, and the minimum."""
    N = np.array([point["N"] for point in entry["points"]])
    loss = np.array([point["loss"] for point in entry["points"]])
    axes.plot(N, loss, "o", color=colour, ms=4.5)
    if entry["N_opt"] is None:
        axes.plot(N, loss, color=colour, linewidth=0.8, linestyle=":")
        return
    x = np.geomspace(N.min(), N.max(), 60)
    parabola = np.polyfit(np.log(N / entry["N_opt"]), loss, 2)
    axes.plot(x, np.polyval(parabola, np.log(x / entry["N_opt"])), color=colour, linewidth=1.1)
    if entry["N_opt_interval"]:
        axes.plot(entry["N_opt_interval"], [entry["loss_opt"]] * 2, color=st.FIT, linewidth=1.2, zorder=3)
    axes.plot(entry["N_opt"], entry["loss_opt"], "D", color=st.FIT, zorder=4)


def _with_interval(value: float, interval: Sequence[float | None] | None) -> str:
    ends = [None if end is None or np.isnan(end) else end for end in interval or ()]
    return f"{number(value)} {interval_text(ends) if any(ends) else ''}".strip()


FIGURES = (
    Entry(
        name="isoflop_slices",
        title=TITLE,
        paper="",
        question="compute",
        draw=draw,
        describe=describe,
    ),
)
