"""The law of repeated data."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.forms.terms import FloatArray, Law, Numbers, array


class Muennighoff(
    Law,
    form="muennighoff",
    variables=("N", "D", "U"),
    formula="E + A/N'^alpha + B/D'^beta",
    units=Chinchilla.units | {"R_D_star": "epochs"},
):
    """Muennighoff 2023 (arXiv 2305.16264): repeated tokens are worth less and less.

    L = E + A/N'^alpha + B/D'^beta. With U unique tokens seen 1 + R_D times,
    D' = U + U R_D_star (1 - exp(-R_D/R_D_star)); parameters beyond U_N = min(N, N_opt(U)), those that the
    unique tokens are worth, saturate alike: N' = U_N + U_N R_N_star (1 - exp(-R_N/R_N_star)), with
    R_N = N/U_N - 1. Where no token returns and N <= N_opt(U), this is Chinchilla's law.
    """

    E: Numbers
    A: Numbers
    B: Numbers
    alpha: Numbers
    beta: Numbers
    R_D_star: Numbers
    R_N_star: Numbers

    @property
    def unlimited(self) -> Chinchilla:
        """The law of data that never repeats."""
        return Chinchilla(E=self.E, A=self.A, B=self.B, alpha=self.alpha, beta=self.beta)

    def matched_parameters(self, U: ArrayLike) -> FloatArray:
        """N_opt(U): the size that makes U tokens compute-optimal, alpha A/N^alpha = beta B/U^beta."""
        log_ratio = np.log(self.alpha) + np.log(self.A) - np.log(self.beta) - np.log(self.B)
        return np.asarray(np.exp((log_ratio + self.beta * np.log(array(U))) / self.alpha))

    def effective(self, N: ArrayLike, D: ArrayLike, U: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """(N', D'): what N parameters and D tokens, U of them unique, are worth."""
        unique = np.minimum(array(U), array(D))
        base = np.minimum(array(N), self.matched_parameters(unique))
        return _saturating(base, array(N), self.R_N_star), _saturating(unique, array(D), self.R_D_star)

    def at(self, N: FloatArray, D: FloatArray, U: FloatArray) -> FloatArray:
        return self.unlimited.loss(*self.effective(N, D, U))


def _saturating(base: FloatArray, total: FloatArray, scale: Numbers) -> FloatArray:
    """base (1 + scale (1 - exp(-repeats/scale))), repeats = total/base - 1."""
    repeats = total / base - 1
    return np.asarray(base * (1 - np.asarray(scale) * np.expm1(-repeats / scale)))
