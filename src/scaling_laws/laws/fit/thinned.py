"""A part of a large table's rows: enough to find an optimum's place, which all rows then polish.

Beyond `LARGE_ROWS` rows, starts are searched on a part, and so are the refits of a bootstrap over few
trainings; optima, certificates, residuals and everything that is printed of them are of all rows.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.fit.rows import Rows
from scaling_laws.laws.forms.terms import FloatArray

PART_ROWS = 5_000
MANY_TRAININGS = 2_000
"""With so many a law's optimum is normal about the truth, and no training needs to be in every refit."""


def thinned(rows: Rows, weights: FloatArray, seed: int = 0) -> tuple[NDArray[np.intp], FloatArray]:
    """About `PART_ROWS` rows: their index, and weights of mean one.

    Rows at random, with the first and the last of each variable and of the losses. Of few trainings each has
    its first and last row there, and the weight that all its rows have together.
    """
    random = np.random.default_rng(seed)
    ends = _ends(rows)
    if rows.n_clusters > MANY_TRAININGS:
        index = np.unique([*random.choice(rows.n, PART_ROWS, replace=False), *ends])
        part = weights[index]
        return index, part / part.mean()
    _, training = np.unique(rows.cluster, return_inverse=True)
    order = np.argsort(training, kind="stable")
    first = np.flatnonzero(np.diff(training[order], prepend=-1))
    last = np.append(first[1:], rows.n) - 1
    chosen = order[:: max(rows.n // PART_ROWS, 1)]
    index = np.unique([*chosen, *order[first], *order[last], *ends])
    whole = np.bincount(training, weights)
    kept = np.bincount(training[index], weights[index])
    part = weights[index] * (whole / kept)[training[index]]
    return index, part / part.mean()


def _ends(rows: Rows) -> Iterable[int]:
    for values in (*rows.values.values(), rows.loss):
        yield int(values.argmin())
        yield int(values.argmax())
