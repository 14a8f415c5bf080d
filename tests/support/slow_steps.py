"""A training that takes its time on any machine, and none of its processor's."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl


class SlowSteps(pl.Callback):
    """Sleeps after every step."""

    def __init__(self, seconds: float = 0.1) -> None:
        self._step_s = seconds

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        time.sleep(self._step_s)
