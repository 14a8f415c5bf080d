"""Places that text comes from: each a name, and a way to read it when it is wanted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scaling_laws.study.errors import InputError

BLOCK_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """One document that has not been read yet."""

    name: str
    """Unique within the corpus, and the same on every machine: the split depends on it."""
    read: Callable[[], bytes]
    """Returns the text in UTF-8."""
    read_blocks: Callable[[], Iterator[bytes]] | None = None
    """The same piece by piece, where it may be too large to be held."""

    n_bytes: int = 0
    """How long the text is, where that is known without reading it."""

    def blocks(self) -> Iterator[bytes]:
        """The text in UTF-8, in one block or several; a character may lie in two."""
        return iter((self.read(),)) if self.read_blocks is None else self.read_blocks()


def text_sources(paths: tuple[str, ...], piece_bytes: int) -> Iterator[TextSource]:
    """Text files, and every file below folders that is not hidden; whole, or cut at line ends.

    Args:
        paths: files and folders.
        piece_bytes: 0, or the size at which a piece ends with the current line.

    Raises:
        InputError: a path does not exist, or two have the same name.
    """
    for name, file in _files(paths, "*"):
        if not piece_bytes:
            yield TextSource(
                name=name,
                read=file.read_bytes,
                read_blocks=partial(file_blocks, file),
                n_bytes=file.stat().st_size,
            )
            continue
        for start, stop in _pieces(file, piece_bytes):
            yield TextSource(name=f"{name}:{start}", read=partial(read_range, file, start, stop))


def jsonl_sources(paths: tuple[str, ...], text_field: str) -> Iterator[TextSource]:
    """JSONL files, and every `*.jsonl` below folders: a document a line; blank lines are skipped.

    Raises:
        InputError: a path does not exist, or two have the same name; on reading, a line is not an object with
            the text field.
    """
    for name, file in _files(paths, "*.jsonl"):
        start = 0
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                stop = start + len(line)
                if line.strip():
                    yield TextSource(
                        name=f"{name}:{number}",
                        read=partial(_read_json_text, file, start, stop, number, text_field),
                    )
                start = stop


def _files(paths: tuple[str, ...], pattern: str) -> Iterator[tuple[str, Path]]:
    """Pairs (name, file), where a folder's files are named from the folder on."""
    seen: dict[str, str] = {}
    for text in paths:
        path = Path(text).resolve()
        if not path.exists():
            raise InputError(
                f"{text}: no such file or folder; correct `paths` or `foreign` in the corpus file"
            )
        if path.name in seen:
            raise InputError(f"{text}: called like {seen[path.name]}; give the folder above both instead")
        seen[path.name] = text
        if path.is_file():
            yield path.name, path
            continue
        for file in sorted(path.rglob(pattern)):
            inside = file.relative_to(path)
            if file.is_file() and not any(part.startswith(".") for part in inside.parts):
                yield f"{path.name}/{inside.as_posix()}", file


def _pieces(file: Path, piece_bytes: int) -> Iterator[tuple[int, int]]:
    start = stop = 0
    with file.open("rb") as lines:
        for line in lines:
            stop += len(line)
            if stop - start >= piece_bytes:
                yield start, stop
                start = stop
    if stop > start:
        yield start, stop


def file_blocks(file: Path) -> Iterator[bytes]:
    """A file's content in blocks of `BLOCK_BYTES`."""
    with file.open("rb") as content:
        while block := content.read(BLOCK_BYTES):
            yield block


def read_range(file: Path, start: int, stop: int) -> bytes:
    """The bytes start ... stop - 1 of a file."""
    with file.open("rb") as content:
        content.seek(start)
        return content.read(stop - start)


def _read_json_text(file: Path, start: int, stop: int, number: int, text_field: str) -> bytes:
    try:
        text: str = json.loads(read_range(file, start, stop))[text_field]
        return text.encode("utf-8")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{file}:{number}: not a JSON object whose {text_field!r} is text ({type(error).__name__}); "
            "correct the line, or set text_field"
        ) from error
