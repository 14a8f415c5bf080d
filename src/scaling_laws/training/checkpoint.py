"""Checkpoints that are whole or absent, and never silently damaged.

Lightning stages a checkpoint in `$TMPDIR` and moves it: across file systems that is a copy, and a kill in
the middle leaves a torn file under the final name. Here the temporary file lies beside the target, and a
SHA-256 beside the checkpoint is compared before it is used.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import SIGTERMException

from scaling_laws.errors import InputError
from scaling_laws.training.checkpoint_folder import assemble, is_whole_folder, move, remove


class AtomicCheckpointIO(TorchCheckpointIO):
    """Saves by write, fsync and rename; loads only what its SHA-256 vouches for."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getvalue()
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.write(hashlib.sha256(content).digest())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise InputError(f"{target}: the checkpoint could not be written ({error.strerror})") from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        target = Path(path)
        try:
            content = b"" if target.is_dir() else target.read_bytes()
        except OSError as error:
            raise InputError(f"{target}: the checkpoint could not be read ({error.strerror})") from error
        if is_whole_folder(target):
            return assemble(target)
        if not _is_intact(content):
            raise InputError(f"{target}: the checkpoint is damaged (its SHA-256 differs); use an older one")
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=map_location, weights_only=True)
        return state


def is_whole(path: Path) -> bool:
    """Whether `path` is a checkpoint, file or folder, whose SHA-256 agrees."""
    return is_whole_folder(path) or (path.is_file() and _is_intact(path.read_bytes()))


def _is_intact(content: bytes) -> bool:
    n_digest = hashlib.sha256().digest_size
    return hashlib.sha256(content[:-n_digest]).digest() == content[-n_digest:]


class RunCheckpoints(pl.Callback):
    """Keeps what an exact resume needs while a run is trained, and its final weights afterwards.

    `checkpoints/last.ckpt` is replaced every so often, and the one before it stays as `previous.ckpt`: should
    the newest be damaged, little is lost. An interruption costs what was trained since the last save: only
    between two steps are weights and optimiser those of one step. `final.ckpt` is written after the last
    step, before the record; the other two then go. Weights that are not finite are never saved.

    Args:
        every_s: seconds between two saves of `last.ckpt`; a SIGTERM saves it, too.
        at_steps: steps after which `step_<n>.ckpt` is kept: where cooldown branches leave the trunk.
    """

    def __init__(self, every_s: float = 20.0, at_steps: list[int] | None = None) -> None:
        self.every_s = every_s
        self.at_steps = frozenset(at_steps or ())
        self._saved_step = -1
        self._saved_s = 0.0
        self._random_state: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """The state of the random generators: dropout must go on where it was."""
        state: dict[str, Any] = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state()  # of this rank's device; a resume may have others
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._random_state = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.folder = checkpoint_folder(Path(trainer.default_root_dir))
        self._saved_step = trainer.global_step
        self._saved_s = time.monotonic()
        if self._random_state:
            torch.set_rng_state(self._random_state["cpu"])
            if "cuda" in self._random_state:
                torch.cuda.set_rng_state(self._random_state["cuda"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        # After the last step a checkpoint is of no use to a resume: nothing would be left to train, and the
        # record would never be written.
        if step in (self._saved_step, trainer.max_steps):
            return
        # The clock of rank 0 decides: all ranks must save together.
        due = time.monotonic() - self._saved_s >= self.every_s
        if trainer.world_size > 1:
            due = trainer.strategy.broadcast(due)
        at_step = step in self.at_steps
        # All ranks save, or none: a loss that is not finite may be so on one of them only.
        if (due or at_step) and trainer.strategy.reduce_boolean_decision(bool(outputs["loss"].isfinite())):
            if at_step:
                trainer.save_checkpoint(self.folder / f"step_{step:08d}.ckpt")
            if due:
                self._save_last(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if all(bool(weight.isfinite().all()) for weight in pl_module.parameters()):
            trainer.save_checkpoint(final_checkpoint(Path(trainer.default_root_dir)))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            for name in ("last.ckpt", "previous.ckpt"):
                remove(self.folder / name)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        # Lightning raises this between two steps; a KeyboardInterrupt may come in the middle of an update.
        stopped = isinstance(exception, SIGTERMException)
        if stopped and self._saved_step < trainer.global_step < trainer.max_steps:
            self._save_last(trainer)

    def _save_last(self, trainer: pl.Trainer) -> None:
        last = self.folder / "last.ckpt"
        if trainer.is_global_zero and last.exists():
            move(last, self.folder / "previous.ckpt")
        trainer.save_checkpoint(last)
        self._saved_step = trainer.global_step
        self._saved_s = time.monotonic()


def checkpoint_folder(run_folder: Path) -> Path:
    """Where a run keeps its checkpoints."""
    return run_folder / "checkpoints"


def final_checkpoint(run_folder: Path) -> Path:
    """The weights after a run's last step."""
    return checkpoint_folder(run_folder) / "final.ckpt"


def newest_whole(run_folder: Path) -> Path | None:
    """The checkpoint to resume a run from: `last.ckpt`, or `previous.ckpt` where that is damaged."""
    for name in ("last.ckpt", "previous.ckpt"):
        if is_whole(path := checkpoint_folder(run_folder) / name):
            return path
    return None
