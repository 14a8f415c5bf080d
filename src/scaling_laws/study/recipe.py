"""What counts as one recipe: the runs of a law differ in nothing but what `MAY_DIFFER` names.

A study of several experiments has runs of other contexts, batches, schedules, optimisers and shapes. Each
family's laws are fitted to the recipe that most of its pairs of N and D have; the other runs are left out,
each with its reason. Every column of the run table is part of the recipe unless it is named here, so that a
setting that is recorded tomorrow is compared tomorrow. What a table does not know of a run is taken to be
equal.
"""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

MAKES_N = "it makes N, and `usual_shape` judges it"
OF_IT = "the law is of it"
RESULT = "it is a result"
MAY_DIFFER = {
    **dict.fromkeys(
        ("N", "N_with_head", "N_total", "N_reused", "N_active", "D", "steps", "unique_tokens"), OF_IT
    ),
    **dict.fromkeys(("n_layer", "d_model", "n_heads", "d_ff", "d_attn"), MAKES_N),
    **dict.fromkeys(("C", "C_attention", "C_exact"), "it follows from N and D"),
    "learning_rate": "it is tuned, or follows a rule: of an N and D the rate of the lowest mean loss counts",
    "after_cooldown": "`selection.usable_runs` judges it",
    "stopped_early": "`selection.usable_runs` judges it",
}
"""Column of a run table -> why the runs of one law may differ in it, and replicates may not."""
MAY_DIFFER_BETWEEN_REPLICATES = {
    **dict.fromkeys(("run", "trunk", "experiments"), "it is a name"),
    "corpus": "it is a name: manifest_hash says what the corpus holds",
    "seed": "it is what replicates differ in",
    "devices": "how a batch is split never matters",
    "weight": "it says how much a row counts",
    **dict.fromkeys(("loss", "train_loss", "summed_learning_rate", "evaluated_step"), RESULT),
    **dict.fromkeys(("elapsed_s", "trained_tokens", "tokens_per_s", "model_flops_utilisation"), RESULT),
    **dict.fromkeys(("peak_memory_bytes", "accuracy"), RESULT),
}
"""The same of columns in which replicates may differ, too. Micro-batches, workers, evaluation, machine and
versions are no columns."""
RESULTS = ("loss_", "bits_per_byte_")
"""How the names of further results begin; a corpus's name follows."""
SAYS = {
    "train_halvings": "on another part of the corpus",
    "n_reuse": "with blocks used more often or less",
    "noise_suffix_tokens": "with another noise suffix",
    "n_ctx": "with another context",
    "batch_tokens": "with another batch",
    "dropout": "with another dropout",
    "decay": "with another schedule",
    "cooldown_share": "with another cooldown",
    "manifest_hash": "on another corpus",
    "warmup_steps": "with another warm-up",
    "optimizer": "by another optimiser",
    "precision": "in another precision",
}
"""What is looked at first, in this order, and how it is said; the others are named by their columns."""
MAY_DIFFER_IN_TIME = {
    "batch_tokens",
    "decay",
    "cooldown_share",
    "final_share",
    "warmup_steps",
    "warmup_tokens",
}
"""Of the recipe: what laws of training time convert, or do not see, at a constant rate."""
OWN_SHAPE = "shape."
"""How the columns of a user's network begin that built-in networks do not have."""
TRANSFORMERS = ("transformer", "recurrent_transformer")
FEWEST_SIZES = 4
"""Of usual shapes: with fewer, unusual ones stay."""
FEWEST_LAYERS = 2
SHALLOW = "networks of fewer than two layers lie off the law of N (Kaplan 2020, Fig. 6 and D.7)"
LEAST_ASPECT_RATIO = 3.5
"""d_model / n_layer: the deepest network of Kaplan 2020, 207 layers of width 768, has 3.7."""
NARROW = "networks less than 3.5 times as wide as deep lie off the law of N (Kaplan 2020, section 3.2)"
OTHER_DEPTH = "LSTMs of another depth than most of these lie off the law of N (docs/results.md)"


def of_one_recipe(
    table: pd.DataFrame, *, in_time: bool = False, but: str = ""
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The runs of each family's usual recipe, and why each of the others is not among them.

    Args:
        table: of a study (`runs.Study.runs`), columns N and D in the chosen conventions. A table without a
            study's columns is returned as it is: nothing is known of its recipes.
        in_time: for laws of training time, whose runs may differ in `MAY_DIFFER_IN_TIME`, too.
        but: a column in which the runs may differ, since they are compared by it.
    """
    if "train_halvings" not in table.columns:
        return table, {}
    compared = [column for column in recipe_columns(table) if column != but]
    if in_time:
        compared = [column for column in compared if column not in MAY_DIFFER_IN_TIME]
    reasons: dict[str, str] = {}
    for family, rows in table.groupby("family"):
        for column in compared:
            known = rows[rows[column].notna()]
            if known[column].nunique() < 2 or _is_own_size(rows, column):
                continue
            usual = _usual(known, column)
            other = rows[column].notna() & (rows[column] != usual)
            words = SAYS.get(column, f"with another {column}")
            reason = f"it was trained {words} than most runs of the family {family} ({column} = {usual})"
            reasons |= dict.fromkeys(rows.loc[other, "run"], reason)
            rows = rows[~other]
        reasons |= _off_the_law(rows)
    return table[~table["run"].isin(reasons)], reasons


def for_training_time(table: pd.DataFrame) -> pd.DataFrame:
    """The runs whose learning curves laws of training time may use: they differ in N, batch and rate, too.

    Args:
        table: as in `of_one_recipe`.
    """
    return of_one_recipe(table, in_time=True)[0]


def recipe_columns(table: pd.DataFrame) -> list[str]:
    """The columns in which the runs of one law are alike, in the order in which they are compared."""
    columns = [column for column in replicate_columns(table) if column not in {*MAY_DIFFER, "family"}]
    return sorted(columns, key=lambda column: list(SAYS).index(column) if column in SAYS else len(SAYS))


def replicate_columns(table: pd.DataFrame) -> list[str]:
    """The columns in which replicates agree: runs that agree in all of them differ in their seed alone."""
    return [
        column
        for column in table.columns
        if column not in MAY_DIFFER_BETWEEN_REPLICATES and not column.startswith(RESULTS)
    ]


def usual_shape(table: pd.DataFrame) -> pd.Series[bool]:
    """Which Transformers have a shape of which the loss is that of their N: two layers or more, and wide."""
    wide = table["d_model"] >= LEAST_ASPECT_RATIO * table["n_layer"]
    return (table["n_layer"] >= FEWEST_LAYERS) & wide


def head_counts(table: pd.DataFrame) -> list[str]:
    """A sentence for each family whose law mixes networks of several numbers of heads."""
    if "n_heads" not in table.columns:
        return []
    sentences = []
    for family, rows in table.groupby("family"):
        *others, last = sorted({int(n_heads) for n_heads in rows["n_heads"].dropna()}) or [0]
        if others:
            counts = f"{', '.join(map(str, others))} and {last}"
            alone = "; one head may do worse than several at the same N" if others[0] == 1 else ""
            sentences.append(f"{family}: the laws mix networks of {counts} heads{alone}.")
    return sentences


def _usual(rows: pd.DataFrame, column: str) -> Any:
    """The value that most pairs of N and D have; of equals the one with more runs."""
    groups = {value: group for value, group in rows.groupby(column)}

    def support(value: Any) -> tuple[int, int]:
        return len(groups[value][["N", "D"]].drop_duplicates()), len(groups[value])

    return max(groups, key=support)


def _is_own_size(rows: pd.DataFrame, column: str) -> bool:
    """Whether a user's network is made larger by this argument: a whole number for each N."""
    if not column.startswith(OWN_SHAPE):
        return False
    values = rows[column].dropna()
    if not all(isinstance(value, Real) and not isinstance(value, bool) for value in values):
        return False
    whole = bool((values.astype(float) % 1 == 0).all())
    return whole and bool((rows.groupby("N")[column].nunique() <= 1).all())


def _off_the_law(rows: pd.DataFrame) -> dict[str, str]:
    """Shapes of which the loss is known not to be that of their N, where there are enough others."""
    if rows[["n_layer", "d_model"]].isna().any(axis=None):
        return {}
    family = rows["family"].iloc[0]
    if family in TRANSFORMERS:
        shallow = rows["n_layer"] < FEWEST_LAYERS
        unusual = {SHALLOW: shallow, NARROW: ~shallow & ~usual_shape(rows)}
    elif family == "lstm":
        unusual = {OTHER_DEPTH: rows["n_layer"] != _usual(rows, "n_layer")}
    else:
        return {}
    reasons = {run: reason for reason, those in unusual.items() for run in rows.loc[those, "run"]}
    return {} if rows.loc[~rows["run"].isin(reasons), "N"].nunique() < FEWEST_SIZES else reasons
