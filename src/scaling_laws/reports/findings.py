"""The answer in words, and what to train next: every number from the laws."""

from __future__ import annotations

from dataclasses import dataclass

from scaling_laws.errors import InputError
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.planning.choice import best_joint_fit
from scaling_laws.laws.planning.plan import Plan
from scaling_laws.laws.planning.planner import plan_from_laws
from scaling_laws.reports.evidence import Laws, StudyTables
from scaling_laws.reports.formulas import form_name, interval_text, number, value_with_interval
from scaling_laws.reports.style import family_name, short
from scaling_laws.reports.tables import NOTHING, Table

MULTIPLES = (1, 10, 100)


@dataclass(frozen=True, kw_only=True)
class NextRuns:
    """What to train with multiples of the largest run's compute, and what limits the answer."""

    table: Table
    caveats: tuple[str, ...]


def answer(tables: StudyTables, laws: Laws) -> tuple[str, ...]:
    """The study in a paragraph a family."""
    if tables.runs.empty:
        n_left_out = len(laws["left_out"])
        return (
            f"No run of this study can enter a law ({n_left_out} left out): it says nothing about scaling.",
        )
    return tuple(_answer(tables, laws, family) for family in tables.families)


def _answer(tables: StudyTables, laws: Laws, family: str) -> str:
    runs = tables.of(family)
    measured = (
        f"{family_name(family)}: {_count(len(runs), 'run')} of N = {_range(runs['N'])} on D = "
        f"{_range(runs['D'])} tokens reach {runs['loss'].max():.2f} to {runs['loss'].min():.2f} nats "
        "per token on held-out text."
    )
    fit, why = best_joint_fit(laws, family)
    if fit is None:
        return f"{measured} No joint law L(N, D) is identified: {why}."
    if fit["form"] == "chinchilla":
        law = (
            f"They follow L(N, D) = E + A/N^α + B/D^β with α = {value_with_interval(fit, 'alpha')}, "
            f"β = {value_with_interval(fit, 'beta')} and E = {value_with_interval(fit, 'E')}"
        )
    elif fit["form"] != "kaplan_nd":
        exponents = [name for name in fit["parameters"] if fit["units"][name] == "1"]
        values = ", ".join(f"{name} = {value_with_interval(fit, name)}" for name in exponents)
        law = f"They follow {form_name(fit['form'])}, {fit['formula']}, with {values}"
    else:
        law = (
            "They follow Kaplan's coupled L(N, D) (equation 1.5 of the paper) with "
            f"α_N = {value_with_interval(fit, 'alpha_N')} and α_D = {value_with_interval(fit, 'alpha_D')}"
        )
    growth = f", so the best size grows as C^a with a = {value_with_interval(fit, 'a_opt')}."
    return " ".join((measured, law + growth, *_held_out_sentence(laws, family, fit["form"])))


def next_runs(tables: StudyTables, laws: Laws) -> NextRuns:
    """Plans at 1x, 10x and 100x the compute of each family's largest run, with the cost of a wrong size."""
    rows: list[tuple[str, ...]] = []
    caveats: list[str] = []
    for family in tables.families:
        notes: dict[str, list[str]] = {}
        runs = tables.of(family)
        largest_C = FLOPS_PER_PARAMETER_TOKEN * float((runs["N"] * runs["D"]).max())
        for multiple in MULTIPLES:
            try:
                plan = plan_from_laws(laws, multiple * largest_C, family=family)
            except InputError as error:
                caveats.append(f"{family_name(family)}: no plan. {error}.")
                break
            rows.append(_plan_row(family, multiple, plan))
            for note in plan.notes[1:]:
                notes.setdefault(note, []).append(f"{multiple}x")
        for note, at in notes.items():
            which = "" if len(at) == len(MULTIPLES) else f" at {' and '.join(at)}"
            caveats.append(f"{family_name(family)}{which}: {note}.")
    columns = ("family", "budget C, FLOPs", "N", "D, tokens", "test loss, nats", "C with N/2", "C with 2N")
    caption = (
        "Budgets are multiples of the family's largest single run. Brackets: 90 % intervals, for the loss "
        "with the noise of one run. Last columns: the compute that reaches the same loss at half and at "
        "twice the best size."
    )
    return NextRuns(table=Table(columns=columns, rows=tuple(rows), caption=caption), caveats=tuple(caveats))


def _plan_row(family: str, multiple: int, plan: Plan) -> tuple[str, ...]:
    return (
        family_name(family),
        f"{plan.C:.1e} ({multiple}x)",
        f"{short(plan.N)} {interval_text(plan.intervals.get('N'))}".strip(),
        f"{short(plan.D)} {interval_text(plan.intervals.get('D'))}".strip(),
        f"{plan.loss_nats:.3f} {interval_text(plan.intervals.get('loss_nats'))}".strip(),
        *(
            NOTHING if ratio is None else f"{ratio:.2f}x"
            for ratio in (plan.compute_ratio_half_N, plan.compute_ratio_double_N)
        ),
    )


def _held_out_sentence(laws: Laws, family: str, form: str) -> list[str]:
    for entry in laws["holdout"]:
        if entry["form"] == form and entry["family"] == family and entry["relative_error"]:
            worst = 100 * max(abs(error) for error in entry["relative_error"])
            baseline = 100 * max(abs(error) for error in entry["baseline_relative_error"])
            return [
                "Fitted without the largest size, it predicts that size's losses within "
                f"{number(worst, 2)} % (no-fit guess: {number(baseline, 2)} %)."
            ]
    return []


def _range(values: object) -> str:
    low, high = min(values), max(values)  # type: ignore[call-overload]
    return short(low) if low == high else f"{short(low)} to {short(high)}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
