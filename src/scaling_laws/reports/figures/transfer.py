"""Does a better loss carry over to text of another kind? (Kaplan et al., Figure 8.)"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.laws.selection import at_common_horizon
from scaling_laws.records import MAIN_CORPUS
from scaling_laws.reports.evidence import Laws, StudyTables, n_label, training_losses
from scaling_laws.reports.style import (
    CORPUS_MARKERS,
    FAMILY_COLOURS,
    INK,
    legend_below,
    log_x,
    log_y,
    note,
    panels,
    plain,
    short,
    styled,
)

TITLE = "Transfer to other text"
VALIDATION_CORPUS = "val"
"""Also files of the training distribution: not a foreign corpus."""


@styled
def draw(tables: StudyTables, laws: Laws) -> Figure:
    """Left: loss on every corpus against N. Right: foreign against test loss, at the end and in training."""
    foreign = foreign_corpora(tables)
    runs = tables.of(tables.main_family)
    if runs.empty or not foreign:
        return note(TITLE, "Needs complete runs that were evaluated on a corpus besides the test corpus.")
    figure, (size, along) = panels(2, width=11.0, height=4.9)

    sizes, _ = at_common_horizon(runs)
    mean = sizes.groupby("N")[[f"loss_{corpus}" for corpus in (MAIN_CORPUS, *foreign)]].mean()
    during = _largest_during_training(tables, runs)
    for place, corpus in enumerate((MAIN_CORPUS, *foreign)):
        look: dict[str, Any] = {"color": FAMILY_COLOURS[place % 4], "marker": CORPUS_MARKERS[place % 6]}
        size.plot(mean.index, mean[f"loss_{corpus}"], **look, label=plain(corpus))
        if corpus == MAIN_CORPUS:
            continue
        along.plot(
            runs[f"loss_{MAIN_CORPUS}"],
            runs[f"loss_{corpus}"],
            ls="none",
            alpha=0.8,
            **look,
            label=plain(corpus),
        )
        if corpus in during.columns:
            along.plot(
                during[MAIN_CORPUS], during[corpus], color=look["color"], linestyle="--", linewidth=1.2
            )
    if not during.empty:
        along.plot([], [], color=INK, linestyle="--", label=f"N = {short(runs['N'].max())} during training")
    log_x(size, mean.index, n_label(laws))
    log_y(size, mean.to_numpy().ravel(), "loss, nats per token", margin=0.1)
    size.set_title(f"At the end of training, D = {short(sizes['D'].max())}", color=INK)

    ends = runs[[f"loss_{corpus}" for corpus in (MAIN_CORPUS, *foreign)]]
    span = [ends.to_numpy().min(), ends.to_numpy().max() * 1.05]
    along.axline((span[0], span[0]), (span[1], span[1]), color=INK, linewidth=0.9, linestyle=":")
    along.plot([], [], color=INK, linewidth=0.9, linestyle=":", label="equal losses")
    log_x(
        along,
        [ends[f"loss_{MAIN_CORPUS}"].min(), ends[f"loss_{MAIN_CORPUS}"].max() * 1.08],
        _axis(MAIN_CORPUS),
    )
    log_y(along, span, "loss on another corpus, nats per token")
    along.set_title("Loss on another corpus against test loss", color=INK)
    for axes in (size, along):
        legend_below(axes, columns=2)
    return figure


def describe(tables: StudyTables, laws: Laws) -> str:
    """The offset of each foreign corpus at the smallest and at the largest size."""
    runs = tables.of(tables.main_family)
    foreign = foreign_corpora(tables)
    if runs.empty or not foreign:
        return "No run was evaluated on another corpus."
    sizes, _ = at_common_horizon(runs)
    smallest, largest = sizes[sizes["N"] == sizes["N"].min()], sizes[sizes["N"] == sizes["N"].max()]
    offsets = "; ".join(
        f"{corpus} {_offset(smallest, corpus):+.2f} nats at N = {short(sizes['N'].min())} and "
        f"{_offset(largest, corpus):+.2f} at N = {short(sizes['N'].max())}"
        for corpus in foreign
    )
    return f"Offset from the test loss at the end of training: {offsets}."


def foreign_corpora(tables: StudyTables) -> list[str]:
    return [corpus for corpus in tables.corpora if corpus not in (MAIN_CORPUS, VALIDATION_CORPUS)]


def _offset(runs: pd.DataFrame, corpus: str) -> float:
    return float((runs[f"loss_{corpus}"] - runs[f"loss_{MAIN_CORPUS}"]).mean())


def _largest_during_training(tables: StudyTables, runs: pd.DataFrame) -> pd.DataFrame:
    """Losses by corpus at the evaluations of the largest network's longest run, in order of tokens."""
    run = runs.sort_values(["N", "D"])["run"].iloc[-1]
    columns = {}
    for corpus in (MAIN_CORPUS, *foreign_corpora(tables)):
        losses = training_losses(tables, corpus)
        columns[corpus] = losses[losses["run"] == run].set_index("tokens")["loss"]
    table = pd.DataFrame(columns).dropna(subset=[MAIN_CORPUS])
    return table.dropna(axis="columns", how="all").sort_index()


def _axis(corpus: str) -> str:
    return f"{corpus} loss, nats per token"
