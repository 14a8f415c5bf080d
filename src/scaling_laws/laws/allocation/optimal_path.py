"""The compute-optimal sizes of a joint law, however N and FLOPs are counted.

For a loss A/M(N)^alpha + B/D^beta and a cost C = c(N) D, at the optimum

    alpha A M^-alpha (d ln M/d ln N) = beta B D^-beta (d ln c/d ln N),

so that D, and with it C, is a closed form of N.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.forms.terms import FloatArray


def optimal_path(
    law: JointLaw, log_M: ArrayLike, M_slope: ArrayLike, log_cost: ArrayLike, cost_slope: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """(ln C, ln D) at which each size is the compute-optimal one.

    Args:
        law: of the loss, in M parameters and D tokens.
        log_M, M_slope: ln M of each size, and d ln M/d ln N.
        log_cost, cost_slope: ln of the FLOPs per token of each size, and its derivative by ln N.
    """
    log_A, alpha, log_B, beta = law.bracket()
    log_of_N = log_A + np.log(alpha) - alpha * np.asarray(log_M) + np.log(M_slope)
    log_D = (log_B + np.log(beta) + np.log(cost_slope) - log_of_N) / beta
    return np.asarray(log_cost + log_D), np.asarray(log_D)


def slopes(log_C: FloatArray, log_N: FloatArray) -> FloatArray:
    """d ln N/d ln C by least squares, each point weighted by the ln C it stands for, (..., n) -> (...)."""
    weight = np.abs(np.gradient(log_C, axis=-1))
    total = weight.sum(axis=-1, keepdims=True)
    x = log_C - (weight * log_C).sum(axis=-1, keepdims=True) / total
    return np.asarray((weight * x * log_N).sum(axis=-1) / (weight * x * x).sum(axis=-1))
