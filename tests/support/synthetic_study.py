"""A study folder drawn from known laws: what the tests of `laws` and `reports` measure against.

Every number follows from `LAWS`, `position_parameters`, `FOREIGN_LOSSES` and a seed:

    loss of a run            L(N, D) = E + A / N^alpha + B / D^beta, times exp(noise of its trunk + its own)
    loss at position T >= 1  a + b T^-c, with `a` such that the mean over the context is the loss of the run
    loss on another corpus   offset + slope x loss on `test`
    loss during training     the same law at the tokens seen, 3 % higher until the cooldown (the last fifth)

`write_synthetic_study(folder)` writes what a sweep would: `record.json`, `curve.csv`, `position_losses.csv`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.study.conventions import compute_flops
from scaling_laws.study.records import POSITION_COLUMNS, RunRecord, write_atomically, write_record
from scaling_laws.study.units import PF_DAY_FLOPS

N_CTX = 128
N_VOCAB = 1024
N_FOLDS = 16
BATCH_TOKENS = 2048
BYTES_PER_TOKEN = 2.6


@dataclass(frozen=True, kw_only=True)
class LossLaw:
    """L(N, D) = E + A / N^alpha + B / D^beta in nats per token."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float

    def loss(self, N: float | np.ndarray, D: float | np.ndarray) -> Any:
        return self.E + self.A / N**self.alpha + self.B / D**self.beta

    @property
    def a_opt(self) -> float:
        """N_opt ~ C^a_opt."""
        return self.beta / (self.alpha + self.beta)


LAWS = {
    "transformer": LossLaw(E=1.5, A=22.0, alpha=0.31, B=85.0, beta=0.30),
    "lstm": LossLaw(E=1.5, A=19.0, alpha=0.27, B=100.0, beta=0.31),
}
SHAPES = {  # (n_layer, d_model)
    "transformer": ((2, 16), (2, 32), (2, 48), (2, 64), (4, 64), (2, 128)),
    "lstm": ((1, 28), (1, 64), (1, 112), (1, 220)),
}
SEEDS_OF_SMALL_SIZES = 3
"""Trainings of each of the two smallest transformers; every other size has one."""

FOREIGN_LOSSES = {"val": (0.0, 1.0), "prose": (0.55, 1.02), "packages": (0.12, 1.03)}
"""Corpus -> (offset in nats, slope) from the loss on `test`."""

CONSTANT_RATE_PENALTY = 1.03
COOLDOWN = 0.2


def position_parameters(family: str, N: int, loss_nats: float) -> dict[str, float]:
    """a, b, c of the loss a + b T^-c at the 1-based position T, with mean `loss_nats` over the context."""
    decades = np.log10(N / 6e3)
    b, c = (2.4 + 0.3 * decades, 0.50 + 0.05 * decades) if family == "transformer" else (2.3, 0.80)
    positions = np.arange(1, N_CTX + 1)
    return {"a": loss_nats - b * float(np.mean(positions**-c)), "b": b, "c": c}


def write_synthetic_study(
    folder: Path,
    *,
    seed: int = 0,
    families: Sequence[str] = ("transformer", "lstm"),
    max_sizes: int = 6,
    horizons: Sequence[float] = (0.5e6, 1e6, 2e6, 4e6, 8e6),
    seeds_of_small_sizes: int = SEEDS_OF_SMALL_SIZES,
    sd_log_loss: float = 0.004,
    diverged: int = 1,
    curves: bool = True,
    positions: bool = True,
) -> Path:
    """Write a study and return its folder.

    Args:
        folder: the study's folder; its name is the study's name.
        seed: of all noise.
        families: keys of `LAWS`.
        max_sizes: sizes of each family, smallest first.
        horizons: tokens of the branches of every trunk; the largest networks (N > 1.5e5) stop one earlier.
        seeds_of_small_sizes: trainings of each of the two smallest transformers.
        sd_log_loss: standard deviation of a trunk's ln loss; a branch adds a quarter of it of its own.
        diverged: how many diverged runs to add.
        curves: whether runs leave `curve.csv`.
        positions: whether runs leave `position_losses.csv`.
    """
    rng = np.random.default_rng(seed)
    for family in families:
        shapes = SHAPES[family][:max_sizes]
        for size, (n_layer, d_model) in enumerate(shapes):
            n_seeds = seeds_of_small_sizes if family == "transformer" and size < 2 else 1
            longest = len(horizons) - (1 if n_layer * d_model**2 > 15_000 else 0)
            for run_seed in range(n_seeds):
                trunk_noise = rng.normal(0, sd_log_loss)
                for tokens in list(horizons)[: max(longest, 1)]:
                    noise = trunk_noise + rng.normal(0, sd_log_loss / 4)
                    record = _record(
                        folder.name, family, n_layer, d_model, tokens, run_seed, float(np.exp(noise))
                    )
                    _write_run(folder / record.name, record, rng, curves, positions)
    for number in range(diverged):
        _write_diverged(folder, number)
    return folder


def _record(
    study: str, family: str, n_layer: int, d_model: int, horizon: float, seed: int, factor: float
) -> RunRecord:
    steps = round(horizon / BATCH_TOKENS)
    tokens = steps * BATCH_TOKENS
    parameters, flops = _parts(family, n_layer, d_model)
    N = sum(parameters[group] for group in ("attention", "feed_forward", "recurrent") if group in parameters)
    loss = float(LAWS[family].loss(N, tokens)) * factor
    losses = {"test": loss} | {corpus: o + s * loss for corpus, (o, s) in FOREIGN_LOSSES.items()}
    trunk = f"{family}-l{n_layer}-d{d_model}-s{seed}"
    name = f"{trunk}-{tokens / 1e6:.1f}M"
    tokens_per_s = 2e9 / (N + 1e4)
    return RunRecord(
        run_id=f"synthetic-{name}",
        name=name,
        study=study,
        trunk=trunk,
        status="complete",
        family=family,
        shape={"n_layer": n_layer, "d_model": d_model, "n_ctx": N_CTX, "n_vocab": N_VOCAB},
        parameters=parameters,
        flops_per_token=flops,
        tokens=tokens,
        unique_tokens=tokens,
        batch_tokens=BATCH_TOKENS,
        steps=steps,
        optimizer={"name": "adamw", "learning_rate": 4e-3},
        schedule={"name": "warmup_constant_cooldown", "cooldown": COOLDOWN},
        after_cooldown=True,
        seed=seed,
        losses={
            corpus: {
                "loss_nats": value,
                "bits_per_byte": value / np.log(2) / BYTES_PER_TOKEN,
                "tokens": 131072.0,
            }
            for corpus, value in losses.items()
        },
        best_losses=losses,
        train_loss_nats=loss - 0.02,
        corpus={"name": "synthetic", "manifest": "0" * 64},
        elapsed_s=tokens / tokens_per_s,
        trained_tokens=tokens,
        tokens_per_s=tokens_per_s,
        peak_memory_bytes=400_000_000,
        git_revision="0000000",
        versions={"scaling_laws": "0"},
        host="nowhere",
        tags=("grid",),
    )


def _parts(family: str, n_layer: int, d_model: int) -> tuple[dict[str, int], dict[str, float]]:
    """Parameters by group and forward FLOPs per token by row of Kaplan's Table 1."""
    square = n_layer * d_model**2
    embedding = {"token_embedding": N_VOCAB * d_model}
    ends = {"embed": 4.0 * d_model, "de_embed": 2.0 * d_model * N_VOCAB}
    if family == "lstm":
        return embedding | {"recurrent": 8 * square, "head": 0}, ends | {"recurrent": 16.0 * square}
    parameters = {"position_embedding": N_CTX * d_model, "attention": 4 * square, "feed_forward": 8 * square}
    rows = {
        "attention_qkv": 6.0 * square,
        "attention_mask": 2.0 * n_layer * N_CTX * d_model,
        "attention_project": 2.0 * square,
        "feed_forward": 16.0 * square,
    }
    return embedding | parameters | {"head": 0}, ends | rows


def _write_run(
    folder: Path, record: RunRecord, rng: np.random.Generator, curves: bool, positions: bool
) -> None:
    N = (
        record.parameters.get("recurrent")
        or record.parameters["attention"] + record.parameters["feed_forward"]
    )
    if curves:
        write_atomically(
            folder / "curve.csv", _curve(record, N, rng).to_csv(index=False, float_format="%.6g")
        )
    if positions:
        table = _position_losses(record, N, rng)
        write_atomically(folder / "position_losses.csv", table.to_csv(index=False, float_format="%.8g"))
    write_record(folder, record)


def _curve(record: RunRecord, N: int, rng: np.random.Generator) -> pd.DataFrame:
    """Train loss at 60 log-spaced steps; losses on the corpora at every fourth of them and at the last."""
    steps = np.unique(np.geomspace(4, record.steps, 60).round().astype(int))
    tokens = steps * record.batch_tokens
    final = record.losses["test"]["loss_nats"]
    cooling = np.clip((steps / record.steps - (1 - COOLDOWN)) / COOLDOWN, 0, 1)
    law = LAWS[record.family].loss(N, tokens)
    loss = law * CONSTANT_RATE_PENALTY ** (1 - cooling) * final / law[-1]
    loss = np.minimum(loss, np.log(N_VOCAB))
    evaluated = (np.arange(len(steps)) % 4 == 0) | (steps == record.steps)
    rate = record.optimizer["learning_rate"] * (1 - np.sqrt(cooling))
    C = {
        convention: flops * tokens
        for convention, flops in compute_flops(record.parameters, record.flops_per_token, 1).items()
    }
    table = pd.DataFrame(
        {
            "step": steps,
            "tokens": tokens,
            **C,
            **{f"{convention}_pf_days": flops / PF_DAY_FLOPS for convention, flops in C.items()},
            "learning_rate": rate,
            "summed_learning_rate": np.cumsum(rate * np.diff(steps, prepend=0)),
            "train_loss_nats": loss * np.exp(rng.normal(0, 0.01, len(steps))),
            "gradient_norm": 0.5,
            "noise_scale_tokens": 2e3 / loss,
            "tokens_per_s": record.tokens_per_s,
            "model_flops_utilisation": 0.3,
            "elapsed_s": tokens / record.tokens_per_s,
        }
    )
    for corpus in record.losses:
        offset, slope = FOREIGN_LOSSES.get(corpus, (0.0, 1.0))
        table[f"{corpus}_loss_nats"] = np.where(evaluated, offset + slope * loss, np.nan)
    return table


def _position_losses(record: RunRecord, N: int, rng: np.random.Generator) -> pd.DataFrame:
    """The final evaluation in 16 folds, and one at a tenth of the run in fold 0. Positions are 1-based."""
    positions = np.arange(1, N_CTX + 1)
    count = 8  # windows of a fold: tokens at one position
    tables = []
    for corpus, values in record.losses.items():
        for step, n_folds, raised in ((record.steps // 10, 1, 1.2), (record.steps, N_FOLDS, 1.0)):
            law = position_parameters(record.family, N, values["loss_nats"] * raised)
            mean = law["a"] + law["b"] * positions ** -law["c"]
            hardness = rng.normal(0, 0.03, n_folds)  # documents differ
            noisy = (
                mean * (1 + hardness - hardness.mean())[:, None] * (1 + rng.normal(0, 0.01, (n_folds, N_CTX)))
            )
            tables.append(
                pd.DataFrame(
                    {
                        "step": step,
                        "corpus": corpus,
                        "fold": np.repeat(np.arange(n_folds), N_CTX),
                        "position": np.tile(positions, n_folds),
                        "loss_sum_nats": (noisy * count).ravel(),
                        "count": count,
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)[list(POSITION_COLUMNS)]


def _write_diverged(folder: Path, number: int) -> None:
    complete = _record(folder.name, "transformer", 2, 128, 0.5e6, 90 + number, 1.0)
    diverged = replace(
        complete,
        status="diverged",
        reason="the loss was not finite at step 31",
        losses={},
        best_losses={},
        after_cooldown=False,
    )
    write_record(folder / diverged.name, diverged)
