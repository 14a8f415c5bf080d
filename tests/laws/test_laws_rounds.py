"""The planner in rounds, in worlds whose law and best rates are known, and in its own exam."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import scaling_laws as sl
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.plan.budget_ledger import ledger_csv, read_ledger
from scaling_laws.laws.plan.rounds import EXTENSION, SHARES

LAW = Chinchilla(E=1.7, A=30.0, B=60.0, alpha=0.30, beta=0.33)
BUDGET = 1e13


def best_rate(N, D):
    return 0.8 * N**-0.35 * D**0.05


class World:
    """Losses of LAW, with a valley in ln rate, and in ln(1 - beta2) where runs say their beta2."""

    def __init__(self, shift=1.0, best_beta2=None, constant=False, diverges_at=np.inf):
        self.random = np.random.default_rng(0)
        self.shift, self.best_beta2 = shift, best_beta2
        self.constant, self.diverges_at = constant, diverges_at

    def loss(self, run):
        if run["learning_rate"] > self.diverges_at:
            return np.inf
        if self.constant:
            return 3.0 + 0.001 * self.random.normal()
        off = np.log(run["learning_rate"] / best_rate(run["N"], run["D"]) / self.shift)
        excess = 0.02 * off**2
        if self.best_beta2 is not None:
            excess += 0.01 * np.log((1 - run["beta2"]) / (1 - self.best_beta2)) ** 2
        noise = 0.001 * self.random.normal()
        return float(LAW.loss(run["N"], run["D"])) * np.exp(excess + noise)

    def spend(self, **how):
        """All rounds; the plans of every call."""
        plans = [sl.plan_rounds(BUDGET, **how)]
        while plans[-1].to_train:
            ledger = plans[-1].ledger
            for i in ledger.index[ledger["loss"].isna()]:
                ledger.loc[i, "loss"] = self.loss(ledger.loc[i])
            plans.append(sl.plan_rounds(BUDGET, ledger, **how))
            assert len(plans) < 15
        return plans


@pytest.fixture(scope="module")
def plans():
    return World().spend()


def test_the_last_run_is_the_laws_optimum_at_what_is_left(plans):
    last, ledger = plans[-1].last, plans[-1].ledger
    N, D = LAW.optimum(last.C)
    assert last.N / float(N) == pytest.approx(1, rel=0.3)
    assert 0.5 < last.learning_rate / best_rate(last.N, last.D) < 2
    assert last.loss_nats == pytest.approx(float(LAW.loss(N, D)), rel=0.01)
    low, high = last.loss_interval
    assert low < plans[-1].actual_loss < high
    assert ledger["C"].sum() == pytest.approx(BUDGET)
    least = SHARES[2] - (EXTENSION - 1) * (SHARES[0] + SHARES[1])
    assert least <= last.C / BUDGET


def test_rounds_come_in_order_and_each_is_within_its_share(plans):
    assert plans[0].purpose == "screen"
    assert [plan.round for plan in plans] == sorted(plan.round for plan in plans)
    for cost in plans[-1].costs[:2]:
        assert cost.spent <= EXTENSION * cost.share and cost.n_runs == cost.n_trained > 0
    assert plans[-1].left == pytest.approx(0, abs=1e-6 * BUDGET)


def test_a_rate_at_the_end_of_the_screen_is_followed(plans):
    """The screen begins at 0.003; the best are near 0.05."""
    screened = plans[-1].ledger.query("round == 1")
    assert len(screened) > 15 and screened["learning_rate"].max() > 0.1
    sentences = " ".join(sentence for plan in plans for sentence in plan.learned)
    assert "lowest or highest tried at: screen" in sentences
    assert "lies between others at all" in sentences


def test_the_prediction_that_is_scored_is_the_one_of_before(plans):
    ledger = plans[-1].ledger.copy()
    ledger.loc[ledger.index[-1], ["expected_loss", "expected_low"]] = [2.5, np.nan]
    again = sl.plan_rounds(BUDGET, ledger)
    assert again.last.loss_nats == 2.5 and again.last.loss_interval[0] is None
    assert "predicted with an error of -" in str(again)


def test_a_rate_that_is_never_bracketed_ends_the_round_by_its_share():
    last = World(shift=1e9).spend()[-1]
    assert last.costs[0].spent <= EXTENSION * SHARES[0] * BUDGET
    assert last.last is not None and not last.to_train


def test_runs_that_diverge_are_paid_for_and_bracket_the_rate():
    last = World(diverges_at=0.1).spend()[-1]
    assert np.isinf(last.ledger["loss"]).any()
    assert last.ledger["C"].sum() == pytest.approx(BUDGET)
    assert any("diverged" in sentence for sentence in last.learned)
    assert last.last.learning_rate < 0.1


def test_a_world_without_a_law_says_so_and_predicts_nothing():
    last = World(constant=True).spend()[-1]
    assert last.last.loss_nats is None
    assert "no law of N and D is identified" in " ".join(last.last.notes)
    assert "not identified" in str(last)


def test_settings_are_answered_as_far_as_the_runs_go():
    plan = World(best_beta2=0.98).spend(settings={"batch_tokens": 1024, "beta2": 0.95}, screen=["beta2"])[-1]
    answers = {each.name: each for each in plan.last.settings}
    assert answers["beta2"].optimum and 0.97 < answers["beta2"].value < 0.985
    assert answers["batch_tokens"].value == 1024 and not answers["batch_tokens"].optimum
    assert answers["epsilon"].value is None and "no run says" in answers["epsilon"].origin


def test_four_rounds_put_the_later_slice_about_the_laws_best_size():
    plans = World().spend(rounds=4)
    of_three = plans[-1].ledger.query("round == 3")
    best = float(LAW.optimum(of_three["C"].iloc[0])[0])
    assert of_three["N"].median() == pytest.approx(best, rel=0.3)


def test_a_ledger_is_the_same_from_its_file(tmp_path, plans):
    path = tmp_path / "ledger.csv"
    table = plans[1].ledger.assign(note="mine")
    table.loc[0, "loss"] = np.inf
    path.write_text(ledger_csv(table))
    again = read_ledger(path)
    assert list(again["note"]) == ["mine"] * len(table) and np.isinf(again.loc[0, "loss"])
    np.testing.assert_allclose(again["loss"], table["loss"], rtol=1e-9)
    np.testing.assert_allclose(again["C"], table["C"], rtol=1e-8)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda table: table.drop(columns="loss"), "lacks loss"),
        (lambda table: table.assign(N=-1.0), "N of 1-01 is -1.0"),
        (lambda table: table.assign(run="a"), "two runs are called a"),
        (lambda table: table.assign(D=1e9, loss=3.0), "has spent"),
        (lambda table: table.assign(round=5), "--rounds 5"),
    ],
)
def test_what_is_wrong_with_a_ledger_is_one_line(plans, change, says):
    with pytest.raises(sl.InputError, match=says) as error:
        sl.plan_rounds(BUDGET, change(plans[0].ledger))
    assert "\n" not in str(error.value)


SPECIFICATION = importlib.util.spec_from_file_location(
    "planner_exam", Path(__file__).parents[2] / "benchmarks" / "planner_exam.py"
)
exam = importlib.util.module_from_spec(SPECIFICATION)
sys.modules[SPECIFICATION.name] = exam
SPECIFICATION.loader.exec_module(exam)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_planner_sits_its_exam(seed):
    """At a hundredth of the budget: it beats one size by D = 20 N, and knows its own loss within 10 %."""
    task = exam.Exam(seed)
    planner = exam.by_planner(task, 1e10, None)
    one_size = exam.on_one_size(task, 1e10, exam.FIRST_RATE)
    assert 0 < planner["above_irreducible"] < one_size["above_irreducible"]
    assert abs(planner["relative_error"]) < 0.1
