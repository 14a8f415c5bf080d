"""A question about a training (`Question`) -> what to train: N, D, batch, learning rate, loss, and how sure.

The answer of a `laws.json`, of a published law, and of all published laws side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.plan.choice import (
    chosen_fit,
    family_to_plan,
    joint_draws,
)
from scaling_laws.laws.plan.kaplan_planner import answer_kaplan
from scaling_laws.laws.plan.question import Question, TrainingPlan, reach
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
_HOFFMANN_RUNS = {"N": (7e7, 1.6e10), "D": (5e9, 5e11)}
RUN_RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "kaplan": {"N": (768.0, 1.5e9), "D": (2.2e7, 2.3e10)},
    "chinchilla": _HOFFMANN_RUNS,
    "besiroglu": _HOFFMANN_RUNS,
}
"""N and D of the runs that the published laws were fitted to, as their papers say, each in its own count."""


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
    return with_recipe(with_reach(plan, fit.ranges), laws.of(family))


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
    return with_reach(plan, RUN_RANGES[source])


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


def with_reach(plan: TrainingPlan, ranges: Mapping[str, tuple[float, float]]) -> TrainingPlan:
    """The plan with a note of how far it lies beyond the runs."""
    said = reach(plan, ranges)
    return replace(plan, notes=(*plan.notes, said)) if said else plan
