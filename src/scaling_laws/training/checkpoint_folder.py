"""Checkpoints that are folders: a file a rank, and a manifest with the SHA-256 of each.

They are written beside their place and renamed into it, so a folder is whole or absent; a folder whose files
do not agree with its manifest is never used. This file and torch alone know what lies inside one.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.metadata import BytesStorageMetadata

from scaling_laws.study.artefacts import read_json
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import sha256_of, write_atomically

MANIFEST = "manifest.json"
LAYOUT_FILE = ".metadata"
"""Torch's name for which tensor lies where; it is a pickle."""
_METADATA, _FILES = "torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem"
LAYOUT = {
    *((_METADATA, name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")),
    *((_METADATA, f"{kind}StorageMetadata") for kind in ("Tensor", "Chunk", "Bytes")),
    *((_METADATA, "_MEM_FORMAT_ENCODING"), (_FILES, "_StorageInfo"), ("torch", "Size")),
    *(("torch", name) for name, value in vars(torch).items() if isinstance(value, torch.dtype)),
    *(("torch.serialization", "_get_layout"), ("collections", "OrderedDict")),
    *(("pathlib", "PosixPath"), ("pathlib._local", "PosixPath")),  # the second is where Python 3.13 has it
}
"""Module and name of all that it may mention."""
CODE = "holds something other than weights, which would be run; do not open it"
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
        expected = read_json(folder / MANIFEST, kind="manifest", remedy="")
        return bool(expected == _digests(folder))
    except (OSError, InputError):
        return False


class _PlainUnpickler(pickle.Unpickler):
    """Reads what torch writes of a sharded checkpoint's layout, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in LAYOUT:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of a checkpoint's layout")
        return super().find_class(module, name)


def folder_holds_code(folder: Path) -> bool:
    """Whether torch would run somebody's code if it read this folder: layout and values are pickles.

    Raises:
        InputError: its layout names a module that this version of Python does not have.
    """
    listed = {path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
    try:
        torch.load(folder / META, map_location="meta", weights_only=True)
        with open(folder / LAYOUT_FILE, "rb") as file:
            layout = _PlainUnpickler(file).load()
        for index, stored in layout.storage_data.items():
            if stored.relative_path not in listed or stored.transform_descriptors:
                return True
            if type(layout.state_dict_metadata[index.fqn]) is BytesStorageMetadata:
                content = _part(folder / stored.relative_path, stored.offset, stored.length)
                torch.load(io.BytesIO(content), map_location="meta", weights_only=True)
    except ImportError as error:
        raise InputError(f"{folder}: another version of Python wrote it; use that one ({error})") from error
    except (pickle.UnpicklingError, AttributeError, KeyError, TypeError):
        return True
    return False


def _part(file: Path, offset: int, n_bytes: int) -> bytes:
    with open(file, "rb") as content:
        content.seek(offset)
        return content.read(n_bytes)


def assemble(folder: Path) -> dict[str, Any]:
    """A checkpoint folder as the checkpoint that a single device would have written."""
    with tempfile.TemporaryDirectory() as place:
        together = Path(place) / "checkpoint"
        dcp_to_torch_save(folder, together)
        tensors = torch.load(together, weights_only=True)
    checkpoint: dict[str, Any] = torch.load(folder / META, weights_only=True)
    # The optimizer's state has names of weights where a single device has numbers; torch goes by their order.
    moments = [tensors["optimizer_0"]] if "optimizer_0" in tensors else []
    return checkpoint | {"state_dict": tensors["state_dict"], "optimizer_states": moments}


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
