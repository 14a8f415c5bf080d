"""When a run looks at held-out text, and how."""

from __future__ import annotations

import pytorch_lightning as pl
import torch

from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.metrics import PositionLoss
from scaling_laws.training.module import LanguageModel

FIRST_EVALUATION_TOKENS = 2**15
EVALUATION_SEQUENCES = 32
N_FOLDS = 16


def evaluation_steps(batch_tokens: int, steps: int, per_doubling: int) -> set[int]:
    """Log-spaced steps after which held-out losses are measured, and the last step.

    The grid is anchored at a fixed number of tokens, not at the horizon: runs of all horizons and sizes
    are then measured at the same points, and a cooldown branch shares those of its trunk.
    """
    chosen = {steps}
    k = 0
    while (step := round(FIRST_EVALUATION_TOKENS * 2 ** (k / per_doubling) / batch_tokens)) < steps:
        if step >= 1:
            chosen.add(step)
        k += 1
    return chosen


def evaluate(
    trainer: pl.Trainer, module: LanguageModel, data: TokenDataModule, *, n_windows: int, n_folds: int
) -> dict[str, PositionLoss]:
    """The loss at each position on every held-out corpus, pooled over all ranks.

    Args:
        n_windows: windows a corpus, spread evenly over it.
        n_folds: 1, or `N_FOLDS` to keep the folds of documents apart.
    """
    was_training = module.training
    module.eval()
    metrics = {}
    with torch.no_grad(), trainer.precision_plugin.val_step_context():
        for corpus in data.corpus.held_out:
            windows, folds = data.held_out(corpus, n_windows)
            windows = windows[trainer.global_rank :: trainer.world_size].to(module.device)
            folds = folds[trainer.global_rank :: trainer.world_size].to(module.device)
            if n_folds == 1:
                folds = torch.zeros_like(folds)
            metric = PositionLoss(data.n_ctx, n_folds).to(module.device)
            for start in range(0, len(windows), EVALUATION_SEQUENCES):
                some = slice(start, start + EVALUATION_SEQUENCES)
                metric.update(module.token_losses(windows[some]), folds[some])
            metric.sync()  # does nothing on one device
            metrics[corpus] = metric
    module.train(was_training)
    return metrics
