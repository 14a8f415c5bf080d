"""How long a step takes here: a network is trained for a moment on random tokens, by Lightning's Trainer.

What is timed is the whole of a step as a run takes it (loop, forward and backward pass, clipping, optimiser),
and the forward pass of held-out windows. Not timed: what comes now and then, as checkpoints, the noise scale
and rows of tables.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from scaling_laws.models.optimizers import OptimizerSetting
from scaling_laws.models.own import load_class
from scaling_laws.training.evaluation import EVALUATION_SEQUENCES, token_losses
from scaling_laws.training.module import LanguageModel

WARM_UP_STEPS = 2
"""Not timed: memory is taken, kernels are chosen and, where asked for, compiled."""
STEPS_A_TIMING = 2
FEWEST_TIMINGS = 2
TIMED_S = 0.2
"""Timings end at the first after so many seconds."""


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """Lower quartiles, in seconds: what shares the device for a moment only adds to a time.

    On a CPU they are the processor's seconds of this process, which has one thread: the wall seconds of a
    process that has a core for itself, however busy the machine is now.

    Attributes:
        step_s: of one optimiser step.
        evaluation_s: of the losses of as many windows, but of `EVALUATION_SEQUENCES` at most.
    """

    step_s: float
    evaluation_s: float


def measure_step_time(
    class_path: str,
    arguments: Mapping[str, Any],
    *,
    n_vocab: int,
    n_ctx: int,
    batch_sequences: int,
    device: str,
    precision: str,
    optimizer: OptimizerSetting = "adamw",
    compiled: bool = False,
) -> StepTime:
    """Train a network for about half a second on one device.

    Args:
        class_path, arguments: of the network, its arguments but for n_vocab and n_ctx.
        batch_sequences: windows of n_ctx tokens per step.
        device: Lightning's `accelerator`.
        precision: Lightning's.
        compiled: whether it goes through torch.compile.

    Raises:
        InputError: the network cannot be built.
        Exception: whatever its forward pass raises.
    """
    network = load_class(class_path)(n_vocab=n_vocab, n_ctx=n_ctx, **arguments)
    module = LanguageModel(network, optimizer=optimizer, compile=compiled)
    stopwatch = _Stopwatch(torch.randint(n_vocab, (min(batch_sequences, EVALUATION_SEQUENCES), n_ctx + 1)))
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on workers and loggers
        trainer = pl.Trainer(
            accelerator=device,
            devices=1,
            precision=precision,  # type: ignore[arg-type]
            max_steps=10**9,
            gradient_clip_val=1.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[stopwatch],
        )
        trainer.fit(module, DataLoader(_RandomWindows(n_vocab, batch_sequences, n_ctx), batch_size=None))
    return StepTime(step_s=_lower_quartile(stopwatch.steps_s), evaluation_s=stopwatch.evaluation_s)


class _RandomWindows(IterableDataset[Tensor]):
    """Batches (B, T + 1) of random tokens without end."""

    def __init__(self, n_vocab: int, n_batch: int, n_ctx: int) -> None:
        self.n_vocab, self.size = n_vocab, (n_batch, n_ctx + 1)

    def __iter__(self) -> Iterator[Tensor]:
        while True:
            yield torch.randint(self.n_vocab, self.size)


class _Stopwatch(pl.Callback):
    """Times steps until there are enough, ends the training, and times an evaluation."""

    def __init__(self, held_out: Tensor) -> None:
        self.held_out = held_out
        self.steps_s: list[float] = []
        self.evaluation_s = 0.0
        self._n_steps = 0
        self._start_s = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._n_steps += 1
        timed = self._n_steps - WARM_UP_STEPS
        if timed < 0 or timed % STEPS_A_TIMING:
            return
        now_s = _now_s(pl_module.device)
        if timed:
            self.steps_s.append((now_s - self._start_s) / STEPS_A_TIMING)
        self._start_s = now_s
        if len(self.steps_s) >= FEWEST_TIMINGS and sum(self.steps_s) * STEPS_A_TIMING >= TIMED_S:
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, LanguageModel)

        def evaluate() -> None:
            token_losses(trainer, pl_module, self.held_out)

        self.evaluation_s = _seconds_of(evaluate, pl_module.device)


def _seconds_of(work: Callable[[], None], device: torch.device) -> float:
    work()  # warm-up
    found: list[float] = []
    while len(found) < FEWEST_TIMINGS or sum(found) < TIMED_S / 2:
        start_s = _now_s(device)
        work()
        found.append(_now_s(device) - start_s)
    return _lower_quartile(found)


def _lower_quartile(found: list[float]) -> float:
    return sorted(found)[len(found) // 4]


def _now_s(device: torch.device) -> float:
    """A clock's time, once the device has done what it was given."""
    if device.type == "cpu":
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
