"""Compute alone: slopes of known laws, and claims in worlds in which they hold and do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.results.study import no_laws
from scaling_laws.papers.guo2024 import PAPER, by_family
from scaling_laws.papers.guo2024.compute_alone import slopes
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.runs import load_study, study_of_table

EQUAL, SPLIT, LOGARITHM = PAPER.claims
ROOT = Path(__file__).parents[2]


def world(alpha: float, beta: float, form: str = "logarithm", noise: float = 0.003) -> StudyTables:
    random = np.random.default_rng(0)
    N, D = (np.repeat(np.geomspace(1e4, 1e6, 7), 5), np.tile(np.geomspace(1e5, 1e8, 5), 7))
    loss = 6 - alpha * np.log(N) - beta * np.log(D)
    if form == "power":
        loss = 40 * N**-alpha * D**-beta
    runs = [f"run-{place}" for place in range(len(N))]
    table = pd.DataFrame(
        {"run": runs, "trunk": runs, "family": "transformer", "N": N, "D": D, "C": 6 * N * D}
    )
    study = study_of_table("world", table.assign(loss=loss * np.exp(noise * random.normal(size=len(N)))))
    return StudyTables.read(study, no_laws(study))


def verdicts(study: StudyTables) -> list[str]:
    laws = no_laws(study.study)
    return [claim.finding(study, laws).verdict for claim in PAPER.claims]


def test_slopes_are_those_of_the_law() -> None:
    found = slopes(world(0.12, 0.08).runs)
    assert not isinstance(found, str)
    for draws, expected in ((found.in_N, -0.12), (found.in_D, -0.08)):
        assert draws[0] == pytest.approx(expected, abs=4 * draws[1:].std())
        assert draws[1:].std() < 0.003


def test_a_world_of_compute_alone() -> None:
    assert verdicts(world(0.1, 0.1)) == ["confirmed"] * 3


def test_a_world_in_which_the_split_matters() -> None:
    assert verdicts(world(0.12, 0.06))[:2] == ["contradicted", "contradicted"]


def test_a_power_law_that_no_logarithm_follows() -> None:
    assert verdicts(world(0.2, 0.2, "power"))[2] == "contradicted"


def test_noise_that_hides_everything_confirms_nothing() -> None:
    assert verdicts(world(0.1, 0.1, noise=0.3))[0] != "confirmed"


def test_tables_that_cannot_tell() -> None:
    study = world(0.1, 0.1)
    assert slopes(study.runs.iloc[:5]) == "5 runs; it needs 8"
    assert "independently" in str(slopes(study.runs.assign(D=20 * study.runs["N"])))


def test_the_repositorys_own_runs() -> None:
    study = load_study(ROOT / "results" / "cpu")
    tables = StudyTables.read(study, no_laws(study))
    assert EQUAL.finding(tables, no_laws(study)).verdict != "not measured"
    assert len(by_family(tables, no_laws(study)).rows) == len(tables.families)
