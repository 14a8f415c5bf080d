"""The critical batch and the learning curves behind it, as figures need them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.forms.terms import in_columns
from scaling_laws.laws.results.types import Laws
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.records import MAIN_CORPUS, loss_column

NEEDS_BATCHES = "Needs runs of `scaling-laws sweep configs/sweeps/batch.yaml`"
LOSS_COLUMN = loss_column(MAIN_CORPUS)
GPT2_VOCABULARY = 50257


def has_kaplans_tokens(study: StudyTables) -> bool:
    """Whether losses are of GPT-2's vocabulary: only then do they stand beside the paper's, nat for nat."""
    sizes = {record.shape.get("n_vocab") for record in study.study.records}
    return sizes == {GPT2_VOCABULARY}


def batch_law(laws: Laws, family: str | None) -> CriticalBatch | None:
    """B_crit(L) of (5.3); None where it is not identified."""
    law: CriticalBatch | None = laws.of(family).critical_batch.law
    return law


def batch_draws(laws: Laws, family: str | None) -> CriticalBatch | None:
    """The bootstrap's draws of B_crit(L), in a column each; None without any that is finite."""
    draws = laws.of(family).critical_batch.draws
    if draws is None:
        return None
    finite = np.isfinite(draws.alpha_B) & np.isfinite(draws.B_star)
    chosen = CriticalBatch(alpha_B=draws.alpha_B[finite], B_star=draws.B_star[finite])
    columns: CriticalBatch = in_columns(chosen)
    return columns if finite.any() else None


def batch_levels(laws: Laws, family: str | None) -> pd.DataFrame:
    """Every size and loss with a measured critical batch: one row each.

    N, loss, S_min (steps), E_min and B_crit (tokens), B_low and B_high (90 %; NaN without), noise_scale
    (tokens; NaN where not measured), n_batches, inside (whether B_crit lies among the batches scanned).
    """
    names = ("N", "loss", "S_min", "E_min", "B_crit", "noise_scale", "n_batches")
    rows: list[dict[str, Any]] = [
        {name: getattr(level, name) for name in names}
        | dict(zip(("B_low", "B_high"), level.intervals.get("B_crit") or (None, None), strict=True))
        | {"inside": not level.warning}
        for level in laws.of(family).critical_batch.levels
        if level.B_crit is not None
    ]
    types = dict.fromkeys([*names, "B_low", "B_high"], float) | {"inside": bool}
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def why_no_batches(laws: Laws, family: str | None) -> str:
    """Which sweep a figure of batches needs, and what is wrong with the runs that there are."""
    return needs(NEEDS_BATCHES, laws.of(family).critical_batch.reason)


def needs(sweeps: str, reason: str) -> str:
    return f"{sweeps}: {reason}." if reason else f"{sweeps}."
