"""The figures of a study, drawn and described: as files, and as parts of one page of bounded size.

Drawing is most of a report's time, and no figure knows of another: those of a large study are drawn by as
many processes as there are cores.
"""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.figure import ChapterName, StudyFigure
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.processes import clean_pool, n_cores

PNG_DPI = 150
PAGE_DPI = 120
"""Of pixels in the page, and of what a drawing itself holds as pixels."""
KEPT_DPI, KEPT_STEP = 100, 8
"""Of exported pixels; their channels are off by half a step at most, and take half the bytes."""
LARGEST_KEPT_BYTES = 100_000
"""A drawing of more than this is exported with fewer pixels."""
LARGEST_SVG_BYTES = 300_000
"""A drawing of more than this is embedded as pixels."""
RUNS_WORTH_PROCESSES = 200
"""Starting a process takes as long as drawing a few figures."""
EMBEDDED_BYTES = 3_300_000
"""Of all figures of one page, before base64 makes them a third longer."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure.

    Attributes:
        name: of its files.
        title: what it shows.
        chapter: the chapter that it stands in.
        description: one sentence of numbers; empty where there is a note.
        svg, png: the contents of its files.
        note: why there is nothing to draw: which sweep would support it.
    """

    name: str
    title: str
    chapter: ChapterName
    description: str
    svg: bytes
    png: bytes
    note: str = ""

    @functools.cached_property
    def webp(self) -> bytes:
        """As pixels, for a page: as many as the page is wide."""
        return _webp(self.png)

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height of `png`."""
        with Image.open(io.BytesIO(self.png)) as image:
            return image.size

    @property
    def width_inches(self) -> float:
        return self.pixels[0] / PNG_DPI


def draw_pictures(figures: Sequence[StudyFigure[Any]], study: StudyTables, laws: Laws) -> tuple[Picture, ...]:
    """Every one of these figures, in this order."""
    n_processes = min(n_cores(), len(figures))
    if n_processes <= 1 or len(study.complete) < RUNS_WORTH_PROCESSES:
        return tuple(picture_of(figure, study, laws) for figure in figures)
    with clean_pool(n_processes, _receive, study, laws) as pool:
        return tuple(pool.map(_received_picture, figures))


_received: list[Any] = []
"""In a process that draws: tables and laws."""


def _receive(*received: Any) -> None:
    _received[:] = received


def _received_picture(figure: StudyFigure[Any]) -> Picture:
    return picture_of(figure, *_received)


def picture_of(figure: StudyFigure[Any], study: StudyTables, laws: Laws) -> Picture:
    """One figure, prepared, drawn and described."""
    data = figure.prepare(study, laws)
    missing = data if isinstance(data, str) else ""
    drawn = st.note(figure.title, missing) if missing else figure.draw(data)
    return Picture(
        name=figure.name,
        title=figure.title,
        chapter=figure.chapter,
        description="" if missing else figure.describe(data),
        svg=st.rendered(drawn, "svg", dpi=PAGE_DPI, metadata={"Date": None}),
        png=st.rendered(drawn, "png", dpi=PNG_DPI),
        note=missing,
    )


def picture_files(pictures: Iterable[Picture], folder: str) -> dict[str, bytes]:
    """The contents of `<folder>/<name>.svg` and `<folder>/<name>.png` of each, by name."""
    files = {}
    for picture in pictures:
        files[f"{folder}/{picture.name}.svg"] = picture.svg
        files[f"{folder}/{picture.name}.png"] = picture.png
    return files


def smaller_png(png: bytes) -> bytes:
    """A drawing's pixels at `KEPT_DPI`, with fewer levels a channel: what is kept in a repository."""
    levels = [max(255 - KEPT_STEP * round((255 - value) / KEPT_STEP), 0) for value in range(256)]
    dpi = float(KEPT_DPI)
    while len(kept := _saved(_at(png, dpi).point(levels * 3), "png", optimize=True)) > LARGEST_KEPT_BYTES:
        dpi *= 0.9
    return kept


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
    return _data_url("image/webp", _webp(st.rendered(figure, "png", dpi=PNG_DPI)))


def _webp(png: bytes) -> bytes:
    """A drawing's pixels at `PAGE_DPI`; 256 colours would be half the bytes, and a fit's line another red."""
    return _saved(_at(png, PAGE_DPI), "webp", lossless=True)


def _at(png: bytes, dpi: float) -> Image.Image:
    with Image.open(io.BytesIO(png)) as image:
        width, height = (round(pixels * dpi / PNG_DPI) for pixels in image.size)
        return image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
