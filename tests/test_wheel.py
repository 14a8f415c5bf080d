"""The package as others install it: built, unpacked into a folder, and used outside the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scaling_laws import __version__

ROOT = Path(__file__).parents[1]
TABLE = "N,D,loss\n" + "".join(
    f"{n:.0f},{d:.0f},{1.7 + 400 * n**-0.34 + 410 * d**-0.28:.6f}\n"
    for n in (1e6, 3e6, 1e7, 3e7, 1e8)
    for d in (1e8, 1e9, 1e10)
)
"""Chinchilla's law without noise."""

pytestmark = pytest.mark.systems


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy: a build leaves its folders beside the source."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    pip(folder, "wheel", str(copy), "--no-deps", "--no-build-isolation", "-w", str(folder))
    (built,) = folder.glob("*.whl")
    return built


def pip(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_holds_every_file_of_the_package(wheel: Path) -> None:
    """Templates, scripts and `py.typed` with the modules."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    files = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True).stdout
    ours = {line.removeprefix("src/") for line in files.splitlines()}
    assert {"scaling_laws/py.typed", "scaling_laws/cli.py"} <= ours <= inside
    assert {Path(name).suffix for name in ours} >= {".jinja", ".js"}


def test_it_runs_outside_the_repository(wheel: Path, tmp_path: Path) -> None:
    """Torch is needed by none of these; what they print names no folder of the source."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    pip(tmp_path, "install", "--no-deps", "--target", str(site), str(wheel))
    elsewhere.mkdir()
    (elsewhere / "runs.csv").write_text(TABLE, encoding="utf-8")

    def scaling_laws(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, str(site / "bin" / "scaling-laws"), *arguments],
            cwd=elsewhere,
            env=os.environ | {"PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert str(ROOT / "src") not in done.stdout
        return done.stdout

    assert scaling_laws("--version").split()[-1] == __version__
    assert "laws" in scaling_laws("--help")
    printed = scaling_laws("laws", "runs.csv", "--form", "chinchilla", "--bootstrap", "20", "-o", "laws.json")
    assert "0.34" in printed and (elsewhere / "laws.json").exists()
    assert "tokens" in scaling_laws("plan", "--compute", "1e21", "--laws", "laws.json")
