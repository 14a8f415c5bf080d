"""Exact resume: whatever ends a run, and after whichever step, its end is that of an undisturbed one."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.support.tiny_runs import (
    FAMILIES,
    STEPS,
    assert_same_run,
    assert_same_state,
    assert_same_tables,
    config,
    fail_in_step,
    stop_in_step,
    weights,
)

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted, StopSignals
from scaling_laws.study.records import read_record
from scaling_laws.training.checkpoint import RunCheckpoints
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.run import train_trunk
from scaling_laws.training.verbs import training_cli

KEEP_TRUNK = {"keep": "trunk"}


@pytest.fixture(scope="module")
def states(byte_corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The checkpoint after every step of an undisturbed run of each family: `<step>.ckpt`."""
    folders = {}
    original = RunCheckpoints._save_last

    def keeping(self: RunCheckpoints, trainer: Any) -> None:
        original(self, trainer)
        shutil.copy(self.folder / "last.ckpt", self.folder.parent.parent / f"{trainer.global_step}.ckpt")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunCheckpoints, "_save_last", keeping)
        for family in FAMILIES:
            folders[family] = tmp_path_factory.mktemp(f"{family}-states")
            planned = config(byte_corpus, folders[family] / "run", family)
            train_trunk([planned | {"checkpoints": {"every_s": 0.0}}])
    return folders


# --- ended after every step ------------------------------------------------------------------------
# A life a step: life k goes on from what life k - 1 saved, and must save what an undisturbed run holds then.


@pytest.mark.parametrize(
    "end_after",
    [
        lambda planned, step: stop_in_step([planned], 0, step),
        lambda planned, step: fail_in_step(planned, step + 1),
    ],
    ids=["signal", "failure"],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_ended_after_every_step(
    undisturbed: dict[str, Path],
    states: dict[str, Path],
    byte_corpus: TokenCorpus,
    tmp_path: Path,
    family: str,
    end_after: Callable[[dict[str, Any], int], object],
) -> None:
    planned = config(byte_corpus, tmp_path / "run", family)
    for step in range(1, STEPS):
        end_after(planned, step)
        assert_same_state(tmp_path / "run" / "checkpoints" / "last.ckpt", states[family] / f"{step}.ckpt")
    train_trunk([planned])
    assert_same_run(undisturbed[family], tmp_path / "run")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trunk_and_its_branch_stopped_in_every_step(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, family: str
) -> None:
    trunk = config(byte_corpus, tmp_path / "trunk", family, steps=40)
    branch = config(byte_corpus, tmp_path / "branch", family)
    for step in range(1, STEPS):
        stop_in_step([trunk, branch], 0, step)
    for step in range(25, STEPS):  # the branch leaves the trunk after step 24
        stop_in_step([trunk, branch], 1, step)
    train_trunk([trunk, branch])
    assert_same_run(undisturbed[family], tmp_path / "branch")
    assert not list((tmp_path / "trunk" / "checkpoints").glob("step_*"))


def test_stopped_in_the_last_step_of_a_trunk(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    trunk = config(byte_corpus, tmp_path / "trunk", steps=40)
    branch = config(byte_corpus, tmp_path / "branch")
    original = LanguageModel.training_step

    def signalled(self: LanguageModel, window: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if self.trainer.global_step == 39:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, window, batch_idx)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted, match="143"):
        patch.setattr(LanguageModel, "training_step", signalled)
        train_trunk([trunk, branch])
    assert read_record(tmp_path / "trunk" / "record.json").status == "complete"
    assert not (tmp_path / "branch").exists()
    train_trunk([trunk, branch])
    assert_same_run(undisturbed["transformer"], tmp_path / "branch")


@pytest.mark.parametrize("micro_batch", [0, 1])
def test_stopped_in_the_middle_of_accumulated_batches(
    byte_corpus: TokenCorpus, tmp_path: Path, micro_batch: int
) -> None:
    runs = {name: config(byte_corpus, tmp_path / name, steps=6) for name in ("whole", "stopped")}
    for planned in runs.values():
        planned["trainer"]["accumulate_grad_batches"] = 2
    train_trunk([runs["whole"]])
    for step in range(1, 6):
        stop_in_step([runs["stopped"]], 0, step, micro_batch=micro_batch)
    train_trunk([runs["stopped"]])
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


# --- ended once ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", [2, 14, 30])
def test_resume_is_exact_and_draws_no_point_twice(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, family: str, step: int
) -> None:
    folder = tmp_path / "run"
    planned = config(byte_corpus, folder, family)
    fail_in_step(planned, step)
    assert not (folder / "record.json").exists()
    train_trunk([planned])
    assert_same_run(undisturbed[family], folder)
    events = EventAccumulator(str(folder))
    events.Reload()
    steps = [point.step for point in events.Scalars("loss_nats/train")]
    assert steps == pd.read_csv(folder / "curve.csv")["step"].tolist()


@pytest.mark.parametrize("stop_step", [3, 17])
def test_a_second_ctrl_c_costs_nothing_that_was_saved(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, stop_step: int
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    original = LanguageModel.on_before_optimizer_step

    def interrupted(self: LanguageModel, optimizer: torch.optim.Optimizer) -> None:
        original(self, optimizer)
        if self.trainer.global_step == stop_step:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LanguageModel, "on_before_optimizer_step", interrupted)
        train_trunk([planned | {"checkpoints": {"every_s": 0.0}}])
    assert signal.getsignal(signal.SIGINT) is before  # Lightning has it ignored from then on
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


# --- what is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_longer_horizon_goes_on_from_the_state_that_was_kept(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, family: str
) -> None:
    """It is the run from the start, but for what it trains itself; interrupted in the middle, too."""
    short = config(byte_corpus, tmp_path / "short", family, steps=STEPS // 2) | {"checkpoints": KEEP_TRUNK}
    train_trunk([short])
    start = round(0.8 * STEPS / 2)
    assert kept(tmp_path / "short") == {"final.ckpt", f"step_{start:08d}.ckpt"}
    longer = config(byte_corpus, tmp_path / "longer", family) | {"checkpoints": KEEP_TRUNK}
    stop_in_step([longer, short], 0, start + 3)
    train_trunk([longer, short])
    folder = tmp_path / "longer"
    torch.testing.assert_close(weights(folder), weights(undisturbed[family]), rtol=0, atol=0)
    assert_same_tables(undisturbed[family], folder)
    assert read_record(folder / "record.json").trained_tokens == (STEPS - start) * 4 * 32
    assert kept(folder) == {"final.ckpt", f"step_{round(0.8 * STEPS):08d}.ckpt"}
    assert kept(tmp_path / "short") == {"final.ckpt"}  # the longer one is what a still longer one needs


def test_final_weights_are_kept_without_moments_or_not_at_all(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    whole = (undisturbed["transformer"] / "checkpoints" / "final.ckpt").stat().st_size
    for keep in ("weights", "nothing"):
        planned = config(byte_corpus, tmp_path / keep) | {"checkpoints": {"keep": keep}}
        train_trunk([planned])
        assert_same_tables(undisturbed["transformer"], tmp_path / keep)
    assert kept(tmp_path / "nothing") == set()
    final = tmp_path / "weights" / "checkpoints" / "final.ckpt"
    assert final.stat().st_size < whole / 2
    torch.testing.assert_close(
        weights(tmp_path / "weights"), weights(undisturbed["transformer"]), rtol=0, atol=0
    )
    longer = training_cli(config(byte_corpus, tmp_path / "longer"))
    with StopSignals() as signals, pytest.raises(InputError, match="holds weights without the optimiser"):
        longer.train(final, signals, own=False)


def kept(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").glob("*")}


def test_a_checkpoint_loads_as_plain_weights(undisturbed: dict[str, Path]) -> None:
    for folder in undisturbed.values():
        torch.load(folder / "checkpoints" / "final.ckpt", weights_only=True)
