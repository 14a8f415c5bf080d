"""The sweep that most tests run."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_sweep import write_sweep


@pytest.fixture
def sweep_file(tmp_path: Path, text_folder: Path) -> Path:
    """Four trainings of two families."""
    return write_sweep(tmp_path, text_folder)
