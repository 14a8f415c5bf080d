"""A law's parameters as the fitter sees them: centred logarithms.

With x centred at the mean of ln x, a term's log coefficient is its size in the middle of the rows, and no
longer collinear with its exponent. The coordinates theta of a sum of power laws, in order: for each term its
log coefficient at the centre (one a family in a joint fit of families); then the exponents that are fitted,
each name once; last, for a raised law, ln(power).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np

from scaling_laws.laws.fit.huber import Problem
from scaling_laws.laws.fit.power_sum import Index, LogLossModel, PowerSum
from scaling_laws.laws.fit.rows import Rows
from scaling_laws.laws.forms.terms import FloatArray

START_EXPONENTS: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.3)
START_RAISED_EXPONENTS: tuple[float, ...] = (0.1, 0.3, 0.8)
"""Coarser, since there is a grid of powers beside it."""
START_INVERSE_EXPONENTS: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
START_POWERS = (0.05, 0.1, 0.2, 0.5, 1.0)
SMALLEST_START_SHARE = 0.02
"""Least squares may give a term a negative coefficient; it then starts at this share of the loss instead."""
SMALLEST_SHARE = 1e-4
"""A term that makes up less than this share of every row's loss has gone to zero."""
LARGEST_EXPONENT = 5.0
"""Beyond it a term acts on the rows of smallest N or D alone and is no power law that was measured."""
LARGEST_INVERSE_EXPONENT = 50.0
"""The same for exponents written as 1/alpha: B_crit of a loss grows fast."""


LEAST_SQUARES = 10.0
"""A delta of ln y beyond which no residual of a usable fit lies: Huber's loss is then a square."""


class Free(NamedTuple):
    """A named parameter that is one of the coordinates, up to a monotone function."""

    column: int
    of_theta: Callable[[FloatArray], FloatArray]


class Coordinates(Protocol):
    """How one law is fitted to one set of rows.

    Attributes:
        free: parameters that are themselves coordinates: index, and what makes the parameter of it.
    """

    @property
    def model(self) -> LogLossModel: ...

    @property
    def free(self) -> dict[str, Free]: ...

    def starts(self, problem: Problem) -> FloatArray:
        """Where to start from, (S, p)."""

    def law(self, theta: FloatArray) -> Any:
        """The law of named parameters at theta: numbers for (p,), arrays (S,) for (S, p)."""

    def on_bound(self, theta: FloatArray) -> dict[str, str]:
        """Parameters that ran to the end of their range at theta, (p,), and what that means."""


@runtime_checkable
class RowwiseCoordinates(Coordinates, Protocol):
    """Those that do not need all rows at once."""

    @property
    def rows(self) -> Rows: ...

    def some(self, rows: slice | Index) -> Self:
        """The same coordinates, of some of the rows."""


def make_problem(
    coordinates: Coordinates, rows: Rows, weights: FloatArray, delta: float, above: float = 1.0
) -> Problem:
    """One problem: the rows as they are.

    No residual of a fit is larger than what the losses span. Beyond that every delta is the same, least
    squares, and the optimiser's tolerance, which is a share of delta, must not grow with it.
    """
    log_loss = np.log(rows.loss)
    largest = max(float(np.ptp(log_loss)), LEAST_SQUARES)
    return Problem(
        model=coordinates.model,
        log_loss=log_loss[None],
        weights=weights[None],
        delta=min(delta, largest),
        above=above,
    )


@dataclass(frozen=True)
class PowerSumCoordinates:
    """Of a sum of power laws.

    Attributes:
        form: the law's class.
        rows: the rows.
        group: (n,): index of each row's family in a joint fit; None where there is one.
    """

    form: type[Any]
    rows: Rows
    group: Index | None = None

    def some(self, rows: slice | Index) -> Self:
        group = None if self.group is None else self.group[rows]
        return replace(self, rows=self.rows.some(rows), group=group)

    @property
    def n_groups(self) -> int:
        return 1 if self.group is None else int(self.group.max()) + 1

    @property
    def exponents(self) -> list[str]:
        """The fitted exponents, each once."""
        names = [term.exponent for term in self.form.terms if term.exponent and term.gamma is None]
        return list(dict.fromkeys(names))

    def coefficient_column(self, k: int, group: int = 0) -> int:
        """Where theta holds the log coefficient of term k; the constant is common to all families."""
        terms = self.form.terms[:k]
        before = sum(1 if term.variable is None else self.n_groups for term in terms)
        return before + (0 if self.form.terms[k].variable is None else group)

    @property
    def n_coefficients(self) -> int:
        last = len(self.form.terms) - 1
        return self.coefficient_column(last, self.n_groups - 1) + 1

    def exponent_column(self, name: str) -> int:
        return self.n_coefficients + self.exponents.index(name)

    @cached_property
    def model(self) -> PowerSum:
        n, terms = self.rows.n, self.form.terms
        design = np.zeros((n, len(terms), self.n_coefficients + len(self.exponents)))
        offset = np.zeros((n, len(terms)))
        group = np.zeros(n, dtype=np.intp) if self.group is None else self.group
        for k, term in enumerate(terms):
            columns = np.array([self.coefficient_column(k, g) for g in range(self.n_groups)])
            design[np.arange(n), k, columns[group]] = 1.0
            if term.variable is None:
                continue
            centred = self.rows.centred(term.variable)
            if term.gamma is None:
                design[:, k, self.exponent_column(term.exponent)] = -centred
            else:
                offset[:, k] = -term.gamma * centred
        return PowerSum(design=design, offset=offset, free_power=self.form.raised is not None)

    @property
    def free(self) -> dict[str, Free]:
        free = {}
        for k, term in enumerate(self.form.terms):
            if self.form.raised is None:
                if term.variable is None:
                    free[term.coefficient] = Free(self.coefficient_column(k), np.exp)
                elif term.gamma is None:
                    of_exponent = np.reciprocal if self.form.notation == "inverse" else np.asarray
                    free[term.exponent] = Free(self.exponent_column(term.exponent), of_exponent)
        if self.form.raised is not None:
            last = self.n_coefficients + len(self.exponents)
            free[self.form.raised.removeprefix("1/")] = Free(last, self._power)
        return free

    def _power(self, log_power: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-log_power if self.form.raised.startswith("1/") else log_power))

    def law(self, theta: FloatArray, group: int = 0) -> Any:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            parameters = self._parameters(theta, group)
        if theta.ndim == 1:
            return self.form(**{name: float(value) for name, value in parameters.items()})
        return self.form(**parameters)

    def _parameters(self, theta: FloatArray, group: int) -> dict[str, FloatArray]:
        form, parameters = self.form, {}
        ones = np.ones(theta.shape[:-1])
        power = np.exp(theta[..., -1]) if form.raised else ones
        if form.raised:
            parameters[form.raised.removeprefix("1/")] = self._power(theta[..., -1])
        for k, term in enumerate(form.terms):
            gamma = ones * (term.gamma or 0.0)
            if term.variable is not None and term.gamma is None:
                gamma = theta[..., self.exponent_column(term.exponent)]
            log_coefficient = theta[..., self.coefficient_column(k, group)]
            log_coefficient = log_coefficient + gamma * self.rows.centre(term.variable)
            in_scale = form.notation == "scale" and term.variable is not None
            parameters[term.coefficient] = np.exp(
                log_coefficient / gamma if in_scale else log_coefficient * power
            )
            if term.exponent:
                parameters[term.exponent] = 1 / gamma if form.notation == "inverse" else gamma * power
        return parameters

    def on_bound(self, theta: FloatArray) -> dict[str, str]:
        share = self.model.predict(theta[None]).share[0]
        largest = LARGEST_INVERSE_EXPONENT if self.form.notation == "inverse" else LARGEST_EXPONENT
        reasons = {}
        for k, term in enumerate(self.form.terms):
            if share[:, k].max() < SMALLEST_SHARE:
                reasons[term.coefficient] = f"{term.coefficient} -> 0: the rows do not show this term"
            if term.exponent and not 0 < theta[self.exponent_column(term.exponent)] < largest:
                why = f"{term.exponent} left its range of 0 to {largest:g}: the rows show no such power law"
                reasons[term.exponent] = why
        return reasons

    def starts(self, problem: Problem) -> FloatArray:
        """A grid over the exponents (and the power), the coefficients by linear least squares: (S, p).

        Given exponents and power, L^(1/power) is linear in the coefficients: variable projection.
        """
        model, log_loss, starts = self.model, problem.log_loss[0], []
        n_coefficients, n_exponents = self.n_coefficients, len(self.exponents)
        grid = START_RAISED_EXPONENTS if model.free_power and n_exponents > 1 else START_EXPONENTS
        if self.form.notation == "inverse":
            grid = START_INVERSE_EXPONENTS
        of_coefficient = model.design[:, :, :n_coefficients]
        for point in product(*[grid] * n_exponents, *[START_POWERS] * model.free_power):
            exponents, power = point[:n_exponents], point[-1] if model.free_power else 1.0
            log_terms = model.offset + model.design[:, :, n_coefficients:] @ np.array(exponents)
            # Relative errors: sum_k coefficient_k z_k / L^(1/power) should be 1 in each row.
            with np.errstate(over="ignore"):
                relative = np.exp(log_terms - log_loss[:, None] / power)
            columns = np.einsum("nk,nkq->nq", relative, of_coefficient)
            if not np.isfinite(columns).all():
                continue
            coefficients = np.linalg.lstsq(columns, np.ones(len(log_loss)), rcond=None)[0]
            coefficients = np.maximum(coefficients, SMALLEST_START_SHARE / columns.mean(axis=0))
            theta = [*np.log(coefficients), *exponents]
            starts.append([*theta, np.log(power)] if model.free_power else theta)
        return np.array(starts)
