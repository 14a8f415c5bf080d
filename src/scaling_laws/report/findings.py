"""The answer in words, and what to train next: every number from the laws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.plan.choice import best_joint_fit
from scaling_laws.laws.plan.planner import plan_from_laws
from scaling_laws.laws.plan.question import TrainingPlan
from scaling_laws.laws.published import (
    HOFFMANN,
    HOFFMANN_PARAMETRIC,
    KAPLAN_SINGLE,
    KAPLAN_TABLE_2,
    KAPLAN_TABLE_6,
)
from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.formulas import form_name, value_with_interval
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.text import NOTHING, Table, interval_text, number, short
from scaling_laws.study.errors import InputError

MULTIPLES = (1, 10, 100)


@dataclass(frozen=True, kw_only=True)
class NextRuns:
    """What to train with multiples of the largest run's compute, and what limits the answer."""

    table: Table
    caveats: tuple[str, ...]


def answer(tables: StudyTables, laws: Laws) -> tuple[str, ...]:
    """The study in a paragraph: what was measured, the exponents, what to train, how far to trust it.

    The main family's paragraph comes first and says it all; every other family has a short one.
    """
    if tables.runs.empty:
        n_left_out = len(laws.left_out)
        return (
            f"No run of this study can enter a law ({n_left_out} left out): it says nothing about scaling.",
        )
    main, *others = tables.families
    whole = (
        *_measured(tables, main),
        *_exponents(laws, main),
        *_joint_law(laws, main),
        *_plans(tables, laws, main),
        *_trust(laws, main),
    )
    short_ones = (
        (*_measured(tables, family), *_joint_law(laws, family), *_held_out(laws, family)) for family in others
    )
    return tuple(" ".join(sentences) for sentences in (whole, *short_ones))


def _measured(tables: StudyTables, family: str) -> Iterator[str]:
    runs = tables.of(family)
    yield (
        f"{st.family_name(family)}: {_count(len(runs), 'run')} of N = {_range(runs['N'])} on D = "
        f"{_range(runs['D'])} tokens reach {runs['loss'].max():.2f} to {runs['loss'].min():.2f} nats "
        "per token on held-out text."
    )


def _exponents(laws: Laws, family: str) -> Iterator[str]:
    """The laws of one variable beside Kaplan's."""
    single = [
        f"{symbol} = {value_with_interval(fit, parameter)} (Kaplan 2020: {theirs:.3g})"
        for form, parameter, symbol, theirs in (
            ("kaplan_n", "alpha_N", "α_N", KAPLAN_SINGLE.of_N.alpha_N),
            ("kaplan_d", "alpha_D", "α_D", KAPLAN_SINGLE.of_D.alpha_D),
            ("kaplan_c", "alpha_C", "α_C", KAPLAN_SINGLE.of_C_naive.alpha_C),
        )
        if (fit := laws.of(family).fit(form)) is not None and fit.identified
    ]
    if single:
        yield f"The loss falls as a power of size, data or compute alone with {', '.join(single)}."


def _joint_law(laws: Laws, family: str) -> Iterator[str]:
    """The law of N and D to believe, and how the best size grows, beside both papers."""
    fit, why = best_joint_fit(laws.of(family))
    if fit is None:
        yield f"No joint law L(N, D) is identified: {why}."
        return
    if fit.form == "chinchilla":
        law = (
            "They follow L(N, D) = E + A/N^α + B/D^β with "
            f"α = {value_with_interval(fit, 'alpha')} (Chinchilla 2022: {HOFFMANN.alpha:.3g}), "
            f"β = {value_with_interval(fit, 'beta')} ({HOFFMANN.beta:.3g}) and "
            f"E = {value_with_interval(fit, 'E')}"
        )
    elif fit.form != "kaplan_nd":
        exponents = [name for name in fit.parameters if fit.units[name] == "1"]
        values = ", ".join(f"{name} = {value_with_interval(fit, name)}" for name in exponents)
        law = f"They follow {form_name(fit.form)}, {fit.formula}, with {values}"
    else:
        law = (
            "They follow Kaplan's coupled L(N, D) (equation 1.5 of the paper) with "
            f"α_N = {value_with_interval(fit, 'alpha_N')} (Kaplan 2020: {KAPLAN_TABLE_2.alpha_N:.3g}) and "
            f"α_D = {value_with_interval(fit, 'alpha_D')} ({KAPLAN_TABLE_2.alpha_D:.3g})"
        )
    yield (
        f"{law}, so the best size grows as C^a with a = {value_with_interval(fit, 'a_opt')} "
        f"(Kaplan 2020: {KAPLAN_TABLE_6.N.exponent:.3g}; Chinchilla 2022: {HOFFMANN_PARAMETRIC.a:.3g})."
    )


def _plans(tables: StudyTables, laws: Laws, family: str) -> Iterator[str]:
    """What to train with ten and a hundred times the compute of the largest run."""
    sentences: list[str] = []
    for multiple in MULTIPLES[1:]:
        try:
            plan = plan_from_laws(laws, multiple * _largest_C(tables, family), family=family)
        except InputError:
            return  # no joint law: said above, and in the chapter of plans
        of_what = "the compute of the largest run " if not sentences else ""
        loss = f"{plan.loss_nats:.3f} {interval_text(plan.intervals.get('loss_nats'))}".strip()
        sentences.append(
            f"ith {multiple}x {of_what}({plan.C:.1e} FLOPs) train N = {_with_interval(plan, 'N')} "
            f"on D = {_with_interval(plan, 'D')} tokens to reach {loss} nats per token"
        )
    yield f"W{'; w'.join(sentences)}."


def _trust(laws: Laws, family: str) -> Iterator[str]:
    """What the laws predicted that they were not fitted to, the noise, and how much is not known."""
    yield from _held_out(laws, family)
    if (noise := laws.noise.sd_log_loss) is not None:
        yield f"Runs that differ in their seed alone differ by {100 * noise:.2f} % (one standard deviation)."
    fits = laws.of(family).fits
    identified = sum(fit.identified for fit in fits)
    warnings = len(laws.warnings)
    yield (
        f"{identified} of its {_count(len(fits), 'fit')} are identified; "
        f"{_count(warnings, 'warning') if warnings else 'no warning'} in all "
        "(“How far to trust it?”)."
    )


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
    columns = ("family", "budget C, FLOPs", "N", "D, tokens", "test loss, nats", "C with N/2", "C with 2N")
    caption = (
        "Budgets are multiples of the family's largest single run. Brackets: 90 % intervals, for the loss "
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


def _held_out(laws: Laws, family: str) -> Iterator[str]:
    """How well the law to believe predicted the largest size, fitted without it."""
    fit, _ = best_joint_fit(laws.of(family))
    for entry in laws.of(family).holdout:
        if fit is not None and entry.form == fit.form and entry.relative_error:
            worst = 100 * max(abs(error) for error in entry.relative_error)
            baseline = 100 * max(abs(error) for error in entry.baseline_relative_error)
            yield (
                "Fitted without the largest size, it predicts that size's losses within "
                f"{number(worst, 2)} % (no-fit guess: {number(baseline, 2)} %)."
            )
            return


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
