"""The core without the papers: their folders are removed, and what is left is whole and passes its tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ("tests/test_layers.py", "tests/reports/test_claims.py", "tests/reports/test_paper.py")
CORE += (
    "tests/reports/test_reports_markdown.py",
    "tests/laws/test_laws_study.py",
    "tests/test_laws_command.py",
)
IMPORTS = """
import importlib, pkgutil, scaling_laws
for each in pkgutil.walk_packages(scaling_laws.__path__, "scaling_laws."):
    if not each.name.endswith("__main__"):
        importlib.import_module(each.name)
"""

pytestmark = pytest.mark.systems


def test_the_rest_is_whole(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "papers", "*.egg-info")
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("configs", "examples", "docs", "results", "README.md", "CONTRIBUTING.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert not list(tmp_path.rglob("papers/*.py"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    for command in (["-c", IMPORTS], ["-m", "pytest", "-q", "-p", "no:cacheprovider", *CORE]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_no_test_of_the_core_needs_a_paper() -> None:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path.parent.name != "papers" and path != Path(__file__):
            assert "scaling_laws.papers" not in path.read_text(encoding="utf-8"), path
