"""Published constants, one preset a source. Constants of different fits are never mixed.

Scales of Kaplan's laws in compute are quoted in PF-days; here they are FLOPs, like everything else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.batch.compute_efficient import ComputeEfficient
from scaling_laws.laws.forms.joint import Chinchilla, KaplanND
from scaling_laws.laws.forms.repeated import Muennighoff
from scaling_laws.laws.forms.single import KaplanC, KaplanD, KaplanN
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.units import PF_DAY_FLOPS


@dataclass(frozen=True, kw_only=True)
class PowerOfCompute:
    """scale * (C in PF-days)^exponent: a row of Kaplan 2020, Table 6."""

    scale: float
    exponent: float

    def at(self, C: ArrayLike) -> FloatArray:
        """The quantity at C FLOPs."""
        return np.asarray(self.scale * (np.asarray(C, dtype=np.float64) / PF_DAY_FLOPS) ** self.exponent)

    def compute_of(self, quantity: float) -> float:
        """The FLOPs at which the quantity is this: the inverse of `at`."""
        return float(PF_DAY_FLOPS * (quantity / self.scale) ** (1 / self.exponent))


@dataclass(frozen=True, kw_only=True)
class KaplanSingle:
    """The laws of one variable that Kaplan fitted.

    `of_C_min` is of compute at a batch far below the critical one, `of_C_naive` at a batch of 2^19 tokens.
    """

    source: str
    of_N: KaplanN
    of_D: KaplanD
    of_C_min: KaplanC
    of_C_naive: KaplanC
    efficient: ComputeEfficient


@dataclass(frozen=True, kw_only=True)
class KaplanEfficient:
    """Compute-efficient training as powers of C_min; `steps_min` is a lower bound, D is one epoch."""

    source: str
    N: PowerOfCompute
    batch_tokens: PowerOfCompute
    steps_min: PowerOfCompute
    D: PowerOfCompute


KAPLAN_SINGLE = KaplanSingle(
    source="Kaplan et al. 2020 (arXiv 2001.08361), Table 5",
    of_N=KaplanN(alpha_N=0.076, N_c=8.8e13),
    of_D=KaplanD(alpha_D=0.095, D_c=5.4e13),
    of_C_min=KaplanC(alpha_C=0.050, C_c=3.1e8 * PF_DAY_FLOPS),
    of_C_naive=KaplanC(alpha_C=0.057, C_c=1.6e7 * PF_DAY_FLOPS),
    efficient=ComputeEfficient(
        alpha_N=0.076, N_c=8.8e13, alpha_S=0.76, S_c=2.1e3, alpha_B=0.21, B_star=2.1e8
    ),
)
"""N is non-embedding."""

KAPLAN_TABLE_2 = KaplanND(alpha_N=0.076, alpha_D=0.103, N_c=6.4e13, D_c=1.8e13)
"""The joint fit of L(N,D): Kaplan et al. 2020, Table 2. N is non-embedding."""

KAPLAN_TABLE_3 = ComputeEfficient(
    alpha_N=0.077, N_c=6.5e13, alpha_S=0.76, S_c=2.1e3, alpha_B=0.21, B_star=2.1e8
)
"""The joint fit of L(N,S_min): Kaplan et al. 2020, Table 3, which took the batch law of Table 5 as given."""

KAPLAN_TABLE_6 = KaplanEfficient(
    source="Kaplan et al. 2020 (arXiv 2001.08361), Table 6",
    N=PowerOfCompute(scale=1.3e9, exponent=0.73),
    batch_tokens=PowerOfCompute(scale=2.0e6, exponent=0.24),
    steps_min=PowerOfCompute(scale=5.4e3, exponent=0.03),
    D=PowerOfCompute(scale=2e10, exponent=0.27),
)
"""N is non-embedding."""

KAPLAN_FIGURE_14_NAIVE_N = PowerOfCompute(scale=1.6e9, exponent=0.88)
"""N_opt(C) at a batch of 2^19 tokens, C as spent: printed in Kaplan et al. 2020, Figure 14, left."""

HOFFMANN = Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
"""Hoffmann et al. 2022 (arXiv 2203.15556), approach 3, as printed. N counts every parameter."""


@dataclass(frozen=True, kw_only=True)
class ReportedExponent:
    """The exponent of N_opt ~ C^a as a paper prints it, with its 10-90 % bootstrap interval."""

    a: float
    low: float
    high: float

    @property
    def b(self) -> float:
        """D_opt ~ C^b, from C = 6 N D."""
        return 1 - self.a


HOFFMANN_ENVELOPE = ReportedExponent(a=0.50, low=0.488, high=0.502)
"""Approach 1: the envelope of the learning curves (Hoffmann et al. 2022, Table 2)."""

HOFFMANN_ISOFLOP = ReportedExponent(a=0.49, low=0.462, high=0.534)
"""Approach 2: slices of equal compute (the same table)."""

HOFFMANN_PARAMETRIC = ReportedExponent(a=0.46, low=0.454, high=0.455)
"""Approach 3 (the same table); the printed, rounded parameters of `HOFFMANN` give 0.452."""

BESIROGLU = Chinchilla(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)
"""Besiroglu et al. 2024 (arXiv 2404.10102): the refit of Hoffmann's runs. N counts every parameter."""

MUENNIGHOFF = Muennighoff(E=1.87, A=521.0, B=1488.0, alpha=0.353, beta=0.353, R_D_star=15.4, R_N_star=5.3)
"""Muennighoff et al. 2023 (arXiv 2305.16264), as printed: on C4; N counts every parameter."""
