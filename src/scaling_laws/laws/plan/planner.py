"""A question about a training (`Question`) -> what to train: N, D, batch, learning rate, loss, and how sure.

The answer of a `laws.json`, of a published law, and of all published laws side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.plan.choice import (
    chosen_fit,
    family_to_plan,
    joint_draws,
)
from scaling_laws.laws.plan.kaplan_planner import answer_kaplan
from scaling_laws.laws.plan.question import Question, TrainingPlan
from scaling_laws.laws.plan.rules import with_porian, with_recipe
from scaling_laws.laws.plan.solve import answer
from scaling_laws.laws.published import BESIROGLU, HOFFMANN
from scaling_laws.study.conventions import N_CONVENTIONS
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    from scaling_laws.laws.results.types import Laws

Source = Literal["kaplan", "chinchilla", "besiroglu"]
SOURCES: tuple[Source, ...] = ("kaplan", "chinchilla", "besiroglu")
PUBLISHED_LAWS: dict[str, tuple[Chinchilla, str, str]] = {
    "chinchilla": (
        HOFFMANN,
        "Hoffmann et al. 2022, approach 3",
        "the source gives intervals of the exponents alone",
    ),
    "besiroglu": (BESIROGLU, "Besiroglu et al. 2024", "the source gives no joint intervals"),
}
"""Published laws of N and D: law, citation, and what it does not say. N counts every parameter."""
FAR = 10.0
"""A budget that asks for this many times the largest N or D of the fitted runs is called an extrapolation."""
RUN_SIZES = {"kaplan": (768.0, 1.5e9), "chinchilla": (7e7, 1.6e10), "besiroglu": (7e7, 1.6e10)}
"""N of the runs that the published laws were fitted to, each in its own count."""


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One published law's answer to the same question.

    Attributes:
        source: one of `SOURCES`.
        plan: None where the law has no answer.
        counts: what its N counts, in words.
        reason: why there is no answer, or that it is an extrapolation; empty otherwise.
    """

    source: Source
    plan: TrainingPlan | None
    counts: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        quantities = {
            name: getattr(self.plan, name) if self.plan else None for name in ("N", "D", "C", "loss_nats")
        }
        return {"source": self.source, **quantities, "N_counts": self.counts, "reason": self.reason}


def plan_from_laws(laws: Laws, C: float, *, family: str | None = None) -> TrainingPlan:
    """`answer_from_laws` for a budget of C FLOPs alone."""
    return answer_from_laws(laws, Question(C=C), family=family)


def answer_from_laws(laws: Laws, question: Question, *, family: str | None = None) -> TrainingPlan:
    """Plan with the joint law that predicts best (`best_joint_fit`).

    Args:
        question: what is fixed.
        family: whose law; needed where there are several.

    Raises:
        InputError: no such family; no identified joint law; the target loss is never reached.
    """
    family = family_to_plan(laws, family)
    fit, why = chosen_fit(laws, family)
    convention = laws.conventions.N
    source = f"{laws.study}, {family}: {fit.formula}"
    plan = answer(
        fit.law,
        question,
        draws=joint_draws(fit),
        source=source,
        convention=convention,
        notes=(f"C = 6 N D, with N the column {convention} of the run table", why),
    )
    far = []
    for name, value in (("N", plan.N), ("D", plan.D)):
        low, high = fit.ranges.get(name, (0.0, np.inf))
        if value > FAR * high or value < low / FAR:
            far.append(f"extrapolation: {name} = {value:.3g}, the fitted runs have {low:.3g} to {high:.3g}")
    return with_recipe(_with_notes(plan, far), laws.of(family))


def plan_published(source: Source, C: float) -> TrainingPlan:
    """`answer_published` for a budget of C FLOPs alone."""
    return answer_published(source, Question(C=C))


def answer_published(source: Source, question: Question) -> TrainingPlan:
    """Plan with a published law, exactly as published; never two of them mixed.

    Raises:
        InputError: no such source; the target loss is never reached.
    """
    if source not in SOURCES:
        raise InputError(f"no published law {source!r}; there are {', '.join(SOURCES)}")
    if source == "kaplan":
        plan = answer_kaplan(question)
    else:
        law, citation, lacks = PUBLISHED_LAWS[source]
        note = f"N counts every parameter, C = 6 N D; {lacks}"
        plan = answer(law, question, draws=None, source=citation, convention="N_total", notes=(note,))
        plan = with_porian(plan)
    low, high = RUN_SIZES[source]
    outside = f"extrapolation: N = {plan.N:.3g}, the fitted runs have {low:.3g} to {high:.3g}"
    return plan if low <= plan.N <= high else _with_notes(plan, [outside])


def published_rows(question: Question) -> tuple[PublishedRow, ...]:
    """What each published law answers to the same question."""
    rows = []
    for source in SOURCES:
        plan: TrainingPlan | None
        counts = N_CONVENTIONS["N" if source == "kaplan" else "N_total"].counts
        try:
            plan = answer_published(source, question)
            reason = "; ".join(note for note in plan.notes if note.startswith("extrapolation"))
        except InputError as error:
            plan, reason = None, str(error)
        rows.append(PublishedRow(source=source, plan=plan, counts=counts, reason=reason))
    return tuple(rows)


def _with_notes(plan: TrainingPlan, notes: list[str]) -> TrainingPlan:
    return replace(plan, notes=(*plan.notes, *notes))
