"""Which family scales better, and (LSTM against Transformer) where in the context? Kaplan 2020, Figure 7.

Figure 17 and what families are worth in one another are in `family_worth.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scaling_laws.laws.plan.choice import best_joint_fit
from scaling_laws.laws.selection import SAME_HORIZON, at_common_horizon
from scaling_laws.report import style as st
from scaling_laws.report.by_position import POSITION_LABEL, binned, drawn_folds
from scaling_laws.report.evidence import Laws, StudyTables, find_fit, n_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.formulas import (
    EXPONENT_OF_N,
    LEVELS,
    exponent_of_N,
    fitted_band,
    law_of,
    value_with_interval,
)
from scaling_laws.report.text import interval_text, short

TITLE = "Families of networks"
LSTM = "lstm"
EXPERIMENT = "families"
MOST_PAIRS = 4
LAYER_MARKERS = {1: "v", 2: "s", 4: "D"}
"""Of LSTMs, which the paper tells apart by their layers."""


@st.styled
def draw(tables: StudyTables, laws: Laws) -> Figure:
    """Left: loss against N by family. Middle: by position, matched sizes. Right: LSTM less Transformer."""
    if len(tables.families) < 2:
        return st.note(
            TITLE, "Needs runs of two families: `scaling-laws sweep configs/sweeps/families.yaml`."
        )
    figure, (size, by_position, difference) = st.panels(3, width=12.0, height=5.0)

    runs = compared_runs(tables)
    D = float(runs["D"].mean())
    for family in tables.families:
        style = st.family_style(family, tables.families)
        of_family = runs[runs["family"] == family]
        if of_family.empty:
            continue
        _points(size, of_family, style)
        _draw_fit(
            size, _law_at(tables, laws, family, D), of_family["N"], st.plain(st.family_name(family)), style
        )
    st.log_x(size, runs["N"], n_label(laws))
    st.log_y(size, runs["loss"], st.LOSS_LABEL, margin=0.1)
    size.set_title(f"Loss against size, D = {short(D)}")
    st.legend_below(size, columns=1)
    _draw_positions(by_position, difference, tables, laws)
    return figure


def describe(tables: StudyTables, laws: Laws) -> str:
    """Exponents by family, and the difference at late positions of the largest matched pair."""
    if len(tables.families) < 2:
        return "The study has one family at most: there is nothing to compare."
    exponents = "α_N: " + ", ".join(
        f"{st.family_name(family)} {value_with_interval(find_fit(laws, 'kaplan_n', family), 'alpha_N')}"
        for family in tables.families
    )
    late = laws["late_positions"]
    if not late["pairs"]:
        return f"{exponents}; late positions are not compared: {late['reason'] or 'no matched sizes'}."
    pair = max(late["pairs"], key=lambda pair: pair["N_transformer"])
    gap, interval = pair["difference_nats"], pair["interval"]
    if interval and interval[0] <= 0 <= interval[1]:
        verdict = "no clear difference"
    else:
        verdict = "the Transformer is better" if gap > 0 else "the LSTM is better"
    sizes = (
        f"the LSTM (N = {short(pair['N_lstm'])}) less the Transformer (N = {short(pair['N_transformer'])})"
    )
    return (
        f"{exponents}; from position {late['position_from']:g} on, {sizes} is {gap:+.3f} nats "
        f"{interval_text(interval)}: {verdict}."
    )


def compared_runs(tables: StudyTables) -> pd.DataFrame:
    """The laws' runs of all families at one horizon: of the experiment `families`, else of the study."""
    asked = tables.of_experiment(EXPERIMENT)
    of_experiment = tables.runs[tables.runs["run"].isin(asked["run"])] if len(asked) else asked
    if len(of_experiment) and of_experiment["family"].nunique() > 1:
        return at_common_horizon(of_experiment)[0]
    return at_common_horizon(tables.runs)[0]


def _points(axes: Axes, runs: pd.DataFrame, style: dict[str, Any]) -> None:
    """One family's runs; LSTMs of several depths with a marker for each."""
    layers = sorted(runs["n_layer"].dropna().unique()) if (runs["family"] == LSTM).all() else []
    if len(layers) < 2:
        axes.plot(runs["N"], runs["loss"], **style | {"linestyle": "none"})
        return
    for n_layer in layers:
        rows = runs[runs["n_layer"] == n_layer].sort_values("N")
        look = style | {"marker": LAYER_MARKERS.get(n_layer, "P"), "linestyle": "none"}
        label = "LSTM of 1 layer" if n_layer == 1 else f"LSTM of {n_layer:.0f} layers"
        axes.plot(rows["N"], rows["loss"], **look, label=label)


def _law_at(
    tables: StudyTables, laws: Laws, family: str, D: float
) -> tuple[Mapping[str, Any], dict[str, float]]:
    """The family's fit to draw against N at D, and what it takes besides N.

    L(N) where it was fitted at this D; else the joint law L(N, D), which holds at any.
    """
    own, _ = at_common_horizon(tables.of(family))
    joint, _ = best_joint_fit(laws, family)
    if joint is None or abs(np.log(own["D"].mean() / D)) <= SAME_HORIZON:
        return find_fit(laws, "kaplan_n", family) or {"identified": False}, {}
    return joint, {"D": D}


def _draw_fit(
    axes: Axes,
    law: tuple[Mapping[str, Any], dict[str, float]],
    N: pd.Series[float],
    name: str,
    style: Mapping[str, Any],
) -> None:
    fit, others = law
    if not fit["identified"]:
        axes.plot([], [], **style, label=f"{name}: not identified")
        return
    x = np.geomspace(N.min(), N.max(), 80)
    exponent = exponent_of_N(fit)
    symbol = EXPONENT_OF_N[exponent]
    axes.plot(x, law_of(fit).loss(x, **others), color=style["color"], linestyle=style["linestyle"])
    axes.plot([], [], **style, label=f"{name}: ${symbol}$ = {value_with_interval(fit, exponent)}")
    band = fitted_band(fit, N=x, **others)
    if band is not None:
        axes.fill_between(x, *band, color=style["color"], alpha=st.BAND_ALPHA, linewidth=0)


def _draw_positions(by_position: Axes, difference: Axes, tables: StudyTables, laws: Laws) -> None:
    late = laws["late_positions"]
    measured = set(tables.position_losses)
    pairs = [pair for pair in late["pairs"] if {pair["transformer_run"], pair["lstm_run"]} <= measured]
    if not pairs:
        reason = late["reason"] or "no pair of matched size and tokens left its losses by position"
        st.note_in(by_position, f"Loss by position needs a pair: {reason}.")
        difference.set_axis_off()
        return
    colours = st.SizeColours(pair["N_transformer"] for pair in pairs)
    by_size = sorted(pairs, key=lambda pair: pair["N_transformer"])
    places = np.linspace(0, len(by_size) - 1, min(len(by_size), MOST_PAIRS)).round().astype(int)
    shown = [by_size[place] for place in places]
    middle = [shown[0], shown[len(shown) // 2], shown[-1]] if len(shown) > 3 else shown
    losses: list[float] = []
    for pair in shown:
        at, transformer, lstm = resampled_pair(tables, pair["transformer_run"], pair["lstm_run"])
        colour = colours(pair["N_transformer"])
        _band(difference, at, lstm - transformer, colour, "-", _pair_name(pair))
        if pair in middle:
            _band(by_position, at, transformer, colour, "-", None)
            _band(by_position, at, lstm, colour, (0, (4, 1.6)), None)
            losses.extend([*transformer[0], *lstm[0]])
    difference.axhline(0, color=st.INK, linewidth=0.9)
    late_from = late["position_from"]
    difference.axvline(
        late_from, color=st.INK, linewidth=0.8, linestyle=":", label=f"late: from {late_from:g} on"
    )
    for axes in (by_position, difference):
        st.log_x(axes, at, POSITION_LABEL)
    st.log_y(by_position, losses, st.LOSS_LABEL)
    by_position.plot([], [], color=st.INK, linestyle="-", label="Transformer")
    by_position.plot([], [], color=st.INK, linestyle=(0, (4, 1.6)), label="LSTM")
    by_position.set_title("Loss by position, matched sizes")
    difference.set_title("Above 0 the Transformer is better")
    difference.set_ylabel("LSTM less Transformer, nats per token")
    st.legend_below(by_position, columns=2)
    st.legend_below(difference, columns=1)


def resampled_pair(
    tables: StudyTables, transformer: str, lstm: str
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Bins' mean positions (n) and the losses of both runs (1 + RESAMPLES, n): first row measured.

    The other rows are the bootstrap over folds of documents, the same folds for both runs.
    """
    of_transformer, of_lstm = (binned(tables.position_losses[run]) for run in (transformer, lstm))
    drawn = drawn_folds(of_transformer.n_folds)
    return of_transformer.T, of_transformer.mean(drawn), of_lstm.mean(drawn)


def _band(
    axes: Axes, at: NDArray[Any], draws: NDArray[Any], colour: Any, line: Any, label: str | None
) -> None:
    low, high = np.percentile(draws[1:], LEVELS, axis=0)
    axes.plot(at, draws[0], color=colour, linestyle=line, label=label)
    axes.fill_between(at, low, high, color=colour, alpha=st.BAND_ALPHA, linewidth=0)


def _pair_name(pair: Mapping[str, Any]) -> str:
    return f"LSTM {short(pair['N_lstm'])}, Transformer {short(pair['N_transformer'])}"


FIGURES = (
    Entry(
        name="fig07_families",
        title=TITLE,
        paper="Fig. 7",
        question="family",
        draw=draw,
        describe=describe,
    ),
)
