"""What the verbs print: on a terminal tables and colours by rich, elsewhere plain lines.

rich leaves the colours out where NO_COLOR is set, and draws lines of ASCII where the terminal has no others.
"""

from __future__ import annotations

import sys
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table as DrawnTable
from rich.text import Text

from scaling_laws.report.text import Table
from scaling_laws.study.names import one_line, printable, terminal

STYLES = {
    r"(?m)^(warning|note|Warning|Note):": "yellow",
    r"(?m)^(laws|report|page|figures|export|result|prediction):": "bold",
    r"(?m)^(next:|Not fitted:)$": "bold",
    r"(?m)^ +\S*scaling-laws .*$": "cyan",
    r"\bnot identified\b": "dim",
}
"""What a line or word looks like on a terminal."""
UNKNOWN = {"–", "-", "not identified"}
"""Cells that hold no number."""


def show(*parts: str | Table) -> None:
    """Print texts and tables, one below another."""
    console = Console(file=terminal(), highlight=False)
    if not console.is_terminal:
        print("\n".join(part if isinstance(part, str) else part.text() for part in parts))
        return
    for part in parts:
        if isinstance(part, str):
            console.print(styled(part), soft_wrap=True)
        else:
            console.print(drawn(part))


def show_error(sentence: str) -> None:
    """Print a line that begins with `error:` on standard error."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        console.print(Text.assemble(("error: ", "bold red"), printable(sentence)), soft_wrap=True)
    else:
        print(f"error: {printable(sentence)}", file=sys.stderr)


def styled(text: str) -> Text:
    """Text with the styles of `STYLES`."""
    found = Text(printable(text, keep="\n\t"))
    for pattern, style in STYLES.items():
        found.highlight_regex(pattern, style)
    return found


def drawn(table: Table) -> DrawnTable:
    """The table as rich draws it: as wide as the terminal at most, long cells on several lines."""
    found = DrawnTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for place, name in enumerate(table.columns):
        side: Literal["left", "right"] = "right" if place in table.numbers else "left"
        found.add_column(Text(one_line(name)), justify=side, overflow="fold")
    for row in table.rows:
        found.add_row(*(Text(one_line(cell), style="dim" if cell in UNKNOWN else "") for cell in row))
    return found
