"""Speech for `scaling-laws fit`: a source of frame numbers, networks that look them up, an objective.

A window holds numbers of frames; networks and objective know the table of frames. An example of data,
networks and loss of one's own by class path (docs/one-network.md).

Shapes: B windows, T frames of a window, F bands, d = d_model.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scaling_laws.models.lstm import LSTM
from scaling_laws.models.transformer import Transformer
from scaling_laws.papers.droppo2021.recordings import AHEAD_PADDING, FRAMES, HELD_OUT, N_MELS, SPLITS
from scaling_laws.study.errors import InputError
from scaling_laws.training.datamodule import WindowSource
from scaling_laws.training.loss import Objective


class SpeechFrames(WindowSource):
    """The numbers of the frames of recordings, as `data.source`.

    Args:
        folder: holds `frames.npy` and `splits.npz`.

    Raises:
        InputError: it does not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.name = self.folder.name
        self.held_out = tuple(HELD_OUT)
        try:
            self.manifest_hash = json.loads((self.folder / "frames.json").read_text())["sha256"]
            with np.load(self.folder / SPLITS, allow_pickle=False) as content:
                self._splits = {name: content[name] for name in content.files}
            self.n_vocab = len(np.load(self.folder / FRAMES, mmap_mode="r"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.folder}: holds no frames of speech ({error})") from error

    def tokens(self, split: str) -> NDArray[np.int64]:
        """Numbers of frames, neighbours within a recording."""
        numbers: NDArray[np.int64] = self._splits[split]
        return numbers

    def documents(self, split: str) -> NDArray[np.int64]:
        """Where recordings begin."""
        starts: NDArray[np.int64] = self._splits[f"{split}_starts"]
        return starts


def table_of(frames: Path) -> Tensor:
    """(n, F) float32."""
    return torch.from_numpy(np.load(frames))


class FrameInput(nn.Module):
    """Numbers of frames (B, T) to their frames, mapped to (B, T, d); in place of a token embedding."""

    table: Tensor

    def __init__(self, table: Tensor, d_model: int, std: float) -> None:
        super().__init__()
        self.register_buffer("table", table, persistent=False)
        self.weight = nn.Parameter(torch.randn(d_model, N_MELS) * std)

    def forward(self, numbers: Tensor) -> Tensor:
        return nn.functional.linear(self.table[numbers], self.weight)


class AcousticTransformer(Transformer):
    """Our causal Transformer from frames to frames, (B, T) numbers to (B, T, F) predictions.

    Args:
        n_vocab: frames in the table; given by the source.
        n_ctx: given by the data module.
        frames: the table, `frames.npy`.
        n_layer, d_model, n_heads: as of `Transformer`.
    """

    def __init__(
        self, n_vocab: int, n_ctx: int, frames: Path, n_layer: int, d_model: int, n_heads: int = 1
    ) -> None:
        super().__init__(N_MELS, n_ctx, n_layer, d_model, n_heads, tied=False)
        # As many parameters as the embedding of so many tokens, so that it is counted right.
        self.token_embedding = FrameInput(table_of(frames), d_model, N_MELS**-0.5)  # type: ignore[assignment]
        nn.init.zeros_(self.head.weight)


class AcousticLSTM(LSTM):
    """Our LSTM from frames to frames; arguments as of `AcousticTransformer`."""

    def __init__(self, n_vocab: int, n_ctx: int, frames: Path, n_layer: int, d_model: int) -> None:
        super().__init__(N_MELS, n_ctx, n_layer, d_model, tied=False)
        self.token_embedding = FrameInput(table_of(frames), d_model, N_MELS**-0.5)  # type: ignore[assignment]
        nn.init.zeros_(self.head.weight)


class PredictAhead(Objective):
    """Auto-predictive coding (Chung & Glass 2020): the mean absolute error of a frame some steps ahead.

    Args:
        frames: the table, `frames.npy`.
        ahead: frames from the last one seen to the one predicted.

    Raises:
        InputError: `ahead` is further than recordings are padded.
    """

    def __init__(self, frames: Path, ahead: int = 3) -> None:
        if not 1 <= ahead <= AHEAD_PADDING:
            raise InputError(f"ahead is {ahead}; it must be 1 to {AHEAD_PADDING}")
        self.ahead = ahead
        self._table = table_of(frames)

    def training_loss(self, network: nn.Module, window: Tensor) -> Tensor:
        return self._errors(network, window).mean()

    def token_losses(self, network: nn.Module, window: Tensor) -> Tensor:
        with torch.no_grad():
            return self._errors(network, window)

    def _errors(self, network: nn.Module, window: Tensor) -> Tensor:
        """(B, T): of each prediction, averaged over bands."""
        self._table = self._table.to(window.device)
        inputs = window[:, :-1]
        errors: Tensor = (network(inputs).float() - self._table[inputs + self.ahead]).abs().mean(-1)
        return errors
