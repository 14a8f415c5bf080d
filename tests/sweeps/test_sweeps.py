"""Sweeps that lose nothing."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from benchmarks.stub_training import stub_plan, train_nothing
from tests.support.small_sweep import arguments, edited

from scaling_laws.cli import main
from scaling_laws.study.runs import load_study
from scaling_laws.sweeps.plan.disk import disk_need
from scaling_laws.sweeps.plan.experiments import Job, plan
from scaling_laws.sweeps.plan.plan_table import clock, totals
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.sweeps.run import attempts, lease
from scaling_laws.sweeps.run.progress import Running, progress_of
from scaling_laws.sweeps.run.source import PlannedJobs


def test_a_disk_that_is_too_small_is_said_before_the_start(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(SystemExit):
        main(arguments(sweep_file, "--stop-after", "0.1s"))
    error = capsys.readouterr().err
    assert "disk: about" in error and "1 MB are free; free some space, or keep less" in error


def test_the_time_that_is_expected_is_of_what_is_left(sweep_file: Path) -> None:
    planned = stub_plan(plan(load_sweep(sweep_file), logs=sweep_file.parent / "logs"), 4)
    each_s = planned.runs[0].expected_s
    assert f"expected: {clock(4 * each_s)} of one core, {clock(2 * each_s)} with 2 at a time" in list(
        totals(planned, workers=2, timed=True)
    )
    for run in planned.runs[:3]:
        (planned.folder / run.name).mkdir(parents=True)
        train_nothing([run.config])
    *_, last = totals(planned, workers=2, timed=True)
    assert last == (
        f"expected: {clock(each_s)} of one core, {clock(each_s)} with 2 at a time for what is left; "
        "3 of 4 runs are done"
    )


# --- the folders are the queue --------------------------------------------------------------------


@pytest.fixture
def source(sweep_file: Path) -> PlannedJobs:
    """Ten jobs of which nothing is known."""
    planned = stub_plan(plan(load_sweep(sweep_file), logs=sweep_file.parent / "logs"), 10)
    return PlannedJobs(planned.jobs, progress_of(planned))


def names(jobs: list[Job]) -> list[str]:
    return [job.name for job in jobs]


def test_jobs_are_taken_in_order_but_what_is_done_held_or_set_aside(source: PlannedJobs) -> None:
    jobs = list(source.left.values())
    assert names(source.take(3)) == names(jobs[:3])
    folder = source.progress.folder
    for job in jobs[:2]:
        (folder / job.name).mkdir(parents=True)
        train_nothing([job.runs[0].config])
    for _ in range(attempts.MAX_FAILURES):
        attempts.begin(folder / jobs[2].name, "a", start=attempts.Place(records=0, step=0), split=1)
        attempts.end(
            folder / jobs[2].name, "a", attempts.FAILED, saved=attempts.Place(records=0, step=0), reason="why"
        )
        (folder / jobs[2].name / attempts.FILE).write_text(
            (folder / jobs[2].name / attempts.FILE).read_text().replace('"a"', f'"{attempts.new_id()}"')
        )
    source.progress.running[jobs[3].name] = Running(job=jobs[3])
    assert names(source.take(3)) == names(jobs[4:7])
    assert list(source.progress.done) == names(jobs[:2])
    assert "last: why" in source.progress.failed[jobs[2].name]


def test_what_others_hold_is_left_to_them_and_looked_at_again(
    source: PlannedJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside others a sweep does not want the next job as they do; a job that is let go is free again."""
    monkeypatch.setattr("scaling_laws.sweeps.run.source.ASK_S", 0.2)
    jobs = list(source.left.values())
    held = [lease.take(source.progress.folder / job.name) for job in jobs[:3]]
    firsts = {names(source.take(1))[0] for _ in range(60)}
    assert len(firsts) > 2 and not firsts & set(names(jobs[:3]))
    assert sorted(names(source.take(10))) == names(jobs[3:])
    assert not source.is_in_good_hands()
    source.left = {job.name: job for job in jobs[:3]}
    assert source.take(1) == [] and source.is_in_good_hands()
    held.pop(1).close()  # type: ignore[union-attr]
    time.sleep(0.3)
    assert names(source.take(1)) == [jobs[1].name]
    for lease_of_another in held:
        lease_of_another.close()  # type: ignore[union-attr]


def test_what_a_dead_machine_held_is_free_after_a_minute(source: PlannedJobs) -> None:
    """By the clock of the file system: sixty seconds after the last heartbeat, and no longer."""
    folder = source.progress.folder
    first, second = list(source.left.values())[:2]
    for job, age_s in ((first, lease.GRACE_S + 1), (second, lease.GRACE_S - 10)):
        (folder / job.name).mkdir(parents=True)
        (folder / job.name / lease.LOCK_FILE).touch()
        owner = folder / job.name / lease.OWNER_FILE
        owner.write_text("token another-machine:1:1:host\n", encoding="utf-8")
        os.utime(owner, times=(time.time() - age_s,) * 2)
    assert first.name in names(source.take(10)) and lease.GRACE_S == 60
    assert second.name not in names(source.take(10))


def test_ten_thousand_jobs_are_looked_at_in_a_moment(sweep_file: Path) -> None:
    """Only the head of the list is looked at for each job, however many wait."""
    planned = stub_plan(plan(load_sweep(sweep_file), logs=sweep_file.parent / "logs"), 10_000)
    begin_s = time.process_time()
    source = PlannedJobs(planned.jobs, progress_of(planned))
    first_s = time.process_time() - begin_s
    source._look_next_s = math.inf
    begin_s = time.process_time()
    for _ in range(20):
        assert names(source.take(1)) == ["stub-00000"]
    assert (time.process_time() - begin_s) / 20 < 0.02 + first_s / 20


def test_an_unknown_engine_is_refused_with_those_that_are_known(
    sweep_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments(sweep_file, "--engine", "abacus"))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "--engine is 'abacus'; known are" in error and "local" in error and error.count("\n") == 1


def test_a_third_partys_engine_is_an_entry_point(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made with what it may know, and jobs are its."""
    package = tmp_path / "site"
    (package / "abacus-1.dist-info").mkdir(parents=True)
    (package / "abacus-1.dist-info" / "METADATA").write_text("Name: abacus\nVersion: 1\n")
    (package / "abacus-1.dist-info" / "entry_points.txt").write_text(
        "[scaling_laws.engines]\nabacus = abacus_engine:Abacus\n"
    )
    (package / "abacus_engine.py").write_text(
        "from scaling_laws.sweeps.run.engines.local import LocalEngine\n"
        "class Abacus(LocalEngine):\n"
        "    def __init__(self, context):\n"
        "        super().__init__(context)\n"
        "        (context.folder.parent.parent / 'command').write_text(' '.join(context.command))\n"
    )
    monkeypatch.syspath_prepend(str(package))
    main(arguments(sweep_file, "--engine", "abacus", "--workers", "2", "--quiet"))
    command = (sweep_file.parent / "command").read_text().split()
    assert command[:4] == [sys.executable, "-m", "scaling_laws", "sweep"] and "--workers" in command
    assert len(list(sweep_file.parent.glob("logs/s/*/record.json"))) == 6


# --- whole sweeps ---------------------------------------------------------------------------------


def test_a_sweep_trains_all_and_again_trains_nothing(
    sweep_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = plan(load_sweep(sweep_file), logs=sweep_file.parent / "logs")
    need = disk_need(planned, workers=2)
    main(arguments(sweep_file, "--workers", "2"))
    printed = capsys.readouterr().out
    folder = sweep_file.parent / "logs" / "s"
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert 0.3 < used / need.kept < 1.2
    assert disk_need(planned, workers=2).kept == 0
    study = load_study(folder)
    assert len(study.runs) == 6 and len(study.left_out) == 0
    assert study.runs.groupby("trunk")["run"].count().sort_values().tolist() == [1, 1, 2, 2]
    for name, loss in zip(study.runs["run"], study.runs["loss"], strict=True):
        assert f"{name}  loss {loss:.4f}" in printed
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/record.json")}
    # Command lines from the time of the database go on working.
    main(arguments(sweep_file, "--storage", "postgresql://me:secret@127.0.0.1:1/x"))
    printed = "".join(capsys.readouterr())
    assert "--storage is ignored: only a search has a database" in printed and "secret" not in printed
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*/record.json")}

    # Twice with one seed: the same records, wall-clock fields aside.
    shutil.move(folder, sweep_file.parent / "first")
    main(arguments(sweep_file, "--workers", "1"))
    aside = (
        "elapsed_s",
        "evaluation_s",
        "tokens_per_s",
        "model_flops_utilisation",
        "peak_memory_bytes",
        "files",
        "checksum",
    )
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
    victim = planned.jobs[1].runs[0].name
    blocked = planned.folder / victim / "curve.csv"
    blocked.mkdir(parents=True)  # a folder where a file must go
    (planned.folder / lease.LOCK_FILE).touch()  # the study has begun before
    with pytest.raises(SystemExit) as stopped:
        main(arguments(sweep_file))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "1 jobs failed and are set aside" in error and victim in error
    assert "failed 3 times without getting further" in error and "--retry-failed tries them again" in error
    assert "curve.csv: could not be written (Is a directory)" in error
    study = load_study(planned.folder)
    assert len(study.runs) == 4
    assert set(study.left_out["run"]) == {run.name for run in planned.jobs[1].runs}
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
