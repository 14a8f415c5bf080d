"""A claim's rule is data: it decides, it says itself in words, and its finding goes to three files."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from scaling_laws.report.claims import (
    Claim,
    Finding,
    Limit,
    Measured,
    Verdict,
    after_holm,
    claim_files,
    claims_table,
    findings,
    multiplicity,
    not_measured,
)
from scaling_laws.study.own_files import write_own_files

SPAN, RMS = "decades", "the distance in per cent"


def claim_of(**changes: object) -> Claim:
    defaults: dict[str, object] = {
        "slug": "it-grows",
        "text": "It grows",
        "source": "Fig. 1",
        "quantity": "the exponent",
        "paper": "0.1",
        "confirmed": (0.0, 0.5),
        "needs": "size",
        "measure": lambda study, laws: Measured(value=0.15, interval=(0.1, 0.2), context="of 5"),
    }
    return Claim(**(defaults | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.1, 0.2), "confirmed"),
        ((0.1, 0.6), "inconclusive"),
        ((-1.0, 0.2), "inconclusive"),
        ((0.6, 0.7), "contradicted"),
        ((None, 0.2), "inconclusive"),
        ((None, -0.2), "contradicted"),
        ((None, None), "inconclusive"),
    ],
)
def test_an_interval_decides(interval: tuple[float | None, float | None], verdict: Verdict) -> None:
    finding = claim_of().judge(Measured(value=0.15, interval=interval))
    assert finding.verdict == verdict and finding.value == 0.15


def test_an_interval_that_must_hold_a_number() -> None:
    point = claim_of(confirmed=(0.0, 0.0))
    assert point.judge(Measured(value=0.1, interval=(-0.1, 0.3))).verdict == "confirmed"
    assert point.judge(Measured(value=0.1, interval=(0.05, 0.3))).verdict == "contradicted"
    assert "the interval holds 0" in point.rule and "it leaves 0 out" in point.rule


@pytest.mark.parametrize(
    ("interval", "decades", "rms", "verdict"),
    [
        ((0.1, 0.2), 2.0, 0.5, "confirmed"),
        ((0.1, 0.2), 0.5, 0.5, "inconclusive"),
        ((0.1, 0.2), 2.0, 2.0, "inconclusive"),
        ((0.1, 0.2), 2.0, 4.0, "contradicted"),
        ((0.1, 0.2), 0.5, 4.0, "inconclusive"),
        ((0.1, 0.6), 2.0, 4.0, "inconclusive"),
        ((0.6, 0.7), 0.5, 0.5, "contradicted"),
    ],
)
def test_limits_hold_a_confirmation_back(
    interval: tuple[float, float], decades: float, rms: float, verdict: Verdict
) -> None:
    limits = (
        Limit(name=SPAN, words="sizes span {least:g} decade", least=1.0),
        Limit(name=RMS, words="losses lie within {most:g} %", most=1.0, contradicts_above=3.0),
    )
    limited = claim_of(limits=limits)
    measured = Measured(value=0.15, interval=interval, limited={SPAN: decades, RMS: rms})
    assert limited.judge(measured).verdict == verdict
    assert "sizes span 1 decade and losses lie within 1 %" not in limited.rule
    assert "sizes span 1 decade, and losses lie within 1 %" in limited.rule
    assert f"{RMS} is above 3 where all else confirms it" in limited.rule


def test_a_limit_for_either_verdict_holds_both_back() -> None:
    limit = Limit(name=RMS, words="losses lie within {most:g} %", most=1.0, always=True)
    limited = claim_of(limits=(limit,))
    for interval in ((0.1, 0.2), (0.6, 0.7)):
        measured = Measured(value=0.15, interval=interval, limited={RMS: 2.0})
        assert limited.judge(measured).verdict == "inconclusive"
    assert limited.rule.startswith("Either verdict needs that losses lie within 1 %. Confirmed: the interval")


@pytest.mark.parametrize(
    ("confirmed", "words"),
    [
        ((0.63, 0.83), "Confirmed: the interval lies between 0.63 and 0.83. Contradicted: it lies outside."),
        ((0.02, math.inf), "Confirmed: the interval lies above 0.02. Contradicted: it lies below."),
        ((-math.inf, 3.0), "Confirmed: the interval lies below 3. Contradicted: it lies above."),
        ((-0.25, 0.25), "Confirmed: the interval lies within 0.25 of 0. Contradicted: it lies outside."),
    ],
)
def test_a_rule_says_itself(confirmed: tuple[float, float], words: str) -> None:
    assert claim_of(confirmed=confirmed).rule == words


def test_files(tmp_path: Path) -> None:
    claims = [claim_of(), claim_of(slug="it-shrinks", measure=lambda study, laws: not_measured("no runs"))]
    found = findings(claims, None, {})  # type: ignore[arg-type]
    write_own_files(tmp_path, claim_files("Claims of a paper", found), writer="paper")
    entries = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    with open(tmp_path / "claims.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert [entry["slug"] for entry in entries] == ["it-grows", "it-shrinks"]
    assert [entry["number"] for entry in entries] == [1, 2]
    for entry, row, claim in zip(entries, rows, claims, strict=True):
        assert entry["verdict"] == row["verdict"]
        assert claim.text in text and claim.rule in text and f"`{claim.slug}`" in text
        assert entry["sweep"] == "configs/sweeps/size.yaml"
    assert float(rows[0]["value"]) == entries[0]["value"] == 0.15
    assert rows[1]["value"] == ""
    table = claims_table(found)
    assert len(table.rows) == 2 and table.caption.startswith("1 confirmed, 1 not measured")
    write_own_files(tmp_path, claim_files("Claims of a paper without any", []), writer="paper")
    assert json.loads((tmp_path / "claims.json").read_text(encoding="utf-8")) == []


def test_the_chance_of_a_verdict_is_that_of_its_nearest_bound() -> None:
    at_its_end = claim_of().judge(Measured(value=0.1, interval=(0.0, 0.2)))
    assert at_its_end.verdict == "confirmed" and at_its_end.p == pytest.approx(0.05)
    assert claim_of().judge(Measured(value=0.1, interval=(-0.1, 0.3))).p is None
    clear = claim_of().judge(Measured(value=1.0, interval=(0.9, 1.1)))
    assert clear.verdict == "contradicted" and clear.p is not None and clear.p < 1e-6


def test_holm_keeps_what_is_clear() -> None:
    found = [
        (claim_of(slug=f"claim-{place}"), Finding(verdict="confirmed", why="", p=p))
        for place, p in enumerate((0.02, 1e-6, 0.2, None))
    ]
    assert after_holm(found) == (["claim-1", "claim-0"], ["claim-2"])
    assert "3 verdicts rest on a 90 % interval" in multiplicity(found)
    assert multiplicity([]) == ""
