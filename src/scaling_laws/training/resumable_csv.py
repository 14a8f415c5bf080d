"""A table on disk that survives a kill and forgets what a resumed run will do again."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scaling_laws.study.errors import InputError
from scaling_laws.study.records import not_written, write_atomically


class ResumableCsv:
    """A CSV file that grows row by row; opened with the state of a checkpoint it forgets the rows after it.

    Args:
        path: the file.
        columns: its header.
        state: what `state()` said when the checkpoint was saved; None begins a new file.
        writes: whether this process writes it (rank 0 does).

    Raises:
        InputError: what the file held at the checkpoint is no longer there, or the disk is full.
    """

    def __init__(
        self, path: Path, columns: tuple[str, ...], state: Mapping[str, Any] | None, writes: bool
    ) -> None:
        self.path = path
        self.columns = columns
        self.writes = writes
        self._n_bytes = 0
        self._hash = hashlib.sha256()
        if writes and state is None:
            self._begin()
        elif writes and state is not None:
            self._forget_after(state)

    def state(self) -> dict[str, Any]:
        """Length and SHA-256 of the file so far, which is on the disk when this returns."""
        if self.writes:
            descriptor = os.open(self.path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        return {"n_bytes": self._n_bytes, "sha256": self._hash.hexdigest()}

    def read(self) -> list[dict[str, str]]:
        """The whole rows of the file; a last row torn by a kill is left out."""
        if not self.path.exists():
            return []
        with open(self.path, newline="", encoding="utf-8") as file:
            whole = [line for line in file if line.endswith("\n")]
        return [row for row in csv.DictReader(whole) if None not in row.values()]

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows (dictionaries; absent columns stay empty).

        Raises:
            InputError: the disk is full; the file is then as it was.
        """
        if self.writes:
            text = io.StringIO(newline="")
            csv.writer(text).writerows([row.get(column) for column in self.columns] for row in rows)
            self._append(text.getvalue().encode())

    def _begin(self) -> None:
        header = io.StringIO(newline="")
        csv.DictWriter(header, self.columns).writeheader()
        write_atomically(self.path, header.getvalue())
        self._count(header.getvalue().encode())

    def _append(self, content: bytes) -> None:
        try:
            with open(self.path, "ab") as file:
                file.write(content)
        except OSError as error:
            os.truncate(self.path, self._n_bytes)  # no torn row
            raise not_written(self.path, error) from error
        self._count(content)

    def _count(self, content: bytes) -> None:
        self._n_bytes += len(content)
        self._hash.update(content)

    def _forget_after(self, state: Mapping[str, Any]) -> None:
        try:
            content = self.path.read_bytes()[: state["n_bytes"]]
        except FileNotFoundError:
            content = b""
        self._count(content)
        if self._hash.hexdigest() != state["sha256"]:
            raise InputError(
                f"{self.path}: is not what the run wrote up to its checkpoint (its SHA-256 differs); "
                "restore it, or delete the run's folder to train it from the start"
            )
        os.truncate(self.path, self._n_bytes)
