"""The sweep that most tests run, and a PostgreSQL server for those that need one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.postgres_server import postgres
from tests.support.small_sweep import write_sweep

__all__ = ["postgres"]


@pytest.fixture
def sweep_file(tmp_path: Path, text_folder: Path) -> Path:
    """Four trainings of two families."""
    return write_sweep(tmp_path, text_folder)
