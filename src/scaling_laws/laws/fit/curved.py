"""Coordinates of the laws that are no sum of power laws: their Jacobians, starts and named parameters.

A law that contains a simpler one starts from its fits too, and so never ends above it. Curvatures are central
differences of the exact gradient: the optimum is where the gradient vanishes, however the steps were chosen.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from scaling_laws.laws.fit.coordinates import SMALLEST_SHARE, PowerSumCoordinates, make_problem
from scaling_laws.laws.fit.huber import Problem, minimise
from scaling_laws.laws.fit.power_sum import Index, Prediction
from scaling_laws.laws.fit.rows import Rows
from scaling_laws.laws.forms.terms import FloatArray

DIFFERENCE = 1e-5
"""Step of the central differences, in parameters that are all of order one."""
N_SIMPLER = 3
"""Best minima of the simpler law that are starts."""

Evaluation = tuple[FloatArray, FloatArray]
"""ln L, (S, n), and its Jacobian, (S, n, p)."""


@dataclass(frozen=True)
class CurvedModel:
    """ln L by `evaluate`."""

    coordinates: CurvedCoordinates

    @property
    def n_parameters(self) -> int:
        return self.coordinates.n_parameters

    def select(self, index: Index) -> CurvedModel:
        return self

    def of_rows(self, rows: slice) -> CurvedModel:
        return CurvedModel(self.coordinates.some(rows))

    def predict(self, theta: FloatArray) -> Prediction:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            log_loss, jacobian = self.coordinates.evaluate(theta)
        return Prediction(log_loss=log_loss, jacobian=jacobian, share=np.ones((*log_loss.shape, 1)))

    def curvature(self, theta: FloatArray, prediction: Prediction, pull: FloatArray) -> FloatArray:
        return self.coordinates.curvature(theta, prediction, pull)


@dataclass(frozen=True)
class CurvedCoordinates:
    """What the laws below have in common."""

    form: type[Any]
    rows: Rows

    @property
    def n_parameters(self) -> int:
        return len(self.form.units)

    @cached_property
    def x(self) -> FloatArray:
        """The first variable, ln and centred, (n,)."""
        return self.rows.centred(self.form.variables[0])

    @cached_property
    def y(self) -> FloatArray:
        """The second."""
        return self.rows.centred(self.form.variables[1])

    @property
    def model(self) -> CurvedModel:
        return CurvedModel(self)

    def some(self, rows: slice | Index) -> Self:
        """Of some of the rows."""
        return replace(self, rows=self.rows.some(rows))

    @abstractmethod
    def evaluate(self, theta: FloatArray) -> Evaluation:
        """ln L and its Jacobian at theta, (S, p)."""

    def curvature(self, theta: FloatArray, prediction: Prediction, pull: FloatArray) -> FloatArray:
        """sum_i pull_i d2(ln L_i)/dtheta2, (S, p, p), by central differences of the Jacobian."""
        curvature = np.empty((len(theta), self.n_parameters, self.n_parameters))
        for j in range(self.n_parameters):
            step = np.zeros(self.n_parameters)
            step[j] = DIFFERENCE
            ahead = np.einsum("snp,sn->sp", self.model.predict(theta + step).jacobian, pull)
            behind = np.einsum("snp,sn->sp", self.model.predict(theta - step).jacobian, pull)
            curvature[:, j] = (ahead - behind) / (2 * DIFFERENCE)
        return (curvature + np.swapaxes(curvature, 1, 2)) / 2

    def law_of(self, theta: FloatArray, **parameters: FloatArray) -> Any:
        if theta.ndim == 1:
            return self.form(**{name: float(value) for name, value in parameters.items()})
        return self.form(**parameters)


def simpler_minima(form: type[Any], rows: Rows, problem: Problem) -> FloatArray:
    """The best few minima of a simpler law, (m, p): coefficients, then exponents."""
    simpler = PowerSumCoordinates(form, rows)
    their = make_problem(simpler, rows, problem.weights[0], problem.delta)
    return minimise(their, simpler.starts(their)).distinct(N_SIMPLER)


def no_constant(coordinates: CurvedCoordinates, theta: FloatArray, name: str) -> dict[str, str]:
    """Whether the irreducible loss, theta's first entry, has gone to zero."""
    log_loss = coordinates.model.predict(theta[None]).log_loss[0]
    gone = np.exp(theta[0] - log_loss.min()) < SMALLEST_SHARE
    return {name: f"{name} -> 0: the rows do not show this term"} if gone else {}
