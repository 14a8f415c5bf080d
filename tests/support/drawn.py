"""Figures drawn and described from tables and laws, whatever these can support."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.report.figure import StudyFigure


def prepared(figure: StudyFigure[Any], study: Any, laws: Any) -> Any:
    """The figure's data, or the reason why there are none."""
    return figure.prepare(study, laws)


def shown(figure: StudyFigure[Any], study: Any, laws: Any) -> Figure:
    data = prepared(figure, study, laws)
    if isinstance(data, str):
        empty = Figure()
        empty.text(0.5, 0.5, data, parse_math=False)
        return empty
    return figure.draw(data)


def said(figure: StudyFigure[Any], study: Any, laws: Any) -> str:
    data = prepared(figure, study, laws)
    return data if isinstance(data, str) else figure.describe(data)


def line_named(axes: Axes, start: str) -> Any:
    """The first line whose label begins so."""
    return next(line for line in axes.lines if str(line.get_label()).startswith(start))


def points_named(axes: Axes, start: str) -> tuple[np.ndarray, np.ndarray]:
    """x and y of `line_named`."""
    line = line_named(axes, start)
    return np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)


def figures_in(module: ModuleType) -> list[Any]:
    figures = [value for value in vars(module).values() if isinstance(value, StudyFigure)]
    return [each for each in figures if each.defined_in[0] == module.__name__]
