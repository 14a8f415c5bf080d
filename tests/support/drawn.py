"""Figures drawn and described from tables and laws, whatever these can support."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from matplotlib.figure import Figure

from scaling_laws.report import style as st
from scaling_laws.report.evidence import as_laws
from scaling_laws.report.figure import StudyFigure


def prepared(figure: StudyFigure[Any], study: Any, laws: Any) -> Any:
    """The figure's data, or the reason why there are none."""
    return figure.prepare(study, as_laws(laws))


def shown(figure: Any, study: Any, laws: Any) -> Figure:
    if not isinstance(figure, StudyFigure):
        drawn: Figure = figure.draw(study, laws)
        return drawn
    data = prepared(figure, study, laws)
    return st.note(figure.title, data) if isinstance(data, str) else figure.draw(data)


def said(figure: Any, study: Any, laws: Any) -> str:
    if not isinstance(figure, StudyFigure):
        return str(figure.describe(study, laws))
    data = prepared(figure, study, laws)
    return data if isinstance(data, str) else figure.describe(data)


def figures_in(module: ModuleType) -> list[Any]:
    figures = [value for value in vars(module).values() if isinstance(value, StudyFigure)]
    return [each for each in figures if each.defined_in[0] == module.__name__]
