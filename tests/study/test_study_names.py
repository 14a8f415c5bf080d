"""Names that become folders are plain; text from others reaches the terminal as characters alone."""

from __future__ import annotations

import io
import sys

import pytest

from scaling_laws.study.errors import InputError
from scaling_laws.study.names import (
    plain_output,
    printable,
    require_folder_name,
    require_run_name,
    spell_out_what_cannot_be_printed,
    terminal,
)


@pytest.mark.parametrize("name", ["a", "0", "tiny-gpu", "L2_N1.5e6", "a" * 200])
def test_plain_names(name: str) -> None:
    require_folder_name("study", name)
    require_run_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "-rf",
        "_a",
        "a/b",
        "a\\b",
        "a b",
        "a\n",
        "a\x00",
        "\u202eevil",
        "café",
        "ª",
        "a" * 201,
    ],
)
def test_other_names_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(InputError, match="begins with a letter or digit") as caught:
        require_folder_name("study", name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["summary", "figures", "report"])
def test_the_reports_folders_are_no_runs(name: str) -> None:
    require_folder_name("study", name)
    with pytest.raises(InputError, match="a run cannot be called"):
        require_run_name(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("loss 3.2 nats, α_N", "loss 3.2 nats, α_N"),
        ("\x1b[2J\x1b]0;title\x07", "�[2J�]0;title�"),
        ("evil\u202egnp.exe", "evil�gnp.exe"),
        ("\u2066a\u2069\u200f\u2028\ud800", "�a����"),
        ("\x9b31m", "�31m"),
        ("می\u200cخواهم 👩\u200d🔬", "می\u200cخواهم 👩\u200d🔬"),
        ("a\nb\tc", "a�b�c"),
    ],
)
def test_signs_that_are_no_characters(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_is_printed_steers_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with plain_output():
        print("a\tb\r\nc\x1b[31m\u202e")
        print("\x1b[31mlive", file=terminal())
    assert stream.getvalue() == "a\tb\nc�[31m�\n\x1b[31mlive\n"
    assert sys.stdout is stream and terminal() is stream


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_no_text_is_an_error_in_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    spell_out_what_cannot_be_printed()
    text = "α_N ± 0.1, Γ → ∞ “é” ½ ├─ 中 …"
    print(text)
    stream.flush()
    said = stream.buffer.getvalue().decode(encoding).strip()  # type: ignore[attr-defined]
    assert (
        said
        == {
            "ascii": 'alpha_N +/- 0.1, Gamma -> inf "e" 12 |- ? ...',
            "latin-1": 'alpha_N ± 0.1, Gamma -> inf "é" ½ |- ? ...',
            "cp1252": "alpha_N ± 0.1, Gamma -> inf “é” ½ |- ? …",
            "utf-8": text,
        }[encoding]
    )
