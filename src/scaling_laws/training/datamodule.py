"""Token shards as a LightningDataModule whose training batches are a pure function of the seed.

Shapes: B sequences, T = n_ctx tokens; a window holds T + 1 tokens: inputs and targets shifted by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader

from scaling_laws.data.batches import held_out_windows, training_batch, windows_per_epoch
from scaling_laws.data.tokens import open_corpus
from scaling_laws.errors import InputError


class TokenDataModule(pl.LightningDataModule):
    """Windows of a corpus that `scaling-laws data build` made.

    Args:
        corpus: folder of the token shards.
        n_ctx: tokens a window is trained on; the network's context.
        batch_sequences: windows a batch, over all devices.
        seed: order of the training windows.
        evaluation_windows: held-out windows a corpus for `validate` and `test`.
        predict_file: text whose per-token losses `predict` gives.

    Raises:
        InputError: the corpus is missing, damaged or too short, or the devices do not divide the batch.
    """

    def __init__(
        self,
        corpus: Path,
        n_ctx: int = 128,
        batch_sequences: int = 16,
        seed: int = 0,
        evaluation_windows: int = 512,
        predict_file: Path | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("n_ctx", n_ctx), ("batch_sequences", batch_sequences)):
            if value <= 0:
                raise InputError(f"data.{name} is {value}; it must be positive")
        self.corpus = open_corpus(Path(corpus))
        self.n_vocab = self.corpus.n_vocab
        self.n_ctx = n_ctx
        self.batch_sequences = batch_sequences
        self.seed = seed
        self.evaluation_windows = evaluation_windows
        self.predict_file = predict_file
        self._held_out: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
        assert self.tokens_per_epoch  # refuses a corpus shorter than a window

    @property
    def tokens_per_epoch(self) -> int:
        """Target tokens in one pass over the training split."""
        return windows_per_epoch(len(self.corpus.tokens("train")), self.n_ctx) * self.n_ctx

    @property
    def batch_tokens(self) -> int:
        """Target tokens a batch, over all devices."""
        return self.batch_sequences * self.n_ctx

    def held_out(self, corpus: str, n_windows: int) -> tuple[Tensor, Tensor]:
        """Windows (W, T + 1) spread evenly over a held-out corpus, and the document fold (W,) of each."""
        if (corpus, n_windows) in self._held_out:
            return self._held_out[corpus, n_windows]
        windows, folds = held_out_windows(
            self.corpus.tokens(corpus), self.corpus.documents(corpus), n_windows=n_windows, n_ctx=self.n_ctx
        )
        self._held_out[corpus, n_windows] = torch.from_numpy(windows), torch.from_numpy(folds)
        return self._held_out[corpus, n_windows]

    def train_dataloader(self) -> TrainingBatches:
        world_size, rank = self.trainer.world_size, self.trainer.global_rank  # type: ignore[union-attr]
        if self.batch_sequences % world_size:
            raise InputError(
                f"data.batch_sequences = {self.batch_sequences} is not a multiple of the {world_size} devices"
            )
        n_batches = self.trainer.max_steps * self.trainer.accumulate_grad_batches  # type: ignore[union-attr]
        return TrainingBatches(self, n_batches, world_size, rank)

    def val_dataloader(self) -> list[DataLoader[Tensor]]:
        if self.trainer.state.fn == TrainerFn.FITTING:  # type: ignore[union-attr]
            return []  # while training, the recorder evaluates: at log-spaced steps, on every corpus
        return self._evaluation_batches(["val"])

    def test_dataloader(self) -> list[DataLoader[Tensor]]:
        return self._evaluation_batches([name for name in self.corpus.held_out if name != "val"])

    def _evaluation_batches(self, corpora: list[str]) -> list[DataLoader[Tensor]]:
        batches = [self.held_out(name, self.evaluation_windows)[0] for name in corpora]
        return [DataLoader(windows, batch_size=self.batch_sequences) for windows in batches]  # type: ignore[arg-type]

    def predict_dataloader(self) -> DataLoader[Tensor]:
        """The windows (1, <= T + 1) of `predict_file`: every token but the first is a target once."""
        if self.predict_file is None:
            raise InputError("data.predict_file is not set; name the text file whose token losses are wanted")
        try:
            text = self.predict_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"data.predict_file {self.predict_file}: {error}") from error
        tokens = torch.from_numpy(next(self.corpus.tokenizer().encode([text]))).long()
        if len(tokens) < 2:
            raise InputError(f"data.predict_file {self.predict_file}: has fewer than two tokens to predict")
        starts = range(0, len(tokens) - 1, self.n_ctx)
        windows = [tokens[start : start + self.n_ctx + 1][None] for start in starts]
        return DataLoader(windows, batch_size=None)  # type: ignore[arg-type]


class TrainingBatches:
    """The training batches of one rank: (B / world_size, T + 1) int64 windows.

    Batch k is a pure function of the seed and k, and k follows from the optimiser steps taken: a resumed run
    goes on with the very batch that its weights have not seen. (Counting deliveries would skip a batch that
    was delivered to a step which was interrupted.) All batches of a run are one "epoch" to Lightning; passes
    over the corpus are counted in `training_batch`.
    """

    def __init__(self, data: TokenDataModule, n_batches: int, world_size: int, rank: int) -> None:
        self.tokens: np.ndarray = data.corpus.tokens("train")
        self.data = data
        self.n_batches = n_batches
        self.world_size = world_size
        self.rank = rank

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Tensor]:
        for batch in range(self._batches_used(), self.n_batches):
            window = training_batch(
                self.tokens,
                seed=self.data.seed,
                batch=batch,
                batch_sequences=self.data.batch_sequences,
                n_ctx=self.data.n_ctx,
            )
            yield torch.from_numpy(window[self.rank :: self.world_size])

    def _batches_used(self) -> int:
        trainer: Any = self.data.trainer
        used: int = trainer.global_step * trainer.accumulate_grad_batches
        return used

    def state_dict(self) -> dict[str, Any]:
        """Nothing but a sign to Lightning that a resume in mid-epoch is exact: the step says it all."""
        return {"batches_used": self._batches_used()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The trainer has restored its step."""
