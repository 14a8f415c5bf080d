"""How a network in training answers the questions of its corpus (`data/tasks.py`), by likelihood.

A choice's score is the sum of its tokens' log-probabilities after the context; the choice with the highest is
the answer. `task_scores.csv` has one row a task at each evaluation: sums over its items, so that rows pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from scaling_laws.data.tasks import TaskItem
from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.evaluation import token_losses
from scaling_laws.training.module import LanguageModel

EVALUATION_ITEMS = 24
"""Of each task at an evaluation within the training; all of them after the last step."""


class TaskQuestions:
    """The items of a corpus as windows of tokens, of which each rank scores all: what it writes is the same.

    Args:
        data: its corpus brings items and tokenizer.
    """

    def __init__(self, data: TokenDataModule) -> None:
        self.items: list[TaskItem] = data.corpus.tasks()
        if not self.items:
            return
        tokenizer = data.corpus.tokenizer()
        contexts = list(tokenizer.encode([item.context for item in self.items]))
        choices = list(tokenizer.encode([choice for item in self.items for choice in item.choices]))
        rows, self._first, self._item = [], [], []
        of_choice = iter(choices)
        for place, (item, context) in enumerate(zip(self.items, contexts, strict=True)):
            for _ in item.choices:
                choice = next(of_choice)[: data.text_ctx]
                row = [tokenizer.separator_id, *context, *choice][-(data.text_ctx + 1) :]
                rows.append(row)
                self._first.append(len(row) - 1 - len(choice))
                self._item.append(place)
        self._length = [len(row) - 1 for row in rows]
        width = max(map(len, rows))
        self._windows = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        self._early = _first_items(self.items)

    def tokens(self, *, final: bool) -> int:
        """Target tokens that one evaluation sends through the network, padding included."""
        return len(self._rows(final)) * (self._windows.shape[1] - 1)

    def score(
        self, trainer: pl.Trainer, module: LanguageModel, step: int, *, final: bool
    ) -> list[dict[str, Any]]:
        """Rows of the table, one a task."""
        rows = self._rows(final)
        losses = token_losses(trainer, module, self._windows[rows]).double().cpu()
        scores: dict[int, list[float]] = {}
        for row, loss in zip(rows.tolist(), losses, strict=True):
            of_choice = -float(loss[self._first[row] : self._length[row]].sum())
            scores.setdefault(self._item[row], []).append(of_choice)
        tables: dict[str, dict[str, Any]] = {}
        for place, of_item in scores.items():
            item = self.items[place]
            table = tables.setdefault(
                item.task,
                {
                    "step": step,
                    "task": item.task,
                    "n_items": 0,
                    "n_correct": 0,
                    "chance_sum": 0.0,
                    "answer_log_p_sum_nats": 0.0,
                },
            )
            table["n_items"] += 1
            table["n_correct"] += of_item[item.answer] == max(of_item) and of_item.count(max(of_item)) == 1
            table["chance_sum"] += 1 / len(of_item)
            table["answer_log_p_sum_nats"] += of_item[item.answer]
        for table in tables.values():
            for name in ("chance_sum", "answer_log_p_sum_nats"):
                table[name] = round(table[name], 6)
        return list(tables.values())

    def _rows(self, final: bool) -> Tensor:
        """Windows of the items of an evaluation."""
        item = torch.tensor(self._item)
        return torch.arange(len(item)) if final else torch.isin(item, self._early).nonzero()[:, 0]


def _first_items(items: Sequence[TaskItem]) -> Tensor:
    """Places of the first `EVALUATION_ITEMS` of each task."""
    seen: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        seen.setdefault(item.task, []).append(place)
    return torch.tensor([place for places in seen.values() for place in places[:EVALUATION_ITEMS]])
