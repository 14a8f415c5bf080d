"""Many supervisors at once, and supervisors and trainings that are killed at random."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import yaml
from benchmarks.stub_training import started
from tests.support.small_sweep import arguments, edited, write_sweep

from scaling_laws.cli import main
from scaling_laws.sweeps.run import attempts, lease

SUPERVISOR = Path(__file__).parents[1] / "support" / "stub_supervisor.py"
WALL_CLOCK = ["elapsed_s", "tokens_per_s", "model_flops_utilisation"]
N_SUPERVISORS, N_RUNS, N_KILLS = 4, 60, 40
SEEDS = range(int(os.environ.get("STORM_SEEDS", "20")))
SETTLED_S = 600


@pytest.mark.slow
def test_sixteen_supervisors_that_start_together_train_nothing_twice(sweep_file: Path) -> None:
    n_jobs = 200
    command = [sys.executable, str(SUPERVISOR), str(sweep_file), str(n_jobs), "1", "train_nothing"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(16)]
    for process in running:
        output, _ = process.communicate(timeout=SETTLED_S)
        assert process.returncode == 0 and output.splitlines()[-1] == f"{n_jobs} done, 0 failed"
    folder = sweep_file.parent / "logs" / "s"
    assert [len(started(folder / f"stub-{number:05d}")) for number in range(n_jobs)] == [1] * n_jobs


def storm_sweep(folder: Path, text_folder: Path) -> Path:
    """Sixty runs: fifteen trunks with three cooldown branches each."""
    sweep_file = write_sweep(folder, text_folder)
    content = yaml.safe_load(sweep_file.read_text(encoding="utf-8"))
    ladder = content["ladders"][0]
    horizons = [64 * steps for steps in (30, 40, 50, 70)]
    shape = {"n_layer": 1, "d_model": 8}
    ladder["models"] = [{"shape": shape, "horizons_tokens": horizons, "seeds": list(range(1, 16))}]
    return edited(sweep_file, ladders=[ladder], noise_scale_every_n_steps=0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, text_folder: Path) -> Path:
    """The folder of that sweep, which nobody disturbed."""
    sweep_file = storm_sweep(tmp_path_factory.mktemp("undisturbed"), text_folder)
    main(arguments(sweep_file, "--workers", "2", "--quiet"))
    return sweep_file.parent / "logs" / "s"


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_storm_of_kills_loses_nothing(
    tmp_path: Path, text_folder: Path, undisturbed: Path, seed: int
) -> None:
    """Supervisors and trainings are killed, and supervisors started again, until all runs are done."""
    sweep_file = storm_sweep(tmp_path, text_folder)
    folder = sweep_file.parent / "logs" / "s"
    command = [sys.executable, "-m", "scaling_laws", *arguments(sweep_file, "--workers", "1", "--quiet")]
    chance = random.Random(seed)
    running: list[subprocess.Popen[bytes]] = []
    n_kills = {"supervisor": 0, "training": 0}
    first_seen: dict[str, int] = {}
    begin_s = time.monotonic()
    while time.monotonic() - begin_s < SETTLED_S:
        assert not [process for process in running if process.poll() not in (None, 0, -signal.SIGKILL)]
        for path in folder.glob("*/record.json"):
            first_seen.setdefault(path.parent.name, path.stat().st_mtime_ns)
        if any(process.poll() == 0 for process in running):
            break
        running = [process for process in running if process.poll() is None]
        while len(running) < N_SUPERVISORS:
            running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        time.sleep(chance.uniform(0.1, 0.6))
        if sum(n_kills.values()) < N_KILLS and first_seen:
            kind = "training" if chance.random() < 0.6 else "supervisor"
            victims = holders(folder) if kind == "training" else [process.pid for process in running]
            if victims:
                kill(chance.choice(victims))
                n_kills[kind] += 1
    for process in running:
        assert process.wait(timeout=SETTLED_S) == 0  # the others see that all is done
    elapsed_s = time.monotonic() - begin_s
    print(f"storm {seed}: {n_kills} kills, {elapsed_s:.0f} s, {len(first_seen)} runs")
    assert sum(n_kills.values()) == N_KILLS

    records = {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/record.json")}
    assert len(records) == N_RUNS
    assert first_seen.items() <= records.items()  # none was written twice
    for trunk in {name for name in records if (folder / name / attempts.FILE).exists()}:
        outcomes = [attempt.outcome for attempt in attempts.read(folder / trunk).attempts]
        assert outcomes.count(attempts.DONE) <= 1 and not lease.is_held(folder / trunk)
    for name in records:
        assert_same_rows(undisturbed / name, folder / name)


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        os.kill(pid, signal.SIGKILL)


def holders(folder: Path) -> list[int]:
    """Processes that train, but for jobs that one more kill might set aside: on a slow machine a storm is
    over before a job gets further."""
    jobs = [path.parent for path in folder.glob(f"*/{lease.OWNER_FILE}")]
    found = [lease.holder(job) for job in jobs if len(attempts.read(job).attempts) < attempts.MAX_KILLS]
    return [process.pid for process in found if process and process.is_alive]


def assert_same_rows(one: Path, other: Path) -> None:
    """Bitwise equal curves and losses by position, wall-clock columns aside."""
    curves = [pd.read_csv(folder / "curve.csv").drop(columns=WALL_CLOCK) for folder in (one, other)]
    pd.testing.assert_frame_equal(*curves, check_exact=True)
    for name in ("position_losses.csv", "probe_losses.npz"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
