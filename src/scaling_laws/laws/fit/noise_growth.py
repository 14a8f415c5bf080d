"""Whether the noise between seeds depends on size and horizon, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.bounds import PositiveNumber, check_bounds

FEWEST_GROUPS = 4
"""Of replicated sizes and horizons: two slopes and a level need one more to be tested."""
SIMULATED_TABLES = 1999
"""Of one noise everywhere, to compare the table with."""
ONE_NOISE = 0.05
"""The chance below which one noise everywhere is given up."""
LEAST_FACTOR = 1.5
"""Between the smallest and the largest size or horizon: less shows no dependence."""
NEWTON_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class NoiseGrowth:
    """The noise between seeds as a power of size and horizon: sd (N / N_0)^of_N (D / D_0)^of_D.

    Attributes:
        sd_log_loss: at N_0 and D_0.
        N_0, D_0: geometric means over the replicated groups.
        of_N, of_D: exponents; 0 where all groups have one size or one horizon.
        N_range, D_range: of the groups; beyond them the noise is taken as at their ends.
        p_value: how often one noise everywhere would seem to depend on N and D as much as this.
    """

    sd_log_loss: PositiveNumber
    N_0: PositiveNumber
    D_0: PositiveNumber
    of_N: float
    of_D: float
    N_range: tuple[float, float]
    D_range: tuple[float, float]
    p_value: float

    def __post_init__(self) -> None:
        """Raises InputError: read from a file, a number is not positive."""
        check_bounds(self)

    def at(self, N: ArrayLike, D: ArrayLike) -> FloatArray:
        """Standard deviation of ln loss at N parameters and D tokens."""
        sizes = np.clip(np.asarray(N, dtype=np.float64), *self.N_range) / self.N_0
        horizons = np.clip(np.asarray(D, dtype=np.float64), *self.D_range) / self.D_0
        with np.errstate(all="ignore"):  # of exponents that nobody fitted
            return np.asarray(self.sd_log_loss * sizes**self.of_N * horizons**self.of_D)


def sd_of_new_run(sd: float, growth: NoiseGrowth | None, at: Mapping[str, float]) -> float:
    """Standard deviation of its ln loss: `sd`, or the noise between seeds at its N and D if larger."""
    if growth is None or not {"N", "D"} <= set(at):
        return sd
    return max(sd, float(growth.at(at["N"], at["D"])))


def noise_growth(
    deviations: Sequence[FloatArray], cluster: NDArray[Any], places: FloatArray, shared: float
) -> NoiseGrowth | None:
    """How the variance within groups depends on N and D; None where it does not, or groups are too few.

    A score test (Cook & Weisberg 1983) against tables of one noise everywhere, simulated with the same
    groups and trainings, since groups are few and the horizons of one training share part of their noise.

    Args:
        deviations: of ln loss about its mean, by group.
        cluster: (n,), the training of each.
        places: (groups, 2), N and D.
        shared: the share of the variance that rows of one training have in common.
    """
    if len(places) < FEWEST_GROUPS or not (np.isfinite(places).all() and np.min(places) > 0):
        return None
    logarithms = np.log(places)
    centre = logarithms.mean(axis=0)
    varies = np.ptp(logarithms, axis=0) > np.log(LEAST_FACTOR)
    z = (logarithms - centre)[:, varies]
    sizes = np.array([len(each) for each in deviations])
    freedom = sizes - 1.0
    group = np.repeat(np.arange(len(sizes)), sizes)
    observed: FloatArray = np.bincount(group, np.concatenate(deviations) ** 2).astype(np.float64)
    if not varies.any() or not observed.sum() > 0:
        return None
    about = z - np.average(z, axis=0, weights=freedom)
    information = np.linalg.pinv((freedom[:, None] * about).T @ about)

    def score(squares: FloatArray) -> FloatArray:  # squares: (..., groups)
        pooled = squares.sum(axis=-1, keepdims=True) / freedom.sum()
        pull = (squares / pooled) @ about
        return np.asarray(np.sum((pull @ information) * pull, axis=-1))

    _, training = np.unique(cluster, return_inverse=True)
    random = np.random.default_rng(0)
    common = random.normal(size=(SIMULATED_TABLES, int(training.max()) + 1))[:, training]
    rows = np.sqrt(shared) * common + np.sqrt(1 - shared) * random.normal(size=common.shape)
    starts = np.cumsum(sizes) - sizes
    rows -= (np.add.reduceat(rows, starts, axis=1) / sizes)[:, group]
    simulated = score(np.add.reduceat(rows**2, starts, axis=1))
    p_value = (1 + float(np.sum(simulated >= score(observed)))) / (1 + SIMULATED_TABLES)
    if p_value > ONE_NOISE:
        return None
    level, *slopes = _log_variance(observed, freedom, z)
    exponents = np.zeros(2)
    exponents[varies] = np.array(slopes) / 2  # of a standard deviation
    (N_least, D_least), (N_most, D_most) = places.min(axis=0), places.max(axis=0)
    return NoiseGrowth(
        sd_log_loss=float(np.exp(level / 2)),
        N_0=float(np.exp(centre[0])),
        D_0=float(np.exp(centre[1])),
        of_N=float(exponents[0]),
        of_D=float(exponents[1]),
        N_range=(float(N_least), float(N_most)),
        D_range=(float(D_least), float(D_most)),
        p_value=p_value,
    )


def _log_variance(squares: FloatArray, freedom: FloatArray, z: FloatArray) -> FloatArray:
    """Level and slopes of the log variance in z, (1 + k,), by Newton's method on the likelihood.

    Sums of squares about a group's mean are its variance times chi-squared (McCullagh & Nelder 1989, 10.2).
    """
    X = np.column_stack([np.ones(len(z)), z])
    beta = np.zeros(X.shape[1])
    beta[0] = np.log(squares.sum() / freedom.sum())
    for _ in range(NEWTON_STEPS):
        ratio = squares * np.exp(-X @ beta)
        # Fisher's information has the same optimum as the observed one, and is never singular.
        step = np.linalg.lstsq((freedom[:, None] * X).T @ X, (ratio - freedom) @ X, rcond=None)[0]
        beta = beta + np.clip(step, -1.0, 1.0)
        if np.max(np.abs(step)) < 1e-10:
            break
    return beta
