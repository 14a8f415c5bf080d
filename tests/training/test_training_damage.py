"""Files that were damaged are noticed before they are used, in one line; or the damage can do no harm."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.support.tiny_runs import assert_same_run, checkpoint, config, fail_in_step

from scaling_laws.cli import main
from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import check_file, read_failure, read_record, write_failure
from scaling_laws.study.runs import load_study
from scaling_laws.training import checkpoint as checkpoint_module
from scaling_laws.training.checkpoint import VERSION, AtomicCheckpointIO, is_whole
from scaling_laws.training.resumable_csv import ResumableCsv
from scaling_laws.training.run import train_one_run, train_trunk

N_FLIPS = 100


def damages(content: bytes) -> Iterator[bytes]:
    """Nothing, half, and the content with one bit flipped in each of 100 places."""
    yield b""
    yield content[: len(content) // 2]
    places = random.Random(0)
    for _ in range(N_FLIPS):
        place = places.randrange(len(content))
        yield content[:place] + bytes([content[place] ^ 1 << places.randrange(8)]) + content[place + 1 :]


def assert_each_is_noticed(path: Path, use: Callable[[], object], says: str | None = None) -> None:
    """Every damage of a file makes its use an InputError of one line that names the file."""
    whole = path.read_bytes()
    for damaged in damages(whole):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=says) as refused:
            use()
        assert str(path) in str(refused.value) and "\n" not in str(refused.value)
    path.write_bytes(whole)
    use()


@pytest.fixture
def finished(undisturbed: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a finished run: `study/run`."""
    folder = tmp_path / "study" / "whole"
    shutil.copytree(undisturbed["transformer"], folder)
    return folder


# --- a finished run --------------------------------------------------------------------------------


def test_damaged_checkpoint(finished: Path) -> None:
    path = finished / "checkpoints" / "final.ckpt"
    assert_each_is_noticed(path, lambda: checkpoint(path), "the checkpoint is damaged")
    assert is_whole(path)
    with pytest.raises(InputError, match="could not be read"):
        checkpoint(path.with_name("absent.ckpt"))


def test_damaged_record(finished: Path) -> None:
    path = finished / "record.json"
    assert_each_is_noticed(path, lambda: read_record(path))
    # A study with a damaged record goes on without that run, and says so.
    path.write_bytes(path.read_bytes()[:-100])
    study = load_study(finished.parent)
    assert study.runs.empty and "not a readable record" in study.left_out["reason"].item()


@pytest.mark.parametrize("name", ["curve.csv", "position_losses.csv"])
def test_damaged_tables(finished: Path, name: str) -> None:
    study = load_study(finished.parent)
    read = study.curves if name == "curve.csv" else study.positions
    assert_each_is_noticed(finished / name, read, "is not what the run wrote")


def test_damaged_configuration(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, record = finished / "config.yaml", read_record(finished / "record.json")
    assert_each_is_noticed(path, lambda: check_file(path, record), "is not what the run wrote")
    path.write_text(path.read_text().replace("0.01", "0.02"))
    again = finished.parent / "again"
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(path), "--trainer.default_root_dir", str(again)])
    assert stopped.value.code == 2 and not again.exists()
    assert "is not what the run wrote" in capsys.readouterr().err


def test_damaged_failure_harms_nobody(tmp_path: Path) -> None:
    write_failure(tmp_path, "out of memory")
    path = tmp_path / "failure.json"
    for damaged in damages(path.read_bytes()):
        path.write_bytes(damaged)
        assert isinstance(read_failure(tmp_path), str | None)  # it is shown, and nothing depends on it


# --- other versions --------------------------------------------------------------------------------


def test_record_of_another_version(finished: Path) -> None:
    path = finished / "record.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(InputError, match="not a record of schema 1"):
        read_record(path)


def test_checkpoint_of_another_version(
    byte_corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "VERSION", 0)
        fail_in_step(planned, 9)
    with pytest.raises(InputError, match=r"last.ckpt: is a checkpoint of version 0, and this is version 1"):
        train_trunk([planned])


def test_checkpoint_of_another_program(tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"weight": torch.zeros(3)}}, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match="is a checkpoint of version None"):
        checkpoint(tmp_path / "x.ckpt")


def test_a_sharded_checkpoint_of_another_configuration(tmp_path: Path) -> None:
    """Its folder's metadata hold no weights: they must not be taken for weights that hold no metadata."""
    metadata = {"global_step": 3, "callbacks": {"RunCheckpoints": {"version": VERSION, "identity": "other"}}}
    io = AtomicCheckpointIO()
    io.require_own(metadata, tmp_path / "last.ckpt")
    io.identity = "mine"
    with pytest.raises(InputError, match="trained from another configuration"):
        io.require_own(metadata, tmp_path / "last.ckpt")


# --- an unfinished run -----------------------------------------------------------------------------


def test_damaged_rows_are_noticed_by_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    table = ResumableCsv(path, ("step", "loss"), None, writes=True)
    table.write({"step": step, "loss": 1 / step} for step in range(1, 30))
    state = table.state()
    table.write([{"step": 30, "loss": 0.5}])  # after the checkpoint

    whole = path.read_bytes()
    for damaged in damages(whole[: state["n_bytes"]]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"table\.csv: is not what the run wrote up to its checkpoint"):
            ResumableCsv(path, ("step", "loss"), state, writes=True)
    for tail in damages(whole[state["n_bytes"] :]):
        path.write_bytes(whole[: state["n_bytes"]] + tail)
        ResumableCsv(path, ("step", "loss"), state, writes=True)
        assert path.read_bytes() == whole[: state["n_bytes"]]


@pytest.mark.parametrize("name", ["curve.csv", "position_losses.csv"])
def test_a_run_with_damaged_rows_does_not_go_on(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, name: str
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    fail_in_step(planned, 20)
    path = tmp_path / "run" / name
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"step", b"stop", 1))
    with pytest.raises(InputError, match=f"{name}: is not what the run wrote up to its checkpoint"):
        train_trunk([planned])
    path.unlink()
    with pytest.raises(InputError, match=f"{name}: is not what the run wrote up to its checkpoint"):
        train_trunk([planned])
    path.write_bytes(whole)
    train_trunk([planned])
    assert_same_run(undisturbed["transformer"], tmp_path / "run")


def test_a_sweep_writes_the_configuration_anew(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    fail_in_step(planned, 20)
    path = tmp_path / "run" / "config.yaml"
    path.write_bytes(path.read_bytes()[:50])
    train_trunk([planned])
    assert yaml.safe_load(path.read_text())["trainer"] == planned["trainer"]
    assert_same_run(undisturbed["transformer"], tmp_path / "run")


def test_a_branch_refuses_the_damaged_rows_of_its_trunk(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    trunk: dict[str, Any] = config(byte_corpus, tmp_path / "trunk", steps=40)
    branch = config(byte_corpus, tmp_path / "branch")

    def train_the_trunk(config: dict[str, Any], *arguments: Any) -> None:
        if config == trunk:
            train_one_run(config, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *arguments, **more: None)  # the trunk's checkpoint stays
        train_trunk([trunk, branch], train_run=train_the_trunk)
    path = tmp_path / "trunk" / "curve.csv"
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    with pytest.raises(InputError, match=r"trunk/curve.csv: is not what the run wrote"):
        train_trunk([trunk, branch])


# --- through the command line ----------------------------------------------------------------------


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
