"""Laws of N and D together: Kaplan's, Chinchilla's, and the forms that were proposed since.

Every law here is an increasing function of one bracket,

    L(N,D) = outer(A/N^a + B/D^b),

so that all share their optimum at a given compute, their overfitting, and how they are inverted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.forms.terms import (
    FLOPS_PER_PARAMETER_TOKEN,
    FloatArray,
    Numbers,
    SumOfPowers,
    Term,
    array,
)


class JointLaw(SumOfPowers):
    """L(N,D) = outer(A/N^a + B/D^b); the terms say what the bracket is.

    N is in parameters, D in tokens, L in nats per token; C = 6 N D FLOPs. A subclass has two terms of N and
    D, and an irreducible constant where it likes, as any `SumOfPowers`; its optimum follows (Hoffmann et al.
    2022, equation 4). Values and parameters may be arrays, which broadcast.

    Examples:
        >>> of = (Term(None, "E"), Term("N", "A", "alpha"), Term("D", "B", "alpha"))
        >>> class Tied(JointLaw, form="tied", of=of):
        ...     E: float
        ...     A: float
        ...     B: float
        ...     alpha: float
        >>> law = Tied(E=1.8, A=400.0, B=800.0, alpha=0.33)
        >>> float(law.loss(N=7e9, D=1.4e11).round(3))
        2.193
        >>> [f"{float(each):.2e}" for each in law.optimum(1e22)]
        ['1.43e+10', '1.17e+11']
    """

    def bracket(self) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """(ln A, a, ln B, b) of the bracket, which are not always the law's own parameters."""
        of_N, of_D = (term for term in self.terms if term.variable)
        with np.errstate(divide="ignore", invalid="ignore"):  # the scale of a draw may have underflowed
            return *self.log_power(of_N), *self.log_power(of_D)

    @property
    def a_opt(self) -> Numbers:
        """Exponent of N_opt ~ C^a_opt at C = 6 N D."""
        _, a, _, b = self.bracket()
        return b / (a + b)

    @property
    def b_opt(self) -> Numbers:
        """Exponent of D_opt ~ C^b_opt; a_opt + b_opt = 1."""
        _, a, _, b = self.bracket()
        return a / (a + b)

    def optimum(self, C: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """(N_opt, D_opt) that minimise the loss at C = 6 N D (Hoffmann 2022, equation 4).

        N_opt = G (C/6)^a_opt, D_opt = (C/6)^b_opt / G, G = (a A / (b B))^(1/(a + b)).
        """
        N_times_D = array(C) / FLOPS_PER_PARAMETER_TOKEN
        log_A, a, log_B, b = self.bracket()
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # of a draw
            log_G = (np.log(a) - np.log(b) + log_A - log_B) / (a + b)
            N = np.asarray(np.exp(log_G + self.a_opt * np.log(N_times_D)))
            return N, N_times_D / N

    def tokens_of_best_size(self, N: ArrayLike) -> FloatArray:
        """D at whose compute N is the best size: there a A/N^a = b B/D^b."""
        log_A, a, log_B, b = self.bracket()
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # of a draw
            return np.asarray(np.exp((np.log(b) - np.log(a) + log_B - log_A + a * np.log(array(N))) / b))

    def size_of_best_tokens(self, D: ArrayLike) -> FloatArray:
        """N at whose compute D are the best tokens: the inverse of `tokens_of_best_size`."""
        log_A, a, log_B, b = self.bracket()
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.asarray(np.exp((np.log(a) - np.log(b) + log_A - log_B + b * np.log(array(D))) / a))

    def compute_to_reach(self, loss: ArrayLike) -> FloatArray:
        """The least C = 6 N D that reaches `loss`; infinite at or below the irreducible loss.

        At the optimum a A/N^a = b B/D^b, so that the bracket is (1 + a/b) A/N^a.
        """
        log_A, a, log_B, b = self.bracket()
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            log_bracket = np.log(self.inverse(array(loss)))
            log_N = (log_A + np.log1p(a / b) - log_bracket) / a
            log_D = (log_B + np.log1p(b / a) - log_bracket) / b
            C = FLOPS_PER_PARAMETER_TOKEN * np.exp(log_N + log_D)
        return np.asarray(np.where(np.isfinite(log_bracket), C, np.inf))

    def tokens_to_reach(self, loss: ArrayLike, N: ArrayLike) -> FloatArray:
        """D at which a model of N parameters reaches `loss`; infinite where it never does."""
        log_A, a, log_B, b = self.bracket()
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            gap = self.inverse(array(loss)) - np.exp(log_A - a * np.log(array(N)))
            D = np.exp((log_B - np.log(gap)) / b)
        return np.asarray(np.where(gap > 0, D, np.inf))

    def log_smallest_size(self, loss: ArrayLike) -> FloatArray:
        """ln N of the smallest model that reaches `loss` with unlimited tokens."""
        log_A, a, _, _ = self.bracket()
        return np.asarray((log_A - np.log(self.inverse(array(loss)))) / a)

    def overfitting(self, N: ArrayLike, D: ArrayLike) -> FloatArray:
        """Relative excess of the loss over unlimited data, L(N,D)/L(N,inf) - 1: Kaplan 2020, (4.2), (4.3)."""
        return np.asarray(self.loss(N, D) / self.loss(N, np.inf) - 1)

    def data_needed(self, N: ArrayLike, excess: float = 0.02) -> FloatArray:
        """Tokens that keep `overfitting` at `excess`: Kaplan 2020, (4.4)."""
        return self.tokens_to_reach((1 + excess) * self.loss(N, np.inf), N)


class KaplanND(
    JointLaw,
    form="kaplan_nd",
    label="Kaplan's",
    of=(Term("N", "N_c", "alpha_N"), Term("D", "D_c", gamma=1.0)),
    notation="scale",
    raised="alpha_D",
):
    """Kaplan 2020, equation (1.5): N and D coupled, no irreducible loss."""

    alpha_N: Numbers
    alpha_D: Numbers
    N_c: Numbers
    D_c: Numbers


class Chinchilla(
    JointLaw,
    form="chinchilla",
    label="Chinchilla's",
    of=(Term(None, "E"), Term("N", "A", "alpha"), Term("D", "B", "beta")),
):
    """Hoffmann 2022 (arXiv 2203.15556), approach 3: N and D add, above an irreducible loss E."""

    E: Numbers
    A: Numbers
    B: Numbers
    alpha: Numbers
    beta: Numbers


class ChinchillaTied(
    JointLaw,
    form="chinchilla_tied",
    label="Chinchilla's tied",
    of=(Term(None, "E"), Term("N", "A", "alpha"), Term("D", "B", "alpha")),
):
    """Chinchilla's law with one exponent for N and D, so that both grow as C^(1/2).

    Hoffmann's approaches 1 and 2 suggest it; Muennighoff 2023 and Gadre 2024 fit it. It takes one parameter
    less to identify.
    """

    E: Numbers
    A: Numbers
    B: Numbers
    alpha: Numbers


class ChinchillaGamma(
    JointLaw,
    form="chinchilla_gamma",
    label="Chinchilla's raised",
    of=(Term("N", "A", "alpha"), Term("D", "B", "beta")),
    formula="E + (A/N^alpha + B/D^beta)^gamma",
    units={
        "E": "nats/token",
        "A": "(nats/token)^(1/gamma) * parameters^alpha",
        "B": "(nats/token)^(1/gamma) * tokens^beta",
    },
):
    """Chinchilla's law with its two terms raised together, not E: gamma = 1 is Chinchilla's own."""

    E: Numbers
    A: Numbers
    B: Numbers
    alpha: Numbers
    beta: Numbers
    gamma: Numbers

    def outer(self, bracket: FloatArray) -> FloatArray:
        return np.asarray(self.E + bracket ** np.asarray(self.gamma))

    def inverse(self, response: FloatArray) -> FloatArray:
        return np.asarray((response - self.E) ** (1 / np.asarray(self.gamma)))


class Droppo(
    JointLaw,
    form="droppo",
    label="Droppo's",
    of=(Term(None, "L_inf"), Term("N", "N_c", "alpha_N"), Term("D", "D_c", "alpha_D")),
    notation="scale",
    raised="a",
):
    """Droppo & Elibol 2021 (arXiv 2106.09488): Kaplan's bracket with an irreducible loss inside it."""

    L_inf: Numbers
    N_c: Numbers
    D_c: Numbers
    alpha_N: Numbers
    alpha_D: Numbers
    a: Numbers


class PowerMean(
    JointLaw,
    form="power_mean",
    label="the power mean's",
    of=(Term(None, "E"), Term("N", "A", "alpha"), Term("D", "B", "beta")),
    raised="1/p",
):
    """The three terms of Chinchilla's law joined by a power mean: p = 1 is its sum, p -> inf the largest.

    It is Droppo's law in other words (p = 1/a): both reach the same objective, and predict the same.
    """

    E: Numbers
    A: Numbers
    B: Numbers
    alpha: Numbers
    beta: Numbers
    p: Numbers
