"""What a run's folder holds before one of Lightning's verbs fills it, goes on in it or evaluates it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import CHECKPOINTS
from scaling_laws.study.records import CURVE_COLUMNS, RUN_TABLES, RunRecord
from scaling_laws.training.checkpoint import final_checkpoint, is_whole, newest_whole

NEWEST = "newest"
"""As `--ckpt_path`: the newest whole checkpoint of the run's folder; for `fit` otherwise the start."""


def require_run_folder(root: Path) -> None:
    """Refuse to train over files that a run would replace, where no run wrote them.

    Raises:
        InputError: there are such files.
    """
    replaced = ("config.yaml", "hparams.yaml", *RUN_TABLES, "events.out.tfevents.*")
    found = [path.name for pattern in (*replaced, CHECKPOINTS) for path in sorted(root.glob(pattern))]
    if found and not (_is_run_curve(root / "curve.csv") or _is_run_config(root / "config.yaml")):
        raise InputError(f"{root}: holds {found[0]}, which no run wrote; name an empty folder")


def _is_run_curve(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.readline(200).startswith(",".join(CURVE_COLUMNS[:2]).encode())
    except OSError:
        return False


def _is_run_config(path: Path) -> bool:
    """Whether a run wrote it: a configuration with every part, as nobody writes it by hand."""
    parts = ("recorder", "noise_scale", "snapshots", "checkpoints", "ckpt_path")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    return all(any(line.startswith(f"{part}:") for line in lines) for part in parts)


def weights_to_evaluate(root: Path, ckpt_path: str | None) -> str:
    """The checkpoint to evaluate: the one named, or the final weights of the folder's run.

    Raises:
        InputError: none is named, and the folder holds no finished run.
    """
    if ckpt_path not in (None, NEWEST):
        return ckpt_path
    if is_whole(final := final_checkpoint(root)):
        return str(final)
    newest = newest_whole(root)
    if newest and ckpt_path == NEWEST:
        return str(newest)
    raise InputError(
        f"{root}: holds no final weights of a run; name a checkpoint with --ckpt_path, or the run's "
        "folder with --trainer.default_root_dir"
        + (f" (the run is unfinished: --ckpt_path {NEWEST})" if newest else "")
    )


def summary(record: RunRecord) -> str:
    """What a run came out with, in one line."""
    losses = ", ".join(f"{losses['loss_nats']:.4f} on {corpus}" for corpus, losses in record.losses.items())
    return f"{record.steps} steps, {record.tokens:,} tokens; loss in nats per token: {losses or 'none'}"


def elsewhere(root: Path, checkpoint: Path) -> InputError:
    """A checkpoint of a run that is not this folder's."""
    run = checkpoint.resolve().parents[1]
    return InputError(
        f"{checkpoint}: is a checkpoint of the run {run.name!r}, and {root} holds none of its rows; go on "
        f"in its folder ({run}), or begin with its weights alone by --initial_weights {checkpoint}"
    )


def other_settings(root: Path, changed: Mapping[str, tuple[Any, Any]]) -> InputError:
    """The folder's run had other values of these settings: by name, what is asked for and what it had."""
    phrases = [
        f"{key} is {json.dumps(asked)}, and the run's was {json.dumps(trained)}"
        for key, (asked, trained) in changed.items()
    ]
    more = f" (and {len(phrases) - 3} more)" if len(phrases) > 3 else ""
    return InputError(
        f"{root}: was trained from another configuration: {'; '.join(phrases[:3])}{more}; "
        "give the run another folder, or move that one away"
    )


def diverged(root: Path, reason: str) -> InputError:
    """The folder's run ended early, as a result."""
    return InputError(f"{root}: diverged: {reason}; lower the learning rate")
