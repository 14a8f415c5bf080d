"""Minimise the sum of Huber losses of log residuals, for many problems at once.

One damped Newton iteration with exact derivatives, vectorised over a batch, serves the many starts of a fit,
their polish, and every resample of a bootstrap.

Shapes: S problems in the batch, n rows, p parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.fit.power_sum import Index, LogLossModel, Pinned, RowwiseModel, gram
from scaling_laws.laws.fit.rows import LARGE_ROWS
from scaling_laws.laws.forms.terms import FloatArray

GRADIENT_TOLERANCE = 1e-10
"""A problem is solved when no entry of its gradient exceeds this share of delta times the sum of weights,
the size the gradient would have if every row pulled the same way."""
MAX_ITERATIONS = 500
SAME_OBJECTIVE = 1e-6
"""Relative difference up to which two starts ended at the same minimum."""
LEAST_DAMPING, MAX_DAMPING = 1e-15, 1e12
EASED, RAISED = 2.0, 10.0
"""What a step that was taken divides the damping by, and one that was refused multiplies it by."""
LARGEST_BATCH = 250_000
"""Rows times problems of one batch: beyond it the derivatives leave the cache."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A model, rows and weights; the batch is in the weights, in the losses, or in neither.

    Attributes:
        model: of ln y.
        log_loss: (1, n) or (S, n): the ln y to be met.
        weights: (1, n) or (S, n).
        delta: where Huber's loss turns from quadratic to linear, in ln y.
    """

    model: LogLossModel
    log_loss: FloatArray
    weights: FloatArray
    delta: float

    def select(self, index: Index) -> Problem:
        """The problems of the batch at `index`."""
        return replace(
            self,
            model=self.model.select(index),
            log_loss=self.log_loss if len(self.log_loss) == 1 else self.log_loss[index],
            weights=self.weights if len(self.weights) == 1 else self.weights[index],
        )

    def of_rows(self, rows: slice) -> Problem:
        """The same problems, of some of the rows."""
        assert isinstance(self.model, RowwiseModel)
        return replace(
            self,
            model=self.model.of_rows(rows),
            log_loss=self.log_loss[:, rows],
            weights=self.weights[:, rows],
        )


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """What `minimise` found, one row a problem.

    Attributes:
        theta: (S, p).
        objective: (S,): sum of weights times Huber_delta.
        gradient_norm: (S,): Euclidean, in the centred logarithmic parameters.
        solved: (S,): whether the gradient is below `GRADIENT_TOLERANCE`.
    """

    theta: FloatArray
    objective: FloatArray
    gradient_norm: FloatArray
    solved: np.ndarray[tuple[int], np.dtype[np.bool_]]

    def distinct(self, most: int, eligible: NDArray[np.bool_] | None = None) -> FloatArray:
        """theta of the lowest few minima that differ, (m, p), the best first; the others where `eligible`."""
        order = np.argsort(self.objective)
        kept = [order[0]]
        for i in order[1:]:
            apart = self.objective[i] > self.objective[kept[-1]] * (1 + SAME_OBJECTIVE)
            if apart and (eligible is None or eligible[i]):
                kept.append(i)
        return self.theta[kept[:most]]


def objective(problem: Problem, theta: FloatArray) -> FloatArray:
    """Sum over rows of weight * Huber_delta(ln L_hat - ln L), (S,)."""
    residual = problem.model.predict(theta).log_loss - problem.log_loss
    return _huber_sum(problem, residual)


def minimise(problem: Problem, theta: FloatArray, max_iterations: int = MAX_ITERATIONS) -> Minimum:
    """Damped Newton from each row of `theta` (S, p).

    A step solves (H + damping * M) step = -gradient. H is the exact Hessian: near the optimum it makes the
    iteration finite. M is the Hessian of the quadratic that lies above every row's Huber loss, with which
    large damping is iteratively reweighted least squares, safe from far away. Steps that do not lower the
    objective are not taken.
    """
    n_rows = problem.weights.shape[1]
    most = max(LARGEST_BATCH // n_rows, 1)
    if len(theta) > most:
        parts = [np.arange(start, min(start + most, len(theta))) for start in range(0, len(theta), most)]
        return _joined([minimise(problem.select(part), theta[part], max_iterations) for part in parts])
    theta = np.array(theta, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        value, gradient, hessian, majoriser = _derivatives(problem, theta)
    lost = ~_all_finite(value, gradient, hessian)  # a start from which no law follows
    value, gradient = np.where(lost, np.inf, value), np.where(lost[:, None], np.inf, gradient)
    damping = np.ones(len(theta))
    largest_gradient = problem.delta * np.broadcast_to(problem.weights.sum(axis=1), len(theta))
    tolerance = GRADIENT_TOLERANCE * largest_gradient
    rounding = 1e-15 * (largest_gradient + np.where(lost, 0.0, value))
    active = np.flatnonzero(~lost & (np.abs(gradient).max(axis=1) > tolerance))
    for _ in range(max_iterations):
        if not len(active):
            break
        matrix = hessian[active] + damping[active, None, None] * majoriser[active]
        step = -_solve(matrix, gradient[active])
        downhill = np.sum(step * gradient[active], axis=1) < 0
        trial = theta[active] + np.where(downhill[:, None], step, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            trial_value, trial_gradient, trial_hessian, trial_majoriser = _derivatives(
                problem.select(active), trial
            )
        # Where the objective moves by rounding alone, the gradient decides.
        lower = trial_value < value[active] - rounding[active]
        equal = trial_value <= value[active] + rounding[active]
        smaller = np.abs(trial_gradient).max(axis=1) < np.abs(gradient[active]).max(axis=1)
        finite = _all_finite(trial_value, trial_gradient, trial_hessian)
        taken = downhill & finite & (lower | (equal & smaller))
        chosen = active[taken]
        theta[chosen], value[chosen] = trial[taken], trial_value[taken]
        gradient[chosen] = trial_gradient[taken]
        hessian[chosen], majoriser[chosen] = trial_hessian[taken], trial_majoriser[taken]
        eased = np.maximum(damping[active] / EASED, LEAST_DAMPING)
        damping[active] = np.where(taken, eased, damping[active] * RAISED)
        unsolved = np.abs(gradient[active]).max(axis=1) > tolerance[active]
        active = active[unsolved & (damping[active] < MAX_DAMPING)]
    return Minimum(
        theta=theta,
        objective=value,
        gradient_norm=np.linalg.norm(gradient, axis=1),
        solved=np.abs(gradient).max(axis=1) <= tolerance,
    )


def _joined(parts: list[Minimum]) -> Minimum:
    return Minimum(
        theta=np.concatenate([part.theta for part in parts]),
        objective=np.concatenate([part.objective for part in parts]),
        gradient_norm=np.concatenate([part.gradient_norm for part in parts]),
        solved=np.concatenate([part.solved for part in parts]),
    )


def _all_finite(value: FloatArray, gradient: FloatArray, hessian: FloatArray) -> NDArray[np.bool_]:
    finite = np.isfinite(value) & np.isfinite(gradient).all(axis=1)
    return np.asarray(finite & np.isfinite(hessian).all(axis=(1, 2)))


def _derivatives(
    problem: Problem, theta: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Objective (S,), gradient (S, p), Hessian (S, p, p) and the majoriser's Hessian (S, p, p)."""
    n = problem.weights.shape[1]
    if n > LARGE_ROWS and _is_rowwise(problem.model):
        parts = [slice(start, start + LARGE_ROWS) for start in range(0, n, LARGE_ROWS)]
        value, gradient, hessian, majoriser = _derivatives(problem.of_rows(parts[0]), theta)
        for part in parts[1:]:
            of_part = _derivatives(problem.of_rows(part), theta)
            value, gradient = value + of_part[0], gradient + of_part[1]
            hessian, majoriser = hessian + of_part[2], majoriser + of_part[3]
        return value, gradient, hessian, majoriser
    prediction = problem.model.predict(theta)
    J, delta, weights = prediction.jacobian, problem.delta, problem.weights
    residual = prediction.log_loss - problem.log_loss
    size = np.abs(residual)
    pull = weights * np.clip(residual, -delta, delta)  # derivative of weight * Huber
    gradient = np.einsum("snp,sn->sp", J, pull)
    hessian = gram(J, weights * (size <= delta)) + problem.model.curvature(theta, prediction, pull)
    majoriser = gram(J, weights * delta / np.maximum(size, delta))

    # A floor for directions that no row sees, such as ln E once E has gone to 0.
    trace = np.trace(majoriser, axis1=1, axis2=2)[:, None, None]
    majoriser += 1e-9 * (trace + np.finfo(float).tiny) * np.eye(problem.model.n_parameters)
    return _huber_sum(problem, residual), gradient, hessian, majoriser


def _is_rowwise(model: LogLossModel) -> bool:
    return isinstance(model.model if isinstance(model, Pinned) else model, RowwiseModel)


def _huber_sum(problem: Problem, residual: FloatArray) -> FloatArray:
    clipped = np.clip(residual, -problem.delta, problem.delta)
    huber = clipped**2 / 2 + problem.delta * (np.abs(residual) - np.abs(clipped))
    return np.asarray(np.sum(problem.weights * huber, axis=1))


def _solve(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    """matrix^-1 vector for each problem; a singular one gets a zero step, so that its damping rises."""
    try:
        return np.asarray(np.linalg.solve(matrix, vector[..., None])[..., 0])
    except np.linalg.LinAlgError:
        with np.errstate(over="ignore", invalid="ignore"):
            regular = np.abs(np.linalg.det(matrix)) > 0
        step = np.zeros_like(vector)
        step[regular] = np.linalg.solve(matrix[regular], vector[regular][..., None])[..., 0]
        return step
