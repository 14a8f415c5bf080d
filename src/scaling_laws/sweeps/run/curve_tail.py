"""The newest row of a curve that another process is writing, without reading what came before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scaling_laws.study.records import LOSS_SUFFIX

TAIL_BYTES = 16_384
"""More than the longest row, and than the rows between two evaluations of most runs."""


def last_row(run_folder: Path) -> dict[str, str] | None:
    """The last whole row of `curve.csv`; None where there is none.

    Columns that are measured now and then (held-out losses) have their newest value in the file's tail.
    """
    try:
        with open(run_folder / "curve.csv", "rb") as file:
            header = file.readline().decode(errors="replace")
            size = file.seek(0, 2)
            start = max(len(header), size - TAIL_BYTES)
            file.seek(start)
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return None
    # What follows the last line break is torn, and so may the first line be.
    whole = lines[int(start > len(header)) : -1]
    columns = header.strip().split(",")
    cells = (line.split(",") for line in whole)
    rows = [dict(zip(columns, values, strict=True)) for values in cells if len(values) == len(columns)]
    if not rows:
        return None
    newest = rows[-1]
    for column in columns:
        if column.endswith(LOSS_SUFFIX) and not newest[column]:
            newest[column] = next((row[column] for row in reversed(rows) if row[column]), "")
    return newest


def reached_step(row: Mapping[str, str] | None) -> int:
    """The step of a row of a curve; 0 without one."""
    try:
        return int(row["step"]) if row else 0
    except (KeyError, ValueError):
        return 0
