"""Sensitivity, bootstrap and cost: what is drawn is what the laws, the records and the ledger say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.by_hand import fit_of, laws_with, study_of, tables_of
from tests.support.drawn import figures_in, prepared, said, shown
from tests.support.synthetic_study import write_synthetic_study

from scaling_laws.report.figure import StudyFigure
from scaling_laws.report.figures import exponent_sensitivity, spending
from scaling_laws.report.figures.exponent_sensitivity import bootstrap_draws
from scaling_laws.report.figures.spending import by_experiment, by_outcome, spent_by_run
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.records import RunRecord
from scaling_laws.study.runs import load_study
from scaling_laws.study.units import PF_DAY_FLOPS

FIGURES = (*figures_in(exponent_sensitivity), *figures_in(spending))
ONE = tables_of(study_of([{"N": 1e5, "D": 1e6, "loss": 3.0}]))


def change(name: str, **values: Any) -> dict[str, Any]:
    """A row of `sensitivity` in which nothing is identified but these."""
    empty: dict[str, Any] = dict.fromkeys(
        ("alpha", "beta", "a_opt", "envelope_exponent", "isoflop_exponent", "alpha_range", "beta_range")
    )
    empty |= {"a_opt_range": None, "most_influential": None, "reason": ""}
    return {"family": "transformer", "change": name, "n_rows": 9, **empty, **values}


LADDER = [
    change("as fitted", alpha=0.30, beta=0.32, a_opt=0.52, isoflop_exponent=0.5, envelope_exponent=0.6),
    change("N counted as N_total", alpha=0.40, beta=0.33, a_opt=0.45),
    change("delta ten times larger"),
    change("without each of 5 trainings in turn", alpha_range=[0.2, 0.5], a_opt_range=[0.4, 0.7]),
    {**change("as fitted", alpha=9.0, a_opt=9.0), "family": "lstm"},
]


def test_the_ladder_has_a_mark_for_each_identified_exponent() -> None:
    points = prepared(exponent_sensitivity.sensitivity, ONE, laws_with(sensitivity=LADDER)).table
    assert len(points) == 5 + 3 + 0 + 2
    figure = shown(exponent_sensitivity.sensitivity, ONE, laws_with(sensitivity=LADDER))
    left, alpha, beta = figure.axes[:3]
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == [f"{entry['change']} (9)" for entry in LADDER[:4]]
    marks = next(line for line in left.lines if line.get_label() == "Chinchilla's L(N, D)")
    values = np.asarray(marks.get_xdata(), dtype=float)
    assert values[:2].tolist() == [0.52, 0.45] and np.isnan(values[2])
    bars = [segment for found in left.collections for segment in found.get_segments()]
    assert [0.4, 0.7] in [[float(x) for x in segment[:, 0]] for segment in bars if len(segment)]
    assert np.ptp(alpha.get_xlim()) == pytest.approx(np.ptp(beta.get_xlim()))  # to one scale
    sentence = said(exponent_sensitivity.sensitivity, ONE, laws_with(sensitivity=LADDER))
    assert "0.40 to 0.70 by Chinchilla's L(N, D)" in sentence and "0.60 to 0.60 by envelope" in sentence


def chinchilla(n_draws: int = 200) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    centre = {"E": 1.5, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37}
    noise = {name: np.exp(rng.normal(0, 0.05, n_draws)) for name in centre}
    resamples = {name: (value * noise[name]).tolist() for name, value in centre.items()}
    resamples["A"] = (400 * np.exp(rng.normal(0, 1.0, n_draws))).tolist()  # wide: a logarithmic axis
    resamples["alpha"][3] = None  # a draw that did not come to an end
    a_opt = 0.37 / (0.34 + 0.37)
    return fit_of(
        "chinchilla",
        centre,
        derived={"a_opt": a_opt, "b_opt": 1 - a_opt},
        resamples=resamples,
        intervals={"alpha": [0.31, 0.37]},
        interval_method="bootstrap over 12 trainings (200 resamples)",
        certificate={
            **{"starts": 1, "share_at_best": 1.0, "gradient_norm": 0.0, "condition_number": 1.0},
            **{"on_bound": [], "rms_log_residual": 0.0},
            "profile": {"alpha": [0.33, None], "E": [1.4, 1.6]},
        },
    )


def test_draws_are_those_of_the_law_with_its_derived_exponent() -> None:
    draws = bootstrap_draws(laws_with(fits=[chinchilla()]).of("transformer").fits[0])
    assert {len(values) for values in draws.values()} == {199}
    np.testing.assert_allclose(draws["a_opt"], draws["beta"] / (draws["alpha"] + draws["beta"]))


def test_each_parameter_has_its_draws_its_estimate_and_its_profile() -> None:
    laws = laws_with(fits=[chinchilla()])
    figure = shown(exponent_sensitivity.bootstrap, ONE, laws)
    panels = dict(zip(("E", "A", "B", "alpha", "beta", "a_opt"), figure.axes, strict=True))
    assert panels["A"].get_xscale() == "log" and panels["B"].get_xscale() == "linear"
    for name, panel in panels.items():
        estimate = next(line for line in panel.lines if line.get_label() == "estimate")
        truth = {**chinchilla()["parameters"], **chinchilla()["derived"]}[name]
        assert float(np.asarray(estimate.get_xdata())[0]) == pytest.approx(truth)
        assert sum(bar.get_height() for bar in panel.patches[:-1]) == 199
    profile = next(line for line in panels["alpha"].lines if str(line.get_label()).startswith("90 % profile"))
    assert float(np.asarray(profile.get_xdata())[0]) == 0.33
    assert [line.get_marker() for line in panels["alpha"].lines if line.get_marker() in "<|>"] == ["|", ">"]
    sentence = said(exponent_sensitivity.bootstrap, ONE, laws)
    assert "alpha = 0.340 [0.310, 0.370] (profile [0.330, ?])" in sentence


@pytest.fixture
def spent(tmp_path: Path) -> StudyTables:
    """Three runs of 1, 2 and 4 device-hours; the first is shared, the last diverged on two devices."""
    folder = write_synthetic_study(
        tmp_path / "spent",
        families=("transformer",),
        max_sizes=3,
        horizons=(1e6,),
        seeds_of_small_sizes=1,
        diverged=0,
        curves=False,
        positions=False,
    )
    study = load_study(folder)
    first, second, third = study.records
    records: tuple[RunRecord, ...] = (
        replace(first, elapsed_s=3600.0, tags=("size", "seeds"), trained_tokens=1_000_000),
        replace(second, elapsed_s=7200.0, tags=("size", "shape-search"), trained_tokens=500_000),
        replace(third, elapsed_s=7200.0, devices=2, tags=("seeds",), status="diverged", reason="..."),
    )
    return tables_of(replace(study, records=records))


def test_what_is_shared_is_borne_in_equal_parts(spent: StudyTables) -> None:
    runs = spent_by_run(spent)
    assert runs["device_hours"].tolist() == [1, 2, 4]
    record = spent.study.records[1]
    N = record.parameters["attention"] + record.parameters["feed_forward"]
    assert runs["pf_days"].iloc[1] == pytest.approx(6 * N * 500_000 / PF_DAY_FLOPS)
    table = by_experiment(runs).set_index(["experiment", "status"])["device_hours"]
    assert table.to_dict() == {
        ("seeds", "complete"): 0.5,
        ("seeds", "diverged"): 4.0,
        ("size", "complete"): 2.5,
    }
    outcomes, counted = by_outcome(spent)
    assert counted == "runs" and outcomes["outcome"].tolist() == ["diverged", "complete"]
    assert outcomes["device_hours"].tolist() == [4, 3]
    assert f"{100 * 4 / 7:.1f} % of the time of all runs" in said(spending.spending, spent, laws_with())


def test_the_plan_knows_who_asked_later(spent: StudyTables) -> None:
    plan = {"runs": [{"name": spent.study.records[1].name, "experiments": ["depth"]}]}
    (spent.study.folder / "plan.json").write_text(json.dumps(plan))
    assert spent_by_run(spent)["experiments"].tolist()[1] == ("depth",)


def test_the_ledger_counts_attempts_that_left_no_record(spent: StudyTables) -> None:
    lines = [
        "training,attempt,outcome,reason,host,pid,started,elapsed_s,devices,device_s,tokens,C,split",
        "a,1,killed,,h,1,2026-01-01T00:00:00+00:00,1800,2,3600,1000,8.64e19,1",
        "a,2,done,,h,1,2026-01-01T01:00:00+00:00,5400,2,10800,3000,1.728e20,1",
    ]
    (spent.study.folder / "ledger.csv").write_text("\n".join(lines) + "\n")
    outcomes, counted = by_outcome(spent)
    assert counted == "attempts"
    assert outcomes["outcome"].tolist() == ["done", "killed"] and outcomes["n"].tolist() == [1, 1]
    assert outcomes["device_hours"].tolist() == [3, 1]
    assert outcomes["pf_days"].tolist() == pytest.approx([2, 1])
    left, right = shown(spending.spending, spent, laws_with()).axes
    assert [label.get_text() for label in right.get_yticklabels()] == ["done (1)", "killed (1)"]
    assert [bar.get_width() for bar in right.patches] == [3, 1]
    assert sum(bar.get_width() for bar in left.patches) == pytest.approx(7)
    assert "25.0 % of the time of all attempts" in said(spending.spending, spent, laws_with())


def test_the_synthetic_paper_is_drawn_and_said(paper: Any) -> None:
    for entry in FIGURES:
        shown(entry, paper.tables, paper.laws)
        assert said(entry, paper.tables, paper.laws).endswith(".")
    shares = by_experiment(spent_by_run(paper.tables))
    assert shares["device_hours"].sum() == pytest.approx(
        sum(record.elapsed_s for record in paper.study.records) / 3600
    )
    assert {"size", "lr", "families"} <= set(shares["experiment"])


@pytest.mark.parametrize("entry", FIGURES, ids=lambda entry: entry.name)
def test_without_runs_there_is_a_note(entry: StudyFigure[Any], one_run: Any) -> None:
    figure = shown(entry, tables_of(study_of()), laws_with())
    assert any("Needs" in text.get_text() for text in figure.texts)
    assert said(entry, tables_of(study_of()), laws_with()).endswith(".")
    shown(entry, one_run.tables, one_run.laws)
    assert said(entry, one_run.tables, one_run.laws).endswith(".")
