"""A sweep in a folder from a stranger writes nothing outside, and none in a folder of somebody's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.small_sweep import write_sweep

from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.experiments import Plan
from scaling_laws.sweeps.plan.planning import plan_study, settled
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.sweeps.run import attempts, lease
from scaling_laws.sweeps.run.attempts import Place


@pytest.fixture
def plan(tmp_path: Path, text_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    sweep = load_sweep(write_sweep(tmp_path, text_folder))
    return plan_study(sweep, logs=tmp_path / "logs", data=tmp_path / "data", timed=False)


@pytest.mark.parametrize("name", ["attempts.jsonl", "log.txt", ".lease", "checkpoints", ""])
def test_a_run_folder_with_a_link_is_refused_before_anything_is_trained(
    plan: Plan, tmp_path: Path, name: str
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    link = plan.folder / plan.jobs[0].name / name if name else plan.folder / plan.jobs[0].name
    link.parent.mkdir(parents=True)
    link.symlink_to(mine)
    with pytest.raises(InputError, match=f"{link.name}: is a symbolic link"):
        settled(plan)
    assert not list(mine.iterdir())


@pytest.mark.parametrize("name", [".lease", "plan.json", "figures"])
def test_a_study_with_a_link_is_refused(plan: Plan, tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    plan.folder.mkdir(parents=True)
    (plan.folder / name).symlink_to(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=f"{name}: is a symbolic link"):
        settled(plan)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_folder_of_somebodys_own_is_no_study(plan: Plan) -> None:
    plan.folder.mkdir(parents=True)
    (plan.folder / "ledger.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="holds files that scaling-laws did not write"):
        settled(plan)
    assert (plan.folder / "ledger.csv").read_text(encoding="utf-8") == "mine"


def test_a_study_goes_on(plan: Plan) -> None:
    assert settled(plan) is plan
    assert settled(plan).references == plan.references
    (plan.folder / "plan.json").unlink()
    settled(plan)  # begun, and its plan lost


def test_lines_are_appended_to_no_link(tmp_path: Path) -> None:
    """Even where the link came after the folder was looked at."""
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    run = tmp_path / "run"
    run.mkdir()
    for name in (attempts.FILE, lease.LOCK_FILE):
        (run / name).symlink_to(tmp_path / "notes.txt")
    with pytest.raises(OSError, match="symbolic links"):
        attempts.begin(run, "one", start=Place(records=0, step=0), split=1)
    with pytest.raises(OSError, match="symbolic links"):
        lease.take(run)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert os.listdir(tmp_path / "run")
