"""Papers are found, listed and reproduced by one command, without the core knowing one by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scaling_laws.cli import main
from scaling_laws.report.reproduction import all_papers, find_paper
from scaling_laws.study.errors import InputError

TOY = """
from scaling_laws.laws.fit.straight_line import line_through
from scaling_laws.report import style as st
from scaling_laws.report.claims import Claim, Measured
from scaling_laws.report.figure import figure
from scaling_laws.report.reproduction import Paper
from scaling_laws.report.text import Table
import numpy as np


def steepness(study, laws):
    line = line_through(np.log(study.runs["N"]), np.log(study.runs["loss"]))
    return Measured(value=line.slope, interval=line.interval, context=f"{len(study.runs)} runs")


def draw(runs):
    drawing, (axes,) = st.panels(1)
    axes.plot(runs["N"], runs["loss"], "o")
    return drawing


@figure("toy_losses", "Losses by size", "scale", draw=draw, describe=lambda runs: f"{len(runs)} losses.")
def toy_losses(study, laws):
    return study.runs[["N", "loss"]]


PAPER = Paper(
    module=__name__,
    title="A toy",
    citation="Nobody 2026",
    question="Does the loss fall?",
    claims=(
        Claim(
            slug="it-falls", text="The loss falls", source="p. 1", quantity="slope", paper="", needs="size",
            confirmed=(-np.inf, 0.0), measure=steepness,
        ),
    ),
    figures={"toy_losses": "Fig. 1", "isoflop_slices": ""},
    tables=lambda study, laws: {"Table 1": Table(columns=("a",), rows=(("b",),))},
)
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a paper of the user's own and a table of runs."""
    (tmp_path / "toy_paper.py").write_text(TOY, encoding="utf-8")
    rows = [(N, D, 1.7 + 400 * N**-0.34 + 410 * D**-0.28) for N in (1e6, 1e7, 1e8) for D in (1e9, 1e10)]
    table = "\n".join(["N,D,loss", *(f"{N},{D},{loss}" for N, D, loss in rows)])
    (tmp_path / "runs.csv").write_text(table + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_toy_paper_gets_its_page(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["paper", "toy_paper", "--from", "toy_paper", "--runs", "runs.csv", "--export"])
    said = capsys.readouterr().out
    assert "claims: 1 confirmed" in said
    folder = toy / "lightning_logs" / "papers" / "toy_paper"
    (claim,) = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    assert claim["slug"] == "it-falls" and claim["verdict"] == "confirmed" and claim["high"] < 0
    page = (folder / "page.html").read_text(encoding="utf-8")
    for words in (
        "A toy",
        "Nobody 2026",
        "The loss falls",
        "Losses by size (Fig. 1)",
        "6 losses.",
        "Table 1",
    ):
        assert words in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {"toy_losses.png", "toy_losses.svg"} <= names and "isoflop_slices.png" not in names
    kept = toy / "results" / "papers" / "toy_paper"
    assert {"claims.json", "claims.csv", "claims.md", "page.md"} <= {path.name for path in kept.iterdir()}
    assert (kept / "figures" / "toy_losses.png").is_file()


def test_a_list_without_a_name(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["paper", "--from", "toy_paper"])
    said = capsys.readouterr().out
    assert "A toy" in said and all(name in said for name in all_papers())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody1999"], "there is no paper 'nobody1999'; there are: "),
        (["toy_paper", "--from", "no_such_module"], "--from no_such_module: cannot be imported"),
        (["toy_paper", "--from", "json"], "--from json: holds no PAPER"),
        (["toy_paper", "--from", "toy_paper"], "give some with --runs"),
    ],
)
def test_mistakes_are_one_line(
    toy: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["paper", *arguments])
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_a_figure_that_is_not_there(toy: Path) -> None:
    text = (toy / "toy_paper.py").read_text(encoding="utf-8").replace("isoflop_slices", "no_such_figure")
    (toy / "wrong_paper.py").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="there is no figure 'no_such_figure' to show"):
        find_paper("wrong_paper", "wrong_paper").all_figures()


def test_nothing_to_train(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["paper", "toy_paper", "--from", "toy_paper", "--runs", "runs.csv", "--dry-run"])
    assert capsys.readouterr().out == "toy_paper: nothing to train\n"
    assert not (toy / "lightning_logs").exists()
