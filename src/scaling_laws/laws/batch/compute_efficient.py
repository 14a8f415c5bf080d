"""Kaplan 2020, sections 5 and 6 and appendix B: the critical batch and the compute-efficient frontier.

S counts optimizer updates, in the limit of a large batch (S_min of the paper); B is in tokens, C in FLOPs and
in the limit of a small batch (C_min): what is trained *at* the critical batch takes twice both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.straight_line import jackknifed
from scaling_laws.laws.forms.steps import CriticalBatch, KaplanNS
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN, FloatArray, array, power

SMALLEST_CROSSING, LARGEST_CROSSING = 1e6, 1e60
"""FLOPs between which a crossing is looked for."""
N_CROSSING_GRID = 200
LARGEST_EXCESS = 1e3
"""Compute over the least, beyond which no size is of interest."""
BISECTIONS = 60


@dataclass(frozen=True, kw_only=True)
class ComputeEfficient:
    """L(N,S) = (N_c/N)^alpha_N + (S_c/S)^alpha_S at the critical batch B(L) = B_star/L^(1/alpha_B).

    Attributes:
        alpha_N, N_c: equation (1.1); N_c in parameters.
        alpha_S, S_c: equation (1.6); S_c in updates.
        alpha_B, B_star: equation (1.4); B_star in tokens.
    """

    alpha_N: float
    N_c: float
    alpha_S: float
    S_c: float
    alpha_B: float
    B_star: float

    @property
    def of_steps(self) -> KaplanNS:
        """Equation (1.6)."""
        return KaplanNS(alpha_N=self.alpha_N, N_c=self.N_c, alpha_S=self.alpha_S, S_c=self.S_c)

    @property
    def of_batch(self) -> CriticalBatch:
        """Equation (1.4), with the conversions (5.4) and (5.5)."""
        return CriticalBatch(alpha_B=self.alpha_B, B_star=self.B_star)

    def loss(self, N: ArrayLike, S: ArrayLike) -> FloatArray:
        """Equations (1.6) and (B.1)."""
        return self.of_steps.loss(N, S)

    def critical_batch(self, loss: ArrayLike) -> FloatArray:
        """Tokens: equations (1.4) and (B.2)."""
        return self.of_batch.batch_tokens(loss)

    def converged_loss(self, N: ArrayLike) -> FloatArray:
        """L(N,inf): unlimited steps."""
        return power(self.N_c, N, self.alpha_N)

    def loss_at_batch(self, N: ArrayLike, S: ArrayLike, B: ArrayLike) -> FloatArray:
        """The loss after S steps, as taken, at a fixed batch of B tokens: (5.6) with (5.4).

        Implicit: L = (N_c/N)^alpha_N + ((S_c/S) (1 + B_crit(L)/B))^alpha_S.
        """
        converged, S, B = self.converged_loss(N), array(S), array(B)

        def after(loss: FloatArray) -> FloatArray:
            return converged + power(self.S_c, self.of_batch.steps_min(S, B, loss), self.alpha_S)

        return _where_equal(after, converged + power(self.S_c, S, self.alpha_S))

    def loss_at_compute(self, N: ArrayLike, C: ArrayLike) -> FloatArray:
        """The loss of N parameters at compute C: (B.3), implicit in L.

        L = (N_c/N)^alpha_N + (6 B_star S_c N/(L^(1/alpha_B) C))^alpha_S.
        """
        converged = self.converged_loss(N)

        def after(loss: FloatArray) -> FloatArray:
            return np.asarray(converged + self._unfinished(N, C, loss))

        # Without the first term the law can be solved, and the loss is above both.
        unfinished = self._unfinished(N, C, 1.0) ** (1 / (1 + self.alpha_S / self.alpha_B))
        return _where_equal(after, np.maximum(converged, unfinished))

    def _unfinished(self, N: ArrayLike, C: ArrayLike, loss: ArrayLike) -> FloatArray:
        """(6 B_star S_c N/(L^(1/alpha_B) C))^alpha_S: what more steps would take away."""
        steps = array(C) / (FLOPS_PER_PARAMETER_TOKEN * array(N) * self.critical_batch(loss))
        return power(self.S_c, steps, self.alpha_S)

    def excess(self, N: ArrayLike, C: ArrayLike) -> FloatArray:
        """f of L(N,C) = (1 + f) L(N,inf): equation (B.11)."""
        return np.asarray(self.loss_at_compute(N, C) / self.converged_loss(N) - 1)

    def compute_to_reach(self, N: ArrayLike, loss: ArrayLike) -> FloatArray:
        """C(N,L): equation (B.15); infinite where N parameters never reach the loss."""
        gap = array(loss) - self.converged_loss(N)
        with np.errstate(invalid="ignore", divide="ignore"):
            steps = self.S_c * gap ** (-1 / self.alpha_S)
            C = FLOPS_PER_PARAMETER_TOKEN * array(N) * self.critical_batch(loss) * steps
        return np.where(gap > 0, C, np.inf)

    @property
    def alpha_C(self) -> float:
        """Exponent of L(C_min): equations (1.8) and (B.7)."""
        return 1 / (1 / self.alpha_S + 1 / self.alpha_B + 1 / self.alpha_N)

    @property
    def exponents(self) -> dict[str, float]:
        """Exponents in C_min of the optimal N, B, S_min and D = B S: (1.7). The first three add to 1."""
        of_B, of_S = self.alpha_C / self.alpha_B, self.alpha_C / self.alpha_S
        return {"N": self.alpha_C / self.alpha_N, "B": of_B, "S_min": of_S, "D": of_B + of_S}

    @property
    def C_c(self) -> float:
        """Scale of L(C_min), FLOPs: equation (B.8)."""
        excess = (1 + self.alpha_N / self.alpha_S) ** (1 / self.alpha_S + 1 / self.alpha_N)
        balance = (self.alpha_S / self.alpha_N) ** (1 / self.alpha_S)
        return float(FLOPS_PER_PARAMETER_TOKEN * self.N_c * self.B_star * self.S_c * excess * balance)

    def frontier_loss(self, C: ArrayLike) -> FloatArray:
        """The lowest loss at compute C: equation (B.6)."""
        return power(self.C_c, C, self.alpha_C)

    def optimal_N(self, C: ArrayLike) -> FloatArray:
        """Equation (B.9)."""
        scaled = (array(C) / self.C_c) ** (self.alpha_C / self.alpha_N)
        return np.asarray(self.N_c * scaled * (1 + self.alpha_N / self.alpha_S) ** (1 / self.alpha_N))

    def optimal_S(self, C: ArrayLike) -> FloatArray:
        """Updates: equation (B.10)."""
        scale = self.C_c / (FLOPS_PER_PARAMETER_TOKEN * self.N_c * self.B_star)
        scaled = (array(C) / self.C_c) ** (self.alpha_C / self.alpha_S)
        return np.asarray(scale * (1 + self.alpha_N / self.alpha_S) ** (-1 / self.alpha_N) * scaled)

    def optimal_D(self, C: ArrayLike) -> FloatArray:
        """Tokens of one epoch at the critical batch, 2 B_crit S_min = 2 C_min/(6 N): equation (6.7)."""
        return np.asarray(2 * array(C) / (FLOPS_PER_PARAMETER_TOKEN * self.optimal_N(C)))

    def steps_ratio(self, size_ratio: ArrayLike) -> FloatArray:
        """S(N)/S(N_eff) to reach the optimum's loss at N = size_ratio * N_eff: equation (B.17).

        Infinite for models too small ever to reach it.
        """
        ratio = array(size_ratio)
        bracket = 1 + self.alpha_S / self.alpha_N * (1 - ratio**-self.alpha_N)
        reached = bracket > 0
        return np.where(reached, np.where(reached, bracket, 1.0) ** (-1 / self.alpha_S), np.inf)

    def compute_ratio(self, size_ratio: ArrayLike) -> FloatArray:
        """C(N)/C(N_eff) to reach the optimum's loss at N = size_ratio * N_eff: equation (B.16)."""
        return np.asarray(array(size_ratio) * self.steps_ratio(size_ratio))

    def tolerated_sizes(self, excess: float) -> tuple[float, float]:
        """N over N_eff between which reaching the loss takes at most 1 + `excess` times the compute: (B.16).

        Args:
            excess: above 0, at most `LARGEST_EXCESS`.
        """
        from scipy.optimize import brentq

        def over(log_ratio: float) -> float:
            ratio = np.minimum(self.compute_ratio(np.exp(log_ratio)), 1 + 2 * LARGEST_EXCESS)
            return float(ratio) - 1 - excess

        assert 0 < excess <= LARGEST_EXCESS
        ends = np.log(LARGEST_EXCESS) * np.array([-1, 2])  # far too small, and far too large
        return float(np.exp(brentq(over, ends[0], 0.0))), float(np.exp(brentq(over, 0.0, ends[1])))


def _where_equal(after: Callable[[FloatArray], FloatArray], lower: FloatArray) -> FloatArray:
    """The L of L = after(L), where `after` falls in L and L is at least `lower`: bisection of ln L."""
    # after(lower) is no less than the root: the root lies between the two.
    log_low, log_high = (np.log(end) for end in np.broadcast_arrays(lower, after(lower)))
    for _ in range(BISECTIONS):
        middle = (log_low + log_high) / 2
        below = np.log(after(np.exp(middle))) > middle
        log_low, log_high = np.where(below, middle, log_low), np.where(below, log_high, middle)
    return np.asarray(np.exp((log_low + log_high) / 2))


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Where compute-efficient training would beat the loss that its own tokens allow: Kaplan 2020, (6.8).

    Attributes:
        C: FLOPs, C_min.
        N: parameters.
        D: tokens.
        loss: nats per token.
        reason: why there is none, all four being None; empty where there is one.
    """

    C: float | None = None
    N: float | None = None
    D: float | None = None
    loss: float | None = None
    reason: str = ""


OfOneVariable = Callable[[ArrayLike], FloatArray]


def crossing(
    frontier_loss: OfOneVariable, loss_of_tokens: OfOneVariable, tokens: OfOneVariable, size: OfOneVariable
) -> Crossing:
    """The compute above which L(C_min) falls below L(D(C_min)): section 6.3. Far outside any measurement.

    Args:
        frontier_loss: L(C_min), of FLOPs.
        loss_of_tokens: L(D), of tokens.
        tokens: D(C_min), of FLOPs.
        size: N(C_min), of FLOPs.
    """
    from scipy.optimize import brentq

    def advantage(log_C: ArrayLike) -> FloatArray:
        """ln L(D(C)) - ln L(C): positive where compute promises less than the data allow."""
        C = np.exp(array(log_C))
        return np.asarray(np.log(loss_of_tokens(tokens(C))) - np.log(frontier_loss(C)))

    grid = np.linspace(np.log(SMALLEST_CROSSING), np.log(LARGEST_CROSSING), N_CROSSING_GRID)
    ahead = advantage(grid) > 0
    starts = np.flatnonzero(~ahead[:-1] & ahead[1:])
    if not len(starts):
        always = "the data would limit training at every compute" if ahead[0] else "L(D(C)) stays below L(C)"
        return Crossing(reason=f"no crossing: {always}")
    C = float(np.exp(brentq(advantage, grid[starts[0]], grid[starts[0] + 1], xtol=1e-12)))
    return Crossing(
        C=C,
        N=float(size(C)),
        D=float(tokens(C)),
        loss=float(frontier_loss(C)),
        reason="",
    )


def change_of_step_exponent(
    law: KaplanNS, N: FloatArray, S_min: FloatArray, loss: FloatArray
) -> tuple[float, Interval]:
    """By how much alpha_S changes a decade of N, as a share of it, and its interval over sizes.

    One law of all sizes, L = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S, with an alpha_S that is linear in ln N:
    E, S_c and alpha_S of a single curve cannot be told apart.

    Args:
        law: where the fit starts: that of one alpha_S.
        N, S_min, loss: (n,): points of learning curves of three sizes or more.
    """
    from scipy.optimize import least_squares

    log_N, log_S, log_loss = np.log(N), np.log(S_min), np.log(loss)
    decades = (log_N - log_N.mean()) / np.log(10)
    start = [law.alpha_N, law.alpha_N * np.log(law.N_c), law.alpha_S, np.log(law.S_c), 0.0]

    def change(chosen: NDArray[np.bool_]) -> float:
        def residual(theta: FloatArray) -> FloatArray:
            alpha_N, log_A, alpha_S, log_S_c, of_decade = theta
            exponent = alpha_S + of_decade * decades[chosen]
            parts = log_A - alpha_N * log_N[chosen], exponent * (log_S_c - log_S[chosen])
            return np.asarray(np.logaddexp(*parts) - log_loss[chosen])

        with np.errstate(over="ignore"):
            found = least_squares(residual, start, x_scale="jac")
        return float(found.x[4] / found.x[2]) if found.success else float("nan")

    return jackknifed(change, N)
