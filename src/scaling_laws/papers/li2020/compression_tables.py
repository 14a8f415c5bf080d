"""What judges Li et al. 2020: compressed networks, and what it took to reach one loss."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scaling_laws.laws.batch.constant_rate import falling_curve
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.li2020.compression import Compressed, FloatArray, compress_runs
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.errors import InputError
from scaling_laws.study.runs import Study

FEWEST_SIZES = 4
FEWEST_POINTS = 4
"""Held-out evaluations at a constant rate, of each size."""


@dataclass(frozen=True, kw_only=True)
class TimedCurves:
    """Losses of the sizes before their learning rates fall.

    Attributes:
        N: (S,) growing.
        steps: of each size, the steps at which it was evaluated.
        losses: at these.
        step_s: (S,) seconds a step: by the median tokens per second.
    """

    N: FloatArray
    steps: tuple[FloatArray, ...]
    losses: tuple[FloatArray, ...]
    step_s: FloatArray

    @property
    def target(self) -> float:
        """The loss that the worst size ends with: every size reaches it."""
        return max(float(losses.min()) for losses in self.losses)

    @property
    def steps_to_target(self) -> FloatArray:
        """(S,): steps at which each size reaches the target, bumps of its curve averaged away."""
        reached = []
        for steps, losses in zip(self.steps, self.losses, strict=True):
            curve = falling_curve(steps, losses)
            wanted = np.clip(np.log(self.target), curve.log_loss[-1], curve.log_loss[0])
            reached.append(float(curve.log_step_at(np.exp(wanted))))
        return np.exp(reached)

    @property
    def seconds_to_target(self) -> FloatArray:
        return self.steps_to_target * self.step_s


@dataclass(frozen=True, kw_only=True)
class CompressionTables(StudyTables):
    """A study's tables, its networks compressed, and its timed curves; or why there are none."""

    compressed: Compressed | str
    timed: TimedCurves | str

    @classmethod
    def read(cls, study: Study, laws: Laws) -> CompressionTables:
        """As `StudyTables.read`."""
        tables = StudyTables.read(study, laws)
        runs = ladder(tables)
        if isinstance(runs, str):
            return cls(**vars(tables), compressed=runs, timed=runs)
        folders = [study.folder / str(run) for run in runs["run"]]
        try:
            found: Compressed | str = compress_runs([Path(each) for each in folders], runs["N"].tolist())
        except InputError as error:
            found = str(error)
        return cls(**vars(tables), compressed=found, timed=timed_curves(tables, runs))


def ladder(tables: StudyTables) -> pd.DataFrame | str:
    """The longest runs, one a size, of the commonest depth."""
    every = tables.of(tables.main_family)
    if every.empty or "n_layer" not in every:
        return "there are no runs with a folder of their own"
    depth = every.groupby("n_layer")["N"].nunique().idxmax()
    runs: pd.DataFrame = every[every["n_layer"] == depth]
    runs = runs[runs["D"] > 0.98 * runs["D"].max()].drop_duplicates("N").sort_values("N")
    if len(runs) < FEWEST_SIZES:
        return f"{len(runs)} sizes were trained as long as the longest; it needs {FEWEST_SIZES}"
    return pd.DataFrame(runs)


def timed_curves(tables: StudyTables, runs: pd.DataFrame) -> TimedCurves | str:
    """The curves of these runs, up to where their learning rates fall."""
    curves = tables.curves_of(runs)
    if curves.empty or "tokens_per_s" not in tables.curves:
        return "the runs left no learning curves with times"
    speed = tables.curves.groupby("run")["tokens_per_s"].median()
    steps, losses, step_s = [], [], []
    for run in runs.itertuples(index=False):
        cooldown = getattr(run, "cooldown_share", 0.0)
        own = curves[curves["run"] == run.run].sort_values("step")
        own = own[own["step"] <= (1 - (0.0 if pd.isna(cooldown) else cooldown)) * own["step"].max()]
        if len(own) < FEWEST_POINTS:
            return f"{run.run} was evaluated {len(own)} times at a constant rate; it needs {FEWEST_POINTS}"
        steps.append(own["step"].to_numpy(dtype=np.float64))
        losses.append(own["loss"].to_numpy(dtype=np.float64))
        step_s.append(float(str(run.batch_tokens)) / float(speed[str(run.run)]))
    return TimedCurves(
        N=runs["N"].to_numpy(dtype=np.float64),
        steps=tuple(steps),
        losses=tuple(losses),
        step_s=np.array(step_s),
    )
