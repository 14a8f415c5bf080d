"""How a network in training answers the questions of its corpus (`data/tasks.py`), by likelihood.

A choice's score is the sum of its tokens' log-probabilities after the context; the choice with the highest is
the answer. `task_scores.csv` has one row a task at each evaluation: sums over its items, so that rows pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from scaling_laws.data.tasks import EVALUATION_ITEMS, TaskItem
from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.evaluation import token_losses
from scaling_laws.training.module import LanguageModel


@dataclass(frozen=True, kw_only=True)
class TaskWindows:
    """The choices of one task's items after their contexts, as windows of tokens.

    Attributes:
        task: its name.
        items: the questions.
        windows: (R, T + 1) token ids, a row a choice, in the order of items; padded at the end.
        first, last: (R,) the choice's tokens are the targets first ... last - 1.
    """

    task: str
    items: tuple[TaskItem, ...]
    windows: Tensor
    first: tuple[int, ...]
    last: tuple[int, ...]

    def n_rows(self, n_items: int) -> int:
        return sum(len(item.choices) for item in self.items[:n_items])


class TaskQuestions:
    """The questions of a corpus. Each rank scores them all, so that all know what one writes.

    Args:
        data: its corpus brings items and tokenizer.
    """

    def __init__(self, data: TokenDataModule) -> None:
        by_task: dict[str, list[TaskItem]] = {}
        for item in data.corpus.tasks() if isinstance(data.corpus, TokenCorpus) else ():
            by_task.setdefault(item.task, []).append(item)
        self.tasks = [_windows(data, task, items) for task, items in by_task.items()]

    def tokens(self, *, final: bool) -> int:
        """Target tokens that one evaluation sends through the network, padding included."""
        return sum(each.n_rows(_n_items(each, final)) * (each.windows.shape[1] - 1) for each in self.tasks)

    def score(
        self, trainer: pl.Trainer, module: LanguageModel, step: int, *, final: bool
    ) -> list[dict[str, Any]]:
        """Rows of the table, one a task."""
        rows = []
        for task in self.tasks:
            items = task.items[: _n_items(task, final)]
            losses = token_losses(trainer, module, task.windows[: task.n_rows(len(items))]).double().cpu()
            spans = zip(losses, task.first, task.last, strict=False)
            scores = iter([-float(loss[first:last].sum()) for loss, first, last in spans])
            n_correct, of_answers = 0, 0.0
            for item in items:
                of_item = [next(scores) for _ in item.choices]
                answer = of_item.pop(item.answer)
                n_correct += answer > max(of_item)
                of_answers += answer
            rows.append(
                {
                    "step": step,
                    "task": task.task,
                    "n_items": len(items),
                    "n_correct": n_correct,
                    "chance_sum": round(sum(1 / len(item.choices) for item in items), 6),
                    "answer_log_p_sum_nats": round(of_answers, 6),
                }
            )
        return rows


def _n_items(task: TaskWindows, final: bool) -> int:
    return len(task.items) if final else min(EVALUATION_ITEMS, len(task.items))


def _windows(data: TokenDataModule, task: str, items: Sequence[TaskItem]) -> TaskWindows:
    tokenizer = data.tokenizer()
    contexts = list(tokenizer.encode([item.context for item in items]))
    choices = tokenizer.encode([choice for item in items for choice in item.choices])
    rows, first, last = [], [], []
    for item, context in zip(items, contexts, strict=True):
        for _ in item.choices:
            choice = next(choices)[: data.text_ctx]
            row = np.concatenate(([tokenizer.separator_id], context, choice))[-(data.text_ctx + 1) :]
            rows.append(row)
            last.append(len(row) - 1)
            first.append(last[-1] - len(choice))
    width = max(map(len, rows))
    padded = np.stack([np.pad(row, (0, width - len(row))) for row in rows])
    windows = torch.from_numpy(padded.astype(np.int64))
    return TaskWindows(task=task, items=tuple(items), windows=windows, first=tuple(first), last=tuple(last))
