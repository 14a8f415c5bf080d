"""Where more compute should go, and where the laws must end (Kaplan 2020, Figures 3 and 15)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.batch.compute_efficient import Crossing, crossing
from scaling_laws.laws.forms.single import KaplanCMin
from scaling_laws.laws.published import KAPLAN_SINGLE, KAPLAN_TABLE_6
from scaling_laws.papers.kaplan2020.training_time import C_MIN_LABEL, why_no_frontier
from scaling_laws.report import style as st
from scaling_laws.report.batches import entry_of
from scaling_laws.report.evidence import Laws, StudyTables, find_fit
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.formulas import law_of
from scaling_laws.report.text import interval_text, number, short
from scaling_laws.study.units import PF_DAY_FLOPS

GROWTH_TITLE = "Where more compute should go"
CROSSING_TITLE = "Where the laws must end"
KAPLAN_GROWTH = {
    "N": KAPLAN_TABLE_6.N.exponent,
    "B": KAPLAN_TABLE_6.batch_tokens.exponent,
    "S_min": KAPLAN_TABLE_6.steps_min.exponent,
}
"""Exponents in C_min of Table 6."""
LAYERS = (("S_min", "serial steps"), ("B", "batch"), ("N", "model size"))
"""From the bottom of Figure 3 to its top."""
MOST_COMPUTE = 1e9
"""Times as much, as in Figure 3."""
SHOWN_PF_DAYS = (1e-8, 1e8)

OfOneVariable = Callable[[ArrayLike], NDArray[Any]]


# --- Figure 3 -------------------------------------------------------------------------------------


def growth(exponents: Mapping[str, float], times_compute: ArrayLike) -> dict[str, NDArray[Any]]:
    """How many times larger each of N, B and S_min is best made with `times_compute` times the compute.

    Their product is `times_compute`, where the exponents add to one.
    """
    times = np.asarray(times_compute, dtype=float)
    return {name: times ** exponents[name] for name, _ in LAYERS}


def measured_exponents(laws: Laws, family: str | None) -> dict[str, float] | None:
    """Exponents of N, B and S_min along the measured frontier; None without one."""
    optimal = entry_of(laws, "training_time", family).get("optimal")
    return {name: float(optimal[name]["exponent"]) for name, _ in LAYERS} if optimal else None


@st.styled
def draw_growth(tables: StudyTables, laws: Laws) -> Figure:
    """Left: the paper's, right: this study's: model size, batch and serial steps stacked as factors."""
    figure, (paper, ours) = st.panels(2, width=12.0, height=4.8)
    _draw_layers(paper, KAPLAN_GROWTH)
    paper.set_title("Kaplan 2020 (Table 6)")
    exponents = measured_exponents(laws, tables.main_family)
    if exponents is None:
        st.note_in(ours, why_no_frontier(laws, tables.main_family))
        return figure
    _draw_layers(ours, exponents)
    ours.set_title("This study's frontier, extrapolated")
    return figure


def describe_growth(tables: StudyTables, laws: Laws) -> str:
    """The factors at a billion times the compute."""
    sentence = f"With {MOST_COMPUTE:.0e} times the compute, Kaplan 2020 makes {_factors(KAPLAN_GROWTH)}"
    exponents = measured_exponents(laws, tables.main_family)
    return f"{sentence}; this study's frontier {_factors(exponents)}." if exponents else f"{sentence}."


def _draw_layers(axes: Axes, exponents: Mapping[str, float]) -> None:
    """A layer's height, in logarithm, is its factor. A layer that shrinks has none and is named."""
    times = np.geomspace(1, MOST_COMPUTE, 60)
    factors = growth(exponents, times)
    below = np.ones_like(times)
    for (name, words), colour in zip(LAYERS, st.FAMILY_COLOURS, strict=False):
        shrinks = exponents[name] < 0
        above = below if shrinks else below * factors[name]
        label = f"{words}: {_factor(float(factors[name][-1]))} (exponent {exponents[name]:.2f})"
        axes.fill_between(times, below, above, color=colour, alpha=0.75, linewidth=0, label=label)
        below = above
    st.log_x(axes, times, "compute $C_{min}$, times as much", margin=0.0)
    st.log_y(axes, [1, MOST_COMPUTE], "factors, stacked", margin=0.0)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper left")


def _factors(exponents: Mapping[str, float]) -> str:
    at_end = growth(exponents, MOST_COMPUTE)
    return ", ".join(f"the {words} {_factor(float(at_end[name]))}" for name, words in reversed(LAYERS))


def _factor(value: float) -> str:
    return f"{short(value)}×"


# --- Figure 15 ------------------------------------------------------------------------------------


def kaplan_crossing() -> Crossing:
    """(6.8) by Tables 5 and 6: L(C_min) against L(D) of the tokens of one epoch of efficient training."""
    return crossing(
        KAPLAN_SINGLE.of_C_min.loss, KAPLAN_SINGLE.of_D.loss, KAPLAN_TABLE_6.D.at, KAPLAN_TABLE_6.N.at
    )


@st.styled
def draw_crossing(tables: StudyTables, laws: Laws) -> Figure:
    """L(C_min) and L(D(C_min)) to where they cross. Left: the paper's; right: this study's."""
    figure, (paper, ours) = st.panels(2, width=12.0, height=5.0)
    C = np.geomspace(*SHOWN_PF_DAYS, 80) * PF_DAY_FLOPS
    of_C, of_D = KAPLAN_SINGLE.of_C_min, KAPLAN_SINGLE.of_D
    _draw_lines(paper, C, of_C.loss(C), of_D.loss(KAPLAN_TABLE_6.D.at(C)))
    _mark(paper, kaplan_crossing())
    paper.set_title("Kaplan 2020 (Tables 5 and 6)")
    family = tables.main_family
    laws_of_study = study_lines(laws, family)
    if laws_of_study is None:
        st.note_in(ours, why_no_frontier(laws, family))
    else:
        frontier, of_tokens = laws_of_study
        found = _crossing_of(laws, family)
        low = min(float(point["C_min"]) for point in entry_of(laws, "training_time", family)["envelope"])
        high = max(float(point["C_min"]) for point in entry_of(laws, "training_time", family)["envelope"])
        furthest = max(high * 1e6, (found.C or 0) * 100)
        x = np.geomspace(low, furthest, 80)
        _draw_lines(ours, x, frontier(x), of_tokens(x))
        ours.axvspan(
            low / PF_DAY_FLOPS, high / PF_DAY_FLOPS, color=st.INK, alpha=0.08, linewidth=0, label="measured"
        )
        _mark(ours, found)
        ours.set_title("This study, extrapolated")
        st.legend_below(ours, columns=1)
    st.legend_below(paper, columns=1)
    return figure


def study_lines(laws: Laws, family: str | None) -> tuple[OfOneVariable, OfOneVariable] | None:
    """L(C_min) and L(D(C_min)) of this study, of FLOPs; None unless both are identified."""
    entry, of_D = entry_of(laws, "training_time", family), find_fit(laws, "kaplan_d", family)
    fits = (
        fit for fit in entry.get("frontier") or () if fit["form"] == KaplanCMin.form and fit["identified"]
    )
    frontier = next(fits, None)
    if frontier is None or not entry["optimal"] or of_D is None or not of_D["identified"]:
        return None
    tokens, loss = entry["optimal"]["D"], law_of(of_D).loss

    def of_tokens(C: ArrayLike) -> NDArray[Any]:
        return np.asarray(loss(tokens["coefficient"] * np.asarray(C, dtype=float) ** tokens["exponent"]))

    return law_of(frontier).loss, of_tokens


def describe_crossing(tables: StudyTables, laws: Laws) -> str:
    """Where the paper's laws cross, and where this study's do."""
    sentence = f"The paper's laws cross at {_place(kaplan_crossing())}"
    family = tables.main_family
    if study_lines(laws, family) is None:
        return f"{sentence}; this study has not both L(C_min) and L(D)."
    found = _crossing_of(laws, family)
    name = st.family_name(str(family))
    if found.C is None:
        return f"{sentence}; this study's ({name}) do not: {found.reason}."
    interval = entry_of(laws, "training_time", family)["crossing"]["C_interval"] or (None, None)
    in_days = [None if end is None else end / PF_DAY_FLOPS for end in interval]
    return f"{sentence}; this study's ({name}) at {_place(found)}, C_min {interval_text(in_days, 2)} PF-days."


def _crossing_of(laws: Laws, family: str | None) -> Crossing:
    entry = entry_of(laws, "training_time", family)["crossing"]
    return Crossing(**{name: entry.get(name) for name in ("C", "N", "D", "loss")}, reason=entry["reason"])


def _draw_lines(axes: Axes, C: NDArray[Any], of_C: NDArray[Any], of_D: NDArray[Any]) -> None:
    axes.plot(C / PF_DAY_FLOPS, of_C, color=st.FIT, label="$L(C_{min})$: what compute promises")
    label = "$L(D(C_{min}))$: what the data of one epoch allow"
    axes.plot(C / PF_DAY_FLOPS, of_D, color=st.FAMILY_COLOURS[0], linestyle=(0, (4, 1.6)), label=label)
    st.log_x(axes, C / PF_DAY_FLOPS, C_MIN_LABEL, margin=0.0)
    st.log_y(axes, [*of_C, *of_D], st.LOSS_LABEL)


def _mark(axes: Axes, found: Crossing) -> None:
    if found.C is None or found.N is None or found.D is None or found.loss is None:
        axes.set_xlabel(f"{axes.get_xlabel()}\n{found.reason}")
        return
    axes.plot(found.C / PF_DAY_FLOPS, found.loss, "o", color=st.INK, ms=7, zorder=4)
    at = f"C = {found.C / PF_DAY_FLOPS:.1e} PF-days"
    words = f"{at}\nN = {short(found.N)}\nD = {short(found.D)}\nL = {found.loss:.2f}"
    place: dict[str, Any] = {
        "xytext": (0.04, 0.06),
        "textcoords": "axes fraction",
        "va": "bottom",
        "fontsize": 9,
        "color": st.INK,
    }
    axes.annotate(
        words, (found.C / PF_DAY_FLOPS, found.loss), arrowprops={"arrowstyle": "-", "color": st.INK}, **place
    )


def _place(found: Crossing) -> str:
    assert found.C is not None and found.N is not None and found.D is not None and found.loss is not None
    return (
        f"{found.C / PF_DAY_FLOPS:.2e} PF-days, N = {short(found.N)}, D = {short(found.D)} tokens and "
        f"{number(found.loss)} nats per token"
    )


FIGURES = (
    Entry(
        name="fig03_growth",
        title=GROWTH_TITLE,
        paper="Fig. 3",
        question="next",
        draw=draw_growth,
        describe=describe_growth,
    ),
    Entry(
        name="fig15_crossing",
        title=CROSSING_TITLE,
        paper="Fig. 15",
        question="next",
        draw=draw_crossing,
        describe=describe_crossing,
    ),
)
