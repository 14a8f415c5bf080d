"""Fit a law to rows of losses, with a certificate.

The objective is the sum over rows of Huber_delta(ln L_hat - ln L) (Hoffmann 2022). It is a sum, since a mean
lets optimisers stop early (Besiroglu 2024). Logarithms are centred, so that ln A and alpha are not collinear.
Starts come from variable projection: given the exponents, L^(1/power) is linear in the coefficients, so the
grid of starts covers the exponents alone. Every start is then polished to a vanishing gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling_laws.errors import InputError
from scaling_laws.laws.forms import FloatArray, Law
from scaling_laws.laws.huber import Minimum, Problem, minimise, predict

L = TypeVar("L", bound=Law)

DEFAULT_DELTA = 1e-3
START_EXPONENTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.3)
START_POWERS = (0.05, 0.1, 0.2, 0.5, 1.0)
SMALLEST_SHARE = 1e-4
"""A term that makes up less than this share of every row's loss has gone to zero."""
LARGEST_EXPONENT = 5.0
"""Beyond it a term acts on the rows of smallest N or D alone and is no power law that was measured."""
LARGEST_CONDITION_NUMBER = 1e5
LEAST_INDEPENDENT_VARIANCE = 1e-3
"""1 - correlation^2 of ln N and ln D below which their effects cannot be told apart."""


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


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """How far a fit can be believed to be the optimum of its objective.

    Attributes:
        starts: number of starts.
        share_at_best: share of them that ended at the best objective (within a millionth).
        gradient_norm: of the objective at the optimum, in the centred logarithmic parameters.
        condition_number: of the Jacobian of ln L in those parameters, columns scaled to length one.
        on_bound: parameters that ran to the end of their range (E -> 0, an exponent below 0 or above 5).
        rms_log_residual: root mean square of ln L_hat - ln L.
    """

    starts: int
    share_at_best: float
    gradient_norm: float
    condition_number: float
    on_bound: tuple[str, ...]
    rms_log_residual: float


@dataclass(frozen=True, kw_only=True)
class Fit(Generic[L]):
    """One law fitted to one set of rows.

    Attributes:
        form: the law's class.
        law: the law at the optimum; None where there is nothing to fit.
        objective: sum over rows of weight * Huber_delta.
        delta: in ln L.
        rows: the rows.
        weights: (n,).
        theta: (p,): the optimum in the fitter's own parameters, where a bootstrap starts.
        identified: whether the rows determine the parameters.
        reason: why they do not, in words; empty where they do.
        certificate: None where there is nothing to fit.
    """

    form: type[L]
    law: L | None
    objective: float | None
    delta: float
    rows: Rows
    weights: FloatArray
    theta: FloatArray
    identified: bool
    reason: str
    certificate: Certificate | None


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


def fit_law(
    form: type[L], rows: Rows, *, weights: ArrayLike | None = None, delta: float = DEFAULT_DELTA
) -> Fit[L]:
    """Fit `form` to `rows`.

    Args:
        form: a class of `forms.py`.
        rows: from `make_rows`; must hold the form's variables.
        weights: one a row, positive; 1 each by default.
        delta: where Huber's loss turns from quadratic to linear, in ln L.

    Raises:
        InputError: delta or a weight is not positive.
    """
    row_weights = np.ones(rows.n) if weights is None else np.asarray(weights, dtype=np.float64)
    if not delta > 0:
        raise InputError(f"delta is {delta}: Huber's delta is a positive difference of ln L")
    if row_weights.shape != (rows.n,) or not np.all(row_weights > 0):
        raise InputError("weights: give one positive number a row; drop the rows that should not count")

    reason = _too_few(form, rows)
    if rows.n == 0:
        return Fit(
            form=form,
            law=None,
            objective=None,
            delta=delta,
            rows=rows,
            weights=row_weights,
            theta=np.empty(0),
            identified=False,
            reason=reason,
            certificate=None,
        )
    problem = make_problem(form, rows, row_weights, delta)
    minimum = minimise(problem, _starts(form, problem))
    best = int(np.argmin(minimum.objective))
    theta = minimum.theta[best]
    certificate = _certificate(form, problem, minimum, best)
    reason = reason or _why_not_identified(form, rows, certificate, bool(minimum.solved[best]))
    return Fit(
        form=form,
        law=to_law(form, rows, theta),
        objective=float(minimum.objective[best]),
        delta=delta,
        rows=rows,
        weights=row_weights,
        theta=theta,
        identified=not reason,
        reason=reason,
        certificate=certificate,
    )


def make_problem(form: type[L], rows: Rows, weights: FloatArray, delta: float) -> Problem:
    """The rows in centred logarithms.

    Parameters, in order: for each term its log coefficient at the centre and, where it is free, its exponent;
    last ln(power), where that is free.
    """
    names = [name for term in form.terms for name in (term.coefficient, term.exponent) if name]
    design = np.zeros((rows.n, len(form.terms), len(names)))
    offset = np.zeros((rows.n, len(form.terms)))
    for k, term in enumerate(form.terms):
        design[:, k, names.index(term.coefficient)] = 1.0
        if term.variable is None:
            continue
        centred = np.log(rows.values[term.variable]) - _centre(rows, term.variable)
        if term.exponent:
            design[:, k, names.index(term.exponent)] = -centred
        else:
            offset[:, k] = -centred
    return Problem(
        design=design,
        offset=offset,
        free_power=form.free_power,
        log_loss=np.log(rows.loss)[None],
        weights=weights[None],
        delta=delta,
    )


def to_law(form: type[L], rows: Rows, theta: FloatArray) -> L:
    """The law of named parameters at theta, (p,) or (S, p)."""
    coefficients, exponents, position = [], [], 0
    for term in form.terms:
        log_coefficient = theta[..., position]
        position += 1
        exponent = np.full_like(log_coefficient, 0.0 if term.variable is None else 1.0)
        if term.exponent:
            exponent = theta[..., position]
            position += 1
        centre = 0.0 if term.variable is None else _centre(rows, term.variable)
        coefficients.append(log_coefficient + exponent * centre)
        exponents.append(exponent)
    power = np.exp(theta[..., position]) if form.free_power else np.ones(theta.shape[:-1])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        law = form.from_terms(np.stack(coefficients, axis=-1), np.stack(exponents, axis=-1), power)
    if theta.ndim == 1:
        return form(**{name: float(value) for name, value in vars(law).items()})
    return law  # type: ignore[return-value]  # mypy widens `form` to the bound of L


def _centre(rows: Rows, variable: str) -> float:
    return float(np.mean(np.log(rows.values[variable])))


def _starts(form: type[L], problem: Problem) -> FloatArray:
    """A grid over the exponents (and the power), the coefficients by linear least squares: (S, p)."""
    free = [bool(term.exponent) for term in form.terms]
    grid = [START_EXPONENTS] * sum(free) + ([START_POWERS] if form.free_power else [])
    log_loss, starts = problem.log_loss[0], []
    for point in product(*grid):
        exponents, power = iter(point), point[-1] if form.free_power else 1.0
        theta: list[float] = []
        columns = []
        for k, is_free in enumerate(free):
            exponent = next(exponents) if is_free else None
            theta += [0.0] if exponent is None else [0.0, exponent]
            # The term's column at coefficient 1; the design's own columns are 1 and -(ln x - centre).
            slope = problem.design[:, k, len(theta) - 1] * exponent if exponent is not None else 0.0
            columns.append(slope + problem.offset[:, k])
        # Least squares on relative errors: sum_k coefficient_k z_k / L^(1/power) should be 1 in each row.
        relative = np.exp(np.stack(columns, axis=1) - log_loss[:, None] / power)
        coefficients = np.linalg.lstsq(relative, np.ones(len(log_loss)), rcond=None)[0]
        # A negative coefficient has no logarithm: start it at a small share of the loss instead.
        coefficients = np.maximum(coefficients, 0.02 / relative.mean(axis=0))
        position = 0
        for k, is_free in enumerate(free):
            theta[position] = float(np.log(coefficients[k]))
            position += 2 if is_free else 1
        starts.append([*theta, np.log(power)] if form.free_power else theta)
    return np.array(starts)


def _certificate(form: type[L], problem: Problem, minimum: Minimum, best: int) -> Certificate:
    objective = minimum.objective[best]
    # An exact law leaves an objective of rounding error, which no two starts share.
    rounding = 1e-12 * problem.delta * problem.weights.sum()
    at_best = minimum.objective <= objective * (1 + 1e-6) + rounding
    theta = minimum.theta[best : best + 1]
    prediction = predict(problem, theta)
    jacobian = prediction.jacobian[0]
    length = np.linalg.norm(jacobian, axis=0)
    singular = np.linalg.svd(jacobian / np.where(length > 0, length, 1.0), compute_uv=False)
    smallest = singular[-1] if len(singular) == jacobian.shape[1] else 0.0
    on_bound, position = [], 0
    for k, term in enumerate(form.terms):
        position += 1
        if prediction.share[0, :, k].max() < SMALLEST_SHARE:
            on_bound.append(term.coefficient)
        if term.exponent:
            if not 0 < theta[0, position] < LARGEST_EXPONENT:
                on_bound.append(term.exponent)
            position += 1
    return Certificate(
        starts=len(at_best),
        share_at_best=float(at_best.mean()),
        gradient_norm=float(minimum.gradient_norm[best]),
        condition_number=float(singular[0] / smallest) if smallest > 0 else float("inf"),
        on_bound=tuple(on_bound),
        rms_log_residual=float(np.sqrt(np.mean((prediction.log_loss - problem.log_loss) ** 2))),
    )


def _too_few(form: type[L], rows: Rows) -> str:
    """Why there are too few different rows for the form; empty if there are enough."""
    n_parameters = sum(1 + bool(term.exponent) for term in form.terms) + form.free_power
    has_constant = any(term.variable is None for term in form.terms)
    variables = [term.variable for term in form.terms if term.variable]
    if rows.n == 0:
        return f"no rows for the {n_parameters} parameters"
    for variable in variables:
        n_distinct = len(np.unique(rows.values[variable]))
        if n_distinct == 1:
            return f"only one {variable} (a law of {variable} needs several)"
        if has_constant and n_distinct < 3:
            return f"only {n_distinct} different {variable}: an irreducible loss needs at least 3"
    points = np.unique(np.stack([rows.values[variable] for variable in variables]), axis=1).shape[1]
    if points < n_parameters:
        return f"{points} different points for {n_parameters} parameters: fewer points than parameters"
    if points == n_parameters:
        return f"{points} different points for {n_parameters} parameters: nothing is left to test it"
    return ""


def _why_not_identified(form: type[L], rows: Rows, certificate: Certificate, solved: bool) -> str:
    if np.ptp(np.log(rows.loss)) < 1e-9:
        return "the loss is the same in every row"
    variables = [term.variable for term in form.terms if term.variable]
    if len(variables) == 2:
        first, second = (np.log(rows.values[variable]) for variable in variables)
        correlation = np.corrcoef(first, second)[0, 1]
        if 1 - correlation**2 < LEAST_INDEPENDENT_VARIANCE:
            return f"ln {variables[0]} and ln {variables[1]} are collinear (correlation {correlation:.4f})"
    if certificate.on_bound:
        name = certificate.on_bound[0]
        if any(term.coefficient == name for term in form.terms):
            return f"{name} -> 0: the rows do not show this term"
        return f"{name} left its range of 0 to {LARGEST_EXPONENT:g}: the rows show no such power law"
    if certificate.condition_number > LARGEST_CONDITION_NUMBER:
        return f"ill-conditioned (condition number {certificate.condition_number:.1e})"
    if not solved:
        return f"the optimiser did not converge (gradient norm {certificate.gradient_norm:.1e})"
    return ""
