"""What the figures, tables and claims of Kaplan 2020 are made from, beyond a study's tables and laws.

C_min, S_min and E_min are the paper's: compute far below the critical batch, steps far above it, tokens far
below it (section 5). Compute is in FLOPs here and in PF-days on the axes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.laws.batch.batch_scan import steps_to_target
from scaling_laws.laws.batch.constant_rate import constant_rate_part
from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import Interval, bootstrap, checked, parameter_intervals
from scaling_laws.laws.fit.noise import noise_at_horizon
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import KaplanND
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.results.types import CriticalBatchLaw, Laws
from scaling_laws.laws.selection import SAME_SIZE
from scaling_laws.papers.kaplan2020.route import RESAMPLES, KaplanRoute, kaplan_route
from scaling_laws.report.batch_laws import NEEDS_BATCHES, needs, why_no_batches
from scaling_laws.report.study_tables import StudyTables, n_label
from scaling_laws.report.style import families_of, family_name
from scaling_laws.study.recipe import for_training_time
from scaling_laws.study.runs import Study

NEEDS_FRONTIER = f"{NEEDS_BATCHES} and of `scaling-laws sweep configs/sweeps/size.yaml`"
LEFT_OPEN = "No study at CPU scale can confirm it, even where it holds: see power.md."
"""Of rules that less than a fifth of the simulated studies confirm (`benchmarks/claims_power.py`)."""
FEWEST_SIZES = 3
HIGHEST_LEVEL = 1.1
"""Loss levels begin this far above where the smallest size ends."""


@dataclass(frozen=True, kw_only=True)
class DataLaw:
    """L(N,D) of unique tokens: (1.5), fitted to `KaplanTables.data_runs`.

    Attributes:
        fit: `fit.law` is to be believed only where `fit.identified`.
        draws: the law with an array of the bootstrap's draws for each parameter, in a column; None unless
            identified and asked for.
        intervals: 90 %, of its parameters; empty without draws.
    """

    fit: Fit[KaplanND]
    draws: KaplanND | None = None
    intervals: dict[str, Interval] = field(default_factory=dict)

    @property
    def law(self) -> KaplanND | None:
        return self.fit.law if not self.reason else None

    @property
    def reason(self) -> str:
        """Why there is no law; empty where there is one."""
        if not self.fit.rows.n:
            return "no run is of the experiment `data` (`scaling-laws sweep configs/sweeps/data.yaml`)"
        why = self.fit.reason
        return why and f"the runs of the experiment `data` do not identify L(N, D): {why}"


@dataclass(frozen=True, kw_only=True)
class KaplanTables(StudyTables):
    """A study's tables and laws, and what the paper asks of them. A family is the main one by default."""

    laws: Laws
    _routes: dict[str | None, KaplanRoute] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def read(cls, study: Study, laws: Laws) -> KaplanTables:
        """As `StudyTables.read`."""
        return cls(**vars(StudyTables.read(study, laws)), laws=laws)

    @property
    def n_label(self) -> str:
        """What N counts in the laws."""
        return n_label(self, self.laws)

    @property
    def main_name(self) -> str:
        """The main family, in words."""
        return family_name(str(self.main_family))

    # --- laws of training time ----------------------------------------------------------------------

    def critical_batch(self, family: str | None = None) -> CriticalBatchLaw:
        return self.laws.of(family or self.main_family).critical_batch

    def route(self, family: str | None = None) -> KaplanRoute:
        """Kaplan's route to the frontier, made once; its draws are the same as often as it is made."""
        family = family or self.main_family
        if family not in self._routes:
            self._routes[family] = self._route(family)
        return self._routes[family]

    def _route(self, family: str | None) -> KaplanRoute:
        batch, curves = self.critical_batch(family), self.curves_for_time(family)
        if curves.empty:
            return KaplanRoute(reason=batch.reason or "the table has no learning curves")
        manifest = self.laws.manifest
        return kaplan_route(
            curves,
            batch.law,
            batch.draws,
            no_batch=batch.reason,
            delta=manifest.delta or DEFAULT_DELTA,
            resamples=min(manifest.resamples or RESAMPLES, RESAMPLES),
            seed=manifest.seed or 0,
        )

    @property
    def why_no_batches(self) -> str:
        """Which sweep a figure of batches needs, and what is wrong with the runs that there are."""
        return why_no_batches(self.laws, self.main_family)

    @property
    def why_no_frontier(self) -> str:
        """Which sweeps a figure of C_min needs, and what is wrong with the runs that there are."""
        return needs(NEEDS_FRONTIER, self.route().reason)

    # --- learning curves ----------------------------------------------------------------------------

    def curves_for_time(self, family: str | None = None) -> pd.DataFrame:
        """Learning curves of the runs that laws of training time may use: they differ in N, batch and rate.

        The columns of `curves_of_study`; empty where the runs left none.
        """
        runs = for_training_time(self.complete_of(family or self.main_family))
        return self.curves_of(runs, self.laws.conventions.N)

    def curves_of_all(self) -> pd.DataFrame:
        """The same of every complete run of the main family."""
        return self.curves_of(self.complete_of(self.main_family), self.laws.conventions.N)

    def curves_of_laws(self) -> pd.DataFrame:
        """The same of the runs that a law of the main family may use: of one batch."""
        return self.curves_of(self.of(self.main_family))

    def least_resources(self, n_levels: int) -> pd.DataFrame:
        """Steps, tokens and compute to equal losses in the limits of the batch, by (5.4) and (5.5).

        Returns:
            One row per size and level that it reached: N, loss, batch, steps and tokens as taken; S_min
            (steps), E_min (tokens), C_min = 6 N E_min (FLOPs). Empty without a batch law or curves.
        """
        columns = ["N", "loss", "batch", "steps", "tokens", "S_min", "E_min", "C_min"]
        batch, curves = self.critical_batch().law, self.curves_of_laws()
        losses = loss_levels(curves, n_levels)
        if batch is None or not len(losses):
            return pd.DataFrame(columns=columns, dtype=float)
        scan = steps_to_target(curves, losses).dropna(subset=["steps"])
        S_min = batch.steps_min(scan["steps"], scan["batch"], scan["loss"])
        E_min = batch.compute_min(scan["tokens"], scan["batch"], scan["loss"])
        C_min = FLOPS_PER_PARAMETER_TOKEN * scan["N"] * E_min
        return scan.assign(S_min=S_min, E_min=E_min, C_min=C_min)[columns].reset_index(drop=True)

    # --- limited text -------------------------------------------------------------------------------

    def data_runs(self) -> pd.DataFrame:
        """The runs of the experiment `data`: on parts of the corpus, stopped early. One family.

        run, N, D, loss, batch_tokens, stop_step, stopped_early, in order of N and D. D is unique tokens, the
        loss that at the best of the run's weights, `stop_step` the step after which those stood. A run that
        had not stopped improving at its horizon counts at its end, as in the paper.
        """
        runs = self.of_experiment("data")
        columns = ["run", "N", "D", "loss", "batch_tokens", "stop_step", "stopped_early"]
        if runs.empty:
            return pd.DataFrame(columns=columns)
        runs = runs[runs["family"] == families_of(runs["family"])[0]]
        stop = {record.name: record.evaluated_step or record.steps for record in self.study.records}
        table = runs.assign(
            N=runs[self.laws.conventions.N].astype(float),
            D=runs["unique_tokens"].astype(float),
            stop_step=runs["run"].map(stop).astype(float),
            stopped_early=runs["stopped_early"].astype(bool),
        )
        return table.sort_values(["N", "D", "run"])[columns].reset_index(drop=True)


def fit_data_law(runs: pd.DataFrame, resamples: int = 0) -> DataLaw:
    """Kaplan's coupled L(N,D) of unique tokens.

    Args:
        runs: from `KaplanTables.data_runs`.
        resamples: of a bootstrap over the runs; none by default.
    """
    fit = checked(fit_law(KaplanND, make_rows({"N": runs["N"], "D": runs["D"]}, runs["loss"])))
    if DataLaw(fit=fit).law is None or not resamples:
        return DataLaw(fit=fit)
    result = bootstrap(fit, resamples=resamples)
    draws = {name: np.asarray(values) for name, values in vars(result.draws).items()}
    finite = np.isfinite(list(draws.values())).all(axis=0)
    columns = {name: values[finite, None] for name, values in draws.items()}
    return DataLaw(fit=fit, draws=KaplanND(**columns), intervals=parameter_intervals(result))


def noise_at(tables: StudyTables, laws: Laws, D: float) -> float | None:
    """Standard deviation of ln loss between seeds at about D tokens, or else at all horizons."""
    runs = tables.runs
    at_D = noise_at_horizon(runs, D).sd_log_loss if {"seed", "D"} <= set(runs.columns) else None
    return laws.noise.sd_log_loss if at_D is None else at_D


def log_loss_above(runs: pd.DataFrame, plain: pd.DataFrame, counted: str) -> pd.Series[float]:
    """ln loss of each run over that of plain networks of its size; NaN outside their sizes.

    Args:
        runs: with a column `loss` and the column `counted`, `N` or `N_reused`.
        plain: columns N, loss; interpolated in ln L over ln N. Sizes are equal within `SAME_SIZE`.
    """
    plain = plain.sort_values("N")
    log_N, at = np.log(plain["N"].to_numpy(dtype=float)), np.log(runs[counted].astype(float))
    expected = np.interp(at, log_N, np.log(plain["loss"].to_numpy(dtype=float)))
    above: pd.Series[float] = np.log(runs["loss"].astype(float)) - expected
    return above.where((at > log_N[0] - SAME_SIZE) & (at < log_N[-1] + SAME_SIZE))


def points_by_compute(curves: pd.DataFrame) -> pd.DataFrame:
    """Points at a constant rate, as in `constant_rate_part`, with C = 6 N B S in FLOPs.

    Args:
        curves: from `KaplanTables.curves_of_laws`.
    """
    if curves.empty:
        return pd.DataFrame(columns=["trunk", "N", "batch_tokens", "step", "tokens", "loss", "C"])
    points = constant_rate_part(curves).points
    return points.assign(C=FLOPS_PER_PARAMETER_TOKEN * points["N"] * points["tokens"])


def loss_levels(curves: pd.DataFrame, count: int) -> NDArray[Any]:
    """Losses from where the smallest size ends to what three sizes reached, evenly spaced in logarithm."""
    points = points_by_compute(curves)
    lowest = points.groupby("N")["loss"].min()
    if len(lowest) < FEWEST_SIZES:
        return np.empty(0)
    high = HIGHEST_LEVEL * float(lowest.iloc[0])
    low = 1.001 * float(lowest.sort_values().iloc[FEWEST_SIZES - 1])
    return np.asarray(np.geomspace(high, low, count)) if low < high else np.empty(0)
