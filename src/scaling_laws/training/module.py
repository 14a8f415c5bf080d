"""Any network from token ids to logits, as a LightningModule.

Shapes: B sequences, T tokens, V vocabulary.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, is_dataclass
from inspect import signature
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from scaling_laws.models.families import FAMILIES
from scaling_laws.models.network import RegularisedNetwork, require_accounting, require_causal
from scaling_laws.models.optimizer_parts import make_optimizer, require_resumable, require_sharded
from scaling_laws.models.optimizers import (
    SHORT_NAMES_SETTINGS,
    OptimizerSetting,
    Parametrization,
    require_own_settings,
)
from scaling_laws.models.parametrization import parametrised
from scaling_laws.study.bounds import (
    NotNegative,
    PositiveLayers,
    Rate,
    ShareBelowOne,
    Width,
    check_bounds,
)
from scaling_laws.study.conventions import flops_doubt, times_reused
from scaling_laws.study.errors import InputError
from scaling_laws.study.schedule import Schedule
from scaling_laws.training.compiled import compile_network
from scaling_laws.training.gradients import clip_gradients, gradient_norm
from scaling_laws.training.loss import Objective, mean_loss, token_losses
from scaling_laws.training.metrics import PositionLoss
from scaling_laws.training.strategies import FullyShardedStrategy


class LanguageModel(pl.LightningModule):
    """Next-token cross-entropy, an optimiser, and a learning rate that is a pure function of the step.

    Args:
        network: the network by class path: an nn.Module that satisfies `Network` (docs/own-network.md).
        learning_rate: the highest rate of the schedule.
        schedule: how the rate rises and falls; its horizon is the trainer's `max_steps`.
        optimizer: `adamw`; `adafactor` if AdamW's moments do not fit into memory; any other by its class,
            `{class_path: torch.optim.SGD, init_args: {momentum: 0.9}}`; or a list of such, each with
            `parameters` (`matrices`, `rest`, a regular expression) and a `learning_rate_factor`.
        beta1: adamw's decay of the mean gradient.
        beta2: adamw's decay of the mean squared gradient.
        weight_decay: decoupled weight decay of adamw and adafactor, on matrices only.
        parametrization: how initial weights, rates, decays and logits follow from width and depth:
            `standard`, or `mup` or `completep` from a base shape, with Adam or AdamW
            (`models/parametrization.py`).
        base_width: width of the base shape, at which the learning rate was tuned.
        base_depth: number of layers of the base shape; `completep` alone needs it.
        base_head_width: width of a head of the base shape; by default the base shape has as many heads.
        compile: whether to train with torch.compile; if that fails, one line says why and the run goes on
            without it.
        objective: your own loss or training step by class path (`training/loss.py`, `Objective`);
            by default the cross-entropy of the next token.

    Attributes:
        gradient_norm: of the step just taken, before clipping; a scalar on the device.
        step_learning_rate: of the step just taken: the schedule's.
        compiled: whether the network runs compiled: requested, and successful.

    Raises:
        InputError: the network lacks its accounting, or its groups do not sum to its parameters; or the
            optimiser is none, or could not be resumed.
    """

    def __init__(
        self,
        network: nn.Module,
        learning_rate: Rate = 3e-3,
        schedule: Schedule = Schedule(),  # noqa: B008 (frozen)
        optimizer: OptimizerSetting = "adamw",
        beta1: ShareBelowOne = 0.9,
        beta2: ShareBelowOne = 0.95,
        weight_decay: NotNegative = 0.1,
        parametrization: Parametrization = "standard",
        base_width: Width | None = None,
        base_depth: PositiveLayers | None = None,
        base_head_width: Width | None = None,
        compile: bool = False,
        objective: Objective | None = None,
    ) -> None:
        super().__init__()
        require_accounting(network)
        settings = {
            "learning_rate": learning_rate,
            "beta1": beta1,
            "beta2": beta2,
            "weight_decay": weight_decay,
            "base_width": base_width,
            "base_depth": base_depth,
            "base_head_width": base_head_width,
        }
        check_bounds(LanguageModel.__init__, settings)
        defaults = signature(LanguageModel.__init__).parameters
        changed = {name: settings[name] != defaults[name].default for name in SHORT_NAMES_SETTINGS}
        require_own_settings(optimizer, changed)
        require_resumable(optimizer)
        self.scaling = parametrised(
            network,
            parametrization,
            optimizer,
            base_width=base_width,
            base_depth=base_depth,
            base_head_width=base_head_width,
        )
        self.parametrization: dict[str, Any] = {"parametrization": parametrization}
        if self.scaling is not None:
            self.parametrization |= {"base_width": base_width, "base_depth": base_depth}
        self.network = network
        self.network_arguments: dict[str, Any] = {}
        """Of the network's constructor, where the command line has built it."""
        self.settings: dict[str, Any] = {}
        """Arguments of this constructor, where the command line has built it: only what JSON has."""
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.optimizer = optimizer
        self.betas = (beta1, beta2)
        self.weight_decay = weight_decay
        self.gradient_norm = torch.zeros(())
        self.step_learning_rate = 0.0
        self.compile_pending = compile
        self.compiled = False
        self.objective = objective

    def configure_model(self) -> None:
        if self._trainer is None:
            return  # `load_from_checkpoint`
        if isinstance(self.trainer.strategy, FullyShardedStrategy):
            self.trainer.strategy.shard(self.network)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What `load_from_checkpoint` builds the module of again, as LightningCLI would leave it."""
        if self.settings:
            checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = {
                **self.settings,
                "_instantiator": "pytorch_lightning.cli.instantiate_module",
            }

    def on_fit_start(self) -> None:
        network: Any = self.network
        path = f"{type(network).__module__}.{type(network).__qualname__}"
        data = self._data()
        # Tests have seen that the built-in ones are causal and count right; without data a step is timed.
        if data is None or path in (family.network_path for family in FAMILIES):
            return
        require_causal(network, data.n_vocab, data.n_ctx)
        n_reuse = times_reused(self.shape)
        doubt = flops_doubt(path, network.parameters_by_group(), network.flops_per_token(), n_reuse)
        if doubt and self.trainer.is_global_zero:
            print(f"note: {doubt}", file=sys.stderr)

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
        if self.objective is not None:
            return self.objective.token_losses(self.network, window)
        return token_losses(self.network, window)

    def training_loss(self, window: Tensor) -> tuple[Tensor, Tensor | None]:
        """What windows (B, T + 1) are trained with, and, where it has a part besides, the cross-entropy."""
        if self.objective is not None:
            return self.objective.training_loss(self.network, window), None
        loss = mean_loss(self.network, window)
        if not isinstance(self.network, RegularisedNetwork):
            return loss, None
        return loss + self.network.auxiliary_loss(), loss.detach()

    def training_step(self, window: Tensor, batch_idx: int) -> Tensor | dict[str, Tensor]:
        loss, cross_entropy = self.training_loss(window)
        return loss if cross_entropy is None else {"loss": loss, "cross_entropy": cross_entropy}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.trainer.max_steps <= 0:
            raise InputError("trainer.max_steps is not set; the schedule needs the number of steps")
        if isinstance(self.trainer.strategy, FullyShardedStrategy):
            require_sharded(self.optimizer, self.trainer.strategy.device_mesh["data_parallel"])
        weight_type = next(self.network.parameters()).dtype
        if weight_type != torch.float32:
            require_resumable(self.optimizer, weight_type)
        return make_optimizer(
            self.optimizer,
            self.network,
            learning_rate=self.learning_rate,
            betas=self.betas,
            weight_decay=self.weight_decay,
            # A fused step would undo the loss scaling of float16 itself: too late for the clipping.
            fused=self.trainer.precision != "16-mixed",
            scaling=self.scaling,
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
        self.step_learning_rate = rate = self.current_learning_rate()
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("learning_rate_factor", 1.0)

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
