"""What limited text does to the loss: runs on parts of the corpus, stopped early (Kaplan 2020, section 4).

Here D is the unique tokens of a run and L its loss at the best of its weights. A run that had not stopped
improving at its horizon counts at its end, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_laws.laws.batch.constant_rate import constant_rate_part, curves_of_study
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import Interval, bootstrap, parameter_intervals
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import KaplanND
from scaling_laws.laws.forms.steps import CriticalBatch, KaplanNS
from scaling_laws.report import style as st
from scaling_laws.report.batches import LOSS_COLUMN, entry_of
from scaling_laws.report.evidence import Laws, StudyTables

EXPERIMENT = "data"
RESAMPLES = 100
TOLERATED = 0.02
"""Relative excess over unlimited data that the paper's (4.4) allows."""


@dataclass(frozen=True, kw_only=True)
class DataLaw:
    """L(N,D) of unique tokens: (1.5), fitted to the runs of `data_runs`.

    Attributes:
        fit: `fit.law` is to be believed only where `fit.identified`.
        draws: the law with an array of the bootstrap's draws for each parameter, in a column; None unless
            identified and asked for.
        intervals: 90 %, of its parameters; empty without draws.
    """

    fit: Fit[KaplanND]
    draws: KaplanND | None
    intervals: dict[str, Interval]

    @property
    def law(self) -> KaplanND | None:
        return self.fit.law if self.fit.identified else None


def data_runs(tables: StudyTables, laws: Laws) -> pd.DataFrame:
    """The experiment's runs of one family: run, N, D, loss, batch_tokens, stop_step, stopped_early.

    D is unique tokens; `stop_step` the step after which the weights stood that were evaluated. In order of N
    and D; empty where the study has no such experiment.
    """
    runs = tables.of_experiment(EXPERIMENT)
    columns = ["run", "N", "D", "loss", "batch_tokens", "stop_step", "stopped_early"]
    if runs.empty:
        return pd.DataFrame(columns=columns)
    runs = runs[runs["family"] == st.families_of(runs["family"])[0]]
    stop = {record.name: record.evaluated_step or record.steps for record in tables.study.records}
    table = runs.assign(
        N=runs[laws["conventions"]["N"]].astype(float),
        D=runs["unique_tokens"].astype(float),
        stop_step=runs["run"].map(stop).astype(float),
        stopped_early=runs["stopped_early"].astype(bool),
    )
    return table.sort_values(["N", "D", "run"])[columns].reset_index(drop=True)


def fit_data_law(runs: pd.DataFrame, resamples: int = 0) -> DataLaw:
    """Kaplan's coupled L(N,D) of unique tokens.

    Args:
        runs: from `data_runs`.
        resamples: of a bootstrap over the runs; none by default.
    """
    fit = fit_law(KaplanND, make_rows({"N": runs["N"], "D": runs["D"]}, runs["loss"]))
    if not fit.identified or not resamples:
        return DataLaw(fit=fit, draws=None, intervals={})
    result = bootstrap(fit, resamples=resamples)
    columns = {name: np.asarray(values)[:, None] for name, values in vars(result.draws).items()}
    return DataLaw(fit=fit, draws=KaplanND(**columns), intervals=parameter_intervals(result))


def overfitting(runs: pd.DataFrame, law: KaplanND) -> pd.DataFrame:
    """`runs` with x = N^(alpha_N/alpha_D)/D, excess = L/L(N,inf) - 1 and its prediction: (4.2), (4.3).

    L is measured, L(N,inf) the law's.
    """
    return runs.assign(
        x=runs["N"] ** (law.alpha_N / law.alpha_D) / runs["D"],
        excess=runs["loss"] / law.loss(runs["N"], np.inf) - 1,
        predicted=law.overfitting(runs["N"], runs["D"]),
    )


def excess_at(x: np.ndarray, law: KaplanND) -> np.ndarray:
    """(4.3) as a function of x = N^(alpha_N/alpha_D)/D alone."""
    ratio = law.alpha_N / law.alpha_D
    return np.asarray((1 + x * law.D_c * np.exp(-ratio * np.log(law.N_c))) ** law.alpha_D - 1)


def data_needed(law: KaplanND) -> tuple[float, float]:
    """(k, p) of D = k N^p, the unique tokens that keep the excess at `TOLERATED`: (4.4)."""
    return float(law.data_needed(1.0, TOLERATED)), float(law.alpha_N / law.alpha_D)


# --- steps ----------------------------------------------------------------------------------------


def steps_law(laws: Laws, family: str | None) -> KaplanNS | None:
    """L(N,S_min) of a family; None where it was not identified."""
    fit = entry_of(laws, "training_time", family).get("steps")
    return KaplanNS(**fit["parameters"]) if fit and fit["identified"] else None


def points_in_steps_min(
    tables: StudyTables, laws: Laws, runs: pd.DataFrame, batch: CriticalBatch
) -> pd.DataFrame:
    """trunk, N, step, S_min, loss of the runs' curves at a constant learning rate; S_min by (5.4).

    Args:
        runs: rows of a study's run table.
    """
    columns = ["trunk", "N", "step", "S_min", "loss"]
    if runs.empty or LOSS_COLUMN not in tables.curves.columns:
        return pd.DataFrame(columns=columns)
    curves = curves_of_study(tables.curves, runs, loss=LOSS_COLUMN, n=laws["conventions"]["N"])
    points = constant_rate_part(curves).points
    S_min = batch.steps_min(points["step"], points["batch_tokens"], points["loss"])
    return points.assign(S_min=S_min)[columns]


def stopping_steps(runs: pd.DataFrame, law: KaplanND, steps: KaplanNS, batch: CriticalBatch) -> pd.DataFrame:
    """The runs that stopped early with S_stop, and the bound on it: (5.7).

    Both are S_min: S_stop as taken is converted by (5.4) at the run's own loss. In the bound, L(N,D) is
    measured and L(N,inf) is the law's; runs with L(N,D) <= L(N,inf) have no finite bound and are left out.
    """
    stopped = runs[runs["stopped_early"]]
    table = stopped.assign(
        S_stop=batch.steps_min(stopped["stop_step"], stopped["batch_tokens"], stopped["loss"]),
        bound=steps.stop_step_bound(stopped["loss"] - law.loss(stopped["N"], np.inf)),
    )
    return table[table["bound"] < np.inf]


def training_gaps(tables: StudyTables, runs: pd.DataFrame) -> pd.DataFrame:
    """run, D, step, train, test, at_stop: the curves of the largest size, one run a part of the corpus.

    `train` is the mean training loss since the row before (with dropout), `test` the loss on held-out text,
    nats per token; `at_stop` marks the row nearest to the step whose weights were kept.
    """
    columns = ["run", "D", "step", "train", "test", "at_stop"]
    if runs.empty or LOSS_COLUMN not in tables.curves.columns:
        return pd.DataFrame(columns=columns)
    chosen = runs[runs["N"] == runs["N"].max()].drop_duplicates("D")
    curves = tables.curves.dropna(subset=["train_loss_nats", LOSS_COLUMN])
    table = curves.merge(chosen[["run", "D", "stop_step"]], on="run")
    distance = (table["step"] - table["stop_step"]).abs()
    nearest = distance.groupby(table["run"]).transform("min")
    table = table.assign(train=table["train_loss_nats"], test=table[LOSS_COLUMN], at_stop=distance == nearest)
    return table.sort_values(["D", "step"])[columns].reset_index(drop=True)
