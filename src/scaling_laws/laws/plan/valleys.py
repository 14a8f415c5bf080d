"""Where the best value of a setting lies among those that were tried, and how it moves with N and D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.level import TWO_SIDED_90
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.laws.plan.budget_ledger import SETTINGS

if TYPE_CHECKING:
    import pandas as pd

Edge = Literal["", "low", "high"]
FEWEST_VALUES = 3
RATE_SD, EDGE_SD = 0.25, 1.0
"""How well a bracketed valley of three to five rates shows ln of the best rate, and how well an end does."""
PRIOR_SLOPES, PRIOR_SD = (-0.3, 0.0), 0.3
"""Exponents of N and D that a best rate is taken to have before a run has shown it. Published rules have
-0.36 of N (Porian et al. 2024), less and more, and of D either sign."""


@dataclass(frozen=True, kw_only=True)
class Valley:
    """The values of one setting that were tried at one N and D.

    Attributes:
        point: its name in the ledger.
        N, D: parameters, tokens.
        log_best: ln of the best value; of beta2, ln(1 - beta2).
        loss: nats per token there.
        edge: whether the best is the lowest or highest that was tried; "" where it lies between others.
        n_values: that were tried.
    """

    point: str
    N: float
    D: float
    log_best: float
    loss: float
    edge: Edge
    n_values: int

    @property
    def bracketed(self) -> bool:
        return self.n_values >= FEWEST_VALUES and not self.edge


def coordinate(name: str, values: FloatArray) -> FloatArray:
    """What a setting is compared in: ln x; of beta2 ln(1 - beta2), the window that it averages over."""
    return np.log(1 - values) if name == "beta2" else np.log(values)


def from_coordinate(name: str, at: float) -> float:
    return float(1 - np.exp(at)) if name == "beta2" else float(np.exp(at))


def valleys(ledger: pd.DataFrame, name: str) -> list[Valley]:
    """The valley of a setting at every point: of runs that differ in nothing else.

    Of a point whose runs differ in several settings, the runs that share the others with its first run.

    Args:
        ledger: runs that have ended; a diverged one has an infinite loss.
        name: `learning_rate`, or one of `SETTINGS`.
    """
    found = []
    others = [each for each in ("learning_rate", *SETTINGS) if each != name]
    for point, runs in ledger.groupby("point", sort=False):
        runs = runs[runs[name].notna()] if name != "learning_rate" else runs
        if runs.empty or not np.isfinite(runs["loss"]).any():
            continue
        first = runs.iloc[0]
        same = np.logical_and.reduce(
            [(runs[each] == first[each]) | (runs[each].isna() & np.isnan(first[each])) for each in others]
        )
        of_one = runs[same]
        if not np.isfinite(of_one["loss"]).any():
            continue
        means = of_one.groupby(name)["loss"].mean()
        at = coordinate(name, means.index.to_numpy(dtype=np.float64))
        order = np.argsort(at)
        log_best, loss, edge = _lowest(at[order], means.to_numpy(dtype=np.float64)[order])
        found.append(
            Valley(
                point=str(point),
                N=float(of_one["N"].median()),
                D=float(of_one["D"].median()),
                log_best=log_best,
                loss=loss,
                edge=edge,
                n_values=len(means),
            )
        )
    return found


def _lowest(at: FloatArray, loss: FloatArray) -> tuple[float, float, Edge]:
    """The lowest point of the parabola in ln loss through the lowest loss and its neighbours."""
    i = int(np.argmin(loss))
    if i == 0 or i == len(at) - 1:
        return float(at[i]), float(loss[i]), "low" if i == 0 else "high"
    near = slice(i - 1, i + 2)
    if not np.isfinite(loss[near]).all():  # a neighbour diverged
        return float(at[i]), float(loss[i]), ""
    curvature, slope, _ = np.polyfit(at[near] - at[i], np.log(loss[near] / loss[i]), 2)
    shift = -slope / (2 * curvature) if curvature > 0 else 0.0
    return float(at[i] + shift), float(loss[i] * np.exp(-curvature * shift**2)), ""


@dataclass(frozen=True, kw_only=True)
class RatePlane:
    """ln of the best rate as a plane in ln N and ln D, with `PRIOR_SLOPES` where runs say little.

    Attributes:
        centre: (2,): mean ln N and ln D.
        mean: (3,): at the centre, and the exponents of N and D.
        covariance: (3, 3).
        n_points: valleys, of which `n_bracketed` have their best between others.
    """

    centre: FloatArray
    mean: FloatArray
    covariance: FloatArray
    n_points: int
    n_bracketed: int

    def at(self, N: float, D: float) -> float:
        return float(np.exp(self._row(N, D) @ self.mean))

    def interval(self, N: float, D: float) -> Interval:
        """90 % of the best rate there."""
        row = self._row(N, D)
        factor = float(np.exp(TWO_SIDED_90 * np.sqrt(row @ self.covariance @ row + RATE_SD**2)))
        return self.at(N, D) / factor, self.at(N, D) * factor

    def words(self) -> str:
        _, of_N, of_D = self.mean
        return (
            f"rate ~ N^{of_N:.2f} D^{of_D:.2f}, from {self.n_bracketed} of {self.n_points} points with the "
            f"best rate between others, and exponents of {PRIOR_SLOPES[0]:g} and {PRIOR_SLOPES[1]:g} "
            f"(+- {PRIOR_SD:g}) taken before"
        )

    def _row(self, N: float, D: float) -> FloatArray:
        return np.array([1.0, *(np.log([N, D]) - self.centre)])


def rate_plane(found: Sequence[Valley]) -> RatePlane | None:
    """The plane through the best rates: a linear Gaussian model. None without a point of several rates."""
    several = [each for each in found if each.n_values >= FEWEST_VALUES]
    if not several:
        return None
    logs = np.log([[each.N, each.D] for each in several])
    centre = logs.mean(axis=0)
    rows = np.column_stack([np.ones(len(several)), logs - centre])
    weights = np.array([(RATE_SD if each.bracketed else EDGE_SD) ** -2 for each in several])
    best = np.array([each.log_best for each in several])
    mean, covariance = posterior(rows, weights, best, PRIOR_SLOPES, PRIOR_SD)
    return RatePlane(
        centre=centre,
        mean=mean,
        covariance=covariance,
        n_points=len(several),
        n_bracketed=sum(each.bracketed for each in several),
    )


def posterior(
    rows: FloatArray, weights: FloatArray, best: FloatArray, slopes: Sequence[float], slope_sd: float
) -> tuple[FloatArray, FloatArray]:
    """A level and slopes by a linear Gaussian model: mean (1 + p,) and covariance (1 + p, 1 + p).

    Args:
        rows: (n, 1 + p), ones first.
        weights: (n,): one over the variance of each of `best` (n,).
        slopes, slope_sd: what the p slopes are before any row: their means, and the deviation of each. Of the
            level nothing is known before.
    """
    prior = np.diag([0.0, *[slope_sd**-2] * len(slopes)])
    covariance: FloatArray = np.asarray(np.linalg.inv(rows.T @ (weights[:, None] * rows) + prior))
    mean: FloatArray = covariance @ (rows.T @ (weights * best) + prior @ np.array([0.0, *slopes]))
    return mean, covariance


@dataclass(frozen=True, kw_only=True)
class SettingAnswer:
    """What the runs say of one setting.

    Attributes:
        name: `batch_tokens`, `beta2` or `epsilon`.
        value: for the last run; None where the runs do not say.
        origin: where it comes from, or why it is not known.
        optimum: whether it is one that was found between others.
    """

    name: str
    value: float | None
    origin: str
    optimum: bool


def setting_answer(ledger: pd.DataFrame, name: str) -> SettingAnswer:
    """The best value of a setting for a larger run, where runs that differ in nothing else show one."""
    known = ledger[ledger[name].notna()]
    if known.empty:
        return SettingAnswer(name=name, value=None, origin="no run says what it was", optimum=False)
    values = known[name].unique()
    if len(values) == 1:
        origin = "the one value of all runs: whether another is better is not known"
        return SettingAnswer(name=name, value=float(values[0]), origin=origin, optimum=False)
    found = [each for each in valleys(known, name) if each.n_values >= 2]
    usual = float(known[name].mode().iloc[0])
    if not found:
        origin = "it was never varied alone at one N and D: the most frequent value, no optimum"
        return SettingAnswer(name=name, value=usual, origin=origin, optimum=False)
    bracketed = [each for each in found if each.bracketed]
    if not bracketed:
        best = max(found, key=lambda each: each.N * each.D)
        end = f"the {'lowest' if best.edge == 'low' else 'highest'} of {best.n_values} values"
        origin = f"{end} at N = {best.N:.3g}, D = {best.D:.3g}: the optimum may lie beyond"
        value = from_coordinate(name, best.log_best)
        if name == "beta2":
            origin = origin.replace("lowest of", "largest of").replace("highest of", "smallest of")
        return SettingAnswer(name=name, value=value, origin=origin, optimum=False)
    best = max(bracketed, key=lambda each: each.N * each.D)
    origin = (
        f"the best between {best.n_values} values at N = {best.N:.3g}, D = {best.D:.3g}, all else equal; "
        "how it moves with scale was not measured"
    )
    return SettingAnswer(name=name, value=from_coordinate(name, best.log_best), origin=origin, optimum=True)
