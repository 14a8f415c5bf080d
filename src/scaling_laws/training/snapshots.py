"""Histograms of the weights and sampled text, a few times a run, for the loggers that can show them.

They cannot be had from the run's tables, so `snapshots.json` keeps them for a resumed run and for the
cooldown branches of a trunk: a list, one entry a step looked at,

    step, wall_time_s
    text          Markdown; absent where none was sampled
    histograms    by tag (`weights/<tensor>`, `updates/<tensor>`): low, high, n, sum, sum_squares, counts

It is a view: no analysis reads it, and where it is damaged a resumed run goes on without what it held.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.artefacts import parse_json, typed
from scaling_laws.study.bounds import Count, check_bounds
from scaling_laws.study.records import MAIN_CORPUS, write_atomically
from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.logged_media import Histogram, log_histograms, log_text
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.strategies import FullyShardedStrategy

PROMPT_TOKENS = 32
SEED = 0
"""Of the draws: the same for every run and step."""
FILE_NAME = "snapshots.json"
N_BINS = 48
MOST_VALUES = 2**16
"""Of a tensor; a larger one is seen through every k-th of its values."""
FEWEST_TOKENS = 16
WINDOWS_PER_TOKEN = 512
"""Windows to be trained on for each sampled token: a token costs the forward pass of two."""


def prompt_tokens(data: TokenDataModule, corpus: str) -> Tensor:
    """The first tokens (P,) of a held-out corpus: at most half a context."""
    n_tokens = max(1, min(PROMPT_TOKENS, data.text_ctx // 2))
    return torch.from_numpy(data.corpus.tokens(corpus)[:n_tokens].astype(np.int64))


def next_logits(network: nn.Module, text: Tensor, n_ctx: int, text_ctx: int) -> Tensor:
    """Logits (B, V) on the CPU of the token after texts (B, L).

    The network sees windows of `n_ctx` tokens, those that are not yet written as zeros: it looks at none of
    them, since it has learned to predict each token from those before. Of the text it sees the last
    `text_ctx` tokens.
    """
    recent = text[:, -text_ctx:]
    window = functional.pad(recent, (0, n_ctx - recent.shape[1]))
    device = next(network.parameters()).device
    logits: Tensor = network(window.to(device))
    return logits[:, recent.shape[1] - 1].float().cpu()


def continuations(trainer: pl.Trainer, module: LanguageModel, prompt: Tensor, n_tokens: int) -> Tensor | None:
    """The prompt (P,) continued in two ways (2, M): by the most likely tokens, and by tokens drawn at
    temperature 1.

    Weights and random generators stay as they are. None where a logit is not finite.
    """
    data: TokenDataModule = trainer.datamodule  # type: ignore[attr-defined]
    draws = torch.Generator().manual_seed(SEED)
    text = prompt.repeat(2, 1)
    on_cuda = [module.device] if module.device.type == "cuda" else []
    was_training = module.training
    module.eval()
    with torch.no_grad(), torch.random.fork_rng(on_cuda), trainer.precision_plugin.val_step_context():
        for _ in range(n_tokens):
            logits = next_logits(module, text, data.n_ctx, data.text_ctx)
            if not logits.isfinite().all():
                break
            drawn = torch.multinomial(logits[1].softmax(-1), 1, generator=draws)
            text = torch.cat((text, torch.stack((logits[0].argmax(-1, keepdim=True), drawn))), dim=1)
    module.train(was_training)
    written = text[:, len(prompt) :]
    return written if written.shape[1] == n_tokens else None


class Snapshots(pl.Callback):
    """Looks at the network after steps 1, 4, 16, 64, ... and after the last: at most ten times in 260,000.

    The steps do not depend on the horizon, so that a cooldown branch has its trunk's. What an update did is
    the difference of the weights after and before that one step. Measuring leaves weights, gradients and
    random generators as they were: a run is the same bit for bit with and without it. Where the weights are
    sharded over devices, nothing is looked at.

    Args:
        histograms: of every matrix and of its update.
        sample_tokens: tokens of sampled text; 0 samples none. Short runs sample fewer and less often, so that
            it stays below a hundredth of their time.

    Raises:
        InputError: `sample_tokens` is negative.
    """

    def __init__(self, histograms: bool = True, sample_tokens: Count = 64) -> None:
        check_bounds(Snapshots.__init__, {"sample_tokens": sample_tokens}, what="snapshots.")
        self.histograms = histograms
        self.sample_tokens = sample_tokens
        self._taken: list[dict[str, Any]] = []
        self._before: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.path = Path(trainer.default_root_dir) / FILE_NAME
        sharded = isinstance(trainer.strategy, FullyShardedStrategy)
        self._looks = trainer.is_global_zero and not sharded and bool(self.histograms or self.sample_tokens)
        before = _read(self.path) if self._looks and trainer.global_step else []
        self._taken = [snapshot for snapshot in before if snapshot["step"] <= trainer.global_step]
        if len(self._taken) < len(before):  # should the run end before the next one
            self._write()
        for snapshot in self._taken:
            _draw(trainer, snapshot)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if self._looks and self.histograms and self.is_due(trainer.global_step + 1, trainer.max_steps):
            self._before = _values(_network(pl_module))

    def is_due(self, step: int, last_step: int) -> bool:
        """Whether to look at the network after a step: it is a power of four, or the last."""
        return step == last_step or (step.bit_count() == 1 and step.bit_length() % 2 == 1)

    def take(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *, final: bool) -> None:
        """Look at the network as it stands after the present step, once."""
        step, before = trainer.global_step, self._before
        self._before = {}
        if not self._looks or (self._taken and self._taken[-1]["step"] == step):
            return
        snapshot: dict[str, Any] = {"step": step, "wall_time_s": time.time(), "histograms": {}}
        if self.histograms:
            for name, values in _values(_network(pl_module)).items():
                if not values.isfinite().all():
                    continue  # TensorBoard refuses them, and the recorder soon ends the run
                snapshot["histograms"][f"weights/{name}"] = _histogram(values)
                if before:
                    snapshot["histograms"][f"updates/{name}"] = _histogram(values - before[name])
        assert isinstance(pl_module, LanguageModel)
        if text := self._sample(trainer, pl_module, final):
            snapshot["text"] = text
        self._taken.append(snapshot)
        self._write()
        _draw(trainer, snapshot)

    def _write(self) -> None:
        write_atomically(self.path, json.dumps(self._taken, allow_nan=False) + "\n")

    def _sample(self, trainer: pl.Trainer, module: LanguageModel, final: bool) -> str | None:
        data: TokenDataModule = trainer.datamodule  # type: ignore[attr-defined]
        affordable = trainer.global_step * data.batch_sequences // WINDOWS_PER_TOKEN
        if final:
            affordable = max(affordable, FEWEST_TOKENS)
        n_tokens = min(self.sample_tokens, affordable)
        if not isinstance(data.corpus, TokenCorpus):
            return None  # a source of one's own has no words
        if n_tokens < min(self.sample_tokens, FEWEST_TOKENS) or not n_tokens:
            return None
        prompt = prompt_tokens(data, MAIN_CORPUS)
        written = continuations(trainer, module, prompt, n_tokens)
        if written is None:
            return None
        tokenizer = data.tokenizer()
        return _markdown(
            f"After step {trainer.global_step:,}, {trainer.global_step * data.batch_tokens:,} tokens. "
            f"The first {len(prompt)} tokens of the corpus `{MAIN_CORPUS}`:",
            tokenizer.decode(prompt.tolist()),
            f"go on, by the {n_tokens} most likely tokens, one after the other, as",
            tokenizer.decode(written[0].tolist()),
            "and by tokens drawn from the network's distribution as",
            tokenizer.decode(written[1].tolist()),
        )


def _network(module: pl.LightningModule) -> nn.Module:
    assert isinstance(module, LanguageModel)
    return module.network


@torch.no_grad()
def _values(network: nn.Module) -> dict[str, Tensor]:
    """A copy of (part of) every trained matrix, on the CPU: (n,) float64, by name."""
    values = {}
    for name, weight in network.named_parameters():
        if weight.requires_grad and weight.ndim >= 2:
            part = weight.flatten()[:: -(-weight.numel() // MOST_VALUES)]
            values[name] = part.to("cpu", torch.float64, copy=True)
    return values


def _histogram(values: Tensor) -> dict[str, Any]:
    """Counts of values (n,) in equal bins from the lowest to the highest."""
    low, high = float(values.min()), float(values.max())
    counts = torch.histc(values, N_BINS, low, high) if high > low else torch.tensor([float(len(values))])
    return {
        "low": low,
        "high": high,
        "n": len(values),
        "sum": float(values.sum()),
        "sum_squares": float(values.square().sum()),
        "counts": counts.to(torch.int64).tolist(),
    }


def _markdown(*parts: str) -> str:
    """Words and quoted text in turns; what cannot be printed in the text is a dot."""
    blocks = []
    for index, part in enumerate(parts):
        if index % 2:
            printable = "".join(sign if sign.isprintable() or sign == "\n" else "·" for sign in part)
            part = "\n".join(f"    {line}" for line in printable.split("\n"))
        blocks.append(part)
    return "\n\n".join(blocks)


def _draw(trainer: pl.Trainer, snapshot: dict[str, Any]) -> None:
    when = {"step": snapshot["step"], "wall_time_s": snapshot["wall_time_s"]}
    if "text" in snapshot:
        log_text(trainer, "sample", snapshot["text"], **when)
    log_histograms(trainer, {tag: Histogram(**it) for tag, it in snapshot["histograms"].items()}, **when)


class _Snapshot(TypedDict):
    """What is kept of one evaluation."""

    step: int
    wall_time_s: float
    histograms: dict[str, Histogram]
    text: NotRequired[str]


def _read(path: Path) -> list[dict[str, Any]]:
    """The snapshots in a file; none where there is no file that can be read."""
    try:
        snapshots = parse_json(path.read_bytes())
        typed(snapshots, list[_Snapshot], path)
        return [snapshot for snapshot in snapshots if snapshot["step"] >= 0]
    except (OSError, ValueError):
        return []
