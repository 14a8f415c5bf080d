"""The equations, one frozen dataclass each, with named parameters.

Units throughout: loss L in nats per token, N in parameters, D in tokens, C in FLOPs, T a 1-based position.
A parameter may also be an array of bootstrap draws: every method broadcasts, so that the interval of
anything a law can compute is a percentile of the same method called on the draws.

Each class also tells the fitter what it is made of (`terms`, `notation`): every law here is a sum of power
laws, in one case raised to a power,

    L = (sum_k exp(c_k) x_k^-gamma_k)^power.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Numbers = float | FloatArray
FLOPS_PER_PARAMETER_TOKEN = 6.0
"""C = 6 N D: two FLOPs a parameter and token forward, twice that backward (Kaplan 2020, section 2.1)."""

Notation = Literal["coefficient", "scale", "coupled"]
"""How the parameters of a term are written: A x^-alpha; (x_c/x)^alpha; or, raised to alpha_D together,
(N_c/N)^(alpha_N/alpha_D) and D_c/D, the last term being linear."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One summand of a law.

    Attributes:
        variable: N, D, C or T; None for the irreducible constant.
        coefficient: name of the parameter that scales the summand.
        exponent: name of its exponent; None for the constant.
    """

    variable: str | None
    coefficient: str
    exponent: str | None


@dataclass(frozen=True, kw_only=True)
class KaplanN:
    """Kaplan 2020, equation (1.1): ample data, trained to convergence."""

    form: ClassVar[str] = "kaplan_n"
    formula: ClassVar[str] = "L(N) = (N_c/N)^alpha_N"
    units: ClassVar[dict[str, str]] = {"alpha_N": "1", "N_c": "parameters"}
    terms: ClassVar[tuple[Term, ...]] = (Term(variable="N", coefficient="N_c", exponent="alpha_N"),)
    notation: ClassVar[Notation] = "scale"

    alpha_N: Numbers
    N_c: Numbers

    def loss(self, N: ArrayLike) -> FloatArray:
        return _power(self.N_c, N, self.alpha_N)


@dataclass(frozen=True, kw_only=True)
class KaplanD:
    """Kaplan 2020, equation (1.2): a large model, stopped early."""

    form: ClassVar[str] = "kaplan_d"
    formula: ClassVar[str] = "L(D) = (D_c/D)^alpha_D"
    units: ClassVar[dict[str, str]] = {"alpha_D": "1", "D_c": "tokens"}
    terms: ClassVar[tuple[Term, ...]] = (Term(variable="D", coefficient="D_c", exponent="alpha_D"),)
    notation: ClassVar[Notation] = "scale"

    alpha_D: Numbers
    D_c: Numbers

    def loss(self, D: ArrayLike) -> FloatArray:
        return _power(self.D_c, D, self.alpha_D)


@dataclass(frozen=True, kw_only=True)
class KaplanC:
    """Kaplan 2020, equation (1.3): the best loss over N at each compute. C_c in FLOPs, not PF-days."""

    form: ClassVar[str] = "kaplan_c"
    formula: ClassVar[str] = "L(C) = (C_c/C)^alpha_C"
    units: ClassVar[dict[str, str]] = {"alpha_C": "1", "C_c": "FLOPs"}
    terms: ClassVar[tuple[Term, ...]] = (Term(variable="C", coefficient="C_c", exponent="alpha_C"),)
    notation: ClassVar[Notation] = "scale"

    alpha_C: Numbers
    C_c: Numbers

    def loss(self, C: ArrayLike) -> FloatArray:
        return _power(self.C_c, C, self.alpha_C)


@dataclass(frozen=True, kw_only=True)
class PowerN:
    """A power law in N above an irreducible loss E (Hoffmann 2022's form at ample data)."""

    form: ClassVar[str] = "power_n"
    formula: ClassVar[str] = "L(N) = E + A/N^alpha"
    units: ClassVar[dict[str, str]] = {"E": "nats/token", "A": "nats/token * parameters^alpha", "alpha": "1"}
    terms: ClassVar[tuple[Term, ...]] = (
        Term(variable=None, coefficient="E", exponent=None),
        Term(variable="N", coefficient="A", exponent="alpha"),
    )
    notation: ClassVar[Notation] = "coefficient"

    E: Numbers
    A: Numbers
    alpha: Numbers

    def loss(self, N: ArrayLike) -> FloatArray:
        return np.asarray(self.E + self.A * _array(N) ** -np.asarray(self.alpha))


@dataclass(frozen=True, kw_only=True)
class PowerD:
    """A power law in D above an irreducible loss E."""

    form: ClassVar[str] = "power_d"
    formula: ClassVar[str] = "L(D) = E + B/D^beta"
    units: ClassVar[dict[str, str]] = {"E": "nats/token", "B": "nats/token * tokens^beta", "beta": "1"}
    terms: ClassVar[tuple[Term, ...]] = (
        Term(variable=None, coefficient="E", exponent=None),
        Term(variable="D", coefficient="B", exponent="beta"),
    )
    notation: ClassVar[Notation] = "coefficient"

    E: Numbers
    B: Numbers
    beta: Numbers

    def loss(self, D: ArrayLike) -> FloatArray:
        return np.asarray(self.E + self.B * _array(D) ** -np.asarray(self.beta))


@dataclass(frozen=True, kw_only=True)
class PowerC:
    """A power law in C above an irreducible loss E."""

    form: ClassVar[str] = "power_c"
    formula: ClassVar[str] = "L(C) = E + K/C^gamma"
    units: ClassVar[dict[str, str]] = {"E": "nats/token", "K": "nats/token * FLOPs^gamma", "gamma": "1"}
    terms: ClassVar[tuple[Term, ...]] = (
        Term(variable=None, coefficient="E", exponent=None),
        Term(variable="C", coefficient="K", exponent="gamma"),
    )
    notation: ClassVar[Notation] = "coefficient"

    E: Numbers
    K: Numbers
    gamma: Numbers

    def loss(self, C: ArrayLike) -> FloatArray:
        return np.asarray(self.E + self.K * _array(C) ** -np.asarray(self.gamma))


@dataclass(frozen=True, kw_only=True)
class Position:
    """Loss at position T of the context: a power law above a constant (Kaplan 2020, figure 20)."""

    form: ClassVar[str] = "position"
    formula: ClassVar[str] = "L(T) = a + b T^-c"
    units: ClassVar[dict[str, str]] = {"a": "nats/token", "b": "nats/token", "c": "1"}
    terms: ClassVar[tuple[Term, ...]] = (
        Term(variable=None, coefficient="a", exponent=None),
        Term(variable="T", coefficient="b", exponent="c"),
    )
    notation: ClassVar[Notation] = "coefficient"

    a: Numbers
    b: Numbers
    c: Numbers

    def loss(self, T: ArrayLike) -> FloatArray:
        return np.asarray(self.a + self.b * _array(T) ** -np.asarray(self.c))


@dataclass(frozen=True, kw_only=True)
class KaplanND:
    """Kaplan 2020, equation (1.5): N and D coupled, no irreducible loss."""

    form: ClassVar[str] = "kaplan_nd"
    formula: ClassVar[str] = "L(N,D) = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D"
    units: ClassVar[dict[str, str]] = {"alpha_N": "1", "alpha_D": "1", "N_c": "parameters", "D_c": "tokens"}
    terms: ClassVar[tuple[Term, ...]] = (
        Term(variable="N", coefficient="N_c", exponent="alpha_N"),
        Term(variable="D", coefficient="D_c", exponent="alpha_D"),
    )
    notation: ClassVar[Notation] = "coupled"

    alpha_N: Numbers
    alpha_D: Numbers
    N_c: Numbers
    D_c: Numbers

    def loss(self, N: ArrayLike, D: ArrayLike) -> FloatArray:
        ratio = np.asarray(self.alpha_N / self.alpha_D)
        return np.asarray(
            ((self.N_c / _array(N)) ** ratio + self.D_c / _array(D)) ** np.asarray(self.alpha_D)
        )

    @property
    def a_opt(self) -> Numbers:
        """Exponent of N_opt ~ C^a_opt at C = 6 N D: 1/(1 + r), r = alpha_N/alpha_D."""
        return self.alpha_D / (self.alpha_N + self.alpha_D)

    @property
    def b_opt(self) -> Numbers:
        """Exponent of D_opt ~ C^b_opt; a_opt + b_opt = 1."""
        return self.alpha_N / (self.alpha_N + self.alpha_D)

    def optimum(self, C: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """(N_opt, D_opt) that minimise the loss at C = 6 N D.

        With D = C/(6 N) the bracket is N_c^r N^-r + 6 D_c N/C; its derivative vanishes at
        N^(1 + r) = r N_c^r C/(6 D_c).
        """
        ratio = self.alpha_N / self.alpha_D
        tokens_parameters = _array(C) / FLOPS_PER_PARAMETER_TOKEN
        log_N = (np.log(ratio) + ratio * np.log(self.N_c) + np.log(tokens_parameters / self.D_c)) / (
            1 + ratio
        )
        N = np.asarray(np.exp(log_N))
        return N, tokens_parameters / N

    def overfitting(self, N: ArrayLike, D: ArrayLike) -> FloatArray:
        """Relative excess of the loss over unlimited data, L(N,D)/L(N,inf) - 1: equation (4.3)."""
        ratio = np.asarray(self.alpha_N / self.alpha_D)
        bracket = 1 + (_array(N) / self.N_c) ** ratio * self.D_c / _array(D)
        return np.asarray(bracket ** np.asarray(self.alpha_D) - 1)

    def data_needed(self, N: ArrayLike, excess: float = 0.02) -> FloatArray:
        """Tokens that keep `overfitting` at `excess`: equation (4.4), solved from (4.3)."""
        ratio = np.asarray(self.alpha_N / self.alpha_D)
        return np.asarray(
            (_array(N) / self.N_c) ** ratio * self.D_c / ((1 + excess) ** (1 / np.asarray(self.alpha_D)) - 1)
        )

    def tokens_to_reach(self, loss: ArrayLike, N: ArrayLike) -> FloatArray:
        """D at which a model of N parameters reaches `loss`; infinite where it never does."""
        ratio = np.asarray(self.alpha_N / self.alpha_D)
        gap = _array(loss) ** (1 / np.asarray(self.alpha_D)) - (self.N_c / _array(N)) ** ratio
        return np.asarray(np.where(gap > 0, self.D_c / np.where(gap > 0, gap, 1.0), np.inf))


@dataclass(frozen=True, kw_only=True)
class Chinchilla:
    """Hoffmann 2022 (arXiv 2203.15556), approach 3: N and D add, above an irreducible loss E."""

    form: ClassVar[str] = "chinchilla"
    formula: ClassVar[str] = "L(N,D) = E + A/N^alpha + B/D^beta"
    units: ClassVar[dict[str, str]] = {
        "E": "nats/token",
        "A": "nats/token * parameters^alpha",
        "B": "nats/token * tokens^beta",
        "alpha": "1",
        "beta": "1",
    }
    terms: ClassVar[tuple[Term, ...]] = (
        Term(variable=None, coefficient="E", exponent=None),
        Term(variable="N", coefficient="A", exponent="alpha"),
        Term(variable="D", coefficient="B", exponent="beta"),
    )
    notation: ClassVar[Notation] = "coefficient"

    E: Numbers
    A: Numbers
    B: Numbers
    alpha: Numbers
    beta: Numbers

    def loss(self, N: ArrayLike, D: ArrayLike) -> FloatArray:
        of_N = self.A * _array(N) ** -np.asarray(self.alpha)
        of_D = self.B * _array(D) ** -np.asarray(self.beta)
        return np.asarray(self.E + of_N + of_D)

    @property
    def a_opt(self) -> Numbers:
        """Exponent of N_opt ~ C^a_opt at C = 6 N D."""
        return self.beta / (self.alpha + self.beta)

    @property
    def b_opt(self) -> Numbers:
        """Exponent of D_opt ~ C^b_opt; a_opt + b_opt = 1."""
        return self.alpha / (self.alpha + self.beta)

    def optimum(self, C: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """(N_opt, D_opt) that minimise the loss at C = 6 N D (Hoffmann 2022, equation 4).

        N_opt = G (C/6)^a_opt, D_opt = (C/6)^b_opt / G, G = (alpha A / (beta B))^(1/(alpha + beta)).
        """
        N_times_D = _array(C) / FLOPS_PER_PARAMETER_TOKEN
        log_G = np.log(self.alpha * self.A / (self.beta * self.B)) / (self.alpha + self.beta)
        N = np.asarray(np.exp(log_G + self.a_opt * np.log(N_times_D)))
        return N, N_times_D / N

    def tokens_to_reach(self, loss: ArrayLike, N: ArrayLike) -> FloatArray:
        """D at which a model of N parameters reaches `loss`; infinite where it never does."""
        gap = _array(loss) - self.E - self.A * _array(N) ** -np.asarray(self.alpha)
        reached = (self.B / np.where(gap > 0, gap, 1.0)) ** (1 / np.asarray(self.beta))
        return np.asarray(np.where(gap > 0, reached, np.inf))


JointLaw = KaplanND | Chinchilla
Law = KaplanN | KaplanD | KaplanC | PowerN | PowerD | PowerC | Position | KaplanND | Chinchilla


def _array(value: ArrayLike) -> FloatArray:
    return np.asarray(value, dtype=np.float64)


def _power(scale: Numbers, x: ArrayLike, exponent: Numbers) -> FloatArray:
    return np.asarray((scale / _array(x)) ** np.asarray(exponent))
