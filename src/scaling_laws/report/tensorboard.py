"""The report in TensorBoard: one run with figures as images, tables as text, and charts over all runs.

Set up as tensorboard's own event writer does it, so that no torch is imported.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout, MultilineChartContent
from tensorboard.summary.writer.record_writer import RecordWriter

from scaling_laws.report import findings
from scaling_laws.report.content import Content
from scaling_laws.report.tensorboard_layout import EVENTS, SUMMARY_RUN, Charts, categories
from scaling_laws.report.text import plain


def summary_files(content: Content) -> dict[str, bytes]:
    """The content of the run `summary`'s one file, by its name in the study's folder."""
    plans = findings.next_runs(content.tables, content.laws).table
    values = [
        _text("answer", "\n\n".join(map(plain, filter(None, (content.caution, *content.answer))))),
        _text("headline", content.headline.markdown()),
        _text("what to train next", plans.markdown()),
        _text(
            "figures", "\n".join(f"- **{each.name}**: {plain(each.description)}" for each in content.pictures)
        ),
    ]
    for picture in content.pictures:
        width, height = picture.pixels
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=picture.png)
        values.append(Summary.Value(tag=f"figures/{picture.name}", image=image))
    if charts := categories(content.tables):
        values.append(_layout(charts))

    now_s = time.time()
    file = io.BytesIO()
    events = RecordWriter(file)
    events.write(Event(wall_time=now_s, file_version="brain.Event:2").SerializeToString())
    events.write(Event(wall_time=now_s, step=0, summary=Summary(value=values)).SerializeToString())
    return {f"{SUMMARY_RUN}/{EVENTS}{now_s:.3f}.report": file.getvalue()}


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


def _layout(charts: Mapping[str, Charts]) -> Any:
    """What `add_custom_scalars` of torch's writer makes: charts by category, of all tags that match."""
    layout = Layout(
        category=[
            Category(
                title=title,
                chart=[
                    Chart(title=name, multiline=MultilineChartContent(tag=[tags]))
                    for name, tags in of_category.items()
                ],
            )
            for title, of_category in charts.items()
        ]
    )
    plugin = SummaryMetadata.PluginData(plugin_name="custom_scalars")
    return Summary.Value(
        tag="custom_scalars__config__",
        metadata=SummaryMetadata(plugin_data=plugin),
        tensor=TensorProto(
            dtype=DT_STRING, string_val=[layout.SerializeToString()], tensor_shape=TensorShapeProto()
        ),
    )
