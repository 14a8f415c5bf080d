"""Tables of a study made by hand: rows that no sweep has trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scaling_laws.laws.positions import PositionLosses
from scaling_laws.laws.results.study import no_laws
from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.shapes import (
    RATIOS,
    Correction,
    Importance,
    ShapeNoise,
    ShapeResult,
    ShapeTrial,
    envelope,
    ranked,
)
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.records import RunRecord
from scaling_laws.study.runs import Study

NO_HOLDOUT: dict[str, Any] = {
    **dict.fromkeys(("held_out", "predicted", "actual", "relative_error", "baseline_relative_error"), ()),
    **{"baseline": None, "mean_absolute_error": None, "baseline_mean_absolute_error": None, "reason": ""},
}


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


def laws_with(**entries: Any) -> Laws:
    """The laws of a study without any, and these entries of `laws.json`."""
    return Laws.from_json(no_laws(study_of()).to_json() | entries, "by_hand")


def laws_of(content: Mapping[str, Any]) -> Laws:
    """A `laws.json` that says only what a test is about, made whole."""
    whole = {
        "fits": [fit_of(**fit) for fit in content.get("fits", ())],
        "holdout": [NO_HOLDOUT | entry for entry in content.get("holdout", ())],
    }
    return laws_with(**{**content, **whole})


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


def searched() -> ShapeResult:
    """Five trials: the loss rises by 1 % for each doubling away from d_ff / d_model = 4."""
    trials = [
        ShapeTrial(
            run=f"trial-{place}",
            status="complete",
            d_ff_ratio=4.0 * 2**place,
            aspect_ratio=32.0 * 2**place,
            head_width=16,
            n_layer=2,
            d_model=64,
            n_heads=4,
            d_ff=256,
            N=50_000,
            tokens=1_000_000,
            learning_rate=0.01,
            learning_rate_factor=1.0,
            loss=3 * (1 + abs(place) / 100),
            test_loss=None,
            tokens_per_s=None,
        )
        for place in (-2, -1, 0, 1, 2)
    ]
    correction = Correction(alpha_N=0.08, source="a test")
    best_first = ranked(trials, correction, 50_000)
    return ShapeResult(
        study="shape",
        question="",
        N=5e4,
        tokens=1_000_000,
        constant_rate_tokens=(0, 1_000_000),
        n_shapes=5,
        counts={"complete": 5, "infeasible": 0},
        trained_tokens=5_000_000,
        optuna="",
        correction=correction,
        best=best_first[0],
        noise=ShapeNoise(sd_log_loss=0.001, sd_by_shape=(0.001,), n_shapes=1, n_runs=2, band_percent=0.4),
        envelopes={ratio: envelope(best_first, ratio) for ratio in RATIOS},
        importance=Importance(shares={"d_ff_ratio": 0.7, "aspect_ratio": 0.3}, reason=""),
        transfer=None,
        trials=best_first,
    )
