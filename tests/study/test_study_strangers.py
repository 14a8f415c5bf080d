"""A study's folder from somebody else is data: copies, links and pipes in it are left out, with a reason."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.support.synthetic_study import write_synthetic_study

from scaling_laws.study.runs import load_study


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_synthetic_study(tmp_path / "study", families=("transformer",), max_sizes=2)


def reasons(folder: Path) -> dict[str, str]:
    left_out = load_study(folder).left_out
    return dict(zip(left_out["run"], left_out["reason"], strict=True))


def test_a_copied_run_counts_once(folder: Path) -> None:
    before = load_study(folder)
    run = before.runs["run"].iloc[0]
    shutil.copytree(folder / run, folder / f"{run}.bak")
    after = load_study(folder)
    assert after.runs["run"].tolist() == before.runs["run"].tolist()
    assert [record.name for record in after.records] == [record.name for record in before.records]
    assert f"is the record of the run {run!r}; a copied" in reasons(folder)[f"{run}.bak"]


def test_a_renamed_run_is_no_other(folder: Path) -> None:
    run = load_study(folder).runs["run"].iloc[0]
    (folder / run).rename(folder / "mine")
    assert run not in set(load_study(folder).runs["run"])
    assert f"is the record of the run {run!r}" in reasons(folder)["mine"]


@pytest.mark.parametrize("name", ["curve.csv", "record.json", "checkpoints", "checkpoints/final.ckpt", ""])
def test_a_run_with_a_link_is_left_out(folder: Path, tmp_path: Path, name: str) -> None:
    run = load_study(folder).runs["run"].iloc[0]
    (folder / run / "checkpoints").mkdir(exist_ok=True)
    path, elsewhere = folder / run / name, tmp_path / "elsewhere"
    if path.exists():
        shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)
    assert run not in set(load_study(folder).runs["run"])
    assert "is a symbolic link; a run whose files lie elsewhere is not read" in reasons(folder)[run]


def test_links_of_a_users_logger_do_no_harm(folder: Path) -> None:
    """As W&B's: `wandb/latest-run`."""
    run = load_study(folder).runs["run"].iloc[0]
    (folder / run / "wandb").mkdir()
    (folder / run / "wandb" / "latest-run").symlink_to("run-1")
    assert run in set(load_study(folder).runs["run"])


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    (folder / "pipe").mkdir()
    os.mkfifo(folder / "pipe" / "record.json")
    assert reasons(folder)["pipe"].endswith("record.json: is not a file")
