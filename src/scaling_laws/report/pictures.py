"""The figures of a study, drawn and described: as files, and as parts of one page of bounded size.

Drawing is most of a report's time, and no figure knows of another: those of a large study are drawn by as
many processes as there are cores.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from scaling_laws.laws.fit.level import use_level
from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.figure import ChapterName, Data, StudyFigure
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.errors import InputError
from scaling_laws.study.processes import clean_pool, n_cores
from scaling_laws.study.stages import Stage

PNG_DPI = 150
PAGE_DPI = 120
"""Of pixels in the page, and of what a drawing itself holds as pixels."""
KEPT_DPI, KEPT_COLOURS = 100, 256
"""Of exported pixels: each drawing has a palette of its own."""
LARGEST_KEPT_BYTES = 100_000
"""A drawing of more than this is exported with fewer pixels."""
PRINT_DPI = 300
NARROW_DPI = 240
"""Of a drawing for a phone, whose pixels are small."""
QUICK = {"compress_level": 1}
"""Of pixels that are no file."""
LARGEST_SVG_BYTES = 300_000
"""A drawing of more than this is embedded as pixels."""
RUNS_WORTH_PROCESSES = 200
"""Starting a process takes as long as drawing a few figures."""
EMBEDDED_BYTES, NARROW_BYTES = 2_600_000, 1_600_000
"""Of all figures of one page, and of those for a phone, before base64 makes them a third longer."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure.

    Attributes:
        name: of its files.
        title: what it shows.
        chapter: the chapter that it stands in.
        description: one sentence of numbers.
        svg, png: the contents of its files.
        narrow_svg: the same with its panels below one another, for a phone.
        narrow_png: draws that as pixels, which few pages need.
    """

    name: str
    title: str
    chapter: ChapterName
    description: str
    svg: bytes
    png: bytes
    narrow_svg: bytes
    narrow_png: Callable[[], bytes]

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height of `png`."""
        with Image.open(io.BytesIO(self.png)) as image:
            return image.size

    @property
    def width_inches(self) -> float:
        return self.pixels[0] / PNG_DPI


@dataclass(frozen=True, kw_only=True)
class MissingFigure:
    """A figure that these runs do not support.

    Attributes:
        reason: which runs are missing, and which sweep trains them.
    """

    name: str
    title: str
    reason: str

    @property
    def said(self) -> str:
        return f"{self.title}{'' if self.title.endswith('?') else ':'} {self.reason}"


def draw_pictures(
    figures: Sequence[StudyFigure[Any]], study: StudyTables, laws: Laws
) -> tuple[tuple[Picture, ...], tuple[MissingFigure, ...]]:
    """Every one of these figures that the runs support, in this order, and those that they do not."""
    n_processes = min(n_cores(), len(figures))
    drawn = []
    with Stage(f"drawing {len(figures)} figures", len(figures)) as drawing:
        if n_processes <= 1 or len(study.complete) < RUNS_WORTH_PROCESSES:
            for figure in figures:
                drawn.append(picture_of(figure, study, laws))
                drawing.done()
        else:
            with clean_pool(n_processes, _receive, study, laws) as pool:
                for picture in pool.map(_received_picture, figures):
                    drawn.append(picture)
                    drawing.done()
    return parted(drawn)


def parted(
    drawn: Sequence[Picture | MissingFigure],
) -> tuple[tuple[Picture, ...], tuple[MissingFigure, ...]]:
    """The figures that could be drawn, and those that could not."""
    return (
        tuple(each for each in drawn if isinstance(each, Picture)),
        tuple(each for each in drawn if isinstance(each, MissingFigure)),
    )


_received: list[Any] = []
"""In a process that draws: tables and laws."""


def _receive(*received: Any) -> None:
    _received[:] = received
    use_level(received[1].level)


def _received_picture(figure: StudyFigure[Any]) -> Picture | MissingFigure:
    """The drawing itself stays in this process: its pixels are made here."""
    made = picture_of(figure, *_received)
    return replace(made, narrow_png=partial(bytes, made.narrow_png())) if isinstance(made, Picture) else made


def picture_of(figure: StudyFigure[Any], study: StudyTables, laws: Laws) -> Picture | MissingFigure:
    """One figure, prepared, drawn and described; a file of its own that cannot be read costs it alone."""
    try:
        data = figure.prepare(study, laws)
    except InputError as error:
        data = str(error)
    if isinstance(data, str):
        return MissingFigure(name=figure.name, title=figure.title, reason=data)
    return picture(
        name=figure.name,
        title=figure.title,
        chapter=figure.chapter,
        description=figure.describe(data),
        draw=figure.draw,
        data=data,
    )


def picture(
    *,
    name: str,
    title: str,
    chapter: ChapterName,
    description: str,
    draw: Callable[[Data], Figure],
    data: Data,
) -> Picture:
    """A drawing (of a function under `style.styled`) for a page and for a phone."""
    drawn = draw(data)
    with st.drawn_for(st.ONE_COLUMN):
        narrow = draw(data)
    return Picture(
        name=name,
        title=title,
        chapter=chapter,
        description=description,
        svg=st.rendered(drawn, "svg", dpi=PAGE_DPI, metadata={"Date": None}),
        png=st.rendered(drawn, "png", dpi=PNG_DPI),
        narrow_svg=st.rendered(narrow, "svg", dpi=PAGE_DPI, metadata={"Date": None}),
        narrow_png=partial(st.rendered, narrow, "png", dpi=NARROW_DPI, pil_kwargs=QUICK),
    )


def picture_files(pictures: Iterable[Picture], folder: str) -> dict[str, bytes]:
    """The contents of `<folder>/<name>.svg` and `<folder>/<name>.png` of each, by name."""
    files = {}
    for picture in pictures:
        files[f"{folder}/{picture.name}.svg"] = picture.svg
        files[f"{folder}/{picture.name}.png"] = picture.png
    return files


def printed_files(
    figures: Sequence[StudyFigure[Any]], study: StudyTables, laws: Laws, columns: int | None
) -> dict[str, bytes]:
    """PNG, SVG and PDF of each figure that the runs support, by name.

    Args:
        columns: 1 or 2 of a journal's, as wide as each figure is; None: as in a page.
    """
    files: dict[str, bytes] = {}
    for figure in figures:
        data = figure.prepare(study, laws)
        if not isinstance(data, str):
            files |= drawn_files(figure.name, partial(figure.draw, data), columns)
    return files


def drawn_files(name: str, draw: Callable[[], Figure], columns: int | None) -> dict[str, bytes]:
    """PNG, SVG and PDF of one figure, by name; `columns` as above."""
    svg_dpi, png_dpi = (PAGE_DPI, PNG_DPI) if columns is None else (PRINT_DPI, PRINT_DPI)
    with st.drawn_for({1: st.ONE_COLUMN, 2: st.TWO_COLUMNS}[columns] if columns else None):
        drawn = draw()
    return {
        f"{name}.png": st.rendered(drawn, "png", dpi=png_dpi),
        f"{name}.svg": st.rendered(drawn, "svg", dpi=svg_dpi, metadata={"Date": None}),
        f"{name}.pdf": st.rendered(drawn, "pdf", dpi=PRINT_DPI, metadata={"CreationDate": None}),
    }


def smaller_png(png: bytes) -> bytes:
    """A drawing's pixels at `KEPT_DPI`, of `KEPT_COLOURS`: what is kept in a repository."""
    dpi = float(KEPT_DPI)
    while len(kept := _saved(_few_colours(_at(png, dpi)), "png", optimize=True)) > LARGEST_KEPT_BYTES:
        dpi *= 0.9
    return kept


def _few_colours(image: Image.Image) -> Image.Image:
    """Maximum coverage keeps the colour of a thin line; median cut would take it for its neighbour's."""
    return image.quantize(KEPT_COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)


def embedded(pictures: Iterable[Picture], limit: int = EMBEDDED_BYTES) -> Mapping[str, str]:
    """A data URL each, by name: SVG, but pixels for the largest drawings until all fit into `limit` bytes."""
    return _urls({each.name: (each.svg, partial(_at, each.png, PAGE_DPI)) for each in pictures}, limit)


def embedded_narrow(pictures: Iterable[Picture], limit: int = NARROW_BYTES) -> Mapping[str, str]:
    """`embedded` of the drawings for a phone."""
    drawings = {each.name: (each.narrow_svg, partial(_narrow_pixels, each)) for each in pictures}
    return _urls(drawings, limit)


def _narrow_pixels(picture: Picture) -> Image.Image:
    return _at(picture.narrow_png(), PNG_DPI)


def _urls(drawings: Mapping[str, tuple[bytes, Callable[[], Image.Image]]], limit: int) -> dict[str, str]:
    by_size = sorted(drawings, key=lambda name: (-len(drawings[name][0]), name))
    total = sum(len(svg) for svg, _ in drawings.values())
    urls = {}
    for name in by_size:
        svg, pixels = drawings[name]
        urls[name] = _data_url("image/svg+xml", svg)
        if (total > limit or len(svg) > LARGEST_SVG_BYTES) and len(webp := _webp(pixels())) < len(svg):
            total += len(webp) - len(svg)
            urls[name] = _data_url("image/webp", webp)
    return urls


def embedded_figure(figure: Figure) -> str:
    """A data URL of one figure, as pixels."""
    return _data_url("image/webp", _webp(_at(st.rendered(figure, "png", dpi=PNG_DPI), PAGE_DPI)))


def _webp(image: Image.Image) -> bytes:
    """A drawing's pixels; 256 colours would be half the bytes, and a fit's line another red."""
    return _saved(image, "webp", lossless=True)


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
