"""Checkpoints that are folders: a file a rank, and a manifest with the SHA-256 of each.

They are written beside their place and renamed into it, so a folder is whole or absent; a folder whose files
do not agree with its manifest is never used. This file and torch alone know what lies inside one.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from scaling_laws.study.records import sha256_of, write_atomically

MANIFEST = "manifest.json"
META = "meta.pt"
"""Lightning's name for what is no tensor of a rank: step, loops, callbacks."""


def seal(folder: Path, target: Path) -> None:
    """Write the manifest of a checkpoint folder that is complete, and rename it to `target`."""
    digests = _digests(folder)
    write_atomically(folder / MANIFEST, json.dumps(digests, indent=1) + "\n")
    for path in (*(folder / name for name in digests), folder):
        _synchronise(path)
    move(folder, target)
    _synchronise(target.parent)


def is_whole_folder(folder: Path) -> bool:
    """Whether a folder holds the files of its manifest, each with its SHA-256, and no others."""
    try:
        expected = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return bool(expected == _digests(folder))
    except (OSError, ValueError):
        return False


def assemble(folder: Path) -> dict[str, Any]:
    """A checkpoint folder as the checkpoint that a single device would have written."""
    with tempfile.TemporaryDirectory() as place:
        together = Path(place) / "checkpoint"
        dcp_to_torch_save(folder, together)
        tensors = torch.load(together, weights_only=True)
    checkpoint: dict[str, Any] = torch.load(folder / META, weights_only=True)
    # The optimizer's state has names of weights where a single device has numbers; torch goes by their order.
    return checkpoint | {"state_dict": tensors["state_dict"], "optimizer_states": [tensors["optimizer_0"]]}


def move(source: Path, target: Path) -> None:
    """Rename a checkpoint, file or folder; what is at `target` goes."""
    if target.is_dir():  # a rename replaces files only
        shutil.rmtree(target)
    os.replace(source, target)


def remove(path: Path) -> None:
    """Remove a checkpoint, file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}


def _synchronise(path: Path) -> None:
    """Have the disk hold what was written to a file, or which names a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
