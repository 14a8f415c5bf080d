"""Token shards as a LightningDataModule whose training batches are a pure function of the seed.

Shapes: B sequences, T = n_ctx tokens; a window holds T + 1 tokens: inputs and targets shifted by one.
With a noise suffix of k tokens, a window is T - k + 1 tokens of text and then k random ones.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader

from scaling_laws.data.batches import (
    batch_rows,
    held_out_windows,
    noise_suffix,
    training_batch,
    windows_per_epoch,
)
from scaling_laws.data.tokenizer import TextTokenizer
from scaling_laws.data.tokens import TokenCorpus, open_corpus
from scaling_laws.study.bounds import Amount, Halvings, PositiveCount, Seed, Width, check_bounds
from scaling_laws.study.errors import InputError
from scaling_laws.training.metrics import PositionLoss, token_classes

AHEAD_TOKENS = 2**16
"""Windows are read so many target tokens at a time, where a batch has fewer."""


class WindowSource(ABC):
    """Base of data of a user's own by class path, in place of a corpus: `data.source`.

    It gives sequences of whole numbers. Only the network and the objective know what a number stands for: a
    token, or a row of a table of sounds.
    """

    name: str
    n_vocab: int
    """Numbers are 0 ... n_vocab - 1; the network is built with it."""
    manifest_hash: str
    """Differs for different data: it decides which runs are the same."""
    held_out: tuple[str, ...]
    """Names of the splits beside `train`; `val` and `test` are among them."""

    @abstractmethod
    def tokens(self, split: str) -> np.ndarray:
        """(n_tokens,), of any integer type."""

    @abstractmethod
    def documents(self, split: str) -> np.ndarray:
        """Where its parts begin, and the end: (n_documents + 1,) int64, from 0 to n_tokens."""

    def bytes_per_token(self, split: str) -> float:
        """For bits per byte; 1 where that says nothing."""
        return 1.0


class TokenDataModule(pl.LightningDataModule):
    """Windows of a corpus that `scaling-laws data build` made, or of your own source.

    Args:
        corpus: folder of the token shards.
        n_ctx: tokens per window: the network's context.
        batch_sequences: windows per optimiser step, over all devices and accumulated micro-batches. Devices
            and micro-batches split a batch; they do not change what is trained on.
        seed: order of the training windows.
        train_halvings: train on the first 1 / 2^k of the training split. Documents are in the order of a
            hash, so each part is a random sample, and each contains the next. Kaplan 2020 takes k = 10, 9,
            ..., 4 and 0 of 22 B tokens.
        noise_suffix_tokens: how many positions k at the end of each window of T are uniform random tokens, in
            training and held-out windows (Kaplan 2020, section 6.3). Each costs ln V nats (V is the size of
            the vocabulary), so every loss becomes (T - k) / T of the text's plus k / T ln V.
        evaluation_windows: held-out windows per corpus for `validate` and `test`.
        predict_file: text file for `predict`, which gives the loss of each of its tokens.
        source: your own data by class path (`WindowSource`), in place of `corpus`.

    Raises:
        InputError: the corpus is missing, damaged or too short, or a number makes no sense.
    """

    def __init__(
        self,
        corpus: Path | None = None,
        n_ctx: Width = 128,
        batch_sequences: PositiveCount = 16,
        seed: Seed = 0,
        train_halvings: Halvings = 0,
        noise_suffix_tokens: Amount = 0,
        evaluation_windows: PositiveCount = 512,
        predict_file: Path | None = None,
        source: WindowSource | None = None,
    ) -> None:
        super().__init__()
        settings = {
            "n_ctx": n_ctx,
            "batch_sequences": batch_sequences,
            "seed": seed,
            "train_halvings": train_halvings,
            "noise_suffix_tokens": noise_suffix_tokens,
            "evaluation_windows": evaluation_windows,
        }
        check_bounds(TokenDataModule.__init__, settings, what="data.")
        if not 0 <= noise_suffix_tokens < n_ctx:
            raise InputError(
                f"data.noise_suffix_tokens is {noise_suffix_tokens}; it must be 0 or more, and leave some of "
                f"n_ctx = {n_ctx} to the text"
            )
        self.corpus: TokenCorpus | WindowSource = _opened(corpus, source)
        self.n_vocab = self.corpus.n_vocab
        self.n_ctx = n_ctx
        self.batch_sequences = batch_sequences
        self.seed = seed
        self.train_halvings = train_halvings
        self.noise_suffix_tokens = noise_suffix_tokens
        self.evaluation_windows = evaluation_windows
        self.predict_file = predict_file
        self._held_out: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
        self._classes: dict[tuple[str, int], Tensor] = {}
        assert self.tokens_per_epoch  # refuses a corpus shorter than a window

    @property
    def text_ctx(self) -> int:
        """Targets of a window that are text: n_ctx but for the noise."""
        return self.n_ctx - self.noise_suffix_tokens

    @property
    def tokens_per_epoch(self) -> int:
        """Target tokens in one pass over what is trained on, noise included."""
        return windows_per_epoch(len(self.train_tokens()), self.text_ctx) * self.n_ctx

    @property
    def batch_tokens(self) -> int:
        """Target tokens an optimiser step, over all devices and micro-batches."""
        return self.batch_sequences * self.n_ctx

    def train_tokens(self) -> np.ndarray:
        """The part of the training split that is trained on: (n_tokens,), memory-mapped."""
        tokens = self.corpus.tokens("train")
        return tokens[: len(tokens) >> self.train_halvings]

    def held_out(self, corpus: str, n_windows: int) -> tuple[Tensor, Tensor]:
        """Windows (W, T + 1) spread evenly over a held-out corpus, and the document fold (W,) of each."""
        if (corpus, n_windows) in self._held_out:
            return self._held_out[corpus, n_windows]
        windows, folds = held_out_windows(
            self.corpus.tokens(corpus),
            self.corpus.documents(corpus),
            n_windows=n_windows,
            n_ctx=self.text_ctx,
            split=corpus,
        )
        # The same noise for every seed: runs are compared on the same windows.
        noisy = self.with_noise(windows, np.arange(len(windows)), corpus)
        self._held_out[corpus, n_windows] = noisy, torch.from_numpy(folds)
        return self._held_out[corpus, n_windows]

    def held_out_classes(self, corpus: str, n_windows: int) -> Tensor:
        """The class (W, T - k) of every target of these windows that is text: `metrics.token_classes`."""
        if (corpus, n_windows) not in self._classes:
            text = self.held_out(corpus, n_windows)[0][:, : self.text_ctx + 1]
            self._classes[corpus, n_windows] = token_classes(text)
        return self._classes[corpus, n_windows]

    def with_noise(self, text: np.ndarray, sequences: np.ndarray, stream: str) -> Tensor:
        """Windows (B, T + 1) of text (B, T - k + 1) and the noise of the numbered sequences (B,)."""
        noise = noise_suffix(sequences, n_noise=self.noise_suffix_tokens, n_vocab=self.n_vocab, stream=stream)
        return torch.from_numpy(np.concatenate((text, noise), axis=1))

    def bits_per_byte(self, corpus: str, losses: PositionLoss) -> float:
        """Bits a byte of a held-out corpus, from the losses at the positions that are text."""
        text = slice(0, self.text_ctx)
        nats_per_token = float(losses.loss_sum[:, text].sum() / losses.count[:, text].sum())
        return nats_per_token / math.log(2) / self.corpus.bytes_per_token(corpus)

    def tokenizer(self) -> TextTokenizer:
        """The tokenizer that made the tokens.

        Raises:
            InputError: the data are a source of one's own, which has none.
        """
        if not isinstance(self.corpus, TokenCorpus):
            raise InputError(f"data.source: {self.corpus.name} is not text; it has no tokenizer")
        return self.corpus.tokenizer()

    def train_dataloader(self) -> TrainingBatches:
        trainer: Any = self.trainer
        if self.batch_sequences % (trainer.world_size * trainer.accumulate_grad_batches):
            raise InputError(
                f"data.batch_sequences = {self.batch_sequences} is not a multiple of {trainer.world_size} "
                f"devices x {trainer.accumulate_grad_batches} accumulated micro-batches; change one of them"
            )
        return TrainingBatches(self)

    def val_dataloader(self) -> list[DataLoader[Tensor]]:
        if self.trainer.state.fn == TrainerFn.FITTING:  # type: ignore[union-attr]
            return []  # while training, the recorder evaluates: at log-spaced steps, on every corpus
        return self._evaluation_batches(["val"])

    def test_dataloader(self) -> list[DataLoader[Tensor]]:
        return self._evaluation_batches([name for name in self.corpus.held_out if name != "val"])

    def _evaluation_batches(self, corpora: list[str]) -> list[DataLoader[Tensor]]:
        trainer: Any = self.trainer
        # As many at a time as in training, where memory holds them.
        n_sequences = max(1, self.batch_sequences // (trainer.world_size * trainer.accumulate_grad_batches))
        shares = [
            self.held_out(name, self.evaluation_windows)[0][trainer.global_rank :: trainer.world_size]
            for name in corpora
        ]
        return [DataLoader(windows, batch_size=n_sequences) for windows in shares]  # type: ignore[arg-type]

    def predict_dataloader(self) -> DataLoader[Tensor]:
        """The windows (1, <= T - k + 1) of `predict_file`: every token but the first is a target once."""
        if self.predict_file is None:
            raise InputError("data.predict_file is not set; name the text file whose token losses are wanted")
        try:
            text = self.predict_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"data.predict_file {self.predict_file}: {error}") from error
        tokens = torch.from_numpy(next(self.tokenizer().encode([text]))).long()
        if len(tokens) < 2:
            raise InputError(f"data.predict_file {self.predict_file}: has fewer than two tokens to predict")
        starts = range(0, len(tokens) - 1, self.text_ctx)
        windows = [tokens[start : start + self.text_ctx + 1][None] for start in starts]
        return DataLoader(windows, batch_size=None)  # type: ignore[arg-type]


def _opened(corpus: Path | None, source: WindowSource | None) -> TokenCorpus | WindowSource:
    """What the windows are cut from.

    Raises:
        InputError: none or both are given, or a source lacks a split.
    """
    if corpus is not None and source is None:
        return open_corpus(Path(corpus))
    if corpus is not None or source is None:
        which = "both are given" if source is not None else "neither is given"
        raise InputError(f"data.corpus is a corpus's folder, data.source a class of your own; {which}")
    if missing := [split for split in ("val", "test") if split not in source.held_out]:
        raise InputError(f"data.source: {type(source).__name__}.held_out lacks {missing[0]!r}")
    return source


class TrainingBatches:
    """The micro-batches of one rank, `accumulate_grad_batches` for each optimiser step.

    Micro-batch j of rank r is share j R + r of the step's batch, of R ranks. Batch k is a pure function of
    the seed and k, and k is the number of optimiser steps taken: a resumed run goes on with the very batch
    that its weights have not seen. (Counting deliveries would skip a batch that was delivered to a step which
    was interrupted.) All batches of a run are one "epoch" to Lightning; passes over the corpus are counted in
    `training_batch`.
    """

    def __init__(self, data: TokenDataModule) -> None:
        self.data = data
        self.tokens = data.train_tokens()
        self.trainer: Any = data.trainer
        self.n_ahead = max(1, AHEAD_TOKENS // data.batch_tokens)
        self._ahead: dict[tuple[int, int, int], Tensor] = {}

    def __len__(self) -> int:
        n_batches: int = self.trainer.max_steps * self.trainer.accumulate_grad_batches
        return n_batches

    def __iter__(self) -> Iterator[Tensor]:
        n_ranks, n_micro_batches = self.trainer.world_size, self.trainer.accumulate_grad_batches
        for batch in range(self.trainer.global_step, self.trainer.max_steps):
            for micro_batch in range(n_micro_batches):
                share = micro_batch * n_ranks + self.trainer.global_rank
                yield self.windows(batch, share, n_ranks * n_micro_batches)

    def windows(self, batch: int, share: int, n_shares: int) -> Tensor:
        """One share of a batch: (B / n_shares, T + 1) int64.

        It is cut from the same share of a few neighbouring batches: batches k n ... k n + n - 1 are batch k
        of n times the size, which costs hardly more than one of them.
        """
        data, n_rows = self.data, self.data.batch_sequences // n_shares
        few, place = divmod(batch, self.n_ahead)
        key = (few, share, n_shares)
        if key not in self._ahead:
            # Of each share the newest is kept.
            self._ahead = {other: kept for other, kept in self._ahead.items() if other[0] == few}
            few_sequences = data.batch_sequences * self.n_ahead
            text = training_batch(
                self.tokens,
                seed=data.seed,
                batch=few,
                batch_sequences=few_sequences,
                n_ctx=data.text_ctx,
                share=share,
                n_shares=n_shares,
            )
            rows = batch_rows(few, few_sequences, share=share, n_shares=n_shares)
            self._ahead[key] = data.with_noise(text, rows, f"train:{data.seed}")
        return self._ahead[key][place * n_rows : (place + 1) * n_rows]

    def state_dict(self) -> dict[str, Any]:
        """Nothing but a sign to Lightning that a resume in mid-epoch is exact: the step says it all."""
        return {"batches_used": self.trainer.global_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The trainer has restored its step."""
