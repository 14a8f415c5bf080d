"""Fit a law to rows of losses, with a certificate.

The objective is the sum over rows of Huber_delta(ln L_hat - ln L) (Hoffmann 2022). It is a sum, since a mean
lets optimisers stop early (Besiroglu 2024). Every start is polished until the gradient vanishes. Of a large
table the starts are those of a part of its rows; the best optima that they lead to are polished on all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.coordinates import (
    Coordinates,
    PowerSumCoordinates,
    RowwiseCoordinates,
    make_problem,
)
from scaling_laws.laws.fit.curved_formula import FormulaCoordinates
from scaling_laws.laws.fit.curved_joint import GammaCoordinates, MuennighoffCoordinates
from scaling_laws.laws.fit.curved_single import BrokenCoordinates, LogarithmicCoordinates
from scaling_laws.laws.fit.huber import MAX_ITERATIONS, SAME_OBJECTIVE, Minimum, Problem, minimise
from scaling_laws.laws.fit.rows import LARGE_ROWS, Rows
from scaling_laws.laws.fit.thinned import thinned
from scaling_laws.laws.forms.formula_law import FormulaLaw
from scaling_laws.laws.forms.joint import ChinchillaGamma
from scaling_laws.laws.forms.repeated import Muennighoff
from scaling_laws.laws.forms.single import Broken, Logarithmic
from scaling_laws.laws.forms.terms import FloatArray, Law
from scaling_laws.study.errors import InputError

L = TypeVar("L", bound=Law)
MOST_MINIMA = 4
MAX_OBJECTIVE_RATIO = 2.0
"""A local minimum of more than twice the best objective is the best of no resample."""
POLISHING_ITERATIONS = 5_000
MAX_ITERATIONS_TOO_FEW_ROWS = 30
"""Of fits to too few rows: their optimum is shown, but means nothing."""
LARGEST_CONDITION_NUMBER = 1e5
IRREDUCIBLE = {"E", "L_inf"}
"""Names of an irreducible loss."""
LARGEST_WEIGHT_RATIO = 1e12
"""Beyond it the rows of small weight are lost in the rounding of the others."""
EXACT = 1e-9
"""Root mean square of ln L_hat - ln L of rows that follow the law exactly."""
LEAST_INDEPENDENT_VARIANCE = 1e-3
"""1 - correlation^2 of ln N and ln D below which their effects cannot be told apart."""


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
        law: the law at the optimum; None without rows.
        objective: sum over rows of weight * Huber_delta; None without rows.
        delta: in ln L.
        rows: the rows.
        weights: (n,), of mean one.
        coordinates: what the fitter made of form and rows.
        minima: (m, p): the best local minima in the fitter's coordinates, the optimum first.
        identified: whether the rows determine the parameters.
        reason: why they do not, in words; empty where they do.
        certificate: None without rows.
        above: how many times rows count that lie above the law.
    """

    form: type[L]
    law: L | None = None
    objective: float | None = None
    delta: float
    rows: Rows
    weights: FloatArray
    coordinates: Coordinates
    minima: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    identified: bool = False
    reason: str
    certificate: Certificate | None = None
    above: float = 1.0

    @property
    def is_rowwise(self) -> bool:
        """Whether some of its rows can be fitted by themselves."""
        return isinstance(self.coordinates, RowwiseCoordinates)

    @property
    def problem(self) -> Problem:
        """What was minimised: the rows as they are."""
        return make_problem(self.coordinates, self.rows, self.weights, self.delta, self.above)


def fit_law(
    form: type[L],
    rows: Rows,
    *,
    weights: ArrayLike | None = None,
    delta: float = DEFAULT_DELTA,
    coordinates: Coordinates | None = None,
    above: float = 1.0,
) -> Fit[L]:
    """Fit `form` to `rows`.

    Args:
        form: a class of `forms/`.
        rows: from `make_rows`; must hold the form's variables.
        weights: one a row, positive, in any unit: what counts is a row's weight over their mean.
        delta: where Huber's loss turns from quadratic to linear, in ln L.
        coordinates: other than the form's own: those of a joint fit of families.
        above: how many times a row counts whose loss lies above the law, 0 < above <= 1. A run that was
            under-tuned lies above the law of well-tuned ones, and none lies as far below: below 1 it pulls
            less. With noise on both sides such a law lies below the mean of the losses.

    Raises:
        InputError: delta or a weight is not positive, or the weights span more than a factor
            `LARGEST_WEIGHT_RATIO`.
    """
    if not 0 < delta < np.inf:
        raise InputError(f"delta is {delta}: Huber's delta is a positive difference of ln L")
    if not 0 < above <= 1:
        raise InputError(f"above is {above:g}: rows above the law count more than 0 and at most 1 times")
    row_weights = _of_mean_one(weights, rows.n)
    coordinates = coordinates or coordinates_of(form, rows)
    if rows.n == 0:
        return Fit(
            form=form, delta=delta, rows=rows, weights=row_weights, coordinates=coordinates, reason="no rows"
        )
    problem = make_problem(coordinates, rows, row_weights, delta, above)
    searched, part, too_few = problem, coordinates, ""
    is_large = False
    if rows.n > LARGE_ROWS and isinstance(coordinates, RowwiseCoordinates):
        is_large = True
        index, part_weights = thinned(rows, row_weights)
        of_part = coordinates.some(index)
        part, searched = of_part, make_problem(of_part, of_part.rows, part_weights, delta, above)
        too_few = _too_few(form, of_part.rows, problem.model.n_parameters)
    if not is_large or too_few:
        too_few = _too_few(form, rows, problem.model.n_parameters)
    starts = part.starts(searched)
    minimum = minimise(searched, starts, MAX_ITERATIONS_TOO_FEW_ROWS if too_few else MAX_ITERATIONS)
    best = int(np.argmin(minimum.objective))
    moved = bool((minimum.theta[best] != starts[best]).any())
    if is_large:
        at_best = _at_best(searched, minimum)
        minimum = minimise(problem, minimum.distinct(MOST_MINIMA, _eligible(minimum)))
        best = int(np.argmin(minimum.objective))
    settled = minimum.solved[best] or too_few or coordinates.on_bound(minimum.theta[best])
    if not settled:  # a term on its way to zero takes its time
        minimum = _with_polished(problem, minimum, best)
    if not is_large:
        at_best = _at_best(problem, minimum)
    on_bound = coordinates.on_bound(minimum.theta[best])
    certificate = _certificate(problem, minimum, best, tuple(on_bound), at_best)
    reason = too_few or _why_not_identified(form, rows, certificate, on_bound)
    if not np.isfinite(minimum.objective[best]):
        reason = "no start leads to a finite loss: the form cannot follow these rows"
    if not reason and not minimum.solved[best]:
        reason = f"the optimiser did not converge (gradient norm {certificate.gradient_norm:.1e})"
    if not reason and not moved and certificate.rms_log_residual > EXACT:
        reason = "the optimiser did not move from its start"
    return Fit(
        form=form,
        law=coordinates.law(minimum.theta[best]),
        objective=float(minimum.objective[best]),
        delta=delta,
        rows=rows,
        weights=row_weights,
        coordinates=coordinates,
        minima=minimum.distinct(MOST_MINIMA, _eligible(minimum)),
        identified=not reason,
        reason=reason,
        certificate=certificate,
        above=above,
    )


def part_of(fit: Fit[L]) -> Fit[L]:
    """The fit at its own optimum on a part of the rows."""
    assert isinstance(fit.coordinates, RowwiseCoordinates)
    index, weights = thinned(fit.rows, fit.weights)
    part = replace(fit, rows=fit.rows.some(index), weights=weights, coordinates=fit.coordinates.some(index))
    minimum = minimise(part.problem, fit.minima)
    order = np.argsort(minimum.objective)
    return replace(part, minima=minimum.theta[order], objective=float(minimum.objective[order[0]]))


def _of_mean_one(weights: ArrayLike | None, n: int) -> FloatArray:
    """The weights over their mean, (n,)."""
    if weights is None or n == 0:
        return np.ones(n)
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (n,) or not np.all((values > 0) & np.isfinite(values)):
        raise InputError("weights: give one positive number a row; drop the rows that should not count")
    relative = values / values.max()  # first, so that the sum of the largest numbers is one, too
    if relative.min() < 1 / LARGEST_WEIGHT_RATIO:
        raise InputError(
            f"weights: they go from {values.min():g} to {values.max():g}, a span of more than "
            f"{LARGEST_WEIGHT_RATIO:g}; drop the rows of the smallest weights"
        )
    return np.asarray(relative / relative.mean())


def coordinates_of(form: type[Any], rows: Rows) -> Coordinates:
    """The coordinates of any form at `rows`."""
    if issubclass(form, Logarithmic):
        return LogarithmicCoordinates(form, rows)
    if issubclass(form, Broken):
        return BrokenCoordinates(form, rows)
    if issubclass(form, FormulaLaw):
        return FormulaCoordinates(form, rows)
    if form is ChinchillaGamma:
        return GammaCoordinates(form, rows)
    if form is Muennighoff:
        return MuennighoffCoordinates(form, rows)
    return PowerSumCoordinates(form, rows)


def _with_polished(problem: Problem, minimum: Minimum, best: int) -> Minimum:
    """The same minima, the best of them followed further."""
    polished = minimise(problem, minimum.theta[best : best + 1], POLISHING_ITERATIONS)
    here = np.arange(len(minimum.theta)) == best
    return Minimum(
        theta=np.where(here[:, None], polished.theta, minimum.theta),
        objective=np.where(here, polished.objective, minimum.objective),
        gradient_norm=np.where(here, polished.gradient_norm, minimum.gradient_norm),
        solved=np.where(here, polished.solved, minimum.solved),
    )


def _eligible(minimum: Minimum) -> NDArray[np.bool_]:
    """Which minima may be the best of a resample."""
    return np.asarray(minimum.solved & (minimum.objective <= MAX_OBJECTIVE_RATIO * minimum.objective.min()))


def _at_best(problem: Problem, minimum: Minimum) -> NDArray[np.bool_]:
    """Which starts ended at the best objective."""
    # An exact law leaves an objective of rounding error, which no two starts share.
    rounding = 1e-12 * problem.delta * problem.weights.sum()
    return np.asarray(minimum.objective <= minimum.objective.min() * (1 + SAME_OBJECTIVE) + rounding)


def _certificate(
    problem: Problem, minimum: Minimum, best: int, on_bound: tuple[str, ...], at_best: NDArray[np.bool_]
) -> Certificate:
    """Of the optimum; `at_best` says of every start of the search whether it ended there."""
    prediction = problem.model.predict(minimum.theta[best : best + 1])
    jacobian = np.nan_to_num(prediction.jacobian[0])
    length = np.linalg.norm(jacobian, axis=0)
    singular = np.linalg.svd(jacobian / np.where(length > 0, length, 1.0), compute_uv=False)
    smallest = singular[-1] if len(singular) == jacobian.shape[1] else 0.0
    return Certificate(
        starts=len(at_best),
        share_at_best=float(at_best.mean()),
        gradient_norm=float(minimum.gradient_norm[best]),
        condition_number=float(singular[0] / smallest) if smallest > 0 else float("inf"),
        on_bound=on_bound,
        rms_log_residual=float(np.sqrt(np.mean((prediction.log_loss - problem.log_loss) ** 2))),
    )


def _too_few(form: type[L], rows: Rows, n_parameters: int) -> str:
    """Why there are too few different rows for the form; empty if there are enough."""
    if "U" in form.variables and not (rows.values["U"] < rows.values["D"]).any():
        return "no token returns in any row: a law of repeated data needs several epochs"
    variables = [name for name in form.variables if name != "U"]
    for variable in variables:
        n_distinct = len(np.unique(rows.values[variable]))
        if n_distinct == 1:
            return f"only one {variable} (a law of {variable} needs several)"
        if IRREDUCIBLE & set(form.units) and n_distinct < 3:
            return f"only {n_distinct} different {variable}: an irreducible loss needs at least 3"
    points = np.unique(np.stack([rows.values[variable] for variable in form.variables]), axis=1).shape[1]
    if points < n_parameters:
        return f"{points} different points for {n_parameters} parameters: fewer points than parameters"
    if points == n_parameters:
        return f"{points} different points for {n_parameters} parameters: nothing is left to test it"
    return ""


def _why_not_identified(
    form: type[L], rows: Rows, certificate: Certificate, on_bound: Mapping[str, str]
) -> str:
    if np.ptp(np.log(rows.loss)) < 1e-9:
        return "the loss is the same in every row"
    variables = [name for name in form.variables if name != "U"]
    if len(variables) == 2:
        first, second = (np.log(rows.values[variable]) for variable in variables)
        correlation = np.corrcoef(first, second)[0, 1]
        if 1 - correlation**2 < LEAST_INDEPENDENT_VARIANCE:
            return f"ln {variables[0]} and ln {variables[1]} are collinear (correlation {correlation:.4f})"
    for reason in on_bound.values():
        return reason
    if certificate.condition_number > LARGEST_CONDITION_NUMBER:
        return f"ill-conditioned (condition number {certificate.condition_number:.1e})"
    return ""
