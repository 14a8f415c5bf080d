"""The manifest of a corpus: what it is, and the hash that every file must have.

Files are hashed when a corpus is opened. For billions of tokens that takes a minute, and a study opens its
corpus for every run, so what was verified is remembered in `.verified.json`: size, times, inode and hash of
each file, and the vocabulary that its tokens are of. A file of which one of them differs is read again. That
misses only what a disk does to bytes without a write; `scaling-laws data show --verify` reads everything.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from scaling_laws.study.artefacts import read_json, typed
from scaling_laws.study.bounds import Amount, Bounds, Share, Tokens, check_bounds
from scaling_laws.study.configurations import find_config
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import sha256_of, write_atomically
from scaling_laws.study.stages import Stage

SCHEMA = 2
REPLACE = "build into another folder, or replace this one with --force"
HASHES = ("overlap_sha256", "manifest_sha256")
"""Keys of a manifest that follow from the others."""
STAMP_FILE = ".verified.json"
IDS_AT_A_TIME = 4_000_000
SETTLED_NS = 2_000_000_000
"""A file written less than this long ago may be written again without a change of its times, whose grain
is up to a jiffy locally and up to two seconds on other file systems: it is not remembered yet."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content of manifest.json.

    Raises:
        InputError: it is missing, damaged, edited or of another version.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(f"{folder}: no corpus here (no manifest.json); {_how_to_build(folder)}")
    manifest = read_json(path, kind="manifest of a corpus", remedy=f"it is damaged; {REPLACE}")
    if manifest.get("schema") != SCHEMA:
        raise InputError(f"{path}: not a corpus of schema {SCHEMA}, which this version reads; {REPLACE}")
    content = {key: value for key, value in manifest.items() if key not in HASHES}
    if path.read_bytes() != manifest_text(content).encode():
        raise InputError(f"{path}: damaged or edited (its SHA-256 is not the one it states); {REPLACE}")
    return manifest


def _how_to_build(folder: Path) -> str:
    """The command: a folder `data/embedded` is built of configs/data/embedded.yaml."""
    if find_config(folder.name, "data").is_file():
        elsewhere = "" if folder == Path("data") / folder.name else f" -o {folder}"
        return f"build it with `scaling-laws data build configs/data/{folder.name}.yaml{elsewhere}`"
    return f"build one with `scaling-laws data build FILE -o {folder}`; configs/data/ has examples"


def checked_manifest(folder: Path) -> dict[str, Any]:
    """The content of manifest.json, all of which has its type.

    Raises:
        InputError: as `read_manifest`; or a field is wrong, and the line names it.
    """
    manifest, path = read_manifest(folder), folder / "manifest.json"
    _check_whole(path, typed(manifest, _Manifest, path, remedy=REPLACE))
    return manifest


@dataclass(frozen=True, kw_only=True)
class _Split:
    """What a manifest says of a split."""

    n_tokens: Tokens
    n_bytes: Amount
    n_documents: Amount

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class _File:
    """What a manifest says of a file."""

    n_bytes: Amount
    sha256: str

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class _NearDuplicates:
    """What a manifest says of training documents that are nearly held-out text."""

    span_tokens: Tokens
    documents: Amount
    share_of_training_tokens: Share
    removed: bool

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class _Overlap:
    """What a manifest says of held-out text in the training text (`overlap.py`)."""

    share_of_held_out_spans_in_training_text: dict[str, dict[str, Share]]
    near_duplicates: _NearDuplicates

    def __post_init__(self) -> None:
        check_bounds(self)


class _Config(TypedDict):
    """What is read of the configuration that a corpus was built from."""

    tokenizer: str


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    """What is read of a manifest."""

    name: str
    config: _Config
    inputs: dict[str, str]
    dtype: Literal["<u2", "<u4"]
    n_vocab: Annotated[int, Bounds(1, 2**32)]
    splits: dict[str, _Split]
    files: dict[str, _File]
    overlap: _Overlap | None = None

    def __post_init__(self) -> None:
        check_bounds(self)


def _check_whole(path: Path, manifest: _Manifest) -> None:
    """Raises InputError: a split or a file is lacking or misnamed, or a split's file is of another length."""
    wrong = [name for name in (*manifest.files, *manifest.splits) if Path(name).name != name]
    if wrong:
        raise InputError(f"{path}: {wrong[0]!r} is not the name of a file here; {REPLACE}")
    needed = ["tokenizer.json", "sources.jsonl"]
    for split in ("train", "val", "test"):
        if split not in manifest.splits:
            raise InputError(f"{path}: splits: lacks {split}; {REPLACE}")
    for split in manifest.splits:
        needed += [f"{split}.bin", f"{split}.documents.npy"]
    if missing := [name for name in needed if name not in manifest.files]:
        raise InputError(f"{path}: files: lacks {missing[0]}; {REPLACE}")
    for split, counts in manifest.splits.items():
        if manifest.files[f"{split}.bin"].n_bytes != counts.n_tokens * int(manifest.dtype[-1]):
            raise InputError(
                f"{path}: splits: {split} does not have the {counts.n_tokens} tokens of its file; {REPLACE}"
            )


def manifest_text(content: dict[str, Any]) -> str:
    """The file's text: the content, and last the hash of what makes a corpus this one.

    What was only measured of its text (`overlap`) is no part of it, and has a hash of its own: a corpus of
    before has the same hash.
    """
    content = {key: value for key, value in content.items() if key not in HASHES}
    decisive = {key: value for key, value in content.items() if key != "overlap"}
    digest = sha256(json.dumps(decisive).encode("ascii"))
    measured = {}
    if "overlap" in content:
        measured["overlap_sha256"] = sha256(json.dumps(content["overlap"]).encode("ascii"))
    return json.dumps(content | measured | {"manifest_sha256": digest}, indent=2) + "\n"


def describe_files(files: list[Path]) -> dict[str, Any]:
    """Size and hash of each file, by name: what `check_files` compares with."""
    sizes = {file: file.stat().st_size for file in files}
    with Stage("hashing the files", sum(sizes.values())) as hashing:
        return {file.name: {"n_bytes": sizes[file], "sha256": sha256_of(file, hashing)} for file in files}


def check_files(folder: Path, manifest: dict[str, Any], *, again: bool) -> None:
    """See that every file is there, is what the manifest says, and holds no token but of the vocabulary.

    Args:
        folder: the corpus.
        manifest: from `checked_manifest`.
        again: read also what was verified before.

    Raises:
        InputError: a file is missing or damaged; says which.
    """
    now_ns = time.time_ns()
    stamp = _read_stamp(folder)
    n_vocab, tokens = manifest["n_vocab"], {f"{split}.bin" for split in manifest["splits"]}
    verified, unread = {}, {}
    for name, expected in manifest["files"].items():
        path = folder / name
        with _of_file(path):
            status = path.stat()
        if status.st_size != expected["n_bytes"]:
            raise InputError(
                f"{path}: damaged (not {expected['n_bytes']} bytes long); build the corpus again"
            )
        entry = [expected["sha256"], *_identity(status), *([n_vocab] if name in tokens else [])]
        if again or stamp.get(name) != entry:
            unread[path] = expected
        if now_ns - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED_NS:
            verified[name] = entry
    n_bytes = sum(
        expected["n_bytes"] * (2 if path.name in tokens else 1) for path, expected in unread.items()
    )
    with Stage(f"checking the files of {folder}", n_bytes) as checking:
        for path, expected in unread.items():
            with _of_file(path):
                if sha256_of(path, checking) != expected["sha256"]:
                    raise InputError(
                        f"{path}: damaged (its SHA-256 is not the manifest's); build the corpus again"
                    )
                if path.name not in tokens:
                    continue
                if (largest := largest_id(path, manifest["dtype"], checking)) >= n_vocab:
                    raise InputError(
                        f"{path}: holds the token {largest}, and the manifest's vocabulary has {n_vocab}; "
                        "build the corpus again"
                    )
    if verified != stamp:
        with suppress(OSError):  # a corpus that only others may write is hashed every time
            write_atomically(folder / STAMP_FILE, json.dumps(verified) + "\n")


@contextmanager
def _of_file(path: Path) -> Iterator[None]:
    """Raises InputError: the file cannot be read."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: missing or unreadable ({error.strerror}); build the corpus again"
        ) from error


def largest_id(path: Path, dtype: str, progress: Stage) -> int:
    """The largest token id in a file, of which some megabytes are held at a time."""
    import numpy as np  # `make clean` reads manifests with the standard library alone

    largest = 0
    with path.open("rb") as file:
        while len(ids := np.fromfile(file, dtype, IDS_AT_A_TIME)):
            largest = max(largest, int(ids.max()))
            progress.done(ids.nbytes)
    return largest


def _identity(status: os.stat_result) -> list[int]:
    """What differs after every write: nobody sets st_ctime_ns."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _read_stamp(folder: Path) -> dict[str, Any]:
    """What was verified; nothing where the file is missing or damaged."""
    try:
        return read_json(folder / STAMP_FILE, kind="stamp", remedy="")
    except InputError:
        return {}


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
