"""`scaling-laws sweep` of a search, with real trainings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tests.support.shape_stub import stored_study, write_shape_sweep

from scaling_laws.cli import main
from scaling_laws.study.records import read_record

FILES = ("shape.json", "shape.md", "trials.csv", "curves.csv", "shape.png", "shape.svg")


def command(path: Path, *more: str) -> list[str]:
    folder = path.parent
    return ["sweep", str(path), "--logs", str(folder / "logs"), "--data", str(folder / "data"), *more]


def test_four_trials_from_the_command_to_the_result(
    tmp_path: Path, text_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_shape_sweep(
        tmp_path, text_folder, trials=4, replicates=2, transfer={"N": 40_000, "tokens": 3200, "shapes": 2}
    )
    main(command(path, "--workers", "2"))
    printed = capsys.readouterr().out
    folder = tmp_path / "logs" / "shapes"
    result = json.loads((folder / "shape.json").read_text(encoding="utf-8"))
    assert all((folder / name).stat().st_size for name in FILES)
    assert (folder / "shape.md").read_text(encoding="utf-8") in printed

    records = {file.parent.name: read_record(file) for file in folder.glob("*/record.json")}
    assert len(records) == 4 + 2 + 2 and {record.status for record in records.values()} == {"complete"}
    assert len(result["trials"]) == 4 and result["counts"]["complete"] == 4
    for row in result["trials"]:
        assert row["loss"] == records[row["run"]].losses["val"]["loss_nats"]
        assert abs(row["N"] / 20_000 - 1) <= 0.02
    assert result["noise"]["n_runs"] == 4 and len(result["transfer"]["shapes"]) == 2

    # Every trial stands in TensorBoard's table of hyperparameters, with its shape and its loss.
    for name, record in records.items():
        hparams, metrics = read_hparams(folder / name)
        assert hparams["d_ff"] == record.shape["d_ff"] and hparams["n_heads"] == record.shape["n_heads"]
        assert hparams["learning_rate"] == pytest.approx(record.optimizer["learning_rate"])
        assert metrics["loss_nats_final/val"] == pytest.approx(record.losses["val"]["loss_nats"], rel=1e-6)

    # The storage holds them; again, nothing is trained, and the result is the same.
    assert stored_study(folder).best_value == min(row["loss"] for row in result["trials"])
    before = {file: file.stat().st_mtime_ns for file in folder.glob("*/record.json")}
    main(command(path, "--workers", "2"))
    assert before == {file: file.stat().st_mtime_ns for file in folder.glob("*/record.json")}
    assert json.loads((folder / "shape.json").read_text(encoding="utf-8")) == result

    # No law is fitted to them: the report says why.
    main(["report", str(folder)])
    assert "shape study" in (folder / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()  # with the line of a slow machine: how long drawing will take
    with pytest.raises(SystemExit):
        main(["laws", str(folder)])
    error = capsys.readouterr().err
    assert "no run feeds a law; each is a trial of a shape study" in error and error.count("\n") == 1

    main(command(path, "--status"))
    assert "8 of 8 runs done" in capsys.readouterr().out


def read_hparams(folder: Path) -> tuple[dict[str, object], dict[str, float]]:
    """What a run wrote for TensorBoard's hparams view: values and metrics."""
    events = EventAccumulator(str(folder)).Reload()
    plugin = HParamsPluginData.FromString(
        events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    )
    values: dict[str, object] = {
        name: getattr(value, str(value.WhichOneof("kind")))
        for name, value in plugin.session_start_info.hparams.items()
    }
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("loss_nats_final/")]
    return values, {tag: events.Scalars(tag)[-1].value for tag in tags}


def test_a_preview_trains_nothing(
    tmp_path: Path, text_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_shape_sweep(tmp_path, text_folder, replicates=3, transfer={"N": 80_000})
    main(command(path, "--dry-run"))
    printed = capsys.readouterr().out
    assert "12 x 6,400 tokens = 76,800 tokens" in printed and "4 x 6,400 tokens" in printed
    assert "3 x 25,600 tokens at N = 80,000" in printed and "MB a trial" in printed
    assert not list((tmp_path / "logs").glob("*/*/trial.json"))


def test_an_impossible_search_is_refused_before_the_first_trial(
    tmp_path: Path, text_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for search, words in (
        ({"tokens": 64}, "at least ten batches"),
        ({"N": 10, "n_layer": [8, 8], "head_width": [64]}, "no network of this space has 10 parameters"),
    ):
        with pytest.raises(SystemExit):
            main(command(write_shape_sweep(tmp_path, text_folder, **search)))
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    with pytest.raises(SystemExit):
        path = write_shape_sweep(tmp_path, text_folder)
        main(["study", *command(path)[1:]])
    assert "is a search, and feeds no law" in capsys.readouterr().err
