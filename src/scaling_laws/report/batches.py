"""The critical batch and the learning curves behind it, as figures need them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.laws.batch.constant_rate import curves_of_study
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.report.evidence import Laws, StudyTables
from scaling_laws.study.records import MAIN_CORPUS

NEEDS_BATCHES = "Needs runs of `scaling-laws sweep configs/sweeps/batch.yaml`"
LOSS_COLUMN = f"{MAIN_CORPUS}_loss_nats"
GPT2_VOCABULARY = 50257


def has_kaplans_tokens(tables: StudyTables) -> bool:
    """Whether losses are of GPT-2's vocabulary: only then do they stand beside the paper's, nat for nat."""
    sizes = {record.shape.get("n_vocab") for record in tables.study.records}
    return sizes == {GPT2_VOCABULARY}


def entry_of(laws: Laws, key: str, family: str | None) -> Mapping[str, Any]:
    """The family's entry of a list of `laws.json`; one with a reason alone where there is none."""
    entries = (entry for entry in laws.get(key, ()) if entry["family"] == family)
    return next(entries, {"reason": "not measured"})


def batch_law(laws: Laws, family: str | None) -> CriticalBatch | None:
    """B_crit(L) of (5.3); None where it is not identified."""
    entry = entry_of(laws, "critical_batch", family)
    return CriticalBatch(**entry["parameters"]) if entry.get("identified") else None


def batch_draws(laws: Laws, family: str | None) -> CriticalBatch | None:
    """The bootstrap's draws of B_crit(L), in a column each; None without any."""
    drawn = draws_of_entry(entry_of(laws, "critical_batch", family), ("alpha_B", "B_star"))
    return None if drawn is None else CriticalBatch(**drawn)


def draws_of_entry(entry: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, NDArray[Any]] | None:
    """Draws (resamples, 1) of some numbers, those that lack one left out; None where there are none."""
    resamples = entry.get("resamples") or {}
    if not set(names) <= set(resamples):
        return None
    table = np.array([resamples[name] for name in names], dtype=float)
    table = table[:, np.isfinite(table).all(axis=0)]
    return {name: row[:, None] for name, row in zip(names, table, strict=True)} if table.size else None


def batch_levels(laws: Laws, family: str | None) -> pd.DataFrame:
    """Every size and loss with a measured critical batch: one row each.

    N, loss, S_min (steps), E_min and B_crit (tokens), B_low and B_high (90 %; NaN without), noise_scale
    (tokens; NaN where not measured), n_batches, inside (whether B_crit lies among the batches scanned).
    """
    rows = []
    for level in entry_of(laws, "critical_batch", family).get("levels", ()):
        if level["B_crit"] is None:
            continue
        low, high = level["intervals"].get("B_crit") or (None, None)
        names = ("N", "loss", "S_min", "E_min", "B_crit", "noise_scale", "n_batches")
        inside = not level["warning"]
        rows.append({name: level[name] for name in names} | {"B_low": low, "B_high": high, "inside": inside})
    numbers = ["N", "loss", "S_min", "E_min", "B_crit", "B_low", "B_high", "noise_scale", "n_batches"]
    return pd.DataFrame(rows, columns=[*numbers, "inside"]).astype(
        dict.fromkeys(numbers, float) | {"inside": bool}
    )


def why_no_batches(laws: Laws, family: str | None) -> str:
    """Which sweep a figure of batches needs, and what is wrong with the runs that there are."""
    return needs(NEEDS_BATCHES, entry_of(laws, "critical_batch", family)["reason"])


def needs(sweeps: str, reason: str) -> str:
    return f"{sweeps}: {reason}." if reason else f"{sweeps}."


def law_curves(tables: StudyTables, family: str | None) -> pd.DataFrame:
    """The learning curves of the runs that a law may use: what `laws/steps/` reads. Of one batch."""
    runs = tables.of(family)
    if runs.empty or LOSS_COLUMN not in tables.curves.columns:
        return pd.DataFrame()
    return _with_losses(curves_of_study(tables.curves, runs, loss=LOSS_COLUMN))


def all_curves(tables: StudyTables, laws: Laws, family: str | None) -> pd.DataFrame:
    """The same of every complete run of the family, those of other batches and learning rates included."""
    runs = tables.complete[tables.complete["family"] == family] if len(tables.complete) else tables.complete
    if runs.empty or LOSS_COLUMN not in tables.curves.columns:
        return pd.DataFrame()
    n = laws["conventions"]["N"]
    return _with_losses(curves_of_study(tables.curves, runs, loss=LOSS_COLUMN, n=n))


def _with_losses(curves: pd.DataFrame) -> pd.DataFrame:
    return curves.dropna(subset=["loss"])
