"""The simulation and the closed form that judge Maloney, Roberts & Sully 2022."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from scaling_laws.laws.fit.straight_line import line_through
from scaling_laws.papers.maloney2022.ridge import (
    FloatArray,
    best_loss,
    loss,
    loss_at,
    power_law,
    simulated_losses,
)
from scaling_laws.papers.maloney2022.text_spectrum import TextSpectrum, text_spectrum

ALPHA = 0.5
M_SIMULATED = 600
DRAWS = 60
T_FIXED = 60
"""Samples of the simulated curves in N."""
SIZES = (8, 15, 30, 45, 60, 80, 120, 240)
"""N of the simulated curves: half of T and twice T among them."""
LITTLE_RIDGE = 1e-4
M_OF_LIMIT = (1_000, 10_000, 100_000, 1_000_000)
N_OF_SLOPES = np.geomspace(20, 320, 9)
BUDGETS = np.geomspace(1e3, 1e6, 7)
"""N T of the splits."""
M_OF_PLATEAU, NOISE_OF_PLATEAU = 100, 0.05
N_OF_PLATEAU = np.geomspace(5, 5_000, 25)


@dataclass(frozen=True, kw_only=True)
class RidgeSetting:
    """One setting, simulated and in closed form."""

    N: int
    T: int
    ridge: float
    losses: FloatArray
    theory: float

    @property
    def mean(self) -> float:
        return float(self.losses.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return float(self.losses.std(ddof=1) / np.sqrt(len(self.losses)))

    @property
    def z(self) -> float:
        return (self.mean - self.theory) / self.error


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Loss at N = T with the best ridge, over more and fewer parameters than the data have directions."""

    N: FloatArray
    with_noise: FloatArray
    without: FloatArray


@dataclass(frozen=True, kw_only=True)
class RidgeSimulation:
    """What claims, figures and tables read.

    Attributes:
        little, best: over `SIZES` at T samples: with next to no ridge, and with the best one.
        swapped: as `best`, with N and T exchanged.
        curves: with the same names, (N, loss) of the closed form.
        slopes: M -> (interval's ends and mean) exponents of the best loss at N = T, local ones.
        best_N: (budgets,) where the best loss of N T = budget lies.
        plateau: of data with few directions.
        text: the spectrum of a text; None where none was looked at.
    """

    little: tuple[RidgeSetting, ...]
    best: tuple[RidgeSetting, ...]
    swapped: tuple[RidgeSetting, ...]
    curves: Mapping[str, tuple[FloatArray, FloatArray]]
    slopes: Mapping[int, tuple[float, float, float]]
    best_N: FloatArray
    plateau: Plateau
    text: TextSpectrum | None = None

    @property
    def compared(self) -> tuple[RidgeSetting, ...]:
        return (*self.little, *self.best, *self.swapped)


def simulate_beside_text() -> RidgeSimulation:
    """The simulation, and the spectrum of the repository's text.

    Raises:
        InputError: the text's corpus cannot be built.
    """
    return replace(simulate(), text=text_spectrum())


def simulate(
    M: int = M_SIMULATED, draws: int = DRAWS, sizes: tuple[int, ...] = SIZES, T: int = T_FIXED, seed: int = 0
) -> RidgeSimulation:
    """Everything, from one seed."""
    spectrum, random = power_law(ALPHA, M), np.random.default_rng(seed)

    def compared(N: int, T: int, ridge: float) -> RidgeSetting:
        losses = simulated_losses(spectrum, N, T, ridge, draws, random)
        return RidgeSetting(N=N, T=T, ridge=ridge, losses=losses, theory=loss(spectrum, N, T, ridge))

    ridges = [best_loss(spectrum, N, T)[1] for N in sizes]
    swapped = [best_loss(spectrum, T, N)[1] for N in sizes]
    drawn = np.geomspace(min(sizes), max(sizes), 80)
    return RidgeSimulation(
        little=tuple(compared(N, T, LITTLE_RIDGE) for N in sizes),
        best=tuple(compared(N, T, ridge) for N, ridge in zip(sizes, ridges, strict=True)),
        swapped=tuple(compared(T, N, ridge) for N, ridge in zip(sizes, swapped, strict=True)),
        curves={
            "little": (drawn, np.array([loss(spectrum, N, T, LITTLE_RIDGE) for N in drawn])),
            "best": (drawn, np.array([best_loss(spectrum, N, T)[0] for N in drawn])),
        },
        slopes={each: local_slopes(each) for each in M_OF_LIMIT},
        best_N=np.array([best_split(budget) for budget in BUDGETS]),
        plateau=_plateau(),
    )


def local_slopes(M: int) -> tuple[float, float, float]:
    """(least, greatest, overall) exponent x of loss ~ N^-x at N = T, best ridge, between neighbours."""
    spectrum = power_law(ALPHA, M)
    losses = np.log([best_loss(spectrum, N, N)[0] for N in N_OF_SLOPES])
    local = -np.diff(losses) / np.diff(np.log(N_OF_SLOPES))
    return float(local.min()), float(local.max()), -line_through(np.log(N_OF_SLOPES), losses).slope


def best_split(budget: float) -> float:
    """N of the lowest loss with the best ridge, where N T = budget."""
    spectrum = power_law(ALPHA, M_OF_LIMIT[-1])
    N = np.sqrt(budget) * np.geomspace(1 / 8, 8, 41)
    g = np.geomspace(1e-9, 1.0, 300)
    losses = np.array([np.nanmin(loss_at(spectrum, each, budget / each, g)) for each in N])
    place = int(np.clip(np.argmin(losses), 2, len(N) - 3))
    near = slice(place - 2, place + 3)
    a, b, _ = np.polyfit(np.log(N[near]), np.log(losses[near]), 2)
    return float(np.exp(-b / (2 * a)))


def _plateau() -> Plateau:
    spectrum = power_law(ALPHA, M_OF_PLATEAU)
    with_noise, without = (
        np.array([best_loss(spectrum, N, N, noise)[0] for N in N_OF_PLATEAU])
        for noise in (NOISE_OF_PLATEAU, 0.0)
    )
    return Plateau(N=N_OF_PLATEAU, with_noise=with_noise, without=without)
