"""L = E + A/N^alpha + B/D^beta by least squares of L, as Choshen et al. 2024 fit it: all parameters >= 0.

Where alpha and beta are given the other three are linear: a grid over the two exponents, made finer around
the best point, finds the lowest sum of squares wherever it lies, at a bound, too. The paper starts scipy's
curve_fit once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

MOST, N_GRID, N_ZOOMS = 2.0, 25, 9
"""Of an exponent; points of the grid; how often it is made finer."""
SUBSETS = [subset for size in (1, 2, 3) for subset in combinations(range(3), size)]
"""Of (E, A, B): those that are above zero."""


@dataclass(frozen=True, kw_only=True)
class AdditiveFit:
    """E, A, alpha, B, beta >= 0 of N and D over their scales, and the root mean square error in nats."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float
    scale_N: float
    scale_D: float
    rms: float

    def loss(self, N: ArrayLike, D: ArrayLike) -> FloatArray:
        in_N = (np.asarray(N, dtype=np.float64) / self.scale_N) ** -self.alpha
        in_D = (np.asarray(D, dtype=np.float64) / self.scale_D) ** -self.beta
        return np.asarray(self.E + self.A * in_N + self.B * in_D)


def fit_additive(
    N: ArrayLike,
    D: ArrayLike,
    loss: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    n_grid: int = N_GRID,
    n_zooms: int = N_ZOOMS,
) -> AdditiveFit:
    """The lowest sum of squares over rows of (N, D, loss), weighted by row where weights are given."""
    N, D, y = (np.asarray(values, dtype=np.float64) for values in (N, D, loss))
    root = np.sqrt(np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64))
    y = root * y
    scale_N, scale_D = float(np.exp(np.log(N).mean())), float(np.exp(np.log(D).mean()))
    x, z = np.log(N / scale_N), np.log(D / scale_D)
    several = len(np.unique(N)) > 1
    alphas = np.linspace(0, MOST, n_grid) if several else np.zeros(1)
    betas = np.linspace(0, MOST, n_grid)
    step = MOST / (n_grid - 1)
    best: tuple[float, FloatArray, float, float] = (np.inf, np.zeros(3), 0.0, 0.0)
    for _ in range(n_zooms):
        alpha, beta = (each.ravel() for each in np.meshgrid(alphas, betas))
        coefficients, squares = _linear(np.exp(-np.outer(alpha, x)), np.exp(-np.outer(beta, z)), root, y)
        place = int(np.argmin(squares))
        if squares[place] < best[0]:
            best = (squares[place], coefficients[place], float(alpha[place]), float(beta[place]))
        step /= 4
        near = step * np.linspace(-6, 6, n_grid)
        alphas = np.maximum(best[2] + near, 0) if several else alphas
        betas = np.maximum(best[3] + near, 0)
    (E, A, B), rms = best[1], float(np.sqrt(best[0] / len(y)))
    return AdditiveFit(
        E=float(E),
        A=float(A),
        alpha=best[2],
        B=float(B),
        beta=best[3],
        scale_N=scale_N,
        scale_D=scale_D,
        rms=rms,
    )


def _linear(
    in_N: FloatArray, in_D: FloatArray, root: FloatArray, y: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """((grid, 3) E, A, B >= 0 of lowest squares, (grid,) those squares), for (grid, rows) of both powers.

    `root` (rows,) are the roots of the weights, by which y is multiplied already.
    """
    columns = root[:, None] * np.stack([np.ones_like(in_N), in_N, in_D], axis=2)  # (grid, rows, 3)
    normal = np.einsum("gri,grj->gij", columns, columns)
    right = np.einsum("gri,r->gi", columns, y)
    total = float(y @ y)
    best, squares = np.zeros((len(in_N), 3)), np.full(len(in_N), np.inf)
    for subset in SUBSETS:
        chosen = np.ix_(range(len(in_N)), subset, subset)
        jitter = 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(len(subset))
        found = np.linalg.solve(normal[chosen] + jitter, right[:, list(subset)][..., None])[..., 0]
        left = total - np.einsum("gi,gi->g", found, right[:, list(subset)])
        better = (found >= 0).all(axis=1) & (left < squares)
        squares[better] = left[better]
        filled = np.zeros((int(better.sum()), 3))
        filled[:, list(subset)] = found[better]
        best[better] = filled
    return best, np.maximum(squares, 0.0)
