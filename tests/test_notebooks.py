"""The notebooks of examples/ run, and are kept as they were written: without outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]  # type: ignore[no-any-return]


def test_they_are_kept_without_outputs() -> None:
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
        assert code and not [cell for cell in code if cell["outputs"] or cell["execution_count"]], path


@pytest.mark.systems
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run(path: Path, tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "examples").mkdir()
    shutil.copy(path, tmp_path / "examples")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path / "examples")}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    assert not [output for output in outputs if output.get("name") == "stderr"]
    if path.stem == "fit_your_own_table":
        shown = next(each.data["text/plain"] for each in outputs if "truth" in str(each.get("data")))
        for line in shown.splitlines()[1:]:
            _, truth, _, low, _, high = line.split()
            assert float(low) < float(truth) < float(high), line
