"""`--stop-after`: a sweep ends in good order when its time is over, without an error, and goes on."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pytest
from benchmarks.stub_training import stub_plan
from tests.support.small_sweep import arguments
from tests.support.stub_supervisor import train_slowly

from scaling_laws.commands.sweep import add_sweep_arguments, deadline, plan_of
from scaling_laws.study.interrupts import TimeIsUp
from scaling_laws.sweeps.plan.experiments import Plan, plan
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.sweeps.run.engines import EngineContext
from scaling_laws.sweeps.run.engines.local import LocalEngine
from scaling_laws.sweeps.run.loop import run_plan
from scaling_laws.sweeps.run.progress import Progress


def engine(planned: Plan, workers: int) -> LocalEngine:
    """Of slow stub jobs."""
    return LocalEngine(
        EngineContext(folder=planned.folder, accelerator="cpu", workers=workers, train=train_slowly)
    )


def nothing(progress: Progress) -> None:
    """Shows nothing."""


def test_time_is_up_and_the_same_call_goes_on(sweep_file: Path) -> None:
    planned = stub_plan(plan(load_sweep(sweep_file), logs=sweep_file.parent / "logs"), 6)
    begin_s = time.monotonic()
    with pytest.raises(TimeIsUp) as over:
        run_plan(planned, engine(planned, 1), watch=nothing, stop_at_s=begin_s + 1)
    assert over.value.code == 0
    assert "of 6 runs are done" in over.value.message and "again to go on" in over.value.message
    done_before = len(list(planned.folder.glob("*/record.json")))
    assert done_before < 6
    progress = run_plan(planned, engine(planned, 2), watch=nothing)
    assert len(progress.done) == 6 and not progress.failed


def test_a_command_whose_time_is_over_ends_without_an_error(
    sweep_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from scaling_laws.cli import main

    with pytest.raises(SystemExit) as ended:
        main(arguments(sweep_file, "--stop-after", "0.1s"))
    assert ended.value.code == 0
    assert "run the same command again to go on" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("8m", 480), ("2h", 7200), ("1.5m", 90)])
def test_times(text: str, seconds: float) -> None:
    assert deadline(text) == pytest.approx(time.monotonic() + seconds, abs=5)


@pytest.mark.parametrize("text", ["8", "0m", "-3m", "8 minutes", "m", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write 30s, 8m or 2h"):
        deadline(text)


def test_another_scale_is_another_study(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_sweep_arguments(parser)
    folders, tags = [], []
    for scale in ([], ["--scale", "cpu"], ["--scale", "smoke"]):
        command = ["configs/sweeps/seeds.yaml", "--budget", "1e13 FLOPs", "--logs", str(tmp_path), *scale]
        planned = plan_of(parser.parse_args(command), trains=False)
        folders.append(planned.folder.name)
        tags.append({tag for run in planned.runs for tag in run.tags})
    assert folders == ["seeds", "seeds", "seeds-smoke"]
    assert tags == [{"seeds"}] * 3
