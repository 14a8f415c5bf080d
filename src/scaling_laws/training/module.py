"""Any network from token ids to logits, as a LightningModule.

Shapes: B sequences, T tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from scaling_laws.models.network import require_accounting
from scaling_laws.models.optimizers import OptimizerName
from scaling_laws.study.bounds import NotNegative, Rate, ShareBelowOne, check_bounds
from scaling_laws.study.errors import InputError
from scaling_laws.study.schedule import Schedule
from scaling_laws.training.compiled import compile_network
from scaling_laws.training.loss import mean_loss, token_losses
from scaling_laws.training.metrics import PositionLoss
from scaling_laws.training.optim import clip_gradients, gradient_norm, make_optimizer
from scaling_laws.training.strategies import FullyShardedStrategy


class LanguageModel(pl.LightningModule):
    """Next-token cross-entropy, an optimiser, and a learning rate that is a pure function of the step.

    Args:
        network: an nn.Module by class path that satisfies `Network`.
        learning_rate: peak of the schedule.
        schedule: how the rate rises and falls; its horizon is the trainer's `max_steps`.
        optimizer: `adamw`, or `adafactor` where its moments do not fit into memory.
        beta1: AdamW's decay of the mean gradient.
        beta2: AdamW's decay of the mean squared gradient.
        weight_decay: decoupled decay, on matrices only.
        compile: train by torch.compile; where that fails, one line says why and the run goes on without.

    Attributes:
        gradient_norm: of the step just taken, before clipping; a scalar on the device.
        compiled: whether the network runs compiled: it was wanted, and it worked.

    Raises:
        InputError: the network lacks its accounting, or its groups do not sum to its parameters.
    """

    def __init__(
        self,
        network: nn.Module,
        learning_rate: Rate = 3e-3,
        schedule: Schedule = Schedule(),  # noqa: B008 (frozen)
        optimizer: OptimizerName = "adamw",
        beta1: ShareBelowOne = 0.9,
        beta2: ShareBelowOne = 0.95,
        weight_decay: NotNegative = 0.1,
        compile: bool = False,
    ) -> None:
        super().__init__()
        require_accounting(network)
        settings = {
            "learning_rate": learning_rate,
            "beta1": beta1,
            "beta2": beta2,
            "weight_decay": weight_decay,
        }
        check_bounds(LanguageModel.__init__, settings)
        self.network = network
        self.network_arguments: dict[str, Any] = {}
        """Of the network's constructor, where the command line has built it."""
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.optimizer = optimizer
        self.betas = (beta1, beta2)
        self.weight_decay = weight_decay
        self.gradient_norm = torch.zeros(())
        self.compile_pending = compile
        self.compiled = False

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, FullyShardedStrategy):
            self.trainer.strategy.shard(self.network)

    def on_train_batch_start(self, window: Tensor, batch_idx: int) -> None:
        if self.compile_pending:
            self.compile_pending = False
            self.compiled = compile_network(self, window)

    @property
    def shape(self) -> dict[str, Any]:
        """What records say of the network's shape: its `config`, or how it was built."""
        config = getattr(self.network, "config", None)
        if is_dataclass(config) and not isinstance(config, type):
            return asdict(config)
        return self.network_arguments

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) of token ids (B, T)."""
        logits: Tensor = self.network(tokens)
        return logits

    def token_losses(self, window: Tensor) -> Tensor:
        """Negative log-likelihood (B, T) in nats of tokens 1..T of windows (B, T + 1)."""
        return token_losses(self.network, window)

    def training_step(self, window: Tensor, batch_idx: int) -> Tensor:
        return mean_loss(self.network, window)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.trainer.max_steps <= 0:
            raise InputError("trainer.max_steps is not set; the schedule needs the number of steps")
        if self.optimizer == "adafactor" and isinstance(self.trainer.strategy, FullyShardedStrategy):
            raise InputError("model.optimizer: torch's Adafactor cannot take sharded weights; use adamw")
        return make_optimizer(
            self.optimizer,
            self.network,
            learning_rate=self.learning_rate,
            betas=self.betas,
            weight_decay=self.weight_decay,
            # A fused step would undo the loss scaling of float16 itself: too late for the clipping.
            fused=self.trainer.precision != "16-mixed",
        )

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Lightning does not clip for a fused optimizer in mixed precision, even where nothing is scaled."""
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        self.gradient_norm = gradient_norm(weights)
        clip_gradients(weights, self.gradient_norm, gradient_clip_val, gradient_clip_algorithm)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the rate of this step. Without a scheduler object there is no scheduler state to resume."""
        rate = self.current_learning_rate()
        for group in optimizer.param_groups:
            group["lr"] = rate

    def current_learning_rate(self) -> float:
        """Learning rate of the step about to be taken."""
        return self.learning_rate * self.schedule.factor(self.trainer.global_step, self.trainer.max_steps)

    # --- `scaling-laws validate`, `test` and `predict` --------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._start_evaluation()

    def on_test_epoch_start(self) -> None:
        self._start_evaluation()

    def validation_step(self, window: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(window, dataloader_idx)

    def test_step(self, window: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(window, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        self._log_evaluation(["val"])

    def on_test_epoch_end(self) -> None:
        self._log_evaluation([name for name in self._data().corpus.held_out if name != "val"])

    def predict_step(self, window: Tensor, batch_idx: int) -> Tensor:
        """Per-token losses (B, T) in nats."""
        return self.token_losses(window)

    def _data(self) -> Any:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def _start_evaluation(self) -> None:
        n_ctx = self._data().n_ctx
        n_corpora = len(self._data().corpus.held_out)
        self._position_losses = [PositionLoss(n_ctx).to(self.device) for _ in range(n_corpora)]

    def _evaluate(self, window: Tensor, corpus_index: int) -> None:
        self._position_losses[corpus_index].update(self.token_losses(window))

    def _log_evaluation(self, corpora: list[str]) -> None:
        for name, metric in zip(corpora, self._position_losses, strict=False):
            self.log(f"{name}/loss_nats", metric.compute().float(), rank_zero_only=True)
