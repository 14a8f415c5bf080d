"""Verdicts on the paper's claims, in worlds in which they are known to hold, or not to."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.support.fitted_studies import FittedStudy

from scaling_laws.laws.fit.straight_line import line_through, mean_interval
from scaling_laws.papers.claim import VERDICTS, Finding, judged
from scaling_laws.papers.claims_table import CLAIMS, claims_table, findings, write_findings
from scaling_laws.papers.kaplan2020.claims.tuning import best_rates
from scaling_laws.report.evidence import StudyTables, no_laws

TOO_WIDE = {
    22: "N along the envelope in C_min: 0.68 is true, and the interval reaches below 0.63",
    23: "S_min along it: 0.07 is true, and the interval reaches beyond 0.2",
    25: "an irreducible loss and its exponents are hardly known where there is none",
}
"""Claims that hold in the synthetic paper, and that its runs cannot confirm."""


def by_number(fitted: FittedStudy) -> dict[int, Finding]:
    return {claim.number: finding for claim, finding in findings(fitted.tables, fitted.laws)}


def test_what_is_true_of_the_synthetic_paper_is_confirmed(paper: FittedStudy) -> None:
    found = by_number(paper)
    assert {n for n, finding in found.items() if finding.verdict != "confirmed"} <= TOO_WIDE.keys()
    for number in TOO_WIDE:
        assert found[number].verdict in ("confirmed", "not at this scale"), found[number]


@pytest.mark.parametrize(
    ("number", "true", "within"),
    [
        (2, 0.103, 0.01),
        (9, 100 * math.log(4.0 ** (-0.076 * 0.4)), 1.0),
        (13, -3.0, 0.5),
        (14, 0.076 / 0.103, 0.08),
        (15, 1 / 0.21, 1.5),
        (17, 1.2, 0.3),
        (20, 10.0, 1.5),
        (28, -0.3, 0.06),
    ],
)
def test_numbers_are_those_of_the_truth(paper: FittedStudy, number: int, true: float, within: float) -> None:
    finding = by_number(paper)[number]
    assert finding.value == pytest.approx(true, abs=within)


def test_where_nothing_scales_claims_are_contradicted(flat: FittedStudy) -> None:
    found = by_number(flat)
    verdicts = {number: finding.verdict for number, finding in found.items()}
    for number in (1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 17, 27, 28):
        assert verdicts[number] == "contradicted", (number, found[number])
    # Where the batch changes nothing there is no law of it, and nothing that needs one.
    for number in (5, 15, 16, 18, 19, 20, 21, 22, 23, 24, 25, 26):
        assert verdicts[number] != "confirmed", (number, found[number])


def test_claims_are_numbered_and_their_sweeps_exist() -> None:
    assert [claim.number for claim in CLAIMS] == list(range(1, len(CLAIMS) + 1))
    for claim in CLAIMS:
        assert Path(f"configs/sweeps/{claim.sweep}.yaml").is_file(), claim
        assert "Confirmed:" in claim.rule and "Contradicted:" in claim.rule


def test_without_a_run_nothing_was_measured(paper: FittedStudy) -> None:
    empty = replace(paper.study, runs=paper.study.runs.iloc[:0])
    laws = no_laws(empty)
    tables = StudyTables.read(empty, laws)
    assert {finding.verdict for _, finding in findings(tables, laws)} == {"not measured"}


def test_a_small_study_says_little(synthetic: FittedStudy, one_run: FittedStudy) -> None:
    assert by_number(synthetic)[1].verdict == "not at this scale"  # its irreducible loss bends the line
    for number in (2, 6, 9, 13, 14, 27, 28):
        finding = by_number(synthetic)[number]
        assert finding.verdict == "not measured" and finding.value is None
    alone = by_number(one_run)
    assert {number for number, finding in alone.items() if finding.verdict == "confirmed"} <= {12}
    assert "contradicted" not in {finding.verdict for finding in alone.values()}


def test_files(paper: FittedStudy, tmp_path: Path) -> None:
    write_findings(paper.laws, findings(paper.tables, paper.laws), tmp_path)
    entries = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    with open(tmp_path / "claims.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert len(entries) == len(rows) == len(CLAIMS)
    for entry, row, claim in zip(entries, rows, CLAIMS, strict=True):
        assert entry["verdict"] == row["verdict"] and entry["verdict"] in VERDICTS
        assert claim.text in text and claim.rule in text
        assert entry["sweep"] == f"configs/sweeps/{claim.sweep}.yaml"
    assert float(rows[0]["value"]) == pytest.approx(entries[0]["value"])
    assert len(claims_table(paper.tables, paper.laws).rows) == len(CLAIMS)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.1, 0.2), "confirmed"),
        ((0.1, 0.6), "not at this scale"),
        ((-1.0, 0.2), "not at this scale"),
        ((0.6, 0.7), "contradicted"),
        ((None, 0.2), "not at this scale"),
        ((None, -0.2), "contradicted"),
        ((None, None), "not at this scale"),
    ],
)
def test_an_interval_decides(interval: tuple[float | None, float | None], verdict: str) -> None:
    assert judged(0.15, interval, 0.0, 0.5).verdict == verdict


def test_lines_and_means_cover_what_they_estimate() -> None:
    random = np.random.default_rng(0)
    x, groups = np.tile(np.arange(4.0), 2), np.repeat(["a", "b"], 4)
    hits = [0, 0]
    for _ in range(400):
        y = 2 * x + np.where(groups == "a", 5.0, -5.0) + random.normal(size=8)
        low, high = line_through(x, y, groups).interval
        hits[0] += low < 2 < high
        low, high = mean_interval(random.normal(loc=3, size=5))[1]
        hits[1] += low < 3 < high
    assert all(0.86 < hit / 400 < 0.94 for hit in hits)
    exact = line_through(x, 2 * x + np.where(groups == "a", 5.0, -5.0), groups)
    assert (exact.slope, exact.intercept, exact.rms) == pytest.approx((2, 5, 0), abs=1e-12)


def test_a_best_rate_on_the_edge_is_none() -> None:
    rates = [0.25, 0.5, 1.0, 2.0, 4.0]
    inside = [(1e4, 512, rate, math.exp(0.01 * math.log(rate / 0.8) ** 2)) for rate in rates]
    edge = [(1e5, 512, rate, math.exp(0.01 * math.log(rate / 9.0) ** 2)) for rate in rates]
    found = best_rates(pd.DataFrame(inside + edge, columns=["N", "batch_tokens", "learning_rate", "loss"]))
    assert found["N"].tolist() == [1e4] and found["rate"].iloc[0] == pytest.approx(0.8)
