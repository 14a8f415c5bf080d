"""Does a better loss carry over to text of another kind? (Kaplan 2020, Figures 8 and 24.)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator

from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.selection import at_common_horizon
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables, training_losses
from scaling_laws.report.text import short
from scaling_laws.study.records import MAIN_CORPUS

NEEDS_CORPORA = (
    "Needs runs that were evaluated on a corpus besides the test corpus, as those of "
    "`scaling-laws sweep configs/sweeps/size.yaml` are."
)
NEEDS_DEPTHS = "Needs runs of `scaling-laws sweep configs/sweeps/depth.yaml`."
TRAINING_TEXT = "training text"
VALIDATION_CORPUS = "val"
"""Also files of the training distribution: not a foreign corpus."""


def foreign_corpora(runs: pd.DataFrame) -> list[str]:
    """Corpora of other text than the training distribution that some of the runs were evaluated on."""
    measured = runs.columns[runs.notna().any()]
    names = {column.removeprefix("loss_") for column in measured if column.startswith("loss_")}
    return sorted(names - {MAIN_CORPUS, VALIDATION_CORPUS})


def _look(place: int) -> dict[str, Any]:
    """Of the corpus at this place, the main one first."""
    return {"color": st.FAMILY_COLOURS[place % 4], "marker": st.CORPUS_MARKERS[place % 6]}


# --- Figure 8 -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LossesOnOtherText:
    """Losses by corpus (a column each, the main one first), nats per token.

    Attributes:
        n_label: what N counts.
        at_end: of every run of the main family.
        by_size: index N, at the common horizon.
        offsets: the same, less the loss on the main corpus.
        during: at the evaluations of the largest network's longest run, in order of tokens.
        horizon: D of `by_size`.
        largest: N of `during`.
    """

    n_label: str
    at_end: pd.DataFrame
    by_size: pd.DataFrame
    offsets: pd.DataFrame
    during: pd.DataFrame
    horizon: float
    largest: float


def draw_transfer(data: LossesOnOtherText) -> Figure:
    """Left: loss on every corpus against N. Right: foreign against test loss, at the end and in training."""
    figure, (size, along) = st.panels(2, width=11.0, height=4.9)
    test = data.at_end[MAIN_CORPUS]
    for place, corpus in enumerate(data.at_end.columns):
        look, label = _look(place), st.plain(corpus)
        size.plot(data.by_size.index, data.by_size[corpus], **look, label=label)
        if corpus == MAIN_CORPUS:
            continue
        along.plot(test, data.at_end[corpus], ls="none", alpha=0.8, **look, label=label)
        if corpus in data.during.columns:
            x, y = data.during[MAIN_CORPUS], data.during[corpus]
            along.plot(x, y, color=look["color"], linestyle="--", linewidth=1.2)
    if not data.during.empty:
        label = f"N = {short(data.largest)} during training"
        along.plot([], [], color=st.INK, linestyle="--", label=label)
    st.log_x(size, data.by_size.index, data.n_label)
    st.log_y(size, data.by_size.to_numpy().ravel(), "loss, nats per token", margin=0.1)
    size.set_title(f"At the end of training, D = {short(data.horizon)}")

    span = [data.at_end.min().min(), data.at_end.max().max() * 1.05]
    along.axline((span[0], span[0]), (span[1], span[1]), color=st.INK, linewidth=0.9, linestyle=":")
    along.plot([], [], color=st.INK, linewidth=0.9, linestyle=":", label="equal losses")
    st.log_x(along, [test.min(), test.max() * 1.08], f"{MAIN_CORPUS} loss, nats per token")
    st.log_y(along, span, "loss on another corpus, nats per token")
    along.set_title("Loss on another corpus against test loss")
    for axes in (size, along):
        st.legend_below(axes, columns=2)
    return figure


def describe_transfer(data: LossesOnOtherText) -> str:
    """The offset of each foreign corpus at both ends of N, and whether training differs from its end."""
    smallest, largest = (f"N = {short(N)}" for N in (data.offsets.index[0], data.offsets.index[-1]))
    words = "; ".join(
        f"{corpus} {of_corpus.iloc[0]:+.2f} nats at {smallest} and {of_corpus.iloc[-1]:+.2f} at {largest}"
        for corpus, of_corpus in data.offsets.drop(columns=MAIN_CORPUS).items()
    )
    sentence = f"Offset from the test loss at the end of training: {words}."
    during = "; ".join(
        f"{corpus} {round(difference, 3) + 0.0:+.3f}" for corpus, difference in during_less_end(data).items()
    )
    if not during:
        return sentence
    return (
        f"{sentence} At equal test loss the largest network in training lies above networks at their end by, "
        f"in nats: {during}."
    )


@figure(
    "fig08_transfer",
    "Does the loss carry over to other text?",
    "scale",
    draw=draw_transfer,
    describe=describe_transfer,
)
def fig08_transfer(study: KaplanTables, laws: Laws) -> LossesOnOtherText | str:
    runs = study.of(study.main_family)
    foreign = foreign_corpora(runs)
    if not foreign:
        return NEEDS_CORPORA
    sizes, _ = at_common_horizon(runs)
    corpora = {f"loss_{corpus}": corpus for corpus in (MAIN_CORPUS, *foreign)}
    losses = sizes[list(corpora)].rename(columns=corpora)
    return LossesOnOtherText(
        n_label=study.n_label,
        at_end=runs[list(corpora)].rename(columns=corpora),
        by_size=losses.groupby(sizes["N"]).mean(),
        offsets=losses.sub(losses[MAIN_CORPUS], axis=0).groupby(sizes["N"]).mean(),
        during=_during(study, runs.sort_values(["N", "D"])["run"].iloc[-1], list(corpora.values())),
        horizon=float(sizes["D"].max()),
        largest=float(runs["N"].max()),
    )


def _during(study: StudyTables, run: str, corpora: list[str]) -> pd.DataFrame:
    """`LossesOnOtherText.during`."""
    columns = {}
    for corpus in corpora:
        losses = training_losses(study, corpus)
        columns[corpus] = losses[losses["run"] == run].set_index("tokens")["loss"]
    table = pd.DataFrame(columns).dropna(subset=[MAIN_CORPUS])
    return table.dropna(axis="columns", how="all").sort_index()


def during_less_end(data: LossesOnOtherText) -> dict[str, float]:
    """By foreign corpus: its loss in training less that at the end of other runs, at equal test loss.

    In training is the largest network. Nats per token, the mean over its evaluations whose test loss lies
    among those of the finished runs, between which losses are interpolated. Where it is 0, transfer depends
    on the test loss alone (Kaplan 2020, Fig. 8).
    """
    ends = data.at_end.sort_values(MAIN_CORPUS)
    test = ends[MAIN_CORPUS].to_numpy()
    differences = {}
    for corpus in data.during.columns.drop(MAIN_CORPUS, errors="ignore"):
        among = data.during[data.during[MAIN_CORPUS].between(test[0], test[-1])].dropna(subset=[corpus])
        if not among.empty:
            expected = np.interp(among[MAIN_CORPUS], test, ends[corpus])
            differences[str(corpus)] = float((among[corpus] - expected).mean())
    return differences


# --- Figure 24 ------------------------------------------------------------------------------------


def draw_depths(losses: pd.DataFrame) -> Figure:
    """Left: loss on every corpus against depth, at one N and D. Right: how far above the test loss."""
    figure, (level, offset) = st.panels(2, width=11.0, height=4.9)
    for place, corpus in enumerate(losses.columns.drop(["N", "D"])):
        look, label = _look(place), st.plain(corpus)
        if corpus == TRAINING_TEXT:
            look = {"color": st.GREY, "marker": "x", "linestyle": ":"}
        level.plot(losses.index, losses[corpus], **look, label=label)
        if corpus != MAIN_CORPUS:
            offset.plot(losses.index, losses[corpus] - losses[MAIN_CORPUS], **look, label=label)
    offset.axhline(0, color=st.INK, linewidth=0.9, linestyle=":", zorder=1)
    for axes in (level, offset):
        st.log_x(axes, losses.index, "layers")
        axes.xaxis.set_major_locator(FixedLocator(list(losses.index)))
        axes.xaxis.set_major_formatter(FixedFormatter([f"{depth:g}" for depth in losses.index]))
        st.legend_below(axes, columns=3)
    level.set_ylabel("loss, nats per token")
    offset.set_ylabel("loss above the test loss, nats per token")
    level.set_title(f"N = {short(losses['N'].mean())}, D = {short(losses['D'].max())}")
    offset.set_title("Above the test loss")
    return figure


def describe_depths(losses: pd.DataFrame) -> str:
    """By how much depth moves the loss, and the offsets of other corpora."""
    test = losses[MAIN_CORPUS]
    foreign = losses.columns.drop(["N", "D", MAIN_CORPUS, TRAINING_TEXT], errors="ignore")
    offsets = "; ".join(
        f"{corpus} between {(losses[corpus] - test).min():+.2f} and {(losses[corpus] - test).max():+.2f}"
        for corpus in foreign
    )
    words = (
        f"At N = {short(losses['N'].mean())}, from {losses.index[0]:g} to {losses.index[-1]:g} layers, the "
        f"test loss varies by {100 * (test.max() / test.min() - 1):.1f} % and is lowest at {test.idxmin():g}"
    )
    return words + (f"; offsets from it, in nats: {offsets}." if offsets else ".")


@figure(
    "fig24_depth",
    "Depth at one size, on every corpus",
    "shape",
    draw=draw_depths,
    describe=describe_depths,
)
def fig24_depth(study: KaplanTables, laws: Laws) -> pd.DataFrame | str:
    """Index n_layer; N, D and the mean loss on each corpus (nats per token) of the experiment `depth`.

    The main corpus first, then the others, then the text trained on, over the last logged steps. Where
    several learning rates were tried, each depth has that of its lowest test loss.
    """
    runs = study.of_experiment("depth")
    if runs.empty:
        return NEEDS_DEPTHS
    runs = runs[runs["family"] == st.families_of(runs["family"])[0]].dropna(subset=["n_layer"])
    columns = {f"loss_{corpus}": corpus for corpus in (MAIN_CORPUS, *foreign_corpora(runs))}
    columns |= {"N": "N", "D": "D", "train_loss": TRAINING_TEXT}
    named = runs.rename(columns=columns)
    means = named.groupby(["n_layer", "learning_rate"])[list(columns.values())].mean().reset_index()
    best = means.loc[means.groupby("n_layer")[MAIN_CORPUS].idxmin()]
    losses = best.set_index("n_layer")[list(columns.values())].dropna(axis="columns", how="all")
    return losses if len(losses) > 1 else NEEDS_DEPTHS
