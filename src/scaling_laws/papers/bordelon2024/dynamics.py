"""Random features under gradient flow: Bordelon, Atanasov & Pehlevan 2024 (arXiv 2402.01092).

The data have M directions with variances lambda_k = k^-b, and the target has the power lambda_k w_k^2 = k^-a
in each. A network of N random features learns only its N output weights, by gradient flow. In the coordinates
v = Lambda^1/2 (target - network) the loss is |v|^2, and with infinitely many data dv/dt = -K v,

    K = B'B,     B = A Lambda^1/2/sqrt(N),     A (N, M) iid with variance one.

So loss(t) = v_0' exp(-2 K t) v_0, which is exact for each draw. Its mean over A: exp(-2 K t) is the inverse
Laplace transform of 1/(s + K), whose mean is diagonal, 1/(s + lambda_k R), with
R = 1/(1 + (1/N) sum lambda/(s + lambda R)).
With kappa = s/R that reads

    s = kappa (1 - (1/N) sum lambda/(lambda + kappa)),     1/(s + lambda_k R) = kappa/(s (kappa + lambda_k)),

and at t = infinity loss = sum k^-a kappa/(kappa + lambda_k), where sum lambda/(lambda + kappa) = N.

On P samples that are used again and again dv/dt = -K S v, S = X'X/P, X (P, M) iid. The mean field of that
chain, X v (P), X'X v/P (M), A Lambda^1/2 X'X v/P (N), K S v (M), is linear: each of its four links adds noise
whose variance is that of the link before, over P or N. With a transform for each of two times, s and s',

    s = kappa (1 - f/N)(1 - f/P),   f = sum lambda/(lambda + kappa),   r_P = 1 - f/P,   r_N = 1 - f/N,
    H_k = 1/(s + lambda_k r_P r_N),   and of products h = H_k H_k', p = r_P r_P', n = r_N r_N':
    loss = sum h v_0^2 + (n p/P) (sum lambda^2 h) loss + (n/N) (sum lambda h) drift,
    drift = p sum lambda h v_0^2 + (p s s'/P) (sum lambda h) loss + (p n/N) (sum lambda^2 h) drift,

two linear equations, and the loss of the training is p loss. Both are functions of two times, of which the
inverse transforms are taken at t, t. For P infinite they give what stands above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SINGLE, BINS = 60, 140
"""Directions that are summed one by one; bins for the others."""
CONTOUR = 20
"""Points of Talbot's contour: about ten digits."""
FIXED_POINT_STEPS, NEWTON_STEPS = 12, 12


@dataclass(frozen=True, kw_only=True)
class FeatureTask:
    """Variances and powers of the directions, by direction or in bins.

    Attributes:
        a, b: exponents of the target's power and of the data's variance.
        M: number of directions.
        variance, power: lambda_k and lambda_k w_k^2, of one direction.
        count: directions of each entry.
    """

    a: float
    b: float
    M: int
    variance: FloatArray
    power: FloatArray
    count: FloatArray

    @property
    def in_time(self) -> float:
        """Exponent of the loss in t, in the limit."""
        return (self.a - 1) / self.b

    @property
    def in_size(self) -> float:
        """Exponent of the loss in N (and in P), in the limit: a - 1 where that is less than b."""
        return min(self.a - 1, self.b)

    @property
    def in_compute(self) -> float:
        """Exponent of the best loss in C = N t."""
        return self.in_time * self.in_size / (self.in_time + self.in_size)

    @property
    def best_size(self) -> float:
        """Exponent of the best N in C."""
        return self.in_time / (self.in_time + self.in_size)


def task(a: float, b: float, M: int, *, binned: bool = True) -> FeatureTask:
    """Power laws over M directions; with bins of equal ln k beyond the first directions."""
    k, count = np.arange(1.0, M + 1), np.ones(M)
    if binned and M > SINGLE + BINS:
        edges = np.unique(np.geomspace(SINGLE + 1, M + 1, BINS + 1).round())
        k = np.concatenate([np.arange(1.0, SINGLE + 1), np.sqrt(edges[:-1] * (edges[1:] - 1))])
        count = np.concatenate([np.ones(SINGLE), np.diff(edges)])
    return FeatureTask(a=a, b=b, M=M, variance=k**-b, power=k**-a, count=count)


def mean_loss(task: FeatureTask, N: float, t: FloatArray) -> FloatArray:
    """The mean loss at times t > 0 with infinitely many data; (times,). N may be infinite."""
    t = np.asarray(t, dtype=np.float64)
    weighted = task.count * task.power
    if np.isinf(N):
        return np.asarray(np.exp(-2 * task.variance * t[:, None]) @ weighted)
    delta, weight = _talbot()
    s = delta / (2 * t[:, None])  # (times, contour)
    kappa = _kappa(task, N, np.inf, s)
    transform = kappa / s * ((1 / (kappa[..., None] + task.variance)) @ weighted)
    return np.asarray((2 / 5 / (2 * t)) * (weight * transform).real.sum(axis=1))


def mean_losses_of_reuse(
    task: FeatureTask, N: float, P: float, t: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The mean test loss, and that of the training, on P samples used again and again; (times,) each."""
    t = np.asarray(t, dtype=np.float64)
    delta, weight = _talbot()
    s = delta / t[:, None]  # (times, contour)
    kappa = _kappa(task, N, P, s)
    filled = (1 / (kappa[..., None] + task.variance)) @ (task.count * task.variance)
    of_N, of_P = 1 - filled / N, 1 - filled / P
    H = (kappa / s)[..., None] / (kappa[..., None] + task.variance)
    test, train = np.zeros(len(t)), np.zeros(len(t))
    for other in (lambda values: values, np.conj):  # the two times' contours; each has two halves
        h = np.einsum("tck,tdk,k->tcdk", H, other(H), task.count)
        once, twice = h @ task.variance, h @ task.variance**2
        v, drift_of_v = (h @ (task.power * task.variance**power) for power in (0, 1))
        both = [each[:, :, None] * other(each)[:, None, :] for each in (of_N, of_P, s, weight + 0 * s)]
        n, p, ss, weights = both
        a, b = 1 - n * p * twice / P, n * once / N
        c, d = p * ss * once / P, 1 - p * n * twice / N
        loss = (v * d + b * p * drift_of_v) / (a * d - b * c)
        test += 2 * (weights * loss).real.sum(axis=(1, 2)) / (5 * t) ** 2
        train += 2 * (weights * p * loss).real.sum(axis=(1, 2)) / (5 * t) ** 2
    return test, train


def last_loss(task: FeatureTask, N: float) -> float:
    """The mean loss of N < M features at t = infinity."""
    low, high = np.log(task.variance[-1] * 1e-6), np.log(task.variance[0] * task.M)
    for _ in range(80):
        middle = (low + high) / 2
        within = (task.variance / (task.variance + np.exp(middle))) @ task.count > N
        low, high = (middle, high) if within else (low, middle)
    kappa = np.exp(low)
    return float((kappa / (kappa + task.variance)) @ (task.count * task.power))


def _talbot() -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Points and weights of f(t) = (2/5t) sum Re(weight F(point/t)): Talbot's contour (Abate, Valko 2004)."""
    k = np.arange(1, CONTOUR)
    angle = k * np.pi / CONTOUR
    cotangent = 1 / np.tan(angle)
    points = np.concatenate([[2 * CONTOUR / 5 + 0j], 2 * k * np.pi / 5 * (cotangent + 1j)])
    weights = np.concatenate([[0.5 + 0j], 1 + 1j * angle * (1 + cotangent**2) - 1j * cotangent])
    return points, weights * np.exp(points)


def _kappa(task: FeatureTask, N: float, P: float, s: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """kappa of s = kappa (1 - f/N)(1 - f/P), f = sum lambda/(lambda + kappa), on the branch kappa ~ s."""
    variance, weighted = task.variance, task.count * task.variance
    kappa = s + weighted.sum() * (1 / N + 1 / P)
    for step in range(FIXED_POINT_STEPS + NEWTON_STEPS):
        inside = 1 / (kappa[..., None] + variance)
        filled = inside @ weighted
        left = (1 - filled / N) * (1 - filled / P)
        if step < FIXED_POINT_STEPS:
            kappa = s + kappa * (1 - left)
        else:
            change = inside**2 @ weighted * ((1 - filled / P) / N + (1 - filled / N) / P)
            kappa = kappa - (kappa * left - s) / (left + kappa * change)
    assert np.all(np.abs(kappa * left - s) < 1e-6 * np.abs(s)), "the fixed point was not reached"
    return np.asarray(kappa)


# --- FlowSimulation -----------------------------------------------------------------------------------


def _features(task: FeatureTask, N: int, random: np.random.Generator) -> FloatArray:
    """B (N, M) of one draw."""
    return np.asarray(random.normal(size=(N, task.M)) * np.sqrt(task.variance / N))


def _start(task: FeatureTask, random: np.random.Generator) -> FloatArray:
    """v_0 (M,) with signs drawn: the mean over targets."""
    return np.asarray(np.sqrt(task.power) * random.choice([-1.0, 1.0], size=task.M))


def errors_over_time(B: FloatArray, v: FloatArray, t: FloatArray) -> FloatArray:
    """(times, M): v(t) of one network under gradient flow with infinitely many data; t may be infinite."""
    square, vectors = np.linalg.eigh(B @ B.T)
    square = np.maximum(square, 1e-300)
    along = vectors.T @ (B @ v)
    with np.errstate(over="ignore", under="ignore"):
        learned = -np.expm1(-square * t[:, None]) / square * along
    return np.asarray(v - (learned @ vectors.T) @ B)


def simulated_losses(
    task: FeatureTask, N: int, t: FloatArray, draws: int, random: np.random.Generator, members: int = 1
) -> FloatArray:
    """(draws, times): losses with infinitely many data, of the mean of `members` networks."""
    losses = np.empty((draws, len(t)))
    for draw in range(draws):
        v = _start(task, random)
        errors = [errors_over_time(_features(task, N, random), v, t) for _ in range(members)]
        losses[draw] = (np.mean(errors, axis=0) ** 2).sum(axis=1)
    return losses


def reused_losses(
    task: FeatureTask, N: int, P: int, t: FloatArray, draws: int, random: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """(draws, times) test losses, and the same of the training, on P samples used again and again."""
    test, train = np.empty((draws, len(t))), np.empty((draws, len(t)))
    for draw in range(draws):
        v, B = _start(task, random), _features(task, N, random)
        samples = random.normal(size=(P, task.M)) / np.sqrt(P)  # whitened
        left, singular, right = np.linalg.svd(samples @ B.T, full_matrices=False)
        seen = samples @ v
        along, square = left.T @ seen, singular**2
        learned = -np.expm1(-square * t[:, None]) / np.maximum(singular, 1e-150) * along
        error = v - (learned @ right) @ B
        test[draw] = (error**2).sum(axis=1)
        train[draw] = ((error @ samples.T) ** 2).sum(axis=1)
    return test, train
