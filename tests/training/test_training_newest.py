"""`fit` that can be requeued for ever: the newest checkpoint, exit statuses, SLURM, divergence."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.support.tiny_runs import assert_same_run, checkpoint, config, fail_in_step, refused, stop_in_step

from scaling_laws.cli import main
from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import read_record
from scaling_laws.training.checkpoint import is_whole
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.run import train_trunk

Printed = pytest.CaptureFixture[str]


def fit(planned: dict[str, Any], *more: str) -> None:
    """`scaling-laws fit --config FILE ...` of a planned run."""
    root = Path(planned["trainer"]["default_root_dir"])
    file = root.parent / f"{root.name}.yaml"
    file.write_text(yaml.safe_dump(planned), encoding="utf-8")
    main(["fit", "--config", str(file), *more])


def refusal(planned: dict[str, Any], capsys: Printed, *more: str) -> str:
    """The last line of standard error of a `fit` that ends with status 2."""
    return refused(lambda: fit(planned, *more), capsys)


# --- the newest checkpoint -------------------------------------------------------------------------


def test_one_command_from_the_start_to_the_end_and_beyond(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    for step in (7, 20):
        stop_in_step([planned], 0, step, train=lambda configs: fit(configs[0], "--ckpt_path", "newest"))
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"stopped after step {step} of 30" in line and "--ckpt_path newest" in line
    fit(planned, "--ckpt_path", "newest")
    assert_same_run(undisturbed["transformer"], tmp_path / "run")
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["ckpt_path"] is None
    before = (tmp_path / "run" / "record.json").read_bytes()
    capsys.readouterr()
    fit(planned, "--ckpt_path", "newest")  # requeued once too often
    printed = capsys.readouterr().out
    assert "the run is finished, 30 steps" in printed and "nothing is left to train" in printed
    assert (tmp_path / "run" / "record.json").read_bytes() == before


def test_an_unfinished_run_is_not_begun_anew_by_mistake(
    byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    stop_in_step([planned], 0, 5)
    assert "holds an unfinished run; resume it with --ckpt_path newest" in refusal(planned, capsys)


def test_a_sweeps_run_goes_on_by_fit(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    stop_in_step([planned], 0, 5)
    main(["fit", "--config", str(tmp_path / "run" / "config.yaml"), "--ckpt_path", "newest"])
    assert_same_run(undisturbed["transformer"], tmp_path / "run")


@pytest.mark.parametrize("word", ["last", "best", "hpc"])
def test_lightnings_words_for_checkpoints_are_not_taken_for_a_fresh_start(
    byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed, word: str
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    assert f"{word}: the checkpoint could not be read" in refusal(planned, capsys, "--ckpt_path", word)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"learning_rate": 0.02}},
        {"trainer": {"max_steps": 40}},
        {"trainer": {"gradient_clip_val": 2.0}},
        {"data": {"seed": 8}},
        {"recorder": {"log_every_n_steps": 2}},
    ],
)
def test_another_configurations_checkpoint_is_refused(
    byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed, change: dict[str, dict[str, Any]]
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    stop_in_step([planned], 0, 2)
    for section, values in change.items():
        planned[section] |= values
    assert "was trained from another configuration" in refusal(planned, capsys, "--ckpt_path", "newest")
    with pytest.raises(InputError, match="was trained from another configuration"):
        train_trunk([planned])


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_taken(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    fail_in_step(planned, 20)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1])
    fit(planned, "--ckpt_path", "newest")
    assert f"{last}: is damaged" in capsys.readouterr().err
    assert_same_run(undisturbed["transformer"], tmp_path / "run")


def test_two_damaged_checkpoints_cost_the_whole_run_and_no_more(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    fail_in_step(planned, 20)
    for name in ("last", "previous"):
        (tmp_path / "run" / "checkpoints" / f"{name}.ckpt").write_bytes(b"")
    train_trunk([planned])
    assert capsys.readouterr().err.count("is damaged") == 2
    assert_same_run(undisturbed["transformer"], tmp_path / "run")


# --- SLURM ----------------------------------------------------------------------------------------


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job step of one task."""
    for name in ("JOB_ID", "NTASKS", "NTASKS_PER_NODE", "NNODES"):
        monkeypatch.setenv(f"SLURM_{name}", "1")
    for name in ("PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "0")


def test_inside_slurm_no_other_runs_weights_are_loaded(
    slurm: None, undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    foreign = undisturbed["transformer"] / "checkpoints" / "final.ckpt"
    for name, train in (("sweep", lambda planned: train_trunk([planned])), ("fit", fit)):
        (tmp_path / name).mkdir()
        shutil.copy(foreign, tmp_path / name / "hpc_ckpt_1.ckpt")
        train(config(byte_corpus, tmp_path / name))
        assert_same_run(undisturbed["transformer"], tmp_path / name)
    assert len(list(tmp_path.glob("*/hpc_ckpt_*"))) == 2  # none was added: SIGUSR1 is ours


def test_slurms_warning_saves_and_ends(
    slurm: None, undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    for step, status in ((3, 130), (4, 143), (5, 138)):  # the kinds take turns
        assert stop_in_step([planned], 0, step).code == status
    assert not list(tmp_path.glob("run/hpc_ckpt_*"))
    train_trunk([planned])
    assert_same_run(undisturbed["transformer"], tmp_path / "run")


def test_srun_that_is_there_and_not_used_is_no_warning(
    undisturbed: dict[str, Path],
    byte_corpus: TokenCorpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Printed,
) -> None:
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\nexit 1\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", str(srun.parent), prepend=os.pathsep)
    fit(config(byte_corpus, tmp_path / "run"))
    assert "srun" not in capsys.readouterr().err
    assert_same_run(undisturbed["transformer"], tmp_path / "run")


# --- divergence -----------------------------------------------------------------------------------


def poison(patch: pytest.MonkeyPatch, step: int) -> None:
    """Let the update of one step destroy a weight, its loss being finite."""
    original = LanguageModel.optimizer_step

    def destroying(self: LanguageModel, *arguments: Any, **more: Any) -> None:
        original(self, *arguments, **more)
        if self.trainer.global_step == step - 1:  # the step is counted when this returns
            with torch.no_grad():
                next(self.parameters()).view(-1)[0] = float("nan")

    patch.setattr(LanguageModel, "optimizer_step", destroying)


def test_weights_that_are_not_finite_are_never_saved(
    byte_corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    poison(monkeypatch, 10)
    assert "diverged" in refusal(planned | {"checkpoints": {"every_s": 0.0}}, capsys)
    left = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert [path.name for path in left] == ["last_good.ckpt"] and is_whole(left[0])
    state = checkpoint(left[0])
    assert all(weight.isfinite().all() for weight in state["state_dict"].values())
    record = read_record(tmp_path / "run" / "record.json")
    assert record.status == "diverged" and "those after step 8" in record.reason  # the last good row
    # Requeued, it says the same again.
    assert "diverged" in refusal(planned, capsys, "--ckpt_path", "newest")


def test_a_signal_after_the_weights_are_gone_keeps_the_good_ones(
    byte_corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = config(byte_corpus, tmp_path / "run") | {"checkpoints": {"every_s": 0.0}}
    poison(monkeypatch, 10)
    assert "up to step 9 is saved" in stop_in_step([planned], 0, 10).message
    assert checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 9


def test_a_run_that_diverged_with_finite_weights_keeps_them(
    byte_corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    original = LanguageModel.training_step

    def spiking(self: LanguageModel, window: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = original(self, window, batch_idx)
        return loss + (float("inf") if self.trainer.global_step == 11 else 0.0)  # gradients stay finite

    monkeypatch.setattr(LanguageModel, "training_step", spiking)
    train_trunk([planned])
    assert read_record(tmp_path / "run" / "record.json").status == "diverged"
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["last_good.ckpt"]
    assert checkpoint(tmp_path / "run" / "checkpoints" / "last_good.ckpt")["global_step"] == 12


# --- what is not ours ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.yaml", "curve.csv", "events.out.tfevents.1.mine"])
def test_a_run_is_not_trained_over_somebodys_own_files(
    byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed, name: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("model: mine", encoding="utf-8")
    said = refusal(config(byte_corpus, tmp_path / "mine"), capsys)
    assert f"mine: holds {name}, which no run wrote; name an empty folder" in said
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [name]


def test_no_run_is_called_as_the_reports_folders(
    byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / "study").mkdir()
    said = refusal(config(byte_corpus, tmp_path / "study" / "summary"), capsys)
    assert "a run cannot be called 'summary'" in said


def test_a_run_is_trained_through_no_link(byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed) -> None:
    for name in ("run", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "elsewhere")
    assert "checkpoints: is a symbolic link" in refusal(config(byte_corpus, tmp_path / "run"), capsys)
    assert not list((tmp_path / "elsewhere").iterdir())
