"""Claims about copying, in trainings that are made up: what is there is found, and what is not is not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.by_hand import laws_with, study_of, tables_of

from scaling_laws.papers.olsson2022 import PAPER
from scaling_laws.papers.olsson2022.copying_trainings import CopyingTables
from scaling_laws.report.claims import Finding, findings

LAWS = laws_with()


def trainings(gains: dict[int, tuple[float, ...]], novel_of_four: float = 1.0) -> Any:
    """Gains by number of heads, seed by seed, at two widths; four heads' novel losses times that."""
    rows = [
        {
            "d_model": d_model,
            "n_heads": n_heads,
            "seed": seed,
            "gain": gain,
            "novel": 3.4 * (novel_of_four if n_heads == 4 else 1.0) * (1 + 0.002 * (-1) ** seed),
            "loss": 3.5 - 0.1 * gain,
            "N": d_model**2,
            "D": 8e6,
        }
        for d_model in (48, 88)
        for n_heads, of_seeds in gains.items()
        for seed, gain in enumerate(of_seeds)
    ]
    return SimpleNamespace(trainings=pd.DataFrame(rows))


def by_slug(evidence: Any) -> dict[str, Finding]:
    return {claim.slug: finding for claim, finding in findings(PAPER.claims, evidence, LAWS)}


def test_luck_with_one_head_and_none_with_four() -> None:
    found = by_slug(trainings({1: (0.3, 1.4, 0.35, 1.5, 0.3), 4: (1.4, 1.5, 1.45, 1.5, 1.4)}))
    assert {finding.verdict for finding in found.values()} == {"confirmed"}, found
    assert found["four-heads-copy-more"].value == pytest.approx(0.68)


def test_heads_that_change_nothing_but_novel_tokens() -> None:
    alike = (0.3, 0.4, 0.35, 0.33, 0.37)
    found = by_slug(trainings({1: alike, 4: alike}, novel_of_four=0.97))
    assert found["four-heads-copy-more"].verdict in ("contradicted", "inconclusive")
    assert found["one-head-is-luck"].verdict == "inconclusive"
    assert found["heads-do-not-help-on-novel-tokens"].verdict == "contradicted"
    assert found["heads-do-not-help-on-novel-tokens"].value == pytest.approx(100 * np.log(0.97))


def test_one_seed_says_nothing() -> None:
    found = by_slug(trainings({1: (0.3,), 4: (1.2,)}))
    assert {finding.verdict for finding in found.values()} == {"inconclusive"}


def test_runs_without_classes_were_not_measured() -> None:
    tables = tables_of(study_of([]))
    found = by_slug(CopyingTables(**vars(replace(tables))))
    assert {finding.verdict for finding in found.values()} == {"not measured"}
