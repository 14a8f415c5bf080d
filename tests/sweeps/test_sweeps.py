"""Planning without torch, and sweeps that lose nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from small_sweep import arguments, edited

from scaling_laws.cli import main
from scaling_laws.errors import InputError
from scaling_laws.models.transformer import Transformer
from scaling_laws.runs import load_study
from scaling_laws.schedule import Schedule
from scaling_laws.sweeps import lease
from scaling_laws.sweeps.experiments import LearningRateRule, load_sweep, plan
from scaling_laws.sweeps.queue import CELL, WINDOW, Queue

ROOT = Path(__file__).parents[2]


# --- planning -------------------------------------------------------------------------------------


def test_plan_counts_n_as_the_network_does(sweep_file: Path) -> None:
    planned = plan(load_sweep(sweep_file))
    assert [len(trunk.runs) for trunk in planned.trunks] == [2, 2, 1, 1]
    for run in planned.runs:
        if run.family != "transformer":
            continue
        shape = run.config["model"]["network"]["init_args"]
        groups = Transformer(n_vocab=256, n_ctx=16, **shape).parameters_by_group()
        assert groups["attention"] + groups["feed_forward"] + groups["norm"] == run.N
        assert run.C == 6 * run.N * run.D and run.steps * 64 == run.D


def test_the_longest_run_of_a_trunk_comes_first_and_so_does_the_longest_trunk(sweep_file: Path) -> None:
    planned = plan(load_sweep(sweep_file))
    expected = [trunk.expected_s for trunk in planned.trunks]
    assert expected == sorted(expected, reverse=True)
    for trunk in planned.trunks:
        assert [run.D for run in trunk.runs] == sorted((run.D for run in trunk.runs), reverse=True)
        assert {run.config["recorder"]["trunk"] for run in trunk.runs} == {trunk.name} == {trunk.runs[0].name}


def test_run_id_depends_on_what_decides_the_result_and_on_nothing_else(
    sweep_file: Path, tmp_path: Path
) -> None:
    ids = {run.name: run.run_id for run in plan(load_sweep(sweep_file)).runs}
    assert len(set(ids.values())) == len(ids)
    moved = plan(load_sweep(edited(sweep_file, study="other", question="?")), logs=tmp_path, data=tmp_path)
    assert {run.name: run.run_id for run in moved.runs} == ids
    changed = plan(load_sweep(edited(sweep_file, weight_decay=0.2)))
    assert not set(ids.values()) & {run.run_id for run in changed.runs}


def test_learning_rate_rule() -> None:
    rule = LearningRateRule(at_1e5=0.004, exponent=-0.5, at_most=0.01)
    assert rule.rate(100_000) == 0.004
    assert rule.rate(400_000) == 0.002
    assert rule.rate(1_000) == 0.01


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_sweep_file_plans(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    planned = plan(load_sweep(path))
    assert planned.sweep.study == path.stem
    for trunk in planned.trunks:
        for run in trunk.runs[1:]:  # a branch begins after the warm-up
            schedule = Schedule(**run.config["model"]["schedule"])
            assert schedule.cooldown_start(run.steps) > schedule.warmup_steps


def test_the_quick_study_covers_what_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least 6 Transformer and 4 LSTM sizes over 6e3 to 4e5, 3 points a size, 3 seeds at two sizes."""
    monkeypatch.chdir(ROOT)
    planned = plan(load_sweep(ROOT / "configs" / "sweeps" / "quick.yaml"))
    for family, n_sizes in (("transformer", 6), ("lstm", 4)):
        sizes = sorted({run.N for run in planned.runs if run.family == family})
        assert len(sizes) >= n_sizes and sizes[0] < 7e3 and 3e5 < sizes[-1] < 5e5
        for size in sizes:
            assert len({run.D for run in planned.runs if run.family == family and size == run.N}) >= 3
    seeds: dict[tuple[str, int], set[int]] = {}
    for run in planned.runs:
        seeds.setdefault((run.family, run.N), set()).add(run.seed)
    assert sum(len(found) >= 3 for found in seeds.values()) >= 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"studdy": "x"}, "studdy"),
        ({"ladders": [{"family": "cnn", "learning_rate": {"at_1e5": 1}, "models": []}]}, "cnn"),
        ({"n_ctx": "long"}, "n_ctx"),
        ({"study": "../up"}, "a name has letters"),
        ({"study": "a b"}, "a name has letters"),
        ({"corpus": "nowhere.yaml"}, "nowhere.yaml"),
        ({"ladders": []}, "plans no run"),
    ],
)
def test_wrong_sweep_files_get_one_line(
    sweep_file: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments(edited(sweep_file, **changes), "--dry-run"))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert says in error and error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"shape": {"n_layer": 1, "d_model": 8, "n_head": 2}, "horizons_tokens": [2560]}, "n_head"),
        ({"shape": {"n_layer": 1, "d_model": 8, "n_heads": 3}, "horizons_tokens": [2560]}, "does not divide"),
        (
            {"shape": {"n_layer": 1, "d_model": 8, "n_ctx": 3}, "horizons_tokens": [2560]},
            "given by the sweep",
        ),
        ({"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": [100]}, "ten batches of 64"),
        (
            {"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": [2560], "seeds": [1, 1]},
            "planned twice",
        ),
    ],
)
def test_wrong_models_get_one_line(sweep_file: Path, model: dict[str, Any], says: str) -> None:
    ladder = {"family": "transformer", "learning_rate": {"at_1e5": 0.01}, "models": [model]}
    with pytest.raises(InputError, match=says):
        plan(load_sweep(edited(sweep_file, ladders=[ladder])))


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
    aside = ("elapsed_s", "tokens_per_s", "peak_memory_bytes", "files", "checksum")
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
