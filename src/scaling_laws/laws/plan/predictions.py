"""Predictions that are written down before the run, and scored after it.

A frozen prediction holds the law itself, its parameters and draws, so that it can predict at the N and D
that were really trained. Nothing here reads or writes files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from scaling_laws.laws.fit.intervals import Bootstrap, Interval, loss_interval
from scaling_laws.laws.fit.noise_growth import NoiseGrowth
from scaling_laws.laws.forms.catalogue import FORMS
from scaling_laws.laws.forms.declared import Declaration
from scaling_laws.laws.plan.choice import chosen_fit, family_to_plan
from scaling_laws.laws.plan.planner import Source, answer_published
from scaling_laws.laws.plan.question import Question, TrainingPlan
from scaling_laws.laws.results.types import Laws, make_law, plain_json
from scaling_laws.study.artefacts import typed
from scaling_laws.study.bounds import NotNegative, PositiveNumber, check_bounds
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
            for name in (
                "form",
                "formula",
                "parameters",
                "resamples",
                "row_sd",
                "noise_growth",
                "interval_method",
                "declared",
            )
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
        "runs_sha256": laws.manifest.input_sha256 if laws is not None else None,
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
    frozen = _read(prediction)
    for name, value in (("the loss", loss_nats), ("N", N), ("D", D)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} of the run is {value}: give a positive number")
    run_N, run_D = N or frozen.N, D or frozen.D
    as_frozen = all(abs(ours / theirs - 1) <= SAME for ours, theirs in ((run_N, frozen.N), (run_D, frozen.D)))
    if as_frozen:
        predicted, interval = frozen.loss_nats, frozen.loss_interval
    else:
        predicted, interval = _at(frozen.law, run_N, run_D)
    if not (math.isfinite(predicted) and predicted > 0):
        raise InputError(f"its law gives no loss at N = {run_N:.4g}, D = {run_D:.4g}; write it again")
    days = (ended - frozen.date).total_seconds() / 86400
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


@dataclass(frozen=True, kw_only=True)
class _FrozenLaw:
    """The law of a prediction: a published one, or a form with its parameters and draws."""

    published: Source | None = None
    form: str = ""
    parameters: dict[str, float] = field(default_factory=dict)
    resamples: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    row_sd: NotNegative | None = None
    noise_growth: NoiseGrowth | None = None
    interval_method: str = ""
    declared: Declaration | None = None

    def __post_init__(self) -> None:
        """Raises InputError: a number is none of a law."""
        check_bounds({"row_sd": NotNegative | None}, {"row_sd": self.row_sd})


@dataclass(frozen=True, kw_only=True)
class _Frozen:
    """What is read of a prediction."""

    written: str
    N: PositiveNumber
    D: PositiveNumber
    loss_nats: PositiveNumber
    loss_interval: Interval
    convention: str
    source: str
    family: str | None = None
    law: _FrozenLaw

    def __post_init__(self) -> None:
        """Raises InputError: a number is not positive."""
        check_bounds(self)

    @property
    def date(self) -> datetime:
        """When it was written; without a time zone or no date at all, in no zone."""
        return datetime.fromisoformat(self.written)


def _at(law: _FrozenLaw, N: float, D: float) -> tuple[float, Interval]:
    """The frozen law's loss at another N and D, and its interval."""
    if law.published is not None:
        return answer_published(law.published, Question(N=N, D=D)).loss_nats, (None, None)
    with np.errstate(all="ignore"):  # of parameters that nobody fitted
        predicted = float(make_law(law.form, law.parameters, law.declared).loss(N, D))
        if not law.resamples:
            return predicted, (None, None)
        draws = make_law(law.form, law.resamples, law.declared)
        bootstrap = Bootstrap(
            draws=draws,
            method=law.interval_method,
            row_sd=law.row_sd or 0.0,
            noise_growth=law.noise_growth,
        )
        return predicted, loss_interval(bootstrap, N=N, D=D)


def _inside(interval: Interval, loss: float) -> bool | None:
    """An end that is not known excludes nothing, but two of them say nothing."""
    low, high = interval
    if low is None and high is None:
        return None
    return (low is None or low <= loss) and (high is None or loss <= high)


def _read(prediction: Mapping[str, Any]) -> _Frozen:
    """A prediction of this schema, whole.

    Raises:
        InputError: it is none; one line that names the field.
    """
    if prediction.get("kind") != "prediction" or prediction.get("schema") != SCHEMA:
        raise InputError(f"not a prediction of schema {SCHEMA}; write one with: scaling-laws plan --freeze")
    needed = {"written", "N", "D", "loss_nats", "loss_interval", "law", "convention", "source"}
    if missing := sorted(needed - prediction.keys()):
        raise InputError(f"the prediction lacks {', '.join(missing)}; write it again")
    frozen = typed(prediction, _Frozen, "the prediction", remedy="write it again")
    try:
        if frozen.date.tzinfo is None:
            raise ValueError
    except ValueError:
        raise InputError(f"the prediction's date {frozen.written!r} is not a date with a time zone") from None
    law = frozen.law
    if law.published is None:
        if not (law.form and law.parameters):
            raise InputError("the prediction's law has neither parameters nor the name of a published law")
        variables = getattr(FORMS.get(law.form), "variables", None)
        if not (law.declared.is_joint if law.declared else variables == ("N", "D")):
            raise InputError(f"the prediction's law {law.form!r} is not a law of N and D; write it again")
    return frozen
