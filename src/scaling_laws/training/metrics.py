"""The loss at each token position and in each class of token, as a torchmetrics Metric of sums and counts."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from scaling_laws.study.records import TOKEN_CLASSES

NOVEL, TRIGRAM, BIGRAM, OTHER = range(len(TOKEN_CLASSES))


def token_classes(windows: Tensor) -> Tensor:
    """Whether a network could copy each target from its window: (W, T) int8, indices of `TOKEN_CLASSES`.

    Of a target x_t: `trigram`, the last three tokens x_(t-2) x_(t-1) x_t stood earlier in the window;
    `bigram`, only the last two did; `other`, x_(t-1) did, but was never followed by x_t; `novel`, x_(t-1) did
    not.

    Args:
        windows: (W, T + 1) token ids.
    """
    n_tokens = windows.shape[1]
    tokens, seen = _numbered(windows)
    pairs, bigram = _numbered(tokens[:, :-1] * n_tokens + tokens[:, 1:])
    trigram = torch.zeros_like(bigram)
    trigram[:, 1:] = _numbered(pairs[:, :-1] * n_tokens + tokens[:, 2:])[1]
    classes = torch.full(bigram.shape, NOVEL, dtype=torch.int8, device=windows.device)
    for where, number in ((seen[:, :-1], OTHER), (bigram, BIGRAM), (trigram, TRIGRAM)):
        classes[where] = number
    return classes


def _numbered(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Of codes (W, n), row by row: each one's number among those that differ, and whether it stood before."""
    ordered, place = codes.sort(dim=1, stable=True)
    again = torch.zeros_like(ordered, dtype=torch.bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    number = (~again).cumsum(1) - 1
    by_place = [torch.empty_like(each).scatter_(1, place, each) for each in (number, again)]
    return by_place[0], by_place[1]


class PositionLoss(Metric):
    """Sums of the per-token loss by fold of documents, by position in the window and by class of token.

    Sums and counts, never means: they pool exactly over batches, ranks, folds and positions.

    Args:
        n_positions: T, the number of predicted positions of a window.
        n_folds: how many folds of documents are told apart.
        sync_on_compute: whether `compute` pools over all ranks; the states themselves stay one rank's.
    """

    full_state_update = False
    loss_sum: Tensor
    count: Tensor
    class_loss_sum: Tensor
    class_count: Tensor

    def __init__(self, n_positions: int, n_folds: int = 1, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        shape = (n_folds, n_positions)
        self.add_state("loss_sum", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        of_classes = torch.zeros((n_folds, len(TOKEN_CLASSES)), dtype=torch.float64)
        self.add_state("class_loss_sum", of_classes, dist_reduce_fx="sum")
        self.add_state("class_count", of_classes.long(), dist_reduce_fx="sum")

    def update(self, loss_nats: Tensor, folds: Tensor | None = None, classes: Tensor | None = None) -> None:
        """Add the losses of B windows.

        Args:
            loss_nats: (B, T) negative log-likelihoods; shorter windows fill the first positions.
            folds: (B,) the fold of each window; fold 0 where not given.
            classes: (B, <= T) from `token_classes`, of the first positions; none are counted where not given.
        """
        n_batch, n_tokens = loss_nats.shape
        if folds is None:
            folds = torch.zeros(n_batch, dtype=torch.int64, device=loss_nats.device)
        self.loss_sum[:, :n_tokens].index_add_(0, folds, loss_nats.double())
        self.count[:, :n_tokens].index_add_(0, folds, torch.ones_like(loss_nats, dtype=torch.int64))
        if classes is not None:
            place = (folds[:, None] * len(TOKEN_CLASSES) + classes).flatten()
            classed = loss_nats[:, : classes.shape[1]].double().flatten()
            self.class_loss_sum.view(-1).index_add_(0, place, classed)
            self.class_count.view(-1).index_add_(0, place, torch.ones_like(place))

    def compute(self) -> Tensor:
        """Mean loss over everything seen, in nats per token; a scalar."""
        return self.loss_sum.sum() / self.count.sum()

    def standard_error(self) -> float | None:
        """Of the mean loss, in nats: what other documents of the same kind would change.

        Folds of documents are the clusters (a ratio of two sums, linearised); None where fewer than two have
        text. Networks measured on the same text share most of it.
        """
        sums, counts = self.loss_sum.sum(1), self.count.sum(1).double()
        n_folds = int((counts > 0).sum())
        if n_folds < 2:
            return None
        distances = sums - counts * (sums.sum() / counts.sum())
        return float((distances.square().sum() * n_folds / (n_folds - 1)).sqrt() / counts.sum())
