"""Habits that people bring from Lightning: loggers, monitors, trial runs, `fit FILE`, the verbs' weights."""

from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from tests.support.tiny_runs import assert_same_run, config, fail_in_step, refused, stop_in_step

from scaling_laws.cli import main
from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.records import VOUCHED_FILES, RunRecord, read_record
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.run import train_trunk

Printed = pytest.CaptureFixture[str]
LOGGERS = "pytorch_lightning.loggers."
CALLBACKS = "pytorch_lightning.callbacks."


def file_of(planned: dict[str, Any]) -> str:
    """A configuration file of a planned run."""
    root = Path(planned["trainer"]["default_root_dir"])
    file = root.parent / f"{root.name}.yaml"
    file.write_text(yaml.safe_dump(planned), encoding="utf-8")
    return str(file)


def fit(planned: dict[str, Any], *more: str) -> None:
    main(["fit", file_of(planned), *more])


def refusal(arguments: list[str], capsys: Printed) -> str:
    """The line that a command ends with that has status 2."""
    return refused(lambda: main(arguments), capsys)


def with_logger(planned: dict[str, Any], kind: str, **arguments: Any) -> dict[str, Any]:
    planned["trainer"]["logger"] = {"class_path": LOGGERS + kind, "init_args": arguments}
    return planned


def with_callback(planned: dict[str, Any], kind: str, **arguments: Any) -> dict[str, Any]:
    callbacks = planned["trainer"].setdefault("callbacks", [])
    callbacks.append({"class_path": CALLBACKS + kind, "init_args": arguments})
    return planned


# --- loggers ------------------------------------------------------------------------------------------


def assert_has_the_curve(metrics: pd.DataFrame, folder: Path) -> None:
    """A logger's table, one row a step, holds the run's curve and final losses."""
    curve = pd.read_csv(folder / "curve.csv").set_index("step")
    for name, column in (
        ("train/loss_nats", "train_loss_nats"),
        ("val/loss_nats", "val_loss_nats"),
        ("numbers/loss_nats", "numbers_loss_nats"),
        ("learning_rate", "learning_rate"),
        ("tokens", "tokens"),
        ("C", "C"),
    ):
        logged = metrics[name].dropna().astype(float)
        pd.testing.assert_series_equal(
            logged, curve[column].dropna().astype(float), check_names=False, check_index_type=False
        )
    record = read_record(folder / "record.json")
    assert metrics["final/test_loss_nats"].dropna().tolist() == [record.losses["test"]["loss_nats"]]


def sampled_texts(folder: Path) -> list[str]:
    """Every text that a run has sampled."""
    snapshots = json.loads((folder / "snapshots.json").read_text(encoding="utf-8"))
    return [snapshot["text"] for snapshot in snapshots if "text" in snapshot]


def assert_are_the_settings(given: dict[str, Any], record: RunRecord) -> None:
    assert float(given["model.learning_rate"]) == 0.01 and float(given["D"]) == record.tokens
    assert str(given["model.schedule.warmup_steps"]) == "5" and given["family"] == "transformer"


def test_lightnings_csv_logger_has_the_curve_also_after_a_resume(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    planned = with_logger(
        config(byte_corpus, tmp_path / "run"), "CSVLogger", save_dir=str(tmp_path), name="csv"
    )
    fail_in_step(planned, 17)
    train_trunk([planned])
    metrics = pd.read_csv(tmp_path / "csv" / "version_1" / "metrics.csv").groupby("step").first()
    assert_has_the_curve(metrics, tmp_path / "run")
    settings = yaml.safe_load((tmp_path / "csv" / "version_1" / "hparams.yaml").read_text())
    assert_are_the_settings(settings, read_record(tmp_path / "run" / "record.json"))
    assert_same_run(undisturbed["transformer"], tmp_path / "run")  # no logger changes a run
    text = (tmp_path / "csv" / "version_1" / "sample.md").read_text(encoding="utf-8")
    assert text.count("After step ") == len(set(sampled_texts(tmp_path / "run"))) > 0


def test_tensorboard_beside_another_logger_has_all_its_tags(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    planned = config(byte_corpus, tmp_path / "run", steps=8)
    planned["trainer"]["logger"] = [
        {"class_path": LOGGERS + "CSVLogger", "init_args": {"save_dir": str(tmp_path)}},
        {"class_path": LOGGERS + "TensorBoardLogger", "init_args": {"save_dir": str(tmp_path), "name": "tb"}},
    ]
    train_trunk([planned])
    events = EventAccumulator(str(tmp_path / "tb" / "version_0")).Reload()
    assert {"loss_nats/val", "loss_nats_by_tokens/test", "loss_nats_final/test"} <= set(
        events.Tags()["scalars"]
    )
    assert (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").exists()


@pytest.mark.filterwarnings("default")  # theirs
def test_mlflow_has_the_curve_once_where_a_run_goes_on(
    byte_corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = tracking.MlflowClient(f"file:{tmp_path / 'mlruns'}")
    run_id = client.create_run(client.create_experiment("tiny")).info.run_id
    planned = with_logger(
        config(byte_corpus, tmp_path / "run"),
        "MLFlowLogger",
        tracking_uri=f"file:{tmp_path / 'mlruns'}",
        run_id=run_id,
    )
    stop_in_step([planned], 0, 17)
    train_trunk([planned])
    run = client.get_run(run_id)
    columns = {
        name: pd.Series({point.step: point.value for point in client.get_metric_history(run_id, name)})
        for name in run.data.metrics
    }
    assert len(client.get_metric_history(run_id, "tokens")) == len(columns["tokens"])
    assert_has_the_curve(pd.DataFrame(columns).rename_axis("step"), tmp_path / "run")
    assert_are_the_settings(run.data.params, read_record(tmp_path / "run" / "record.json"))
    texts = [
        Path(client.download_artifacts(run_id, each.path)) for each in client.list_artifacts(run_id, "sample")
    ]
    assert [each.read_text(encoding="utf-8") for each in texts] == sampled_texts(tmp_path / "run")


def entries_of(content: bytes) -> Iterator[bytes]:
    """What a .wandb file holds: after 7 bytes LevelDB's log, entries whole or in parts, 32 KiB a block."""
    block, header = 2**15, 7
    place, entry = header, b""
    while place + header <= len(content):
        if block - place % block < header:
            place += block - place % block
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        entry += content[place + header : place + header + length]
        place += header + length
        if kind in (1, 4):  # whole, or the last part
            yield entry
            entry = b""


@pytest.mark.filterwarnings("default")  # theirs
def test_wandb_offline_has_the_curve(
    byte_corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_SILENT", "true")
    planned = with_logger(
        config(byte_corpus, tmp_path / "run"), "WandbLogger", offline=True, save_dir=str(tmp_path)
    )
    train_trunk([planned])
    import wandb

    wandb.finish()
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    entries: list[Any] = []
    for _ in range(100):  # another process of theirs writes it, and may be late
        entries = [wandb_internal_pb2.Record.FromString(each) for each in entries_of(file.read_bytes())]
        if any(entry.HasField("exit") for entry in entries):
            break
        time.sleep(0.1)
    rows, settings = [], {}
    for entry in entries:
        for update in (*entry.run.config.update, *entry.config.update):
            settings[update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
        if entry.HasField("history"):
            items = entry.history.item
            rows.append(
                {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
            )
    metrics = pd.DataFrame(rows).groupby("trainer/global_step").first().rename_axis("step")
    assert len(metrics["sample.path"].dropna()) == len(sampled_texts(tmp_path / "run"))
    counts = metrics[[name for name in metrics if name.startswith("weights/") and name.endswith(".values")]]
    assert counts.size and all(sum(each) for each in counts.dropna().iloc[-1])
    assert_has_the_curve(metrics, tmp_path / "run")
    assert_are_the_settings(settings, read_record(tmp_path / "run" / "record.json"))


def test_a_logger_whose_package_is_missing_is_one_line(
    byte_corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    from pytorch_lightning.loggers import wandb as theirs

    monkeypatch.setattr(theirs, "_WANDB_AVAILABLE", False)
    planned = with_logger(config(byte_corpus, tmp_path / "run"), "WandbLogger")
    said = refusal(["fit", file_of(planned)], capsys)
    assert "a package is missing" in said and "[loggers]" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("default")  # theirs
def test_what_a_logger_refuses_is_one_line(
    byte_corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    exceptions = pytest.importorskip("mlflow.exceptions")

    def refuse(*_: Any, **__: Any) -> None:
        raise exceptions.MlflowException("no\nserver")

    monkeypatch.setattr("mlflow.tracking.MlflowClient.__init__", refuse)
    planned = with_logger(config(byte_corpus, tmp_path / "run"), "MLFlowLogger")
    assert "trainer.logger: no server" in refusal(["fit", file_of(planned)], capsys)


# --- what callbacks may monitor ------------------------------------------------------------------------


def test_early_stopping_and_model_checkpoint_follow_the_held_out_loss(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    planned["recorder"]["evaluation_corpora"] = ["test"]  # and what is monitored
    planned = with_callback(planned, "EarlyStopping", monitor="val/loss_nats", patience=1, min_delta=100.0)
    planned = with_callback(planned, "ModelCheckpoint", monitor="val/loss_nats", save_top_k=1)
    train_trunk([planned])
    # Evaluations are after 4, 8 and 16 steps; none falls by 100 nats, so the second is the last.
    assert read_record(tmp_path / "run" / "record.json").steps == 8
    curve = pd.read_csv(tmp_path / "run" / "curve.csv").set_index("step")["val_loss_nats"].dropna()
    (best,) = (tmp_path / "run" / "model_checkpoints").iterdir()
    assert f"step={curve.idxmin()}" in best.name


def test_where_nobody_listens_the_end_alone_is_logged(
    byte_corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning's log costs as much as all else at a row of the curve."""
    logged: dict[str, list[int]] = {}

    def seen(module: LanguageModel, name: str, *_: Any, **__: Any) -> None:
        logged.setdefault(name, []).append(module.trainer.global_step)

    monkeypatch.setattr(LanguageModel, "log", seen)
    train_trunk([config(byte_corpus, tmp_path / "alone")])
    assert logged["val/loss_nats"] == logged["train/loss_nats"] == [30]
    logged.clear()
    planned = config(byte_corpus, tmp_path / "run")
    train_trunk([with_callback(planned, "EarlyStopping", monitor="val/loss_nats", patience=9, strict=False)])
    assert {4, 8, 16, 30} <= set(logged["val/loss_nats"])


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_model_checkpoint_changes_no_run_and_can_be_resumed_from(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    planned = with_callback(
        planned, "ModelCheckpoint", monitor="val/loss_nats", save_top_k=-1, save_last=True
    )
    train_trunk([planned])
    assert_same_run(undisturbed["transformer"], tmp_path / "run")
    (at_16,) = (tmp_path / "run" / "model_checkpoints").glob("*step=16.ckpt")
    again = config(byte_corpus, tmp_path / "again")
    again["trainer"]["callbacks"] = planned["trainer"]["callbacks"]
    (tmp_path / "again").mkdir()
    for name in (*VOUCHED_FILES, "snapshots.json"):
        if (tmp_path / "run" / name).exists():
            (tmp_path / "again" / name).write_bytes((tmp_path / "run" / name).read_bytes())
    fit(again, "--ckpt_path", str(at_16))
    assert_same_run(undisturbed["transformer"], tmp_path / "again")


def test_the_rate_is_monitored(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = with_logger(
        config(byte_corpus, tmp_path / "run"), "CSVLogger", save_dir=str(tmp_path), name="csv"
    )
    planned["trainer"]["log_every_n_steps"] = 5
    train_trunk([with_callback(planned, "LearningRateMonitor", logging_interval="step")])
    rates = pd.read_csv(tmp_path / "csv" / "version_0" / "metrics.csv")["lr-AdamW/pg1"].dropna()
    assert len(rates) >= 5 and rates.max() == pytest.approx(0.01)


def test_a_metric_that_is_not_there_is_one_line_with_those_that_are(
    byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    planned = with_callback(config(byte_corpus, tmp_path / "run"), "EarlyStopping", monitor="val_loss")
    said = refusal(["fit", file_of(planned)], capsys)
    assert "val_loss" in said and "val/loss_nats" in said and "train/loss_nats" in said


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"overfit_batches": 2}, "train_halvings"),
        ({"val_check_interval": 5}, "recorder.evaluation_every_n_steps"),
    ],
)
def test_what_a_training_would_pass_over_is_refused(
    byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed, setting: dict[str, Any], says: str
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    planned["trainer"] |= setting
    assert says in refusal(["fit", file_of(planned)], capsys)


# --- fit FILE, and what it ends with -------------------------------------------------------------------


def test_fit_takes_files_and_ends_with_loss_and_place(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    shorter = tmp_path / "shorter.yaml"
    shorter.write_text("trainer: {max_steps: 8}\n", encoding="utf-8")
    planned = config(byte_corpus, tmp_path / "run")
    main(["fit", file_of(planned), str(shorter), "--model.learning_rate", "0.02"])
    record = read_record(tmp_path / "run" / "record.json")
    assert record.steps == 8 and record.optimizer["learning_rate"] == 0.02
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith(f"{tmp_path / 'run'}: 8 steps") and "on val" in last
    assert f"{record.losses['test']['loss_nats']:.4f} on test" in last


def test_a_trial_run_leaves_nothing(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    fit(planned, "--trainer.fast_dev_run", "3")
    assert "fast_dev_run: 3 steps" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]
    fit(planned)
    assert_same_run(undisturbed["transformer"], tmp_path / "run")


# --- newest compares all that was asked ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("--model.learning_rate=0.02", "model.learning_rate is 0.02, and the run's was 0.01"),
        ("--data.seed=8", "data.seed is 8, and the run's was 7"),
        ("--trainer.max_steps=20", "trainer.max_steps is 20, and the run's was 30"),
        ("--model.network.init_args.n_heads=4", "network.init_args.n_heads is 4, and the run's was 2"),
    ],
)
def test_a_finished_run_of_other_settings_is_not_called_finished(
    undisturbed: dict[str, Path], capsys: Printed, setting: str, says: str
) -> None:
    folder = undisturbed["transformer"]
    command = ["fit", str(folder / "config.yaml"), "--ckpt_path", "newest", setting]
    assert says in refusal(command, capsys)
    main([*command[:-1], "--trainer.logger=false", "--data.evaluation_windows=9"])  # nothing that decides
    assert "the run is finished, 30 steps" in capsys.readouterr().out


def test_an_unfinished_run_of_other_settings_is_refused_by_the_setting(
    byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    stop_in_step([planned], 0, 2)
    said = refusal(["fit", file_of(planned), "--ckpt_path", "newest", "--model.weight_decay=0.5"], capsys)
    assert "model.weight_decay is 0.5, and the run's was 0.1" in said


# --- the weights of the other verbs --------------------------------------------------------------------


def test_the_verbs_take_the_runs_own_weights(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    folder = undisturbed["transformer"]
    record = read_record(folder / "record.json")
    for verb, corpus in (("validate", "val"), ("test", "test")):
        main([verb, str(folder / "config.yaml"), "--data.evaluation_windows", "32"])
        numbers = [float(number) for number in re.findall(r"\d+\.\d{6,}", capsys.readouterr().out)]
        expected = record.losses[corpus]["loss_nats"]
        assert any(number == pytest.approx(expected, abs=1e-5) for number in numbers)


def test_without_weights_the_verbs_refuse(byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    for verb in ("validate", "test"):
        assert "holds no final weights of a run" in refusal([verb, file_of(planned)], capsys)
    text = tmp_path / "text"
    text.write_text("some text", encoding="utf-8")
    predict = ["predict", file_of(planned), "--data.predict_file", str(text)]
    assert "holds no final weights of a run" in refusal(predict, capsys)
    stop_in_step([planned], 0, 2)
    assert "unfinished: --ckpt_path newest" in refusal(["test", file_of(planned)], capsys)
    main(["test", file_of(planned), "--ckpt_path", "newest", "--data.evaluation_windows", "4"])
    assert "test/loss_nats" in capsys.readouterr().out
