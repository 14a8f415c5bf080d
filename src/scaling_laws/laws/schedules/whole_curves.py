"""How a law of the schedule is fitted to whole curves: ln L with exact first and second derivatives.

Shapes: S problems in a batch, n rows, E terms of all rows together (`falls.py`), q parameters of G, p = 4 + q
in all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

import numpy as np

from scaling_laws.laws.fit.coordinates import SMALLEST_SHARE, Free
from scaling_laws.laws.fit.huber import Problem
from scaling_laws.laws.fit.power_sum import Index, Prediction
from scaling_laws.laws.fit.rows import Rows
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.laws.schedules.annealing import LARGEST_PART, ScheduleLaw, Tissue
from scaling_laws.laws.schedules.falls import Falls

MOST_STARTS = 16
START_ALPHAS = (0.2, 0.5, 1.0)
START_LAGS = (0.003, 0.01, 0.03, 0.1, 0.3)
"""Of the longest lag: where the effect of a fall is half reached."""
START_BETAS = (0.3, 0.6, 1.5)
START_GAMMAS = (0.0, 0.6)
LARGEST_LOG_C = 30.0
LARGEST_BETA = 20.0


@dataclass(frozen=True, kw_only=True)
class Grown:
    """G summed over each row's terms, times their changes, with its derivatives by the parameters of G.

    Attributes:
        value: (S, n).
        slope: (S, n, q).
        bend: (S, n, q, q).
    """

    value: FloatArray
    slope: FloatArray
    bend: FloatArray


@dataclass(frozen=True, kw_only=True)
class SchedulePrediction(Prediction):
    """With the parts of the loss, from which its second derivatives follow."""

    loss: FloatArray
    grown: Grown


@dataclass(frozen=True)
class ScheduleModel:
    """ln L of the rows of curves. theta = (ln L0, ln A at the centre, alpha, ln B, those of G)."""

    coordinates: ScheduleCoordinates

    @property
    def n_parameters(self) -> int:
        return 4 + self.coordinates.n_of_G

    def select(self, index: Index) -> ScheduleModel:
        return self

    def predict(self, theta: FloatArray) -> SchedulePrediction:
        of = self.coordinates
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            constant, powered, scale = self._parts(theta)
            grown = _in_parts(of, theta[:, 4:])
            brought = scale * grown.value
            loss = constant + powered + brought
            loss = np.where(loss > 0, loss, np.nan)
            columns = [np.broadcast_to(constant, loss.shape), powered, -of.x * powered, brought]
            slopes = np.concatenate([np.stack(columns, axis=2), scale[..., None] * grown.slope], axis=2)
        return SchedulePrediction(
            log_loss=np.log(loss),
            jacobian=slopes / loss[..., None],
            share=np.ones((*loss.shape, 1)),
            loss=loss,
            grown=grown,
        )

    def _parts(self, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """L0 (S, 1), A/S1^alpha (S, n) and B (S, 1)."""
        l0, a, alpha, b = (column[:, None] for column in theta.T[:4])
        return np.exp(l0), np.exp(a - alpha * self.coordinates.x), np.exp(b)

    def curvature(self, theta: FloatArray, prediction: Prediction, pull: FloatArray) -> FloatArray:
        """sum_i pull_i d2(ln L_i)/dtheta2 = sum_i pull_i (L_i''/L_i - J_i J_i')."""
        assert isinstance(prediction, SchedulePrediction)
        x, grown = self.coordinates.x, prediction.grown
        with np.errstate(over="ignore", invalid="ignore"):
            constant, powered, scale = self._parts(theta)
            pulled = pull / prediction.loss
            J = prediction.jacobian
            curvature = -np.einsum("sni,snj,sn->sij", J, J, pull, optimize=True)
            curvature[:, 0, 0] += np.sum(pulled, axis=1) * constant[:, 0]
            curvature[:, 1, 1] += np.sum(pulled * powered, axis=1)
            curvature[:, 2, 2] += np.sum(pulled * powered * x**2, axis=1)
            curvature[:, 1, 2] -= np.sum(pulled * powered * x, axis=1)
            curvature[:, 2, 1] = curvature[:, 1, 2]
            by_scale = np.einsum("sn,snq->sq", scale * pulled, grown.slope)
            curvature[:, 3, 3] += np.sum(scale * pulled * grown.value, axis=1)
            curvature[:, 3, 4:] += by_scale
            curvature[:, 4:, 3] += by_scale
            curvature[:, 4:, 4:] += np.einsum("sn,snqr->sqr", scale * pulled, grown.bend)
        return np.asarray(curvature)


def _in_parts(coordinates: ScheduleCoordinates, phi: FloatArray) -> Grown:
    """`coordinates.grown` of all problems, some at a time."""
    most = max(LARGEST_PART // len(coordinates.falls.change), 1)
    parts = [coordinates.grown(phi[start : start + most]) for start in range(0, len(phi), most)]
    if len(parts) == 1:
        return parts[0]
    return Grown(
        value=np.concatenate([part.value for part in parts]),
        slope=np.concatenate([part.slope for part in parts]),
        bend=np.concatenate([part.bend for part in parts]),
    )


@dataclass(frozen=True)
class ScheduleCoordinates(ABC):
    """How a law of the schedule is fitted to the rows of curves."""

    form: type[Any]
    rows: Rows
    falls: Falls

    n_of_G: ClassVar[int]

    @property
    def model(self) -> ScheduleModel:
        return ScheduleModel(self)

    @cached_property
    def x(self) -> FloatArray:
        """ln S1, centred, (n,)."""
        return self.rows.centred("S1")

    @property
    @abstractmethod
    def free(self) -> dict[str, Free]: ...

    @abstractmethod
    def law(self, theta: FloatArray) -> Any: ...

    @abstractmethod
    def on_bound(self, theta: FloatArray) -> dict[str, str]: ...

    @abstractmethod
    def grown(self, phi: FloatArray) -> Grown:
        """At the parameters of G, (S, q)."""

    @abstractmethod
    def start_phis(self) -> FloatArray:
        """Where G starts from, (m, q)."""

    @property
    def common_free(self) -> dict[str, Free]:
        return {"L0": Free(0, np.exp), "alpha": Free(2, np.asarray), "B": Free(3, np.exp)}

    def summed(self, values: FloatArray) -> FloatArray:
        """(S, E), each times its change, summed over each row: (S, n)."""
        return np.asarray(np.add.reduceat(self.falls.change * values, self.falls.first, axis=1))

    def starts(self, problem: Problem) -> FloatArray:
        """Given alpha and G the loss is linear in L0, A and B: the best few of a grid, by least squares."""
        loss = np.exp(problem.log_loss[0])
        phis = self.start_phis()
        values = np.concatenate([self.grown(phi[None]).value for phi in phis])
        starts, misfit = [], []
        for (phi, value), alpha in product(zip(phis, values, strict=True), START_ALPHAS):
            columns = np.stack([np.ones_like(loss), np.exp(-alpha * self.x), value], axis=1) / loss[:, None]
            least = np.array([0.02 * loss.min(), 0.002 * loss.min(), 1e-6 * loss.min()])
            largest = np.abs(value).max()
            least[2] /= largest if largest > 0 else 1.0
            found = np.maximum(np.linalg.lstsq(columns, np.ones_like(loss), rcond=None)[0], least)
            starts.append([np.log(found[0]), np.log(found[1]), alpha, np.log(found[2]), *phi])
            misfit.append(np.sum(np.abs(columns @ found - 1)))
        return np.array(starts)[np.argsort(misfit)[:MOST_STARTS]]

    def common(self, theta: FloatArray) -> dict[str, Any]:
        with np.errstate(over="ignore"):
            A = np.exp(theta[..., 1] + theta[..., 2] * self.rows.centre("S1"))
            return {"L0": np.exp(theta[..., 0]), "A": A, "alpha": theta[..., 2], "B": np.exp(theta[..., 3])}

    def common_bounds(self, theta: FloatArray) -> dict[str, str]:
        log_loss = self.model.predict(theta[None]).log_loss[0]
        reasons = {}
        if np.exp(theta[0] - log_loss.min()) < SMALLEST_SHARE:
            reasons["L0"] = "L0 -> 0: the curves do not show an irreducible loss"
        if theta[2] <= 0:
            reasons["alpha"] = "alpha <= 0: the curves do not show how the loss falls with the summed rates"
        brought = np.exp(theta[3]) * self.grown(theta[None, 4:]).value[0] / np.exp(log_loss)
        if not np.ptp(brought) > SMALLEST_SHARE:
            reasons["B"] = "B -> 0: no curve's rate comes down by enough to show what that brings"
        return reasons

    def law_of(self, theta: FloatArray, **parameters: Any) -> Any:
        if theta.ndim == 1:
            return self.form(**{name: float(value) for name, value in parameters.items()})
        return self.form(**parameters)


class TissueCoordinates(ScheduleCoordinates):
    """G of ln memory_steps."""

    n_of_G = 1

    @property
    def free(self) -> dict[str, Free]:
        return self.common_free | {"memory_steps": Free(4, np.exp)}

    def grown(self, phi: FloatArray) -> Grown:
        z = self.falls.lag_steps * np.exp(-phi)
        left = np.exp(-z)
        first, second = -z * left, z * (1 - z) * left
        return Grown(
            value=self.summed(-np.expm1(-z)),
            slope=self.summed(first)[..., None],
            bend=self.summed(second)[..., None, None],
        )

    def start_phis(self) -> FloatArray:
        return np.asarray(np.log(np.array(START_LAGS)[:, None] * self.falls.lag_steps.max()))

    def law(self, theta: FloatArray) -> Any:
        return self.law_of(theta, **self.common(theta), memory_steps=np.exp(theta[..., 4]))

    def on_bound(self, theta: FloatArray) -> dict[str, str]:
        reasons = self.common_bounds(theta)
        if theta[4] < np.log(0.3):
            reasons["memory_steps"] = "memory_steps -> 0: a fall of the rate acts at once"
        if theta[4] > np.log(10 * self.falls.lag_steps.max()):
            reasons["memory_steps"] = "memory_steps is longer than the curves: only B/memory_steps is shown"
        return reasons


class MultiPowerCoordinates(ScheduleCoordinates):
    """G of (ln C at the centre of ln eta, ln beta, gamma)."""

    n_of_G = 3

    @cached_property
    def log_rate_centre(self) -> float:
        weight = np.abs(self.falls.change)
        total = weight.sum()
        return float(weight @ self.falls.log_rate / total) if total > 0 else 0.0

    @cached_property
    def h(self) -> FloatArray:
        return np.asarray(self.falls.log_rate - self.log_rate_centre)

    @property
    def free(self) -> dict[str, Free]:
        return self.common_free | {"beta": Free(5, np.exp), "gamma": Free(6, np.asarray)}

    def grown(self, phi: FloatArray) -> Grown:
        """With p = (1 + x)^-beta, l = ln(1 + x) and q = x/(1 + x): dG/d(ln x) = beta p q, and so on."""
        log_C, beta, gamma = phi[:, :1], np.exp(phi[:, 1:2]), phi[:, 2:3]
        h = self.h
        x = np.exp(log_C - gamma * h + np.log(self.falls.lag_rates))
        log = np.log1p(x)
        power = np.exp(-beta * log)
        q = x / (1 + x)
        by_x = beta * power * q
        by_xx = by_x * (1 - q - beta * q)
        by_beta = beta * power * log  # by ln beta
        by_x_beta = by_x * (1 - beta * log)
        by_beta_beta = by_beta * (1 - beta * log)
        slope = np.stack([self.summed(each) for each in (by_x, by_beta, -h * by_x)], axis=2)
        bend = np.empty((*slope.shape, 3))
        for i, j, each in (
            (0, 0, by_xx),
            (0, 1, by_x_beta),
            (0, 2, -h * by_xx),
            (1, 1, by_beta_beta),
            (1, 2, -h * by_x_beta),
            (2, 2, h**2 * by_xx),
        ):
            bend[..., i, j] = bend[..., j, i] = self.summed(each)
        return Grown(value=self.summed(-np.expm1(-beta * log)), slope=slope, bend=bend)

    def start_phis(self) -> FloatArray:
        """x = 1 at shares of the longest lag."""
        log_C = -np.log(np.array(START_LAGS) * self.falls.lag_rates.max())
        grid = product(log_C, np.log(START_BETAS), START_GAMMAS)
        return np.array([list(each) for each in grid])

    def law(self, theta: FloatArray) -> Any:
        with np.errstate(over="ignore"):
            return self.law_of(
                theta,
                **self.common(theta),
                C=np.exp(theta[..., 4] + theta[..., 6] * self.log_rate_centre),
                beta=np.exp(theta[..., 5]),
                gamma=theta[..., 6],
            )

    def on_bound(self, theta: FloatArray) -> dict[str, str]:
        reasons = self.common_bounds(theta)
        if theta[4] > LARGEST_LOG_C:
            reasons["C"] = "C -> infinity: a fall of the rate acts at once"
        if not np.exp(-LARGEST_LOG_C) < np.exp(theta[5]) < LARGEST_BETA:
            reasons["beta"] = "beta left its range: the curves do not show how a fall's effect grows"
        return reasons


def coordinates_of_schedule(form: type[ScheduleLaw], rows: Rows, falls: Falls) -> ScheduleCoordinates:
    """Of either law."""
    kind = TissueCoordinates if form is Tissue else MultiPowerCoordinates
    return kind(form, rows, falls)
