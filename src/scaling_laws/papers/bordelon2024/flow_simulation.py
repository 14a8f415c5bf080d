"""The simulations and closed forms that judge Bordelon, Atanasov & Pehlevan 2024."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scaling_laws.laws.fit.straight_line import line_through
from scaling_laws.papers.bordelon2024.dynamics import (
    FeatureTask,
    FloatArray,
    last_loss,
    mean_loss,
    mean_losses_of_reuse,
    reused_losses,
    simulated_losses,
    task,
)
from scaling_laws.papers.bordelon2024.fitted_curves import M_OF_STUDY, FittedCurves, fit_curves

SPECTRA = ((1.5, 1.25), (2.0, 1.5), (1.5, 2.0))
"""(a, b) of the tasks."""
STUDIES = 6
"""Of each spectrum, that a law is fitted to."""
M_SIMULATED, DRAWS = 800, 60
SIZES = (16, 64, 256)
TIMES = np.geomspace(0.3, 3_000, 7)
M_OF_LIMIT = (300, 10_000, 1_000_000)
MEMBERS, MEMBER_SIZE = 4, 32
SAMPLES = (25, 50, 100, 200)
REUSE_DRAWS = 4
"""Times the draws of the rest: a gap is a difference of two losses."""
REUSE_SIZE, REUSE_TIMES, EARLY = 200, np.geomspace(0.1, 10_000, 11), 1.0
ENDS = (12, 24, 48, 96)
"""N, or P, whichever is the smaller, of the losses at the end of the training."""
REUSED, REUSED_DRAWS = ((50, 200), (100, 100), (200, 50)), 100
"""(N, P) of the settings at which reuse is compared with the closed form."""
MANY = 500
"""P, or N, the other one."""
FOREVER = np.array([np.inf])


@dataclass(frozen=True, kw_only=True)
class FlowSetting:
    """One task and size, simulated and in closed form.

    Attributes:
        losses: (draws, times).
        theory: (times,).
        P: samples that are used again and again.
    """

    task: FeatureTask
    N: int
    t: FloatArray
    losses: FloatArray
    theory: FloatArray
    P: float = np.inf

    @property
    def mean(self) -> FloatArray:
        return np.asarray(self.losses.mean(axis=0))

    @property
    def error(self) -> FloatArray:
        """Standard error of the mean."""
        return standard_error(self.losses)

    @property
    def z(self) -> FloatArray:
        return np.asarray((self.mean - self.theory) / self.error)


@dataclass(frozen=True, kw_only=True)
class Exponents:
    """For one task: of the loss in t and in N, of the best loss and the best N in C; and in the limit."""

    measured: tuple[float, float, float, float]
    limit: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class FlowSimulation:
    """What claims, figures and tables read.

    Attributes:
        compared: tasks by sizes.
        exponents: (a, b) -> M -> exponents.
        ensembles: (a, b) -> ((draws, times) of an ensemble of `MEMBERS`, of one network of its size).
        reused: test losses of tasks by (N, P) of `REUSED`.
        reuse: P -> ((draws, times) test losses, training losses) of the first task.
        samples: (a, b) -> (ENDS, draws) last losses where P is small; sizes: where N is.
        fitted: intervals of Chinchilla's law on studies of such curves, all spectra.
        corrections: (a, b) -> exponent in N of loss(N) - loss(infinite N) at t = `EARLY`.
    """

    compared: tuple[FlowSetting, ...]
    exponents: Mapping[tuple[float, float], Mapping[int, Exponents]]
    ensembles: Mapping[tuple[float, float], tuple[FloatArray, FloatArray]]
    reused: tuple[FlowSetting, ...]
    reuse: Mapping[int, tuple[FloatArray, FloatArray]]
    samples: Mapping[tuple[float, float], FloatArray]
    sizes: Mapping[tuple[float, float], FloatArray]
    fitted: tuple[FittedCurves, ...]
    corrections: Mapping[tuple[float, float], float]


def simulate(
    M: int = M_SIMULATED,
    draws: int = DRAWS,
    sizes: tuple[int, ...] = SIZES,
    M_of_limit: tuple[int, ...] = M_OF_LIMIT,
    studies: int = STUDIES,
    reused_draws: int = REUSED_DRAWS,
    seed: int = 0,
) -> FlowSimulation:
    """Everything, from one seed."""
    random, late = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    tasks = {(a, b): task(a, b, M, binned=False) for a, b in SPECTRA}
    first = tasks[SPECTRA[0]]

    def ends(of: FeatureTask, N: int, P: int | None) -> FloatArray:
        if P is None:
            return simulated_losses(of, N, FOREVER, draws, random)[:, 0]
        return reused_losses(of, N, P, FOREVER, draws, random)[0][:, 0]

    return FlowSimulation(
        compared=tuple(
            FlowSetting(
                task=of,
                N=N,
                t=TIMES,
                losses=simulated_losses(of, N, TIMES, draws, random),
                theory=mean_loss(of, N, TIMES),
            )
            for of in tasks.values()
            for N in sizes
        ),
        exponents={
            spectrum: {each: exponents(task(*spectrum, each)) for each in M_of_limit} for spectrum in SPECTRA
        },
        ensembles={
            spectrum: (
                simulated_losses(of, MEMBER_SIZE, TIMES, draws, random, MEMBERS),
                simulated_losses(of, MEMBERS * MEMBER_SIZE, TIMES, draws, random),
            )
            for spectrum, of in tasks.items()
        },
        reused=tuple(
            FlowSetting(
                task=of,
                N=N,
                P=P,
                t=TIMES,
                losses=reused_losses(of, N, P, TIMES, reused_draws, late)[0],
                theory=mean_losses_of_reuse(of, N, P, TIMES)[0],
            )
            for of in tasks.values()
            for N, P in REUSED
        ),
        reuse={
            P: reused_losses(first, REUSE_SIZE, P, REUSE_TIMES, REUSE_DRAWS * draws, random) for P in SAMPLES
        },
        samples={spectrum: np.stack([ends(of, MANY, P) for P in ENDS]) for spectrum, of in tasks.items()},
        sizes={spectrum: np.stack([ends(of, N, None) for N in ENDS]) for spectrum, of in tasks.items()},
        fitted=tuple(
            fit_curves(task(*spectrum, M_OF_STUDY, binned=False), seed + place)
            for spectrum in SPECTRA
            for place in range(studies)
        ),
        corrections={spectrum: _correction(of) for spectrum, of in tasks.items()},
    )


def exponents(of: FeatureTask) -> Exponents:
    """The exponents that the closed form shows over fixed ranges of t, N and C."""
    t, N = np.geomspace(10, 1_000, 12), np.geomspace(16, 128, 8)
    in_time = -line_through(np.log(t), np.log(mean_loss(of, np.inf, t))).slope
    in_size = -line_through(np.log(N), np.log([last_loss(of, each) for each in N])).slope
    C = np.geomspace(1e3, 1e5, 7)
    best_N, best = best_sizes(of, C)
    in_compute = -line_through(np.log(C), np.log(best)).slope
    best_size = line_through(np.log(C), np.log(best_N)).slope
    limit = (of.in_time, of.in_size, of.in_compute, of.best_size)
    return Exponents(measured=(in_time, in_size, in_compute, best_size), limit=limit)


def best_sizes(of: FeatureTask, C: FloatArray) -> tuple[FloatArray, FloatArray]:
    """((C,) N of the lowest loss where N t = C, (C,) that loss): a parabola through the five best sizes."""
    N = np.geomspace(4, 4_000, 24)
    log_losses = np.log([mean_loss(of, each, C / each) for each in N])  # (N, C)
    best_N, best = np.empty(len(C)), np.empty(len(C))
    for place in range(len(C)):
        middle = int(np.clip(np.argmin(log_losses[:, place]), 2, len(N) - 3))
        near = slice(middle - 2, middle + 3)
        parabola = np.polyfit(np.log(N[near]), log_losses[near, place], 2)
        at = -parabola[1] / (2 * parabola[0])
        best_N[place], best[place] = np.exp(at), np.exp(np.polyval(parabola, at))
    return best_N, best


def _correction(of: FeatureTask) -> float:
    N, t = np.geomspace(64, 1_024, 5), np.array([EARLY])
    limit = mean_loss(of, np.inf, t)[0]
    more = [mean_loss(of, each, t)[0] - limit for each in N]
    return line_through(np.log(N), np.log(more)).slope


def standard_error(draws: FloatArray) -> FloatArray:
    """Of the mean over the first axis."""
    return np.asarray(draws.std(axis=0, ddof=1) / np.sqrt(len(draws)))
