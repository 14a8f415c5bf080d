"""Independent subnetwork training on quadratics: Shulgin & Richtarik 2023 (arXiv 2306.16484).

n workers hold a loss each, f_i(x) = x'L_i x/2 - b_i'x, d = n parameters. In a round worker i is dealt one
parameter p = pi_i of a random permutation, sees the others as zero, and takes one step on that parameter:

    x+ = x - (gamma/n) sum_i C_i (L_i C_i x - b_i),     C_i = s_i e_p e_p'.

With s_i = sqrt(n/(L_i)_pp) the product C_i L_i C_i is n e_p e_p', so that, x_p of each worker being another,

    x+ = (1 - gamma) x + gamma xi,     xi_p = (b_i)_p/sqrt(n (L_i)_pp).

A parameter is dealt to every worker equally often. Therefore, with v_i = diag(L_i)^-1/2 b_i/sqrt(n),

    E x_k = (1-gamma)^k x_0 + (1 - (1-gamma)^k) mean_i v_i,
    Var x_k = gamma (1 - (1-gamma)^2k)/(2-gamma) variance_i v_i, by parameter.

The limit, mean_i v_i, is not the optimum x* = (sum L_i)^-1 sum b_i, however small the step is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

RIDGE = 0.1
"""Added to the diagonal of random curvatures, so that the optimum is well determined."""


@dataclass(frozen=True, kw_only=True)
class Quadratics:
    """The losses of n workers in d = n parameters.

    Attributes:
        L: (n, d, d) curvatures, symmetric and positive.
        b: (n, d) slopes at zero, negated.
    """

    L: FloatArray
    b: FloatArray

    @property
    def n(self) -> int:
        return len(self.b)

    @property
    def curvatures(self) -> FloatArray:
        """(n, d): the diagonals of L."""
        return np.asarray(np.einsum("npp->np", self.L))

    @property
    def optimum(self) -> FloatArray:
        """(d,): where the mean loss is lowest."""
        return np.asarray(np.linalg.solve(self.L.mean(axis=0), self.b.mean(axis=0)))

    @property
    def targets(self) -> FloatArray:
        """(n, d): v_i, what worker i would make of each parameter that it is dealt."""
        return np.asarray(self.b / np.sqrt(self.n * self.curvatures))

    @property
    def limit(self) -> FloatArray:
        """(d,): where the mean iterate ends."""
        return np.asarray(self.targets.mean(axis=0))

    def loss(self, x: FloatArray) -> FloatArray:
        """Mean loss of the workers at x (..., d), zero at x = 0."""
        curved = np.einsum("...p,pq,...q->...", x, self.L.mean(axis=0), x) / 2
        return np.asarray(curved - x @ self.b.mean(axis=0))

    def mean_iterate(self, x0: FloatArray, rate: float, steps: FloatArray) -> FloatArray:
        """(steps, d): E x_k, in closed form."""
        left = (1 - rate) ** np.asarray(steps)[:, None]
        return np.asarray(left * x0 + (1 - left) * self.limit)

    def variance(self, rate: float, steps: int) -> FloatArray:
        """(d,): of x_k between repetitions, in closed form."""
        share = rate * (1 - (1 - rate) ** (2 * steps)) / (2 - rate)
        return np.asarray(share * self.targets.var(axis=0))


def random_quadratics(n: int, random: np.random.Generator) -> Quadratics:
    """Workers that want different things: independent curvatures and slopes."""
    A = random.normal(size=(n, n, n))
    return Quadratics(L=A @ A.transpose(0, 2, 1) / n + RIDGE * np.eye(n), b=random.normal(size=(n, n)))


def shared_optimum(n: int, at: FloatArray, random: np.random.Generator) -> Quadratics:
    """Workers that agree: every loss is lowest at one place. At zero that is the paper's interpolation."""
    one = random_quadratics(n, random)
    return Quadratics(L=one.L, b=one.L @ at)


def train(
    problem: Quadratics,
    x0: FloatArray,
    rate: float,
    steps: int,
    repetitions: int,
    random: np.random.Generator,
) -> FloatArray:
    """(steps + 1, repetitions, d): the algorithm as it is, worker by worker, without its algebra."""
    n = problem.n
    x = np.tile(x0, (repetitions, 1))
    path = np.empty((steps + 1, *x.shape))
    path[0] = x
    order = np.tile(np.arange(n), (repetitions, 1))
    workers, rows = np.arange(n), np.arange(repetitions)[:, None]
    for step in range(1, steps + 1):
        dealt = random.permuted(order, axis=1)  # (repetitions, n): the parameter of each worker
        scale = np.sqrt(n / problem.curvatures[workers, dealt])
        seen = np.zeros((repetitions, n, n))  # C_i x, zero but for one parameter
        seen[rows, workers, dealt] = scale * x[rows, dealt]
        gradients = np.matmul(seen.transpose(1, 0, 2), problem.L).transpose(1, 0, 2) - problem.b
        moves = np.zeros_like(x)
        moves[rows, dealt] = scale * gradients[rows, workers, dealt]
        x = x - rate / n * moves
        path[step] = x
    return path


def descent_is_lost(a: float, b: float, c: float) -> bool:
    """Whether a small step along diag(L) x, unscaled, can raise x'Lx/2 for L = [[a, c], [c, b]].

    Its change to first order is -x'L diag(L) x, whose symmetric part has a negative eigenvalue where
    4 a^2 b^2 < c^2 (a + b)^2.
    """
    L = np.array([[a, c], [c, b]])
    W = (L * np.diag(L) + np.diag(L)[:, None] * L) / 2
    return bool(np.linalg.eigvalsh(W)[0] < 0)
