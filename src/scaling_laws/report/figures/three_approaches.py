"""Three ways to the best size for a compute, side by side (Hoffmann 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.allocation.approaches import Approach
from scaling_laws.laws.fit.level import interval_words
from scaling_laws.laws.plan.choice import LABELS
from scaling_laws.laws.published import (
    HOFFMANN_ENVELOPE,
    HOFFMANN_ISOFLOP,
    HOFFMANN_PARAMETRIC,
    KAPLAN_TABLE_6,
)
from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.figures.isoflop_slices import NEEDS_SLICES
from scaling_laws.report.study_tables import StudyTables, c_label, n_label
from scaling_laws.report.tables import ROUTES
from scaling_laws.report.text import with_interval

PUBLISHED = (
    ("Kaplan 2020", KAPLAN_TABLE_6.N.exponent, None),
    ("Chinchilla 2022, 1", HOFFMANN_ENVELOPE.a, (HOFFMANN_ENVELOPE.low, HOFFMANN_ENVELOPE.high)),
    ("Chinchilla 2022, 2", HOFFMANN_ISOFLOP.a, (HOFFMANN_ISOFLOP.low, HOFFMANN_ISOFLOP.high)),
    ("Chinchilla 2022, 3", HOFFMANN_PARAMETRIC.a, (HOFFMANN_PARAMETRIC.low, HOFFMANN_PARAMETRIC.high)),
)


@dataclass(frozen=True, kw_only=True)
class WaysToSize:
    """Every approach of one family that has an answer.

    Attributes:
        exponents: a of N_opt ~ C^a: approach, method, a, low, high.
        optima: approach, method, C (FLOPs), N, low, high, extrapolated, by C. Ends of intervals are of 90 %,
            NaN without one.
        n_apart: pairs of intervals of a, b, N_opt and D_opt that do not touch.
        labels: of the axes: C, N.
    """

    family: str
    exponents: pd.DataFrame
    optima: pd.DataFrame
    n_apart: int
    labels: Mapping[str, str]


def _describe(data: WaysToSize) -> str:
    """The exponent by every approach, and how many pairs of them disagree."""
    words = "; ".join(
        f"{_name(row['approach'], row['method'])} {with_interval(row['a'], (row['low'], row['high']))}"
        for row in data.exponents.to_dict("records")
    )
    apart = (
        f"{data.n_apart} pairs of intervals of a, b, N_opt and D_opt do not touch"
        if data.n_apart
        else "no two are apart"
    )
    return f"{st.family_name(data.family)}, a of N_opt ~ C^a: {words}; {apart}."


def _draw(data: WaysToSize) -> Figure:
    """Left: N_opt(C) by every approach. Right: their exponents, with the published ones."""
    points, exponents = data.optima, data.exponents.to_dict("records")
    figure, (sizes, powers) = st.panels(2, width=12.0, height=0.24 * (len(exponents) + len(PUBLISHED)) + 3.4)
    for place, row in enumerate(exponents):
        look = _look(place, int(row["approach"]))
        of_approach = points[(points["approach"] == row["approach"]) & (points["method"] == row["method"])]
        sizes.plot(of_approach["C"], of_approach["N"], label=_name(row["approach"], row["method"]), **look)
        band: dict[str, Any] = {"color": look["color"], "alpha": st.BAND_ALPHA / 2, "linewidth": 0}
        sizes.fill_between(of_approach["C"], of_approach["low"], of_approach["high"], **band)
        _draw_exponent(powers, place, row["a"], (row["low"], row["high"]), look["color"], look["marker"])
    C = np.geomspace(points["C"].min(), points["C"].max(), 2)
    kaplan = KAPLAN_TABLE_6.N.at(C)
    sizes.plot(C, kaplan, color=st.GREY, linestyle="--", label="Kaplan 2020")
    _mark_extrapolated(sizes, points)
    st.log_x(sizes, points["C"], data.labels["C"])
    size_label = "$N_{opt}$, " + data.labels["N"].partition(", ")[2]
    st.log_y(sizes, [*points["N"], *points["low"], *points["high"], *kaplan], size_label)
    sizes.set_title("Best size against budget")
    st.legend_below(sizes, columns=2)
    for place, (_, a, interval) in enumerate(PUBLISHED, len(exponents)):
        _draw_exponent(powers, place, a, interval or (np.nan, np.nan), st.GREY, "o")
    names = [_name(row["approach"], row["method"]) for row in exponents]
    powers.set_yticks(range(len(names) + len(PUBLISHED)), [*names, *(name for name, _, _ in PUBLISHED)])
    powers.invert_yaxis()
    words = f"{interval_words()} interval (Chinchilla 2022: 80 %)"
    powers.set_xlabel("exponent a of $N_{opt} \\propto C^a$, " + words)
    powers.set_title("How fast the best size grows")
    return figure


@figure("three_approaches", "Three ways to the best size", "compute", order=3, draw=_draw, describe=_describe)
def three_approaches(study: StudyTables, laws: Laws) -> WaysToSize | str:
    """Of the main family."""
    of_family = laws.of(study.main_family)
    answered = [each for each in of_family.approaches.approaches if each.a is not None]
    if not answered:
        return NEEDS_SLICES
    return WaysToSize(
        family=of_family.family,
        exponents=_exponents(answered),
        optima=_optima(answered),
        n_apart=len(of_family.approaches.disagreements),
        labels={"C": c_label(study, laws), "N": n_label(study, laws)},
    )


def _exponents(answered: Iterable[Approach]) -> pd.DataFrame:
    rows = [(each.approach, each.method, each.a, *(each.a_interval or (None, None))) for each in answered]
    table = pd.DataFrame(rows, columns=["approach", "method", "a", "low", "high"])
    return table.astype({"a": float, "low": float, "high": float})


def _optima(answered: Iterable[Approach]) -> pd.DataFrame:
    rows = [
        (each.approach, each.method, at.C, at.N_opt, *(at.N_opt_interval or (None, None)), at.extrapolated)
        for each in answered
        for at in each.optima
    ]
    columns = ["approach", "method", "C", "N", "low", "high", "extrapolated"]
    table = pd.DataFrame(rows, columns=columns).astype(
        {"C": float, "N": float, "low": float, "high": float, "extrapolated": bool}
    )
    return table.sort_values("C", kind="stable")


def _mark_extrapolated(axes: Axes, points: pd.DataFrame) -> None:
    inside = points.loc[~points["extrapolated"], "C"]
    if inside.empty:
        return
    axes.axvline(inside.max(), color=st.INK, linewidth=0.8, linestyle=":")
    axes.annotate(
        "extrapolated",
        (inside.max(), 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
        textcoords="offset points",
        fontsize=8,
        color=st.INK,
    )


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
    return f"{approach}: {ROUTES.get(method) or LABELS[method]}"
