"""Three ways to the best size for a compute, side by side (Hoffmann 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.forms.catalogue import FORMS
from scaling_laws.laws.published import (
    HOFFMANN_ENVELOPE,
    HOFFMANN_ISOFLOP,
    HOFFMANN_PARAMETRIC,
    KAPLAN_TABLE_6,
)
from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables, c_label, n_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.figures.slices import NEEDS_SLICES
from scaling_laws.report.law_tables import ROUTES
from scaling_laws.report.text import interval_text, number

TITLE = "Three ways to the best size"
PUBLISHED = (
    ("Kaplan 2020", KAPLAN_TABLE_6.N.exponent, None),
    ("Chinchilla 2022, 1", HOFFMANN_ENVELOPE.a, (HOFFMANN_ENVELOPE.low, HOFFMANN_ENVELOPE.high)),
    ("Chinchilla 2022, 2", HOFFMANN_ISOFLOP.a, (HOFFMANN_ISOFLOP.low, HOFFMANN_ISOFLOP.high)),
    ("Chinchilla 2022, 3", HOFFMANN_PARAMETRIC.a, (HOFFMANN_PARAMETRIC.low, HOFFMANN_PARAMETRIC.high)),
)


def exponents(laws: Laws, family: str | None) -> pd.DataFrame:
    """a of N_opt ~ C^a by every approach with an answer: approach, method, a, low, high.

    The ends are those of the 90 % interval, NaN without one.
    """
    rows = [
        {
            "approach": one["approach"],
            "method": one["method"],
            "a": one["a"],
            **dict(zip(("low", "high"), one["a_interval"] or (None, None), strict=True)),
        }
        for one in _approaches(laws, family)
    ]
    types = {"a": float, "low": float, "high": float}
    return pd.DataFrame(rows, columns=["approach", "method", *types]).astype(types)


def optima(laws: Laws, family: str | None) -> pd.DataFrame:
    """N_opt at some computes by every approach with an answer.

    Columns approach, method, C (FLOPs), N, low, high (90 %; NaN without), extrapolated.
    """
    rows = [
        {
            "approach": one["approach"],
            "method": one["method"],
            "C": at["C"],
            "N": at["N_opt"],
            **dict(zip(("low", "high"), at["N_opt_interval"] or (None, None), strict=True)),
            "extrapolated": at["extrapolated"],
        }
        for one in _approaches(laws, family)
        for at in one["optima"]
    ]
    types = {"C": float, "N": float, "low": float, "high": float}
    columns = ["approach", "method", *types, "extrapolated"]
    return pd.DataFrame(rows, columns=columns).astype(types).sort_values("C", kind="stable")


def _approaches(laws: Laws, family: str | None) -> list[Mapping[str, Any]]:
    entries = [entry for entry in laws.get("approaches", ()) if entry["family"] == family]
    return [one for entry in entries for one in entry["approaches"] if one["a"] is not None]


@st.styled
def draw(tables: StudyTables, laws: Laws) -> Figure:
    """Left: N_opt(C) by every approach. Right: their exponents, with the published ones."""
    family = tables.main_family
    points, found = optima(laws, family), exponents(laws, family)
    if found.empty:
        return st.note(TITLE, NEEDS_SLICES)
    figure, (sizes, powers) = st.panels(2, width=12.0, height=0.24 * (len(found) + len(PUBLISHED)) + 3.4)
    inside = points.loc[~points["extrapolated"].astype(bool), "C"]
    for place, row in enumerate(found.to_dict("records")):
        look = _look(place, int(row["approach"]))
        of_approach = points[(points["approach"] == row["approach"]) & (points["method"] == row["method"])]
        sizes.plot(of_approach["C"], of_approach["N"], label=_name(row["approach"], row["method"]), **look)
        sizes.fill_between(
            of_approach["C"],
            of_approach["low"],
            of_approach["high"],
            color=look["color"],
            alpha=st.BAND_ALPHA / 2,
            linewidth=0,
        )
        _draw_exponent(powers, place, row["a"], (row["low"], row["high"]), look["color"], look["marker"])
    C = np.geomspace(points["C"].min(), points["C"].max(), 2)
    kaplan = KAPLAN_TABLE_6.N.at(C)
    sizes.plot(C, kaplan, color=st.GREY, linestyle="--", label="Kaplan 2020")
    if len(inside):
        sizes.axvline(inside.max(), color=st.INK, linewidth=0.8, linestyle=":")
        sizes.annotate(
            "extrapolated",
            (inside.max(), 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=8,
            color=st.INK,
        )
    st.log_x(sizes, points["C"], c_label(laws))
    st.log_y(sizes, [*points["N"], *points["low"], *points["high"], *kaplan], _size_label(laws))
    sizes.set_title("Best size against budget")
    st.legend_below(sizes, columns=2)
    for place, (_, a, interval) in enumerate(PUBLISHED, len(found)):
        _draw_exponent(powers, place, a, interval or (np.nan, np.nan), st.GREY, "o")
    names = [_name(row["approach"], row["method"]) for row in found.to_dict("records")]
    powers.set_yticks(range(len(found) + len(PUBLISHED)), [*names, *(name for name, _, _ in PUBLISHED)])
    powers.invert_yaxis()
    powers.set_xlabel("exponent a of $N_{opt} \\propto C^a$, 90 % interval (Chinchilla 2022: 80 %)")
    powers.set_title("How fast the best size grows")
    return figure


def describe(tables: StudyTables, laws: Laws) -> str:
    """The exponent by every approach, and which pairs of them disagree."""
    family = tables.main_family
    found = exponents(laws, family)
    if found.empty:
        return "No approach to the best size has an answer."
    words = "; ".join(
        f"{_name(row['approach'], row['method'])} {_with_interval(row['a'], (row['low'], row['high']))}"
        for row in found.to_dict("records")
    )
    entries = [entry for entry in laws.get("approaches", ()) if entry["family"] == family]
    n_apart = sum(len(entry["disagreements"]) for entry in entries)
    apart = (
        f"{n_apart} pairs of intervals of a, b, N_opt and D_opt do not touch"
        if n_apart
        else "no two are apart"
    )
    return f"{st.family_name(str(family))}, a of N_opt ~ C^a: {words}; {apart}."


def _draw_exponent(
    axes: Axes, place: int, a: float, interval: Sequence[float], colour: Any, marker: str
) -> None:
    axes.plot(a, place, marker=marker, color=colour, linestyle="none")
    axes.plot(interval, [place, place], color=colour, linewidth=1.4)


def _look(place: int, approach: int) -> dict[str, Any]:
    """An approach has a colour and a marker, its methods a line each."""
    return {
        "color": st.FAMILY_COLOURS[approach - 1],
        "marker": st.FAMILY_MARKERS[approach - 1],
        "linestyle": st.FAMILY_LINES[place % len(st.FAMILY_LINES)],
    }


def _name(approach: Any, method: Any) -> str:
    return f"{approach}: {ROUTES.get(method) or FORMS[method].label}"


def _size_label(laws: Laws) -> str:
    return "$N_{opt}$, " + n_label(laws).partition(", ")[2]


def _with_interval(value: float, interval: Sequence[float | None] | None) -> str:
    ends = [None if end is None or np.isnan(end) else end for end in interval or ()]
    return f"{number(value)} {interval_text(ends) if any(ends) else ''}".strip()


FIGURES = (
    Entry(
        name="three_approaches",
        title=TITLE,
        paper="",
        question="compute",
        draw=draw,
        describe=describe,
    ),
)
