"""How a run looks at held-out text (`schedule.py` says when)."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor

from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.metrics import PositionLoss
from scaling_laws.training.module import LanguageModel

EVALUATION_SEQUENCES = 32
N_FOLDS = 16


def evaluate(
    trainer: pl.Trainer,
    module: LanguageModel,
    data: TokenDataModule,
    *,
    windows: Mapping[str, int],
    n_folds: int,
) -> dict[str, PositionLoss]:
    """The loss at each position on held-out corpora, pooled over all ranks.

    Args:
        windows: how many of each corpus, spread evenly over it; all where it has fewer.
        n_folds: 1, or `N_FOLDS` to keep the folds of documents apart.
    """
    metrics = {}
    for corpus, n_windows in windows.items():
        text, folds = data.held_out(corpus, n_windows)
        if n_folds == 1:
            folds = torch.zeros_like(folds)
        # Every rank makes as many forward passes: where weights are sharded, each needs all ranks. One whose
        # share has a window less repeats one, and does not count it.
        share = torch.arange(trainer.global_rank, len(text) + trainer.global_rank, trainer.world_size)
        counted = share < len(text)
        losses = token_losses(trainer, module, text[share % len(text)])
        metric = PositionLoss(data.n_ctx, n_folds, sync_on_compute=False).to(module.device)
        classes = data.held_out_classes(corpus, n_windows)[share[counted]]
        metric.update(losses[counted], folds[share[counted]].to(module.device), classes.to(module.device))
        metric.loss_sum = trainer.strategy.reduce(metric.loss_sum, reduce_op="sum")
        metric.count = trainer.strategy.reduce(metric.count, reduce_op="sum")
        metric.class_loss_sum = trainer.strategy.reduce(metric.class_loss_sum, reduce_op="sum")
        metric.class_count = trainer.strategy.reduce(metric.class_count, reduce_op="sum")
        metrics[corpus] = metric
    return metrics


def token_losses(trainer: pl.Trainer, module: LanguageModel, windows: Tensor) -> Tensor:
    """Losses (W, T) in nats of tokens 1 ... T of windows (W, T + 1), in the run's precision, no dropout."""
    was_training = module.training
    module.eval()
    with torch.no_grad(), trainer.precision_plugin.val_step_context():
        losses = [
            module.token_losses(some.to(module.device)) for some in torch.split(windows, EVALUATION_SEQUENCES)
        ]
    module.train(was_training)
    return torch.cat(losses)
