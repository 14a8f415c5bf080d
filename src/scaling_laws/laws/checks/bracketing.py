"""Was the best learning rate between two others? If not, a better one may lie outside the rates tried.

A law of runs at the wrong rate is a law of that mistake: Porian 2024 (arXiv 2406.19146) and Hoffmann 2022
trace part of Kaplan's exponent to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class RatesTried:
    """The learning rates of one size and horizon.

    Attributes:
        family, N, D: parameters, tokens.
        learning_rates: in order.
        losses: mean over the seeds of each, nats per token.
        best: the rate of the lowest loss.
        bracketed: whether the best lies between two others.
        reason: why it does not; empty where it does.
    """

    family: str
    N: float
    D: float
    learning_rates: tuple[float, ...]
    losses: tuple[float, ...]
    best: float
    bracketed: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Bracketing:
    """All sizes and horizons.

    Attributes:
        tried: one a family, size and horizon, in that order.
        n_bracketed, n_at_edge, n_one_rate: how many have their best rate between others, have it at the end
            of the rates tried, or tried one.
        warning: a sentence; empty where every best rate is bracketed.
    """

    tried: tuple[RatesTried, ...] = ()
    n_bracketed: int = 0
    n_at_edge: int = 0
    n_one_rate: int = 0
    warning: str = ""


def learning_rates_bracketed(runs: pd.DataFrame, *, n: str = "N", loss: str = "loss") -> Bracketing:
    """Whether each size and horizon brackets its best learning rate.

    Args:
        runs: the table before `usable_runs` keeps the best rate: family, `n`, D, `loss`, and where known
            learning_rate and after_cooldown. Losses before the cooldown are not compared.
        n: the column of N.
        loss: the column that chooses.

    Raises:
        InputError: a column is missing.
    """
    for column in ("family", n, "D", loss):
        if column not in runs.columns:
            raise InputError(f"the run table has no column {column!r}; it has {', '.join(runs.columns)}")
    if "learning_rate" not in runs.columns:
        return Bracketing(
            warning="The table does not say which learning rates were tried.",
        )
    if "after_cooldown" in runs.columns:
        runs = runs[runs["after_cooldown"].astype(bool)]
    known = runs[runs["learning_rate"].notna()]
    tried = tuple(_rates_tried(table, n, loss) for _, table in known.groupby(["family", n, "D"]))
    one_rate = [rates for rates in tried if len(rates.learning_rates) == 1]
    at_edge = [rates for rates in tried if not rates.bracketed and len(rates.learning_rates) > 1]
    return Bracketing(
        tried=tried,
        n_bracketed=sum(rates.bracketed for rates in tried),
        n_at_edge=len(at_edge),
        n_one_rate=len(one_rate),
        warning=_warning(at_edge, one_rate, len(tried), len(runs) - len(known)),
    )


def _rates_tried(table: pd.DataFrame, n: str, loss: str) -> RatesTried:
    """Of the runs of one family, size and horizon."""
    mean_loss = table.groupby("learning_rate")[loss].mean().sort_index()
    rates = mean_loss.index.to_numpy(dtype=np.float64)
    losses = mean_loss.to_numpy(dtype=np.float64)
    best = int(np.argmin(losses))
    if len(rates) == 1:
        reason = "one rate was tried"
    elif best == 0:
        reason = "the lowest rate tried did best: try lower ones"
    elif best == len(rates) - 1:
        reason = "the highest rate tried did best: try higher ones"
    else:
        reason = ""
    return RatesTried(
        family=str(table["family"].iloc[0]),
        N=float(table[n].iloc[0]),
        D=float(table["D"].iloc[0]),
        learning_rates=tuple(rates.tolist()),
        losses=tuple(losses.tolist()),
        best=float(rates[best]),
        bracketed=not reason,
        reason=reason,
    )


def _warning(at_edge: list[RatesTried], one_rate: list[RatesTried], n_tried: int, n_unknown: int) -> str:
    parts = []
    if at_edge:
        ends = {"lowest": 0, "highest": 0}
        for rates in at_edge:
            ends["lowest" if rates.best == rates.learning_rates[0] else "highest"] += 1
        which = " and ".join(f"the {end} rate tried in {count}" for end, count in ends.items() if count)
        parts.append(f"the best is {which}: a better one may lie outside")
    if one_rate:
        parts.append(f"{len(one_rate)} tried one rate only")
    if n_unknown:
        parts.append(f"{n_unknown} runs do not say their rate")
    if not parts:
        return ""
    return f"Learning rates of {n_tried} sizes and horizons: {'; '.join(parts)}."
