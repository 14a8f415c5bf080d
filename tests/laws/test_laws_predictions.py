"""Predictions written down beforehand, and their scores."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from tests.support.by_hand import laws_of

from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.plan.planner import answer_from_laws, answer_published
from scaling_laws.laws.plan.predictions import frozen_prediction, score_prediction
from scaling_laws.laws.plan.question import Question
from scaling_laws.study.errors import InputError

TRUTH = Chinchilla(E=2.0, A=60.0, B=300.0, alpha=0.34, beta=0.38)
NOW = datetime(2024, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=30)


def laws():
    random = np.random.default_rng(0)
    draws = {
        name: (value * (1 + 0.01 * random.normal(size=200))).tolist() for name, value in vars(TRUTH).items()
    }
    fit = {
        "form": "chinchilla",
        "family": "all",
        "formula": Chinchilla.formula,
        "parameters": dict(vars(TRUTH)),
        "identified": True,
        "reason": "",
        "interval_method": "bootstrap",
        "row_sd": 0.003,
        "resamples": draws,
    }
    return laws_of({"study": "toy", "fits": [fit]})


def frozen(question=None, **changes):
    question = question or Question(C=1e14)
    prediction = frozen_prediction(
        answer_from_laws(laws(), question), question, now=NOW, version="1", laws=laws(), laws_sha256="ab"
    )
    return json.loads(json.dumps(prediction | changes))  # as it comes back from its file


def test_a_prediction_that_holds():
    prediction = frozen()
    score = score_prediction(prediction, loss_nats=prediction["loss_nats"] * 1.001, ended=LATER)
    assert score.inside and score.as_frozen and score.days == 30 and score.warning == ""
    assert score.relative_error == pytest.approx(1 / 1.001 - 1)
    assert list(score.interval) == prediction["loss_interval"]
    assert prediction["laws_sha256"] == "ab" and prediction["written"].startswith("2024-01-01")


def test_a_prediction_that_fails():
    prediction = frozen()
    score = score_prediction(prediction, loss_nats=prediction["loss_interval"][1] * 1.01, ended=LATER)
    assert score.inside is False and score.relative_error < -0.01
    assert score.to_json()["inside"] is False


def test_another_run_is_scored_by_the_frozen_law_at_its_own_n_and_d():
    score = score_prediction(frozen(), loss_nats=float(TRUTH.loss(2e5, 3e7)), ended=LATER, N=2e5, D=3e7)
    assert not score.as_frozen and score.inside
    assert score.predicted == pytest.approx(float(TRUTH.loss(2e5, 3e7)))
    assert score.interval[0] < score.predicted < score.interval[1]


def test_a_run_that_is_older_than_its_prediction_is_said():
    score = score_prediction(frozen(), loss_nats=3.0, ended=NOW - timedelta(hours=12))
    assert score.days == -0.5 and "predicts nothing" in score.warning


@pytest.mark.parametrize("source", ["chinchilla", "kaplan"])
def test_published_laws_are_frozen_by_name_and_have_no_interval(source):
    question = Question(C=1e20)
    plan = answer_published(source, question)
    prediction = frozen_prediction(plan, question, now=NOW, version="1", published=source)
    score = score_prediction(prediction, loss_nats=2.5, ended=LATER)
    assert score.inside is None and score.predicted == plan.loss_nats
    elsewhere = score_prediction(prediction, loss_nats=2.5, ended=LATER, N=1e8, D=1e10)
    assert elsewhere.predicted == answer_published(source, Question(N=1e8, D=1e10)).loss_nats


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "plan"}, "not a prediction"),
        ({"schema": 2}, "not a prediction of schema 1"),
        ({"written": "yesterday"}, "date"),
        ({"written": "2024-01-01T00:00:00"}, "time zone"),
        ({"loss_nats": None}, "the prediction: loss_nats: Expected `float`"),
        ({"loss_nats": -1.0}, "loss_nats is -1.0; it must be positive"),
        ({"law": {}}, "neither parameters"),
        ({"law": None}, "the prediction: law: Expected `object`"),
    ],
)
def test_damaged_predictions_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        score_prediction(frozen(**changes), loss_nats=3.0, ended=LATER)


def test_lacking_keys_and_bad_numbers_are_refused():
    prediction = frozen()
    del prediction["law"]
    with pytest.raises(InputError, match="lacks law"):
        score_prediction(prediction, loss_nats=3.0, ended=LATER)
    for changes in ({"loss_nats": 0.0}, {"loss_nats": 3.0, "N": -1.0}):
        with pytest.raises(InputError, match="positive"):
            score_prediction(frozen(), ended=LATER, **changes)
