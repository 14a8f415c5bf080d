"""Sweeps that are killed or asked to end, and go on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from tests.support.small_sweep import arguments, edited, write_sweep

from scaling_laws.cli import main
from scaling_laws.study.records import read_record
from scaling_laws.study.runs import load_study
from scaling_laws.sweeps.run import lease


@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_it_was(sweep_file: Path) -> None:
    """SIGKILL to supervisor and children in the middle; the records equal those of an undisturbed sweep."""
    content = yaml.safe_load(sweep_file.read_text(encoding="utf-8"))
    for ladder in content["ladders"]:
        for model in ladder["models"]:
            model["horizons_tokens"] = [64 * 400, 64 * 800]
    edited(sweep_file, **content)
    command = [sys.executable, "-m", "scaling_laws", *arguments(sweep_file)]
    folder = sweep_file.parent / "logs" / "s"
    n_kills = 0
    while n_kills < 5:
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(7)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        n_kills += 1
    assert n_kills
    main(arguments(sweep_file))
    disturbed = {path.parent.name: read_record(path) for path in folder.glob("*/record.json")}
    shutil.rmtree(folder)
    main(arguments(sweep_file))
    for name, record in disturbed.items():
        assert record.losses == read_record(folder / name / "record.json").losses


@pytest.fixture
def long_sweep(sweep_file: Path) -> Path:
    """Two trainings of some seconds each."""
    return lengthened(sweep_file)


@pytest.fixture(scope="module")
def undisturbed_losses(tmp_path_factory: pytest.TempPathFactory, text_folder: Path) -> list[float]:
    """What those two trainings come to."""
    sweep_file = lengthened(write_sweep(tmp_path_factory.mktemp("undisturbed"), text_folder))
    main(arguments(sweep_file))
    return load_study(folder_of(sweep_file)).runs["loss"].tolist()


def lengthened(sweep_file: Path) -> Path:
    content = yaml.safe_load(sweep_file.read_text(encoding="utf-8"))
    content["ladders"] = content["ladders"][:1]
    for model in content["ladders"][0]["models"]:
        model["horizons_tokens"] = [64 * 4000]
    return edited(sweep_file, **content)


def started(sweep_file: Path) -> subprocess.Popen[str]:
    """The sweep in a process group of its own, with both trainings under way."""
    command = [sys.executable, "-m", "scaling_laws", *arguments(sweep_file, "--workers", "2")]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    deadline_s = time.monotonic() + 300
    while time.monotonic() < deadline_s and len(list(folder_of(sweep_file).glob("*/curve.csv"))) < 2:
        time.sleep(0.1)
    time.sleep(1)
    return process


def folder_of(sweep_file: Path) -> Path:
    return sweep_file.parent / "logs" / "s"


def assert_goes_on(sweep_file: Path, undisturbed_losses: list[float]) -> None:
    """The same command trains the rest, to the losses of an undisturbed sweep."""
    folder = folder_of(sweep_file)
    assert not list(folder.glob("*/record.json"))
    main(arguments(sweep_file))
    assert load_study(folder).runs["loss"].tolist() == undisturbed_losses and len(undisturbed_losses) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "to_all"),
    [
        (signal.SIGINT, 130, True),  # the terminal interrupts the whole group
        (signal.SIGTERM, 143, False),  # a batch system may tell the supervisor alone
        (signal.SIGTERM, 143, True),  # or everybody, the forkserver included
        (signal.SIGUSR1, 138, True),
    ],
)
def test_a_signal_saves_every_training_and_says_how_to_go_on(
    long_sweep: Path, undisturbed_losses: list[float], number: int, status: int, to_all: bool
) -> None:
    process = started(long_sweep)
    os.killpg(process.pid, number) if to_all else process.send_signal(number)
    _, error = process.communicate(timeout=300)
    assert process.returncode == status
    assert error.strip().splitlines()[-1] == "interrupted; run the same command again to go on"
    for folder in folder_of(long_sweep).glob("transformer-*"):
        assert not lease.is_held(folder)  # nobody was left behind
        assert (folder / "checkpoints" / "last.ckpt").exists()
        assert not (folder / "failure.json").exists()
        assert "of 4000; what was trained up to step" in (folder / "log.txt").read_text()
    assert_goes_on(long_sweep, undisturbed_losses)


@pytest.mark.slow
def test_the_second_ctrl_c_leaves_at_once(long_sweep: Path, undisturbed_losses: list[float]) -> None:
    process = started(long_sweep)
    for pid in children(process.pid):
        os.kill(pid, signal.SIGSTOP)  # children that cannot end in good order
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert error.strip().splitlines()[-1] == "interrupted; run the same command again to go on"
    assert_goes_on(long_sweep, undisturbed_losses)


def children(pid: int) -> list[int]:
    """Every process below a process that trains: those that hold a lease."""
    direct = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    below = [grandchild for child in direct for grandchild in children(child)]
    trains = [
        child
        for child in direct
        if any(os.readlink(link).endswith("/.lease") for link in Path(f"/proc/{child}/fd").iterdir())
    ]
    return trains + below
