"""The exponent of N at each horizon, and of D at each size: whether one number speaks for all of them.

L(N) is meant for unlimited data, and L(D) for unlimited size. Where the exponent still grows with the
horizon, that of one horizon is no property of the networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.straight_line import line_through
from scaling_laws.laws.selection import FEWEST_HORIZONS, SAME_HORIZON

if TYPE_CHECKING:
    import pandas as pd

FEWEST_SIZES = 3


@dataclass(frozen=True, kw_only=True)
class LocalExponent:
    """alpha of L ~ x^-alpha at one value of the other variable.

    Attributes:
        of: x: N or D.
        at: the horizon (tokens), or the size (parameters).
        n_points: sizes, or horizons; replicates count once, at their mean ln loss.
        exponent: by least squares in ln L.
        interval: 90 %, by Student's t over sizes; open for D, whose horizons are one training's.
    """

    of: Literal["N", "D"]
    at: float
    n_points: int
    exponent: float
    interval: Interval


def local_exponents(runs: pd.DataFrame) -> tuple[LocalExponent, ...]:
    """Of every horizon with three sizes and every size with three horizons, in order.

    Args:
        runs: of one family that a law may use: N, D, loss.
    """
    logs = runs[["N"]].assign(log_loss=np.log(runs["loss"]), D=_horizons(runs["D"].to_numpy(dtype=float)))
    means = logs.groupby(["N", "D"], as_index=False)["log_loss"].mean()
    found = []
    for D, rows in means.groupby("D"):
        if len(rows) >= FEWEST_SIZES:
            line = line_through(np.log(rows["N"]), rows["log_loss"])
            low, high = (None if end is None else -end for end in line.interval)
            found.append(_exponent("N", D, len(rows), -line.slope, (high, low)))
    for N, rows in means.groupby("N"):
        if len(rows) >= FEWEST_HORIZONS:
            line = line_through(np.log(rows["D"]), rows["log_loss"])
            found.append(_exponent("D", N, len(rows), -line.slope, (None, None)))
    return tuple(found)


def _exponent(
    of: Literal["N", "D"], at: object, n_points: int, exponent: float, interval: Interval
) -> LocalExponent:
    return LocalExponent(
        of=of,
        at=float(at),  # type: ignore[arg-type]
        n_points=n_points,
        exponent=exponent,
        interval=interval,
    )


def _horizons(D: np.ndarray) -> np.ndarray:
    """D with horizons that count as one at the smallest of them: steps are whole, so D is rounded."""
    values = np.unique(D)
    first = np.concatenate(([True], np.diff(np.log(values)) > SAME_HORIZON))
    return np.asarray(values[first][np.cumsum(first)[np.searchsorted(values, D)] - 1])
