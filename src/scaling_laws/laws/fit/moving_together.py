"""Do residuals move together within a slice of compute, a size, or a batch of runs?

A law's intervals take trainings for independent. Where all runs of one slice share a cause (a machine, a data
order, a rate that was tuned once a slice), they are not, and the intervals are too narrow: the cure is to
resample the groups (`cluster`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.fit.fit import Fit
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SAME_GROUP = 0.02
"""Difference of ln C up to which two runs are of one slice: steps are whole, budgets are not met exactly."""
PERMUTATIONS = 999
FOUND = 0.01
"""A p below it is said."""
FEWEST_GROUPS = 3
MOST_ROWS = 20_000
"""Of more rows groups are large enough to be seen by eye, and permutations slow."""


@dataclass(frozen=True, kw_only=True)
class Together:
    """Groups within which residuals move together.

    Attributes:
        by: the column.
        n_groups: with two rows or more.
        p: of the permutation test.
        share: of the residuals' variance that rows of one group have in common.
    """

    by: str
    n_groups: int
    p: float
    share: float

    def sentence(self, form: str) -> str:
        return (
            f"{form}: residuals move together within {self.n_groups} groups of equal {self.by} "
            f"({100 * self.share:.0f} % of their variance, p = {self.p:.2g}): intervals that take runs for "
            f"independent are too narrow; give --cluster {self.by}."
        )


def groups_of(runs: pd.DataFrame, by: str) -> NDArray[np.intp]:
    """The group of each run, (n,): of equal values of a column; of C and D, equal within 2 %.

    Raises:
        InputError: there is no such column, or a cell is empty.
    """
    if by not in runs:
        raise InputError(f"the runs have no column {by!r} to cluster by")
    values = runs[by]
    if values.isna().any():
        raise InputError(
            f"column {by!r} is empty for {int(values.isna().sum())} runs: no group to cluster by"
        )
    if by not in ("C", "D", "N"):
        _, group = np.unique(values.astype(str), return_inverse=True)
        return np.asarray(group, dtype=np.intp)
    logs = np.log(values.to_numpy(dtype=np.float64))
    order = np.argsort(logs)
    starts = np.concatenate([[False], np.diff(logs[order]) > SAME_GROUP])
    group = np.empty(len(logs), dtype=np.intp)
    group[order] = np.cumsum(starts)
    return group


def moving_together(fit: Fit[Any], group: NDArray[np.intp], by: str, seed: int = 0) -> Together | None:
    """The groups of a fit's rows, where their residuals move together; None where they do not.

    The statistic is the sum over groups of the squared sum of their residuals over their size; its
    distribution where rows are exchangeable is that of permuted residuals. Where every row is a group, or one
    group has all, nothing can be said.
    """
    counts = np.bincount(group)
    n_groups = int(np.count_nonzero(counts > 1))
    if fit.law is None or n_groups < FEWEST_GROUPS or fit.rows.n > MOST_ROWS:
        return None
    problem = fit.problem
    residual = (problem.log_loss - problem.model.predict(fit.minima[:1]).log_loss)[0]
    clipped = np.clip(residual, *np.quantile(residual, [0.02, 0.98]))
    deviation = clipped - clipped.mean()
    random = np.random.default_rng(seed)
    permuted = np.stack([deviation, *(random.permutation(deviation) for _ in range(PERMUTATIONS))])
    statistic = _between(permuted, group, counts)
    p = float(np.mean(statistic >= statistic[0]))
    if p >= FOUND:
        return None
    pairs = float(np.sum(counts * (counts - 1)))
    sums = np.bincount(group, weights=deviation)
    share = (np.sum(sums**2) - np.sum(deviation**2)) / pairs / np.mean(deviation**2)
    return Together(by=by, n_groups=n_groups, p=p, share=float(np.clip(share, 0.0, 1.0)))


def _between(values: FloatArray, group: NDArray[np.intp], counts: NDArray[np.intp]) -> FloatArray:
    """Sum over groups of (sum of values)^2 / size, of each row of values: (S,)."""
    members = np.zeros((values.shape[1], len(counts)))
    members[np.arange(values.shape[1]), group] = 1.0
    return np.asarray(np.sum((values @ members) ** 2 / np.maximum(counts, 1), axis=1))
