"""A law is of runs that differ in N and D alone: which runs of a study share one recipe.

A study of several experiments has runs of other contexts, batches, schedules, parts of the corpus and shapes.
Each family's laws are fitted to the recipe that most of its pairs of N and D have; the other runs are left
out, each with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

RECIPE = {
    "train_halvings": "on another part of the corpus",
    "n_reuse": "with blocks used more often or less",
    "noise_suffix_tokens": "with another noise suffix",
    "n_ctx": "with another context",
    "batch_tokens": "with another batch",
    "dropout": "with another dropout",
    "decay": "with another schedule",
    "cooldown_share": "with another cooldown",
}
"""Column of a study's run table -> what to say of the runs that have another value than most."""
MAY_VARY_IN_TIME = {"batch_tokens", "decay", "cooldown_share"}
"""Of the recipe: what laws of training time convert, or do not see, at a constant rate."""
TRANSFORMERS = ("transformer", "recurrent_transformer")
FEWEST_SIZES = 4
"""Of usual shapes: with fewer, unusual ones stay."""
FEWEST_LAYERS = 2
SHALLOW = "networks of less than two layers lie off the law of N (Kaplan 2020, Fig. 6 and D.7)"
LEAST_ASPECT_RATIO = 4
NARROW = "networks less than four times as wide as deep lie off the law of N (Kaplan 2020, section 3.2)"
OTHER_DEPTH = "LSTMs of another depth than most of these lie off the law of N (docs/results.md)"


def of_one_recipe(
    table: pd.DataFrame, columns: Iterable[str] = tuple(RECIPE)
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The runs of each family's usual recipe, and why each of the others is not among them.

    Args:
        columns: of the recipe, in which runs must be alike.
        table: of a study (`runs.Study.runs`), columns N and D in the chosen conventions. A table without a
            study's columns is returned as it is: nothing is known of its recipes.
    """
    if "train_halvings" not in table.columns:
        return table, {}
    reasons: dict[str, str] = {}
    for family, rows in table.groupby("family"):
        for column in columns:
            words = RECIPE[column]
            usual = _usual(rows, column)
            other = rows[column] != usual
            reason = f"it was trained {words} than most runs of the family {family} ({column} = {usual})"
            reasons |= dict.fromkeys(rows.loc[other, "run"], reason)
            rows = rows[~other]
        reasons |= _off_the_law(rows)
    return table[~table["run"].isin(reasons)], reasons


def for_training_time(table: pd.DataFrame) -> pd.DataFrame:
    """The runs whose learning curves laws of training time may use: they differ in N, batch and rate.

    Args:
        table: as in `of_one_recipe`.
    """
    return of_one_recipe(table, [column for column in RECIPE if column not in MAY_VARY_IN_TIME])[0]


def _usual(rows: pd.DataFrame, column: str) -> Any:
    """The value that most pairs of N and D have; of equals the one with more runs."""
    groups = {value: group for value, group in rows.groupby(column, dropna=False)}

    def support(value: Any) -> tuple[int, int]:
        return len(groups[value][["N", "D"]].drop_duplicates()), len(groups[value])

    return max(groups, key=support)


def _off_the_law(rows: pd.DataFrame) -> dict[str, str]:
    """Shapes of which the loss is known not to be that of their N, where there are enough others."""
    if rows[["n_layer", "d_model"]].isna().any(axis=None):
        return {}
    family = rows["family"].iloc[0]
    if family in TRANSFORMERS:
        shallow = rows["n_layer"] < FEWEST_LAYERS
        narrow = ~shallow & (rows["d_model"] < LEAST_ASPECT_RATIO * rows["n_layer"])
        unusual = {SHALLOW: shallow, NARROW: narrow}
    elif family == "lstm":
        unusual = {OTHER_DEPTH: rows["n_layer"] != _usual(rows, "n_layer")}
    else:
        return {}
    reasons = {run: reason for reason, those in unusual.items() for run in rows.loc[those, "run"]}
    return {} if rows.loc[~rows["run"].isin(reasons), "N"].nunique() < FEWEST_SIZES else reasons
