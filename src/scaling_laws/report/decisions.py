"""Which of two settings to take at a compute: the table, the words and the figure of a decision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from scaling_laws.laws.allocation.worth import WorthCurve
from scaling_laws.laws.results.decision import Decision, HeldOutScore
from scaling_laws.laws.results.written_decisions import WrittenDecision
from scaling_laws.report import style as st
from scaling_laws.report.text import Table, interval_text, number, with_interval


def decision_table(decisions: Sequence[Decision | WrittenDecision]) -> Table:
    """A row a pair of settings."""
    rows = tuple(
        (
            f"{each.value} or {each.reference}" + f" ({each.family})" * bool(each.family),
            each.better,
            number(each.losses[0], 4),
            number(each.losses[1], 4),
            f"{100 * each.chance:.0f} %",
            f"{each.regret:.2g} (95 %: {each.regret_high:.2g})",
            str(each.seeds),
            _settling(each),
        )
        for each in decisions
    )
    first = decisions[0]
    columns = (
        f"at {number(first.C)} FLOPs",
        "take",
        "loss of the first",
        "of the second",
        "chance that the first wins",
        "regret",
        f"seeds to see {first.percent:g} %",
        "settled by",
    )
    return Table(
        columns=columns,
        rows=rows,
        caption=(
            "Losses at the best sizes. Chance: for one run of each. Regret: the loss that the "
            "choice is expected to cost, in the unit of the losses. Settled: the cheapest pair of "
            "runs after which the 90 % interval of the difference is expected to exclude 0, if "
            "the laws hold."
        ),
    )


def decision_words(decisions: Sequence[Decision], score: HeldOutScore | None) -> str:
    """Shared exponents or not, the worth with its crossing, and how such choices did at held-out scales."""
    lines = []
    for each in decisions:
        p = "" if each.sharing_p is None else f" (test of shared exponents: p = {each.sharing_p:.2f})"
        own = "share exponents" if each.shared else "have different exponents"
        worth = each.worth
        sentence = (
            f"{each.value} and {each.reference} {own}{p}. One FLOP of {each.value} is worth "
            f"{number(worth.worth[0])} {interval_text((worth.low[0], worth.high[0]))} of {each.reference} at "
            f"{number(worth.C[0])} FLOPs and {number(worth.worth[-1])} "
            f"{interval_text((worth.low[-1], worth.high[-1]))} at {number(worth.C[-1])}"
        )
        lines.append(f"{sentence}{crossing_words(worth)}.")
    if score is not None and score.n:
        lines.append(
            f"Of {score.n} choices from part of the scales, judged at the largest, laws were right in "
            f"{score.laws_right}, the ranking at the largest scale seen in {score.ranking_right}."
        )
    return "\n".join(lines)


def crossing_words(worth: WorthCurve) -> str:
    """Where a FLOP of the one is worth a FLOP of the other; empty where that is not within the runs."""
    if worth.crossing is None:
        return ""
    interval = worth.crossing_interval if worth.crossing_interval[0] else None
    return f"; both are worth the same at {with_interval(worth.crossing, interval)} FLOPs"


def _settling(each: Decision | WrittenDecision) -> str:
    if each.settled:
        return "settled now"
    if each.settling is None:
        return "no pair below it"
    C, seeds = each.settling
    return f"{number(C)} FLOPs" + f", {seeds} seeds" * (seeds > 1)


def drawn_worth(decisions: Sequence[Decision]) -> Figure:
    """The worth over compute: by the laws with its band, and as measured where both envelopes are."""
    figure, (axes,) = st.panels(1, width=7.0, height=4.6)
    names = [each.value for each in decisions]
    values = [1.0]
    for each in decisions:
        style = st.family_style(each.value, names)
        worth = each.worth
        name = f"{st.plain(each.value)}, by the laws"
        axes.plot(worth.C, worth.worth, color=style["color"], linestyle=style["linestyle"], label=name)
        band = np.isfinite(worth.low) & np.isfinite(worth.high)
        axes.fill_between(
            worth.C[band], worth.low[band], worth.high[band], color=style["color"], alpha=st.BAND_ALPHA, lw=0
        )
        values += [*worth.worth[np.isfinite(worth.worth)], *worth.low[band], *worth.high[band]]
        if each.measured is not None:
            points = style | {"linestyle": "none", "label": "as measured"}
            axes.plot(each.measured.C, each.measured.worth, **points)
            values += [*each.measured.worth]
    axes.axhline(1, color=st.INK, linewidth=0.9)
    axes.axvline(decisions[0].C, color=st.INK, linewidth=0.6, linestyle="--")
    st.log_x(axes, np.concatenate([each.worth.C for each in decisions]), st.UNKNOWN_C)
    st.log_y(axes, values, f"FLOPs of {st.plain(decisions[0].reference)} that one is worth")
    axes.set_title("What a FLOP is worth, with 90 % bands")
    st.legend_below(axes)
    return figure
