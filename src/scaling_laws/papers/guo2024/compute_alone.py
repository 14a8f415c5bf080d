"""Does the loss depend on N and D through their product alone? Guo 2024 (arXiv 2404.19484)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.laws.fit.intervals import Interval, percentile_interval

FloatArray = NDArray[np.float64]
RESAMPLES = 1_000
FEWEST_RUNS = 8


@dataclass(frozen=True, kw_only=True)
class Slopes:
    """Of the loss in ln N and ln D, and how well compute alone does; arrays of draws lead with the estimate.

    Attributes:
        in_N, in_D: of L, in nats per e-fold.
        in_log_N, in_log_D: of ln L.
        by_logarithm, by_power, by_both: root mean square of ln(measured/fitted) of L = b + a ln(N D), of
            ln L = b + a ln(N D), and of ln L = b + a ln N + c ln D.
        logarithm, power: (b, a) of the first two.
    """

    in_N: FloatArray
    in_D: FloatArray
    in_log_N: FloatArray
    in_log_D: FloatArray
    by_logarithm: FloatArray
    by_power: FloatArray
    by_both: FloatArray
    logarithm: tuple[float, float]
    power: tuple[float, float]


def interval(draws: FloatArray) -> Interval:
    """90 %, of draws that lead with the estimate."""
    return percentile_interval(draws[1:])


def slopes(runs: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> Slopes | str:
    """The regressions, and their bootstrap over trunks: runs of one training are drawn together.

    Args:
        runs: columns N, D, loss, trunk.

    Returns:
        The slopes, or the reason why there are none.
    """
    if len(runs) < FEWEST_RUNS:
        return f"{len(runs)} runs; it needs {FEWEST_RUNS}"
    N, D = (np.log(runs[name].to_numpy(dtype=np.float64)) for name in ("N", "D"))
    if np.linalg.matrix_rank(np.stack([np.ones_like(N), N, D], axis=1), tol=1e-6) < 3:
        return "N and D do not vary independently of each other"
    loss = runs["loss"].to_numpy(dtype=np.float64)
    _, trunk = np.unique(runs["trunk"].to_numpy(), return_inverse=True)
    n_trunks = int(trunk.max()) + 1
    random = np.random.default_rng(seed)
    drawn = random.multinomial(n_trunks, np.full(n_trunks, 1 / n_trunks), size=resamples)
    weights = np.concatenate([np.ones((1, n_trunks)), drawn])[:, trunk]
    weights = weights[[_determined(each, N, D) for each in weights]]
    both = np.stack([np.ones_like(N), N, D], axis=1)
    alone = np.stack([np.ones_like(N), N + D], axis=1)
    of_loss, of_log = _solve(weights, both, loss), _solve(weights, both, np.log(loss))
    logarithm, power = _solve(weights, alone, loss), _solve(weights, alone, np.log(loss))
    with np.errstate(all="ignore"):
        off_logarithm = np.log(loss / np.maximum(logarithm @ alone.T, 1e-12))
    return Slopes(
        in_N=of_loss[:, 1],
        in_D=of_loss[:, 2],
        in_log_N=of_log[:, 1],
        in_log_D=of_log[:, 2],
        by_logarithm=_rms(weights, off_logarithm),
        by_power=_rms(weights, np.log(loss) - power @ alone.T),
        by_both=_rms(weights, np.log(loss) - of_log @ both.T),
        logarithm=(float(logarithm[0, 0]), float(logarithm[0, 1])),
        power=(float(power[0, 0]), float(power[0, 1])),
    )


def _determined(weights: FloatArray, N: FloatArray, D: FloatArray) -> bool:
    """Whether a draw has three different points that lie on no line."""
    seen = weights > 0
    points = np.stack([np.ones(seen.sum()), N[seen], D[seen]], axis=1)
    return bool(np.linalg.matrix_rank(points, tol=1e-6) == 3)


def _solve(weights: FloatArray, design: FloatArray, y: FloatArray) -> FloatArray:
    """(draws, columns): weighted least squares, a draw a row."""
    normal = np.einsum("rp,pi,pj->rij", weights, design, design)
    return np.asarray(np.linalg.solve(normal, ((weights * y) @ design)[..., None])[..., 0])


def _rms(weights: FloatArray, off: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt((weights * off**2).sum(axis=1) / weights.sum(axis=1)))
