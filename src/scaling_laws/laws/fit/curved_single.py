"""Coordinates of the curved laws of one variable: the logarithm and the broken power law."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from scaling_laws.laws.fit.coordinates import Free
from scaling_laws.laws.fit.curved import CurvedCoordinates, Evaluation, no_constant
from scaling_laws.laws.fit.huber import Problem
from scaling_laws.laws.forms.terms import FloatArray

START_IRREDUCIBLE = (0.01, 0.4, 0.8)
"""E over the lowest loss."""
START_BREAKS = (0.2, 0.5, 0.8)
"""Quantiles of ln x."""
START_WIDTHS = (0.3, 1.0)
SMALLEST_BEND = 1e-3


class LogarithmicCoordinates(CurvedCoordinates):
    """theta = (loss at the centre, b)."""

    @property
    def free(self) -> dict[str, Free]:
        return {"b": Free(1, np.asarray)}

    def evaluate(self, theta: FloatArray) -> Evaluation:
        x = self.x
        loss = theta[:, :1] - theta[:, 1:] * x
        loss = np.where(loss > 0, loss, np.nan)
        return np.log(loss), np.stack([1 / loss, -x / loss], axis=2)

    def starts(self, problem: Problem) -> FloatArray:
        x, loss = self.x, np.exp(problem.log_loss[0])
        slope = float(np.sum(x * loss) / max(np.sum(x**2), np.finfo(float).tiny))
        return np.array([[loss.mean(), -share * slope] for share in (0.0, 0.5, 0.8, 1.0)])

    def law(self, theta: FloatArray) -> Any:
        centre = self.rows.centre(self.form.variables[0])
        return self.law_of(theta, a=theta[..., 0] + theta[..., 1] * centre, b=theta[..., 1])

    def on_bound(self, theta: FloatArray) -> dict[str, str]:
        return {}


class BrokenCoordinates(CurvedCoordinates):
    """theta = (ln E, ln b at the centre, c_0, c_1, ln d_1 from the centre, ln f_1)."""

    @property
    def free(self) -> dict[str, Free]:
        centre = self.rows.centre(self.form.variables[0])
        return {
            "E": Free(0, np.exp),
            "c_0": Free(2, np.asarray),
            "c_1": Free(3, np.asarray),
            "d_1": Free(4, lambda log_d: np.exp(log_d + centre)),
            "f_1": Free(5, np.exp),
        }

    def evaluate(self, theta: FloatArray) -> Evaluation:
        x = self.x
        e, b, c_0, c_1, log_d, f = (column[:, None] for column in theta.T)
        f = np.exp(f)
        z = (x - log_d) / f
        soft = np.logaddexp(0.0, z)
        hard = np.exp(z - soft)  # the derivative of `soft`
        of_x = b - c_0 * x - c_1 * f * soft
        log_loss = np.logaddexp(e, of_x)
        share = np.exp(of_x - log_loss)
        slopes = [np.ones_like(z), -x * np.ones_like(z), -f * soft, c_1 * hard, -c_1 * f * (soft - z * hard)]
        return log_loss, np.stack([1 - share, *(share * slope for slope in slopes)], axis=2)

    def starts(self, problem: Problem) -> FloatArray:
        """Given E, d_1 and f_1, ln(L - E) is linear in the others: variable projection over a grid."""
        x, loss = self.x, np.exp(problem.log_loss[0])
        breaks = np.quantile(x, START_BREAKS)
        starts = []
        for share, log_d, f in product(START_IRREDUCIBLE, breaks, START_WIDTHS):
            E = share * loss.min()
            columns = np.stack([np.ones_like(x), -x, -f * np.logaddexp(0.0, (x - log_d) / f)], axis=1)
            b, c_0, c_1 = np.linalg.lstsq(columns, np.log(loss - E), rcond=None)[0]
            starts.append([np.log(E), b, c_0, c_1, log_d, np.log(f)])
        return np.array(starts)

    def law(self, theta: FloatArray) -> Any:
        centre = self.rows.centre(self.form.variables[0])
        with np.errstate(over="ignore"):
            return self.law_of(
                theta,
                E=np.exp(theta[..., 0]),
                b=np.exp(theta[..., 1] + theta[..., 2] * centre),
                c_0=theta[..., 2],
                c_1=theta[..., 3],
                d_1=np.exp(theta[..., 4] + centre),
                f_1=np.exp(theta[..., 5]),
            )

    def on_bound(self, theta: FloatArray) -> dict[str, str]:
        x = self.x
        reasons = no_constant(self, theta, "E")
        if not x.min() < theta[4] < x.max():
            reasons["d_1"] = "d_1 lies outside the rows: they show no break"
        elif abs(theta[3]) < SMALLEST_BEND:
            reasons["c_1"] = "c_1 -> 0: the rows show no break"
        elif theta[5] < np.log(np.diff(np.unique(x)).min() / 4):
            reasons["f_1"] = "f_1 -> 0: the break is narrower than the distance between rows"
        return reasons
