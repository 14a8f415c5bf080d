"""What the verb `predict` writes: the loss of every token of a text."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from scaling_laws.study.errors import InputError

PREDICTED = ("token_index", "position", "token_id", "text", "loss_nats")
"""Columns of `predictions.csv`."""


class PredictionTable(pl.Callback):
    """Writes `predictions.csv` into the run's folder: one row a predicted token of the file."""

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        self._tokenizer = data.tokenizer()
        self.path = Path(trainer.default_root_dir) / "predictions.csv"
        _require_own_table(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, self._temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        self._file = os.fdopen(descriptor, "w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow(PREDICTED)
        self._n_tokens, self._loss_sum_nats = 0, 0.0

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for position, (token, loss) in enumerate(zip(batch[0, 1:], outputs[0], strict=True), start=1):
            self._n_tokens += 1
            self._loss_sum_nats += float(loss)
            text = json.dumps(self._tokenizer.decode([int(token)]), ensure_ascii=False)
            self._writer.writerow((self._n_tokens, position, int(token), text, round(float(loss), 6)))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._file.close()
        os.chmod(self._temporary, 0o644)
        os.replace(self._temporary, self.path)
        mean = self._loss_sum_nats / self._n_tokens
        print(f"{self._n_tokens} tokens, mean loss {mean:.4f} nats per token: {self.path}")

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        with suppress(AttributeError, OSError):  # it had not begun
            self._file.close()
            os.remove(self._temporary)


def _require_own_table(path: Path) -> None:
    """Refuse to replace a table that no `predict` wrote.

    Raises:
        InputError: it is one.
    """
    if path.exists():
        with open(path, "rb") as file:
            if file.readline(200).strip() != ",".join(PREDICTED).encode():
                raise InputError(f"{path}: already exists and is not a prediction; move it away")
