"""The figures of a study, drawn and described: as files, and as parts of one page of bounded size."""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from scaling_laws.reports.evidence import Laws, StudyTables
from scaling_laws.reports.figures.catalogue import all_figures
from scaling_laws.reports.figures.entry import Entry, Question
from scaling_laws.reports.style import rendered

PNG_DPI = 150
WEBP_DPI = 120
LARGEST_SVG_BYTES = 300_000
"""A drawing of more than this is embedded as pixels."""
EMBEDDED_BYTES = 3_300_000
"""Of all figures of one page, before base64 makes them a third longer."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure.

    Attributes:
        name: of its files.
        title: what it shows.
        paper: the paper's figure that it answers to; empty for those beyond the paper.
        question: the chapter that it stands in.
        description: one sentence of numbers.
        figure: as drawn.
        note: the words of a figure that is nothing but them: which sweep would support it.
    """

    name: str
    title: str
    paper: str
    question: Question
    description: str
    figure: Figure
    note: str = ""

    @property
    def heading(self) -> str:
        return f"{self.title} (Kaplan 2020, {self.paper})" if self.paper else self.title

    @functools.cached_property
    def svg(self) -> bytes:
        return rendered(self.figure, "svg", metadata={"Date": None})

    @functools.cached_property
    def png(self) -> bytes:
        return rendered(self.figure, "png", dpi=PNG_DPI)

    @functools.cached_property
    def webp(self) -> bytes:
        """As pixels, for a page: as many as the page is wide."""
        return _webp(self.figure)

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height of `png`."""
        width, height = (round(inches * PNG_DPI) for inches in self.figure.get_size_inches())
        return width, height


def draw_pictures(tables: StudyTables, laws: Laws) -> tuple[Picture, ...]:
    """Every figure of the catalogue."""
    return tuple(_picture(entry, tables, laws) for entry in all_figures())


def _picture(entry: Entry, tables: StudyTables, laws: Laws) -> Picture:
    figure = entry.draw(tables, laws)
    return Picture(
        name=entry.name,
        title=entry.title,
        paper=entry.paper,
        question=entry.question,
        description=entry.describe(tables, laws),
        figure=figure,
        note="" if figure.axes else " ".join(figure.texts[-1].get_text().split()),
    )


def write_pictures(pictures: Iterable[Picture], folder: Path) -> None:
    """`<name>.svg` and `<name>.png` of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        (folder / f"{picture.name}.svg").write_bytes(picture.svg)
        (folder / f"{picture.name}.png").write_bytes(picture.png)


def embedded(pictures: Iterable[Picture], limit: int = EMBEDDED_BYTES) -> Mapping[str, str]:
    """A data URL each, by name: SVG, but pixels for the largest drawings until all fit into `limit` bytes."""
    by_size = sorted(pictures, key=lambda picture: (-len(picture.svg), picture.name))
    total = sum(len(picture.svg) for picture in by_size)
    urls = {}
    for picture in by_size:
        if (total > limit or len(picture.svg) > LARGEST_SVG_BYTES) and len(picture.webp) < len(picture.svg):
            total += len(picture.webp) - len(picture.svg)
            urls[picture.name] = _data_url("image/webp", picture.webp)
        else:
            urls[picture.name] = _data_url("image/svg+xml", picture.svg)
    return urls


def embedded_figure(figure: Figure) -> str:
    """A data URL of one figure, as pixels."""
    return _data_url("image/webp", _webp(figure))


def _webp(figure: Figure) -> bytes:
    return rendered(figure, "webp", dpi=WEBP_DPI, pil_kwargs={"lossless": True})


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
