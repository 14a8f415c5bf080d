"""Independent subnetworks on quadratics: the program against its closed form, and claims in other worlds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scaling_laws.cli import main
from scaling_laws.laws.results.study import no_laws
from scaling_laws.papers.shulgin2023 import PAPER
from scaling_laws.papers.shulgin2023.subnetwork_simulation import SubnetworkSimulation, simulate
from scaling_laws.papers.shulgin2023.subnetworks import (
    Quadratics,
    descent_is_lost,
    random_quadratics,
    train,
)
from scaling_laws.study.runs import nothing

LAWS = no_laws(nothing("simulated"))
LIMIT, OPTIMUM, STEP, AT_ZERO, ELSEWHERE = PAPER.claims[:5]


@pytest.fixture(scope="module")
def simulation() -> SubnetworkSimulation:
    return simulate(n=8, n_problems=12, repetitions=60, steps=160, rates=(0.2, 0.14, 0.1, 0.07, 0.05))


def test_a_round_is_the_algorithm_written_out() -> None:
    problem, random = random_quadratics(3, np.random.default_rng(1)), np.random.default_rng(2)
    dealt = np.random.default_rng(2).permuted(np.arange(3)[None], axis=1)[0]
    x0 = np.array([1.0, -2.0, 0.5])
    after = train(problem, x0, 0.3, 1, 1, random)[1, 0]
    total = np.zeros(3)
    for worker, parameter in enumerate(dealt):
        C = np.zeros((3, 3))
        C[parameter, parameter] = np.sqrt(3 / problem.L[worker, parameter, parameter])
        total += C @ (problem.L[worker] @ C @ x0 - problem.b[worker])
    assert after == pytest.approx(x0 - 0.3 / 3 * total)


def test_means_and_spreads_are_those_of_the_closed_form(simulation: SubnetworkSimulation) -> None:
    z = np.concatenate([each.z for each in simulation.problems])
    # The mean square of 32 nearly independent normal errors is 1 with a standard error of a quarter.
    assert np.mean(z**2) == pytest.approx(1.0, abs=3 * np.sqrt(2 / len(z)))
    one = simulation.problems[0]
    ratio = one.last.var(axis=0, ddof=1) / one.problem.variance(one.rate, one.steps)
    assert ratio.mean() == pytest.approx(1.0, abs=4 * np.sqrt(2 / (len(one.last) - 1) / len(ratio)))


def test_the_claims_of_the_paper_hold_and_ours_does_not(simulation: SubnetworkSimulation) -> None:
    verdicts = {claim.slug: claim.finding(simulation, LAWS).verdict for claim in PAPER.claims[:5]}
    assert set(verdicts.values()) - {"confirmed"} == {"contradicted"}
    assert verdicts[ELSEWHERE.slug] == "contradicted"


def test_a_method_that_reaches_the_optimum_is_seen(simulation: SubnetworkSimulation) -> None:
    unbiased = []
    for each in simulation.problems:
        shift = each.problem.optimum - each.problem.limit
        unbiased.append(replace(each, last=each.last + shift, path=each.path + shift))
    other = replace(simulation, problems=tuple(unbiased))
    assert LIMIT.finding(other, LAWS).verdict == "contradicted"
    assert OPTIMUM.finding(other, LAWS).verdict == "contradicted"


def test_too_large_a_spread_is_seen(simulation: SubnetworkSimulation) -> None:
    problems = []
    for each in simulation.problems:
        off = 10 * np.sqrt(each.problem.variance(each.rate, each.steps) / len(each.last))
        line = each.problem.optimum - each.problem.limit
        off -= line * (off @ line) / (line @ line)  # nothing along the line that the interval is about
        problems.append(replace(each, last=each.last + off))
    assert LIMIT.finding(replace(simulation, problems=tuple(problems)), LAWS).verdict == "contradicted"


def test_other_worlds_of_step_and_interpolation(simulation: SubnetworkSimulation) -> None:
    rates = [
        replace(each, path=each.problem.optimum + each.rate * np.ones_like(each.path))
        for each in simulation.by_rate
    ]
    assert STEP.finding(replace(simulation, by_rate=tuple(rates)), LAWS).verdict == "contradicted"
    biased = [replace(each, x0=each.problem.optimum) for each in simulation.elsewhere]
    assert AT_ZERO.finding(replace(simulation, at_zero=tuple(biased)), LAWS).verdict == "contradicted"


def test_where_a_step_without_scaling_loses_descent() -> None:
    a, b = 1.0, 4.0
    edge = 2 * a * b / (a + b)
    assert descent_is_lost(a, b, 1.01 * edge) and not descent_is_lost(a, b, 0.99 * edge)


def test_the_optimum_is_the_lowest_point() -> None:
    problem = random_quadratics(5, np.random.default_rng(0))
    around = problem.optimum + 0.1 * np.random.default_rng(1).normal(size=(50, 5))
    assert (problem.loss(around) > problem.loss(problem.optimum)).all()
    assert isinstance(problem, Quadratics)


def test_a_simulation_judges_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["paper", "shulgin2023", "--runs", str(tmp_path), "-o", str(tmp_path / "page")])
    assert "is a simulation, which judges no runs; leave --runs out" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize("option", ["--workers=1", "--stop-after=1h", "--retry-failed", "--engine=ray"])
def test_options_of_sweeps_mean_nothing_to_an_experiment(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["paper", "shulgin2023", option])
    said = capsys.readouterr().err
    assert f"leave {option.partition('=')[0]} out" in said and "goes on when it is run again" in said
