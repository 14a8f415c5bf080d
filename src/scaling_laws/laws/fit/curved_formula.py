"""Coordinates of a law that is written as a formula: logarithms of its parameters, signed ones as they are.

Nothing is known of the shape of such a law, so that its starts are the best of many points at random: another
optimum cannot be ruled out, only not found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scaling_laws.laws.fit.coordinates import SMALLEST_SHARE, Free
from scaling_laws.laws.fit.curved import CurvedCoordinates, Evaluation
from scaling_laws.laws.fit.huber import LARGEST_BATCH, Problem, objective
from scaling_laws.laws.forms.formula_law import IRREDUCIBLE, evaluate, exponents_in
from scaling_laws.laws.forms.terms import FloatArray

POINTS, STARTS = 4_096, 32
EXPONENTS, SCALES, SIGNED = (0.03, 2.0), (1e-3, 1e5), (-1.0, 1.0)
"""Where starts are looked for, of a parameter that says nothing else."""
SHARE_OF_LOSS = (0.02, 0.95)
"""An irreducible loss over the lowest loss."""


class FormulaCoordinates(CurvedCoordinates):
    """theta = ln of each positive parameter, the signed ones themselves, in the order of the fields."""

    @property
    def names(self) -> list[str]:
        return list(self.form.units)

    def _of_theta(self, name: str) -> Callable[[FloatArray], FloatArray]:
        return np.asarray if name in self.form.signed else np.exp

    @property
    def free(self) -> dict[str, Free]:
        return {name: Free(i, self._of_theta(name)) for i, name in enumerate(self.names)}

    def evaluate(self, theta: FloatArray) -> Evaluation:
        parameters = {name: self._of_theta(name)(theta[:, i : i + 1]) for i, name in enumerate(self.names)}
        with np.errstate(all="ignore"):
            loss, slopes = evaluate(self.form.tree, {**self.rows.values, **parameters}, frozenset(parameters))
            loss = np.where(loss > 0, loss, np.nan)
            columns = [
                slopes.get(name, np.zeros(1)) / loss * (1.0 if name in self.form.signed else parameters[name])
                for name in self.names
            ]
            log_loss = np.log(loss)
        return log_loss, np.stack([np.broadcast_to(column, log_loss.shape) for column in columns], axis=2)

    def starts(self, problem: Problem) -> FloatArray:
        random = np.random.default_rng(0)
        lowest = float(np.exp(problem.log_loss.min()))
        in_exponents = exponents_in(self.form.tree)
        columns = []
        for name in self.names:
            usual = EXPONENTS if name in in_exponents else SCALES
            if name in IRREDUCIBLE:
                usual = (SHARE_OF_LOSS[0] * lowest, SHARE_OF_LOSS[1] * lowest)
            low, high = self.form.starts.get(name, SIGNED if name in self.form.signed else usual)
            if name not in self.form.signed:
                low, high = np.log(low), np.log(high)
            columns.append(random.uniform(low, high, size=POINTS))
        points = np.stack(columns, axis=1)
        part = max(LARGEST_BATCH // self.rows.n, 1)
        values = np.concatenate(
            [objective(problem, points[start : start + part]) for start in range(0, POINTS, part)]
        )
        order = np.argsort(np.nan_to_num(values, nan=np.inf), kind="stable")
        return points[order[:STARTS]]

    def law(self, theta: FloatArray) -> Any:
        with np.errstate(over="ignore"):
            return self.law_of(
                theta, **{name: self._of_theta(name)(theta[..., i]) for i, name in enumerate(self.names)}
            )

    def on_bound(self, theta: FloatArray) -> dict[str, str]:
        jacobian = np.abs(self.model.predict(theta[None]).jacobian[0])
        return {
            name: f"{name} -> 0 or without effect: the rows do not show it"
            for i, name in enumerate(self.names)
            if name not in self.form.signed and jacobian[:, i].max() < SMALLEST_SHARE
        }
