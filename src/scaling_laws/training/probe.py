"""Loss of every token of a fixed piece of held-out text, followed through the training.

Xia et al. 2023, "Training Trajectories of Language Models Across Scales": tokens stagnate, rise or fall, and
what a network has learned follows its perplexity. `probe_losses.npz` holds, written anew at each evaluation:

    windows     (W, T + 1) int64: the text, the same for all runs of a corpus and n_ctx
    steps       (E,) int64
    loss_nats   (E, W, T) float32: of tokens 1 ... T of each window
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from torch import Tensor

from scaling_laws.study.errors import InputError
from scaling_laws.study.records import write_atomically

FILE_NAME = "probe_losses.npz"


class ProbeLosses:
    """The file of one run.

    Args:
        folder: the run's.
        windows: (W, T + 1) token ids.
        step: rows of later steps are forgotten: a resumed run will measure them again.
        writes: whether this process writes it (rank 0 does).

    Raises:
        InputError: the file that a resumed run goes on with is damaged, or of another text.
    """

    def __init__(self, folder: Path, windows: Tensor, step: int, writes: bool) -> None:
        self.path = folder / FILE_NAME
        self.writes = writes
        self._windows = windows.numpy()
        self._steps: list[int] = []
        self._losses: list[np.ndarray] = []
        if step and self.path.exists():
            steps, losses = _read(self.path, self._windows)
            self._steps = [int(past) for past in steps if past <= step]
            self._losses = list(losses[: len(self._steps)])
            if self.writes and len(self._steps) < len(steps):  # should the run end before its next evaluation
                self._write()

    def add(self, step: int, loss_nats: Tensor) -> None:
        """Add the losses (W, T) of an evaluation and write the file."""
        if not self.writes:
            return
        self._steps.append(step)
        self._losses.append(loss_nats.float().cpu().numpy())
        self._write()

    def _write(self) -> None:
        if not self._steps:
            self.path.unlink(missing_ok=True)
            return
        content = io.BytesIO()
        np.savez(
            content,
            windows=self._windows,
            steps=np.array(self._steps, dtype=np.int64),
            loss_nats=np.stack(self._losses),
        )
        write_atomically(self.path, content.getvalue())


def _read(path: Path, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            found, steps, losses = (content[name] for name in ("windows", "steps", "loss_nats"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}); delete the run's folder") from error
    if not np.array_equal(found, windows):
        raise InputError(
            f"{path}: holds another text's losses; has the corpus changed? Delete the run's folder"
        )
    return steps, losses
