"""`scaling-laws plan --rounds` from its arguments to its ledger."""

import csv
import json

import pytest

from scaling_laws.cli import main


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_ledger_is_begun_waited_for_and_gone_on_with(tmp_path, capsys):
    path = tmp_path / "ledger.csv"
    command = ["plan", "--rounds", "3", "--compute", "1e13", "--batch", "1k", "--ledger", str(path)]
    main(command)
    first = capsys.readouterr().out
    assert "round 1: screen" in first and "To train now: 15 runs" in first and "9.5e+12 FLOPs are" in first
    rows = rows_of(path)
    assert len(rows) == 15 and {row["batch_tokens"] for row in rows} == {"1000"}
    before = path.read_bytes()
    main(command)
    assert "To train now: 15 runs" in capsys.readouterr().out
    assert path.read_bytes() == before
    for i, row in enumerate(rows):
        row["loss"] = "diverged" if i % 5 == 4 else f"{4 - 0.1 * (i // 5) + 0.01 * (i % 5 - 2) ** 2}"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    main([*command, "--json"])
    content = json.loads(capsys.readouterr().out)
    assert (content["round"], content["purpose"], content["new"]) == (2, "learn", 17)
    assert content["costs"][0]["spent"] == pytest.approx(5e11)
    assert len(rows_of(path)) == 32


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--rounds 2 --compute 1e13", "--rounds is 2: give 3 to 6"),
        ("--rounds 3", "--rounds spends a budget"),
        ("--rounds 3 --compute 1e13 --published kaplan", "leave --published out"),
        ("--compute 1e13 --published kaplan --ledger a.csv", "--ledger belongs to --rounds"),
        ("--rounds 3 --compute 1e13 --screen beta2", "give the value to begin with"),
        ("--rounds 3 --compute 1e13 --screen width", "'width' is not one of"),
        ("--rounds 3 --compute 1e13 --beta2 2", "lies between 0 and 1"),
        ("--rounds 3 --compute 1e13 --ledger runs.csv", "is no ledger"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs.csv").write_text("N,D,loss\n1e6,1e8,3\n")
    with pytest.raises(SystemExit) as exit_:
        main(["plan", *arguments.split()])
    assert exit_.value.code not in (0, None)
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error
