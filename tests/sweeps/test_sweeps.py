"""Sweeps that lose nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import optuna
import pytest
import yaml
from tests.support.small_sweep import arguments, edited

from scaling_laws.cli import main
from scaling_laws.study.runs import load_study
from scaling_laws.sweeps.plan.experiments import plan
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.sweeps.run import lease
from scaling_laws.sweeps.run.queue import CELL, WINDOW, Queue, queue_name

# --- the queue ------------------------------------------------------------------------------------


def nobody(cell: str) -> bool:
    return False


def test_the_queue_keeps_the_order_and_a_window(tmp_path: Path) -> None:
    queue = Queue(f"sqlite:///{tmp_path / 'queue.sqlite3'}", "s")
    cells = [f"cell{n:03d}" for n in range(WINDOW + 10)]
    assert queue.refill(cells, is_held=nobody) == WINDOW
    assert queue.refill(cells, is_held=nobody) == WINDOW  # those waiting are not asked for twice
    taken = []
    while found := queue.take():
        taken.append(found[1])
        queue.finish(found[0].number, 1.0)
    assert taken == cells[:WINDOW]
    queue.refill(cells[WINDOW:], is_held=nobody, is_wanted=lambda cell: cell != cells[WINDOW])
    assert queue.take()[1] == cells[WINDOW + 1]  # type: ignore[index]


def take_and_die(url: str) -> None:
    """A supervisor that is killed after it took two cells."""
    queue = Queue(url, "s")
    queue.take(), queue.take()
    os.kill(os.getpid(), signal.SIGKILL)


def states(url: str) -> dict[str, str]:
    study = optuna.load_study(storage=url, study_name="s")
    return {trial.user_attrs[CELL]: trial.state.name for trial in study.get_trials()}


def test_trials_of_a_supervisor_that_was_killed_are_released(tmp_path: Path) -> None:
    """But for those whose process lives on: the lease knows. Living supervisors' trials are theirs."""
    url = f"sqlite:///{tmp_path / 'queue.sqlite3'}"
    queue = Queue(url, "s")
    queue.refill(["dead", "orphan", "ours"], is_held=nobody)
    killed = multiprocessing.get_context("spawn").Process(target=take_and_die, args=(url,))
    killed.start()
    killed.join()
    (ours, _) = queue.take()  # type: ignore[misc]
    held = lease.take(tmp_path / "orphan")
    queue.refill([], is_held=lambda cell: lease.is_held(tmp_path / cell), ours=[ours.number])
    assert states(url) == {"dead": "FAIL", "orphan": "RUNNING", "ours": "RUNNING"}
    Queue(url, "s").refill([], is_held=lambda cell: lease.is_held(tmp_path / cell), ours=[ours.number])
    assert states(url)["ours"] == "RUNNING"
    held.close()  # type: ignore[union-attr]
    assert not lease.is_held(tmp_path / "orphan")


def test_a_trial_whose_taker_is_not_known_is_given_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor was killed, or lost its connection, between taking a cell and writing its name."""
    url = f"sqlite:///{tmp_path / 'queue.sqlite3'}"
    queue = Queue(url, "s")
    queue.refill(["cell"], is_held=nobody)
    optuna.load_study(storage=url, study_name="s").ask()
    queue.refill(["cell"], is_held=nobody)
    assert states(url) == {"cell": "RUNNING"}
    monkeypatch.setattr("scaling_laws.sweeps.run.queue.DOUBT_S", 0.0)
    assert queue.refill(["cell"], is_held=nobody) == 1
    assert states(url) == {"cell": "WAITING"}


def test_a_trial_that_was_failed_while_it_was_taken_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The taker was stopped between taking it and writing its name, and another released it."""
    url = f"sqlite:///{tmp_path / 'queue.sqlite3'}"
    queue = Queue(url, "s")
    queue.refill(["cell"], is_held=nobody)
    set_user_attr = optuna.Trial.set_user_attr

    def stopped(trial: optuna.Trial, key: str, value: str) -> None:
        optuna.load_study(storage=url, study_name="s").tell(trial.number, state=optuna.trial.TrialState.FAIL)
        set_user_attr(trial, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "set_user_attr", stopped)
        assert queue.take() is None
    assert queue.refill(["cell"], is_held=nobody) == 1
    assert queue.take() is not None


def test_two_folders_of_one_name_have_two_queues(tmp_path: Path) -> None:
    first, again, other = (queue_name("s", tmp_path / name) for name in ("a", "a", "b"))
    assert first == again != other
    url = f"sqlite:///{tmp_path / 'queue.sqlite3'}"
    Queue(url, first).refill(["cell"], is_held=nobody)
    assert Queue(url, other).take() is None
    assert Queue(url, again).take() is not None


def test_an_unusable_storage_gets_one_line_without_the_password(
    sweep_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for url, says in (
        ("nonsense", "Could not parse"),
        ("mongodb://me:secret@127.0.0.1:1/x", "unknown scheme"),
        ("postgresql://me:sec/ret@127.0.0.1:x/x", ""),
        ("postgresql://me:secret@127.0.0.1:1/x", "refused"),
        ("postgresql://me:s%65cret@127.0.0.1:1/x?password=secret", "refused"),
        ("postgresql://me:secret@nowhere.invalid/x", "nowhere.invalid"),
        (f"sqlite:///{sweep_file.parent}/no/such/folder/queue.sqlite3", "unable to open"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments(sweep_file, "--storage", url))
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert "storage cannot be opened" in error and error.count("\n") == 1 and says in error
        assert not any(secret in error for secret in ("secret", "s%65cret", "sec/ret"))


# --- whole sweeps ---------------------------------------------------------------------------------


def test_a_sweep_trains_all_and_again_trains_nothing(
    sweep_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(arguments(sweep_file, "--workers", "2"))
    printed = capsys.readouterr().out
    folder = sweep_file.parent / "logs" / "s"
    study = load_study(folder)
    assert len(study.runs) == 6 and len(study.left_out) == 0
    assert study.runs.groupby("trunk")["run"].count().sort_values().tolist() == [1, 1, 2, 2]
    for name, loss in zip(study.runs["run"], study.runs["loss"], strict=True):
        assert f"{name}  loss {loss:.4f}" in printed
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/record.json")}
    (folder / "queue.sqlite3").unlink()  # losing the database loses nothing
    main(arguments(sweep_file))
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*/record.json")}

    # Twice with one seed: the same records, wall-clock fields aside.
    shutil.move(folder, sweep_file.parent / "first")
    main(arguments(sweep_file, "--workers", "1"))
    aside = ("elapsed_s", "tokens_per_s", "model_flops_utilisation", "peak_memory_bytes", "files", "checksum")
    for path in folder.glob("*/record.json"):
        first = json.loads((sweep_file.parent / "first" / path.parent.name / "record.json").read_text())
        second = json.loads(path.read_text())
        assert {k: v for k, v in first.items() if k not in aside} == {
            k: v for k, v in second.items() if k not in aside
        }
        for file in ("position_losses.csv",):
            assert (path.parent / file).read_bytes() == (
                sweep_file.parent / "first" / path.parent.name / file
            ).read_bytes()


def test_one_failing_training_does_not_stop_the_others(
    sweep_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = plan(load_sweep(sweep_file), logs=sweep_file.parent / "logs")
    victim = planned.trunks[1].runs[0].name
    blocked = planned.folder / victim / "curve.csv"
    blocked.mkdir(parents=True)  # a folder where a file must go
    with pytest.raises(SystemExit) as stopped:
        main(arguments(sweep_file))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "1 trainings failed and are set aside" in error and victim in error
    assert "failed 3 times without getting further" in error and "--retry-failed tries them again" in error
    assert "curve.csv: could not be written (Is a directory)" in error
    study = load_study(planned.folder)
    assert len(study.runs) == 4
    assert set(study.left_out["run"]) == {run.name for run in planned.trunks[1].runs}
    assert study.left_out["reason"].str.contains("could not be written (Is a directory)", regex=False).all()
    blocked.rmdir()
    with pytest.raises(SystemExit):  # it is not tried again by itself
        main(arguments(sweep_file))
    assert "curve.csv: could not be written (Is a directory)" in capsys.readouterr().err
    assert len(load_study(planned.folder).runs) == 4
    main(arguments(sweep_file, "--retry-failed"))
    assert len(load_study(planned.folder).runs) == 6 and len(load_study(planned.folder).left_out) == 0


def test_a_diverged_run_leaves_a_row(sweep_file: Path) -> None:
    content = yaml.safe_load(sweep_file.read_text(encoding="utf-8"))
    content["ladders"] = content["ladders"][:1]
    content["ladders"][0]["learning_rate"]["at_1e5"] = 1e30
    content["ladders"][0]["learning_rate"]["at_most"] = 1e30
    content["trainer"] = {"accelerator": "cpu", "devices": 1}
    edited(sweep_file, **content, gradient_clip=0.0)
    main(arguments(sweep_file))
    study = load_study(sweep_file.parent / "logs" / "s")
    assert len(study.runs) == 0 and set(study.left_out["status"]) == {"diverged"}
    assert study.left_out["reason"].str.contains("loss is nan").all()


def test_a_record_of_another_configuration_is_refused(
    sweep_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(arguments(sweep_file))
    with pytest.raises(SystemExit):
        main(arguments(edited(sweep_file, weight_decay=0.3)))
    assert "was trained from another configuration" in capsys.readouterr().err
