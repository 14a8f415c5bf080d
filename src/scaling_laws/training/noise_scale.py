"""The gradient noise scale: how many tokens a batch needs before its gradient is more signal than noise.

McCandlish et al. 2018, "An Empirical Model of Large-Batch Training": B_simple = tr(Sigma) / |G|^2, with G the
true gradient and Sigma the covariance of one token's. Since E|G_B|^2 = |G|^2 + tr(Sigma) / B, gradients at
two batch sizes give unbiased estimates of both. Their ratio is not unbiased: each is averaged on its own.
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from scaling_laws.study.bounds import Count, ShareBelowOne, check_bounds
from scaling_laws.study.errors import InputError
from scaling_laws.training.gradients import gradient_norm
from scaling_laws.training.strategies import FullyShardedStrategy

SMALL_PART = 4
"""The small batch is this part of the big one."""


def estimates(small: float, big: float, small_tokens: float, big_tokens: float) -> tuple[float, float]:
    """Unbiased |G|^2 and tr(Sigma) (appendix A.1 of the paper).

    Args:
        small, big: squared norms of the gradients of two batches, the smaller of which may be a part of the
            bigger.
        small_tokens, big_tokens: sizes of the batches; tr(Sigma) is that of one token's gradient.
    """
    signal = (big_tokens * big - small_tokens * small) / (big_tokens - small_tokens)
    noise = (small - big) / (1 / small_tokens - 1 / big_tokens)
    return signal, noise


class NoiseScale(pl.Callback):
    """Measures the noise scale at every n-th step; `curve.csv` has it as `noise_scale_tokens`.

    The small batch is a quarter of the windows (at least one) that a device has before it in the micro-batch
    of the moment; its gradient costs a quarter of a forward and backward pass of that micro-batch and touches
    neither weights, gradients nor the random generators: a run is the same bit for bit with and without it.
    A half would cost twice as much and tell the two norms apart less well (docs/log.md, 2026-11-26). The big
    batch is the whole step's, whose gradient is at hand, after accumulation and all-reduction and before
    clipping. Over several devices the small batches' squared norms are averaged.

    Args:
        every_n_steps: steps between two measurements; 0 measures nothing.
        decay: of the moving averages, a measurement.

    Raises:
        InputError: a number makes no sense, or (when training starts) precision or strategy hide the
            gradients.
    """

    def __init__(self, every_n_steps: Count = 64, decay: ShareBelowOne = 0.95) -> None:
        settings = {"every_n_steps": every_n_steps, "decay": decay}
        check_bounds(NoiseScale.__init__, settings, what="noise_scale.")
        self.every_n_steps = every_n_steps
        self.decay = decay
        self._signal = 0.0
        self._noise = 0.0

    @property
    def tokens(self) -> float | None:
        """B_simple in tokens; None before a measurement, or where noise hides the signal altogether."""
        return self._noise / self._signal if self._signal > 0 and self._noise > 0 else None

    def state_dict(self) -> dict[str, float]:
        return {"signal": self._signal, "noise": self._noise}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self._signal, self._noise = state_dict["signal"], state_dict["noise"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.every_n_steps and trainer.precision == "16-mixed":
            raise InputError("noise_scale: gradients in 16-mixed are scaled; set noise_scale.every_n_steps 0")
        if self.every_n_steps and isinstance(trainer.strategy, FullyShardedStrategy):
            raise InputError("noise_scale: no rank holds a sharded gradient; set noise_scale.every_n_steps 0")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._windows = batch

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if not self.every_n_steps or (trainer.global_step + 1) % self.every_n_steps:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        n_small = max(1, len(self._windows) // SMALL_PART)
        if n_small == data.batch_sequences:
            return  # one window a step has no part
        weights = [weight for weight in pl_module.parameters() if weight.grad is not None]
        small = _gradient_norm_of(trainer, pl_module, self._windows[:n_small], weights).square()
        small = trainer.strategy.reduce(small, reduce_op="mean")
        big = gradient_norm(weights).square()
        signal, noise = estimates(float(small), float(big), n_small * data.n_ctx, data.batch_tokens)
        self._signal += (1 - self.decay) * (signal - self._signal)
        self._noise += (1 - self.decay) * (noise - self._noise)


def _gradient_norm_of(
    trainer: pl.Trainer, module: pl.LightningModule, windows: Tensor, weights: list[torch.nn.Parameter]
) -> Tensor:
    """Norm of the mean loss's gradient over `windows` (B, T + 1), in the run's precision."""
    on_cuda = [module.device] if module.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=on_cuda),  # dropout goes on as if nothing had happened
        torch.enable_grad(),
        trainer.precision_plugin.train_step_context(),
    ):
        language_model: Any = module
        loss, _ = language_model.training_loss(windows)
        gradients = torch.autograd.grad(loss, weights)
    return torch.nn.utils.get_total_norm(gradients).float()
