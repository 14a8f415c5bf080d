"""The loss of a new run by profile prediction: what it may be before the fit has to give way.

A candidate loss is added to the rows as one more, with the noise of one run, and the law is fitted anew. The
rise of the sum of squares, weighted by the noise of trainings and of rows, is compared with Student's t of
the degrees of freedom that the noise was estimated with (profile predictive likelihood, Hinkley 1979). For a
law that is linear in its parameters this is the textbook's prediction interval. A bootstrap of few trainings
refits noise that it estimated itself; a profile follows a curved valley to its end, and an end that it does
not reach is open.

Shapes: n rows, p coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling_laws.laws.fit.fit import Fit, L
from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.level import interval_level
from scaling_laws.laws.fit.noise import Components, SeedNoise, components
from scaling_laws.laws.fit.noise_growth import sd_of_new_run
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.errors import InputError

STEPS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.5, 7.0, 11.0)
"""Where the profile is evaluated, in standard deviations of the new run by first order."""
DIFFERENCE = 1e-5
"""Of a coordinate, for the derivative of the new run's loss."""
MOST_ROWS = 2_000
"""The noise of so many rows is one matrix."""


@dataclass(frozen=True)
class _Prediction:
    """Weighted residuals of the rows and of the new run."""

    fit: Fit[Any]
    whitening: FloatArray
    new_sd: float
    at: dict[str, float]

    def log_loss(self, theta: FloatArray) -> float:
        with np.errstate(all="ignore"):
            return float(np.log(self.fit.coordinates.law(theta).loss(**self.at)))

    def slope(self, theta: FloatArray) -> FloatArray:
        """Derivative of the new run's ln loss, (p,)."""
        moved = np.concatenate(
            [theta + DIFFERENCE * np.eye(len(theta)), theta - DIFFERENCE * np.eye(len(theta))]
        )
        with np.errstate(all="ignore"):
            values = np.log(np.asarray(self.fit.coordinates.law(moved).loss(**self.at)))
        up, down = np.split(values, 2)
        return np.asarray((up - down) / (2 * DIFFERENCE))

    def residuals(self, theta: FloatArray, new: float | None) -> FloatArray:
        problem = self.fit.problem
        rows = problem.model.predict(theta[None]).log_loss[0] - problem.log_loss[0]
        of_rows = self.whitening @ rows
        if new is None:
            return np.asarray(of_rows)
        return np.append(of_rows, (self.log_loss(theta) - new) / self.new_sd)

    def jacobian(self, theta: FloatArray, new: float | None) -> FloatArray:
        of_rows = self.whitening @ self.fit.problem.model.predict(theta[None]).jacobian[0]
        return np.asarray(of_rows) if new is None else np.vstack([of_rows, self.slope(theta) / self.new_sd])

    def least(self, start: FloatArray, new: float | None) -> tuple[FloatArray, float]:
        """The lowest sum of squares, and where; infinite where nothing finite is found."""
        from scipy.optimize import least_squares

        try:
            found = least_squares(self.residuals, start, jac=self.jacobian, x_scale="jac", args=(new,))
        except ValueError:  # a residual is not finite
            return start, np.inf
        return np.asarray(found.x), float(2 * found.cost)


def profile_prediction(
    fit: Fit[L], *, noise: SeedNoise | None = None, level: float | None = None, **at: float
) -> Interval:
    """Interval of the loss that one new training would reach, nats per token; None for an open end.

    Args:
        fit: an identified fit; its rows weigh alike.
        noise: between seeds, if it was measured: it counts where it is larger than the residuals'.
        level: of the interval.
        at: the law's variables at the new run, N=, D=.

    Raises:
        InputError: the fit is not identified, its rows have weights, or there are too many of them.
    """
    from scipy.stats import t

    if not fit.identified:
        raise InputError(f"{fit.form.form} has no intervals: {fit.reason}")
    if not np.allclose(fit.weights, 1):
        raise InputError("a profile prediction needs rows of equal weight: leave the weights out")
    if fit.rows.n > MOST_ROWS:
        raise InputError(
            f"a profile prediction is for few runs, at most {MOST_ROWS:,} rows: use the bootstrap"
        )
    problem = fit.problem
    prediction = problem.model.predict(fit.minima[:1])
    residual = (problem.log_loss - prediction.log_loss)[0]
    of_residuals = components(residual, prediction.jacobian[0], fit.rows.cluster)
    parts = of_residuals.or_seeds(noise, fit.rows)
    about = parts if parts.relative_sd is None else of_residuals
    new_sd = sd_of_new_run(about.sd, noise.growth if noise else None, at)
    if not parts.sd > 0:
        raise InputError(f"{fit.form.form} follows the rows exactly: there is no noise to predict with")
    law = _Prediction(fit, _whitening(parts, fit.rows.cluster), new_sd, at)
    theta, lowest = law.least(fit.minima[0], None)
    centre = law.log_loss(theta)
    J = law.jacobian(theta, None)
    slope = law.slope(theta)
    spread = float(np.sqrt(new_sd**2 + slope @ np.linalg.pinv(J.T @ J) @ slope))
    if not (np.isfinite(centre) and np.isfinite(spread)):
        return None, None
    level = interval_level() if level is None else level
    threshold = float(t.ppf((1 + level) / 2, _freedom(parts)))
    ends = [_end(law, theta, lowest, centre, sign * spread, threshold) for sign in (-1.0, 1.0)]
    return ends[0], ends[1]


def _whitening(parts: Components, cluster: Any) -> FloatArray:
    """(n, n): makes noise of the two parts white."""
    cluster = np.asarray(cluster)
    same = cluster[:, None] == cluster[None, :]
    least = 1e-6 * parts.sd**2  # a training's rows may share all of their noise
    covariance = parts.of_training * same + max(parts.of_row, least) * np.eye(len(cluster))
    if parts.relative_sd is not None:
        covariance = covariance * np.outer(parts.relative_sd, parts.relative_sd)
    return np.asarray(np.linalg.inv(np.linalg.cholesky(covariance)))


def _freedom(parts: Components) -> float:
    """Of the sum of the two variances (Satterthwaite 1946)."""
    pairs = ((parts.of_training, parts.freedom_of_training), (parts.of_row, parts.freedom_of_row))
    return float(parts.sd**4 / sum(variance**2 / freedom for variance, freedom in pairs))


def _end(
    law: _Prediction, theta: FloatArray, lowest: float, centre: float, step: float, threshold: float
) -> float | None:
    """The loss at which the root of the rise meets the threshold; None if it never does."""
    before, at_before = 0.0, 0.0
    for distance in STEPS:
        theta, squares = law.least(theta, centre + step * distance)
        root = float(np.sqrt(max(squares - lowest, 0.0)))
        if root >= threshold:
            share = 1.0 if not np.isfinite(root) else (threshold - before) / (root - before)
            return float(np.exp(centre + step * (at_before + share * (distance - at_before))))
        before, at_before = root, distance
    return None
