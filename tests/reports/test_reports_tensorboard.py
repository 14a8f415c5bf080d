"""The TensorBoard run, read back; and no torch anywhere in the reports."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from scaling_laws.report import tables
from scaling_laws.report.content import Content
from scaling_laws.report.tensorboard import SUMMARY_RUN, summary_files
from scaling_laws.report.tensorboard_layout import categories
from scaling_laws.study.own_files import write_own_files


def written(content: Content, folder: Path) -> Path:
    write_own_files(folder, summary_files(content), writer="report")
    return folder / SUMMARY_RUN


def values_of(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("events.out.tfevents.*")
    events = [Event.FromString(raw) for raw in RawEventFileLoader(str(file)).Load()]
    return {value.tag: value for event in events for value in event.summary.value}


def test_figures_and_tables_can_be_read_back(content: Content, tmp_path: Path) -> None:
    values = values_of(written(content, tmp_path))
    assert content.pictures
    for picture in content.pictures:
        image = values[f"figures/{picture.name}"].image
        assert image.encoded_image_string.startswith(b"\x89PNG")
        width, height = (
            int.from_bytes(image.encoded_image_string[start : start + 4], "big") for start in (16, 20)
        )
        assert (width, height) == (image.width, image.height)
    headline = values["headline/text_summary"]
    assert headline.metadata.plugin_data.plugin_name == "text"
    assert headline.tensor.string_val[0].decode() == tables.headline(content.laws).markdown()
    described = values["figures/text_summary"].tensor.string_val[0].decode()
    for picture in content.pictures:
        assert f"- **{picture.name}**: {picture.description}" in described


def layout_of(values: dict[str, Any]) -> dict[str, dict[str, str]]:
    """By category and title, the expression of a chart."""
    config = values["custom_scalars__config__"]
    assert config.metadata.plugin_data.plugin_name == "custom_scalars"
    layout = Layout.FromString(config.tensor.string_val[0])
    return {
        category.title: {chart.title: chart.multiline.tag[0] for chart in category.chart}
        for category in layout.category
    }


def test_charts_over_all_runs(synthetic: Any) -> None:
    """Every chart shows the tags that its title names, and no others."""
    corpora = synthetic.tables.corpora
    tags = [f"loss_nats/{corpus}" for corpus in ("train", *corpora, "test2")]
    tags += [
        tag.replace("/", f"_by_{axis}/") for axis in ("tokens", "mflop", "gflop", "pflop") for tag in tags
    ]
    tags += [f"position_loss_nats/test_at_{position:03d}" for position in (1, 128)] + [
        "training/learning_rate"
    ]
    charts = categories(synthetic.tables)
    by_tokens, by_compute, by_position, batch = charts.values()
    assert len(by_tokens) == 1 + len(corpora) and next(iter(by_tokens)).startswith("test")
    for title, expression in by_tokens.items():
        corpus = title.partition(",")[0]
        assert [tag for tag in tags if re.match(expression, tag)] == [f"loss_nats_by_tokens/{corpus}"]
    for title, expression in by_compute.items():
        unit = title.rpartition(" ")[2].removesuffix("s").lower()
        assert [tag for tag in tags if re.match(expression, tag)] == [f"loss_nats_by_{unit}/test"]
    (expression,) = by_position.values()
    assert [tag for tag in tags if re.match(expression, tag)] == tags[-3:-1]
    assert list(batch.values()) == ["training/noise_scale_tokens$"]


def test_compute_axes_are_those_of_the_runs(synthetic: Any) -> None:
    def titles(flops_per_step: list[float]) -> list[str]:
        curves = pd.DataFrame(
            {"run": "a", "step": 10, "C": [10 * flops for flops in flops_per_step], "test_loss_nats": 3.0}
        )
        return list(list(categories(replace(synthetic.tables, curves=curves)).values())[1])

    assert titles([2e7]) == ["test, nats per token, by MFLOPs"]
    assert [title.split()[-1] for title in titles([2e7, 3e10])] == ["MFLOPs", "GFLOPs"]
    assert [title.split()[-1] for title in titles([2e16])] == ["MFLOPs", "GFLOPs", "PFLOPs"]


def test_layout_can_be_read_back(content: Content, synthetic: Any, tmp_path: Path) -> None:
    without_figures = replace(content, laws=synthetic.laws, tables=synthetic.tables, chapters=())
    values = values_of(written(without_figures, tmp_path))
    assert layout_of(values) == categories(synthetic.tables)


def test_a_study_without_a_run_has_no_charts(synthetic: Any) -> None:
    assert categories(replace(synthetic.tables, curves=pd.DataFrame())) == {}


def test_reports_do_not_import_torch() -> None:
    program = (
        "import sys, scaling_laws.report.html, scaling_laws.report.tensorboard;"
        "sys.exit(' '.join(name for name in ('torch', 'pytorch_lightning', 'matplotlib.pyplot', 'optuna')"
        " if name in sys.modules) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
