"""Ridge regression on random features of power-law data: Maloney, Roberts & Sully 2022 (arXiv 2210.16859).

Data x of M independent directions with variances lambda_I = I^-(1+alpha), labels y = w.x + noise, N features
phi = u x/sqrt(N) with u iid, T samples, and weights that minimise the squared errors plus ridge times their
squared length. The mean loss in closed form (the limit of large N and T, where random-feature regression is
known; Simon et al. 2023 give it in this form), with z = sum s, q = sum s^2 and
s = lambda/(lambda + g):

    N = z + N kappa/g,     T = z + ridge/kappa,
    loss = [sum (g/(lambda + g) - kappa lambda/(lambda + g)^2 N/(N - q)) v^2 + noise^2]
           / (1 - (q (N - 2 z) + z^2)/(T (N - q))),          v_I^2 = w_I^2 lambda_I.

g follows from the ridge by N ridge = g (N - z)(T - z), and the ridge from g without solving anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SINGLE = 1_000
"""Directions that are summed one by one; the smaller variances are summed in bins."""
BINS = 2_000
N_SCANNED = 600
"""Values of g among which the best ridge is looked for."""
LEAST_G = 1e-13
BISECTIONS = 90


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Variances of the data, and how many directions have each.

    Attributes:
        variance, count: (directions or bins,), falling variances.
        M: number of directions.
    """

    variance: FloatArray
    count: FloatArray
    M: int


def power_law(alpha: float, M: int) -> Spectrum:
    """lambda_I = I^-(1+alpha), I = 1 ... M; beyond the first thousand in bins."""
    if M <= SINGLE + BINS:
        index = np.arange(1.0, M + 1)
        return Spectrum(variance=index ** -(1 + alpha), count=np.ones(M), M=M)
    edges = np.unique(np.geomspace(SINGLE + 1, M + 1, BINS + 1).round())
    middle = np.sqrt(edges[:-1] * (edges[1:] - 1))
    index = np.concatenate([np.arange(1.0, SINGLE + 1), middle])
    count = np.concatenate([np.ones(SINGLE), np.diff(edges)])
    return Spectrum(variance=index ** -(1 + alpha), count=count, M=M)


def _sums(spectrum: Spectrum, g: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """(z, q, sum v^2 g/(lambda+g), sum v^2 lambda/(lambda+g)^2) at each g, for w_I^2 = 1."""
    share = spectrum.variance / (spectrum.variance + g[..., None])
    weighted = spectrum.count * spectrum.variance
    z, q = share @ spectrum.count, share**2 @ spectrum.count
    return z, q, (1 - share) @ weighted, (share * (1 - share)) @ weighted / g


def loss_at(spectrum: Spectrum, N: float, T: float, g: FloatArray, noise: float = 0.0) -> FloatArray:
    """The mean loss at each g (NaN where no ridge >= 0 has that g); (g,)."""
    z, q, missed, learned = _sums(spectrum, g)
    kappa = g * (N - z) / N
    with np.errstate(all="ignore"):
        worse = 1 - (q * (N - 2 * z) + z**2) / (T * (N - q))
        loss = (missed - kappa * learned * N / (N - q) + noise**2) / worse
    return np.asarray(np.where((z < N) & (z < T) & (worse > 0), loss, np.nan))


def loss(spectrum: Spectrum, N: float, T: float, ridge: float, noise: float = 0.0) -> float:
    """The mean loss of N features and T samples, noise included."""
    low, high = np.log(LEAST_G), np.log(1e6)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        g = np.exp(middle)
        z = float(_sums(spectrum, np.array(g))[0])
        below = z >= min(N, T) or g * (N - z) * (T - z) < N * ridge
        low, high = (middle, high) if below else (low, middle)
    return float(loss_at(spectrum, N, T, np.array(np.exp(high)), noise))


def best_loss(spectrum: Spectrum, N: float, T: float, noise: float = 0.0) -> tuple[float, float]:
    """(lowest mean loss over all ridges, that ridge)."""
    g = np.geomspace(LEAST_G, 10.0, N_SCANNED)
    losses = loss_at(spectrum, N, T, g, noise)
    place = int(np.nanargmin(losses))
    fine = np.geomspace(g[max(place - 1, 0)], g[min(place + 1, len(g) - 1)], 100)
    losses = loss_at(spectrum, N, T, fine, noise)
    at = fine[int(np.nanargmin(losses))]
    z = float(_sums(spectrum, np.array(at))[0])
    return float(np.nanmin(losses)), float(at * (N - z) * (T - z) / N)


def simulated_losses(
    spectrum: Spectrum,
    N: int,
    T: int,
    ridge: float,
    draws: int,
    random: np.random.Generator,
    noise: float = 0.0,
) -> FloatArray:
    """(draws,): losses on new data, worked out exactly for each draw of features, samples and signs of w."""
    assert len(spectrum.variance) == spectrum.M
    deviation = np.sqrt(spectrum.variance)
    losses = np.empty(draws)
    for draw in range(draws):
        w = random.choice([-1.0, 1.0], size=spectrum.M)
        u = random.normal(size=(N, spectrum.M)) / np.sqrt(N)
        x = random.normal(size=(T, spectrum.M)) * deviation
        y = x @ w + noise * random.normal(size=T)
        features = x @ u.T
        if N <= T:
            theta = np.linalg.solve(features.T @ features + ridge * np.eye(N), features.T @ y)
        else:
            theta = features.T @ np.linalg.solve(features @ features.T + ridge * np.eye(T), y)
        losses[draw] = spectrum.variance @ (w - theta @ u) ** 2 + noise**2
    return losses
