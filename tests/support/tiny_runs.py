"""Runs of thirty steps and a few hundred weights, and what makes two of them the same."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.interrupts import STOP_SIGNALS, Interrupted
from scaling_laws.study.records import RunRecord, read_record
from scaling_laws.training.checkpoint import AtomicCheckpointIO
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.probe import FILE_NAME
from scaling_laws.training.recorder import RunRecorder
from scaling_laws.training.run import train_trunk

STEPS = 30
WALL_CLOCK = ["elapsed_s", "tokens_per_s", "model_flops_utilisation"]
RECORDER_STATE = (
    "first_loss_nats",
    "loss_sum",
    "loss_count",
    "largest_gradient_norm",
    "summed_learning_rate",
)
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
            "evaluation_corpora": ["all"],
            "evaluation_windows": 8,
            "final_windows": 32,
            "evaluations_per_doubling": 1,
            "probe_windows": 2,
        },
        "noise_scale": {"every_n_steps": 5},
    }


def checkpoint(path: Path) -> dict[str, Any]:
    """A whole checkpoint."""
    return AtomicCheckpointIO().load_checkpoint(path)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """What a finished run has learned."""
    state: dict[str, torch.Tensor] = checkpoint(folder / "checkpoints" / "final.ckpt")["state_dict"]
    return state


def assert_same_state(one: Path, other: Path) -> None:
    """Bitwise equal weights, optimiser, random generators and loss sums of two checkpoints."""
    first, second = checkpoint(one), checkpoint(other)
    assert first["global_step"] == second["global_step"]
    for part in ("state_dict", "optimizer_states"):
        assert_equal(first[part], second[part], part)
    for callback, keys in (("RunCheckpoints", ("random",)), ("RunRecorder", RECORDER_STATE)):
        for key in keys:
            assert_equal(first["callbacks"][callback][key], second["callbacks"][callback][key], key)


def assert_equal(one: Any, other: Any, where: str) -> None:
    """Equality of nested containers, bitwise for tensors."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_equal(left, right, f"{where}[{index}]")
    else:
        assert one == other, where


def assert_same_run(one: Path, other: Path) -> None:
    """Bitwise equal final states, curves, positions and records, wall-clock fields aside."""
    assert_same_state(one / "checkpoints" / "final.ckpt", other / "checkpoints" / "final.ckpt")
    assert_same_tables(one, other)


def assert_same_tables(one: Path, other: Path) -> None:
    """Bitwise equal curves, positions and records, wall-clock fields aside."""
    for file in ("curve.csv", "position_losses.csv"):
        tables = [
            pd.read_csv(folder / file).drop(columns=WALL_CLOCK, errors="ignore") for folder in (one, other)
        ]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert (one / FILE_NAME).read_bytes() == (other / FILE_NAME).read_bytes()
    first, second = (comparable(read_record(folder / "record.json")) for folder in (one, other))
    assert first == second


def comparable(record: RunRecord) -> dict[str, Any]:
    aside = (
        "name",
        "trunk",
        "study",
        "elapsed_s",
        "evaluation_s",
        "tokens_per_s",
        "model_flops_utilisation",
        "peak_memory_bytes",
        "trained_tokens",
        "git_revision",
        "files",
    )
    return {key: value for key, value in vars(record).items() if key not in aside}


# --- ways to end before the end ----------------------------------------------------------------------


class Interruption(Exception):
    """Stands for whatever may end a process in the middle."""


def fail_in_step(planned: dict[str, Any], step: int) -> None:
    """Train with a checkpoint after every step, and fail before that of `step`, its row being written."""
    original = RunRecorder.on_train_batch_end

    def failing(self: Any, trainer: Any, *arguments: Any) -> None:
        original(self, trainer, *arguments)
        if trainer.global_step == step:
            raise Interruption

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(RunRecorder, "on_train_batch_end", failing)
        train_trunk([planned | {"checkpoints": {"every_s": 0.0}}])


def stop_in_step(
    configs: list[dict[str, Any]],
    run: int,
    step: int,
    *,
    micro_batch: int = 0,
    train: Callable[[list[dict[str, Any]]], None] = train_trunk,
) -> Interrupted:
    """Train until a signal comes in the middle of a step of the run of that index; the kinds take turns."""
    original = LanguageModel.training_step
    root = configs[run]["trainer"]["default_root_dir"]
    accumulated = configs[run]["trainer"].get("accumulate_grad_batches", 1)
    number = STOP_SIGNALS[step % len(STOP_SIGNALS)]
    sent: list[int] = []

    def signalled(self: LanguageModel, window: torch.Tensor, batch_idx: int) -> torch.Tensor:
        here = (self.trainer.default_root_dir, self.trainer.global_step, batch_idx % accumulated)
        if here == (root, step - 1, micro_batch) and not sent:  # measuring the noise comes here once more
            sent.append(number)
            os.kill(os.getpid(), number)
        return original(self, window, batch_idx)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted) as stopped:
        patch.setattr(LanguageModel, "training_step", signalled)
        train(configs)
    assert stopped.value.code == 128 + number
    assert not (Path(root) / "record.json").exists()
    return stopped.value


def refused(call: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of standard error of a command that ends with status 2."""
    with pytest.raises(SystemExit) as stopped:
        call()
    assert stopped.value.code == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    return errors.strip().splitlines()[-1]
