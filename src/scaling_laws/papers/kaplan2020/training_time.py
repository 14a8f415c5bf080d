"""Training time and batch as figures need them: the laws of `laws.json` as laws, and points beside them.

C_min, S_min and E_min are the paper's: compute far below the critical batch, steps far above it, tokens far
below it (Kaplan 2020, section 5). Compute is in FLOPs here and in PF-days on the axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.batch.batch_scan import steps_to_target
from scaling_laws.laws.batch.compute_efficient import ComputeEfficient
from scaling_laws.laws.batch.constant_rate import constant_rate_part, falling_curve
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.report.batches import NEEDS_BATCHES, batch_law, draws_of_entry, entry_of, needs
from scaling_laws.report.evidence import Laws

PF_DAYS = "PF-days"
C_MIN_LABEL = f"$C_{{min}}$, {PF_DAYS} (non-embedding)"
C_LABEL = f"C = 6NBS, {PF_DAYS} (non-embedding)"
NEEDS_FRONTIER = f"{NEEDS_BATCHES} and of `scaling-laws sweep configs/sweeps/size.yaml`"
FEWEST_SIZES = 3
HIGHEST_LEVEL = 1.1
"""Loss levels begin this far above where the smallest size ends."""


def efficient_law(laws: Laws, family: str | None) -> ComputeEfficient | None:
    """L(N,S_min) with B_crit(L), the laws of appendix B; None unless both are identified."""
    batch, steps = batch_law(laws, family), entry_of(laws, "training_time", family).get("steps")
    if batch is None or not steps or not steps["identified"]:
        return None
    return ComputeEfficient(**steps["parameters"], **vars(batch))


def route_draws(laws: Laws, family: str | None, *names: str) -> dict[str, NDArray[Any]] | None:
    """The bootstrap's draws of numbers of Kaplan's route (`training_time`), in a column each."""
    return draws_of_entry(entry_of(laws, "training_time", family), names)


def why_no_frontier(laws: Laws, family: str | None) -> str:
    """Which sweeps a figure of C_min needs, and what is wrong with the runs that there are."""
    return needs(NEEDS_FRONTIER, entry_of(laws, "training_time", family)["reason"])


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
