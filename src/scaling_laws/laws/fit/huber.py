"""Minimise the sum of Huber losses of log residuals, for many problems at once.

One damped Newton iteration with exact derivatives, vectorised over a batch, serves the many starts of a fit,
their polish, and every resample of a bootstrap.

Shapes: S problems in the batch, n rows, p parameters.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.fit.power_sum import Index, LogLossModel, Pinned, PowerSum, RowwiseModel, gram
from scaling_laws.laws.fit.rows import LARGE_ROWS
from scaling_laws.laws.forms.terms import FloatArray

GRADIENT_TOLERANCE = 1e-10
"""A problem is solved when no entry of its gradient exceeds this share of delta times the sum of weights,
the size the gradient would have if every row pulled the same way."""
MAX_ITERATIONS = 500
SAME_OBJECTIVE = 1e-6
"""Relative difference up to which two starts ended at the same minimum."""
LEAST_DAMPING, MAX_DAMPING = 1e-15, 1e12
TINY = float(np.finfo(float).tiny)
EASED, RAISED = 2.0, 10.0
"""What a step that was taken divides the damping by, and one that was refused multiplies it by."""
LARGEST_BATCH = 250_000
"""Rows times problems of one batch: beyond it the derivatives leave the cache."""
SEARCHES_KEPT, MOST_ROWS_KEPT = 32, 4_000
"""A study fits one law to the same rows several times: itself, as the start of a richer law, in a check."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A model, rows and weights; the batch is in the weights, in the losses, or in neither.

    Attributes:
        model: of ln y.
        log_loss: (1, n) or (S, n): the ln y to be met.
        weights: (1, n) or (S, n).
        delta: where Huber's loss turns from quadratic to linear, in ln y.
        above: how many times rows count that lie above the law; below 1 where some runs were under-tuned.
    """

    model: LogLossModel
    log_loss: FloatArray
    weights: FloatArray
    delta: float
    above: float = 1.0

    def weights_at(self, residual: FloatArray) -> FloatArray:
        """The weights where ln L_hat - ln L is `residual`, (S, n)."""
        return self.weights if self.above == 1 else self.weights * np.where(residual < 0, self.above, 1.0)

    def select(self, index: Index) -> Problem:
        """The problems of the batch at `index`."""
        model = self.model.select(index)
        if model is self.model and len(self.log_loss) == len(self.weights) == 1:
            return self  # nothing of it is one problem's own
        return replace(
            self,
            model=model,
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


_kept_searches: OrderedDict[tuple[bytes | float, ...], Minimum] = OrderedDict()


def objective(problem: Problem, theta: FloatArray) -> FloatArray:
    """Sum over rows of weight * Huber_delta(ln L_hat - ln L), (S,)."""
    residual = problem.model.predict(theta).log_loss - problem.log_loss
    clipped = np.clip(residual, -problem.delta, problem.delta)
    # Of weight 1: r^2 / 2 where |r| <= delta, beyond it delta (|r| - delta / 2).
    return np.asarray((problem.weights_at(residual) * clipped * (residual - clipped / 2)).sum(axis=1))


def minimise(problem: Problem, theta: FloatArray, max_iterations: int = MAX_ITERATIONS) -> Minimum:
    """Damped Newton from each row of `theta` (S, p).

    A step solves (H + damping * M) step = -gradient. H is the exact Hessian: near the optimum it makes the
    iteration finite. M is the Hessian of the quadratic that lies above every row's Huber loss, with which
    large damping is iteratively reweighted least squares, safe from far away. Steps that do not lower the
    objective are not taken.
    """
    key = _key(problem, theta, max_iterations)
    if key is None:
        return _minima(problem, theta, max_iterations)
    if key not in _kept_searches:
        _kept_searches[key] = _minima(problem, theta, max_iterations)
        if len(_kept_searches) > SEARCHES_KEPT:
            _kept_searches.popitem(last=False)
    return _kept_searches[key]


def _key(problem: Problem, theta: FloatArray, max_iterations: int) -> tuple[bytes | float, ...] | None:
    """All that a search of many starts follows from, to the last bit; None of other problems."""
    model = problem.model
    one = len(problem.log_loss) == len(problem.weights) == 1
    if not (isinstance(model, PowerSum) and one and problem.weights.size <= MOST_ROWS_KEPT):
        return None
    arrays = (model.design, model.offset, problem.log_loss, problem.weights, theta)
    held = tuple(np.asarray(array).tobytes() for array in arrays)
    return (*held, model.free_power, problem.delta, problem.above, max_iterations)


def _minima(problem: Problem, theta: FloatArray, max_iterations: int) -> Minimum:
    """`minimise`, in batches of which each fits into the cache of a processor."""
    n_rows = problem.weights.shape[1]
    most = max(LARGEST_BATCH // n_rows, 1)
    if len(theta) > most:
        parts = [np.arange(start, min(start + most, len(theta))) for start in range(0, len(theta), most)]
        return _joined([_minima(problem.select(part), theta[part], max_iterations) for part in parts])
    theta = np.array(theta, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _minimum(problem, theta, max_iterations)


def _minimum(problem: Problem, theta: FloatArray, max_iterations: int) -> Minimum:
    """`minimise` of one batch. What is still on its way is held together, and left alone once it is done."""
    value, gradient, hessian, majoriser = _derivatives(problem, theta)
    lost = ~_all_finite(value, gradient, hessian)  # a start from which no law follows
    value, gradient = np.where(lost, np.inf, value), np.where(lost[:, None], np.inf, gradient)
    largest_gradient = problem.delta * np.broadcast_to(problem.weights.sum(axis=1), len(theta))
    tolerance = GRADIENT_TOLERANCE * largest_gradient
    steepest = np.abs(gradient).max(axis=1)
    ends = theta.copy(), value.copy(), gradient.copy(), steepest.copy()
    rounding = 1e-15 * (largest_gradient + np.where(lost, 0.0, value))
    damping = np.ones(len(theta))
    active, going = np.arange(len(theta)), ~lost & (steepest > tolerance)
    for _ in range(max_iterations):
        if not going.all():
            for end, at in zip(ends, (theta, value, gradient, steepest), strict=True):
                end[active] = at
            kept = np.flatnonzero(going)
            if not len(kept):
                break
            problem, active = problem.select(kept), active[kept]
            theta, value, gradient, steepest = theta[kept], value[kept], gradient[kept], steepest[kept]
            hessian, majoriser, damping = hessian[kept], majoriser[kept], damping[kept]
            tolerance, rounding = tolerance[kept], rounding[kept]
        step = -_solve(hessian + damping[:, None, None] * majoriser, gradient)
        downhill = np.einsum("sp,sp->s", step, gradient) < 0
        trial = theta + (step if downhill.all() else np.where(downhill[:, None], step, 0.0))
        trial_value, trial_gradient, trial_hessian, trial_majoriser = _derivatives(problem, trial)
        trial_steepest = np.abs(trial_gradient).max(axis=1)
        # Where the objective moves by rounding alone, the gradient decides.
        lower = trial_value < value - rounding
        equal = trial_value <= value + rounding
        finite = _all_finite(trial_value, trial_gradient, trial_hessian)
        taken = downhill & finite & (lower | (equal & (trial_steepest < steepest)))
        if taken.all():
            theta, value, gradient, steepest = trial, trial_value, trial_gradient, trial_steepest
            hessian, majoriser = trial_hessian, trial_majoriser
            damping = np.maximum(damping / EASED, LEAST_DAMPING)
        else:
            np.copyto(theta, trial, where=taken[:, None])
            np.copyto(value, trial_value, where=taken)
            np.copyto(gradient, trial_gradient, where=taken[:, None])
            np.copyto(steepest, trial_steepest, where=taken)
            np.copyto(hessian, trial_hessian, where=taken[:, None, None])
            np.copyto(majoriser, trial_majoriser, where=taken[:, None, None])
            damping = np.where(taken, np.maximum(damping / EASED, LEAST_DAMPING), damping * RAISED)
        going = (steepest > tolerance) & (damping < MAX_DAMPING)
    else:
        for end, at in zip(ends, (theta, value, gradient, steepest), strict=True):
            end[active] = at
    theta, value, gradient, steepest = ends
    return Minimum(
        theta=theta,
        objective=value,
        gradient_norm=np.linalg.norm(gradient, axis=1),
        solved=steepest <= GRADIENT_TOLERANCE * largest_gradient,
    )


def _joined(parts: list[Minimum]) -> Minimum:
    return Minimum(
        theta=np.concatenate([part.theta for part in parts]),
        objective=np.concatenate([part.objective for part in parts]),
        gradient_norm=np.concatenate([part.gradient_norm for part in parts]),
        solved=np.concatenate([part.solved for part in parts]),
    )


def _all_finite(value: FloatArray, gradient: FloatArray, hessian: FloatArray) -> NDArray[np.bool_]:
    # Finite numbers whose sum is not are none of a fit either.
    return np.asarray(np.isfinite(value + np.einsum("sp->s", gradient) + np.einsum("spq->s", hessian)))


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
    J, delta = prediction.jacobian, problem.delta
    residual = prediction.log_loss - problem.log_loss
    weights = problem.weights_at(residual)
    size = np.abs(residual)
    clipped = np.minimum(np.maximum(residual, -delta), delta)
    pull = weights * clipped  # derivative of weight * Huber
    gradient = (pull[:, None] @ J)[:, 0]
    hessian = gram(J, weights * (size <= delta))
    hessian += problem.model.curvature(theta, prediction, pull)
    majoriser = gram(J, weights * delta / np.maximum(size, delta))

    # A floor for directions that no row sees, such as ln E once E has gone to 0.
    diagonal = np.einsum("spp->sp", majoriser)
    diagonal += 1e-9 * (diagonal.sum(axis=1, keepdims=True) + TINY)
    value = (pull * (residual - clipped / 2)).sum(axis=1)
    return value, gradient, hessian, majoriser


def _is_rowwise(model: LogLossModel) -> bool:
    return isinstance(model.model if isinstance(model, Pinned) else model, RowwiseModel)


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
