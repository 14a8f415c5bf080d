"""Predictions that are written down before the run, and scored after it.

A frozen prediction holds the law itself, its parameters and draws, so that it can predict at the N and D
that were really trained. Nothing here reads or writes files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, cast

from scaling_laws.laws.fit.intervals import Bootstrap, Interval, loss_interval
from scaling_laws.laws.plan.choice import chosen_fit, family_to_plan
from scaling_laws.laws.plan.planner import SOURCES, Source, answer_published
from scaling_laws.laws.plan.question import Question, TrainingPlan
from scaling_laws.laws.results.types import Laws, make_law, plain_json
from scaling_laws.study.errors import InputError

SCHEMA = 1
SAME = 1e-3
"""Relative difference up to which a run has the N and D that were predicted: steps are whole."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A prediction against what happened.

    Attributes:
        predicted, actual: nats per token.
        interval: 90 %, of one new run at the run's own N and D.
        inside: whether the truth lies in it; None where the prediction has no interval.
        relative_error: (predicted - actual)/actual.
        N, D: of the run.
        as_frozen: whether these are the N and D that were predicted.
        days: from the prediction to the run's end.
        warning: why the score is to be doubted; empty where nothing is known against it.
    """

    predicted: float
    actual: float
    interval: Interval
    inside: bool | None
    relative_error: float
    N: float
    D: float
    as_frozen: bool
    days: float
    warning: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"interval": list(self.interval)}


def frozen_prediction(
    plan: TrainingPlan,
    question: Question,
    *,
    now: datetime,
    version: str,
    laws: Laws | None = None,
    family: str | None = None,
    laws_sha256: str | None = None,
    published: Source | None = None,
) -> dict[str, Any]:
    """A dated prediction as plain JSON values; of `laws`, or of a published law.

    Args:
        plan: the answer.
        question: what was asked.
        now: with its time zone.
        version: of this program.
        laws, family, laws_sha256: the laws, whose law of them, and the file's hash.
        published: the published law, where there is no laws.json.
    """
    if laws is not None:
        family = family_to_plan(laws, family)
        fit, _ = chosen_fit(laws, family)
        law = {
            name: plain_json(getattr(fit, name))
            for name in ("form", "formula", "parameters", "resamples", "row_sd", "interval_method")
        }
    else:
        law = {"published": published}
    return {
        "schema": SCHEMA,
        "kind": "prediction",
        "written": now.isoformat(timespec="seconds"),
        "question": asdict(question),
        "question_in_words": question.words(),
        "N": plan.N,
        "D": plan.D,
        "C": plan.C,
        "loss_nats": plan.loss_nats,
        "loss_interval": list(plan.intervals.get("loss_nats", (None, None))),
        "convention": plan.convention,
        "source": plan.source,
        "family": family if laws is not None else None,
        "law": law,
        "laws_sha256": laws_sha256,
        "version": version,
        "notes": list(plan.notes),
    }


def score_prediction(
    prediction: Mapping[str, Any],
    *,
    loss_nats: float,
    ended: datetime,
    N: float | None = None,
    D: float | None = None,
) -> Score:
    """Score a frozen prediction by the loss of a run.

    Args:
        prediction: from `frozen_prediction`, read back.
        loss_nats: of the run.
        ended: when the run ended, with its time zone.
        N, D: of the run, N in the prediction's convention; those of the prediction by default.

    Raises:
        InputError: not a prediction, or a number is not positive.
    """
    _check(prediction)
    for name, value in (("the loss", loss_nats), ("N", N), ("D", D)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} of the run is {value}: give a positive number")
    run_N, run_D = N or prediction["N"], D or prediction["D"]
    as_frozen = all(
        abs(ours / theirs - 1) <= SAME
        for ours, theirs in ((run_N, prediction["N"]), (run_D, prediction["D"]))
    )
    if as_frozen:
        low, high = prediction["loss_interval"]
        predicted, interval = float(prediction["loss_nats"]), cast(Interval, (low, high))
    else:
        predicted, interval = _at(prediction["law"], run_N, run_D)
    days = (ended - _written(prediction)).total_seconds() / 86400
    return Score(
        predicted=predicted,
        actual=loss_nats,
        interval=interval,
        inside=_inside(interval, loss_nats),
        relative_error=predicted / loss_nats - 1,
        N=run_N,
        D=run_D,
        as_frozen=as_frozen,
        days=days,
        warning="the run had ended before the prediction was written: this predicts nothing"
        if days < 0
        else "",
    )


def _at(law: Mapping[str, Any], N: float, D: float) -> tuple[float, Interval]:
    """The frozen law's loss at another N and D, and its interval."""
    if "published" in law:
        return answer_published(law["published"], Question(N=N, D=D)).loss_nats, (None, None)
    predicted = float(make_law(law["form"], law["parameters"]).loss(N, D))
    if not law["resamples"]:
        return predicted, (None, None)
    draws = make_law(law["form"], law["resamples"])
    bootstrap = Bootstrap(draws=draws, method=law["interval_method"], row_sd=law.get("row_sd") or 0.0)
    return predicted, loss_interval(bootstrap, N=N, D=D)


def _inside(interval: Interval, loss: float) -> bool | None:
    """An end that is not known excludes nothing, but two of them say nothing."""
    low, high = interval
    if low is None and high is None:
        return None
    return (low is None or low <= loss) and (high is None or loss <= high)


def _written(prediction: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(prediction["written"])


def _check(prediction: Mapping[str, Any]) -> None:
    """Raises InputError unless it is a prediction of this schema, whole."""
    if prediction.get("kind") != "prediction" or prediction.get("schema") != SCHEMA:
        raise InputError(f"not a prediction of schema {SCHEMA}; write one with: scaling-laws plan --freeze")
    needed = {"written", "N", "D", "loss_nats", "loss_interval", "law", "convention"}
    if missing := sorted(needed - prediction.keys()):
        raise InputError(f"the prediction lacks {', '.join(missing)}; write it again")
    try:
        if _written(prediction).tzinfo is None:
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(
            f"the prediction's date {prediction['written']!r} is none with a time zone"
        ) from None
    numbers = [prediction["N"], prediction["D"], prediction["loss_nats"]]
    if not all(isinstance(value, int | float) and value > 0 for value in numbers):
        raise InputError("the prediction's N, D and loss are not all positive numbers; write it again")
    law = prediction["law"]
    whole = isinstance(law, dict) and {"form", "parameters", "resamples"} <= law.keys()
    if not whole and not (isinstance(law, dict) and law.get("published") in SOURCES):
        raise InputError("the prediction's law has neither parameters nor the name of a published law")
