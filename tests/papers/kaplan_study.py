"""Studies as the figures, tables and claims of Kaplan 2020 read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.batch_study import batch_study
from tests.support.by_hand import laws_with, study_of, tables_of
from tests.support.fitted_studies import FittedStudy

from scaling_laws.laws.results.types import FamilyLaws, FittedLaw, Laws
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.report.study_tables import StudyTables


def kaplan(tables: StudyTables, laws: Laws) -> KaplanTables:
    """Tables and laws made by hand."""
    return KaplanTables(**vars(tables), laws=laws)


_kept: dict[int, KaplanTables] = {}


def kaplan_of(fitted: FittedStudy) -> KaplanTables:
    """A study of the whole session: what its figures and claims compute of it is computed once."""
    if id(fitted.laws) not in _kept:
        _kept[id(fitted.laws)] = kaplan(fitted.tables, fitted.laws)  # which holds on to the laws
    return _kept[id(fitted.laws)]


def by_hand(
    runs: Sequence[Mapping[str, Any]] = (),
    folder: Path = Path("nowhere"),
    fits: Mapping[str, Mapping[str, float]] | None = None,
    **of_family: Any,
) -> KaplanTables:
    """A study of these rows; of its Transformers' laws these fits by form, and what else is known of them."""
    study = kaplan(tables_of(study_of(runs, folder=folder)), laws_with())
    known = tuple(_fit(form, parameters) for form, parameters in (fits or {}).items())
    family = FamilyLaws(family="transformer", fits=known, **of_family)
    return replace(study, laws=replace(study.laws, by_family=(family,)))


def _fit(form: str, parameters: Mapping[str, float]) -> FittedLaw:
    """Identified, without intervals."""
    return FittedLaw(
        form=form,
        formula=form,
        parameters=dict(parameters),
        units=dict.fromkeys(parameters, "1"),
        n_rows=9,
        n_clusters=9,
        identified=True,
        reason="",
        certificate=None,
        rows="",
        objective=None,
        delta=1e-3,
        n_left_out=0,
        ranges={},
        intervals={},
        interval_method="",
        row_sd=None,
        derived={},
        resamples={},
    )


def timed_study() -> KaplanTables:
    """Exact curves by Kaplan's laws of training time, of the runs at the best learning rate."""
    return kaplan(*batch_study())
