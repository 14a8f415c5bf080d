"""Profiles: how far a parameter can move before the fit notices, all others fitted anew.

The objective's rise along a profile, over its dispersion, is a quasi-likelihood ratio: with Huber's loss rho
and psi its derivative, 2 (Q - Q_min) / (mean psi^2 / mean psi') is chi-squared with one degree of freedom
(robust likelihood ratio test, Huber & Ronchetti 2009; the dispersion is scaled to n - p degrees of freedom).
Unlike a bootstrap, a profile follows a curved valley to its end: an interval that does not close says that
the rows bound the parameter on one side only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scaling_laws.laws.fit.fit import Fit, L, part_of
from scaling_laws.laws.fit.huber import Problem, minimise
from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.level import LEVEL
from scaling_laws.laws.fit.noise import share_within
from scaling_laws.laws.fit.power_sum import Pinned, gram
from scaling_laws.laws.fit.rows import LARGE_ROWS
from scaling_laws.laws.forms.terms import FloatArray

CHI_SQUARED = {0.90: 2.7055, 0.95: 3.8415}
"""Quantiles of the chi-squared distribution with one degree of freedom."""
STEPS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0)
"""Where a profile is evaluated, in standard errors by curvature to either side of the optimum."""


def profile_intervals(fit: Fit[L], level: float = LEVEL) -> dict[str, Interval]:
    """Interval of every parameter that is one of the fit's coordinates; None for an end that is not reached.

    Rows of one training are taken as independent here: the bootstrap is the interval to quote, the profile
    says whether the valley is closed.

    Args:
        fit: an identified fit.
        level: 0.90 or 0.95.

    Of a large table the profiles are those of a part of its rows, which are as much wider as their number is
    smaller; an end that they do not reach is looked for with all rows.
    """
    if fit.rows.n <= LARGE_ROWS or not fit.is_rowwise:
        return {name: _interval(fit, name, ends) for name, ends in _distances(fit, level).items()}
    part = part_of(fit)
    narrower = np.sqrt(part.rows.n / fit.rows.n)
    intervals = {}
    for name, ends in _distances(part, level).items():
        ends = [None if distance is None else distance * narrower for distance in ends]
        if None in ends:
            ends = _distances(fit, level, only=name)[name]
        intervals[name] = _interval(fit, name, ends)
    return intervals


def _interval(fit: Fit[L], name: str, distances: list[float | None]) -> Interval:
    """The parameter where its coordinate is so far from the optimum."""
    column, of_theta = fit.coordinates.free[name]
    at = fit.minima[0, column : column + 1]
    ends = [None if distance is None else float(of_theta(at + distance)[0]) for distance in distances]
    rising = np.all(np.diff(of_theta(np.array([1.0, 2.0]))) > 0)
    return (ends[0], ends[1]) if rising else (ends[1], ends[0])


def _distances(fit: Fit[L], level: float, only: str = "") -> dict[str, list[float | None]]:
    """How far each parameter's coordinate moves down, and up, until the profile has risen by the level's."""
    problem = fit.problem
    dispersion, covariance = curvature(fit)
    standard_error = np.sqrt(np.maximum(np.diag(covariance), np.finfo(float).tiny))
    threshold = CHI_SQUARED[level] * dispersion / 2
    assert fit.objective is not None
    distances = {}
    for name, (column, _) in fit.coordinates.free.items():
        if only in ("", name):
            steps = (-standard_error[column], standard_error[column])
            distances[name] = [
                _crossing(problem, fit.minima[0], column, step, fit.objective, threshold) for step in steps
            ]
    return distances


def curvature(fit: Fit[L]) -> tuple[float, FloatArray]:
    """mean psi^2 / mean psi' for n - p degrees of freedom, and the coordinates' covariance by it, (p, p)."""
    problem = fit.problem
    prediction = problem.model.predict(fit.minima[:1])
    residual = (prediction.log_loss - problem.log_loss)[0]
    n, n_parameters = len(residual), fit.minima.shape[1]
    psi = np.clip(residual, -fit.delta, fit.delta)
    slope = share_within(residual, fit.delta, n_parameters)
    dispersion = float(np.mean(fit.weights * psi**2) / slope * n / max(n - n_parameters, 1))
    information = slope * gram(prediction.jacobian, problem.weights)[0]
    return dispersion, dispersion * np.linalg.pinv(information)


def _crossing(
    problem: Problem, optimum: FloatArray, column: int, step: float, lowest: float, threshold: float
) -> float | None:
    """How far the coordinate moves until the profile has risen by the threshold; None if it never does."""
    distance = step * np.array(STEPS)
    pinned = replace(
        problem, model=Pinned(model=problem.model, held=column, values=optimum[column] + distance)
    )
    minimum = minimise(pinned, np.tile(np.delete(optimum, column), (len(distance), 1)))
    rise = np.concatenate([[0.0], minimum.objective - lowest])
    above = np.flatnonzero(rise > threshold)
    if not len(above):
        return None
    # The square root of the rise is nearly linear.
    roots, distance = np.sqrt(np.maximum(rise, 0.0)), np.concatenate([[0.0], distance])
    end = int(above[0])
    share = (np.sqrt(threshold) - roots[end - 1]) / (roots[end] - roots[end - 1])
    return float(distance[end - 1] + share * (distance[end] - distance[end - 1]))
