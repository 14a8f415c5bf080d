"""Which runs each law is fitted to, and a sentence that says so.

Tables have the columns run, trunk, family, N, D, C, loss; N and C in the conventions that the analysis chose.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.allocation.frontier import FrontierPoint
from scaling_laws.study.errors import InputError
from scaling_laws.study.recipe import of_one_recipe

if TYPE_CHECKING:
    import pandas as pd

SAME_HORIZON = 0.02
"""Difference of ln D up to which two runs have the same horizon: steps are whole, so D is rounded."""
SAME_SIZE = 0.05
"""Difference of ln N up to which two sizes count as one: networks of one planned N meet it within 2 %. The
slope between neighbours so close is noise, or the effect of a shape, and a curve through both would follow it
far below every measured loss."""
FEWEST_HORIZONS = 3

STOPPED_EARLY = (
    "it was stopped early: such losses make a law of unique tokens "
    "(laws .../runs.csv --form kaplan_nd --d unique_tokens)"
)

LeftOut = dict[str, Any]
"""run, status, reason."""


def usable_runs(
    runs: pd.DataFrame,
    *,
    n: str = "N",
    c: str = "C",
    needs: Collection[str] = ("N", "D", "C"),
    by: str = "",
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The runs whose final loss may enter a law, with N and C from the columns `n` and `c`; and the others.

    Left out: losses taken before the learning rate came down; those of runs that were stopped early (their D
    is not what limits them); runs of another recipe than most (`recipe.py`); and, where one size and horizon
    was trained with several learning rates, all but the rate of the lowest mean loss. The learning rate is a
    nuisance: the law is of runs that got it right.

    Args:
        n, c: the columns that count as N and C.
        needs: which of N, D and C there must be.
        by: a column that tells apart what is compared: its values are no part of the recipe, and each has
            its own best learning rate.

    Raises:
        InputError: there are no runs, a column is missing, or a value is not a finite positive number.
    """
    if runs.empty:
        raise InputError("the run table is empty: no run is complete")
    axes = {"N": n, "D": "D", "C": c}
    for column in ("run", "trunk", "family", *(axes[name] for name in axes if name in needs), "loss"):
        if column not in runs.columns:
            raise InputError(f"the run table has no column {column!r}; it has {', '.join(runs.columns)}")
    axes = {name: column for name, column in axes.items() if column in runs.columns}
    table = runs.assign(**{name: runs[column].astype(float) for name, column in axes.items()})
    for column in (*axes, "loss"):
        values = table[column].to_numpy(dtype=np.float64)
        if len(bad := np.flatnonzero(~(np.isfinite(values) & (values > 0)))):
            raise InputError(
                f"run {table['run'].iloc[bad[0]]}: {column} is {values[bad[0]]}; a law needs it > 0"
            )
    left_out: list[LeftOut] = []
    if "after_cooldown" in table.columns:
        cooled = table["after_cooldown"].astype(bool)
        early = table["stopped_early"].astype(bool) if "stopped_early" in table.columns else ~cooled & False
        for which, reason in (
            (~cooled & ~early, "its loss was taken before the learning rate came down"),
            (early, STOPPED_EARLY),
        ):
            left_out += [
                {"run": run, "status": "complete", "reason": reason} for run in table.loc[which, "run"]
            ]
        table = table[cooled & ~early]
    table, reasons = of_one_recipe(table, but=by)
    left_out += [{"run": run, "status": "complete", "reason": reason} for run, reason in reasons.items()]
    if "learning_rate" in table.columns:
        best = _has_best_learning_rate(table, by)
        reason = "another learning rate did better at its size and horizon"
        left_out += [{"run": run, "status": "complete", "reason": reason} for run in table.loc[~best, "run"]]
        table = table[best]
    return table.reset_index(drop=True), left_out


def _has_best_learning_rate(table: pd.DataFrame, by: str) -> pd.Series[bool]:
    if by == "learning_rate":
        return table["learning_rate"].notna()
    compared = [by] if by not in ("", "family") else []
    recipe = [column for column in ("family", "N", "D", "C") if column in table]
    recipe = [*recipe[:3], *compared]  # C follows from N and D, where they are known
    mean_loss = table.groupby([*recipe, "learning_rate"], dropna=False)["loss"].transform("mean")
    lowest = mean_loss.groupby([table[column] for column in recipe]).transform("min")
    return mean_loss <= lowest


def at_common_horizon(runs: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """L(N): each size at the largest horizon that all sizes have, or else that most sizes have."""
    n_sizes = runs["N"].nunique()
    best, best_count = runs.iloc[:0], 0
    for horizon in sorted(runs["D"].unique()):
        at_horizon = runs[np.abs(np.log(runs["D"] / horizon)) <= SAME_HORIZON]
        if (count := at_horizon["N"].nunique()) >= best_count:
            best, best_count = at_horizon, count
    if best.empty:
        return best, "no runs"
    sizes = f"all {n_sizes} sizes" if best_count == n_sizes else f"{best_count} of {n_sizes} sizes"
    return best, f"{sizes} at the largest horizon common to them, D = {best['D'].mean():.4g} tokens"


def of_largest_size(runs: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """L(D): the largest size at its horizons; the largest with three horizons, if there is one."""
    horizons = runs.groupby("N")["D"].nunique()
    if horizons.empty:
        return runs, "no runs"
    enough = horizons[horizons >= FEWEST_HORIZONS]
    N = enough.index.max() if len(enough) else horizons.index.max()
    chosen = runs[runs["N"] == N]
    which = "the largest size" if horizons.index.max() == N else "the largest size with three horizons"
    return chosen, f"{which}, N = {N:.4g}, at its {horizons[N]} horizons"


def on_envelope(runs: pd.DataFrame, points: list[FrontierPoint]) -> tuple[pd.DataFrame, str]:
    """L(C): the runs of the lower envelope, replicates included."""
    sizes_and_horizons = {(point.N, point.D) for point in points}
    chosen = [(N, D) in sizes_and_horizons for N, D in zip(runs["N"], runs["D"], strict=True)]
    return runs[chosen], f"the {len(points)} runs that no other size beats at equal compute"


def longest_of_each_size(runs: pd.DataFrame) -> pd.DataFrame:
    """One run a family and size: of its largest D, the first by name."""
    ordered = runs.sort_values(["D", "run"], ascending=[False, True])
    return ordered.drop_duplicates(["family", "N"])
