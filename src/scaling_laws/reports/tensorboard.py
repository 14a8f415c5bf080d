"""The report in TensorBoard: one run with the figures as images and the tables as text.

Written with tensorboard's own event writer, so that no torch is imported.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from scaling_laws.reports import findings, tables
from scaling_laws.reports.evidence import StudyTables
from scaling_laws.reports.html import PNG_DPI, sections
from scaling_laws.runs import Study

SUMMARY_RUN = "summary"
"""Name of the TensorBoard run: a folder beside the study's runs, without a record.json."""


def write_study_summary(study: Study, laws: Mapping[str, Any], folder: Path) -> Path:
    """Write the run `summary` under the study's `folder`, in place of an older one; return its folder."""
    study_tables = StudyTables.read(study, laws)
    values = [
        _text("answer", "\n\n".join(findings.answer(study_tables, laws))),
        _text("headline", tables.headline(laws).markdown()),
        _text("what to train next", findings.next_runs(study_tables, laws).table.markdown()),
    ]
    for section in sections(study_tables, laws):
        width, height = (round(inches * PNG_DPI) for inches in section.figure.get_size_inches())
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=section.png())
        values.append(Summary.Value(tag=f"figures/{section.name}", image=image))
        values.append(_text(f"figures/{section.name}", section.description))

    target = folder / SUMMARY_RUN
    shutil.rmtree(target, ignore_errors=True)
    writer = EventFileWriter(str(target))
    writer.add_event(Event(wall_time=time.time(), step=0, summary=Summary(value=values)))
    writer.close()
    return target


def _text(tag: str, markdown: str) -> Any:
    """What `add_text` of torch's writer makes: a string tensor that the text plugin shows as Markdown."""
    return Summary.Value(
        tag=f"{tag}/text_summary",
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
        tensor=TensorProto(
            dtype=DT_STRING,
            string_val=[markdown.encode("utf-8")],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        ),
    )
