"""The manual as `make docs` builds it: no warning, and nothing that is declared is missing."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

import scaling_laws
from scaling_laws.laws.forms.catalogue import FORMS
from scaling_laws.report import figures
from scaling_laws.report.figure import figures_of

ROOT = Path(__file__).parents[1]


@pytest.mark.systems
def test_the_manual_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="Sphinx is not installed (pip install '.[docs]')")
    pytest.importorskip("myst_parser", reason="MyST is not installed (pip install '.[docs]')")
    built = tmp_path / "manual"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(tmp_path / "trees")]
    done = subprocess.run([*command, str(ROOT / "docs"), str(built)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = {path.stem: path.read_text(encoding="utf-8") for path in built.glob("*.html")}
    words = {name: html.unescape(re.sub(r"<[^>]+>", "", content)) for name, content in page.items()}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= set(page)
    assert not [name for name in FORMS if not re.search(rf"--form {name}\b", words["laws"])]
    assert not [each.name for each in figures_of(figures) if f'figure("{each.name}")' not in words["figures"]]
    assert not [name for name in scaling_laws.__all__ if f'id="scaling_laws.{name}"' not in page["api"]]
    assert page["figures"].count("<img") >= 15
