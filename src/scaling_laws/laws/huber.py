"""Minimise the sum of Huber losses of log residuals, for many problems at once.

The model is ln L = m * ln(sum_k exp(u_k)), with every u_k linear in the parameters: all the forms of
`forms.py` in logarithms. Its first and second derivatives are closed forms, so one damped Newton iteration,
vectorised over a batch, serves the many starts of a fit, their polish, and every resample of a bootstrap.

Shapes: S problems in the batch, n rows, K terms, p parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scaling_laws.laws.forms import FloatArray

GRADIENT_TOLERANCE = 1e-10
"""A problem is solved when no entry of its gradient exceeds this share of delta times the sum of weights,
the size the gradient would have if every row pulled the same way."""
MAX_ITERATIONS = 500
MAX_DAMPING = 1e12


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Rows and weights; the batch is in the weights, in the losses, or in neither.

    Attributes:
        design: (n, K, q): u_k = design_k . phi + offset_k, phi being the first q parameters.
        offset: (n, K).
        free_power: whether m = exp(last parameter); otherwise m = 1.
        log_loss: (1, n) or (S, n): the ln L to be met.
        weights: (1, n) or (S, n).
        delta: where Huber's loss turns from quadratic to linear, in ln L.
    """

    design: FloatArray
    offset: FloatArray
    free_power: bool
    log_loss: FloatArray
    weights: FloatArray
    delta: float

    @property
    def n_parameters(self) -> int:
        return int(self.design.shape[2]) + int(self.free_power)

    def select(self, index: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Problem:
        """The problems of the batch at `index`."""
        return Problem(
            design=self.design,
            offset=self.offset,
            free_power=self.free_power,
            log_loss=self.log_loss if len(self.log_loss) == 1 else self.log_loss[index],
            weights=self.weights if len(self.weights) == 1 else self.weights[index],
            delta=self.delta,
        )


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The model at a batch of parameters.

    Attributes:
        log_loss: (S, n).
        jacobian: (S, n, p): derivative of `log_loss`.
        share: (S, n, K): each term's share of the sum.
    """

    log_loss: FloatArray
    jacobian: FloatArray
    share: FloatArray


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


def predict(problem: Problem, theta: FloatArray) -> Prediction:
    """ln L and its Jacobian at theta (S, p)."""
    n, K, q = problem.design.shape
    u = (theta[:, :q] @ problem.design.reshape(n * K, q).T).reshape(-1, n, K) + problem.offset
    top = u.max(axis=2, keepdims=True)
    share = np.exp(u - top)
    total = share.sum(axis=2, keepdims=True)
    share /= total
    log_sum = (top + np.log(total))[..., 0]
    slope = np.einsum("snk,nkq->snq", share, problem.design)
    if not problem.free_power:
        return Prediction(log_loss=log_sum, jacobian=slope, share=share)
    power = np.exp(theta[:, q])[:, None]
    log_loss = power * log_sum
    jacobian = np.concatenate([power[..., None] * slope, log_loss[..., None]], axis=2)
    return Prediction(log_loss=log_loss, jacobian=jacobian, share=share)


def objective(problem: Problem, theta: FloatArray) -> FloatArray:
    """Sum over rows of weight * Huber_delta(ln L_hat - ln L), (S,)."""
    residual = predict(problem, theta).log_loss - problem.log_loss
    return _huber_sum(problem, residual)


def minimise(problem: Problem, theta: FloatArray, max_iterations: int = MAX_ITERATIONS) -> Minimum:
    """Damped Newton from each row of `theta` (S, p).

    A step solves (H + damping * M) step = -gradient. H is the exact Hessian: near the optimum it makes the
    iteration finite. M is the Hessian of the quadratic that lies above every row's Huber loss, with which
    large damping is iteratively reweighted least squares, safe from far away. Steps that do not lower the
    objective are not taken.
    """
    theta = np.array(theta, dtype=np.float64)
    value, gradient, hessian, majoriser = _derivatives(problem, theta)
    damping = np.ones(len(theta))
    largest_gradient = problem.delta * np.broadcast_to(problem.weights.sum(axis=1), len(theta))
    tolerance = GRADIENT_TOLERANCE * largest_gradient
    rounding = 1e-15 * (largest_gradient + value)
    active = np.flatnonzero(np.abs(gradient).max(axis=1) > tolerance)
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
        taken = downhill & (lower | (equal & smaller))
        chosen = active[taken]
        theta[chosen], value[chosen] = trial[taken], trial_value[taken]
        gradient[chosen] = trial_gradient[taken]
        hessian[chosen], majoriser[chosen] = trial_hessian[taken], trial_majoriser[taken]
        damping[active] = np.where(taken, np.maximum(damping[active] / 8, 1e-15), damping[active] * 4)
        unsolved = np.abs(gradient[active]).max(axis=1) > tolerance[active]
        active = active[unsolved & (damping[active] < MAX_DAMPING)]
    return Minimum(
        theta=theta,
        objective=value,
        gradient_norm=np.linalg.norm(gradient, axis=1),
        solved=np.abs(gradient).max(axis=1) <= tolerance,
    )


def _derivatives(
    problem: Problem, theta: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Objective (S,), gradient (S, p), Hessian (S, p, p) and the majoriser's Hessian (S, p, p)."""
    n, K, q = problem.design.shape
    prediction = predict(problem, theta)
    J, delta, weights = prediction.jacobian, problem.delta, problem.weights
    residual = prediction.log_loss - problem.log_loss
    size = np.abs(residual)
    pull = weights * np.clip(residual, -delta, delta)  # derivative of weight * Huber
    gradient = np.einsum("snp,sn->sp", J, pull)
    hessian = _gram(J, weights * (size <= delta))
    majoriser = _gram(J, weights * delta / np.maximum(size, delta))

    # Second derivatives of the model: power * (sum_k share_k x_k x_k' - slope slope'), slope = sum share x.
    power = np.exp(theta[:, q]) if problem.free_power else np.ones(len(theta))
    outer = np.einsum("nka,nkb->nkab", problem.design, problem.design).reshape(n * K, q * q)
    pulled_share = (pull[..., None] * prediction.share).reshape(-1, n * K)
    slope = J[..., :q]
    curvature = (pulled_share @ outer).reshape(-1, q, q) * power[:, None, None]
    hessian[:, :q, :q] += curvature - _gram(slope, pull) / power[:, None, None]
    if problem.free_power:  # m = exp(theta_q), so that d2/dtheta_q dx is the slope once more
        hessian[:, q, :] += gradient
        hessian[:, :q, q] += gradient[:, :q]

    # A floor for directions that no row sees, such as ln E once E has gone to 0.
    trace = np.trace(majoriser, axis1=1, axis2=2)[:, None, None]
    majoriser += 1e-9 * (trace + np.finfo(float).tiny) * np.eye(problem.n_parameters)
    return _huber_sum(problem, residual), gradient, hessian, majoriser


def _huber_sum(problem: Problem, residual: FloatArray) -> FloatArray:
    clipped = np.clip(residual, -problem.delta, problem.delta)
    huber = clipped**2 / 2 + problem.delta * (np.abs(residual) - np.abs(clipped))
    return np.asarray(np.sum(problem.weights * huber, axis=1))


def _gram(J: FloatArray, weights: FloatArray) -> FloatArray:
    """sum_i w_i J_i J_i', (S, p, p)."""
    return np.asarray(np.swapaxes(J, 1, 2) @ (weights[..., None] * J))


def _solve(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    """matrix^-1 vector for each problem; a singular one gets a zero step, so that its damping rises."""
    try:
        return np.asarray(np.linalg.solve(matrix, vector[..., None])[..., 0])
    except np.linalg.LinAlgError:
        regular = np.abs(np.linalg.det(matrix)) > 0
        step = np.zeros_like(vector)
        step[regular] = np.linalg.solve(matrix[regular], vector[regular][..., None])[..., 0]
        return step
