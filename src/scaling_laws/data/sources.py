"""Places that text comes from: each a name, and a way to read it when it is wanted."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from scaling_laws.study.errors import InputError

BLOCK_BYTES = 1_000_000


class BadText(InputError):
    """A text that cannot be read, so that all such can be named together.

    Attributes:
        place, what: where it is, and what it is.
        remedy: what to do.
    """

    def __init__(self, place: str, what: str, remedy: str) -> None:
        super().__init__(f"{place}: {what}; {remedy}")
        self.place, self.what, self.remedy = place, what, remedy


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
    file: str = ""
    """What it is a piece of, if it is one."""
    together: str = ""
    """Documents of one such name are in one split; empty: the document is by itself."""

    def blocks(self) -> Iterator[bytes]:
        """The text in UTF-8, in one block or several; a character may lie in two."""
        return iter((self.read(),)) if self.read_blocks is None else self.read_blocks()


def text_sources(
    paths: tuple[str, ...], piece_bytes: int, document_separator: str | None = None
) -> Iterator[TextSource]:
    """Text files, and every file below folders that is not hidden; whole, or cut.

    UTF-16 with its mark is read, too, as UTF-8.

    Args:
        paths: files and folders.
        piece_bytes: 0, or the size at which a piece ends with the current line. A line of twice that is cut
            at a blank.
        document_separator: None, or the text at which a file is cut; it belongs to no document.

    Raises:
        InputError: two paths have the same name.
    """
    for name, file in _files(paths, "*"):
        converted = _from_utf16(file)
        if not piece_bytes and document_separator is None:
            if converted is not None:
                yield TextSource(name=name, read=partial(bytes, converted), n_bytes=len(converted))
                continue
            yield TextSource(
                name=name,
                read=file.read_bytes,
                read_blocks=partial(file_blocks, file),
                n_bytes=file.stat().st_size,
            )
            continue
        with io.BytesIO(converted) if converted is not None else file.open("rb") as content:
            if document_separator is None:
                ranges = _pieces(content, piece_bytes)
            else:
                ranges = _between(content, document_separator.encode("utf-8"))
            for start, stop in ranges:
                if converted is None:
                    read = partial(read_range, file, start, stop)
                else:
                    read = partial(bytes, converted[start:stop])
                yield TextSource(name=f"{name}:{start}", file=name, read=read, n_bytes=stop - start)


def _from_utf16(file: Path) -> bytes | None:
    """A file that begins with the mark of UTF-16, as UTF-8; None for any other, or if it is none."""
    with file.open("rb") as content:
        if content.read(2) not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return None
    try:
        return file.read_bytes().decode("utf-16").encode("utf-8")
    except UnicodeError:
        return None


def jsonl_sources(paths: tuple[str, ...], text_field: str) -> Iterator[TextSource]:
    """JSONL files, and every `*.jsonl` below folders: a document a line; blank lines are skipped.

    Raises:
        InputError: two paths have the same name; on reading, a line is not an object with the text field.
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


def require_paths(paths: Iterable[str]) -> None:
    """Refuse files and folders that are not there, all at once.

    Raises:
        InputError: naming them.
    """
    if missing := [path for path in dict.fromkeys(paths) if not Path(path).exists()]:
        raise InputError(
            f"{', '.join(missing)}: no such file or folder; correct `paths` or `foreign` in the corpus file"
        )


def _files(paths: tuple[str, ...], pattern: str) -> Iterator[tuple[str, Path]]:
    """Pairs (name, file), where a folder's files are named from the folder on."""
    seen: dict[str, str] = {}
    for text in paths:
        path = Path(text).resolve()
        if path.name in seen:
            raise InputError(f"{text}: named like {seen[path.name]}; give the folder above both instead")
        seen[path.name] = text
        if path.is_file():
            yield path.name, path
            continue
        for file in sorted(path.rglob(pattern)):
            inside = file.relative_to(path)
            if file.is_file() and not any(part.startswith(".") for part in inside.parts):
                yield f"{path.name}/{inside.as_posix()}", file


def _pieces(lines: BinaryIO, piece_bytes: int) -> Iterator[tuple[int, int]]:
    start = stop = 0
    longest = 2 * piece_bytes
    while line := lines.readline(longest):
        if len(line) == longest and not line.endswith(b"\n"):
            line = line[: _cut_within(line)]
            lines.seek(stop + len(line))
        stop += len(line)
        if stop - start >= piece_bytes:
            yield start, stop
            start = stop
    if stop > start:
        yield start, stop


def _cut_within(line: bytes) -> int:
    """Where to cut a line that is too long: after its last blank, or else between two characters."""
    if place := max(line.rfind(b" ", len(line) // 2), line.rfind(b"\t", len(line) // 2)) + 1:
        return place
    place = len(line)
    while place > len(line) - 3 and line[place - 1] & 0xC0 == 0x80:  # within a character
        place -= 1
    return place - 1 if place > 1 and line[place - 1] >= 0xC0 else place


def _between(content: BinaryIO, separator: bytes) -> Iterator[tuple[int, int]]:
    """The stretches of a file between its separators, the empty ones left out."""
    start = at = 0  # of the document, and of `held`
    held = b""
    while block := content.read(BLOCK_BYTES):
        held += block
        while (place := held.find(separator)) >= 0:
            if at + place > start:
                yield start, at + place
            start = at = at + place + len(separator)
            held = held[place + len(separator) :]
        # What remains may end with the beginning of a separator.
        searched = max(0, len(held) - len(separator) + 1)
        at, held = at + searched, held[searched:]
    if at + len(held) > start:
        yield start, at + len(held)


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
        raise BadText(
            f"{file}:{number}",
            f"not a JSON object whose {text_field!r} is text ({type(error).__name__})",
            "correct such lines, or set text_field",
        ) from error
