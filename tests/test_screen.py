"""What the verbs print on a terminal, by rich, and elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from scaling_laws.commands.screen import show, show_error
from scaling_laws.report.text import Table
from scaling_laws.study.names import plain_output, spell_out_what_cannot_be_printed

TABLE = Table(columns=("α_N", "N"), rows=(("0.076", "1,000"), ("not identified", "7")), numbers=(1,))


class Terminal(io.TextIOWrapper):
    """A terminal of 60 columns that remembers what it was sent."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


def attached(monkeypatch: pytest.MonkeyPatch, encoding: str = "utf-8") -> Terminal:
    """Both outputs are this terminal until the test ends."""
    stream = Terminal(encoding)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    spell_out_what_cannot_be_printed()
    return stream


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_a_terminal_has_colours_and_only_signs_that_it_knows(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = attached(monkeypatch, encoding)
    with plain_output():
        show("warning: α is unknown", TABLE)
        show_error("β is unknown")
    greek = ("α", "β") if encoding == "utf-8" else ("alpha", "beta")
    text = screen.text()
    assert "\x1b[33mwarning:" in text and "\x1b[1;31merror:" in text
    assert f"{greek[0]}_N" in text and f"{greek[1]} is unknown" in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii() == (encoding != "utf-8")


def test_no_color_means_none(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = attached(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    show("warning: one", TABLE)
    show_error("two")
    assert "warning: one" in screen.text()
    assert "\x1b[3" not in screen.text()


def test_texts_of_others_steer_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = attached(monkeypatch)
    show("a\x1b[2Jb", Table(columns=("x",), rows=(("\x1b]0;title\x07[red]c",),)))
    show_error("a\x1b[2Jb")
    assert "\x1b[2J" not in screen.text() and "\x1b]" not in screen.text()
    assert "[red]c" in screen.text()  # no markup of rich


def test_elsewhere_lines_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    show("warning: one", TABLE)
    show_error("two")
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "warning: one",
        "α_N                 N",
        "--------------  -----",
        "0.076           1,000",
        "not identified      7",
    ]
    assert printed.err == "error: two\n"
