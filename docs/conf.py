"""The manual, built by `make docs`. Its pages of laws and figures are made from their declarations."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import scaling_laws
from scaling_laws.laws.forms.catalogue import FORMS
from scaling_laws.report import figures as core_figures
from scaling_laws.report.figure import CHAPTERS, StudyFigure, figures_of

ROOT = Path(__file__).parents[1]
GENERATED = Path(__file__).parent / "generated"
RECORDED = (ROOT / "results" / "quick" / "figures", ROOT / "results" / "cpu" / "figures")
"""Where the pictures of the page of figures come from: studies that are recorded in the repository."""
HEIGHT_OF_NOTES = 170
"""Pixels."""

project = "scaling_laws"
author = "the scaling_laws developers"
release = scaling_laws.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "matplotlib.sphinxext.mathmpl"]
exclude_patterns = ["generated"]  # included by laws.md and figures.md
html_theme = "pydata_sphinx_theme"
html_title = "scaling_laws"
html_theme_options = {
    "navbar_center": [],
    "navigation_with_keys": False,
    # Pages of wide tables have none.
    "secondary_sidebar_items": {"**": ["page-toc"], "papers": [], "results": [], "kaplan2020": []},
}
html_sidebars = {"**": ["globaltoc.html"]}
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["manual.css"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}  # not all that they stand for
napoleon_use_param = False
mathmpl_fontsize = 16.0
mathmpl_srcset = ["2x"]
python_use_unqualified_type_names = True
# Files of the repository that pages link to are no pages; tests/test_readme.py follows those links.
suppress_warnings = ["myst.xref_missing"]


def setup(app: Any) -> None:
    """Write the generated pages before Sphinx looks for sources; show types by their short names."""
    app.connect("autodoc-process-signature", short_types)
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    (GENERATED / "forms.md").write_text("\n".join(form_lines()), encoding="utf-8")
    (GENERATED / "figures.md").write_text("\n".join(figure_lines()), encoding="utf-8")


def short_types(_app: Any, _what: str, _name: str, _of: Any, _options: Any, *signature: str | None) -> Any:
    """A signature without Sphinx's own wrapping of `autodoc_type_aliases` in unions."""
    return tuple(re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", part or "") or part for part in signature)


def form_lines() -> Iterator[str]:
    """Every form: its formula, the units of its parameters, and the docstring that names its source."""
    for name, law in FORMS.items():
        yield f"### `{name}`\n"
        yield f"```{{eval-rst}}\n.. mathmpl:: {law.latex}\n```\n"
        yield paragraphs(inspect.getdoc(law) or "")
        units = ", ".join(f"`{parameter}` ({unit})" for parameter, unit in law.units.items() if unit != "1")
        plain = ", ".join(f"`{parameter}`" for parameter, unit in law.units.items() if unit == "1")
        yield f"Parameters: {', '.join(filter(None, (units, plain)))}.\n"
        yield f"`scaling-laws laws RUNS --form {name}`\n"


def figure_lines() -> Iterator[str]:
    """Every figure of a study, chapter by chapter, with a picture where a recorded study has one."""
    figures = figures_of(core_figures)
    for chapter, question in CHAPTERS.items():
        here = [figure for figure in figures if figure.chapter == chapter]
        if here:
            yield f"## {question}\n"
            for figure in here:
                yield from one_figure(figure)


def one_figure(figure: StudyFigure[Any]) -> Iterable[str]:
    """Its title, the picture, what its module says it shows, and the call that draws it."""
    yield f"### {figure.title}\n"
    pictures = (folder / f"{figure.name}.png" for folder in RECORDED)
    picture = next((path for path in pictures if path.exists() and is_drawn(path)), None)
    if picture is not None:
        study = picture.parents[1].name
        yield f"![{figure.title}](../{picture.relative_to(ROOT)})\n"
        call = f'sl.analyse("results/{study}").figure("{figure.name}")'
    else:
        call = f'sl.analyse("lightning_logs/STUDY").figure("{figure.name}")'
    yield paragraphs(inspect.getdoc(inspect.getmodule(figure.prepare)) or "")
    yield f"{paragraphs(inspect.getdoc(figure.prepare) or '').strip()} `{call}`\n"


def is_drawn(picture: Path) -> bool:
    """Whether a PNG is more than a note of what its study lacks; such notes are low."""
    height = int.from_bytes(picture.read_bytes()[20:24], "big")
    return height > HEIGHT_OF_NOTES


def paragraphs(docstring: str) -> str:
    """The text of a docstring before its sections and examples, as Markdown."""
    kept: list[str] = []
    for line in docstring.splitlines():
        if line.strip() in ("Args:", "Attributes:", "Examples:", "Raises:", "Returns:"):
            break
        kept.append(f"`{line.strip()}`\n" if line.startswith("    ") else line)
    return "\n".join(kept).rstrip() + "\n"
