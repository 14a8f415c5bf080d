"""Tables of a study made by hand: rows that no sweep has trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scaling_laws.laws.positions import PositionLosses
from scaling_laws.laws.results.study import no_laws
from scaling_laws.report.evidence import StudyTables, plain_of
from scaling_laws.study.records import RunRecord
from scaling_laws.study.runs import Study


def study_of(
    runs: Sequence[Mapping[str, Any]] = (), records: Sequence[RunRecord] = (), folder: Path = Path("nowhere")
) -> Study:
    """A study of these rows, each with a name, a training and a family of its own where it has none."""
    filled = [
        {"run": f"run-{place}", "trunk": f"run-{place}", "family": "transformer", "experiments": ""}
        | {"n_reuse": 1, "learning_rate": 1e-3, "n_ctx": 128}
        | dict(row)
        for place, row in enumerate(runs)
    ]
    left_out = pd.DataFrame(columns=["run", "status", "reason"])
    return Study(
        name="by_hand",
        question="",
        folder=folder,
        records=tuple(records),
        runs=pd.DataFrame(filled),
        left_out=left_out,
    )


def tables_of(study: Study, position_losses: Mapping[str, PositionLosses] | None = None) -> StudyTables:
    """All of its runs are those of a law."""
    return StudyTables(
        study=study,
        name=study.name,
        complete=study.runs,
        runs=study.runs,
        curves=pd.DataFrame(),
        position_losses=position_losses or {},
    )


def laws_with(**entries: Any) -> dict[str, Any]:
    """The laws of a study without any, and these entries."""
    return plain_of(no_laws(study_of())) | entries


def fit_of(
    form: str, parameters: Mapping[str, float], family: str = "transformer", **more: Any
) -> dict[str, Any]:
    """A fit of `laws.json`, identified, without intervals."""
    return {
        "form": form,
        "family": family,
        "formula": form,
        "parameters": dict(parameters),
        "units": dict.fromkeys(parameters, "1"),
        "identified": True,
        "reason": "",
        "intervals": {},
        "interval_method": "",
        "derived": {},
        "resamples": {},
        "certificate": None,
        **{"n_rows": 0, "n_clusters": 0, "n_left_out": 0, "rows": "", "objective": None, "delta": 0.001},
        **{"ranges": {}, "row_sd": None},
        **more,
    }
