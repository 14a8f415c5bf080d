"""Olsson et al. 2022: when do networks learn to copy from their context, and is it luck?

The rules were written before a run of configs/sweeps/copying.yaml was looked at. What they can tell is in
results/papers/olsson2022/power.md.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.straight_line import deviation_ratio, jackknifed, mean_over_cells
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.olsson2022.copying_trainings import CELL, CopyingTables
from scaling_laws.report.claims import Claim, Finding, Measured, inconclusive, not_measured
from scaling_laws.report.reproduction import Paper
from scaling_laws.report.text import Table, short

FEW_HEADS, MANY_HEADS = 1, 4
NOTHING = "no size has trainings with one head and with four heads that recorded losses by class of token"


def _sides(tables: CopyingTables) -> tuple[pd.DataFrame, pd.DataFrame] | Finding:
    """Trainings with one head and with four, of the sizes that have both, at least two seeds in each cell."""
    table = tables.trainings
    if table.empty:
        return not_measured(NOTHING)
    table = table[table["n_heads"].isin((FEW_HEADS, MANY_HEADS))]
    n_seeds = table.groupby(list(CELL))["gain"].count().unstack("n_heads")
    if {FEW_HEADS, MANY_HEADS} - set(n_seeds.columns):
        return not_measured(NOTHING)
    both = n_seeds.dropna().index
    if not len(both):
        return not_measured(NOTHING)
    if n_seeds.loc[both].to_numpy().min() < 2:
        return inconclusive("some size has only one seed")
    table = table[table["d_model"].isin(both)]
    return table[table["n_heads"] == FEW_HEADS], table[table["n_heads"] == MANY_HEADS]


def _more(sides: tuple[pd.DataFrame, pd.DataFrame], column: str) -> tuple[float, Interval]:
    """Mean over sizes of the difference, four heads less one; seeds are what is independent."""
    few, many = (side.groupby("d_model")[column].agg(["mean", "var", "count"]) for side in sides)
    means = np.concatenate([many["mean"], -few["mean"]])
    both = pd.concat([many, few])
    value, (low, high) = mean_over_cells(means, both["var"], both["count"])
    assert low is not None and high is not None
    return 2 * value, (2 * low, 2 * high)  # a mean over all cells is half of the difference


def _deviations(side: pd.DataFrame, column: str) -> np.ndarray:
    """Each training less the mean of its size."""
    return (side[column] - side.groupby("d_model")[column].transform("mean")).to_numpy(dtype=float)


def _words(sides: tuple[pd.DataFrame, pd.DataFrame]) -> str:
    few, many = sides
    return f"{len(few)} trainings with one head, {len(many)} with four, {few['d_model'].nunique()} sizes"


def _copies_more(tables: CopyingTables, laws: Laws) -> Measured | Finding:
    sides = _sides(tables)
    if isinstance(sides, Finding):
        return sides
    value, interval = _more(sides, "gain")
    return Measured(value=value, interval=interval, context=_words(sides))


def _luck(tables: CopyingTables, laws: Laws) -> Measured | Finding:
    sides = _sides(tables)
    if isinstance(sides, Finding):
        return sides
    few, many = (float(np.sum(_deviations(side, "gain") ** 2)) for side in sides)
    of_few, of_many = (len(side) - side["d_model"].nunique() for side in sides)
    if min(few, many) <= 0:
        return inconclusive("seeds do not differ")
    ratio, interval = deviation_ratio((few, many), (of_few, of_many))
    deviations = f"{np.sqrt(few / of_few):.2f} and {np.sqrt(many / of_many):.2f}"
    context = f"standard deviations of {deviations} nats between seeds; {_words(sides)}"
    return Measured(value=ratio, interval=interval, context=context)


def _of_copying(tables: CopyingTables, laws: Laws) -> Measured | Finding:
    sides = _sides(tables)
    if isinstance(sides, Finding):
        return sides
    few = sides[0].assign(log_loss=np.log(sides[0]["loss"]), log_novel=np.log(sides[0]["novel"]))
    novel, every = _deviations(few, "log_novel"), _deviations(few, "log_loss")

    def log_ratio(chosen: np.ndarray) -> float:
        of_novel, of_all = float(np.sum(novel[chosen] ** 2)), float(np.sum(every[chosen] ** 2))
        return float(np.log(of_novel / of_all)) / 2 if min(of_novel, of_all) > 0 else np.nan

    value, (low, high) = jackknifed(log_ratio, np.arange(len(few)))
    if low is None or high is None:
        return inconclusive("too few seeds")
    interval = (float(np.exp(low)), float(np.exp(high)))
    return Measured(value=float(np.exp(value)), interval=interval, context=_words(sides))


def _novel_alike(tables: CopyingTables, laws: Laws) -> Measured | Finding:
    sides = _sides(tables)
    if isinstance(sides, Finding):
        return sides
    few, many = (side.assign(log_novel=100 * np.log(side["novel"])) for side in sides)
    value, interval = _more((few, many), "log_novel")
    return Measured(value=value, interval=interval, context=_words(sides))


def cells_table(tables: CopyingTables, laws: Laws) -> Table:
    """One row per size and number of heads: losses by class at the longest horizon, seed by seed."""
    rows = []
    table = tables.trainings
    for _, cell in table.groupby(list(CELL)) if len(table) else ():
        numbers = (", ".join(f"{value:.3f}" for value in cell[name]) for name in ("loss", "novel", "gain"))
        row = cell.iloc[0]
        rows.append((short(row["N"]), f"{row['n_heads']:.0f}", short(row["D"]), *numbers))
    columns = (
        "N",
        "heads",
        "tokens",
        "loss, seed by seed",
        "on novel tokens",
        "novel minus trigram repeated",
    )
    return Table(
        columns=columns,
        rows=tuple(rows),
        caption=("In nats per token; each cell lists the seeds in the same order."),
    )


PAPER = Paper(
    module=__name__,
    title="In-context Learning and Induction Heads",
    citation="Olsson, Elhage, Nanda et al. 2022 (arXiv 2209.11895)",
    question="When do networks learn to copy from their context, with one head and with four?",
    sweep="configs/papers/olsson2022.yaml",
    budget={"cpu": "2 core-hours"},
    fitted=False,
    evidence=CopyingTables,
    figures={"copying": ""},
    says=(
        "Attention heads that find the previous occurrence of the current token and copy what followed it "
        "form in a short part of the training, and most of what a network gains from its context comes "
        "with them.",
    ),
    done=(
        "Transformers of two layers, three widths, one head and four, five seeds each, on English. The "
        "gain from copying is the loss on novel targets minus that on targets whose last three tokens "
        "appeared earlier in the window. The heads themselves are not inspected: copying is inferred from "
        "the losses. The claims are this project's own; they come from an analysis of its first study, "
        "which was on source code.",
    ),
    trust=("Three sizes, one corpus, one recipe; a wide network may need fewer or more heads.",),
    claims=(
        Claim(
            slug="four-heads-copy-more",
            text="With four heads networks copy more from their context than with one of the same width",
            source="first study, on code",
            quantity="gain on repeated trigrams, four heads minus one, nats",
            paper="",
            method="Loss on novel targets minus that on repeated trigrams at the longest horizon, mean "
            "over sizes; Welch's interval over seeds.",
            confirmed=(0.05, np.inf),
            needs="copying",
            measure=_copies_more,
        ),
        Claim(
            slug="one-head-is-luck",
            text="With one head the seed decides whether a network copies",
            source="first study, on code",
            quantity="standard deviation of that gain between seeds, one head over four",
            paper="",
            method="Pooled over sizes; the interval is that of the ratio of two variances (F).",
            confirmed=(1.0, np.inf),
            needs="copying",
            measure=_luck,
        ),
        Claim(
            slug="seeds-differ-in-copying",
            text="Seeds differ in copying: on novel tokens they agree",
            source="first study, on code",
            quantity="standard deviation between seeds of ln loss on novel tokens over that on all, one head",
            paper="",
            method="Pooled over sizes; the interval leaves out each training in turn.",
            confirmed=(-np.inf, 0.7),
            needs="copying",
            measure=_of_copying,
        ),
        Claim(
            slug="heads-do-not-help-on-novel-tokens",
            text="On novel tokens four heads are no better than one",
            source="first study, on code",
            quantity="loss on novel tokens with four heads above that with one, per cent",
            paper="",
            method="Mean over sizes at the longest horizon; Welch's interval over seeds.",
            confirmed=(-1.0, 1.0),
            needs="copying",
            measure=_novel_alike,
        ),
    ),
    tables=lambda tables, laws: {"Losses by class, seed by seed": cells_table(tables, laws)},
)
