"""What one cell of a table means: a number, a count as people write it, a truth; or why it is none."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.plan.compute_budget import SUFFIXES
from scaling_laws.laws.readers.table_files import DECIMAL_COMMA, SHOWN_CHARACTERS
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

# float() also takes "nan", "infinity" and the digits of other scripts, which no measurement means.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
PLAIN_NUMBERS = re.compile(rf"(?:{NUMBER.pattern}\n)*+{NUMBER.pattern}")
NOT_FINITE = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)
MISSING = {"", "na", "n/a", "none", "null", "<na>"}
"""A loss that was never measured, as programs write it."""
COUNT = re.compile(
    rf"(?P<number>{NUMBER.pattern}"
    r"|[0-9]{1,3}([_,' \u00a0\u2019\u202f])[0-9]{3}(\4[0-9]{3})*|[0-9]+(_[0-9]+)+)"
    r"\s*(?P<scale>[kmbgt]?)\s*(flops?|tokens?|toks?|param(eter)?s?)?",
    re.IGNORECASE,
)
"""A count as people write it: 1.3B, 125m, 1_000, 1,000,000, 3e9 FLOPs."""
SCALES = {**SUFFIXES, "g": 1e9}
THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}([,' \u00a0\u2019\u202f][0-9]{3})+(\.[0-9]+)?")
WITH_UNIT = re.compile(NUMBER.pattern + r"\s*(?!e$)[a-zA-Z%][a-zA-Z%/ -]*", re.IGNORECASE)
LOSSES = (1e-9, 1e9)
"""Beyond these a loss is not even another measure, and its powers leave the floating-point numbers."""


def number(name: str, line: Any, column: str, cell: str, *, count: bool = True) -> float:
    """The cell as a number, NaN and infinities included; one of a count may have a unit."""
    if NUMBER.fullmatch(cell) or NOT_FINITE.fullmatch(cell):
        return float(cell)
    if count and (value := counted(cell)) is not None:
        return value
    raise InputError(f"{name}, {place(line)}, column {column!r}: {_no_number(cell)}")


def plain_numbers(cells: pd.Series[str]) -> list[float] | None:
    """A column of plain numbers, all at once; None where a cell is anything else."""
    written = cells.tolist()
    text = "\n".join(written)
    if text.count("\n") != len(written) - 1 or not PLAIN_NUMBERS.fullmatch(text):
        return None
    return [float(cell) for cell in written]


def counted(cell: str) -> float | None:
    """A count as people write it: 1.3B, 125m, 1_000, 1,000; None where it is something else."""
    match = COUNT.fullmatch(cell)
    if match is None:
        return None
    return float(re.sub("[^0-9.eE+-]", "", match["number"])) * SCALES[match["scale"].lower()]


def _no_number(cell: str) -> str:
    if not cell:
        return "empty"
    if THOUSANDS.fullmatch(cell):
        return f"{short(cell)} has thousands separators or a decimal comma; write 1234.5"
    if DECIMAL_COMMA.fullmatch(cell):
        return f"{short(cell)} has a decimal comma; use a point"
    if WITH_UNIT.fullmatch(cell):
        return f"{short(cell)} has a unit; write the number alone, as in 1.25e8"
    return f"{short(cell)} is not a number"


def positive_numbers(
    name: str, cells: pd.Series[str], role: str, bad: list[str], scaled: dict[str, str]
) -> list[float]:
    """The cells of a column as numbers, each finite and positive; losses within reason.

    Args:
        bad: gains a sentence for every cell that is none; its number is NaN.
        scaled: gains an example for a column of counts that are not written as plain numbers.
    """
    numbers = plain_numbers(cells) or []
    least, most = LOSSES if role == "loss" else (0.0, math.inf)
    if numbers and 0 < min(numbers) >= least and most >= max(numbers) < math.inf:
        return numbers
    numbers = []
    for line, cell in cells.items():
        value = math.nan
        where = f"{place(line)}, column {cells.name!r}"
        try:
            value = number(name, line, str(cells.name), cell, count=role not in ("loss", "weight"))
        except InputError:
            bad.append(f"{where}: {_no_number(cell)}")
            numbers.append(value)
            continue
        shown = short(cell, quote=False)
        if not (math.isfinite(value) and value > 0):
            bad.append(
                f"{where}: {shown} is not a finite positive number; drop the row, or leave it out with"
                " `where`"
            )
        elif role == "loss" and not LOSSES[0] <= value <= LOSSES[1]:
            bad.append(f"{where}: {shown} is neither a loss in nats per token nor a perplexity")
        elif not NUMBER.fullmatch(cell):
            scaled.setdefault(role, f"{cell} is {value:.6g}")
        numbers.append(value)
    return numbers


def all_positive(cells: pd.Series) -> bool:
    """Whether every cell of a column is a positive number as a program writes it."""
    numbers = plain_numbers(cells)
    return numbers is not None and min(numbers) > 0 and max(numbers) < math.inf


def are_shares(cells: pd.Series) -> bool:
    """Whether every cell of a column is a number from 0 to 1 as a program writes it."""
    return all(NUMBER.fullmatch(cell) and 0 <= float(cell) <= 1 for cell in cells)


def truth(name: str, line: Any, column: str, cell: str) -> bool:
    """True or False, as programs write it."""
    truths = {"true": True, "1": True, "false": False, "0": False}
    if cell.lower() not in truths:
        where = f"{name}, {place(line)}, column {column!r}"
        raise InputError(f"{where}: {short(cell)} is neither True nor False")
    return truths[cell.lower()]


def place(line: Any) -> str:
    """Where a row stands: in a line of a file, or at a step of a run."""
    return line if isinstance(line, str) else f"row {line}"


def short(cell: str, quote: bool = True) -> str:
    """A cell for a message of one line."""
    shown = cell if len(cell) <= SHOWN_CHARACTERS else cell[: SHOWN_CHARACTERS - 3] + "..."
    return repr(shown) if quote else shown


def is_missing(cell: str) -> bool:
    """Whether a loss was never measured."""
    return cell.lower() in MISSING


def is_finite(cell: str) -> bool:
    """Whether a loss was measured, and is no NaN and no infinity; what is no number at all counts as one."""
    infinite = bool(NUMBER.fullmatch(cell)) and math.isinf(float(cell))
    return not (is_missing(cell) or infinite or NOT_FINITE.fullmatch(cell))
