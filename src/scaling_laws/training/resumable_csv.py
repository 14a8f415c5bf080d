"""A table on disk that survives a kill and forgets what a resumed run will do again."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class ResumableCsv:
    """A CSV file that grows row by row; opened at step s it forgets the rows after s.

    Args:
        path: the file.
        columns: its header.
        step: rows whose `step` is above this are dropped; at 0 all are.
        writes: whether this process writes it (rank 0 does).
    """

    def __init__(self, path: Path, columns: tuple[str, ...], step: int, writes: bool) -> None:
        self.path = path
        self.columns = columns
        self.writes = writes
        kept = [row for row in self.read() if int(row["step"]) <= step] if step else []
        self.last = kept[-1] if kept else None
        """The last row that was kept, as strings."""
        if writes:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(kept)

    def read(self) -> list[dict[str, str]]:
        """The whole rows of the file; a last row torn by a kill is left out."""
        if not self.path.exists():
            return []
        with open(self.path, newline="", encoding="utf-8") as file:
            whole = [line for line in file if line.endswith("\n")]
        return [row for row in csv.DictReader(whole) if None not in row.values()]

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows (dictionaries; absent columns stay empty)."""
        if self.writes:
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns).writerows(rows)
