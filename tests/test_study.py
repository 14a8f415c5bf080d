"""The main job, end to end: the tiny study, from the corpus to the report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from scaling_laws.cli import main
from scaling_laws.runs import load_study


@pytest.fixture
def study_folder(tiny_study: Path) -> Path:
    return tiny_study / "lightning_logs" / "tiny"


def test_every_run_is_there(study_folder: Path) -> None:
    study = load_study(study_folder)
    assert len(study.runs) == 15 and study.left_out.empty
    assert study.runs.groupby(["family", "N"]).size().tolist() == [3, 3, 3, 3, 3]
    assert study.runs["after_cooldown"].all()


def test_laws_and_report_are_there(study_folder: Path) -> None:
    laws = json.loads((study_folder / "laws.json").read_text(encoding="utf-8"))
    assert {fit["family"] for fit in laws["fits"]} == {"transformer", "lstm"}
    assert {"kaplan_nd", "chinchilla"} <= {fit["form"] for fit in laws["fits"]}
    report = (study_folder / "report.html").read_text(encoding="utf-8")
    assert report.count("<img") + report.count("<svg") >= 7
    for address in ('src="http', 'href="http', "url(http"):
        assert address not in report
    names = {path.stem for path in (study_folder / "figures").glob("*.svg")}
    table = pd.read_csv(study_folder / "runs.csv")
    pd.testing.assert_frame_equal(table, load_study(study_folder).runs)
    assert (
        (study_folder / "headline.md")
        .read_text(encoding="utf-8")
        .startswith("|  | Transformer, this study |")
    )
    assert names and names == {path.stem for path in (study_folder / "figures").glob("*.png")}


def test_the_readers_of_a_study_need_no_torch(study_folder: Path) -> None:
    """`laws`, `report` and `plan` on a real study, in a process where importing torch fails."""
    code = "import sys; sys.modules['torch'] = None\nfrom scaling_laws.cli import main\nmain(sys.argv[1:])"
    laws = study_folder / "again.json"
    for arguments in (
        ["laws", str(study_folder), "-o", str(laws), "--bootstrap", "50"],
        ["report", str(study_folder)],
        ["plan", "--compute", "1e12", "--published", "chinchilla"],
    ):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["laws", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere: no such folder"),
        (["plan", "--compute", "1e12", "--laws", "nowhere.json"], "nowhere.json: not a readable laws.json"),
        (["plan", "--compute", "-1", "--published", "kaplan"], "-1"),
        (["study", "nowhere.yaml"], "nowhere.yaml"),
        (["sweep", "nowhere.yaml", "--workers", "0"], "--workers is 0"),
        (["data", "build", "nowhere.yaml"], "nowhere.yaml"),
        (["data", "show", "nowhere"], "nowhere"),
        (["laws", "nowhere", "--bootstrap", "0"], "--bootstrap is 0"),
    ],
)
def test_bad_input_gets_one_line(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and says in error and error.count("\n") == 1


def test_an_empty_study_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path)])
    assert "no record.json" in capsys.readouterr().err


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for verb in ("study", "sweep", "laws", "plan", "report", "data", "fit", "validate", "test", "predict"):
        assert f"\n    {verb} " in printed
