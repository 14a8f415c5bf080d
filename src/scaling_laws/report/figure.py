"""A figure: its data are prepared once, then drawn and said in words.

    @figure("noise_scale", "The gradient noise scale", "batch", order=2, draw=draw, describe=describe)
    def noise_scale(study: StudyTables, laws: Laws) -> pd.DataFrame | str: ...

A package's figures are those that its modules define: there is no list of them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, Literal, TypeVar

from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.report.style import styled

Data = TypeVar("Data")
ChapterName = Literal["scale", "data", "compute", "shape", "family", "batch", "position", "trust", "next"]

CHAPTERS: dict[ChapterName, str] = {
    "scale": "Does the loss scale with size?",
    "data": "Does it scale with data, and when does a network overfit?",
    "compute": "Does it scale with compute, and which size is best for a budget?",
    "shape": "Does the shape matter?",
    "family": "Which family scales better?",
    "batch": "Which batch, and which learning rate?",
    "position": "How does the loss depend on the position in the context?",
    "trust": "How far to trust it?",
    "next": "What to train next?",
}
"""The question of each chapter, in order."""


@dataclass(frozen=True, kw_only=True)
class StudyFigure(Generic[Data]):
    """A figure of a study.

    Attributes:
        name: of its files.
        title: what it shows.
        chapter: the chapter that it stands in.
        order: its place there.
        prepare: (study's tables, laws) -> what is drawn, or the reason why there is nothing to draw: which
            runs are missing and which sweep trains them.
        draw: the drawing, in the style of all figures.
        describe: what it shows, in one sentence of numbers.
        defined_in: module and name.
    """

    name: str
    title: str
    chapter: ChapterName
    order: int
    prepare: Callable[[Any, Laws], Data | str]
    draw: Callable[[Data], Figure]
    describe: Callable[[Data], str]
    defined_in: tuple[str, str]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by name, as a function is."""
        return _defined, self.defined_in


def figure(
    name: str,
    title: str,
    chapter: ChapterName,
    *,
    draw: Callable[[Data], Figure],
    describe: Callable[[Data], str],
    order: int = 0,
) -> Callable[[Callable[[Any, Laws], Data | str]], StudyFigure[Data]]:
    """Declare a figure by the function that prepares it (see `StudyFigure`)."""

    def declared(prepare: Callable[[Any, Laws], Data | str]) -> StudyFigure[Data]:
        return StudyFigure(
            name=name,
            title=title,
            chapter=chapter,
            order=order,
            prepare=prepare,
            draw=styled(draw),
            describe=describe,
            defined_in=(prepare.__module__, prepare.__name__),
        )

    return declared


def figures_of(package: ModuleType) -> list[StudyFigure[Any]]:
    """The figures that a package and its modules define, by chapter, order and name."""
    figures: dict[str, Any] = {}
    inside = pkgutil.walk_packages(getattr(package, "__path__", ()), f"{package.__name__}.")
    for module in [package, *(importlib.import_module(each.name) for each in inside)]:
        here = [value for value in vars(module).values() if isinstance(value, StudyFigure)]
        figures |= {value.name: value for value in here if value.defined_in[0] == module.__name__}
    chapters = list(CHAPTERS)
    return sorted(figures.values(), key=lambda each: (chapters.index(each.chapter), each.order, each.name))


def _defined(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
