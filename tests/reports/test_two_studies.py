"""Figures for print and two tables over one another, as commands."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scaling_laws.cli import main
from scaling_laws.commands import report as report_command
from scaling_laws.report.two_studies import other_text, pairing


def write_table(path: Path, *, beta: float) -> None:
    N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(1e9, 1e11, 4)))
    loss = 1.8 + 400 / N**0.34 + 1800 / D**beta
    noise = np.random.default_rng(len(path.stem) + ord(path.stem[0])).normal(scale=0.0005, size=len(N))
    table = pd.DataFrame(
        {"N": N, "D": D, "loss": loss * np.exp(noise), "run": [f"{path.stem} {n}" for n in range(16)]}
    )
    table.to_csv(path, index=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report_command, "DEFAULT_RESAMPLES", 20)
    write_table(tmp_path / "a.csv", beta=0.36)
    write_table(tmp_path / "b.csv", beta=0.42)
    return tmp_path


def test_two_tables_are_compared_on_one_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", "a.csv", "b.csv"])
    printed = capsys.readouterr().out
    page = folder / "a-and-b.report" / "report.html"
    assert f"report: {page}" in printed
    marked = page.with_suffix(".md").read_text(encoding="utf-8")
    assert "No run is in both: the intervals of differences are those of independent runs." in marked
    (line,) = [line for line in marked.splitlines() if "A/N^alpha + B/D^beta | beta |" in line]
    *_, difference, apart = (cell.strip() for cell in line.strip("| ").split("|"))
    low, high = (float(end) for end in re.findall(r"\[(.+), (.+)\]", difference)[0])
    assert 0 < low < float(difference.split()[0]) < high and apart == "yes"
    assert float(difference.split()[0]) == pytest.approx(0.06, abs=0.015)
    (line,) = [line for line in marked.splitlines() if "A/N^alpha + B/D^beta | alpha |" in line]
    assert line.strip("| ").endswith("no")
    assert (page.parent / "figures" / "two_studies_1.svg").is_file()
    assert "Which one to take at ten times the compute?" in marked
    assert re.search(r"\| b.csv or a.csv \| b.csv \|", marked)
    assert "One FLOP of b.csv is worth" in marked
    main(["report", "a.csv", "b.csv"])  # its own files may be written again


def test_runs_in_both_are_paired_where_the_others_differ(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fifteen of sixteen runs are the same: the laws differ by what the other one says."""
    table = pd.read_csv("a.csv")
    other = table.copy()
    other.loc[15, "loss"] *= np.exp(0.001)
    other.loc[15, "run"] = "other"
    other.to_csv("c.csv", index=False)
    other.assign(run=[f"c {n}" for n in range(16)]).to_csv("d.csv", index=False)
    widths = {}
    for name, words in (("c", "15 runs are in both: each resample gives"), ("d", "No run is in both")):
        main(["report", "a.csv", f"{name}.csv"])
        marked = (folder / f"a-and-{name}.report" / "report.md").read_text(encoding="utf-8")
        assert words in marked
        (line,) = [line for line in marked.splitlines() if "A/N^alpha + B/D^beta | alpha |" in line]
        *_, difference, _ = (cell.strip() for cell in line.strip("| ").split("|"))
        low, high = (float(end) for end in re.findall(r"\[(.+), (.+)\]", difference)[0])
        assert low < float(difference.split()[0]) < high
        widths[name] = high - low
    assert 0 < widths["c"] < 0.75 * widths["d"]
    capsys.readouterr()


def test_losses_of_different_text_are_not_compared() -> None:
    def side(name: str, text: str, bits: float) -> Any:
        runs = pd.DataFrame({"manifest_hash": [text], "bits_per_byte_test": [bits]})
        return SimpleNamespace(name=name, study=SimpleNamespace(runs=runs))

    words = other_text((side("code", "0a", 1.25), side("english", "0b", 2.5)))
    assert "losses in nats per token cannot be compared, exponents can." in words
    assert "Lowest losses in bits per byte: code 1.250 and english 2.500." in words
    assert not other_text((side("code", "0a", 1.25), side("more code", "0a", 1.2)))


def test_nobody_chooses_between_losses_of_different_text(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("a", "0a"), ("b", "0b")):
        pd.read_csv(f"{name}.csv").assign(manifest_hash=text).to_csv(f"{name}.csv", index=False)
    main(["report", "a.csv", "b.csv"])
    marked = (folder / "a-and-b.report" / "report.md").read_text(encoding="utf-8")
    assert "The two were measured on different text" in capsys.readouterr().out
    assert "One FLOP of" not in marked and "the best size ends at" not in marked
    chapter = marked.split("## Which one to take at ten times the compute?")[1].split("\n## ")[0]
    assert chapter.strip().startswith("The two were measured on different text: losses in nats per token")
    assert "| beta |" in marked  # exponents can be compared
    drawn = (folder / "a-and-b.report" / "figures" / "two_studies_1.svg").read_text(encoding="utf-8")
    assert "nats" not in drawn


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("report a.csv b.csv a.csv", "3 runs are given; report compares two"),
        ("report a.csv b.csv --export kept", "--export is for one study or table"),
        ("report a.csv --figure-width 1", "--figure-width belongs to --figures"),
        ("laws a.csv --form chinchilla --figures f", "leave --form out"),
    ],
)
def test_what_does_not_go_together_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    with pytest.raises(SystemExit):
        main(arguments.split())
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["a.csv", "b.csv"]


def test_laws_write_figures_of_one_column(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["laws", "a.csv", "--bootstrap", "5", "--figures", "f", "--figure-width", "1"])
    assert "files in f" in capsys.readouterr().out
    svg = (folder / "f" / "power_laws.svg").read_text(encoding="utf-8")
    width, height = (float(size) for size in re.findall(r'(?:width|height)="([\d.]+)pt"', svg)[:2])
    assert width == pytest.approx(3.4 * 72) and height > width
    assert (folder / "f" / "power_laws.pdf").read_bytes().startswith(b"%PDF")


def test_runs_of_one_name_are_the_same_only_with_the_same_size_and_tokens() -> None:
    """Rows without a name ("row 2") are the same run only where their loss is, too."""

    def sides(*tables: dict[str, list[object]]) -> list[Any]:
        return [SimpleNamespace(tables=SimpleNamespace(runs=pd.DataFrame(each))) for each in tables]

    one = {"run": ["row 2", "row 3"], "N": [1e6, 2e6], "D": [1e9, 1e9], "loss": [3.0, 2.9]}
    assert pairing(sides(one, one))[0]
    assert pairing(sides(one, {**one, "loss": [3.1, 2.8]})) == (
        False,
        "No run is in both: the intervals of differences are those of independent runs.",
    )
    named = {**one, "run": ["a", "b"]}
    assert pairing(sides(named, {**named, "loss": [3.1, 2.8]}))[0]
    assert "1 run is in both" in pairing(sides(named, {**named, "D": [1e9, 2e9]}))[1]
