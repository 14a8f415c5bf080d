"""Laws of training time: steps against batch, the critical batch, and the loss of N and steps (Kaplan, 5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.forms.terms import FloatArray, Numbers, SumOfPowers, Term, array


class TimeData(
    SumOfPowers,
    form="time_data",
    of=(Term(None, "S_min"), Term("B", "E_min", gamma=1.0)),
    response="S",
    units={"E_min": "tokens"},
):
    """Steps to a given loss against the batch: Kaplan 2020, (5.1), solved for S at E = B S.

    (S/S_min - 1)(E/E_min - 1) = 1 is S = S_min + E_min/B.
    """

    S_min: Numbers
    E_min: Numbers

    def steps(self, B: ArrayLike) -> FloatArray:
        return self.loss(B)

    def tokens(self, B: ArrayLike) -> FloatArray:
        """E = B S, in the unit of E_min."""
        return np.asarray(self.S_min * array(B) + self.E_min)

    @property
    def critical_batch(self) -> Numbers:
        """B_crit = E_min/S_min, in the unit of B: equation (5.2)."""
        return self.E_min / self.S_min


class CriticalBatch(
    SumOfPowers,
    form="critical_batch",
    of=(Term("L", "B_star", "alpha_B"),),
    notation="inverse",
    response="B_crit",
):
    """Critical batch against the loss: Kaplan 2020, equations (1.4) and (5.3)."""

    alpha_B: Numbers
    B_star: Numbers

    def batch_tokens(self, loss: ArrayLike) -> FloatArray:
        return self.loss(loss)

    def steps_min(self, S: ArrayLike, B: ArrayLike, loss: ArrayLike) -> FloatArray:
        """S_min: what S steps at batch B to `loss` would be at a batch far above the critical: (5.4)."""
        return np.asarray(array(S) / (1 + self.batch_tokens(loss) / array(B)))

    def steps(self, S_min: ArrayLike, B: ArrayLike, loss: ArrayLike) -> FloatArray:
        """S: the inverse of `steps_min`."""
        return np.asarray(array(S_min) * (1 + self.batch_tokens(loss) / array(B)))

    def compute_min(self, C: ArrayLike, B: ArrayLike, loss: ArrayLike) -> FloatArray:
        """C_min: what C = 6 N B S to `loss` would be at a batch far below the critical: (5.5)."""
        return np.asarray(array(C) / (1 + array(B) / self.batch_tokens(loss)))

    def compute(self, C_min: ArrayLike, B: ArrayLike, loss: ArrayLike) -> FloatArray:
        """C: the inverse of `compute_min`."""
        return np.asarray(array(C_min) * (1 + array(B) / self.batch_tokens(loss)))


class KaplanNS(
    SumOfPowers,
    form="kaplan_ns",
    of=(Term("N", "N_c", "alpha_N"), Term("S_min", "S_c", "alpha_S")),
    notation="scale",
):
    """Kaplan 2020, (1.6) and (5.6): unlimited data, S_min steps at a batch far above the critical."""

    alpha_N: Numbers
    alpha_S: Numbers
    N_c: Numbers
    S_c: Numbers

    def stop_step_bound(self, excess: ArrayLike) -> FloatArray:
        """The fewest S_min after which training on limited data should stop: (5.7).

        Args:
            excess: L(N,D) - L(N,inf), nats per token; at or below 0 the bound is infinite.
        """
        gap = np.maximum(array(excess), 0.0)
        with np.errstate(divide="ignore"):
            return np.asarray(self.S_c * gap ** (-1 / np.asarray(self.alpha_S)))
