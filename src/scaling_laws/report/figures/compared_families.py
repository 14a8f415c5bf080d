"""Which family scales better, and (LSTM against Transformer) where in the context? Kaplan 2020, Figure 7."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scaling_laws.laws.fit.level import interval_percentiles
from scaling_laws.laws.plan.choice import best_joint_fit
from scaling_laws.laws.positions import LatePair
from scaling_laws.laws.results.types import FittedLaw, LatePositions, Laws
from scaling_laws.laws.selection import SAME_HORIZON, at_common_horizon
from scaling_laws.report import style as st
from scaling_laws.report.by_position import POSITION_LABEL, binned, drawn_folds
from scaling_laws.report.figure import figure
from scaling_laws.report.formulas import fitted_band, value_with_interval
from scaling_laws.report.study_tables import StudyTables, n_label
from scaling_laws.report.text import interval_text, short

LSTM = "lstm"
EXPERIMENT = "families"
NEEDS_FAMILIES = "Needs runs of two families: `scaling-laws sweep configs/sweeps/families.yaml`."
MOST_PAIRS = 4
LAYER_MARKERS = {1: "v", 2: "s", 4: "D"}
"""Of LSTMs, which the paper tells apart by their layers."""
EXPONENTS_OF_N = {"alpha_N": r"\alpha_N", "alpha": r"\alpha"}


@dataclass(frozen=True, kw_only=True)
class FamilyLoss:
    """Loss against size of one family.

    Attributes:
        runs: N, n_layer, loss: at the horizon at which families are compared.
        law: of the loss at that horizon, and what it takes besides N; None where there is none.
        single: L(N) of the family.
    """

    family: str
    runs: pd.DataFrame
    law: FittedLaw | None
    at: dict[str, float]
    single: FittedLaw | None


@dataclass(frozen=True, kw_only=True)
class ComparedPair:
    """An LSTM and a Transformer of one size: mean positions of bins (n), both losses (1 + RESAMPLES, n)."""

    pair: LatePair
    T: NDArray[Any]
    transformer: NDArray[Any]
    lstm: NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ComparedFamilies:
    """Attributes: D: of the compared runs. pairs: by size, at most `MOST_PAIRS`. late: of all pairs."""

    families: Sequence[FamilyLoss]
    D: float
    pairs: Sequence[ComparedPair]
    late: LatePositions
    N_label: str


def _describe(data: ComparedFamilies) -> str:
    """Exponents by family, and the difference at late positions of the largest matched pair."""
    exponents = "α_N: " + ", ".join(
        f"{st.family_name(each.family)} {value_with_interval(each.single, 'alpha_N')}"
        for each in data.families
    )
    late = data.late
    if not late.pairs or late.position_from is None:
        return f"{exponents}; late positions are not compared: {late.reason or 'no matched sizes'}."
    pair = max(late.pairs, key=lambda pair: pair.N_transformer)
    gap, (low, high) = pair.difference_nats, pair.interval or (None, None)
    if low is not None and high is not None and low <= 0 <= high:
        verdict = "no clear difference"
    else:
        verdict = "the Transformer is better" if gap > 0 else "the LSTM is better"
    sizes = f"the LSTM (N = {short(pair.N_lstm)}) less the Transformer (N = {short(pair.N_transformer)})"
    return (
        f"{exponents}; from position {late.position_from:g} on, {sizes} is {gap:+.3f} nats "
        f"{interval_text(pair.interval)}: {verdict}."
    )


def _draw(data: ComparedFamilies) -> Figure:
    """Left: loss against N by family. Middle: by position, matched sizes. Right: LSTM less Transformer."""
    figure, (size, by_position, difference) = st.panels(3, width=12.0, height=5.0)
    families = [each.family for each in data.families]
    compared = [each for each in data.families if len(each.runs)]
    for each in compared:
        style = st.family_style(each.family, families)
        _points(size, each.runs, style)
        _draw_fit(size, each, style)
    st.log_x(size, [N for each in compared for N in each.runs["N"]], data.N_label)
    st.log_y(size, [loss for each in compared for loss in each.runs["loss"]], st.LOSS_LABEL, margin=0.1)
    size.set_title(f"Loss against size, D = {short(data.D)}")
    st.legend_below(size, columns=1)
    if data.pairs:
        _draw_positions(by_position, difference, data)
    else:
        reason = data.late.reason or "no pair of matched size and tokens left its losses by position"
        st.note_in(by_position, f"Loss by position needs a pair: {reason}.")
        difference.set_axis_off()
    return figure


@figure("families", "Families of networks", "family", order=1, draw=_draw, describe=_describe)
def compared_families(study: StudyTables, laws: Laws) -> ComparedFamilies | str:
    """All families of the study at one horizon."""
    if len(study.families) < 2:
        return NEEDS_FAMILIES
    runs = compared_runs(study)
    D = float(runs["D"].mean())
    return ComparedFamilies(
        families=[_family_loss(study, laws, family, runs, D) for family in study.families],
        D=D,
        pairs=_pairs(study, laws),
        late=laws.late_positions,
        N_label=n_label(study, laws),
    )


def compared_runs(study: StudyTables) -> pd.DataFrame:
    """The laws' runs of all families at one horizon: of the experiment `families`, else of the study."""
    trained = study.of_experiment(EXPERIMENT)
    of_experiment = study.runs[study.runs["run"].isin(trained["run"])] if len(trained) else trained
    if len(of_experiment) and of_experiment["family"].nunique() > 1:
        return at_common_horizon(of_experiment)[0]
    return at_common_horizon(study.runs)[0]


def _family_loss(study: StudyTables, laws: Laws, family: str, runs: pd.DataFrame, D: float) -> FamilyLoss:
    """With L(N) where it was fitted at this D; else the joint law L(N, D), which holds at any."""
    own, _ = at_common_horizon(study.of(family))
    joint, _ = best_joint_fit(laws.of(family))
    single = laws.of(family).fit("kaplan_n")
    of_joint = joint is not None and abs(np.log(own["D"].mean() / D)) > SAME_HORIZON
    law = joint if of_joint else single
    return FamilyLoss(
        family=family,
        runs=runs[runs["family"] == family],
        law=law if law is not None and law.identified else None,
        at={"D": D} if of_joint else {},
        single=single,
    )


def _pairs(study: StudyTables, laws: Laws) -> list[ComparedPair]:
    """Evenly chosen by size, of those that left their losses by position."""
    measured = set(study.position_losses)
    pairs = [pair for pair in laws.late_positions.pairs if {pair.transformer_run, pair.lstm_run} <= measured]
    pairs.sort(key=lambda pair: pair.N_transformer)
    places = np.linspace(0, len(pairs) - 1, min(len(pairs), MOST_PAIRS)).round().astype(int)
    chosen = [pairs[place] for place in places]
    return [
        ComparedPair(pair=pair, T=T, transformer=transformer, lstm=lstm)
        for pair in chosen
        for T, transformer, lstm in [resampled_pair(study, pair.transformer_run, pair.lstm_run)]
    ]


def resampled_pair(
    study: StudyTables, transformer: str, lstm: str
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Bins' mean positions (n) and the losses of both runs (1 + RESAMPLES, n): first row measured.

    The other rows are the bootstrap over folds of documents, the same folds for both runs.
    """
    of_transformer, of_lstm = (binned(study.position_losses[run]) for run in (transformer, lstm))
    drawn = drawn_folds(of_transformer.n_folds)
    return of_transformer.T, of_transformer.mean(drawn), of_lstm.mean(drawn)


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


def _draw_fit(axes: Axes, each: FamilyLoss, style: dict[str, Any]) -> None:
    name, fit = st.plain(st.family_name(each.family)), each.law
    if fit is None:
        axes.plot([], [], **style, label=f"{name}: not identified")
        return
    N = np.geomspace(each.runs["N"].min(), each.runs["N"].max(), 80)
    exponent = next(key for key in EXPONENTS_OF_N if key in fit.parameters)
    label = f"{name}: ${EXPONENTS_OF_N[exponent]}$ = {value_with_interval(fit, exponent)}"
    axes.plot(N, fit.law.loss(N, **each.at), color=style["color"], linestyle=style["linestyle"])
    axes.plot([], [], **style, label=label)
    band = fitted_band(fit, N=N, **each.at)
    if band is not None:
        axes.fill_between(N, *band, color=style["color"], alpha=st.BAND_ALPHA, linewidth=0)


def _draw_positions(by_position: Axes, difference: Axes, data: ComparedFamilies) -> None:
    pairs = data.pairs
    colours = st.SizeColours(each.pair.N_transformer for each in data.pairs)
    middle = [pairs[0], pairs[len(pairs) // 2], pairs[-1]] if len(pairs) > 3 else pairs
    losses: list[float] = []
    for each in pairs:
        colour = colours(each.pair.N_transformer)
        name = f"LSTM {short(each.pair.N_lstm)}, Transformer {short(each.pair.N_transformer)}"
        _band(difference, each.T, each.lstm - each.transformer, colour, "-", name)
        if any(each is one for one in middle):
            _band(by_position, each.T, each.transformer, colour, "-", None)
            _band(by_position, each.T, each.lstm, colour, (0, (4, 1.6)), None)
            losses.extend([*each.transformer[0], *each.lstm[0]])
    difference.axhline(0, color=st.INK, linewidth=0.9)
    late_from = data.late.position_from
    if late_from is not None:
        line: dict[str, Any] = {"color": st.INK, "linewidth": 0.8, "linestyle": ":"}
        difference.axvline(late_from, **line, label=f"late: from {late_from:g} on")
    for axes in (by_position, difference):
        st.log_x(axes, pairs[-1].T, POSITION_LABEL)
    st.log_y(by_position, losses, st.LOSS_LABEL)
    by_position.plot([], [], color=st.INK, linestyle="-", label="Transformer")
    by_position.plot([], [], color=st.INK, linestyle=(0, (4, 1.6)), label="LSTM")
    by_position.set_title("Loss by position, matched sizes")
    difference.set_title("Above 0 the Transformer is better")
    difference.set_ylabel("LSTM less Transformer, nats per token")
    st.legend_below(by_position, columns=2)
    st.legend_below(difference, columns=1)


def _band(
    axes: Axes, at: NDArray[Any], draws: NDArray[Any], colour: Any, line: Any, label: str | None
) -> None:
    low, high = np.percentile(draws[1:], interval_percentiles(), axis=0)
    axes.plot(at, draws[0], color=colour, linestyle=line, label=label)
    axes.fill_between(at, low, high, color=colour, alpha=st.BAND_ALPHA, linewidth=0)
