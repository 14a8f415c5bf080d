"""Every paper of this package: its parts are there, and its claims are decided in known worlds."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest
from tests.support.fitted_studies import FittedStudy

from scaling_laws.cli import main
from scaling_laws.papers.hoffmann2022 import PAPER as HOFFMANN
from scaling_laws.papers.hoffmann2022 import table_2
from scaling_laws.papers.pearce_song2024 import PAPER as PEARCE_SONG
from scaling_laws.papers.pearce_song2024 import counting, on_these_runs, simulated_runs
from scaling_laws.papers.porian2024 import PAPER as PORIAN
from scaling_laws.papers.porian2024 import ladder_table
from scaling_laws.report import figures
from scaling_laws.report.claims import Finding, findings
from scaling_laws.report.figure import figures_of
from scaling_laws.report.reproduction import Paper, all_papers
from scaling_laws.report.text import NOTHING
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.reading import load_sweep

ROOT = Path(__file__).parents[2]
PAPERS = all_papers()
SCALES = [path.stem for path in sorted((ROOT / "configs" / "scales").glob("*.yaml"))]


def only(paper: Paper, fitted: FittedStudy) -> Finding:
    ((_, finding),) = findings(paper.claims, fitted.tables, fitted.laws)
    return finding


def test_every_folder_is_a_paper() -> None:
    folders = {path.parent.name for path in (ROOT / "src/scaling_laws/papers").glob("*/__init__.py")}
    assert set(PAPERS) == folders >= {"hoffmann2022", "kaplan2020", "pearce_song2024", "porian2024"}
    slugs = Counter(claim.slug for paper in PAPERS.values() for claim in paper.claims)
    assert max(slugs.values()) == 1


@pytest.mark.parametrize("paper", PAPERS.values(), ids=PAPERS)
def test_its_parts_are_there(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert paper.all_figures() or not paper.figures
    for claim in paper.claims:
        assert not claim.sweep or Path(claim.sweep).is_file(), claim
        assert "Confirmed:" in claim.rule and "Contradicted:" in claim.rule
    ways = (paper.sweep, paper.simulate, paper.experiment, paper.kept_runs)
    assert sum(map(bool, ways)) == 1
    assert not paper.kept_runs or Path(paper.kept_runs).is_dir()
    for scale in SCALES if paper.sweep else []:
        sweep = load_sweep(Path(paper.sweep), scale=scale)
        assert sweep.include or sweep.ladders


def test_no_two_figures_have_a_name() -> None:
    of_papers = [figures_of(importlib.import_module(paper.module)) for paper in PAPERS.values()]
    names = [each.name for found in (figures_of(figures), *of_papers) for each in found]
    assert len(set(names)) == len(names)


def test_best_sizes_of_the_synthetic_worlds(paper: FittedStudy, flat: FittedStudy) -> None:
    assert only(HOFFMANN, paper).verdict == "confirmed"
    assert only(HOFFMANN, flat).verdict != "confirmed"
    table = table_2(paper.laws)
    assert {row[0][0] for row in table.rows} == {"1", "2", "3"}
    assert {row[4] for row in table.rows if row[0][0] == "2"} == {"0.49 [0.462, 0.534]"}


def test_counting_in_the_synthetic_worlds(paper: FittedStudy, flat: FittedStudy) -> None:
    # An irreducible loss and its exponents are hardly known where there is none.
    assert only(PEARCE_SONG, paper).verdict in ("confirmed", "inconclusive")
    assert only(PEARCE_SONG, flat).verdict != "confirmed"
    account = counting(paper.tables, paper.laws, "transformer")
    rows = on_these_runs(paper.tables, paper.laws).rows
    assert (account is None) == ("Transformer" not in {row[0] for row in rows})


def test_rungs_of_every_family(synthetic: FittedStudy) -> None:
    table = ladder_table(synthetic.tables, synthetic.laws)
    assert len(table.rows) == 7 * len(synthetic.tables.families)
    shown = [row for row in table.rows if row[6] == NOTHING]
    assert any(set(row[2:5]) != {NOTHING} for row in shown)
    assert PORIAN.claims == ()


def test_the_simulation_shows_kaplans_exponent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("laws.results.study", "report.pictures"):  # starting processes takes longer here
        monkeypatch.setattr(f"scaling_laws.{module}.n_cores", lambda: 1)
    assert len(simulated_runs()) == 100
    main(["paper", "pearce_song2024", "-o", str(tmp_path)])
    assert "claims: 1 confirmed" in capsys.readouterr().out
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| Besiroglu 2024 | 0.51 | 0.78 | 0.069 |" in text
    assert re.search(r"Their networks have \S+ to \S+ parameters and saw \S+ to \S+ tokens each\.", text)


def test_a_study_that_moved_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=r"the study 'paper' is configs/papers/kaplan2020.yaml now"):
        load_sweep(Path("configs/sweeps/paper.yaml"))
