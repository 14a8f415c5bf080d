"""Names that become folders, and text from others that is shown: what either may hold."""

from __future__ import annotations

import codecs
import io
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from scaling_laws.study.errors import InputError

FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
LONGEST_NAME = 200
"""Bytes; file systems take 255, and temporary files have longer names than their targets."""
STUDY_FOLDERS = ("figures", "summary", "report")
"""Folders of a study that hold its report: no run may be called so."""
SHOWN_INSTEAD = "\N{REPLACEMENT CHARACTER}"
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of signs that are no characters: controls of terminals, of the direction of writing, ..."""
JOINERS = "\u200c\u200d"
"""Words of some languages need them."""
SPELT_OUT = "spelt out"
"""Our handler of signs that an output's encoding lacks, as Python's `errors=` knows it."""
SPELLINGS = dict(zip("–−×·≈█‘’“”", "--x*~#''\"\"", strict=True))
SPELLINGS |= {"±": "+/-", "∞": "inf", "≤": "<=", "≥": ">=", "→": "->", "…": "...", SHOWN_INSTEAD: "?"}
"""Greek letters have their names, and accents are left out."""


def require_folder_name(what: str, name: str) -> None:
    """Refuse a name that is not one plain folder's.

    Raises:
        InputError: it begins with something else than a letter or digit, or holds other signs than letters
            and digits of ASCII, '_', '-' and '.'.
    """
    if not FOLDER_NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise InputError(
            f"{what} {printable(name)[:80]!r} begins with a letter or digit and holds letters, digits, "
            f"'_', '-' and '.' only, at most {LONGEST_NAME}"
        )


def require_run_name(name: str) -> None:
    """Refuse a name that no run of a study can have.

    Raises:
        InputError: it is no folder's name, or that of a folder of the report.
    """
    require_folder_name("a run's folder", name)
    if name in STUDY_FOLDERS:
        raise InputError(f"a run cannot be called {name!r}: the report of a study keeps its own files there")


def printable(text: str, *, keep: str = "") -> str:
    """Text without signs that steer a terminal or turn the direction of writing; each becomes U+FFFD.

    Args:
        keep: control characters that stay, as the line break.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(sign if sign in keep or _is_shown(sign) else SHOWN_INSTEAD for sign in text)


def one_line(text: str) -> str:
    """Text that breaks no line and steers no terminal, its spaces as they are."""
    return printable(re.sub(r"[\r\n\t\v\f]+", " ", text))


@contextmanager
def plain_output() -> Iterator[None]:
    """While entered, what is printed steers no terminal, whoever's names and texts it holds."""
    before = sys.stdout
    sys.stdout = _Plain(before)
    try:
        yield
    finally:
        sys.stdout = before


def spell_out_what_cannot_be_printed() -> None:
    """Have both outputs print `alpha` where their encoding has no α, as cp1252: no text is an error."""
    codecs.register_error(SPELT_OUT, _spelt_out)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors=SPELT_OUT)


def _spelt_out(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_spelling, error.object[error.start : error.end])), error.end


def _spelling(sign: str) -> str:
    name = unicodedata.name(sign, "")
    if found := re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", name):
        return found[2].lower() if found[1] == "SMALL" else found[2].title()
    if name.startswith("BOX DRAWINGS"):
        return "-" if "HORIZONTAL" in name else "|"
    without_accents = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return SPELLINGS.get(sign) or without_accents or "?"


def terminal() -> TextIO:
    """Standard output for a program's own live view, which steers the terminal, inside `plain_output`, too.

    Its texts go through `printable`.
    """
    return sys.stdout.stream if isinstance(sys.stdout, _Plain) else sys.stdout


class _Plain:
    """A stream of text whose signs are all characters, line breaks and tabs."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(printable(text.replace("\r\n", "\n"), keep="\n\t"))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _is_shown(sign: str) -> bool:
    return sign in JOINERS or unicodedata.category(sign) not in HIDDEN
