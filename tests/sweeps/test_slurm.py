"""Sweeps on a real SLURM: time limits, a dead node, jobs of two nodes; what must be waited for overlaps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from benchmarks.stub_training import started, stub_plan
from tests.support.engine_runs import ROOT, SlurmRun, n_rows, slow_sweep
from tests.support.slurm_cluster import SlurmCluster, wait_until
from tests.support.small_sweep import write_corpus

from scaling_laws.study.records import read_record
from scaling_laws.sweeps.plan.experiments import plan
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.sweeps.run import attempts
from scaling_laws.sweeps.run.engines import EngineContext
from scaling_laws.sweeps.run.engines.slurm import SlurmEngine

pytestmark = pytest.mark.systems
TIME_LIMIT = "--time=3 --signal=B:USR1@60"
"""The warning comes after one and a half to two minutes: slow cores need one to begin."""
TOO_LONG = 1250
"""Steps that take more than that."""
CHECKPOINT_S = 22
ALL_S = 900
N_STUBS, N_TASKS = 200, 8


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Studies that were begun together, and are over."""

    limited: SlurmRun
    """A job that wants more time than its task has."""
    on_two_nodes: SlurmRun
    """A job of two nodes that wants more time than its task has."""
    on_two_devices: SlurmRun
    """A short job of two devices of one node."""
    bereft: SlurmRun
    """Two jobs on two nodes, one of which died in the middle."""
    bereft_s: float
    """From the node's death to the end."""
    fit: Path
    """The folder of one network on two nodes, by `configs/cluster/slurm_fit.sh`, in too little time."""
    fit_output: str
    stubs: Path
    """The study of 200 jobs that train nothing."""


@pytest.fixture(scope="module")
def scenario(
    slurm_cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory, text_folder: Path
) -> Scenario:
    def study(name: str, sbatch: str, **changes: Any) -> SlurmRun:
        sweep_file = slow_sweep(tmp_path_factory.mktemp(name), text_folder, **changes)
        run = SlurmRun(sweep_file, slurm_cluster, "--sbatch", sbatch)
        run.begin()
        return run

    limited = study("limited", TIME_LIMIT, n_jobs=1, steps=TOO_LONG)
    on_two_nodes = study(
        "nodes", TIME_LIMIT, n_jobs=1, steps=TOO_LONG, trainer={"num_nodes": 2, "strategy": "ddp"}
    )
    on_two_devices = study("devices", "", n_jobs=1, steps=40, trainer={"devices": 2, "strategy": "ddp"})
    fit, script = fit_script(tmp_path_factory.mktemp("fit"), text_folder)
    fit_job = slurm_cluster.run("sbatch", "--parsable", f"--output={fit.parent}/out", str(script)).strip()
    bereft = study("bereft", "--partition=mortal --exclusive", n_jobs=2, steps=400)
    stubs = submit_stubs(slurm_cluster, tmp_path_factory.mktemp("stubs"), text_folder)

    bereft.until_trained(2)
    time.sleep(CHECKPOINT_S)
    slurm_cluster.kill_node("n4")
    death_s = time.monotonic()
    wait_until(lambda: bereft.is_done(2), ALL_S, "jobs of a dead node are taken over")
    bereft_s = time.monotonic() - death_s
    for run in (limited, on_two_nodes, on_two_devices, bereft):
        run.wait(ALL_S)
    wait_until(lambda: fit_job not in slurm_cluster.queued(), ALL_S, "the single network")
    slurm_cluster.start_node("n4")
    return Scenario(
        limited=limited,
        on_two_nodes=on_two_nodes,
        on_two_devices=on_two_devices,
        bereft=bereft,
        bereft_s=bereft_s,
        fit=fit,
        fit_output=(fit.parent / "out").read_text(encoding="utf-8"),
        stubs=stubs,
    )


def fit_script(folder: Path, text_folder: Path) -> tuple[Path, Path]:
    """`configs/cluster/slurm_fit.sh`, edited as its user does, and the run's folder."""
    write_corpus(folder, text_folder)
    command = [sys.executable, "-m", "scaling_laws", "data", "build", "corpus.yaml", "-o", "data"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    root, programs = folder / "run", Path(sys.executable).parent
    slow = "{class_path: tests.support.slow_steps.SlowSteps, init_args: {seconds: 0.1}}"
    more = f"--data.corpus {folder}/data --trainer.max_steps {TOO_LONG} --trainer.callbacks '[{slow}]'"
    text = (ROOT / "configs" / "cluster" / "slurm_fit.sh").read_text(encoding="utf-8")
    for old, new in (
        (r"#SBATCH --gpus-per-node.*\n", ""),
        (r"--ntasks-per-node=4", "--ntasks-per-node=1"),
        (r"--cpus-per-task=8", "--cpus-per-task=1"),
        (r"--time=12:00:00", "--time=3"),
        (r"USR1@180", "USR1@60"),
        (r"(?m)^ROOT=.*$", f"ROOT={root}"),
        (
            r"(?m)^export PATH=.*$",
            f"export PATH={programs}:$PATH PYTHONPATH={ROOT}/src:{ROOT}",
        ),
        (r"configs/trainer/bf16-mixed.yaml", "configs/trainer/32-true.yaml"),
        (r"configs/trainer/slurm.yaml", f"configs/trainer/ddp-cpu.yaml {more}"),
    ):
        text, n_found = re.subn(old, new, text)
        assert n_found == 1, old
    script = folder / "fit.sh"
    script.write_text(text.replace("set -uo pipefail", f"set -uo pipefail\ncd {ROOT}"), encoding="utf-8")
    return root, script


def submit_stubs(cluster: SlurmCluster, folder: Path, text_folder: Path) -> Path:
    """200 jobs that train nothing, to an array of 8 tasks."""
    sweep_file = slow_sweep(folder, text_folder, n_jobs=1, steps=20)
    planned = plan(load_sweep(sweep_file), logs=folder / "logs")
    stub = ROOT / "tests" / "support" / "stub_supervisor.py"
    command = (sys.executable, str(stub), str(sweep_file), str(N_STUBS), "1", "train_nothing")
    context = EngineContext(
        folder=planned.folder,
        accelerator="cpu",
        command=command,
        options={"max_jobs": N_TASKS, "setup": f"export PYTHONPATH={ROOT}/src:{ROOT}"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
        jobs = stub_plan(planned, N_STUBS).jobs
        assert SlurmEngine(context).submit([[job] for job in jobs]) == N_STUBS
    return planned.folder


def assert_went_on(folder: Path) -> None:
    """Every step once, in order: nothing was trained twice, nothing left out."""
    steps = pd.read_csv(folder / "curve.csv")["step"].tolist()
    assert steps == sorted(set(steps)) and n_rows(folder) == len(steps)


def test_a_time_limit_saves_and_requeues(scenario: Scenario) -> None:
    run = scenario.limited
    (outcomes,) = run.outcomes().values()
    assert len(outcomes) >= 2 and outcomes == ["interrupted"] * (len(outcomes) - 1) + ["done"]
    (name,) = run.outcomes()
    tried = attempts.read(run.folder / name).attempts
    assert [later.start for later in tried[1:]] == [earlier.saved for earlier in tried[:-1]]
    # On a slow machine a task's time may end before its first step: it then saves what it found.
    assert all(earlier.saved >= earlier.start for earlier in tried[:-1])
    assert any(earlier.saved > earlier.start for earlier in tried[:-1])
    assert_went_on(run.folder / name)
    (log,) = (run.folder / "slurm").glob("*.out")
    statuses = re.findall(r"the task ended with status (\d+)", log.read_text(encoding="utf-8"))
    # A warning may come before the command has begun to train: it is put back, and nothing is noted.
    assert len(statuses) >= len(outcomes) and statuses == ["138"] * (len(statuses) - 1) + ["0"]


def test_a_job_of_two_nodes_requeues_and_goes_on(scenario: Scenario) -> None:
    run = scenario.on_two_nodes
    (outcomes,) = run.outcomes().values()
    assert len(outcomes) >= 2 and outcomes == ["interrupted"] * (len(outcomes) - 1) + ["done"]
    (name,) = run.outcomes()
    assert_went_on(run.folder / name)
    assert "--nodes=2" in (run.folder / "slurm" / "2x1.sh").read_text(encoding="utf-8")
    assert read_record(run.folder / name / "record.json").devices == 2


def test_a_job_of_two_devices_is_trained_by_two_ranks(scenario: Scenario) -> None:
    (name,) = scenario.on_two_devices.outcomes()
    assert scenario.on_two_devices.outcomes()[name] == ["done"], scenario.on_two_devices.reasons()
    record = read_record(scenario.on_two_devices.folder / name / "record.json")
    assert record.devices == 2 and record.status == "complete"


def test_a_cancelled_job_of_two_nodes_is_saved_and_not_requeued(
    slurm_cluster: SlurmCluster, tmp_path: Path, text_folder: Path
) -> None:
    on_two_nodes = {"num_nodes": 2, "strategy": "ddp"}
    run = SlurmRun(
        slow_sweep(tmp_path, text_folder, n_jobs=1, steps=600, trainer=on_two_nodes), slurm_cluster
    )
    run.begin()
    run.until_trained(1, min_rows=5)
    run.end()
    (name,) = run.outcomes()
    (attempt,) = attempts.read(run.folder / name).attempts
    assert attempt.outcome == "interrupted" and attempt.saved is not None and attempt.saved.step > 20


def test_a_dead_nodes_job_is_taken_over(scenario: Scenario) -> None:
    outcomes = scenario.bereft.outcomes()
    assert sorted(outcomes.values()) == [["done"], ["killed", "done"]]
    lost = next(name for name, each in outcomes.items() if len(each) == 2)
    _, second = attempts.read(scenario.bereft.folder / lost).attempts
    assert second.start.step > 0  # from its checkpoint
    assert_went_on(scenario.bereft.folder / lost)
    assert scenario.bereft_s < 120


def test_one_network_on_two_nodes_requeues_and_goes_on(scenario: Scenario) -> None:
    assert (scenario.fit / "record.json").exists(), scenario.fit_output
    assert scenario.fit_output.count("Exited with exit code 138") >= 1
    assert_went_on(scenario.fit)


def test_two_hundred_jobs_by_eight_tasks_each_once(scenario: Scenario) -> None:
    folders = [scenario.stubs / f"stub-{number:05d}" for number in range(N_STUBS)]
    assert [len(started(folder)) for folder in folders] == [1] * N_STUBS
    logs = [path.read_text(encoding="utf-8") for path in (scenario.stubs / "slurm").glob("*.out")]
    assert len(logs) == N_TASKS and all("ended with status 0" in log for log in logs)


def test_what_is_there_is_not_submitted_again(
    slurm_cluster: SlurmCluster, tmp_path: Path, text_folder: Path
) -> None:
    run = SlurmRun(slow_sweep(tmp_path, text_folder, n_jobs=3, steps=300), slurm_cluster, "--max-jobs", "2")
    run.begin()
    assert len(run.arrays) == 1 and len(run.tasks()) == 2
    run.begin()
    assert run.arrays == [] and len(run.tasks()) == 2
    run.until_trained(2)
    run.begin("--status")
    assert "2 tasks running on n1" in run.output and "1 waiting" in run.output
    run.end()
    run.begin("--status")
    assert "SLURM:" not in run.output and "did not finish" not in run.output
    assert {task for task, *_ in run.tasks()} == set()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--sbatch", "--cpus-per-task=99"], "no node of this cluster can hold what .*1x1.sh asks for"),
        (["--sbatch", "--partition=nowhere"], "sbatch refuses .*: .*[Ii]nvalid partition"),
        (["--sbatch", "--job-name=mine"], "by their --job-name; leave it out"),
        (["--sbatch", "'"], "is not a line of options"),
    ],
)
def test_what_slurm_refuses_is_one_line(
    slurm_cluster: SlurmCluster, tmp_path: Path, text_folder: Path, options: list[str], says: str
) -> None:
    run = SlurmRun(slow_sweep(tmp_path, text_folder, n_jobs=1, steps=20), slurm_cluster, *options)
    with pytest.raises(AssertionError) as refused:
        run.begin()
    assert re.search(says, run.output) and "Traceback" not in run.output, refused
    assert run.output.splitlines()[-1].startswith("error: ")


def test_a_task_that_does_not_begin_says_why(
    slurm_cluster: SlurmCluster, tmp_path: Path, text_folder: Path
) -> None:
    sweep_file = slow_sweep(tmp_path, text_folder, n_jobs=1, steps=20)
    run = SlurmRun(sweep_file, slurm_cluster, "--setup", "echo no module cuda; exit 3")
    run.begin()
    run.wait()
    run.begin("--status")
    assert re.search(r"task \d+_0 did not finish; .*: no module cuda", run.output), run.output
