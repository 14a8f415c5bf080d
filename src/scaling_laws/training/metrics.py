"""The loss at each token position, as a torchmetrics Metric of sums and counts."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class PositionLoss(Metric):
    """Sums of the per-token loss by fold of documents and by position in the window.

    Sums and counts, never means: they pool exactly over batches, ranks, folds and positions.

    Args:
        n_positions: T, the number of predicted positions of a window.
        n_folds: how many folds of documents are told apart.
        sync_on_compute: whether `compute` pools over all ranks; the states themselves stay one rank's.
    """

    full_state_update = False
    loss_sum: Tensor
    count: Tensor

    def __init__(self, n_positions: int, n_folds: int = 1, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        shape = (n_folds, n_positions)
        self.add_state("loss_sum", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, loss_nats: Tensor, folds: Tensor | None = None) -> None:
        """Add the losses of B windows.

        Args:
            loss_nats: (B, T) negative log-likelihoods; shorter windows fill the first positions.
            folds: (B,) the fold of each window; fold 0 where not given.
        """
        n_batch, n_tokens = loss_nats.shape
        if folds is None:
            folds = torch.zeros(n_batch, dtype=torch.int64, device=loss_nats.device)
        self.loss_sum[:, :n_tokens].index_add_(0, folds, loss_nats.double())
        self.count[:, :n_tokens].index_add_(0, folds, torch.ones_like(loss_nats, dtype=torch.int64))

    def compute(self) -> Tensor:
        """Mean loss over everything seen, in nats per token; a scalar."""
        return self.loss_sum.sum() / self.count.sum()
