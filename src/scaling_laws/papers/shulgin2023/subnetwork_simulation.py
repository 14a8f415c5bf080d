"""The simulation that judges Shulgin & Richtarik 2023: problems drawn at random, each trained many times."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scaling_laws.papers.shulgin2023.network_runs import PieceRuns, network_runs
from scaling_laws.papers.shulgin2023.subnetworks import (
    FloatArray,
    Quadratics,
    random_quadratics,
    shared_optimum,
    train,
)
from scaling_laws.report.reproduction import ExperimentSettings

N_WORKERS = 20
N_PROBLEMS = 12
REPETITIONS = 100
RATE = 0.05
STEPS = 200
RATES = (0.2, 0.1, 0.05, 0.025, 0.0125)
TIME_CONSTANTS = 8.0
"""Of the training at each of `RATES`: steps times rate."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One problem, trained many times.

    Attributes:
        path: (steps + 1, d) the mean iterate of the repetitions.
        last: (repetitions, d) the last iterates.
    """

    problem: Quadratics
    x0: FloatArray
    rate: float
    path: FloatArray
    last: FloatArray

    @property
    def steps(self) -> int:
        return len(self.path) - 1

    @property
    def predicted(self) -> FloatArray:
        """(steps + 1, d): the mean iterate in closed form."""
        return self.problem.mean_iterate(self.x0, self.rate, np.arange(self.steps + 1.0))

    @property
    def z(self) -> FloatArray:
        """(d,): the last mean iterate less its prediction, in the standard errors that theory predicts."""
        error = np.sqrt(self.problem.variance(self.rate, self.steps) / len(self.last))
        return np.asarray((self.last.mean(axis=0) - self.predicted[-1]) / error)

    @property
    def places(self) -> FloatArray:
        """(repetitions,): each last iterate on the line from the predicted mean, 0, to the optimum, 1."""
        origin = self.predicted[-1]
        line = self.problem.optimum - origin
        return np.asarray((self.last - origin) @ line / (line @ line))

    @property
    def bias(self) -> float:
        """Distance of the mean iterate from the optimum, over the optimum's own length."""
        optimum = self.problem.optimum
        return float(np.linalg.norm(self.path[-1] - optimum) / np.linalg.norm(optimum))


@dataclass(frozen=True, kw_only=True)
class SubnetworkSimulation:
    """What claims, figures and tables read.

    Attributes:
        problems: workers that want different things.
        by_rate: the same first problem at several rates, the first largest.
        at_zero: workers that agree on x = 0, started elsewhere: the paper's interpolation.
        elsewhere: workers that agree on another place.
        network: a Transformer trained in pieces, or why there is none.
    """

    problems: tuple[Trained, ...]
    by_rate: tuple[Trained, ...]
    at_zero: tuple[Trained, ...]
    elsewhere: tuple[Trained, ...]
    network: PieceRuns | str = "no network was trained"


def simulate(
    n: int = N_WORKERS,
    n_problems: int = N_PROBLEMS,
    repetitions: int = REPETITIONS,
    steps: int = STEPS,
    rates: tuple[float, ...] = RATES,
    seed: int = 0,
) -> SubnetworkSimulation:
    """Everything, from one seed."""
    random = np.random.default_rng(seed)
    zero = np.zeros(n)

    def trained(problem: Quadratics, x0: FloatArray, rate: float = RATE, steps: int = steps) -> Trained:
        path = train(problem, x0, rate, steps, repetitions, random)
        return Trained(problem=problem, x0=x0, rate=rate, path=path.mean(axis=1), last=path[-1])

    problems = [random_quadratics(n, random) for _ in range(n_problems)]
    return SubnetworkSimulation(
        problems=tuple(trained(problem, zero) for problem in problems),
        by_rate=tuple(trained(problems[0], zero, rate, round(TIME_CONSTANTS / rate)) for rate in rates),
        at_zero=tuple(trained(shared_optimum(n, zero, random), random.normal(size=n)) for _ in range(3)),
        elsewhere=tuple(trained(shared_optimum(n, random.normal(size=n), random), zero) for _ in range(3)),
    )


def simulate_and_train(settings: ExperimentSettings) -> SubnetworkSimulation:
    """The simulation, as large at every scale, and the trainings of a scale."""
    return replace(simulate(), network=network_runs(settings))
