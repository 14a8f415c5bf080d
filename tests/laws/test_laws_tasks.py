"""Laws of tasks: what was put in comes out, and a law that is not the world's predicts worse."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.laws import task_laws
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.forms.joint import Chinchilla, KaplanND
from scaling_laws.laws.results.study import fit_study, no_laws
from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.run_tables import doubts
from scaling_laws.laws.task_laws import fit_tasks, scored_of, scored_runs
from scaling_laws.report.figures.task_accuracy import NEEDS_SCORES, TaskAccuracy, task_accuracy, task_table
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.runs import study_of_table

ITEMS, HALF, SLOPE = 4_000, 3.2, 2.5


def world(direct=False):
    """Runs of five sizes whose accuracy follows the loss, or N and D directly."""
    N, D = (each.ravel() for each in np.meshgrid(np.geomspace(1e6, 1e8, 5), np.geomspace(1e8, 1e10, 4)))
    loss = 1.8 + 400 / N**0.34 + 1800 / D**0.36
    known = 1 / (1 + np.exp(SLOPE * (loss - HALF)))
    if direct:
        known = 1 / (1 + np.exp(-(0.6 * np.log(N / 1e7) - 0.5 * np.log(D / 1e9))))  # more text, worse
    names = [f"run-{place}" for place in range(len(N))]
    return pd.DataFrame(
        {"run": names, "trunk": names, "family": "a", "N": N, "D": D, "C": 6 * N * D, "loss": loss}
    ).assign(accuracy=0.25 + 0.75 * known, chance=0.25)


def scores_of(runs, seed=0):
    """As runs leave them, of two tasks: one that follows `accuracy`, and one that nobody can do."""
    random, rows = np.random.default_rng(seed), []
    for run, accuracy in zip(runs["run"], runs["accuracy"], strict=True):
        for task, p in (("last_word", accuracy), ("copying", 0.25)):
            rows.append((run, 100, task, ITEMS, random.binomial(ITEMS, p), 0.25 * ITEMS, -1.0 * ITEMS))
    columns = ["run", "step", "task", "n_items", "n_correct", "chance_sum", "answer_log_p_sum_nats"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def followed():
    runs = world()
    scored = scored_runs(runs, scores_of(runs))
    return scored, {law.task: law for law in fit_tasks(scored)}


def test_the_sigmoid_of_the_loss_is_found(followed):
    scored, laws = followed
    law = laws["last_word"]
    assert (law.loss_half, law.slope) == pytest.approx((HALF, SLOPE), rel=0.06)
    assert (law.chance, law.n_runs, law.n_sizes) == (0.25, 20, 5)
    assert scored["answer_log_p_nats"].unique().tolist() == [-1.0]


def test_two_steps_predict_the_largest_size_where_tasks_follow_the_loss(followed):
    law = followed[1]["last_word"]
    assert law.two_steps < 4 * law.noise < law.nearest
    assert law.two_steps < law.direct
    assert law.noise == pytest.approx(np.sqrt(law.accuracy * (1 - law.accuracy) / ITEMS), rel=0.5)


def test_what_nobody_can_do_is_guessed(followed):
    law = followed[1]["copying"]
    assert law.highest < 0.25 + 5 * np.sqrt(0.25 * 0.75 / ITEMS)
    assert max(law.two_steps, law.direct) < 0.03


def test_where_tasks_do_not_follow_the_loss_the_direct_law_is_better():
    runs = world(direct=True)
    (law,) = [each for each in fit_tasks(scored_runs(runs, scores_of(runs))) if each.task == "last_word"]
    assert (law.of_N, law.of_D) == pytest.approx((0.6, -0.5), rel=0.1)
    assert law.direct < 0.02 < law.two_steps


@pytest.mark.parametrize(("axis", "best"), [("C", "direct_C"), ("N", "direct_N")])
def test_a_world_of_one_axis_is_predicted_by_the_law_of_that_axis(axis, best):
    runs = world()
    known = 1 / (1 + np.exp(-0.7 * np.log(runs[axis] / runs[axis].median())))
    (law,) = fit_tasks(runs.assign(accuracy=0.25 + 0.75 * known))
    errors = {name: getattr(law, name) for name in ("direct_C", "direct_N", "two_steps")}
    assert min(errors, key=errors.get) == best and errors[best] < 1e-3 < 10 * errors["two_steps"]
    if axis == "C":
        assert law.of_C == pytest.approx(0.7, rel=0.01)
    assert f"{errors['two_steps']:.3f}" in task_table((law,)).text()


def test_laws_of_tasks_are_in_laws_json():
    runs = world()
    laws = fit_study("made", runs, scores=scores_of(runs), resamples=0)
    assert [law.task for law in laws.tasks] == ["copying", "last_word"]
    plain = json.loads(json.dumps(laws.to_json()))
    assert Laws.from_json(plain, "laws.json").tasks == laws.tasks
    del plain["tasks"]  # as files of before have none
    assert Laws.from_json(plain, "laws.json").tasks == ()


def test_a_table_with_a_column_of_accuracy(tmp_path):
    world().drop(columns=["trunk", "family"]).to_csv(tmp_path / "runs.csv", index=False)
    runs = sl.read_runs(tmp_path / "runs.csv")
    assert not any("accuracy" in doubt for doubt in doubts(runs))  # a result, no part of the recipe
    study = study_of_table("runs", runs)
    (law,) = fit_tasks(scored_of(study))
    assert law.task == "accuracy" and law.chance == 0.25 and law.noise is None
    assert law.two_steps < 1e-3
    assert "0.25 to" in task_table((law,)).text()
    laws = replace(no_laws(study), tasks=(law,))
    data = task_accuracy.prepare(StudyTables.read(study, laws), laws)
    assert isinstance(data, TaskAccuracy) and len(data.laws) == 1
    assert "guessing 0.25" in task_accuracy.describe(data)
    assert task_accuracy.draw(data).axes


def test_runs_without_scores_say_what_they_need():
    study = study_of_table("runs", world().drop(columns="accuracy"))
    assert scored_of(study) is None
    assert task_accuracy.prepare(StudyTables.read(study, no_laws(study)), no_laws(study)) == NEEDS_SCORES


def test_too_few_sizes_have_a_reason():
    runs = world()
    few = runs[runs["N"].isin(sorted(runs["N"].unique())[:2])]
    (law,) = fit_tasks(few)
    assert law.two_steps is None and "2 sizes" in law.reason


def test_kaplans_law_takes_the_loss_where_chinchillas_is_not_identified(monkeypatch):
    def fit_of(form, rows):
        fit = fit_law(form, rows)
        return replace(fit, identified=False, reason="E -> 0") if form in refused else fit

    monkeypatch.setattr(task_laws, "fit_law", fit_of)
    refused = {Chinchilla}
    (law,) = fit_tasks(world())
    assert law.loss_form == "kaplan_nd" and 0 < law.two_steps < 0.2
    refused = {Chinchilla, KaplanND}
    (law,) = fit_tasks(world())
    assert law.two_steps is None and "no law of the loss is identified: E -> 0" in law.reason


def test_a_loss_far_from_all_losses_is_not_shown():
    runs = world()
    known = 1 / (1 + np.exp(SLOPE * (runs["loss"] + 20)))
    (law,) = fit_tasks(runs.assign(accuracy=0.25 + 0.75 * known))
    assert law.loss_half is None
