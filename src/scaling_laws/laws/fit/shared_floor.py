"""One irreducible loss for several data sets: a joint fit, and a test of whether they may share it.

Every data set has a law of its own but for E. Whether E may be shared is a likelihood ratio: by how much the
sum of the objectives rises when E is common. Its distribution where E is shared is simulated, table by table,
from the joint law with each data set's own noise: with few runs, a Huber loss and curved laws it is not the
chi-squared distribution of textbooks.

Shapes: G data sets, n rows, p parameters of one law, R simulated tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.fit import DEFAULT_DELTA, DEFAULT_RESAMPLES
from scaling_laws.laws.fit.coordinates import Free, PowerSumCoordinates
from scaling_laws.laws.fit.fit import IRREDUCIBLE, Fit, fit_law
from scaling_laws.laws.fit.huber import Problem, minimise
from scaling_laws.laws.fit.intervals import (
    Interval,
    bootstrap,
    bootstrap_draws,
    parameter_intervals,
    percentile_interval,
)
from scaling_laws.laws.fit.noise import components
from scaling_laws.laws.fit.pins import pinned_coordinates
from scaling_laws.laws.fit.power_sum import Index, PowerSum
from scaling_laws.laws.fit.rows import Rows, make_rows
from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SIMULATED = 199
"""Tables under the shared law: the smallest p is 0.005."""
REJECTED = 0.05
FEWEST_VALUES = 3
"""Of each variable, for an irreducible loss."""
STARTS = 5
"""Values of E, over the range of the separate ones, from which the joint fit starts."""
LOWEST_SHARE = 0.5
"""Of the lowest loss: the separate E's may all be 0."""


@dataclass(frozen=True, kw_only=True)
class OwnFloor:
    """One data set's law, by itself and with the shared E.

    Attributes:
        value: of the column.
        n_rows: of it.
        E, E_interval: of its own law, 90 %; None where that is not identified.
        reason: why it is not; empty where it is.
        parameters: with the shared E.
        intervals: of these, 90 %; empty where the joint law is not identified.
    """

    value: str
    n_rows: int
    E: float | None
    E_interval: Interval
    reason: str
    parameters: dict[str, float]
    intervals: dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class SharedFloor:
    """One E for all values of a column, and the test that it may be.

    Attributes:
        by, form: the column, and the law's name.
        floor: the parameter's name.
        E, E_interval: shared, 90 %; None where the joint law is not identified.
        p: share of tables simulated with one E whose objective sharing raises by as much; None where a law
            could not be fitted.
        simulated: such tables.
        identified: whether the joint law is.
        reason: why it is not, or why there is no test; empty otherwise.
        data_sets: one entry a value.
    """

    by: str
    form: str
    floor: str
    E: float | None
    E_interval: Interval
    p: float | None
    simulated: int
    identified: bool
    reason: str
    data_sets: tuple[OwnFloor, ...]

    @property
    def rejected(self) -> bool:
        return self.p is not None and self.p < REJECTED

    def sentence(self) -> str:
        names = ", ".join(each.value for each in self.data_sets)
        if self.p is None:
            return f"Whether {names} share one {self.floor} is not identified: {self.reason}."
        test = f"likelihood ratio, calibrated by {self.simulated} simulated tables: p = {self.p:.3g}"
        if self.rejected:
            return f"{names} have no common {self.floor} ({test})."
        if not self.identified:
            return (
                f"{names} may share one {self.floor} ({test}), but the law with it is not identified: "
                f"{self.reason}."
            )
        return f"{names} may share one {self.floor} ({test})."


@dataclass(frozen=True)
class SharedFloorCoordinates:
    """Of laws of several data sets that share E: theta is ln E, then each data set's other coordinates.

    Attributes:
        form: a sum of powers with a constant, not raised.
        rows: of all data sets.
        group: (n,): index of each row's.
    """

    form: type[Any]
    rows: Rows
    group: Index

    @cached_property
    def parts(self) -> tuple[PowerSumCoordinates, ...]:
        """Each data set's own, about its own centre."""
        found = []
        for g in range(int(self.group.max()) + 1):
            of = np.flatnonzero(self.group == g)
            values = {name: column[of] for name, column in self.rows.values.items()}
            found.append(
                PowerSumCoordinates(self.form, make_rows(values, self.rows.loss[of], self.rows.cluster[of]))
            )
        return tuple(found)

    @property
    def floor(self) -> str:
        name: str = next(term.coefficient for term in self.form.terms if term.variable is None)
        return name

    @property
    def _own_column(self) -> int:
        """Of ln E in one data set's coordinates."""
        return self.parts[0].free[self.floor].column

    def columns(self, g: int) -> Index:
        """Where theta holds the coordinates of one data set, in their order."""
        p = self.parts[0].model.n_parameters
        own = np.arange(p - 1) + 1 + g * (p - 1)
        return np.insert(own, self._own_column, 0)

    @cached_property
    def model(self) -> PowerSum:
        n, K = self.rows.n, len(self.form.terms)
        p = self.parts[0].model.n_parameters
        design = np.zeros((n, K, 1 + len(self.parts) * (p - 1)))
        offset = np.zeros((n, K))
        for g, part in enumerate(self.parts):
            of = np.flatnonzero(self.group == g)
            design[np.ix_(of, np.arange(K), self.columns(g))] = part.model.design
            offset[of] = part.model.offset
        return PowerSum(design=design, offset=offset, free_power=False)

    @property
    def free(self) -> dict[str, Free]:
        return {self.floor: Free(0, np.exp)}

    def starts(self, problem: Problem) -> FloatArray:
        """Every data set's best with E held, for some values of E."""
        lowest = float(self.rows.loss.min())
        own = [fit_law(self.form, part.rows, delta=problem.delta) for part in self.parts]
        found = [float(getattr(fit.law, self.floor)) for fit in own if fit.law is not None]
        found = [min(max(E, LOWEST_SHARE * lowest), 0.999 * lowest) for E in found]
        starts = []
        for E in np.linspace(min(found), max(found), STARTS) if found else [0.9 * lowest]:
            theta = np.zeros(self.model.n_parameters)
            for g, part in enumerate(self.parts):
                held = pinned_coordinates(self.form, part.rows, {self.floor: float(E)})
                fit = fit_law(self.form, part.rows, delta=problem.delta, coordinates=held)
                theta[self.columns(g)] = np.insert(fit.minima[0], self._own_column, np.log(E))
            starts.append(theta)
        return np.array(starts)

    def law_of(self, theta: FloatArray, g: int) -> Any:
        return self.parts[g].law(theta[..., self.columns(g)])

    def law(self, theta: FloatArray) -> Any:
        return self.law_of(theta, 0)

    def on_bound(self, theta: FloatArray) -> dict[str, str]:
        reasons: dict[str, str] = {}
        for g, part in enumerate(self.parts):
            reasons |= part.on_bound(theta[self.columns(g)])
        return reasons


def shared_floor(
    runs: pd.DataFrame,
    by: str,
    form: type[JointLaw],
    *,
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> SharedFloor:
    """Fit the law to every value of a column, with E of its own and with one E for all, and test the latter.

    Args:
        runs: usable ones, with columns N, D, loss, trunk and `by`.
        by: the column that tells the data sets apart.
        form: a law with an irreducible loss.

    Raises:
        InputError: no such column, one value alone, or a form without an irreducible loss.
    """
    floor = next((name for name in form.units if name in IRREDUCIBLE), None)
    if floor is None or getattr(form, "raised", None) is not None or not hasattr(form, "terms"):
        raise InputError(f"{form.form} has no irreducible loss that data sets could share; try chinchilla")
    if by not in runs:
        raise InputError(f"the runs have no column {by!r} to tell data sets apart")
    values, group = np.unique(runs[by].astype(str), return_inverse=True)
    if len(values) < 2:
        raise InputError(f"{by} has one value alone, {values[0]}: there is nothing to share")
    group = np.asarray(group, dtype=np.intp)
    table = {name: runs[name] for name in form.variables}
    rows = make_rows(table, runs["loss"], runs["trunk"])
    coordinates = SharedFloorCoordinates(form, rows, group)
    own = [fit_law(form, part.rows, delta=delta) for part in coordinates.parts]
    joint = fit_law(form, rows, delta=delta, coordinates=coordinates)
    p, reason = None, joint.reason
    if any(fit.law is None or fit.certificate is None for fit in own) or joint.law is None:
        reason = "; ".join(
            f"{value}: {fit.reason}" for value, fit in zip(values, own, strict=True) if fit.reason
        )
    elif few := [f"{value}: {fit.reason}" for value, fit in zip(values, own, strict=True) if _too_few(fit)]:
        reason = "; ".join(few)
    else:
        p = _p(joint, own, coordinates, seed)
    intervals: list[dict[str, Interval]] = [{} for _ in own]
    E_interval: Interval = (None, None)
    if joint.identified and resamples:
        theta, _, _ = bootstrap_draws(joint, noise=None, resamples=resamples, seed=seed, strata=group)
        E_interval = percentile_interval(np.exp(theta[:, 0]))
        for g in range(len(own)):
            draws = vars(coordinates.law_of(theta, g))
            intervals[g] = {name: percentile_interval(drawn) for name, drawn in draws.items()}
    return SharedFloor(
        by=by,
        form=form.form,
        floor=floor,
        E=float(np.exp(joint.minima[0, 0])) if joint.identified else None,
        E_interval=E_interval,
        p=p,
        simulated=SIMULATED,
        identified=joint.identified,
        reason=reason,
        data_sets=tuple(
            OwnFloor(
                value=str(value),
                n_rows=fit.rows.n,
                E=float(getattr(fit.law, floor)) if fit.identified else None,
                E_interval=_own_interval(fit, floor, resamples, seed),
                reason=fit.reason,
                parameters={
                    name: float(number)
                    for name, number in vars(coordinates.law_of(joint.minima[0], g)).items()
                },
                intervals=intervals[g],
            )
            for g, (value, fit) in enumerate(zip(values, own, strict=True))
        ),
    )


def _too_few(fit: Fit[Any]) -> bool:
    """Whether its rows leave nothing to test a law with."""
    points = {*zip(*(fit.rows.values[name].tolist() for name in fit.form.variables), strict=True)}
    alone = any(len(np.unique(fit.rows.values[name])) < FEWEST_VALUES for name in fit.form.variables)
    return alone or len(points) <= fit.minima.shape[1]


def _own_interval(fit: Fit[Any], floor: str, resamples: int, seed: int) -> Interval:
    if not fit.identified or not resamples:
        return None, None
    return parameter_intervals(bootstrap(fit, resamples=resamples, seed=seed))[floor]


def _p(joint: Fit[Any], own: Sequence[Fit[Any]], coordinates: SharedFloorCoordinates, seed: int) -> float:
    """The share of tables simulated under the joint law whose objective a common E raises by as much."""
    problem, group = joint.problem, coordinates.group
    prediction = problem.model.predict(joint.minima[:1])
    random = np.random.default_rng(seed)
    simulated = np.tile(prediction.log_loss, (SIMULATED, 1))
    for g, fit in enumerate(own):
        # What the separate law leaves: the joint law's residuals would hold what sharing gets wrong.
        of_own = fit.problem.model.predict(fit.minima[:1])
        residual = (fit.problem.log_loss - of_own.log_loss)[0]
        noise = components(residual, of_own.jacobian[0], fit.rows.cluster)
        simulated[:, group == g] += noise.draw(fit.rows.cluster, SIMULATED, random)
    tables = np.concatenate([problem.log_loss, simulated])
    minima = [
        minimise(replace(problem, log_loss=tables), np.tile(theta, (len(tables), 1))).objective
        for theta in joint.minima
    ]
    raised = np.min(minima, axis=0)
    for g, fit in enumerate(own):
        of_group = replace(fit.problem, log_loss=tables[:, group == g])
        starts = np.concatenate([fit.minima, joint.minima[:1][:, coordinates.columns(g)]])
        separate = [minimise(of_group, np.tile(theta, (len(tables), 1))).objective for theta in starts]
        raised = raised - np.min(separate, axis=0)
    return float(np.mean(raised >= raised[0]))
