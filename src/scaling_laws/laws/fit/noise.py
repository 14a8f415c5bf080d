"""The noise of a run: between seeds where runs were replicated, and about a law in its residuals.

Rows of one training share part of their noise: a training that went well did so at all its horizons.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, expm1, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.fit.noise_growth import NoiseGrowth, noise_growth
from scaling_laws.laws.fit.rows import Rows
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.recipe import replicate_columns

if TYPE_CHECKING:
    import pandas as pd

MAD_TO_SD = 1.4826
"""Standard deviation of a normal law over its median absolute deviation."""
ONE_IN_TWENTY = 0.95
"""Of a distribution: one-sided."""
LEAST_FREEDOM = 2.0
"""A variance of fewer degrees of freedom would scatter without bound."""
NEAR_HORIZON = 1.5
"""Horizons within this factor have one noise between seeds."""
LEAST_SHARE_SEEN = 1e-6
"""Of a training's common noise that residuals still show; below it the fit has absorbed all of it."""


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """How much ln loss moves when nothing but the seed changes.

    Attributes:
        sd_log_loss: pooled over the groups, each about its own mean; None where nothing is replicated.
        n_groups: groups of runs that differ in their seed alone.
        n_runs: runs in them.
        shared: share of its variance that the runs of one training have in common; None where no training
            with a replicate has several runs.
        reason: why there is no estimate; empty where there is one.
        growth: how it depends on size and horizon, where the seeds show that it does.
    """

    sd_log_loss: float | None
    n_groups: int
    n_runs: int
    shared: float | None = None
    reason: str = ""
    growth: NoiseGrowth | None = None

    def of_rows(self, rows: Rows) -> FloatArray | None:
        """Standard deviation of each row, (n,); None where it is one number, or rows lack N or D."""
        if self.growth is None or not {"N", "D"} <= set(rows.values):
            return None
        return self.growth.at(rows.values["N"], rows.values["D"])

    @property
    def band_percent(self) -> float | None:
        """By so much a run lies above another of its recipe by its seed alone, in one of twenty cases.

        The difference of two runs has sqrt(2) times the deviation of one; Student's t makes up for the few
        runs that it was measured with.
        """
        if self.sd_log_loss is None:
            return None
        from scipy.special import stdtrit  # scipy.stats asks for torch

        t = float(stdtrit(self.n_runs - self.n_groups, ONE_IN_TWENTY))
        return 100 * expm1(t * sqrt(2) * self.sd_log_loss)


@dataclass(frozen=True, kw_only=True)
class Components:
    """Noise of ln loss in two parts: one drawn once a training, one once a row.

    Attributes:
        of_training, of_row: variances.
        freedom_of_training, freedom_of_row: degrees of freedom that they were estimated from.
        relative_sd: (n,), of each row, over the root mean square of all; None where rows are alike.
    """

    of_training: float
    of_row: float
    freedom_of_training: float
    freedom_of_row: float
    relative_sd: FloatArray | None = None

    @property
    def sd(self) -> float:
        """Of one row."""
        return float(np.sqrt(self.of_training + self.of_row))

    def or_seeds(self, noise: SeedNoise | None, rows: Rows) -> Components:
        """The noise between seeds where that is larger, with the common share that the seeds show."""
        if noise is None or noise.sd_log_loss is None:
            return self
        of_rows = noise.of_rows(rows)
        sd = noise.sd_log_loss if of_rows is None else float(np.sqrt(np.mean(of_rows**2)))
        if sd <= self.sd:
            return self
        share = self.of_training / max(self.of_training + self.of_row, np.finfo(float).tiny)
        share = share if noise.shared is None else noise.shared
        freedom = max(float(noise.n_runs - noise.n_groups), LEAST_FREEDOM)
        return Components(
            of_training=share * sd**2,
            of_row=(1 - share) * sd**2,
            freedom_of_training=freedom,
            freedom_of_row=freedom,
            relative_sd=None if of_rows is None else of_rows / sd,
        )

    def draw(self, cluster: NDArray[Any], resamples: int, random: np.random.Generator) -> FloatArray:
        """Noise of every row, (resamples, n), each resample with variances of its own.

        The variances are drawn as their estimates scatter, s^2 df/chi^2_df: with few trainings that widens an
        interval as Student's t does.
        """
        _, index = np.unique(cluster, return_inverse=True)
        sds = [
            np.sqrt(variance * freedom / random.chisquare(freedom, size=(resamples, 1)))
            for variance, freedom in (
                (self.of_training, self.freedom_of_training),
                (self.of_row, self.freedom_of_row),
            )
        ]
        of_training = random.normal(size=(resamples, int(index.max()) + 1))[:, index]
        drawn = sds[0] * of_training + sds[1] * random.normal(size=(resamples, len(index)))
        return np.asarray(drawn if self.relative_sd is None else drawn * self.relative_sd)


def components(residual: FloatArray, jacobian: FloatArray, cluster: NDArray[Any]) -> Components:
    """The two variances from a fit's residuals, by the method of moments (Henderson 1953, method 3).

    A fit absorbs noise, above all what a training's rows share. To first order residuals are M noise, M the
    projection off the Jacobian's columns; the sums of squares of rows and of trainings then have known
    expectations in the two variances, and are solved for them.

    Args:
        residual: (n,), of ln loss.
        jacobian: (n, p).
        cluster: (n,).
    """
    basis, _ = np.linalg.qr(jacobian)
    labels = np.unique(cluster)
    members = (np.asarray(cluster)[:, None] == labels).astype(np.float64)
    between = members.T @ members - (members.T @ basis) @ (basis.T @ members)  # Z'MZ
    trace, squares = float(np.trace(between)), float(np.sum(between**2))
    freedom = float(max(len(residual) - jacobian.shape[1], 1))
    of_rows, of_trainings = float(residual @ residual), float(np.sum((members.T @ residual) ** 2))
    of_row, of_training = of_rows / freedom, 0.0
    determinant = freedom * squares - trace**2
    if trace > LEAST_SHARE_SEEN * len(residual) and determinant > LEAST_SHARE_SEEN * trace**2:
        of_row = (of_rows * squares - of_trainings * trace) / determinant
        of_training = (of_trainings * freedom - of_rows * trace) / determinant
        if of_training < 0:
            of_row, of_training = of_rows / freedom, 0.0
        elif of_row < 0:
            of_row, of_training = 0.0, of_rows / trace
    return Components(
        of_training=of_training,
        of_row=of_row,
        freedom_of_training=max(trace**2 / squares, LEAST_FREEDOM) if squares > 0 else LEAST_FREEDOM,
        freedom_of_row=max(freedom, LEAST_FREEDOM),
    )


def share_within(residual: FloatArray, delta: float, n_parameters: int) -> float:
    """The share of residuals, (n,), of ln loss that noise leaves within delta: the mean slope of Huber's psi.

    From their robust spread, by a normal law: a count would rest on few rows where delta is small.
    """
    n = len(residual)
    spread = MAD_TO_SD * np.median(np.abs(residual)) * np.sqrt(n / max(n - n_parameters, 1))
    return erf(delta / max(np.sqrt(2) * spread, np.finfo(float).tiny))


def seed_noise(runs: pd.DataFrame) -> SeedNoise:
    """Pooled standard deviation of ln loss over the groups of runs that differ in `seed` alone.

    With columns N and D, it is tested whether the noise depends on them (`NoiseGrowth`).

    Args:
        runs: columns trunk, loss, seed, and any that say what else runs differ in (`study/recipe.py`).
    """
    if "seed" not in runs.columns:
        return _no_seed_noise("the table has no column seed")
    deviations, clusters, freedom, n_groups = [], [], 0, 0
    places: list[tuple[float, float]] = []
    for _, group in runs.groupby(replicate_columns(runs), dropna=False):
        if group["seed"].nunique() < 2:
            continue
        log_loss = np.log(group["loss"].to_numpy(dtype=np.float64))
        deviations.append(log_loss - log_loss.mean())
        clusters.append(group["trunk"].to_numpy())
        freedom, n_groups = freedom + len(log_loss) - 1, n_groups + 1
        if {"N", "D"} <= set(runs.columns):
            places.append((float(group["N"].iloc[0]), float(group["D"].iloc[0])))
    if not freedom:
        return _no_seed_noise("no runs differ in their seed alone")
    deviation, cluster = np.concatenate(deviations), np.concatenate(clusters)
    shared = _shared_variance(deviation, cluster)
    return SeedNoise(
        sd_log_loss=float(np.sqrt(np.sum(deviation**2) / freedom)),
        n_groups=n_groups,
        n_runs=len(deviation),
        shared=shared,
        growth=noise_growth(deviations, cluster, np.array(places), shared or 0.0),
    )


def noise_by_size_and_horizon(runs: pd.DataFrame) -> pd.DataFrame:
    """family, N, D, n_runs, sd_log_loss: of every group of runs that differ in their seed alone.

    Two or three seeds know their deviation within a factor of two at best; where it is many times that of
    other sizes, networks of one recipe end in different states.

    Args:
        runs: as `seed_noise`, with columns family, N and D.
    """
    import pandas as pd

    columns = ["family", "N", "D", "n_runs", "sd_log_loss"]
    if "seed" not in runs.columns or runs.empty:
        return pd.DataFrame(columns=columns)
    rows = []
    for _, group in runs.groupby(replicate_columns(runs), dropna=False):
        if group["seed"].nunique() >= 2:
            first = group.iloc[0]
            deviation = float(np.log(group["loss"].to_numpy(dtype=np.float64)).std(ddof=1))
            rows.append((first["family"], float(first["N"]), float(first["D"]), len(group), deviation))
    return pd.DataFrame(rows, columns=columns).sort_values(["family", "N", "D"]).reset_index(drop=True)


def noise_at_horizon(runs: pd.DataFrame, D: float) -> SeedNoise:
    """The noise between seeds of runs of about D tokens.

    Seeds may differ by many times more where some networks have learned to copy and others have not.

    Args:
        runs: as `seed_noise`, with a column D.
        D: tokens.
    """
    near = runs[np.abs(np.log(runs["D"] / D)) <= np.log(NEAR_HORIZON)]
    return seed_noise(near)


def _no_seed_noise(reason: str) -> SeedNoise:
    return SeedNoise(sd_log_loss=None, n_groups=0, n_runs=0, shared=None, reason=reason)


def _shared_variance(deviation: FloatArray, cluster: NDArray[Any]) -> float | None:
    """The share of the variance that rows of one cluster have in common: their intraclass correlation.

    The mean product of two rows of a cluster over the mean square. A few trainings cannot show that all or
    nothing is shared, either of which would leave some parameter without noise: kept within 0.1 and 0.9.
    """
    _, index = np.unique(cluster, return_inverse=True)
    size = np.bincount(index)
    n_pairs = np.sum(size * (size - 1))
    mean_square = float(np.mean(deviation**2))
    if n_pairs == 0 or mean_square == 0:
        return None
    sums = np.bincount(index, weights=deviation)
    products = (np.sum(sums**2) - np.sum(deviation**2)) / n_pairs
    return float(np.clip(products / mean_square, 0.1, 0.9))
