"""`report.html`: one file with everything in it; the same in Markdown, and the figures, lie beside it."""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from scaling_laws.laws.results.types import Laws
from scaling_laws.report.content import Content, Page, content_of
from scaling_laws.report.interactive import explorer_of, policy_hash
from scaling_laws.report.markdown import markdown
from scaling_laws.report.pictures import embedded, embedded_narrow, picture_files
from scaling_laws.study.names import printable
from scaling_laws.study.own_files import write_own_files
from scaling_laws.study.runs import Study

GREEK = {"alpha": "α", "beta": "β", "gamma": "γ"}
FIGURES_FOLDER = "figures"
SCRIPTS = ("budget_slider.js", "interactive.js")


def write_report(study: Study, laws: Laws, output: Path | None = None) -> Path:
    """Write the report of a study, and return its path.

    Args:
        study: the runs.
        laws: the study's.
        output: the HTML file; by default `report.html` in the study's folder.
    """
    return write_content(content_of(study, laws), output or study.folder / "report.html")


def write_content(content: Page, output: Path) -> Path:
    """Write `page_files` into the page's folder, which may hold other things; return the page."""
    write_own_files(output.parent, page_files(content, output.stem), writer=output.stem, shared=True)
    return output


def page_files(content: Page, name: str) -> dict[str, str | bytes]:
    """The contents of `<name>.html`, `<name>.md`, and `figures/` with each figure as PNG and SVG, by name.

    The page opens from disk and loads nothing. The same content gives the same bytes.
    """
    scripts = importlib.resources.files("scaling_laws.report")
    script = "\n".join(scripts.joinpath(name).read_text("utf-8") for name in SCRIPTS)
    explorer = explorer_of(content.tables, content.laws) if isinstance(content, Content) else None
    page = _template().render(
        content=content,
        images=embedded(content.pictures),
        narrow=embedded_narrow(content.pictures),
        explorer=explorer,
        script=Markup(script),
        # The page's own script and Plotly, and no other, whoever wrote it into the page.
        scripts=Markup(f"{policy_hash(script.encode())} {explorer.plotly_hash}" if explorer else "'none'"),
    )
    return {
        f"{name}.html": page,
        f"{name}.md": markdown(content, FIGURES_FOLDER),
        **picture_files(content.pictures, FIGURES_FOLDER),
    }


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("scaling_laws", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["notation"] = notation
    return environment.get_template("report.html.jinja")


def _shown(value: Any) -> Any:
    """What the page says, without signs that are no characters."""
    return printable(value, keep="\n") if type(value) is str else value


def notation(text: str) -> Markup:
    """Escaped text with the field's symbols set as they are written: alpha_N, N_opt, C^a, (N_c/N)^α_N.

    What stands between backticks is code.
    """
    coded = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(printable(text, keep="\n"))))
    greek = re.sub(r"\b(alpha|beta|gamma)(?![a-z])", lambda word: GREEK[word[1]], coded)
    lowered = re.sub(r"\b(α|[abNDCBSE])_(opt|crit|min|[NDCSBc])\b", r"\1<sub>\2</sub>", greek)
    return Markup(re.sub(r"\^(α|β|γ|a|b)(<sub>\w+</sub>)?(?!\w)", r"<sup>\1\2</sup>", lowered))
