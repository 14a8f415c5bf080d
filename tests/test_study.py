"""The main job, end to end: the tiny study, from the corpus to the report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from scaling_laws.cli import main
from scaling_laws.commands.sweep import TimeSpent
from scaling_laws.study.runs import load_study


@pytest.fixture
def study_folder(tiny_study: Path) -> Path:
    return tiny_study / "lightning_logs" / "tiny"


def test_every_run_is_there(study_folder: Path) -> None:
    study = load_study(study_folder)
    assert len(study.runs) == 15 and study.left_out.empty
    assert study.runs.groupby(["family", "N"]).size().tolist() == [3, 3, 3, 3, 3]
    assert study.runs["after_cooldown"].all()


def test_where_the_time_went(study_folder: Path) -> None:
    records = load_study(study_folder).records
    for record in records:
        assert record.evaluation_s is not None and 0 < record.evaluation_s < record.elapsed_s
    spent = TimeSpent()
    for part in ("training", "laws"):
        with spent.on(part):
            pass
    total, of_runs = spent.text(records).splitlines()
    assert total.endswith("s: training 0.0 s, laws 0.0 s")
    assert re.fullmatch(r"  15 runs, added up: .*, of which .* \(\d+ %\) on held-out text", of_runs)
    assert len(spent.text(replace(each, evaluation_s=None) for each in records).splitlines()) == 1


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
    assert (study_folder / "headline.md").read_text(encoding="utf-8").startswith("|  | Transformer |")
    assert names and names == {path.stem for path in (study_folder / "figures").glob("*.png")}


def test_the_readers_of_a_study_need_no_torch(
    study_folder: Path, tiny_export: tuple[Path, str], without_torch: Callable[..., str]
) -> None:
    """`laws`, `report` and `plan` on a real study, in a process where importing torch fails."""
    exported, said = tiny_export
    assert (exported / "laws.json").is_file() and "report.html" in said
    without_torch("laws", str(study_folder), "-o", str(study_folder / "again.json"), "--bootstrap", "50")
    assert (study_folder / "again.json").is_file()
    without_torch("plan", "--compute", "1e12", "--published", "chinchilla")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["laws", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere: cannot be read (No such file or directory)"),
        (["plan", "--compute", "1e12", "--laws", "nowhere.json"], "nowhere.json: not a readable laws.json"),
        (["plan", "--compute", "-1", "--published", "kaplan"], "-1"),
        (["study", "nowhere.yaml"], "nowhere.yaml"),
        (["sweep", "nowhere.yaml", "--workers", "0"], "--workers is 0"),
        (["data", "build", "nowhere.yaml"], "nowhere.yaml"),
        (["data", "show", "nowhere"], "nowhere"),
        (["laws", "nowhere", "--bootstrap", "-1"], "--bootstrap is -1"),
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
    verbs = ("study", "sweep", "laws", "plan", "report", "data", "generate", "export", "fit", "predict")
    for verb in verbs:
        assert f"\n    {verb} " in printed


def test_laws_of_anybodys_csv_and_a_plan_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs drawn from a known law under other column names: the law comes back, and plans with it."""
    rows = [
        (f"r{N:.0f}-{D:.0f}", N, 6 * N * D, 1.7 + 400 / N**0.34 + 410 / D**0.28)
        for N in (1e7, 3e7, 1e8, 3e8, 1e9)
        for D in (1e9, 3e9, 1e10, 3e10)
    ]
    table = tmp_path / "theirs.csv"
    pd.DataFrame(rows, columns=["name", "Model Size", "FLOPs", "val"]).to_csv(table, index=False)
    options = ["--n", "Model Size", "--c", "FLOPs", "--loss", "val", "--run", "name", "--bootstrap", "20"]
    main(["laws", str(table), *options, "--where", "val < 5"])
    assert "theirs.laws.json" in capsys.readouterr().out
    laws = json.loads((tmp_path / "theirs.laws.json").read_text(encoding="utf-8"))
    fit = next(fit for fit in laws["fits"] if fit["form"] == "chinchilla")
    truth = {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}
    assert fit["parameters"] == pytest.approx(truth, rel=1e-3)
    main(["plan", "--compute", "1e21", "--laws", str(tmp_path / "theirs.laws.json"), "--json"])
    plan = json.loads(capsys.readouterr().out)
    G = (0.34 * 400 / (0.28 * 410)) ** (1 / 0.62)
    assert plan["N"] == pytest.approx(G * (1e21 / 6) ** (0.28 / 0.62), rel=1e-2)
    assert 6 * plan["N"] * plan["D"] == pytest.approx(1e21)
