"""The numbers of the tables, and the words of the findings."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.synthetic_study import LAWS

from scaling_laws.laws.plan.planner import plan_from_laws
from scaling_laws.laws.results.types import Laws
from scaling_laws.report import findings, tables
from scaling_laws.report.text import interval_text, number


def row(table: tables.Table, name: str) -> dict[str, str]:
    cells = next(cells for cells in table.rows if cells[0] == name)
    return dict(zip(table.columns, cells, strict=True))


def test_headline_compares_with_the_papers(synthetic: Any) -> None:
    table = tables.headline(synthetic.laws)
    assert table.columns == (
        "",
        "Transformer",
        "LSTM",
        "Kaplan 2020",
        "Chinchilla 2022",
    )
    assert row(table, "α_N of L(N)")["Kaplan 2020"] == "0.076"
    assert row(table, "α_D of L(D)")["Kaplan 2020"] == "0.095"
    assert row(table, "α_C of L(C)")["Kaplan 2020"] == "0.057"
    assert row(table, "a: N_opt ~ C^a")["Kaplan 2020"] == "0.73"
    assert row(table, "E, nats per token")["Chinchilla 2022"] == "1.69"


def test_headline_holds_the_fit_and_its_interval(synthetic: Any) -> None:
    fit = synthetic.laws.of("transformer").fit("chinchilla")
    cell = row(tables.headline(synthetic.laws), "a: N_opt ~ C^a")["Transformer"]
    assert cell == f"{number(fit.derived['a_opt'])} {interval_text(fit.intervals['a_opt'])}"
    assert float(cell.split()[0]) == pytest.approx(LAWS["transformer"].a_opt, abs=0.1)


def test_what_is_not_identified_has_no_number(synthetic: Any) -> None:
    changed = synthetic.laws.to_json()
    for fit in changed["fits"]:
        if fit["form"] == "kaplan_n":
            fit |= {"identified": False, "reason": "only one N", "intervals": {}, "resamples": {}}
    laws = Laws.from_json(changed, "changed")
    cells = row(tables.headline(laws), "α_N of L(N)")
    assert cells["Transformer"] == cells["LSTM"] == "not identified"
    assert any("no: only one N" in cells for cells in tables.fits(laws).rows)


def test_text_is_aligned_and_markdown_is_escaped() -> None:
    table = tables.Table(columns=("", "a|b"), rows=(("x", "1"), ("longer", "2")))
    assert table.text().splitlines() == ["        a|b", "------  ---", "x       1", "longer  2"]
    assert table.markdown().splitlines()[0] == r"|  | a\|b |"


def test_runs_and_left_out(synthetic: Any) -> None:
    table = tables.runs(synthetic.tables, synthetic.laws)
    assert len(table.rows) == len(synthetic.study.runs)
    by_name = synthetic.study.runs.set_index("run")
    for cells in table.rows:
        assert cells[5] == f"{by_name.loc[cells[0], 'loss']:.4f}"
    left_out = tables.left_out(synthetic.laws)
    assert left_out.rows == (
        ("transformer-l2-d128-s90-0.5M", "diverged", "the loss was not finite at step 31"),
    )


def test_answer_and_plans(synthetic: Any) -> None:
    paragraphs = findings.answer(synthetic.tables, synthetic.laws)
    assert [" Transformer run" in paragraphs[0], " LSTM run" in paragraphs[1]] == [True, True]
    plans = findings.next_runs(synthetic.tables, synthetic.laws).table
    runs = synthetic.study.runs.query("family == 'transformer'")
    plan = plan_from_laws(synthetic.laws, 10 * float((6 * runs["N"] * runs["D"]).max()), family="transformer")
    assert plans.rows[1][0] == "Transformer"
    assert plans.rows[1][4].startswith(f"{plan.loss_nats:.3f} [")


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.31, "0.310"), (1.5, "1.50"), (96.5e9, "96.5B"), (1e-9, "1.00e-09"), (None, "–"), (2.0e2, "200")],
)
def test_numbers_in_words(value: float | None, words: str) -> None:
    assert number(value) == words


def test_an_open_interval_is_not_hidden() -> None:
    assert interval_text([0.5, None]) == "[0.500, ?]"
    assert interval_text(None) == ""
