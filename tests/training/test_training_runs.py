"""Whole runs: what they leave behind, the verbs, and what goes wrong in one clear line."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.support.tiny_runs import FAMILIES, STEPS, WALL_CLOCK, assert_same_run, config, weights

from scaling_laws.cli import main
from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.data.tokens import TokenCorpus, build_corpus
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import CURVE_COLUMNS, POSITION_COLUMNS, read_record
from scaling_laws.study.runs import load_study
from scaling_laws.training.run import train_trunk


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_run_leaves_behind(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, family: str
) -> None:
    folder = undisturbed[family]
    record = read_record(folder / "record.json")
    assert record.status == "complete" and record.after_cooldown and record.family == family
    assert record.tokens == record.unique_tokens == record.trained_tokens == STEPS * 4 * 32
    assert set(record.losses) == {"val", "test", "numbers"}
    curve = pd.read_csv(folder / "curve.csv")
    assert list(curve.columns[: len(CURVE_COLUMNS)]) == list(CURVE_COLUMNS)
    assert curve["step"].iloc[-1] == STEPS and curve["tokens"].iloc[-1] == record.tokens
    assert curve["test_loss_nats"].iloc[-1] == pytest.approx(record.losses["test"]["loss_nats"], abs=1e-12)
    positions = pd.read_csv(folder / "position_losses.csv")
    assert list(positions.columns) == list(POSITION_COLUMNS)
    final = positions[(positions["step"] == STEPS) & (positions["corpus"] == "test")]
    assert final["loss_sum_nats"].sum() / final["count"].sum() == pytest.approx(
        record.losses["test"]["loss_nats"], abs=1e-6
    )
    assert final["fold"].nunique() > 8 and sorted(final["position"].unique()) == list(range(1, 33))
    nats = record.losses["test"]["loss_nats"]
    assert record.losses["test"]["bits_per_byte"] == pytest.approx(
        nats / math.log(2) / byte_corpus.bytes_per_token("test")
    )
    events = EventAccumulator(str(folder))
    events.Reload()
    assert {
        "loss_nats/train",
        "loss_nats/val",
        "loss_nats_by_tokens/train",
        "training/learning_rate",
        "training/tokens_per_s",
    } <= set(events.Tags()["scalars"])
    points = events.Scalars("loss_nats_by_tokens/test")
    evaluated = curve.dropna(subset=["test_loss_nats"])
    assert [point.step for point in points] == evaluated["tokens"].tolist()
    assert [point.value for point in points] == pytest.approx(evaluated["test_loss_nats"].tolist(), rel=1e-6)


def test_config_yaml_reproduces_the_run_through_the_cli(undisturbed: dict[str, Path], tmp_path: Path) -> None:
    again = tmp_path / "again"
    main(
        [
            "fit",
            "--config",
            str(undisturbed["lstm"] / "config.yaml"),
            "--trainer.default_root_dir",
            str(again),
        ]
    )
    assert_same_run(undisturbed["lstm"], again)


@pytest.mark.parametrize("family", FAMILIES)
def test_accumulation_splits_the_batch_and_changes_nothing(
    byte_corpus: TokenCorpus, tmp_path: Path, family: str
) -> None:
    for micro_batches in (1, 4):
        planned = config(byte_corpus, tmp_path / str(micro_batches), family, steps=10)
        planned["model"]["network"]["init_args"]["dropout"] = 0.0
        planned["trainer"] |= {"accumulate_grad_batches": micro_batches, "precision": "64-true"}
        train_trunk([planned])
    whole, split = tmp_path / "1", tmp_path / "4"
    for name, weight in weights(whole).items():
        torch.testing.assert_close(weights(split)[name], weight, rtol=1e-7, atol=1e-9)
    aside = [*WALL_CLOCK, "noise_scale_tokens"]  # its small batch is half a micro-batch
    tables = [pd.read_csv(folder / "curve.csv").drop(columns=aside) for folder in (whole, split)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-6)  # losses are float32
    assert tables[0]["tokens"].iloc[-1] == 10 * 4 * 32
    first, second = (read_record(folder / "record.json") for folder in (whole, split))
    assert first.tokens == second.tokens == 10 * 4 * 32 and first.batch_tokens == second.batch_tokens
    for corpus, losses in first.losses.items():
        assert losses == pytest.approx(second.losses[corpus], rel=1e-6)


def test_a_network_learns_that_noise_costs_ln_v(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = config(byte_corpus, tmp_path / "run", steps=300)
    planned["data"] |= {"n_ctx": 32, "noise_suffix_tokens": 16, "batch_sequences": 16}
    planned["recorder"] |= {"final_windows": 256}
    train_trunk([planned])
    record = read_record(tmp_path / "run" / "record.json")
    positions = pd.read_csv(tmp_path / "run" / "position_losses.csv")
    final = positions[(positions["step"] == 300) & (positions["corpus"] == "test")]
    sums = final.groupby(final["position"] > 16)[["loss_sum_nats", "count"]].sum()
    text, noise = (sums["loss_sum_nats"] / sums["count"]).tolist()
    assert noise == pytest.approx(math.log(256), abs=0.1) and text < 4
    assert record.losses["test"]["loss_nats"] == pytest.approx((text + noise) / 2, abs=1e-4)
    assert record.losses["test"]["bits_per_byte"] == pytest.approx(
        text / math.log(2) / byte_corpus.bytes_per_token("test"), rel=1e-4
    )


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
@pytest.mark.parametrize("family", FAMILIES)
def test_other_precisions_train(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, family: str, precision: str
) -> None:
    planned = config(byte_corpus, tmp_path / "run", family)
    planned["trainer"]["precision"] = precision
    train_trunk([planned])
    record = read_record(tmp_path / "run" / "record.json")
    single = read_record(undisturbed[family] / "record.json").losses["test"]["loss_nats"]
    assert record.status == "complete" and record.optimizer["precision"] == precision
    assert record.losses["test"]["loss_nats"] == pytest.approx(single, rel=0.03)


def test_divergence_stops_the_run_and_leaves_a_record(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    planned["model"]["learning_rate"] = 1e30
    planned["trainer"]["gradient_clip_val"] = None
    train_trunk([planned])
    record = read_record(tmp_path / "run" / "record.json")
    assert record.status == "diverged" and "at step 4" in record.reason
    assert record.losses == {} and not record.after_cooldown
    assert record.steps == 4


def test_verbs_on_a_trained_run(
    undisturbed: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = undisturbed["transformer"]
    text = tmp_path / "text.txt"
    text.write_text("def f(x):\n    return x\n" * 3, encoding="utf-8")
    common = [
        "--config",
        str(folder / "config.yaml"),
        "--ckpt_path",
        str(folder / "checkpoints" / "final.ckpt"),
        "--trainer.default_root_dir",
        str(tmp_path / "out"),
        "--data.evaluation_windows",
        "32",
    ]
    record = read_record(folder / "record.json")
    main(["validate", *common])
    main(["test", *common])
    printed = capsys.readouterr().out
    numbers = [float(number) for number in re.findall(r"\d+\.\d{6,}", printed)]
    for corpus in ("val", "test", "numbers"):
        assert f"{corpus}/loss_nats" in printed
        expected = record.losses[corpus]["loss_nats"]
        assert any(number == pytest.approx(expected, abs=1e-5) for number in numbers)
    main(["predict", *common, "--data.predict_file", str(text)])
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert len(table) == len(text.read_bytes()) - 1
    assert "".join(json.loads(piece) for piece in table["text"]) == text.read_text(encoding="utf-8")[1:]
    assert table["loss_nats"].mean() == pytest.approx(
        float(capsys.readouterr().out.split("mean loss ")[1].split()[0]), abs=1e-4
    )


def test_a_users_own_network_trains_by_class_path(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = config(byte_corpus, tmp_path / "run", steps=8)
    planned["model"]["network"] = {"class_path": "test_training_parts.TinyNetwork"}
    train_trunk([planned])
    record = read_record(tmp_path / "run" / "record.json")
    assert record.family == "bigram" and record.parameters == {"table": 256 * 256}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": {"learning_rat": 1.0}}, "learning_rat"),
        (
            {
                "model": {
                    "network": {"class_path": "scaling_laws.models.lstm.LSTM", "init_args": {"heads": 2}}
                }
            },
            "heads",
        ),
        ({"data": {"corpus": "nowhere"}}, "nowhere"),
        ({"trainer": {"max_steps": -1}}, "max_steps is not set"),
        ({"trainer": {"default_root_dir": None}}, "default_root_dir is not set"),
        ({"model": {"learning_rate": -1.0}}, "learning_rate is -1.0"),
        ({"model": {"schedule": {"cooldown_share": 2.0}}}, "cooldown_share is 2.0"),
    ],
)
def test_bad_input_gets_one_clear_line(
    byte_corpus: TokenCorpus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, dict[str, Any]],
    says: str,
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    for section, values in change.items():
        planned[section] |= values
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(planned), encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(path)])
    assert stopped.value.code not in (0, None)
    errors = capsys.readouterr().err
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: ") and says in last and "Traceback" not in errors


def test_nan_loss_through_the_cli(
    byte_corpus: TokenCorpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    planned["model"]["learning_rate"] = 1e30
    planned["trainer"]["gradient_clip_val"] = None
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(planned), encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(tmp_path / "config.yaml")])
    assert stopped.value.code == 2
    assert "diverged: the training loss is nan at step 4; the weights kept" in capsys.readouterr().err


def test_a_finished_run_is_never_overwritten(
    undisturbed: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = undisturbed["transformer"]
    before = (folder / "record.json").read_bytes()
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(folder / "config.yaml")])
    assert "holds a finished run" in capsys.readouterr().err
    assert (folder / "record.json").read_bytes() == before


def test_another_configuration_in_the_same_folder_is_refused(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus
) -> None:
    planned = config(byte_corpus, undisturbed["transformer"])
    planned["recorder"]["run_id"] = "other"
    with pytest.raises(InputError, match="trained from another configuration"):
        train_trunk([planned])


def test_training_reduces_the_loss(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = config(byte_corpus, tmp_path / "run", steps=150)
    train_trunk([planned])
    record = read_record(tmp_path / "run" / "record.json")
    assert record.losses["test"]["loss_nats"] < math.log(256) - 1.5


def test_a_checkpoint_of_another_vocabulary_gets_one_line(
    undisturbed: dict[str, Path], text_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = CorpusConfig(
        name="bpe", source="text", paths=(str(text_folder),), val_share=0.1, test_share=0.1, n_vocab=300
    )
    corpus = build_corpus(other, tmp_path / "bpe")
    folder = undisturbed["lstm"]
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "test",
                "--config",
                str(folder / "config.yaml"),
                "--ckpt_path",
                str(folder / "checkpoints" / "final.ckpt"),
                "--data.corpus",
                str(corpus.folder),
            ]
        )
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "of another network or vocabulary" in error and "Traceback" not in error
    # Looking at a finished run changes nothing in its folder.
    assert before == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_noise_positions_are_no_part_of_a_studys_positions(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    for name, n_noise in (("plain", 0), ("noisy", 12)):
        planned = config(byte_corpus, tmp_path / "study" / name)
        planned["data"]["noise_suffix_tokens"] = n_noise
        train_trunk([planned])
    study = load_study(tmp_path / "study")
    assert study.positions().groupby("run")["position"].max().to_dict() == {"plain": 32, "noisy": 20}


def test_a_batch_that_changes_on_the_way_is_refused(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    scheduler = "pytorch_lightning.callbacks.GradientAccumulationScheduler"
    planned["trainer"]["callbacks"] = [{"class_path": scheduler, "init_args": {"scheduling": {"2": 2}}}]
    with pytest.raises(InputError, match="GradientAccumulationScheduler would change the batch"):
        train_trunk([planned])
