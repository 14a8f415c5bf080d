"""Why Kaplan and Chinchilla disagree, in closed form: Pearce & Song 2024 (arXiv 2406.12907).

If the loss obeys Chinchilla's law in *all* parameters N_T, but an analysis counts the non-embedding N and
C = 6 N D, the optimum is that of another function. With N_T = N + w N^(1/3) the embedding's share falls as
networks grow, and the best non-embedding N grows faster with its compute than the best N_T with all compute:
Kaplan's 0.73 for Chinchilla's 0.5.

General form, for a loss A/M(N)^alpha + B/D^beta and a cost C = c(N) D: at the optimum

    alpha A M^-alpha (d ln M/d ln N) = beta B D^-beta (d ln c/d ln N),

so that D, and with it C, is a closed form of N (`laws/allocation/optimal_path.py`). The rest follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.allocation.optimal_path import optimal_path, slopes
from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.forms.joint import Chinchilla, JointLaw
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN, FloatArray, in_columns
from scaling_laws.study.errors import InputError

CHINCHILLA_VOCABULARY_WEIGHT = 47_491.0
"""w that Pearce & Song fitted to Chinchilla's networks (vocabulary 32 k, aspect ratio about 39)."""
KAPLAN_RANGE_N = (768.0, 1.5e9)
"""Kaplan's sizes, non-embedding parameters: the range of Pearce & Song's simulation."""
KAPLAN_RANGE_C = (10**12.95, 10**20.7)
"""The compute, 6 N D in FLOPs, of that range: over it they fit their exponents."""
N_FITTED = 400
"""Sizes that a power law is fitted to."""
ROUGH_WEIGHT = 0.1
"""Root mean square of ln(N_total - N) about w N^growth beyond which the account does not fit the runs."""


def vocabulary_weight(n_vocab: float, aspect_ratio: float) -> float:
    """w of N_T = N + w N^(1/3): V (aspect/12)^(1/3).

    N = 12 n_layer d_model^2 and aspect = d_model/n_layer give d_model = (aspect N/12)^(1/3); the embedding
    has V d_model parameters.
    """
    return float(n_vocab * (aspect_ratio / 12) ** (1 / 3))


@dataclass(frozen=True, kw_only=True)
class PearceSong:
    """Chinchilla's law in all parameters, seen by an analysis that counts the non-embedding ones.

    Parameters of the law may be draws; they broadcast against N (give them a last axis of length one).

    Attributes:
        law: in N_T and D, with C_T = 6 N_T D.
        weight: w of N_T = N + w N^growth.
        growth: exponent of the embedding's parameters: 1/3 at a constant aspect ratio, 1/2 at a constant
            depth.
    """

    law: JointLaw
    weight: float = CHINCHILLA_VOCABULARY_WEIGHT
    growth: float = 1 / 3

    def total(self, N: ArrayLike) -> FloatArray:
        """N_T of N non-embedding parameters."""
        size = np.asarray(N, dtype=np.float64)
        return np.asarray(size + self.weight * size**self.growth)

    def total_slope(self, N: ArrayLike) -> FloatArray:
        """d ln N_T/d ln N: `growth` for the smallest networks, 1 for the largest."""
        size = np.asarray(N, dtype=np.float64)
        return np.asarray((size + self.growth * self.weight * size**self.growth) / self.total(size))

    def compute(self, N: ArrayLike) -> FloatArray:
        """C = 6 N D in FLOPs at which N is the optimum; the closed form, for Chinchilla's law

        C(N) = 6 N (N + (w/3) N^(1/3))^(-1/beta) (N + w N^(1/3))^((1+alpha)/beta) (beta B/(alpha A))^(1/beta).
        """
        return np.asarray(np.exp(self._path(N)[0]))

    def tokens(self, N: ArrayLike) -> FloatArray:
        """D at which N is the optimum of C = 6 N D."""
        return np.asarray(np.exp(self._path(N)[1]))

    def loss(self, N: ArrayLike) -> FloatArray:
        """Loss in nats per token of size N where it is the optimum."""
        return self.law.loss(self.total(N), self.tokens(N))

    def local_exponent(self, N: ArrayLike) -> FloatArray:
        """d ln N_opt/d ln C at N: the exponent that runs about this size show."""
        size = np.asarray(N, dtype=np.float64)
        _, alpha, _, beta = self.law.bracket()
        embedding = self.weight * size**self.growth
        slope = self.total_slope(size)
        slope_of_slope = (size + self.growth**2 * embedding) / (size + self.growth * embedding) - slope
        # ln C = ln N + ln D and beta ln D = alpha ln N_T - ln(d ln N_T/d ln N) + constants.
        return np.asarray(1 / (1 + (alpha * slope - slope_of_slope) / beta))

    def _path(self, N: ArrayLike) -> tuple[FloatArray, FloatArray]:
        log_N = np.log(np.asarray(N, dtype=np.float64))
        log_cost = np.log(FLOPS_PER_PARAMETER_TOKEN) + log_N
        return optimal_path(self.law, np.log(self.total(N)), self.total_slope(N), log_cost, 1.0)


@dataclass(frozen=True, kw_only=True)
class ApparentExponents:
    """What counting non-embedding parameters makes of a law in all of them, over one range of compute.

    Attributes:
        C: the range, 6 N D in FLOPs, N non-embedding.
        N: the optimum at its ends, non-embedding parameters.
        a: exponent of N_opt ~ C^a fitted over the range, evenly in ln C.
        a_ends: the local exponent at its ends.
        a_total: exponent of N_T ~ C_T^a in all parameters: the law's own.
        loss_exponent: x of L ~ C^-x fitted over the range, offset included (Kaplan's alpha_C).
        reducible_exponent: x of L - E ~ C_T^-x in all parameters: alpha beta/(alpha + beta). None where the
            law's bracket is not its reducible loss.
    """

    C: tuple[float, float]
    N: tuple[float, float]
    a: float
    a_ends: tuple[float, float]
    a_total: float
    loss_exponent: float
    reducible_exponent: float | None


def apparent_exponents(account: PearceSong, C: tuple[float, float] = KAPLAN_RANGE_C) -> ApparentExponents:
    """The exponents that runs between the computes `C` would show an analysis of non-embedding parameters."""
    low, high = (_size_at(account, at) for at in C)
    a, loss_exponent = _fitted(account, np.log([low, high]))
    _, alpha, _, beta = account.law.bracket()
    return ApparentExponents(
        C=C,
        N=(low, high),
        a=float(a),
        a_ends=(float(account.local_exponent(low)), float(account.local_exponent(high))),
        a_total=float(account.law.a_opt),
        loss_exponent=float(loss_exponent),
        reducible_exponent=(
            float(alpha * beta / (alpha + beta)) if isinstance(account.law, Chinchilla) else None
        ),
    )


def _fitted(account: PearceSong, log_N: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(a, x) of N ~ C^a and L ~ C^-x between two sizes, least squares evenly in ln C; one a draw."""
    size = np.linspace(log_N[0], log_N[1], N_FITTED)
    log_C = np.log(account.compute(np.exp(size)))
    return slopes(log_C, size), -slopes(log_C, np.log(account.loss(np.exp(size))))


def _size_at(account: PearceSong, C: float) -> float:
    """N whose optimum is at C: bisection of the closed form, which grows with N."""
    low, high = np.log(1e-3), np.log(1e30)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if account.compute(np.exp(middle)) < C else (low, middle)
    return float(np.exp((low + high) / 2))


@dataclass(frozen=True, kw_only=True)
class KaplanCounting:
    """What exponent Kaplan's counting shows on runs whose loss follows a law in all parameters.

    Attributes:
        weight, growth: of N_total = N + weight N^growth, fitted to the runs.
        rms_log_error: of ln(N_total - N) about that.
        N: the range of the runs, non-embedding parameters.
        C: of their optima, 6 N D in FLOPs.
        a, a_interval: apparent exponent of N_opt ~ C^a between them, C = 6 N D non-embedding; 90 %.
        a_ends: the local exponent at the smallest and the largest size.
        a_total, a_total_interval: the law's own exponent, in all parameters; 90 %.
        difference_interval: of a less a_total, 90 %: taken draw by draw, since both are of one law.
        sentence: the same in words.
    """

    weight: float
    growth: float
    rms_log_error: float
    N: tuple[float, float]
    C: tuple[float, float]
    a: float
    a_interval: Interval | None
    a_ends: tuple[float, float]
    a_total: float
    a_total_interval: Interval | None
    difference_interval: Interval | None
    sentence: str


def fit_vocabulary_weight(N: ArrayLike, N_total: ArrayLike) -> tuple[float, float, float]:
    """(weight, growth, root mean square of the log error) of N_total - N = weight N^growth, in logarithms.

    Raises:
        InputError: fewer than two sizes, or parameters that are not more than the non-embedding ones.
    """
    pairs = np.unique(np.stack([np.asarray(N, dtype=np.float64), np.asarray(N_total, np.float64)]), axis=1)
    size, embedding = pairs[0], pairs[1] - pairs[0]
    if len(np.unique(size)) < 2:
        raise InputError("the embedding's growth with N needs at least two sizes")
    if not (np.isfinite(pairs).all() and (size > 0).all() and (embedding > 0).all()):
        raise InputError("N_total must be larger than N in every run: it counts the embeddings too")
    growth, log_weight = np.polyfit(np.log(size), np.log(embedding), 1)
    residual = np.log(embedding) - log_weight - growth * np.log(size)
    return float(np.exp(log_weight)), float(growth), float(np.sqrt(np.mean(residual**2)))


def kaplan_counting(
    law: JointLaw, N: ArrayLike, N_total: ArrayLike, *, draws: JointLaw | None = None
) -> KaplanCounting:
    """What exponent would Kaplan's counting have shown on these runs? (Pearce & Song 2024)

    Args:
        law: fitted to the runs with N_total as its N.
        N, N_total: of each run, (n,): non-embedding, and all parameters.
        draws: the law's bootstrap draws, for the intervals.

    Raises:
        InputError: as `fit_vocabulary_weight`.
    """
    weight, growth, rms = fit_vocabulary_weight(N, N_total)
    account = PearceSong(law=law, weight=weight, growth=growth)
    ends = np.array([np.min(N), np.max(N)], dtype=np.float64)
    C = account.compute(ends)
    if not C[0] < C[1]:
        raise InputError("in this law the best size does not grow with compute: check N_total")
    a, _ = _fitted(account, np.log(ends))
    a_interval = a_total_interval = difference_interval = None
    if draws is not None:
        with np.errstate(all="ignore"):  # a draw may have no optimum: NaN
            drawn = _drawn_exponents(draws, weight, growth, ends)
            a_interval = percentile_interval(drawn)
            a_total_interval = percentile_interval(draws.a_opt)
            difference_interval = percentile_interval(drawn - np.asarray(draws.a_opt))
    a_total = float(law.a_opt)
    sentence = (
        f"a law in all parameters with a = {a_total:.2f} shows a = {a:.2f} where embeddings are not counted,"
        f" between N = {ends[0]:.3g} and {ends[1]:.3g}"
    )
    if rms > ROUGH_WEIGHT:
        sentence += (
            f"; but these runs' embeddings do not grow as one power of N (off by {100 * rms:.0f} %),"
            " so that the account is rough"
        )
    return KaplanCounting(
        weight=weight,
        growth=growth,
        rms_log_error=rms,
        N=(float(ends[0]), float(ends[1])),
        C=(float(C[0]), float(C[1])),
        a=float(a),
        a_interval=a_interval,
        a_ends=(float(account.local_exponent(ends[0])), float(account.local_exponent(ends[1]))),
        a_total=a_total,
        a_total_interval=a_total_interval,
        difference_interval=difference_interval,
        sentence=sentence,
    )


def _drawn_exponents(draws: JointLaw, weight: float, growth: float, ends: FloatArray) -> FloatArray:
    """The apparent exponent of each draw, (R,)."""
    return _fitted(PearceSong(law=in_columns(draws), weight=weight, growth=growth), np.log(ends))[0]
