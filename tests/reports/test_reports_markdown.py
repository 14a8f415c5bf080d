"""`report.md`: the same report, with figures that are there and text that stays text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from scaling_laws.report.content import Content
from scaling_laws.report.figure import CHAPTERS
from scaling_laws.report.html import write_content
from scaling_laws.report.markdown import LONGEST_TABLE, markdown, plain
from scaling_laws.report.text import Table


def test_figures_are_linked_and_lie_there(content: Content, tmp_path: Path) -> None:
    page = write_content(content, tmp_path / "report.html")
    text = page.with_suffix(".md").read_text(encoding="utf-8")
    links = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    assert content.pictures
    assert links == [f"figures/{picture.name}.png" for picture in content.pictures]
    for link in links:
        assert (tmp_path / link).read_bytes().startswith(b"\x89PNG")


def test_chapters_in_order_with_every_sentence(content: Content) -> None:
    text = markdown(content, "figures")
    shown = [chapter.name for chapter in content.chapters]
    at = [text.index(f"\n## {question}\n") for name, question in CHAPTERS.items() if name in shown]
    assert len(at) >= 3 and at == sorted(at)
    for picture in content.pictures:
        assert plain(picture.description) in text
    for each in content.missing:
        assert f"- {plain(each.said)}" in text
    for warning in content.laws.warnings:
        assert f"- {plain(warning)}\n" in text
    assert f": {content.laws.manifest.input_sha256}\n" in text


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("<script>&", "&lt;script&gt;&amp;"),
        ("$x_$ costs", r"\$x\_\$ costs"),
        ("a_N stays, *this* and `that|` do not", r"a_N stays, \*this\* and \`that|\` do not"),
        ("run `scaling-laws sweep a_/b.yaml`", "run `scaling-laws sweep a_/b.yaml`"),
        ("[0.1, 0.2] (Kaplan)", "[0.1, 0.2] (Kaplan)"),
        ("[x](javascript:y)", r"[x\](javascript:y)"),
        ("two\n# lines", "two # lines"),
    ],
)
def test_text_stays_text(text: str, marked: str) -> None:
    assert plain(text) == marked


def test_a_bar_stays_in_its_cell_and_long_tables_end(content: Content) -> None:
    table = Table(columns=("a|b", "c"), rows=(("x|y", "<b>"),) * (LONGEST_TABLE + 3))
    text = markdown(replace(content, headline=table, chapters=()), "figures")
    assert "| a\\|b | c |\n| --- | --- |\n| x\\|y | &lt;b&gt; |" in text
    assert text.count("x\\|y") == LONGEST_TABLE
    assert "And 3 more rows in the page." in text
