"""What a report is drawn from: the study's tables, read once, and the questions every figure asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scaling_laws.laws.selection import usable_runs
from scaling_laws.records import MAIN_CORPUS, Study
from scaling_laws.reports.style import COMPUTE_LABELS, PARAMETER_LABELS, families_of

Laws = Mapping[str, Any]
"""The content of `laws.json` (docs/laws-json.md)."""


@dataclass(frozen=True, kw_only=True)
class StudyTables:
    """A study's tables (columns: see `records.Study`), empty where the runs left none.

    Attributes:
        name: the study's.
        complete: every complete run.
        runs: those that a law may use, with N and C in the conventions of the laws.
        curves, positions: of the complete runs.
    """

    name: str
    complete: pd.DataFrame
    runs: pd.DataFrame
    curves: pd.DataFrame
    positions: pd.DataFrame

    @classmethod
    def read(cls, study: Study, laws: Laws) -> StudyTables:
        empty = pd.DataFrame()
        if study.runs.empty:
            return cls(name=study.name, complete=study.runs, runs=empty, curves=empty, positions=empty)
        conventions = laws.get("conventions", {})
        runs, _ = usable_runs(study.runs, n=conventions.get("N", "N"), c=conventions.get("C", "C"))
        return cls(
            name=study.name,
            complete=study.runs,
            runs=runs,
            curves=study.curves(),
            positions=study.positions(),
        )

    @property
    def families(self) -> list[str]:
        return [] if self.runs.empty else families_of(self.runs["family"])

    @property
    def main_family(self) -> str | None:
        """The family of the single-family figures: the transformer, or the first by name."""
        return next(iter(self.families), None)

    @property
    def corpora(self) -> list[str]:
        """Corpora with a loss in the run table, the main one first."""
        names = [column.removeprefix("loss_") for column in self.runs.columns if column.startswith("loss_")]
        return sorted(names, key=lambda name: (name != MAIN_CORPUS, name))

    def of(self, family: str | None) -> pd.DataFrame:
        return self.runs if self.runs.empty else self.runs[self.runs["family"] == family]


def n_label(laws: Laws) -> str:
    """What N counts in these laws."""
    return PARAMETER_LABELS[laws.get("conventions", {}).get("N", "N")]


def c_label(laws: Laws) -> str:
    """What C counts in these laws."""
    return COMPUTE_LABELS[laws.get("conventions", {}).get("C", "C")]


def find_fit(laws: Laws, form: str, family: str | None) -> dict[str, Any] | None:
    """The fit of a form to a family, whether or not it is identified; `None` where there is none."""
    matches = (
        fit for fit in laws.get("fits", ()) if fit["form"] == form and fit["family"] in (family, "all")
    )
    return next(matches, None)


def find_entry(laws: Laws, key: str, family: str | None) -> dict[str, Any] | None:
    """The family's entry in one of the lists of `laws.json`, such as `frontier`."""
    return next((entry for entry in laws.get(key, ()) if entry["family"] == family), None)


def training_losses(tables: StudyTables, corpus: str = MAIN_CORPUS) -> pd.DataFrame:
    """Losses on `corpus` during training: run, tokens, loss; empty where the runs left no such curves."""
    column = f"{corpus}_loss_nats"
    if column not in tables.curves.columns:
        return pd.DataFrame(columns=["run", "tokens", "loss"])
    curves = tables.curves.dropna(subset=[column])
    return curves[["run", "tokens", column]].rename(columns={column: "loss"}).reset_index(drop=True)
