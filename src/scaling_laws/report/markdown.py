"""`report.md`: the report for a repository, with links to the figures that lie beside it."""

from __future__ import annotations

from collections.abc import Iterator

from scaling_laws.report.content import Chapter, Page
from scaling_laws.report.text import Table, plain

LONGEST_TABLE = 60
"""Rows; the page has longer ones."""


def markdown(content: Page, figures: str) -> str:
    """The whole report.

    Args:
        content: of the report.
        figures: the folder with each figure as `<name>.png`, relative to the file.
    """
    return "\n\n".join(_blocks(content, figures)) + "\n"


def _blocks(content: Page, figures: str) -> Iterator[str]:
    yield f"# {plain(content.title)}"
    yield plain(content.question)
    if content.caution:
        yield f"**{plain(content.caution)}**"
    yield from (plain(paragraph) for paragraph in content.answer)
    yield from _table(content.headline)
    for chapter in content.chapters:
        yield from _chapter(chapter, figures)
    if content.missing:
        yield "## Figures that could not be drawn"
        yield "\n".join(f"- {plain(each.said)}" for each in content.missing)
    yield "## Manifest"
    yield "\n".join(f"- {plain(key)}: {plain(value)}" for key, value in content.manifest)


def _chapter(chapter: Chapter, figures: str) -> Iterator[str]:
    yield f"## {plain(chapter.question)}"
    for picture in chapter.pictures:
        yield f"### {plain(picture.title)}"
        yield f"![{plain(picture.title)}]({figures}/{picture.name}.png)"
        yield plain(picture.description)
    yield from (plain(sentence) for sentence in chapter.sentences)
    if chapter.listed:
        if chapter.list_heading:
            yield f"### {plain(chapter.list_heading)}"
        yield "\n".join(f"- {plain(sentence)}" for sentence in chapter.listed)
    for titled in chapter.tables:
        if titled.heading:
            yield f"### {plain(titled.heading)}"
        yield from _table(titled.table)


def _table(table: Table) -> Iterator[str]:
    yield Table(columns=table.columns, rows=table.rows[:LONGEST_TABLE]).markdown()
    if (more := len(table.rows) - LONGEST_TABLE) > 0:
        yield f"And {more} more rows in the page."
    if table.caption:
        yield plain(table.caption)
