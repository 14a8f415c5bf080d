"""Rows of losses, and a law's parameters as the fitter sees them: centred logarithms.

With x centred at the mean of ln x, a term's log coefficient is its size in the middle of the rows, and no
longer collinear with its exponent.

The coordinates theta of a law, in order: for each term its log coefficient at the centre and its exponent
gamma, where that is free; last, for the coupled law, ln(power).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling_laws.errors import InputError
from scaling_laws.laws.forms import FloatArray, Law
from scaling_laws.laws.huber import Problem

L = TypeVar("L", bound=Law)

START_EXPONENTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.3)
START_POWERS = (0.05, 0.1, 0.2, 0.5, 1.0)
SMALLEST_START_SHARE = 0.02
"""Least squares may give a term a negative coefficient; it then starts at this share of the loss instead."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a fit is made to.

    Attributes:
        values: N (parameters), D (tokens), C (FLOPs) or T (position), each (n,).
        loss: (n,), nats per token.
        cluster: (n,): the training each row comes from; rows of one training are not independent.
    """

    values: Mapping[str, FloatArray]
    loss: FloatArray
    cluster: NDArray[Any]

    @property
    def n(self) -> int:
        return len(self.loss)

    @property
    def n_clusters(self) -> int:
        return len(np.unique(self.cluster))

    def centre(self, variable: str | None) -> float:
        """Mean of ln x; 0 for the constant term, which has no x."""
        return float(np.mean(np.log(self.values[variable]))) if variable else 0.0


def make_rows(values: Mapping[str, ArrayLike], loss: ArrayLike, cluster: ArrayLike | None = None) -> Rows:
    """Check and gather the rows of a fit; without `cluster`, each row is a training of its own.

    Raises:
        InputError: columns of unequal length; a value that is not finite and positive.
    """
    columns = {name: np.asarray(column, dtype=np.float64) for name, column in values.items()}
    columns["loss"] = np.asarray(loss, dtype=np.float64)
    n = len(columns["loss"])
    for name, column in columns.items():
        if column.shape != (n,):
            raise InputError(f"{name} has shape {column.shape}, the losses ({n},): give one value a row")
        bad = np.flatnonzero(~(np.isfinite(column) & (column > 0)))
        if len(bad):
            raise InputError(f"{name} of row {bad[0]} is {column[bad[0]]}: a law needs positive numbers")
    clusters = np.arange(n) if cluster is None else np.asarray(cluster)
    return Rows(values={name: columns[name] for name in values}, loss=columns["loss"], cluster=clusters)


def free_exponents(form: type[L]) -> list[bool]:
    """Of each term, whether its gamma is fitted: not the constant's (0), nor the linear one's (1)."""
    n_linear = int(form.notation == "coupled")
    fitted = len(form.terms) - n_linear
    return [k < fitted and term.variable is not None for k, term in enumerate(form.terms)]


def make_problem(form: type[L], rows: Rows, weights: FloatArray, delta: float) -> Problem:
    """The rows in coordinates; see `Problem`."""
    free = free_exponents(form)
    design = np.zeros((rows.n, len(form.terms), len(form.terms) + sum(free)))
    offset = np.zeros((rows.n, len(form.terms)))
    position = 0
    for k, (term, is_free) in enumerate(zip(form.terms, free, strict=True)):
        design[:, k, position] = 1.0
        position += 1
        if term.variable is None:
            continue
        centred = np.log(rows.values[term.variable]) - rows.centre(term.variable)
        if is_free:
            design[:, k, position] = -centred
            position += 1
        else:
            offset[:, k] = -centred
    return Problem(
        design=design,
        offset=offset,
        free_power=form.notation == "coupled",
        log_loss=np.log(rows.loss)[None],
        weights=weights[None],
        delta=delta,
    )


def to_law(form: type[L], rows: Rows, theta: FloatArray) -> L:
    """The law of named parameters at theta: numbers for (p,), arrays (S,) for (S, p)."""
    power = np.exp(theta[..., -1]) if form.notation == "coupled" else np.ones(theta.shape[:-1])
    parameters, position = {}, 0
    for term, is_free in zip(form.terms, free_exponents(form), strict=True):
        gamma = theta[..., position + 1] if is_free else np.full_like(power, float(term.variable is not None))
        log_coefficient = theta[..., position] + gamma * rows.centre(term.variable)
        position += 1 + is_free
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            scale = log_coefficient if form.notation == "coefficient" else log_coefficient / gamma
            parameters[term.coefficient] = np.exp(scale)
        if term.exponent:
            parameters[term.exponent] = gamma * power
    if theta.ndim == 1:
        return form(**{name: float(value) for name, value in parameters.items()})
    return form(**parameters)


def starts(form: type[L], problem: Problem) -> FloatArray:
    """A grid over the exponents (and the power), the coefficients by linear least squares: (S, p).

    Given exponents and power, L^(1/power) is linear in the coefficients: variable projection.
    """
    free = free_exponents(form)
    log_loss, found = problem.log_loss[0], []
    for point in product(*[START_EXPONENTS] * sum(free), *[START_POWERS] * problem.free_power):
        exponents, power = iter(point), point[-1] if problem.free_power else 1.0
        theta: list[float] = []
        columns = []
        for k, is_free in enumerate(free):
            column = problem.offset[:, k]
            theta.append(0.0)
            if is_free:
                theta.append(next(exponents))
                column = column + problem.design[:, k, len(theta) - 1] * theta[-1]
            columns.append(column)
        # Relative errors: sum_k coefficient_k z_k / L^(1/power) should be 1 in each row.
        relative = np.exp(np.stack(columns, axis=1) - log_loss[:, None] / power)
        coefficients = np.linalg.lstsq(relative, np.ones(len(log_loss)), rcond=None)[0]
        coefficients = np.maximum(coefficients, SMALLEST_START_SHARE / relative.mean(axis=0))
        position = 0
        for k, is_free in enumerate(free):
            theta[position] = float(np.log(coefficients[k]))
            position += 1 + is_free
        found.append([*theta, float(np.log(power))] if problem.free_power else theta)
    return np.array(found)
