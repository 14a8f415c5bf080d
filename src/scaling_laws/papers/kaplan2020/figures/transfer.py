"""Does a better loss carry over to text of another kind? (Kaplan et al. 2020, Figures 8 and 24.)"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator

from scaling_laws.laws.selection import at_common_horizon
from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables, n_label, training_losses
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.text import short
from scaling_laws.study.records import MAIN_CORPUS

NEEDS_CORPORA = (
    "Needs runs that were evaluated on a corpus besides the test corpus, as those of "
    "`scaling-laws sweep configs/sweeps/size.yaml` are."
)
NEEDS_DEPTHS = "Needs runs of `scaling-laws sweep configs/sweeps/depth.yaml`."
DEPTH_EXPERIMENT = "depth"
TRAINING_TEXT = "training text"
VALIDATION_CORPUS = "val"
"""Also files of the training distribution: not a foreign corpus."""


# --- Figure 8 -------------------------------------------------------------------------------------


@st.styled
def draw_transfer(tables: StudyTables, laws: Laws) -> Figure:
    """Left: loss on every corpus against N. Right: foreign against test loss, at the end and in training."""
    runs = tables.of(tables.main_family)
    foreign = foreign_corpora(runs)
    if runs.empty or not foreign:
        return st.note("Transfer to other text", NEEDS_CORPORA)
    figure, (size, along) = st.panels(2, width=11.0, height=4.9)

    sizes, _ = at_common_horizon(runs)
    mean = sizes.groupby("N")[[f"loss_{corpus}" for corpus in (MAIN_CORPUS, *foreign)]].mean()
    during = _largest_during_training(tables, runs)
    for place, corpus in enumerate((MAIN_CORPUS, *foreign)):
        look: dict[str, Any] = {"color": st.FAMILY_COLOURS[place % 4], "marker": st.CORPUS_MARKERS[place % 6]}
        size.plot(mean.index, mean[f"loss_{corpus}"], **look, label=st.plain(corpus))
        if corpus == MAIN_CORPUS:
            continue
        along.plot(
            runs[f"loss_{MAIN_CORPUS}"],
            runs[f"loss_{corpus}"],
            ls="none",
            alpha=0.8,
            **look,
            label=st.plain(corpus),
        )
        if corpus in during.columns:
            along.plot(
                during[MAIN_CORPUS], during[corpus], color=look["color"], linestyle="--", linewidth=1.2
            )
    if not during.empty:
        along.plot(
            [], [], color=st.INK, linestyle="--", label=f"N = {short(runs['N'].max())} during training"
        )
    st.log_x(size, mean.index, n_label(laws))
    st.log_y(size, mean.to_numpy().ravel(), "loss, nats per token", margin=0.1)
    size.set_title(f"At the end of training, D = {short(sizes['D'].max())}")

    ends = runs[[f"loss_{corpus}" for corpus in (MAIN_CORPUS, *foreign)]]
    span = [ends.min().min(), ends.max().max() * 1.05]
    along.axline((span[0], span[0]), (span[1], span[1]), color=st.INK, linewidth=0.9, linestyle=":")
    along.plot([], [], color=st.INK, linewidth=0.9, linestyle=":", label="equal losses")
    st.log_x(
        along,
        [ends[f"loss_{MAIN_CORPUS}"].min(), ends[f"loss_{MAIN_CORPUS}"].max() * 1.08],
        _axis(MAIN_CORPUS),
    )
    st.log_y(along, span, "loss on another corpus, nats per token")
    along.set_title("Loss on another corpus against test loss")
    for axes in (size, along):
        st.legend_below(axes, columns=2)
    return figure


def describe_transfer(tables: StudyTables, laws: Laws) -> str:
    """The offset of each foreign corpus at both ends of N, and whether training differs from its end."""
    runs = tables.of(tables.main_family)
    foreign = foreign_corpora(runs)
    if runs.empty or not foreign:
        return "No run was evaluated on another corpus."
    sizes, _ = at_common_horizon(runs)
    smallest, largest = sizes[sizes["N"] == sizes["N"].min()], sizes[sizes["N"] == sizes["N"].max()]
    offsets = "; ".join(
        f"{corpus} {_offset(smallest, corpus):+.2f} nats at N = {short(sizes['N'].min())} and "
        f"{_offset(largest, corpus):+.2f} at N = {short(sizes['N'].max())}"
        for corpus in foreign
    )
    during = "; ".join(
        f"{corpus} {round(difference, 3) + 0.0:+.3f}"
        for corpus, difference in during_less_end(tables, runs).items()
    )
    largest_in_training = (
        " At equal test loss the largest network in training lies above networks at their end by, in nats: "
        f"{during}."
    )
    return f"Offset from the test loss at the end of training: {offsets}." + largest_in_training * bool(
        during
    )


def during_less_end(tables: StudyTables, runs: pd.DataFrame) -> dict[str, float]:
    """By foreign corpus: its loss in training less that at the end of other runs, at equal test loss.

    In training is the largest network. Nats per token, the mean over its evaluations whose test loss lies
    among those of the finished runs, between which losses are interpolated. Where it is 0, transfer depends
    on the test loss alone (Kaplan 2020, Fig. 8).
    """
    during = _largest_during_training(tables, runs)
    ends = runs.sort_values(f"loss_{MAIN_CORPUS}")
    at_end = ends[f"loss_{MAIN_CORPUS}"].to_numpy()
    differences = {}
    for corpus in foreign_corpora(runs):
        if corpus not in during.columns:
            continue
        among = during[during[MAIN_CORPUS].between(at_end[0], at_end[-1])].dropna(subset=[corpus])
        if not among.empty:
            expected = np.interp(among[MAIN_CORPUS], at_end, ends[f"loss_{corpus}"])
            differences[corpus] = float((among[corpus] - expected).mean())
    return differences


def foreign_corpora(runs: pd.DataFrame) -> list[str]:
    """Corpora of other text than the training distribution that some of the runs were evaluated on."""
    measured = runs.columns[runs.notna().any()]
    names = {column.removeprefix("loss_") for column in measured if column.startswith("loss_")}
    return sorted(names - {MAIN_CORPUS, VALIDATION_CORPUS})


def _offset(runs: pd.DataFrame, corpus: str) -> float:
    return float((runs[f"loss_{corpus}"] - runs[f"loss_{MAIN_CORPUS}"]).mean())


def _largest_during_training(tables: StudyTables, runs: pd.DataFrame) -> pd.DataFrame:
    """Losses by corpus at the evaluations of the largest network's longest run, in order of tokens."""
    run = runs.sort_values(["N", "D"])["run"].iloc[-1]
    columns = {}
    for corpus in (MAIN_CORPUS, *foreign_corpora(runs)):
        losses = training_losses(tables, corpus)
        columns[corpus] = losses[losses["run"] == run].set_index("tokens")["loss"]
    table = pd.DataFrame(columns).dropna(subset=[MAIN_CORPUS])
    return table.dropna(axis="columns", how="all").sort_index()


def _axis(corpus: str) -> str:
    return f"{corpus} loss, nats per token"


# --- Figure 24 ------------------------------------------------------------------------------------


@st.styled
def draw_depths(tables: StudyTables, laws: Laws) -> Figure:
    """Left: loss on every corpus against depth, at one N and D. Right: how far above the test loss."""
    losses = losses_by_depth(tables)
    if len(losses) < 2:
        return st.note("Depth at one size", NEEDS_DEPTHS)
    figure, (level, offset) = st.panels(2, width=11.0, height=4.9)
    corpora = [corpus for corpus in losses.columns if corpus not in ("N", "D")]
    for place, corpus in enumerate(corpora):
        look: dict[str, Any] = {"color": st.FAMILY_COLOURS[place % 4], "marker": st.CORPUS_MARKERS[place % 6]}
        if corpus == TRAINING_TEXT:
            look = {"color": st.GREY, "marker": "x", "linestyle": ":"}
        level.plot(losses.index, losses[corpus], **look, label=st.plain(corpus))
        if corpus != MAIN_CORPUS:
            offset.plot(losses.index, losses[corpus] - losses[MAIN_CORPUS], **look, label=st.plain(corpus))
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


def describe_depths(tables: StudyTables, laws: Laws) -> str:
    """By how much depth moves the loss, and the offsets of other corpora."""
    losses = losses_by_depth(tables)
    if len(losses) < 2:
        return "No size was trained at several depths by the experiment `depth`."
    test = losses[MAIN_CORPUS]
    foreign = [corpus for corpus in losses.columns if corpus not in ("N", "D", MAIN_CORPUS, TRAINING_TEXT)]
    offsets = "; ".join(
        f"{corpus} between {(losses[corpus] - test).min():+.2f} and {(losses[corpus] - test).max():+.2f}"
        for corpus in foreign
    )
    words = (
        f"At N = {short(losses['N'].mean())}, from {losses.index[0]:g} to {losses.index[-1]:g} layers, the "
        f"test loss varies by {100 * (test.max() / test.min() - 1):.1f} % and is lowest at {test.idxmin():g}"
    )
    return words + (f"; offsets from it, in nats: {offsets}." if foreign else ".")


def losses_by_depth(tables: StudyTables) -> pd.DataFrame:
    """Index n_layer; N, D and the mean loss on each corpus (nats per token) of the experiment `depth`.

    The main corpus first, then the others, then the text trained on, over the last logged steps. Where
    several learning rates were tried, each depth has that of its lowest test loss.
    """
    runs = tables.of_experiment(DEPTH_EXPERIMENT)
    if runs.empty:
        return pd.DataFrame(columns=["N", "D", MAIN_CORPUS])
    runs = runs[runs["family"] == st.families_of(runs["family"])[0]].dropna(subset=["n_layer"])
    columns = {f"loss_{corpus}": corpus for corpus in (MAIN_CORPUS, *foreign_corpora(runs))}
    columns |= {"N": "N", "D": "D", "train_loss": TRAINING_TEXT}
    named = runs.rename(columns=columns)
    means = named.groupby(["n_layer", "learning_rate"])[list(columns.values())].mean().reset_index()
    best = means.loc[means.groupby("n_layer")[MAIN_CORPUS].idxmin()]
    return best.set_index("n_layer")[list(columns.values())].dropna(axis="columns", how="all")


FIGURES: tuple[Entry, ...] = (
    Entry(
        name="fig08_transfer",
        title="Does the loss carry over to other text?",
        paper="Fig. 8",
        question="scale",
        draw=draw_transfer,
        describe=describe_transfer,
    ),
    Entry(
        name="fig24_depth",
        title="Depth at one size, on every corpus",
        paper="Fig. 24",
        question="shape",
        draw=draw_depths,
        describe=describe_depths,
    ),
)
