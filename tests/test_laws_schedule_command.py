"""`laws CURVES --schedule` as a user types it."""

import json
import shutil
from pathlib import Path

import pytest

from scaling_laws.cli import main

RESULTS = Path(__file__).parents[1] / "results"
LONGEST = "transformer-2x16h2-s1-8.39M"


@pytest.fixture
def curves(tmp_path):
    """The curves of one training of the quick study as somebody's own table: branches with their trunk."""
    import pandas as pd

    table = pd.read_csv(RESULTS / "quick" / "curves.csv.gz")
    table = table[table["run"].str.startswith("transformer-2x16h2-s1-")]
    names = {"learning_rate": "lr", "test_loss_nats": "eval/loss", "run": "name"}
    table.rename(columns=names).to_csv(tmp_path / "curves.csv", index=False)
    return tmp_path / "curves.csv"


def test_a_table_of_curves_is_fitted_drawn_and_written(curves, capsys):
    columns = ["--run", "name", "--rate", "lr", "--loss", "eval/loss"]
    folder = curves.parent / "figures"
    chosen = ["--form", "tissue", "--held-out", LONGEST, "--horizon", "3000", "--bootstrap", "20"]
    main(["laws", str(curves), "--schedule", *columns, *chosen, "--figures", str(folder)])
    said = capsys.readouterr().out
    assert "Predicted by tissue" in said and "are filled linearly" in said
    assert "The best schedule of 3,000 steps" in said
    found = json.loads((curves.parent / "curves.schedules.json").read_text())
    assert found["laws"][0]["form"] == "tissue" and len(found["best_schedule"]["learning_rate"]) == 3000
    held_out = found["predictions"][0]
    assert held_out["run"] == LONGEST and not held_out["fitted"]
    assert abs(held_out["predicted"][-1] / held_out["measured"][-1] - 1) < 0.03
    assert (folder / "schedules.png").stat().st_size > 5_000


def test_a_studys_branches_are_predicted(tmp_path, capsys):
    study = tmp_path / "quick"
    shutil.copytree(RESULTS / "quick", study, ignore=shutil.ignore_patterns("figures"))
    main(["laws", str(study), "--schedule"])
    assert "longest branches predicted from trunk and shorter branches" in capsys.readouterr().out
    written = json.loads((study / "runs.schedules.json").read_text())
    assert any(each["predicted"] for each in written["branches"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--horizon", "5"], "--horizon needs --schedule"),
        (["--schedule", "--n", "size"], "--n does not go with --schedule"),
        (["--schedule", "--rate", "eta"], "has no column 'eta'"),
        (["--schedule"], "a law of the schedule needs the columns step, learning_rate and loss"),
        (["--schedule", "-o", "curves.csv"], "is not a file of --schedule"),
    ],
)
def test_refusals_are_one_line(curves, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(curves.parent)
    with pytest.raises(SystemExit):
        main(["laws", str(curves), *arguments])
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
