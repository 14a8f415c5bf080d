"""A law of which some parameters are known: they are held, and the others fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scaling_laws.laws.fit.coordinates import Coordinates, Free
from scaling_laws.laws.fit.fit import IRREDUCIBLE, coordinates_of
from scaling_laws.laws.fit.huber import Problem
from scaling_laws.laws.fit.power_sum import LogLossModel, Pinned
from scaling_laws.laws.fit.rows import Rows
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.errors import InputError

FARTHEST = 200.0
"""Of a coordinate: logarithms and exponents lie within."""


@dataclass(frozen=True, kw_only=True)
class PinnedCoordinates:
    """The coordinates of a law without one of them.

    Attributes:
        inner: the law's own.
        name: of the parameter that is held.
        column: its place in `inner`'s theta.
        theta: what it is there.
    """

    inner: Coordinates
    name: str
    column: int
    theta: float

    @property
    def model(self) -> LogLossModel:
        return Pinned(model=self.inner.model, held=self.column, values=np.array([self.theta]))

    @property
    def free(self) -> dict[str, Free]:
        return {
            name: Free(free.column - (free.column > self.column), free.of_theta)
            for name, free in self.inner.free.items()
            if name != self.name
        }

    def starts(self, problem: Problem) -> FloatArray:
        whole = self.inner.starts(replace(problem, model=self.inner.model))
        return np.unique(np.delete(whole, self.column, axis=1), axis=0)

    def law(self, theta: FloatArray) -> Any:
        return self.inner.law(self._whole(theta))

    def on_bound(self, theta: FloatArray) -> dict[str, str]:
        reasons = self.inner.on_bound(self._whole(theta))
        return {name: reason for name, reason in reasons.items() if name != self.name}

    def _whole(self, theta: FloatArray) -> FloatArray:
        return np.insert(theta, self.column, self.theta, axis=-1)


def pinned_coordinates(form: type[Any], rows: Rows, pins: Mapping[str, float]) -> Coordinates:
    """The coordinates of a form at some rows, with the named parameters held.

    Raises:
        InputError: the form has no such parameter, or it cannot be held at that value.
    """
    coordinates = coordinates_of(form, rows)
    for name, value in pins.items():
        if name not in coordinates.free:
            known = ", ".join(coordinates.free) or "none"
            raise InputError(f"{form.form} has no parameter {name!r} that can be pinned; it has {known}")
        if name in IRREDUCIBLE and rows.n and value >= rows.loss.min():
            raise InputError(
                f"{name} is pinned at {value:g}, but the lowest loss is {rows.loss.min():g}: pin it below"
            )
        free = coordinates.free[name]
        theta = _theta_of(free, value)
        if theta is None:
            raise InputError(f"{name} cannot be pinned at {value:g}: no {form.form} law has this value")
        coordinates = PinnedCoordinates(inner=coordinates, name=name, column=free.column, theta=theta)
    return coordinates


def _theta_of(free: Free, value: float) -> float | None:
    """The coordinate at which the parameter has a value; None where it has it nowhere."""
    from scipy.optimize import brentq

    if not np.isfinite(value):
        return None

    def apart(theta: float) -> float:
        with np.errstate(over="ignore"):
            found = float(free.of_theta(np.array([theta]))[0])
        return float(np.clip(found, -1e300, 1e300)) - value

    low, high = apart(-FARTHEST), apart(FARTHEST)
    if low * high > 0:
        return None
    return float(brentq(apart, -FARTHEST, FARTHEST, xtol=1e-13, rtol=1e-13))
