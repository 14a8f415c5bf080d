"""What a column's value is worth in compute, against laws in which it is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.cli import main
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.results.compared_column import compare_column
from scaling_laws.study.errors import InputError

TRUTH = Chinchilla(E=1.7, A=40.0, B=60.0, alpha=0.3, beta=0.28)
WORTH = {"adamw": 1.0, "SGD(momentum=0.9)": 0.4, "Muon for matrices + adamw for rest": 1.5}
"""Tokens of adamw that one token of each is worth."""
RATES = {"adamw": 0.01, "SGD(momentum=0.9)": 0.3, "Muon for matrices + adamw for rest": 0.02}


def runs(noise: float = 0.001, **columns: Any) -> pd.DataFrame:
    """A study's table: each optimiser at its own rate, and at one that is far too small."""
    random = np.random.default_rng(0)
    rows = []
    for optimizer, worth in WORTH.items():
        for N in np.geomspace(1e4, 1e7, 5).round():
            for D in np.geomspace(1e6, 1e9, 4).round():
                for share, lost in ((1.0, 1.0), (0.1, 1.2)):
                    rows.append(
                        {
                            "run": f"r{len(rows)}",
                            "trunk": f"{optimizer}-{N:g}-{share}",
                            "family": "transformer",
                            "N": N,
                            "D": D,
                            "C": 6 * N * D,
                            "optimizer": optimizer,
                            "learning_rate": share * RATES[optimizer],
                            "train_halvings": 0,
                            "n_layer": 4,
                            "d_model": 64,
                            "after_cooldown": True,
                            "stopped_early": False,
                            "loss": lost * float(TRUTH.loss(N, worth * D)) * np.exp(noise * random.normal()),
                            **columns,
                        }
                    )
    return pd.DataFrame(rows)


def test_the_worth_of_each_optimiser_at_its_own_rate() -> None:
    (found,) = compare_column(runs(), "optimizer", reference="adamw", resamples=40)
    assert (found.by, found.family) == ("optimizer", "transformer")
    (law,) = [law for law in found.laws if law.form == "chinchilla"]
    assert law.reference == "adamw" and {each.family for each in law.efficiencies} == WORTH.keys() - {"adamw"}
    for each in law.efficiencies:
        interval = each.intervals["m_C"]
        assert interval is not None
        low, high = interval
        assert each.m_C == pytest.approx(WORTH[each.family], rel=0.03)
        assert low < each.m_C < high < 1.3 * low
    assert set(found.n_runs.values()) == {20}
    assert len(found.left_out) == 60  # the rates that are too small


def test_a_recipe_is_one_in_all_other_columns() -> None:
    """Weight decay belongs to the short names: what a class lacks is no difference; another batch is."""
    table = runs()
    table["weight_decay"] = np.where(table["optimizer"] == "adamw", 0.1, np.nan)
    other = table[table["run"].isin(table["run"][:10])].assign(
        run=lambda rows: "x" + rows["run"], batch_tokens=4096, loss=1.0
    )
    mixed = pd.concat([table.assign(batch_tokens=2048), other], ignore_index=True)
    (found,) = compare_column(mixed, "optimizer", resamples=10)
    assert found.laws[1].reference == "Muon for matrices + adamw for rest"  # of equals the first by name
    reasons = {str(each["run"]): str(each["reason"]) for each in found.left_out}
    assert all("with another batch" in reasons[f"x{run}"] for run in table["run"][:10])


def test_a_number_is_a_value_too() -> None:
    table = runs(optimizer="adamw")
    table["weight_decay"] = np.where(table.index < 40, 0.1, 0.3)
    (found,) = compare_column(table, "weight_decay", reference="0.1", resamples=10)
    assert found.n_runs == {"0.1": 20, "0.3": 20}


@pytest.mark.parametrize(
    ("by", "reference", "says"),
    [
        ("optimiser", None, "no column 'optimiser'; did you mean optimizer?"),
        ("dropout", None, "no column 'dropout'; columns with several values: optimizer"),
        ("loss", None, "loss is not a setting that runs can be compared by"),
        ("seed", None, "no column 'seed'"),
        ("family", None, "no family has runs of two of its values"),
        ("n_layer", None, "two of its values (4)"),
        ("optimizer", "sgd", "optimizer is never 'sgd'; its values are"),
    ],
)
def test_what_cannot_be_compared_is_said(by: str, reference: str | None, says: str) -> None:
    with pytest.raises(InputError) as raised:
        compare_column(runs(), by, reference=reference)
    assert says in str(raised.value)


def test_the_command_and_the_front_door_say_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of anybody's table, too: its column of text is kept."""
    path = tmp_path / "runs.csv"
    table = runs()
    best = table[table["loss"] == table.groupby(["optimizer", "N", "D"])["loss"].transform("min")]
    best[["run", "N", "D", "loss", "optimizer"]].to_csv(path, index=False)
    main(["laws", str(path), "--compare", "optimizer", "--reference", "adamw", "--bootstrap", "20"])
    printed = capsys.readouterr().out
    found = sl.compare(path, by="optimizer", reference="adamw", resamples=20)
    assert printed.strip() == f"all:\n{found.summary().removeprefix('all:').strip()}".strip()
    worth = found.table().query("form == 'chinchilla'").set_index("optimizer")["m_C"]
    assert worth.to_dict() == pytest.approx({k: v for k, v in WORTH.items() if k != "adamw"}, rel=0.1)
    assert "In the unit of adamw (20 runs)" in printed and not (tmp_path / "runs.laws.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--reference", "adamw"], "--reference needs --compare"),
        (["--compare", "optimizer", "--form", "chinchilla"], "--form does not go with --compare"),
        (["--compare", "optimiser"], "optimiser"),
    ],
)
def test_wrong_options_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    path = tmp_path / "runs.csv"
    runs()[["run", "N", "D", "loss", "optimizer"]].to_csv(path, index=False)
    with pytest.raises(SystemExit) as stopped:
        main(["laws", str(path), *arguments])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and says in error and error.count("\n") == 1
