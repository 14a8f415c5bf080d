"""Sweeps that lose nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import optuna
import pytest
import yaml
from small_sweep import arguments, edited

from scaling_laws.cli import main
from scaling_laws.runs import load_study
from scaling_laws.sweeps import lease
from scaling_laws.sweeps.experiments import plan
from scaling_laws.sweeps.queue import CELL, WINDOW, Queue
from scaling_laws.sweeps.sweep_file import load_sweep

# --- the queue ------------------------------------------------------------------------------------


def test_the_queue_keeps_the_order_and_a_window(tmp_path: Path) -> None:
    queue = Queue(f"sqlite:///{tmp_path / 'queue.sqlite3'}", "s")
    cells = [f"cell{n:03d}" for n in range(WINDOW + 10)]
    queue.fill(cells)
    queue.fill(cells)  # those waiting are not asked for twice
    taken = []
    while found := queue.take():
        taken.append(found[1])
        queue.finish(found[0], 1.0)
    assert taken == cells[:WINDOW]
    queue.fill(cells[WINDOW:])
    assert queue.take()[1] == cells[WINDOW]  # type: ignore[index]


def test_running_trials_that_nobody_holds_are_released(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'queue.sqlite3'}"
    Queue(url, "s").fill(["dead", "alive"])
    queue = Queue(url, "s")
    queue.take(), queue.take()
    held = lease.take(tmp_path / "alive")
    queue.release(lambda cell: lease.is_held(tmp_path / cell))
    study = optuna.load_study(storage=url, study_name="s")
    states = {trial.user_attrs[CELL]: trial.state.name for trial in study.get_trials()}
    assert states == {"dead": "FAIL", "alive": "RUNNING"}
    held.close()  # type: ignore[union-attr]
    assert not lease.is_held(tmp_path / "alive")


def test_an_unusable_storage_gets_one_line_without_the_password(
    sweep_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for url in ("nonsense", "postgresql://me:secret@127.0.0.1:1/x"):
        with pytest.raises(SystemExit) as stopped:
            main(arguments(sweep_file, "--storage", url))
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert "storage cannot be opened" in error and "secret" not in error


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
    assert "1 trainings failed" in error and victim in error
    assert "curve.csv: could not be written (Is a directory)" in error
    study = load_study(planned.folder)
    assert len(study.runs) == 4
    assert set(study.left_out["run"]) == {run.name for run in planned.trunks[1].runs}
    assert study.left_out["reason"].str.contains("could not be written (Is a directory)", regex=False).all()
    blocked.rmdir()
    main(arguments(sweep_file))
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
