"""Which files of a folder this program wrote: a list that it leaves there. It replaces no others.

`.scaling-laws.json` names every file that a verb wrote into the folder, with its SHA-256. A file that is not
in the list, or that has been changed since, is somebody's own: it is never replaced or removed, but where a
user says so (`force`). Versions before 0.2.0 left no list; what they wrote is known by its names.
Nothing is written through a symbolic link.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scaling_laws.study.artefacts import read_json
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import sha256_of, write_atomically

LIST_FILE = ".scaling-laws.json"
ABOUT = "Files that scaling-laws wrote here, with their SHA-256: it replaces and removes no others."
KEPT_HASHES = 3
"""Of a file: the new one and those before it. A write that was interrupted leaves one of them."""
CHECKPOINTS = "checkpoints"
"""A run's folder of them."""
STEP_CHECKPOINT = "step_{:08d}.ckpt"
"""The state after a step, from which cooldown branches or a longer horizon go on."""
TEMPORARY = (".building-",)
"""How the names begin of what an interrupted build leaves."""

Content = Mapping[str, str | bytes]
"""Name relative to the folder, with `/` -> what the file holds."""
Lists = dict[str, dict[str, list[str]]]
"""Writer -> name -> hashes."""


def write_own_files(
    folder: Path,
    content: Content,
    *,
    writer: str,
    earlier: tuple[str, ...] = (),
    known_by: Mapping[str, Callable[[Path], bool]] = MappingProxyType({}),
    shared: bool = False,
    force: bool = False,
) -> None:
    """Write a verb's files, each whole or not at all; remove those that it wrote before and does no longer.

    Args:
        folder: made where it is missing.
        writer: whose list the names go into; a folder may have several.
        earlier: names that a version without a list left together: where all are there, and no list, files
            of the names in `content` are that version's.
        known_by: name -> whether such a file is ours by what it holds: other verbs write it, too.
        shared: the folder holds other things by design, as a study's holds its runs.
        force: a user wants files replaced that are not known to be ours.

    Raises:
        InputError: the folder or a file is somebody's own or a symbolic link, or the disk is full; nothing
            has been written where it is not the disk.
    """
    require_own_folder(folder, earlier=earlier, shared=shared, force=force)
    data = {name: text.encode() if isinstance(text, str) else text for name, text in content.items()}
    hashes = {name: hashlib.sha256(each).hexdigest() for name, each in data.items()}
    adopted = force or _is_earlier(folder, _read_lists(folder), earlier)
    claim_files(folder, hashes, writer=writer, known_by=known_by, force=adopted)
    for name, each in data.items():
        write_atomically(folder / name, each)
    _remove_others(folder, set(data), writer)


def claim_files(
    folder: Path,
    hashes: Mapping[str, str],
    *,
    writer: str,
    known_by: Mapping[str, Callable[[Path], bool]] = MappingProxyType({}),
    force: bool = False,
) -> None:
    """Put files into a folder's list. Before they are written: what is there is listed, however that ends.

    Args:
        hashes: name -> SHA-256.
        writer, known_by, force: as `write_own_files`.

    Raises:
        InputError: one of them is there and somebody's own, or a symbolic link.
    """
    known = _read_lists(folder) or {}
    for name, sha in hashes.items():
        path = folder / name
        refuse_links(folder, name)
        if path.exists() and not (
            force
            or _is_ours(path, [*_hashes(known, name), sha])
            or (name in known_by and known_by[name](path))
        ):
            raise InputError(
                f"{path}: already exists, and scaling-laws did not write it; move it away, "
                "or replace it with --force"
            )
    before = known.get(writer, {})
    ours = {name: [sha, *(old for old in before.get(name, []) if old != sha)] for name, sha in hashes.items()}
    kept = {name: each[:KEPT_HASHES] for name, each in ours.items()}
    _write_lists(folder, {**known, writer: before | kept})


def _remove_others(folder: Path, names: set[str], writer: str) -> None:
    """Remove what `writer` wrote before and does no longer, but what another has in its list, too."""
    lists = _read_lists(folder) or {}
    before = lists.pop(writer, {})
    gone = before.keys() - names
    for name in gone - {name for of_writer in lists.values() for name in of_writer}:
        if _is_ours(folder / name, before[name]) and not any(_links(folder, name)):
            (folder / name).unlink()
    if gone:
        _write_lists(folder, {**lists, writer: {name: before[name] for name in before if name in names}})


def require_own_folder(
    folder: Path, *, earlier: tuple[str, ...] = (), shared: bool = False, force: bool = False
) -> None:
    """Refuse a folder that holds files and no list of ours, or takes none: now, not after minutes of work.

    Args:
        earlier, shared, force: as `write_own_files`.

    Raises:
        InputError: it is one, or no folder, or cannot be written in.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder")
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise InputError(
            f"{folder}: cannot be written in (no permission, or a read-only disk); name another folder"
        )
    known = _read_lists(folder)
    if force or shared or known is not None or _is_earlier(folder, known, earlier):
        return
    if folder.is_dir() and (found := [path for path in folder.iterdir() if not _is_temporary(path)]):
        raise InputError(
            f"{folder}: holds files that scaling-laws did not write ({min(path.name for path in found)}); "
            "name a new folder, or write beside them with --force"
        )


def refuse_links(folder: Path, name: str) -> None:
    """Refuse to write `name` below `folder` where it, or a folder on the way, is a symbolic link.

    Raises:
        InputError: it is one. `folder` itself may be.
    """
    for link in _links(folder, name):
        raise InputError(f"{link}: is a symbolic link, and nothing is written through one; remove it")


def link_in(run_folder: Path) -> Path | None:
    """A symbolic link where a run keeps its files: the folder, a file in it, or one of its checkpoints.

    Other folders in it are those of a user's loggers, and are not looked into.
    """
    if run_folder.is_symlink():
        return run_folder
    folders = [run_folder]
    for folder in folders:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if entry.is_symlink():
                return Path(entry.path)
            if entry.is_dir(follow_symlinks=False) and (entry.name == CHECKPOINTS or folder != run_folder):
                folders.append(Path(entry.path))
    return None


def refuse_links_in(folder: Path) -> None:
    """Refuse to train in a folder with symbolic links, or to keep a study in one.

    Raises:
        InputError: it holds one.
    """
    if (link := link_in(folder)) is not None:
        raise InputError(
            f"{link}: is a symbolic link, and a run is written through none; put the file itself there"
        )


def is_laws_file(path: Path) -> bool:
    """Whether a file is a laws.json, by the keys that every version has written."""
    try:
        content = read_json(path, kind="laws.json", remedy="")
    except InputError:
        return False
    return {"schema", "study", "fits", "manifest"} <= content.keys()


def own_names(folder: Path) -> set[str]:
    """Names of the listed files that are still what was written."""
    lists = _read_lists(folder) or {}
    names = {name for of_writer in lists.values() for name in of_writer}
    return {name for name in names if _is_ours(folder / name, _hashes(lists, name))}


def listed_names(folder: Path, writer: str) -> set[str]:
    """Names that one verb wrote, whatever became of the files."""
    return set((_read_lists(folder) or {}).get(writer, ()))


def remove_own_files(folder: Path, hashes: Mapping[str, str]) -> None:
    """Remove the listed files and those of `hashes` (name -> SHA-256) that nobody has changed.

    The list goes, too, and the folder if nothing is left in it.
    """
    unchanged = {name for name, sha in hashes.items() if _is_inside(name) and _is_ours(folder / name, [sha])}
    names = {name for name in own_names(folder) | unchanged if not any(_links(folder, name))}
    if not names:
        return
    for name in names:
        (folder / name).unlink()
    (folder / LIST_FILE).unlink(missing_ok=True)
    with suppress(OSError):  # somebody's own files are there
        folder.rmdir()


def _is_ours(path: Path, hashes: list[str]) -> bool:
    return path.is_file() and not path.is_symlink() and sha256_of(path) in hashes


def _is_earlier(folder: Path, known: Lists | None, earlier: tuple[str, ...]) -> bool:
    return known is None and bool(earlier) and all((folder / name).is_file() for name in earlier)


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(TEMPORARY)


def _links(folder: Path, name: str) -> Iterator[Path]:
    path = folder
    for part in Path(name).parts:
        path = path / part
        if path.is_symlink():
            yield path


def _hashes(lists: Lists | None, name: str) -> list[str]:
    return [each for of_writer in (lists or {}).values() for each in of_writer.get(name, [])]


def _write_lists(folder: Path, lists: Lists) -> None:
    write_atomically(folder / LIST_FILE, json.dumps({"about": ABOUT, "files": lists}, indent=1) + "\n")


def _is_inside(name: str) -> bool:
    """Whether a name means a file in the folder that it is looked for in."""
    return bool(Path(name).parts) and not os.path.isabs(name) and ".." not in Path(name).parts


def _read_lists(folder: Path) -> Lists | None:
    """The lists of a folder; None where there are none that can be trusted."""
    path = folder / LIST_FILE
    if path.is_symlink() or not path.is_file():
        return None
    try:
        files = read_json(path, kind="list of files", remedy="")["files"]
        return {str(writer): _checked(of_writer) for writer, of_writer in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _checked(of_writer: Any) -> dict[str, list[str]]:
    """One writer's list, of names that lie in the folder.

    Raises:
        ValueError: it is something else.
    """
    for name, hashes in of_writer.items():
        if not _is_inside(name) or not all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes):
            raise ValueError(name)
    return dict(of_writer)
