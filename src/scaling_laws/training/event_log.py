"""TensorBoard's view of a run: written beside the tables, never read back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from scaling_laws.records import MAIN_CORPUS, RunRecord
from scaling_laws.runs import compute_flops, parameter_counts, times_reused

PLAIN_TAGS = (
    "learning_rate",
    "gradient_norm",
    "noise_scale_tokens",
    "tokens_per_s",
    "model_flops_utilisation",
)
SHAPE_HPARAMS = ("n_layer", "d_model", "n_heads", "d_ff", "n_ctx")


def write_row(trainer: pl.Trainer, row: Mapping[str, Any]) -> None:
    """One row of the curve as scalars; absent values are left out."""
    if not isinstance(trainer.logger, TensorBoardLogger) or not trainer.is_global_zero:
        return
    writer = trainer.logger.experiment
    for tag in PLAIN_TAGS:
        if row.get(tag) is not None:
            writer.add_scalar(tag, row[tag], int(row["step"]))
    for key in row:
        if key.endswith("_loss_nats"):
            tag = f"loss_nats/{key.removesuffix('_loss_nats')}"
            writer.add_scalar(tag, row[key], int(row["step"]))
            # TensorBoard's x-axis is an integer step: a second family of tags counts tokens.
            writer.add_scalar(f"by_tokens/{tag}", row[key], int(row["tokens"]))


def write_hparams(trainer: pl.Trainer, record: RunRecord) -> None:
    """The finished run for the table of hyperparameters."""
    if not isinstance(trainer.logger, TensorBoardLogger) or not trainer.is_global_zero:
        return
    if MAIN_CORPUS in record.losses:
        n_reuse = times_reused(record.shape)
        hparams: dict[str, Any] = {
            "family": record.family,
            **{key: record.shape[key] for key in SHAPE_HPARAMS if key in record.shape},
            **parameter_counts(record.parameters, record.flops_per_token, n_reuse),
            "D": record.tokens,
            "C": compute_flops(record.parameters, record.flops_per_token, record.tokens, n_reuse)["C"],
            "learning_rate": record.optimizer["learning_rate"],
            "seed": record.seed,
        }
        metrics = {f"hp/{corpus}_loss_nats": loss["loss_nats"] for corpus, loss in record.losses.items()}
        trainer.logger.log_hyperparams(hparams, metrics)
    trainer.logger.save()


def forget_events(folder: Path) -> None:
    """Remove what TensorBoard's logger wrote: a resumed run writes all its points again, from its curve."""
    for pattern in ("events.out.tfevents.*", "hparams.yaml"):
        for path in folder.glob(pattern):
            path.unlink()
