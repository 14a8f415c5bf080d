"""What every engine must do: the same sweeps on this machine, on a real SLURM and on a real Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.engine_runs import RayRun, SlurmRun, SweepRun, slow_sweep
from tests.support.small_sweep import write_sweep

from scaling_laws.study.runs import load_study
from scaling_laws.sweeps.plan.experiments import plan
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.sweeps.run import lease

Begin = Callable[[Path], SweepRun]


@pytest.fixture(
    params=[
        "local",
        pytest.param("slurm", marks=pytest.mark.systems),
        pytest.param("ray", marks=pytest.mark.systems),
    ]
)
def run_of(request: pytest.FixtureRequest) -> Begin:
    """Makes a sweep file's study on an engine, two jobs at a time."""

    def make(sweep_file: Path) -> SweepRun:
        if request.param == "slurm":
            return SlurmRun(sweep_file, request.getfixturevalue("slurm_cluster"), "--max-jobs", "2")
        if request.param == "ray":
            return RayRun(sweep_file, request.getfixturevalue("two_ray_nodes"))
        return SweepRun(sweep_file, "local", "--workers", "2", environment=dict(os.environ))

    return make


@pytest.mark.systems
def test_a_sweep_is_trained_once(run_of: Begin, tmp_path: Path, text_folder: Path) -> None:
    run = run_of(write_sweep(tmp_path, text_folder))
    run.begin()
    assert run.wait() == 0, run.output
    assert run.is_done(6)
    assert run.outcomes().values() and all(outcomes == ["done"] for outcomes in run.outcomes().values())
    assert len(load_study(run.folder).runs) == 6
    run.begin()  # nothing is left to do
    assert run.wait() == 0, run.output
    assert all(outcomes == ["done"] for outcomes in run.outcomes().values())


@pytest.mark.systems
def test_who_ends_it_goes_on_with_the_same_command(run_of: Begin, tmp_path: Path, text_folder: Path) -> None:
    run = run_of(slow_sweep(tmp_path, text_folder, n_jobs=2, steps=80))
    run.begin()
    run.until_trained(2)
    run.end()
    assert not run.training() and set(map(tuple, run.outcomes().values())) == {("interrupted",)}
    run.begin()
    assert run.wait() == 0, run.output
    assert run.is_done(2)
    assert set(map(tuple, run.outcomes().values())) == {("interrupted", "done")}


@pytest.mark.systems
def test_a_job_that_is_killed_is_taken_up_again(run_of: Begin, tmp_path: Path, text_folder: Path) -> None:
    run = run_of(slow_sweep(tmp_path, text_folder, n_jobs=2, steps=80))
    run.begin()
    killed = run.kill_one()
    assert run.wait() == 0, run.output
    assert run.is_done(2)
    assert run.outcomes().pop(killed) == ["killed", "done"]


@pytest.mark.systems
def test_a_job_that_fails_is_set_aside_and_the_others_go_on(
    run_of: Begin, tmp_path: Path, text_folder: Path
) -> None:
    sweep_file = slow_sweep(tmp_path, text_folder, n_jobs=3, steps=20)
    run = run_of(sweep_file)
    victim = plan(load_sweep(sweep_file)).jobs[1].name
    (run.folder / victim / "curve.csv").mkdir(parents=True)  # a folder where a file must go
    (run.folder / lease.LOCK_FILE).touch()  # the study has begun before
    run.begin()
    run.wait()
    assert run.is_done(2)
    outcomes = run.outcomes()
    assert outcomes.pop(victim) == ["failed"] * 3
    assert all(each == ["done"] for each in outcomes.values())
