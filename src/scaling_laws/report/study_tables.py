"""What a report is drawn from: the study's tables, read once, and the questions every figure asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scaling_laws.laws.batch.constant_rate import curves_of_study
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.positions import PositionLosses, losses_by_run
from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.selection import usable_runs
from scaling_laws.report import style as st
from scaling_laws.study.records import MAIN_CORPUS, loss_column
from scaling_laws.study.runs import Study

COUNTED = {"N", "N_with_head", "N_total"}
"""Columns of every table that comes from runs of this program."""


@dataclass(frozen=True, kw_only=True)
class StudyTables:
    """A study's tables (columns: see `runs.Study`), empty where the runs left none.

    Attributes:
        name: the study's.
        complete: every complete run.
        runs: those that a law may use, with N and C in the conventions of the laws.
        curves: of the complete runs.
        position_losses: by run, the final losses on the main corpus by fold and position.
        study: whose they are: what is read seldom is read from its folder when asked for.
    """

    study: Study

    name: str
    complete: pd.DataFrame
    runs: pd.DataFrame
    curves: pd.DataFrame
    position_losses: Mapping[str, PositionLosses]

    @classmethod
    def read(cls, study: Study, laws: Laws) -> StudyTables:
        """Read the tables of `study` that go with `laws`."""
        empty = pd.DataFrame()
        tables: dict[str, Any] = {"study": study, "name": study.name, "complete": study.runs}
        if study.runs.empty:
            return cls(**tables, runs=empty, curves=empty, position_losses={})
        positions = study.positions()
        runs, _ = usable_runs(study.runs, n=laws.conventions.N, c=laws.conventions.C)
        return cls(
            **tables,
            runs=runs,
            curves=study.curves(),
            position_losses=losses_by_run(positions, MAIN_CORPUS) if len(positions) else {},
        )

    @property
    def families(self) -> list[str]:
        return [] if self.runs.empty else st.families_of(self.runs["family"])

    @property
    def counted_here(self) -> bool:
        """Whether this program counted N and C: a table of others has one of each, of whatever kind."""
        return set(self.complete.columns) >= COUNTED

    @property
    def main_family(self) -> str | None:
        """The family of the single-family figures: the transformer, or the first by name."""
        return next(iter(self.families), None)

    @property
    def corpora(self) -> list[str]:
        """Corpora with a loss in the run table, the main one first."""
        names = [column.removeprefix("loss_") for column in self.runs.columns if column.startswith("loss_")]
        return sorted(names, key=lambda name: (name != MAIN_CORPUS, name))

    def of_experiment(self, name: str, family: str | None = None) -> pd.DataFrame:
        """The complete runs that an experiment (`configs/sweeps/<name>.yaml`) asks for, of one family or all.

        Unlike `runs`, these may differ in more than N and D: that is what the experiment is for. A study that
        has no such experiment has no such runs.
        """
        if self.complete.empty:
            return self.complete
        asked = self.complete["experiments"].map(lambda names: name in names.split(", "))
        chosen = self.complete[asked]
        return chosen if family is None else chosen[chosen["family"] == family]

    def complete_of(self, family: str | None) -> pd.DataFrame:
        """Every complete run of a family."""
        return self.complete if self.complete.empty else self.complete[self.complete["family"] == family]

    def curves_of(self, runs: pd.DataFrame, n: str = "N") -> pd.DataFrame:
        """The learning curves of some runs, in the columns of `curves_of_study`; empty where there are none.

        Args:
            n: the column that counts as N.
        """
        loss = loss_column(MAIN_CORPUS)
        if runs.empty or loss not in self.curves.columns:
            return pd.DataFrame()
        return curves_of_study(self.curves, runs, loss=loss, n=n).dropna(subset=["loss"])

    def positions_over_time(self) -> pd.DataFrame:
        """run, step, corpus, fold, position, loss_sum_nats, count: every evaluation, not the last alone."""
        return self.study.positions(final_only=False)

    def of(self, family: str | None) -> pd.DataFrame:
        return self.runs if self.runs.empty else self.runs[self.runs["family"] == family]


def n_label(tables: StudyTables, laws: Laws) -> str:
    """What N counts in these laws, where that is known."""
    return st.PARAMETER_LABELS[laws.conventions.N] if tables.counted_here else st.UNKNOWN_N


def c_label(tables: StudyTables, laws: Laws) -> str:
    """What C counts in these laws, where that is known."""
    of_6nd = FLOPS_PER_PARAMETER_TOKEN * tables.complete["N"] * tables.complete["D"]
    known = tables.counted_here or (tables.complete["C"] == of_6nd).all()
    return st.COMPUTE_LABELS[laws.conventions.C] if known else st.UNKNOWN_C


def d_label(tables: StudyTables) -> str:
    """What D counts in these runs."""
    if not tables.counted_here:
        return "D, training tokens"
    once = (tables.runs["unique_tokens"] == tables.runs["D"]).all()
    return "D, unique tokens in one pass" if once else "D, training tokens, some repeated"


def envelope_points(laws: Laws, family: str | None) -> pd.DataFrame:
    """C, N, loss: the points of the family's lower envelope, by compute."""
    points = [(point.C, point.N, point.loss) for point in laws.of(family).frontier.points]
    return pd.DataFrame(points, columns=["C", "N", "loss"], dtype=float).sort_values("C")


def training_losses(tables: StudyTables, corpus: str = MAIN_CORPUS) -> pd.DataFrame:
    """Losses on `corpus` during training: run, tokens, loss; empty where the runs left no such curves."""
    column = loss_column(corpus)
    if column not in tables.curves.columns:
        return pd.DataFrame(columns=["run", "tokens", "loss"])
    curves = tables.curves.dropna(subset=[column])
    return curves[["run", "tokens", column]].rename(columns={column: "loss"}).reset_index(drop=True)
