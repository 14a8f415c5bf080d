"""Checkpoints that are whole or absent, and never silently damaged.

Lightning stages a checkpoint in `$TMPDIR` and moves it: across file systems that is a copy, and a kill in
the middle leaves a torn file under the final name. Here the temporary file lies beside the target, and a
SHA-256 at the end of the checkpoint is compared before it is used.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import time
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from scaling_laws.study.bounds import NotNegative, check_bounds
from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted, StopSignals
from scaling_laws.study.own_files import STEP_CHECKPOINT
from scaling_laws.study.records import write_atomically
from scaling_laws.training.checkpoint_folder import (
    CODE,
    META,
    assemble,
    folder_holds_code,
    is_whole_folder,
    move,
    remove,
)
from scaling_laws.training.kept_weights import are_finite, trained_weights
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.recorder import RunRecorder

Keep = Literal["state", "weights", "trunk", "nothing"]
VERSION = 1
"""Of what a checkpoint's callbacks hold; another version is refused."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Saves by write, fsync and rename; loads only what its SHA-256 vouches for.

    Attributes:
        identity: the configuration whose checkpoints may be loaded (`RunCheckpoints.identity`); None: any.
    """

    identity: str | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        digest = hashlib.sha256(buffer.getbuffer()).digest()
        buffer.seek(0, io.SEEK_END)
        buffer.write(digest)
        with buffer.getbuffer() as content:  # let go at once: an error that is kept would hold it
            write_atomically(Path(path), content)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        target = Path(path)
        if target.is_dir():
            checkpoint = _assembled(target) if is_whole_folder(target) else None
        else:
            checkpoint = _read_file(target, map_location)
        if checkpoint is None:
            raise InputError(f"{target}: the checkpoint is damaged (its SHA-256 differs); use an older one")
        self.require_own(checkpoint, target)
        return checkpoint

    def require_own(self, checkpoint: dict[str, Any], target: Path) -> None:
        """Refuse a checkpoint of another version, or of another configuration than `identity`.

        Raises:
            InputError: it is one.
        """
        if all(isinstance(value, torch.Tensor) for value in checkpoint.values()):
            return  # bare weights, which Lightning hands from a forked process to its parent
        written = checkpoint.get("callbacks", {}).get(RunCheckpoints.__qualname__, {})
        if written.get("version") != VERSION:
            raise InputError(
                f"{target}: is a checkpoint of version {written.get('version')}, and this is version "
                f"{VERSION}; use the program that wrote it, or train the run again"
            )
        if self.identity not in (None, written["identity"]):
            run = f" (it is of the run {written['run']!r})" if written.get("run") else ""
            raise InputError(
                f"{target}: was trained from another configuration than this run's{run}; give the run "
                "another folder, or begin it with these weights alone by --initial_weights"
            )


def relabelled(checkpoint: dict[str, Any], identity: str, *, shared_steps: int) -> dict[str, Any]:
    """A checkpoint before a cooldown as one of another horizon, which shares so many steps with it."""
    checkpoint["callbacks"][RunCheckpoints.__qualname__]["identity"] = identity
    recorder = checkpoint["callbacks"][RunRecorder.__qualname__]
    recorder["shared_steps"] = shared_steps
    recorder["shared_evaluation_s"] = recorder.get("evaluation_s", 0.0)
    return checkpoint


def is_whole(path: Path) -> bool:
    """Whether `path` is a checkpoint, file or folder, whose SHA-256 agrees."""
    return is_whole_folder(path) or (path.is_file() and _is_intact(path.read_bytes()))


def _read_file(path: Path, map_location: Any) -> dict[str, Any] | None:
    """The checkpoint in a file; None where it is damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the checkpoint could not be read ({error.strerror})") from error
    if not _is_intact(content):
        return None
    try:
        checkpoint: dict[str, Any] = torch.load(
            io.BytesIO(content), map_location=map_location, weights_only=True
        )
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: {CODE}") from error
    return checkpoint


def _assembled(folder: Path) -> dict[str, Any]:
    if folder_holds_code(folder):
        raise InputError(f"{folder}: {CODE}")
    return assemble(folder)


def holds_code(path: Path) -> bool:
    """Whether a whole checkpoint, file or folder, holds something that runs when it is unpickled."""
    if path.is_dir():
        return folder_holds_code(path)
    try:
        torch.load(path, map_location="meta", mmap=True, weights_only=True)
    except pickle.UnpicklingError:
        return True
    return False


def _is_intact(content: bytes) -> bool:
    n_digest = hashlib.sha256().digest_size
    view = memoryview(content)
    return hashlib.sha256(view[:-n_digest]).digest() == view[-n_digest:]


class RunCheckpoints(pl.Callback):
    """Keeps what an exact resume needs while a run is trained, and its final weights afterwards.

    `checkpoints/last.ckpt` is replaced every so often, and the one before it stays as `previous.ckpt`: should
    the newest be damaged, little is lost. A signal to stop saves it and ends the run between two steps (only
    there are weights and optimiser those of one step); a kill costs what was trained since the last save.
    `final.ckpt` is written after the last step, before the record; the other two then go. A run that diverged
    leaves `last_good.ckpt` instead: weights that are not finite are never saved.

    Args:
        every_s: seconds between two saves of `last.ckpt`.
        at_steps: steps after which `step_<n>.ckpt` is kept: where cooldown branches leave the trunk.
        keep: what the end leaves: the whole `state`; `weights` without the optimiser's moments; these, and
            the state before the cooldown, from which a longer horizon goes on (`trunk`); or `nothing`.
    """

    def __init__(
        self, every_s: NotNegative = 20.0, at_steps: list[int] | None = None, keep: Keep = "state"
    ) -> None:
        check_bounds(RunCheckpoints.__init__, {"every_s": every_s, "at_steps": at_steps}, what="checkpoints.")
        self.every_s = every_s
        self.keep = keep
        self.at_steps = frozenset(at_steps or ())
        self.identity = ""
        """Hash of the configuration that decides the weights; set by `TrainingCLI`."""
        self.signals = StopSignals()
        """Replaced by those that `TrainingCLI.train` was given."""
        self._run = ""
        self._step = -1
        self._saved_step = -1
        self._saved_s = 0.0
        self._random_state: dict[str, Any] = {}
        self._without_moments = False

    def state_dict(self) -> dict[str, Any]:
        """Whose checkpoint it is, and the state of the random generators: dropout must go on where it was."""
        state: dict[str, Any] = {
            "version": VERSION,
            "identity": self.identity,
            "run": self._run,
            "random": {"cpu": torch.get_rng_state()},
        }
        if torch.cuda.is_available():
            # Of this rank's device: a resume may have others.
            state["random"]["cuda"] = torch.cuda.get_rng_state()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._random_state = state_dict["random"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._without_moments:
            checkpoint["optimizer_states"] = []

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.training and not checkpoint.get("optimizer_states", True):
            raise InputError(
                f"{trainer.ckpt_path}: holds weights without the optimiser's moments, from which no training "
                "goes on; a sweep with keep: trunk keeps the state before the cooldown"
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.keep == "trunk":
            assert isinstance(pl_module, LanguageModel)
            self.at_steps |= {pl_module.schedule.cooldown_start(trainer.max_steps)}
        self.folder = checkpoint_folder(Path(trainer.default_root_dir))
        self._run = Path(trainer.default_root_dir).resolve().name
        if trainer.is_global_zero:
            # What a kill in the middle of a write left; from the start, also what an earlier training left.
            for pattern in (".*.ckpt.*", *([] if trainer.ckpt_path else ["step_*.ckpt", "last_good.ckpt"])):
                for path in self.folder.glob(pattern):
                    remove(path)
        self.signals.listen()
        self._step = self._saved_step = trainer.global_step
        self._saved_s = time.monotonic()
        if self._random_state:
            torch.set_rng_state(self._random_state["cpu"])
            if "cuda" in self._random_state:
                torch.cuda.set_rng_state(self._random_state["cuda"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._step:
            return  # a batch that was accumulated: its gradients are in no checkpoint
        self._step = step
        # After the last step a checkpoint is of no use to a resume: nothing would be left to train, and the
        # record would never be written.
        if step == trainer.max_steps:
            return
        due, signal_number = time.monotonic() - self._saved_s >= self.every_s, self.signals.received or 0
        if trainer.world_size > 1:
            # All ranks save and end together: as soon as it is time for one, or one has had a signal.
            wishes = torch.tensor([int(due), signal_number], device=trainer.strategy.root_device)
            due, signal_number = trainer.strategy.reduce(wishes, reduce_op="max").tolist()
        at_step = step in self.at_steps
        if (due or at_step or signal_number) and _is_finite(trainer, pl_module):
            if at_step:
                _save(trainer, self.folder / STEP_CHECKPOINT.format(step))
            if due or signal_number:
                self._save_last(trainer)
        if signal_number:
            raise Interrupted(
                signal_number,
                f"{trainer.default_root_dir}: stopped after step {step} of {trainer.max_steps}; "
                f"what was trained up to step {self._saved_step} is saved: go on with --ckpt_path newest",
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not _is_finite(trainer, pl_module):
            return
        if self.keep == "nothing":
            return
        root = Path(trainer.default_root_dir)
        self._without_moments = self.keep != "state"
        _save(trainer, last_good_checkpoint(root) if has_diverged(trainer) else final_checkpoint(root))
        self._without_moments = False

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        root = Path(trainer.default_root_dir)
        last_good = last_good_checkpoint(root)
        if (
            has_diverged(trainer)
            and self.keep != "nothing"
            and not last_good.exists()
            and (newest := newest_whole(root))
        ):
            move(newest, last_good)
        for name in ("last.ckpt", "previous.ckpt"):
            remove(self.folder / name)

    def _save_last(self, trainer: pl.Trainer) -> None:
        last = self.folder / "last.ckpt"
        if trainer.is_global_zero and last.exists():
            move(last, self.folder / "previous.ckpt")
        _save(trainer, last)
        self._saved_step = trainer.global_step
        self._saved_s = time.monotonic()


def _save(trainer: pl.Trainer, path: Path) -> None:
    trainer.save_checkpoint(path, weights_only=False)


def has_diverged(trainer: pl.Trainer) -> bool:
    """What the run's recorder says at the end of the training."""
    recorders = (callback for callback in trainer.callbacks if isinstance(callback, RunRecorder))  # type: ignore[attr-defined]
    return any(recorder.status == "diverged" for recorder in recorders)


def _is_finite(trainer: pl.Trainer, module: pl.LightningModule) -> bool:
    """Whether every weight is finite, on every rank: a finite loss says nothing of the update after it."""
    return trainer.strategy.reduce_boolean_decision(are_finite(trained_weights(module)))


def checkpoint_folder(run_folder: Path) -> Path:
    """Where a run keeps its checkpoints."""
    return run_folder / "checkpoints"


def final_checkpoint(run_folder: Path) -> Path:
    """The weights after a run's last step."""
    return checkpoint_folder(run_folder) / "final.ckpt"


def last_good_checkpoint(run_folder: Path) -> Path:
    """The newest finite weights of a run that diverged."""
    return checkpoint_folder(run_folder) / "last_good.ckpt"


def newest_whole(run_folder: Path) -> Path | None:
    """The checkpoint to resume a run from: `last.ckpt`, or `previous.ckpt` where that cannot be used.

    A damaged one, and one that holds code, is named on standard error.
    """
    for name in ("last.ckpt", "previous.ckpt"):
        path = checkpoint_folder(run_folder) / name
        if is_whole(path):
            if not holds_code(path):
                return path
            print(f"{path}: {CODE}; an older state is taken", file=sys.stderr)
        elif path.exists():
            print(f"{path}: is damaged (its SHA-256 differs); an older state is taken", file=sys.stderr)
    return None


def saved_step(run_folder: Path) -> int:
    """The step of the newest checkpoint to resume from, read without its tensors; 0 where there is none.

    Its SHA-256 is not compared: for bookkeeping.
    """
    for name in ("last.ckpt", "previous.ckpt"):
        if (content := _without_tensors(checkpoint_folder(run_folder) / name)) is not None:
            return int(content["global_step"])
    return 0


def written_identity(path: Path) -> str:
    """Of which configuration a checkpoint is; empty where it does not say so."""
    content = _without_tensors(path) or {}
    return str(content.get("callbacks", {}).get(RunCheckpoints.__qualname__, {}).get("identity", ""))


def _without_tensors(path: Path) -> dict[str, Any] | None:
    """What a checkpoint holds, its tensors without values; None where it cannot be read."""
    try:
        if path.is_dir():
            content = torch.load(path / META, map_location="meta", weights_only=True)
        else:
            content = torch.load(path, map_location="meta", mmap=True, weights_only=True)
        return dict(content) if "global_step" in content else None
    except (OSError, RuntimeError, TypeError, pickle.UnpicklingError):
        return None
