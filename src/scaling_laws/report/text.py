"""Numbers, intervals and tables as text: for the terminal, for Markdown, for the page and for figures."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from scaling_laws.study.names import one_line, printable

NOTHING = "–"
COMMAND = r"(`[\w ./-]+`)"
ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
NIL = 1e-10
"""Below this a parameter has gone to zero: an E of 1e-13 nats is none."""


def short(value: float, digits: int = 3) -> str:
    """12300 -> 12.3k, 7e9 -> 7B: as short as `digits` allow, for tick labels and sentences."""
    if value == 0 or not math.isfinite(value):
        return str(value)
    for scale, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        rounded = float(f"{value:.{digits}g}")
        if abs(rounded) >= scale:
            if abs(rounded) >= 1e15:
                break
            return f"{float(f'{value / scale:.{digits}g}'):g}{suffix}"
    return f"{float(f'{value:.{digits}g}'):g}" if 1e-4 <= abs(value) < 1e3 else f"{value:.{digits - 1}e}"


def tex(value: float, digits: int = 2) -> str:
    """A number for a formula: 3.1e9 -> 3.1 \\cdot 10^{9} (without the dollar signs)."""
    if 1e-2 <= abs(value) < 1e4:
        return f"{float(f'{value:.{digits + 1}g}'):g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if float(mantissa) == 1:
        return rf"10^{{{int(exponent)}}}"
    return rf"{float(mantissa):g} \cdot 10^{{{int(exponent)}}}"


def number(value: float | None, digits: int = 3) -> str:
    """A parameter in words to `digits` digits: 0.310, 96.5B, 1.0e-09; a dash for what is not known."""
    if value is None:
        return NOTHING
    if abs(value) < NIL:
        return "0"
    if abs(value) >= 1e3 or abs(value) < 1e-4:
        return short(value, digits)
    return f"{value:#.{digits}g}".rstrip(".")


def decimals(value: float | None, digits: int) -> str:
    """A number with `digits` decimals; a dash for what is not known."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.{digits}f}"


def percent(share: float | None, digits: int = 2) -> str:
    """A share in percent, to `digits` digits."""
    return NOTHING if share is None else f"{100 * share:.{digits}g} %"


def interval_text(interval: Sequence[float | None] | None, digits: int = 3) -> str:
    """`[0.098, 0.109]`; an end that the draws do not bound is `?`; empty without an interval (or of NaN)."""
    if not interval or all(end is not None and math.isnan(end) for end in interval):
        return ""
    low, high = ("?" if end is None or math.isnan(end) else number(end, digits) for end in interval)
    return f"[{low}, {high}]"


def with_interval(value: float | None, interval: Sequence[float | None] | None, digits: int = 3) -> str:
    """`0.103 [0.098, 0.109]`; the value alone without an interval; a dash for what is not known."""
    return NOTHING if value is None else f"{number(value, digits)} {interval_text(interval, digits)}".strip()


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns, rows of text, and what belongs under them."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numbers: tuple[int, ...] = ()
    """Columns that are set to the right."""

    def text(self) -> str:
        """Aligned for a terminal."""
        columns, *rows = (tuple(map(one_line, line)) for line in (self.columns, *self.rows))
        widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
        lines = [columns, tuple("-" * width for width in widths), *rows]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if place in self.numbers else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def markdown(self) -> str:
        """A GitHub table, its cells `plain`; a bar in one is escaped."""
        columns, *rows = (tuple(map(plain, line)) for line in (self.columns, *self.rows))
        lines = [columns, ("---",) * len(columns), *rows]
        return "\n".join(
            "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
        )


def plain(text: str) -> str:
    """Markdown on one line: no HTML, formula, emphasis or link begins in it, and no code but a command's."""
    words = re.split(COMMAND, printable(" ".join(text.split())))
    return "".join(part if place % 2 else _escaped(part) for place, part in enumerate(words))


def _escaped(text: str) -> str:
    entities = re.sub("[&<>]", lambda sign: ESCAPED[sign[0]], text)
    return re.sub(r"([\\`*$]|\](?=[(\[:])|\b_|_\b|~~)", r"\\\1", entities)
