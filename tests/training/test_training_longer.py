"""Going on: to a longer horizon in the same folder, from another run's checkpoint, with its weights."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.support.tiny_runs import assert_same_run, checkpoint, config, refused, stop_in_step, weights

from scaling_laws.cli import main
from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.records import read_record
from scaling_laws.study.runs import load_study
from scaling_laws.training import longer
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.run import train_trunk

Printed = pytest.CaptureFixture[str]


def fit(planned: dict[str, Any], *more: str) -> None:
    root = Path(planned["trainer"]["default_root_dir"])
    file = root.parent / f"{root.name}.yaml"
    file.write_text(yaml.safe_dump(planned), encoding="utf-8")
    main(["fit", str(file), *more])


def refusal(planned: dict[str, Any], capsys: Printed, *more: str) -> str:
    return refused(lambda: fit(planned, *more), capsys)


@pytest.fixture(scope="module")
def kept(early_evaluations: None, byte_corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with one finished run of thirty steps that kept its state before the cooldown."""
    study = tmp_path_factory.mktemp("study")
    train_trunk([config(byte_corpus, study / "run") | {"checkpoints": {"keep": "trunk"}}])
    return study


@pytest.fixture(scope="module")
def from_the_start(
    early_evaluations: None, byte_corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run of fifty steps."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train_trunk([at(byte_corpus, folder, 50)])
    return folder


def at(corpus: TokenCorpus, folder: Path, steps: int) -> dict[str, Any]:
    planned = config(corpus, folder) | {"checkpoints": {"keep": "trunk"}}
    planned["trainer"]["max_steps"] = steps
    return planned


def test_a_longer_horizon_goes_on_before_the_cooldown_and_the_record_stays(
    kept: Path, from_the_start: Path, byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    shutil.copytree(kept, tmp_path / "study")
    run, branch = tmp_path / "study" / "run", tmp_path / "study" / "run-30-steps"
    fit(at(byte_corpus, run, 50), "--ckpt_path", "newest")
    said = capsys.readouterr().out
    assert f"goes on from step 24 to 50; the run of 30 steps is {branch}" in said
    assert_same(run, from_the_start)
    before, record = read_record(kept / "run" / "record.json"), read_record(branch / "record.json")
    assert record.losses == before.losses and (record.name, record.trunk) == (branch.name, "run")
    assert record.files == before.files  # all of its tables
    assert torch.equal(
        next(iter(final(branch)["state_dict"].values())),
        next(iter(final(kept / "run")["state_dict"].values())),
    )
    longer_record = read_record(run / "record.json")
    assert longer_record.trained_tokens == 26 * 4 * 32  # from step 24 on
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_steps"] == 50
    study = load_study(tmp_path / "study")
    assert sorted(study.runs["run"]) == ["run", "run-30-steps"]
    fit(at(byte_corpus, run, 50), "--ckpt_path", "newest")
    assert "the run is finished, 50 steps" in capsys.readouterr().out
    fit(at(byte_corpus, run, 70), "--ckpt_path", "newest")  # and on
    assert read_record(run / "record.json").steps == 70
    assert read_record(tmp_path / "study" / "run-50-steps" / "record.json").steps == 50


def final(run: Path) -> dict[str, Any]:
    return checkpoint(run / "checkpoints" / "final.ckpt")


def assert_same(one: Path, other: Path) -> None:
    """The same run, which in one folder was called and shared otherwise."""
    assert_same_run(one, other)


@pytest.mark.parametrize("write", range(8))
def test_killed_at_any_moment_it_goes_on(
    kept: Path, from_the_start: Path, byte_corpus: TokenCorpus, tmp_path: Path, write: int
) -> None:
    """The k-th change of a file fails: again, the same command ends in the same run."""
    shutil.copytree(kept, tmp_path / "study")
    run = tmp_path / "study" / "run"
    left = [write]

    class Killed(BaseException):
        pass

    def once_killed(original: Any) -> Any:
        def changing(*arguments: Any, **more: Any) -> Any:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return original(*arguments, **more)

        return changing

    with pytest.MonkeyPatch.context() as patch:
        for name in ("write_atomically", "write_record", "move"):
            patch.setattr(longer, name, once_killed(getattr(longer, name)))
        try:
            fit(at(byte_corpus, run, 50), "--ckpt_path", "newest")
        except Killed:
            assert (run / "record.json").exists()
    if (run / "record.json").exists() and read_record(run / "record.json").steps == 30:
        fit(at(byte_corpus, run, 50), "--ckpt_path", "newest")
    assert_same(run, from_the_start)
    assert read_record(tmp_path / "study" / "run-30-steps" / "record.json").steps == 30


def test_interrupted_on_its_way_it_goes_on(
    kept: Path, from_the_start: Path, byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    shutil.copytree(kept, tmp_path / "study")
    planned = at(byte_corpus, tmp_path / "study" / "run", 50)
    for step in (25, 40):
        stop_in_step([planned], 0, step, train=lambda configs: fit(configs[0], "--ckpt_path", "newest"))
    fit(planned, "--ckpt_path", "newest")
    assert_same(tmp_path / "study" / "run", from_the_start)
    assert read_record(tmp_path / "study" / "run" / "record.json").trained_tokens == 26 * 4 * 32


def test_without_the_state_it_says_what_the_longer_run_costs(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    shutil.copytree(undisturbed["transformer"], tmp_path / "whole")
    before = {path: path.read_bytes() for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    planned = config(byte_corpus, tmp_path / "whole")
    planned["trainer"]["max_steps"] = 60
    said = refusal(planned, capsys, "--ckpt_path", "newest")
    assert "kept no state before its cooldown (step 24; --checkpoints.keep trunk keeps it)" in said
    record = read_record(tmp_path / "whole" / "record.json")
    n_parameters = sum(
        n for name, n in record.parameters.items() if "embedding" not in name and name != "head"
    )
    flops = float(re.findall(r"all (\S+) FLOPs", said)[0])
    assert flops == pytest.approx(6 * n_parameters * 60 * 4 * 32, rel=0.05)
    assert before == {path: path.read_bytes() for path in (tmp_path / "whole").rglob("*") if path.is_file()}


def test_a_shorter_horizon_or_another_rate_is_no_longer_run(
    kept: Path, byte_corpus: TokenCorpus, capsys: Printed
) -> None:
    planned = at(byte_corpus, kept / "run", 20)
    assert "trainer.max_steps is 20, and the run's was 30" in refusal(
        planned, capsys, "--ckpt_path", "newest"
    )
    planned = at(byte_corpus, kept / "run", 50)
    said = refusal(planned, capsys, "--ckpt_path", "newest", "--model.learning_rate", "0.5")
    assert "model.learning_rate is 0.5" in said and (kept / "run" / "record.json").exists()


# --- another run's checkpoint --------------------------------------------------------------------------


def test_another_runs_checkpoint_is_refused_by_its_name(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    theirs = undisturbed["transformer"] / "checkpoints" / "final.ckpt"
    planned = config(byte_corpus, tmp_path / "new")
    said = refusal(planned, capsys, "--ckpt_path", str(theirs))
    assert "is a checkpoint of the run 'whole'" in said and "--initial_weights" in said
    stop_in_step([planned], 0, 3)  # it has rows of its own, and another rate
    said = refusal(planned, capsys, "--ckpt_path", str(theirs), "--model.learning_rate", "0.5")
    assert "was trained from another configuration" in said and "of the run 'whole'" in said


def test_another_runs_weights_are_taken_where_asked_for(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, capsys: Printed
) -> None:
    theirs = undisturbed["transformer"] / "checkpoints" / "final.ckpt"
    planned = config(byte_corpus, tmp_path / "new")
    begun: list[dict[str, torch.Tensor]] = []
    original = LanguageModel.on_train_batch_start

    def watching(self: LanguageModel, window: torch.Tensor, batch_idx: int) -> None:
        if not begun:
            begun.append({name: weight.clone() for name, weight in self.state_dict().items()})
        original(self, window, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageModel, "on_train_batch_start", watching)
        fit(planned, "--initial_weights", str(theirs))
    for name, weight in weights(undisturbed["transformer"]).items():
        assert torch.equal(begun[0][name], weight)
    record = read_record(tmp_path / "new" / "record.json")
    first = read_record(undisturbed["transformer"] / "record.json")
    assert record.steps == 30 and record.losses["val"]["loss_nats"] < first.losses["val"]["loss_nats"]
    assert len(record.optimizer["initial_weights"]) == 64  # no law takes the two for one recipe
    said = refusal(planned, capsys, "--ckpt_path", "newest")
    assert "initial_weights is null" in said
