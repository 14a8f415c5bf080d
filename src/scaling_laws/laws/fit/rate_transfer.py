"""Whether the best learning rate of a narrow network is that of a wide one, under each parametrisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.allocation.isoflop import minimum
from scaling_laws.laws.fit.best_rates import RATES_OF_A_VALLEY
from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.study.recipe import recipe_columns

if TYPE_CHECKING:
    import pandas as pd

STANDARD = "standard"
FEWEST_RATES = 3
OF_THE_BASE = ("parametrization", "base_width", "base_depth", "base_head_width")
PER_CENT_OF_INTERVALS = 90


@dataclass(frozen=True, kw_only=True)
class RateTransfer:
    """One parametrisation, at one depth and horizon.

    Attributes:
        parametrization: `standard`, `mup`, `completep`.
        losses: d_model, learning_rate, loss (mean over seeds, nats per token).
        best: d_model, learning_rate (of the lowest loss, by a parabola in ln rate through its neighbours),
            inside: whether that lies between two rates that were tried.
        exponent: x in best rate ~ width^x by least squares through the widths whose best lies inside; None
            with fewer than three.
        interval: 90 %, of the exponent, by the residuals and Student's t of so few widths.
        excess_percent: by how much the rate that is best at the narrowest width misses the lowest loss at the
            widest; None where that rate was not tried there.
    """

    parametrization: str
    losses: pd.DataFrame
    best: pd.DataFrame
    exponent: float | None
    interval: Interval | None
    excess_percent: float | None


def rate_transfers(runs: pd.DataFrame) -> tuple[int, tuple[RateTransfer, ...]]:
    """The horizon that is compared, D in tokens, and each parametrisation there; none where runs are too few.

    Of the recipes and depths that two parametrisations have, the one with the most widths counts, at its
    longest horizon.

    Args:
        runs: of one family: d_model, n_layer, D, learning_rate, loss, and where there are several
            parametrization; whatever else is recorded separates recipes.
    """
    if not {"parametrization", "d_model", "n_layer", "learning_rate"} <= set(runs.columns):
        return 0, ()
    runs = runs.dropna(subset=["d_model", "learning_rate", "loss"])
    same = [column for column in recipe_columns(runs) if column not in OF_THE_BASE]
    found: list[tuple[int, int, tuple[RateTransfer, ...]]] = []
    for _, alike in runs.groupby([*same, "n_layer", "D"], dropna=False):
        transfers = tuple(
            _transfer(str(name), rows) for name, rows in alike.groupby("parametrization") if _is_enough(rows)
        )
        if len(transfers) > 1:
            n_widths = sum(len(each.best) for each in transfers)
            found.append((n_widths, int(alike["D"].iloc[0]), transfers))
    if not found:
        return 0, ()
    _, D, transfers = max(found, key=lambda each: each[:2])
    names = [STANDARD, *(each.parametrization for each in transfers if each.parametrization != STANDARD)]
    return D, tuple(sorted(transfers, key=lambda each: names.index(each.parametrization)))


def _is_enough(runs: pd.DataFrame) -> bool:
    """Whether two widths have several rates."""
    return int((runs.groupby("d_model")["learning_rate"].nunique() >= FEWEST_RATES).sum()) > 1


def _transfer(name: str, runs: pd.DataFrame) -> RateTransfer:
    import pandas as pd

    losses: pd.DataFrame = runs.groupby(["d_model", "learning_rate"])["loss"].mean().reset_index()
    enough = losses.groupby("d_model")["learning_rate"].transform("size") >= FEWEST_RATES
    losses = losses[enough].reset_index(drop=True)
    best = pd.DataFrame(
        [(width, *_best_rate(of_width)) for width, of_width in losses.groupby("d_model")],
        columns=["d_model", "learning_rate", "inside"],
    )
    exponent, interval = _exponent(best[best["inside"]])
    return RateTransfer(
        parametrization=name,
        losses=losses,
        best=best,
        exponent=exponent,
        interval=interval,
        excess_percent=_excess_percent(losses),
    )


def _best_rate(losses: pd.DataFrame) -> tuple[float, bool]:
    log_rate, log_loss = (np.log(losses[name].to_numpy(dtype=float)) for name in ("learning_rate", "loss"))
    at = int(np.argmin(log_loss))
    near = slice(max(at - RATES_OF_A_VALLEY, 0), at + RATES_OF_A_VALLEY + 1)
    lowest, refused = minimum(log_rate[near], log_loss[near], "parabola")
    return float(np.exp(log_rate[at] if lowest is None else lowest)), not refused


def _exponent(best: pd.DataFrame) -> tuple[float | None, Interval | None]:
    from scipy.stats import linregress, t

    if len(best) < FEWEST_RATES:
        return None, None
    line = linregress(np.log(best["d_model"].astype(float)), np.log(best["learning_rate"].astype(float)))
    half = float(t.ppf(0.5 + PER_CENT_OF_INTERVALS / 200, len(best) - 2) * line.stderr)
    return float(line.slope), (float(line.slope) - half, float(line.slope) + half)


def _excess_percent(losses: pd.DataFrame) -> float | None:
    """Of the narrowest's best rate at the widest, among the rates that both tried."""
    narrowest, widest = (
        losses[losses["d_model"] == width] for width in (losses["d_model"].min(), losses["d_model"].max())
    )
    rate = narrowest.loc[narrowest["loss"].idxmin(), "learning_rate"]
    there = widest.loc[np.isclose(widest["learning_rate"], rate), "loss"]
    return None if there.empty else float(100 * (there.iloc[0] / widest["loss"].min() - 1))
