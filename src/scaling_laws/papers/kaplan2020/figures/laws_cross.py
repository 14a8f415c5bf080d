"""Where the laws of compute and of data must end (Kaplan 2020, section 6.3 and Figure 15)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.batch.compute_efficient import Crossing, crossing
from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.published import KAPLAN_SINGLE, KAPLAN_TABLE_6
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.text import interval_text, number, short
from scaling_laws.study.units import PF_DAY_FLOPS

SHOWN_PF_DAYS = (1e-8, 1e8)


@dataclass(frozen=True, kw_only=True)
class TwoLaws:
    """L(C_min) and L(D(C_min)) to where they cross.

    Attributes:
        lines: C (FLOPs), of_C and of_D (nats per token).
        crossing: of the two.
        interval: of the crossing's C, FLOPs; None where it has none.
        measured: least and most C_min of the envelope; None for the paper.
    """

    lines: pd.DataFrame
    crossing: Crossing
    interval: Interval | None = None
    measured: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Crossings:
    """The paper's laws, and the study's, of one family; None without both of them, and why."""

    paper: TwoLaws
    study: TwoLaws | None
    family: str
    reason: str


def draw(data: Crossings) -> Figure:
    """L(C_min) and L(D(C_min)) to where they cross. Left: the paper's; right: this study's."""
    figure, (paper, ours) = st.panels(2, width=12.0, height=5.0)
    _draw_laws(paper, data.paper)
    paper.set_title("Kaplan 2020 (Tables 5 and 6)")
    if data.study is None:
        st.note_in(ours, data.reason)
    else:
        _draw_laws(ours, data.study)
        ours.set_title("This study, extrapolated")
        st.legend_below(ours, columns=1)
    st.legend_below(paper, columns=1)
    return figure


def describe(data: Crossings) -> str:
    """Where the paper's laws cross, and where this study's do."""
    sentence = f"The paper's laws cross at {_place(data.paper.crossing)}"
    if data.study is None:
        return f"{sentence}; this study does not have both L(C_min) and L(D)."
    if data.study.crossing.C is None:
        return f"{sentence}; this study's ({data.family}) do not: {data.study.crossing.reason}."
    in_days = [None if end is None else end / PF_DAY_FLOPS for end in data.study.interval or (None, None)]
    place = f"{_place(data.study.crossing)}, C_min {interval_text(in_days, 2)} PF-days"
    return f"{sentence}; this study's ({data.family}) at {place}."


@figure("fig15_crossing", "Where the laws must end", "next", draw=draw, describe=describe)
def fig15_crossing(study: KaplanTables, laws: Laws) -> Crossings:
    return Crossings(
        paper=kaplan_laws(),
        study=study_laws(study, laws),
        family=study.main_name,
        reason=study.why_no_frontier,
    )


def kaplan_laws() -> TwoLaws:
    """(6.8) by Tables 5 and 6: L(C_min) against L(D) of the tokens of one epoch of efficient training."""
    of_C, of_D, tokens = KAPLAN_SINGLE.of_C_min, KAPLAN_SINGLE.of_D, KAPLAN_TABLE_6.D
    C = np.geomspace(*SHOWN_PF_DAYS, 80) * PF_DAY_FLOPS
    return TwoLaws(
        lines=pd.DataFrame({"C": C, "of_C": of_C.loss(C), "of_D": of_D.loss(tokens.at(C))}),
        crossing=crossing(of_C.loss, of_D.loss, tokens.at, KAPLAN_TABLE_6.N.at),
    )


def study_laws(study: KaplanTables, laws: Laws) -> TwoLaws | None:
    """The same of the study's main family; None unless both laws are identified."""
    route, of_D = study.route(), study.laws.of(study.main_family).fit("kaplan_d")
    frontier, tokens = route.law_of_C_min, route.optimal("D")
    if frontier is None or tokens is None or of_D is None or not of_D.identified:
        return None
    assert route.envelope is not None
    found, interval = route.crossing(of_D.law.loss)
    low, high = float(route.envelope.C_min.min()), float(route.envelope.C_min.max())
    C = np.geomspace(low, max(high * 1e6, (found.C or 0) * 100), 80)
    return TwoLaws(
        lines=pd.DataFrame({"C": C, "of_C": frontier.loss(C), "of_D": of_D.law.loss(tokens.at(C))}),
        crossing=found,
        interval=interval,
        measured=(low, high),
    )


def _draw_laws(axes: Axes, laws: TwoLaws) -> None:
    days = laws.lines["C"] / PF_DAY_FLOPS
    axes.plot(days, laws.lines["of_C"], color=st.FIT, label="$L(C_{min})$: what compute promises")
    label = "$L(D(C_{min}))$: what the data of one epoch allow"
    axes.plot(days, laws.lines["of_D"], color=st.FAMILY_COLOURS[0], linestyle=(0, (4, 1.6)), label=label)
    st.log_x(axes, days, "$C_{min}$, PF-days (non-embedding)", margin=0.0)
    st.log_y(axes, [*laws.lines["of_C"], *laws.lines["of_D"]], st.LOSS_LABEL)
    if laws.measured is not None:
        low, high = (C / PF_DAY_FLOPS for C in laws.measured)
        axes.axvspan(low, high, color=st.INK, alpha=0.08, linewidth=0, label="measured")
    at = laws.crossing
    if at.C is None or at.loss is None:
        axes.set_xlabel(f"{axes.get_xlabel()}\n{at.reason}")
        return
    point = (at.C / PF_DAY_FLOPS, at.loss)
    axes.plot(*point, "o", color=st.INK, ms=7, zorder=4)
    axes.annotate(
        f"C = {point[0]:.1e} PF-days\nN = {short(at.N or 0)}\nD = {short(at.D or 0)}\nL = {at.loss:.2f}",
        point,
        xytext=(0.04, 0.06),
        textcoords="axes fraction",
        va="bottom",
        fontsize=9,
        color=st.INK,
        arrowprops={"arrowstyle": "-", "color": st.INK},
    )


def _place(at: Crossing) -> str:
    assert at.C is not None and at.N is not None and at.D is not None and at.loss is not None
    return (
        f"{at.C / PF_DAY_FLOPS:.2e} PF-days, N = {short(at.N)}, D = {short(at.D)} tokens and "
        f"{number(at.loss)} nats per token"
    )
