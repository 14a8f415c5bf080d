"""The answer in words, and what to train next: every number from the laws."""

from __future__ import annotations

from dataclasses import dataclass

from scaling_laws.laws.checks.holdout import Holdout
from scaling_laws.laws.fit.level import interval_words
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.plan.choice import LABELS, best_joint_fit
from scaling_laws.laws.plan.planner import plan_from_laws
from scaling_laws.laws.plan.question import TrainingPlan
from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.formulas import form_name, value_with_interval
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.text import NOTHING, Table, interval_text, number, short
from scaling_laws.study.errors import InputError

MULTIPLES = (1, 10, 100)
FEW_RUNS, FEW_SIZES = 12, 4
"""Fewer runs or sizes conclude nothing where no law is identified or checked."""


@dataclass(frozen=True, kw_only=True)
class NextRuns:
    """What to train with multiples of the largest run's compute, and what limits the answer."""

    table: Table
    caveats: tuple[str, ...]


def caution(tables: StudyTables, laws: Laws) -> str:
    """Why the main family's runs conclude nothing, a line to say first; empty where they do."""
    if tables.runs.empty:
        return ""  # the answer says it
    family = tables.families[0]
    fit, _ = best_joint_fit(laws.of(family))
    runs = tables.of(family)
    few = len(runs) < FEW_RUNS or runs["N"].nunique() < FEW_SIZES
    start = "Too few runs to conclude anything" if few else "These runs do not say what to train next"
    if fit is None:
        return f"{start}: no law of N and D is identified."
    entry = _holdout(laws, family, fit.form)
    if few and (entry is None or entry.reason):
        return f"{start}: nothing checks the law of {_count(len(runs), 'run')}."
    if entry is None or entry.mean_absolute_error is None or entry.baseline_mean_absolute_error is None:
        return ""
    if entry.mean_absolute_error >= entry.baseline_mean_absolute_error:
        start = start if few else "These runs conclude nothing yet"
        return (
            f"{start}: fitted without the largest size, the law predicts it no better than a guess "
            f"({_off(entry.mean_absolute_error)} off; the lowest loss seen before: "
            f"{_off(entry.baseline_mean_absolute_error)})."
        )
    return ""


def answer(tables: StudyTables, laws: Laws) -> tuple[str, ...]:
    """What was measured, which law, what to train next and how far to trust it: a sentence each.

    The main family's three come first; every other family has two short ones.
    """
    if tables.runs.empty:
        n_left_out = len(laws.left_out)
        return (f"No run can enter a law ({n_left_out} left out): these runs say nothing about scaling.",)
    main, *others = tables.families
    whole = (measured(tables, main), _law(laws, main), _next(tables, laws, main))
    short_ones = ((measured(tables, family), _law(laws, family)) for family in others)
    return tuple(" ".join(sentences) for sentences in (whole, *short_ones))


def measured(tables: StudyTables, family: str) -> str:
    """How many runs of which sizes, on how many tokens, and the losses that they reached."""
    runs = tables.of(family)
    noun = "run" if family == "all" else f"{st.family_name(family)} run"
    text = " on held-out text" if tables.counted_here else ""
    return (
        f"{_count(len(runs), noun)} with {_range(runs['N'])} parameters, on {_range(runs['D'])} tokens, "
        f"reached {_range(runs['loss'])} nats per token{text}."
    )


def _law(laws: Laws, family: str) -> str:
    """The law of N and D to believe, and what it says of ten times the compute."""
    fit, _ = best_joint_fit(laws.of(family))
    if fit is None:
        return f"No law of N and D is identified{_first_reason(laws, family)}."
    a = fit.value("a_opt")
    assert a is not None  # of a law of N and D
    return (
        f"By {form_name(fit.form)}, the law of N and D that these runs support best, ten times the "
        f"compute should go into {number(10**a, 2)} times the parameters and "
        f"{number(10 ** (1 - a), 2)} times the "
        f"tokens (N_opt ~ C^a, a = {value_with_interval(fit, 'a_opt')})."
    )


def _first_reason(laws: Laws, family: str) -> str:
    """Of the first form that has one; the table of all fits has every form's."""
    reasons = {fit.form: fit.reason for fit in laws.of(family).fits if fit.form in LABELS and fit.reason}
    form = next((form for form in LABELS if form in reasons), None)
    if form is None:
        return ""
    more = f"; {_count(len(reasons) - 1, 'other form')}: see “All fits”" if len(reasons) > 1 else ""
    return f" ({form_name(form)}: {reasons[form]}{more})"


def _next(tables: StudyTables, laws: Laws, family: str) -> str:
    """What to train with ten times the compute of the largest run, and how far the law was off."""
    multiple = MULTIPLES[1]
    try:
        plan = plan_from_laws(laws, multiple * _largest_C(tables, family), family=family)
    except InputError:
        return "So the runs do not say what to train next."
    loss = f"{plan.loss_nats:.3f} {interval_text(plan.intervals.get('loss_nats'))}".strip()
    return (
        f"With {multiple} times the compute of the largest run, train {short(plan.N)} parameters on "
        f"{short(plan.D)} tokens and expect {loss} nats; {_checked(laws, family)}."
    )


def _checked(laws: Laws, family: str) -> str:
    """How well the law to believe predicted the largest size, fitted without it."""
    fit, _ = best_joint_fit(laws.of(family))
    entry = None if fit is None else _holdout(laws, family, fit.form)
    if entry is None or entry.mean_absolute_error is None or entry.baseline_mean_absolute_error is None:
        reason = "" if entry is None or not entry.reason else f" ({entry.reason})"
        return f"nothing checks this law beyond its own runs{reason}"
    return (
        f"fitted without the largest size, the law was {_off(entry.mean_absolute_error)} off there "
        f"on average (a guess without a fit: {_off(entry.baseline_mean_absolute_error)})"
    )


def _holdout(laws: Laws, family: str, form: str) -> Holdout | None:
    return next((entry for entry in laws.of(family).holdout if entry.form == form), None)


def _off(error: float) -> str:
    """A mean error as the headline table has it."""
    return f"{100 * error:.1f} %"


def next_budget(tables: StudyTables, laws: Laws, family: str) -> float | None:
    """Ten times the compute of the family's largest run, FLOPs; None where no law says what it would buy."""
    C = MULTIPLES[1] * _largest_C(tables, family)
    try:
        plan_from_laws(laws, C, family=family)
    except InputError:
        return None
    return C


def next_runs(tables: StudyTables, laws: Laws) -> NextRuns:
    """Plans at 1x, 10x and 100x the compute of each family's largest run, with the cost of a wrong size."""
    rows: list[tuple[str, ...]] = []
    caveats: list[str] = []
    for family in tables.families:
        notes: dict[str, list[str]] = {}
        largest_C = _largest_C(tables, family)
        for multiple in MULTIPLES:
            try:
                plan = plan_from_laws(laws, multiple * largest_C, family=family)
            except InputError as error:
                caveats.append(f"{st.family_name(family)}: no plan. {error}.")
                break
            rows.append(_plan_row(family, multiple, plan))
            for note in plan.notes[1:]:
                notes.setdefault(note, []).append(f"{multiple}x")
        for note, at in notes.items():
            which = "" if len(at) == len(MULTIPLES) else f" at {' and '.join(at)}"
            caveats.append(f"{st.family_name(family)}{which}: {note}.")
    columns = ("family", "budget C, FLOPs", "N", "D, tokens", "loss, nats", "C with N/2", "C with 2N")
    caption = (
        "Budgets are multiples of the family's largest single run. "
        f"Brackets: {interval_words()} intervals, for the loss "
        "with the noise of one run. Last columns: the compute that reaches the same loss at half and at "
        "twice the best size."
    )
    return NextRuns(table=Table(columns=columns, rows=tuple(rows), caption=caption), caveats=tuple(caveats))


def _plan_row(family: str, multiple: int, plan: TrainingPlan) -> tuple[str, ...]:
    return (
        st.family_name(family),
        f"{plan.C:.1e} ({multiple}x)",
        _with_interval(plan, "N"),
        _with_interval(plan, "D"),
        f"{plan.loss_nats:.3f} {interval_text(plan.intervals.get('loss_nats'))}".strip(),
        *(
            NOTHING if ratio is None else f"{ratio:.2f}x"
            for ratio in (plan.compute_ratio_half_N, plan.compute_ratio_double_N)
        ),
    )


def _largest_C(tables: StudyTables, family: str) -> float:
    runs = tables.of(family)
    return FLOPS_PER_PARAMETER_TOKEN * float((runs["N"] * runs["D"]).max())


def _with_interval(plan: TrainingPlan, name: str) -> str:
    return f"{short(getattr(plan, name))} {interval_text(plan.intervals.get(name))}".strip()


def _range(values: object) -> str:
    low, high = min(values), max(values)  # type: ignore[call-overload]
    return short(low) if low == high else f"{short(low)} to {short(high)}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
