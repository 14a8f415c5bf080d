"""What a sweep shows while it runs: on a terminal, in a file, and when it is to be quiet."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from benchmarks.stub_training import stub_plan, stub_record
from rich.console import Console

from scaling_laws.sweeps.plan.experiments import Plan, plan
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.sweeps.run.curve_tail import TAIL_BYTES, last_row
from scaling_laws.sweeps.run.progress import Progress, Running, progress_of, view

HEADER = "step,tokens,train_loss_nats,tokens_per_s,test_loss_nats\n"


@pytest.fixture
def planned(sweep_file: Path) -> Plan:
    """Three jobs."""
    return stub_plan(plan(load_sweep(sweep_file), logs=sweep_file.parent / "logs"), 3)


@pytest.fixture
def progress(planned: Plan) -> Progress:
    """Of three jobs one is done and one is at a quarter; there is something to say."""
    state = progress_of(planned)
    _, running, _ = planned.jobs
    state.running[running.name] = Running(job=running)
    curve = planned.folder / running.name / "curve.csv"
    curve.parent.mkdir(parents=True)
    quarter = running.runs[0].steps // 4
    rows = f"1,64,5.5,1000,5.125\n{quarter},{64 * quarter},4.25,123456,\n"
    curve.write_text(HEADER + rows + f"{quarter + 1},", encoding="utf-8")
    state.notes.append("something to know")
    return state


def finish_one(progress: Progress, planned: Plan) -> None:
    (run,) = planned.jobs[0].runs
    progress.add(run, stub_record(run.config))


def shown(progress: Progress, planned: Plan, *, terminal: bool, quiet: bool = False) -> str:
    """What is written while one job ends."""
    file = io.StringIO()
    with view(Console(file=file, force_terminal=terminal, width=140), quiet=quiet) as watch:
        watch(progress)
        finish_one(progress, planned)
        watch(progress)
    return file.getvalue()


def test_a_terminal_shows_a_line_a_worker(progress: Progress, planned: Plan) -> None:
    text = shown(progress, planned, terminal=True)
    (line,) = [line for line in text.splitlines() if "stub-00001" in line][:1]
    assert "━" in line and "4.250" in line and "5.125" in line and "123,456" in line and "0:00:00" in line
    assert "0 of 3 runs done, 1 jobs running, 3 runs left" in text and "something to know" in text


def test_a_file_gets_a_line_a_run(progress: Progress, planned: Plan) -> None:
    text = shown(progress, planned, terminal=False)
    assert text.splitlines() == ["something to know", "stub-00000  loss 1.0000"]


def test_quiet_says_what_went_wrong_and_nothing_else(
    progress: Progress, planned: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(progress, planned, terminal=True, quiet=True) == ""
    assert capsys.readouterr() == ("", "something to know\n")


def test_the_newest_row_of_a_long_curve(tmp_path: Path) -> None:
    """Whole rows only, and the last held-out loss, without reading what came before."""
    assert last_row(tmp_path) is None
    path = tmp_path / "curve.csv"
    path.write_text(HEADER, encoding="utf-8")
    assert last_row(tmp_path) is None
    rows = [
        f"{step},{64 * step},4.0,100,{5 - step / 1e4 if step % 50 == 0 else ''}\n" for step in range(3000)
    ]
    path.write_text(HEADER + "".join(rows) + "3000,19", encoding="utf-8")
    assert path.stat().st_size > 3 * TAIL_BYTES
    row = last_row(tmp_path)
    assert row is not None and (row["step"], row["test_loss_nats"]) == ("2999", "4.705")
