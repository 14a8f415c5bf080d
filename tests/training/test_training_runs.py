"""Whole runs: what they leave behind, exact resume, exact branches, and what goes wrong in one clear line."""

from __future__ import annotations

import copy
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

from scaling_laws.cli import main
from scaling_laws.data.config import CorpusConfig
from scaling_laws.data.tokens import TokenCorpus, build_corpus
from scaling_laws.errors import InputError
from scaling_laws.records import CURVE_COLUMNS, POSITION_COLUMNS, RunRecord, read_record
from scaling_laws.training import run
from scaling_laws.training.checkpoint import AtomicCheckpointIO, is_whole
from scaling_laws.training.lightning_cli import instantiate
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.run import train_trunk

STEPS = 30
WALL_CLOCK = ["elapsed_s", "tokens_per_s", "model_flops_utilisation"]
FAMILIES = {
    "transformer": {
        "class_path": "scaling_laws.models.transformer.Transformer",
        "init_args": {"n_layer": 1, "d_model": 8, "n_heads": 2, "dropout": 0.1},
    },
    "lstm": {
        "class_path": "scaling_laws.models.lstm.LSTM",
        "init_args": {"n_layer": 2, "d_model": 8, "dropout": 0.1},
    },
}


def config(
    corpus: TokenCorpus, folder: Path, family: str = "transformer", steps: int = STEPS
) -> dict[str, Any]:
    return {
        "seed_everything": 1,
        "model": {
            "network": copy.deepcopy(FAMILIES[family]),
            "learning_rate": 0.01,
            "schedule": {"warmup_steps": 5, "cooldown_share": 0.2},
        },
        "data": {"corpus": str(corpus.folder), "n_ctx": 32, "batch_sequences": 4, "seed": 7},
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": steps,
            "gradient_clip_val": 1.0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(folder),
        },
        "recorder": {
            "study": "s",
            "run_id": f"{family}-{steps}",
            "log_every_n_steps": 4,
            "evaluation_windows": 8,
            "final_windows": 32,
            "evaluations_per_doubling": 1,
        },
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = AtomicCheckpointIO().load_checkpoint(
        folder / "checkpoints" / "final.ckpt"
    )["state_dict"]
    return state


def assert_same_run(one: Path, other: Path) -> None:
    """Bitwise equal weights, curves, positions and records, wall-clock fields aside."""
    for name, weight in weights(one).items():
        assert torch.equal(weight, weights(other)[name]), name
    for file in ("curve.csv", "position_losses.csv"):
        tables = [
            pd.read_csv(folder / file).drop(columns=WALL_CLOCK, errors="ignore") for folder in (one, other)
        ]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
    first, second = (comparable(read_record(folder / "record.json")) for folder in (one, other))
    assert first == second


def comparable(record: RunRecord) -> dict[str, Any]:
    aside = (
        "name",
        "trunk",
        "study",
        "elapsed_s",
        "tokens_per_s",
        "model_flops_utilisation",
        "peak_memory_bytes",
        "trained_tokens",
        "git_revision",
    )
    return {key: value for key, value in vars(record).items() if key not in aside}


@pytest.fixture(scope="module")
def undisturbed(byte_corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each family from the start to its end."""
    folders = {}
    for family in FAMILIES:
        folders[family] = tmp_path_factory.mktemp(family) / "whole"
        train_trunk([config(byte_corpus, folders[family], family)])
    return folders


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
        "by_tokens/loss_nats/train",
        "learning_rate",
        "tokens_per_s",
    } <= set(events.Tags()["scalars"])
    points = events.Scalars("by_tokens/loss_nats/test")
    evaluated = curve.dropna(subset=["test_loss_nats"])
    assert [point.step for point in points] == evaluated["tokens"].tolist()
    assert [point.value for point in points] == pytest.approx(evaluated["test_loss_nats"].tolist(), rel=1e-6)


class Interruption(Exception):
    """Stands for whatever may end a process in the middle."""


def train_until(planned: dict[str, Any], stop_step: int) -> None:
    """Train with a checkpoint after every step, and fail in the middle of the step after `stop_step`."""
    original = run.RunRecorder.on_train_batch_end

    def interrupted(self: Any, trainer: Any, *arguments: Any) -> None:
        original(self, trainer, *arguments)
        if trainer.global_step == stop_step + 1:  # its row may have been written: it must be forgotten
            raise Interruption

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(run.RunRecorder, "on_train_batch_end", interrupted)
        train_trunk([planned | {"checkpoints": {"every_s": 0.0}}])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stop_step", [1, 4, 13, 24, 29])
def test_resume_is_exact(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, family: str, stop_step: int
) -> None:
    folder = tmp_path / "run"
    planned = config(byte_corpus, folder, family)
    train_until(planned, stop_step)
    assert not (folder / "record.json").exists()
    train_trunk([planned])
    assert_same_run(undisturbed[family], folder)
    events = EventAccumulator(str(folder))
    events.Reload()
    steps = [point.step for point in events.Scalars("loss_nats/train")]
    assert steps == pd.read_csv(folder / "curve.csv")["step"].tolist()  # no point twice


@pytest.mark.parametrize("stop_step", [3, 17])
def test_ctrl_c_in_the_middle_of_a_step_costs_nothing_but_that_step(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, stop_step: int
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    original = LanguageModel.on_before_optimizer_step

    def interrupted(self: LanguageModel, optimizer: torch.optim.Optimizer) -> None:
        original(self, optimizer)
        if self.trainer.global_step == stop_step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises((KeyboardInterrupt, SystemExit)):
        patch.setattr(LanguageModel, "on_before_optimizer_step", interrupted)
        train_trunk([planned | {"checkpoints": {"every_s": 0.0}}])
    assert not (tmp_path / "run" / "record.json").exists()
    train_trunk([planned])
    assert_same_run(undisturbed["transformer"], tmp_path / "run")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cooldown_branch_is_the_run_from_the_start(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, family: str
) -> None:
    trunk = config(byte_corpus, tmp_path / "trunk", family, steps=60)
    branch = config(byte_corpus, tmp_path / "branch", family)
    train_trunk([trunk, branch])
    assert_same_run(undisturbed[family], tmp_path / "branch")
    record = read_record(tmp_path / "branch" / "record.json")
    assert record.trained_tokens == 6 * 4 * 32  # the cooldown alone
    assert not list((tmp_path / "trunk" / "checkpoints").glob("step_*"))


def test_a_branch_without_its_trunks_checkpoint_is_trained_from_the_start(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    trunk = config(byte_corpus, tmp_path / "trunk", steps=60)
    train_trunk([trunk])
    branch = config(byte_corpus, tmp_path / "branch")
    train_trunk([trunk, branch])
    assert_same_run(undisturbed["transformer"], tmp_path / "branch")
    assert read_record(tmp_path / "branch" / "record.json").trained_tokens == STEPS * 4 * 32


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
    tables = [pd.read_csv(folder / "curve.csv").drop(columns=WALL_CLOCK) for folder in (whole, split)]
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
    assert "diverged: the training loss is nan at step 4; lower the learning rate" in capsys.readouterr().err


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


def test_a_damaged_checkpoint_is_noticed(undisturbed: dict[str, Path], tmp_path: Path) -> None:
    good = undisturbed["transformer"] / "checkpoints" / "final.ckpt"
    assert is_whole(good)
    content = good.read_bytes()
    for name, damaged in {
        "empty": b"",
        "half": content[: len(content) // 2],
        "flipped": content[:1000] + bytes([content[1000] ^ 1]) + content[1001:],
    }.items():
        path = tmp_path / f"{name}.ckpt"
        path.write_bytes(damaged)
        assert not is_whole(path)
        with pytest.raises(InputError, match="the checkpoint is damaged"):
            AtomicCheckpointIO().load_checkpoint(path)
    with pytest.raises(InputError, match="could not be read"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "absent.ckpt")


def test_resume_falls_back_to_the_previous_checkpoint(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    planned = config(byte_corpus, folder)
    train_until(planned, 20)
    last = folder / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1])
    train_trunk([planned])
    assert_same_run(undisturbed["transformer"], folder)


def test_training_reduces_the_loss(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = config(byte_corpus, tmp_path / "run", steps=150)
    trainer, module, data = instantiate(planned)
    trainer.fit(module, datamodule=data)
    record = read_record(tmp_path / "run" / "record.json")
    assert record.losses["test"]["loss_nats"] < math.log(256) - 1.5


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content: content[:1000], "the checkpoint is damaged"),
        (lambda content: b"", "the checkpoint is damaged"),
        (None, "could not be read"),
    ],
)
def test_an_unusable_checkpoint_gets_one_line(
    undisturbed: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any, says: str
) -> None:
    folder = undisturbed["lstm"]
    path = tmp_path / "damaged.ckpt"
    if damage:
        path.write_bytes(damage((folder / "checkpoints" / "final.ckpt").read_bytes()))
    with pytest.raises(SystemExit) as stopped:
        main(["test", "--config", str(folder / "config.yaml"), "--ckpt_path", str(path)])
    assert stopped.value.code == 2 and says in capsys.readouterr().err


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
