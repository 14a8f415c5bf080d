"""What a fit is made to: rows of losses with their N, D, C, ..., and the training each row comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.errors import InputError

LARGE_ROWS = 20_000
"""Beyond so many rows some work is done on a part of them, and sums are taken in parts."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a fit is made to.

    Attributes:
        values: by variable (N in parameters, D in tokens, C in FLOPs, ...), each (n,).
        loss: (n,): the response: nats per token, except for laws of steps and of batches.
        cluster: (n,): the training each row comes from; rows of one training are not independent.
        centres: by variable, where `centred` is 0; of rows that are some of others, those of the others.
    """

    values: Mapping[str, FloatArray]
    loss: FloatArray
    cluster: NDArray[Any]
    centres: dict[str, float] = field(default_factory=dict, compare=False, repr=False)

    @property
    def n(self) -> int:
        return len(self.loss)

    @cached_property
    def n_clusters(self) -> int:
        return len(np.unique(self.cluster))

    def some(self, index: slice | NDArray[np.intp]) -> Rows:
        """The rows at `index`, with the centres of all: the coordinates of a law stay what they are."""
        return Rows(
            values={name: column[index] for name, column in self.values.items()},
            loss=self.loss[index],
            cluster=self.cluster[index],
            centres={name: self.centre(name) for name in self.values},
        )

    def centre(self, variable: str | None) -> float:
        """Mean of ln x; 0 for the constant term, which has no x."""
        if variable is None:
            return 0.0
        if variable not in self.centres:
            self.centres[variable] = float(np.mean(np.log(self.values[variable])))
        return self.centres[variable]

    def centred(self, variable: str) -> FloatArray:
        """ln x less its mean, (n,)."""
        return np.asarray(np.log(self.values[variable]) - self.centre(variable))


def make_rows(values: Mapping[str, ArrayLike], loss: ArrayLike, cluster: ArrayLike | None = None) -> Rows:
    """Check and gather the rows of a fit; without `cluster`, each row is a training of its own.

    Raises:
        InputError: columns of unequal length; a value that is not finite and positive.
    """
    columns = {name: np.asarray(column, dtype=np.float64) for name, column in values.items()}
    columns["loss"] = np.asarray(loss, dtype=np.float64)
    n = len(columns["loss"])
    for name, column in columns.items():
        if column.shape != (n,):
            raise InputError(f"{name} has shape {column.shape}, the losses ({n},): give one value a row")
        bad = np.flatnonzero(~(np.isfinite(column) & (column > 0)))
        if len(bad):
            raise InputError(f"{name} of row {bad[0]} is {column[bad[0]]}: a law needs positive numbers")
    clusters = np.arange(n) if cluster is None else _labels(np.asarray(cluster))
    return Rows(values={name: columns[name] for name in values}, loss=columns["loss"], cluster=clusters)


def _labels(cluster: NDArray[Any]) -> NDArray[Any]:
    """The trainings' names; of a large table numbers, which sort in a hundredth of the time."""
    if len(cluster) <= LARGE_ROWS or cluster.dtype != object:
        return cluster
    import pandas as pd

    return np.asarray(pd.factorize(cluster)[0])
