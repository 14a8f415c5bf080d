"""The TensorBoard run, read back; and no torch anywhere in the reports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from scaling_laws.reports import tables
from scaling_laws.reports.html import QUESTIONS
from scaling_laws.reports.tensorboard import write_study_summary


def values_of(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("events.out.tfevents.*")
    events = [Event.FromString(raw) for raw in RawEventFileLoader(str(file)).Load()]
    return {value.tag: value for event in events for value in event.summary.value}


def test_figures_and_tables_can_be_read_back(one_run: Any, tmp_path: Path) -> None:
    (tmp_path / "summary").mkdir()
    (tmp_path / "summary" / "events.out.tfevents.of.an.older.report").touch()
    folder = write_study_summary(one_run.study, one_run.laws, tmp_path)
    values = values_of(folder)
    for _, module in QUESTIONS:
        image = values[f"figures/{module.__name__.rpartition('.')[2]}"].image
        assert image.encoded_image_string.startswith(b"\x89PNG")
        width, height = (
            int.from_bytes(image.encoded_image_string[start : start + 4], "big") for start in (16, 20)
        )
        assert (width, height) == (image.width, image.height)
    headline = values["headline/text_summary"]
    assert headline.metadata.plugin_data.plugin_name == "text"
    assert headline.tensor.string_val[0].decode() == tables.headline(one_run.laws).markdown()


def test_reports_do_not_import_torch() -> None:
    program = (
        "import sys, scaling_laws.reports.html, scaling_laws.reports.tensorboard;"
        "sys.exit(' '.join(name for name in ('torch', 'pytorch_lightning', 'matplotlib.pyplot', 'optuna')"
        " if name in sys.modules) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
