"""Training time and batch as figures need them: the laws of `laws.json` as laws, and points beside them.

C_min, S_min and E_min are the paper's: compute far below the critical batch, steps far above it, tokens far
below it (Kaplan 2020, section 5). Compute is in FLOPs here and in PF-days on the axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.batch.batch_scan import steps_to_target
from scaling_laws.laws.batch.compute_efficient import ComputeEfficient
from scaling_laws.laws.batch.constant_rate import constant_rate_part, curves_of_study, falling_curve
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.report.evidence import Laws, StudyTables
from scaling_laws.study.records import MAIN_CORPUS

PF_DAYS = "PF-days"
C_MIN_LABEL = f"$C_{{min}}$, {PF_DAYS} (non-embedding)"
C_LABEL = f"C = 6NBS, {PF_DAYS} (non-embedding)"
NEEDS_BATCHES = "Needs runs of `scaling-laws sweep configs/sweeps/batch.yaml`"
NEEDS_FRONTIER = f"{NEEDS_BATCHES} and of `scaling-laws sweep configs/sweeps/size.yaml`"
LOSS_COLUMN = f"{MAIN_CORPUS}_loss_nats"
GPT2_VOCABULARY = 50257
FEWEST_SIZES = 3
HIGHEST_LEVEL = 1.1
"""Loss levels begin this far above where the smallest size ends."""


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
    drawn = _columns(entry_of(laws, "critical_batch", family), ("alpha_B", "B_star"))
    return None if drawn is None else CriticalBatch(**drawn)


def efficient_law(laws: Laws, family: str | None) -> ComputeEfficient | None:
    """L(N,S_min) with B_crit(L), the laws of appendix B; None unless both are identified."""
    batch, steps = batch_law(laws, family), entry_of(laws, "training_time", family).get("steps")
    if batch is None or not steps or not steps["identified"]:
        return None
    return ComputeEfficient(**steps["parameters"], **vars(batch))


def route_draws(laws: Laws, family: str | None, *names: str) -> dict[str, NDArray[Any]] | None:
    """The bootstrap's draws of numbers of Kaplan's route (`training_time`), in a column each."""
    return _columns(entry_of(laws, "training_time", family), names)


def _columns(entry: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, NDArray[Any]] | None:
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
    return _needs(NEEDS_BATCHES, entry_of(laws, "critical_batch", family)["reason"])


def why_no_frontier(laws: Laws, family: str | None) -> str:
    """Which sweeps a figure of C_min needs, and what is wrong with the runs that there are."""
    return _needs(NEEDS_FRONTIER, entry_of(laws, "training_time", family)["reason"])


def _needs(sweeps: str, reason: str) -> str:
    return f"{sweeps}: {reason}." if reason else f"{sweeps}."


# --- learning curves ------------------------------------------------------------------------------


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


def losses_at(curves: pd.DataFrame, axis: str, values: ArrayLike) -> pd.DataFrame:
    """The loss of each size at fixed steps or compute, at a constant rate: N, `axis`, loss, batch_tokens.

    Between two evaluations ln loss is interpolated on the falling curve closest to it; of several trainings
    of a size the geometric mean counts. A size that was not measured there has no row.

    Args:
        curves: from `law_curves`.
        axis: `step`, or `C` = 6 N B S in FLOPs.
        values: of it.
    """
    wanted = np.log(np.asarray(values, dtype=float))
    rows = []
    for N, of_size in _points(curves).groupby("N"):
        found = []
        for _, training in of_size.groupby("trunk"):
            along = falling_curve(training[axis], training["loss"])
            inside = (wanted >= along.log_step[0]) & (wanted <= along.log_step[-1])
            found.append(np.where(inside, np.interp(wanted, along.log_step, along.log_loss), np.nan))
        measured = np.isfinite(found)
        counts = measured.sum(axis=0)
        total = np.where(measured, found, 0.0).sum(axis=0)
        batch = float(of_size["batch_tokens"].iloc[0])
        rows += [
            {"N": N, axis: value, "loss": float(np.exp(total[i] / counts[i])), "batch_tokens": batch}
            for i, value in enumerate(np.exp(wanted))
            if counts[i]
        ]
    return pd.DataFrame(rows, columns=["N", axis, "loss", "batch_tokens"])


def even_values(curves: pd.DataFrame, axis: str, count: int) -> NDArray[Any]:
    """`count` values of `step` or `C`, evenly spaced in logarithm, that at least three sizes reached.

    They begin a tenth (in logarithm) within the range: before that the loss is that of the warm-up.
    """
    points = _points(curves)
    if points.empty or points["N"].nunique() < FEWEST_SIZES:
        return np.empty(0)
    ends = points.groupby("N")[axis].agg(["min", "max"])
    low = float(ends["min"].sort_values().iloc[FEWEST_SIZES - 1])
    high = float(ends["max"].sort_values().iloc[-FEWEST_SIZES])
    if low >= high:
        return np.empty(0)
    return np.asarray(np.geomspace(low**0.75 * high**0.25, high, count))


def _points(curves: pd.DataFrame) -> pd.DataFrame:
    """Points at a constant rate, with C = 6 N B S in FLOPs."""
    if curves.empty:
        return pd.DataFrame(columns=["trunk", "N", "batch_tokens", "step", "tokens", "loss", "C"])
    points = constant_rate_part(curves).points
    return points.assign(C=FLOPS_PER_PARAMETER_TOKEN * points["N"] * points["tokens"])


def loss_levels(curves: pd.DataFrame, count: int) -> NDArray[Any]:
    """Losses from where the smallest size ends to what three sizes reached, evenly spaced in logarithm."""
    points = _points(curves)
    if points.empty or points["N"].nunique() < FEWEST_SIZES:
        return np.empty(0)
    lowest = points.groupby("N")["loss"].min()
    high, low = (
        HIGHEST_LEVEL * float(lowest.iloc[0]),
        1.001 * float(lowest.sort_values().iloc[FEWEST_SIZES - 1]),
    )
    return np.asarray(np.geomspace(high, low, count)) if low < high else np.empty(0)


def least_resources(curves: pd.DataFrame, batch: CriticalBatch, losses: ArrayLike) -> pd.DataFrame:
    """Steps, tokens and compute to each loss in the limits of the batch, by (5.4) and (5.5).

    Args:
        curves: from `law_curves`.
        batch: B_crit(L).
        losses: levels, nats per token.

    Returns:
        One row a size and level that it reached: N, loss, batch, steps and tokens as taken; S_min (steps),
        E_min (tokens), C_min = 6 N E_min (FLOPs).
    """
    columns = ["N", "loss", "batch", "steps", "tokens", "S_min", "E_min", "C_min"]
    if curves.empty or not len(np.asarray(losses)):
        return pd.DataFrame(columns=columns)
    scan = steps_to_target(curves, losses).dropna(subset=["steps"])
    S_min = batch.steps_min(scan["steps"], scan["batch"], scan["loss"])
    E_min = batch.compute_min(scan["tokens"], scan["batch"], scan["loss"])
    C_min = FLOPS_PER_PARAMETER_TOKEN * scan["N"] * E_min
    return scan.assign(S_min=S_min, E_min=E_min, C_min=C_min)[columns].reset_index(drop=True)
