"""A noise-free study drawn from Kaplan's laws of training time: what tests of its figures measure against.

Every loss is that of `LAW` after the steps taken, at the batch taken (equations 5.4 and 5.6):

    sizes    seven sizes at one batch; their four horizons branch off one training
    batch    two sizes at eight batches, at a constant rate, three learning rates a batch
    lr       three sizes at three batches and five learning rates, `RATE_PENALTY` nats above the law a
             squared unit of ln(rate / best rate)
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from scaling_laws.laws.batch.compute_efficient import ComputeEfficient
from scaling_laws.laws.fit.noise import seed_noise
from scaling_laws.laws.results.family import FamilyTables, laws_of
from scaling_laws.laws.results.fitted import Settings
from scaling_laws.laws.results.types import Conventions, LatePositions, Laws
from scaling_laws.laws.selection import usable_runs
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.runs import Study

LAW = ComputeEfficient(alpha_N=0.09, N_c=3e11, alpha_S=0.7, S_c=120.0, alpha_B=0.25, B_star=5e6)
"""Kaplan's form with constants of a small scale."""
SIZES = tuple(float(12 * 2 * d_model**2) for d_model in (16, 32, 64, 96, 128, 192, 256))
BATCH_TOKENS = 8192
SCANNED_BATCHES = tuple(2**k for k in range(10, 18))
SCANNED_SIZES = (SIZES[1], SIZES[3])
RATE_SIZES, RATE_BATCHES = SIZES[:3], (2048, 8192, 32768)
RATE_PENALTY = 0.08
NOISE_SCALE_RATIO = 0.7
"""The noise scale over B_crit."""
STEPS = 4000
WARMUP = 5


def best_of(C: float) -> tuple[float, float]:
    """The size of lowest loss at C = 6 N B S spent at the study's batch, and that loss."""
    found = minimize_scalar(
        lambda log_N: float(
            LAW.loss_at_batch(np.exp(log_N), C / (6 * np.exp(log_N) * BATCH_TOKENS), BATCH_TOKENS)
        ),
        bounds=(np.log(1e3), np.log(1e8)),
        method="bounded",
    )
    return float(np.exp(found.x)), float(found.fun)


def best_rate(N: float, batch_tokens: float) -> float:
    """Truth of the lr experiment."""
    return float(9e-3 * (N / 1e5) ** -0.3 * (batch_tokens / BATCH_TOKENS) ** 0.5)


def study_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The run table (columns of `runs.Study.runs`) and the curves (of `records.CURVE_COLUMNS`)."""
    runs: list[dict[str, Any]] = []
    curves: list[pd.DataFrame] = []

    def add(experiment: str, N: float, batch: int, steps: int, rate: float, **others: Any) -> None:
        trunk = others.pop("trunk", f"{experiment}-{len(runs)}")
        row = _row(experiment, f"{trunk}-{steps}", trunk, N, batch, steps, rate) | others
        curve = _curve(row, others.get("penalty", 0.0))
        row["loss"] = float(curve["test_loss_nats"].iloc[-1])
        row["summed_learning_rate"] = float(curve["summed_learning_rate"].iloc[-1])
        row["loss_test"] = row["loss"]
        runs.append(row)
        curves.append(curve)

    for N in SIZES:
        for share in (8, 4, 2, 1):
            add("size", N, BATCH_TOKENS, STEPS // share, 1e-3, trunk=f"size-{N:g}")
    for N in SCANNED_SIZES:
        for batch in SCANNED_BATCHES:
            for k, slower in enumerate((0.02, 0.0, 0.03)):
                steps = round(2e7 / batch)
                rate = best_rate(N, batch) * 2.5 ** (k - 1)
                add("batch", N, batch, steps, rate, decay="constant", after_cooldown=False, penalty=slower)
    for N in RATE_SIZES:
        for batch in RATE_BATCHES:
            for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
                # Off the grid of factors, so that the best rate lies between two that were tried.
                rate = best_rate(N, batch) * factor * 1.2
                penalty = RATE_PENALTY * np.log(factor * 1.2) ** 2
                add("lr", N, batch, round(4e6 / batch), rate, penalty=penalty)
    return pd.DataFrame(runs).drop(columns="penalty"), pd.concat(curves, ignore_index=True)


@functools.cache
def batch_study() -> tuple[StudyTables, Laws]:
    """The study's tables, and those laws that its figures read: of the runs at the best learning rate."""
    runs, curves = study_tables()
    tuned = runs[runs["experiments"] != "lr"]
    tables = tables_of(runs, curves)
    usable, _ = usable_runs(tuned)
    settings = Settings(n="N", c="C", delta=1e-3, resamples=20, seed=0)
    noise = seed_noise(usable)
    of_family = FamilyTables(
        family="transformer",
        complete=tuned,
        runs=usable,
        curves=curves[curves["run"].isin(tuned["run"])].assign(loss=curves["test_loss_nats"]),
        noise=noise,
        settings=settings,
    )
    laws = Laws(
        study="batch_study",
        conventions=Conventions(N="N", C="C", loss="loss"),
        by_family=(laws_of(of_family),),
        noise=noise,
        late_positions=LatePositions(reason=""),
    )
    return tables, laws


def tables_of(runs: pd.DataFrame, curves: pd.DataFrame) -> StudyTables:
    """`StudyTables` of a study that never was on a disk."""
    left_out = pd.DataFrame(columns=["run", "status", "reason"])
    study = Study(
        name="batch_study", question="", folder=Path("nowhere"), records=(), runs=runs, left_out=left_out
    )
    usable = usable_runs(runs)[0] if len(runs) else runs
    return StudyTables(
        name=study.name, complete=runs, runs=usable, curves=curves, position_losses={}, study=study
    )


def _row(
    experiment: str, run: str, trunk: str, N: float, batch: int, steps: int, rate: float
) -> dict[str, Any]:
    D = steps * batch
    return {
        "run": run,
        "trunk": trunk,
        "experiments": experiment,
        "family": "transformer",
        "seed": 1,
        "n_layer": 2,
        "d_model": round((N / 24) ** 0.5),
        "n_ctx": 64,
        "n_reuse": 1,
        "dropout": 0.0,
        "N": N,
        "N_with_head": N + 1024 * round((N / 24) ** 0.5),
        "N_total": N + 1088 * round((N / 24) ** 0.5),
        "N_reused": N,
        "D": D,
        "unique_tokens": D,
        "train_halvings": 0,
        "noise_suffix_tokens": 0,
        "batch_tokens": batch,
        "steps": steps,
        "learning_rate": rate,
        "decay": "cooldown",
        "cooldown_share": 0.2,
        "warmup_tokens": WARMUP * batch,
        "after_cooldown": True,
        "stopped_early": False,
        "C": 6.0 * N * D,
        "C_attention": 6.0 * N * D,
        "C_exact": 6.0 * N * D,
        "elapsed_s": 10.0,
        "trained_tokens": D,
        "tokens_per_s": D / 10,
    }


def _curve(row: dict[str, Any], penalty: float) -> pd.DataFrame:
    """At 120 log-spaced steps; the learning rate as the row's schedule has it."""
    steps = np.unique(np.geomspace(1, row["steps"], 120).round().astype(int))
    cooling = 0.0 if row["decay"] == "constant" else row["cooldown_share"]
    left = np.clip((steps / row["steps"] - (1 - cooling)) / cooling, 0, 1) if cooling else 0.0 * steps
    rate = row["learning_rate"] * np.minimum(1, steps / WARMUP) * (1 - np.sqrt(left))
    loss = LAW.loss_at_batch(row["N"], steps, row["batch_tokens"]) + penalty
    return pd.DataFrame(
        {
            "run": row["run"],
            "step": steps,
            "tokens": steps * row["batch_tokens"],
            "learning_rate": rate,
            "summed_learning_rate": np.cumsum(rate * np.diff(steps, prepend=0)),
            "noise_scale_tokens": NOISE_SCALE_RATIO * LAW.critical_batch(loss),
            "test_loss_nats": loss,
        }
    )
