"""Hoffmann et al. 2022: three approaches to the best size of a compute budget, on one set of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scaling_laws.laws.allocation.approaches import Approach
from scaling_laws.laws.published import (
    HOFFMANN_ENVELOPE,
    HOFFMANN_ISOFLOP,
    HOFFMANN_PARAMETRIC,
    ReportedExponent,
)
from scaling_laws.laws.results.types import Laws
from scaling_laws.report.claims import Claim, Finding, Measured, not_measured
from scaling_laws.report.reproduction import Paper
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.style import family_name
from scaling_laws.report.tables import approaches
from scaling_laws.report.text import NOTHING, Table, with_interval

THEIRS: Mapping[int, tuple[str, tuple[str, ...], ReportedExponent]] = {
    1: ("envelope of the learning curves", ("learning_curves", "envelope"), HOFFMANN_ENVELOPE),
    2: ("slices of equal compute", ("parabola",), HOFFMANN_ISOFLOP),
    3: ("law of N and D", ("chinchilla",), HOFFMANN_PARAMETRIC),
}
"""By approach: its name, our methods, the first that has an answer to be taken, and their exponent of N."""


def _cooled(study: StudyTables, laws: Laws) -> Measured | Finding:
    allocation = laws.of(study.main_family).allocation_by("isoflop")
    if allocation.exponent is None:
        return not_measured(allocation.reason or "no slices of equal compute")
    return Measured(
        value=allocation.exponent,
        interval=allocation.exponent_interval or (None, None),
        context=f"{allocation.n_points} slices of equal compute",
    )


def table_2(laws: Laws) -> Table:
    """Their Table 2: the exponents of N_opt ~ C^a and D_opt ~ C^b by each approach."""
    rows = []
    for number, (name, methods, theirs) in THEIRS.items():
        printed = f"{theirs.a:.2f} [{theirs.low:.3f}, {theirs.high:.3f}]"
        for family in laws.by_family:
            ours = _answer(family.approaches.approaches, methods)
            cells = (NOTHING, NOTHING)
            if ours is not None:
                cells = (with_interval(ours.a, ours.a_interval), with_interval(ours.b, ours.b_interval))
            rows.append((f"{number}: {name}", family_name(family.family), *cells, printed, f"{theirs.b:.2f}"))
    columns = ("approach", "family", "a", "b", "a, Hoffmann 2022", "b, Hoffmann 2022")
    caption = "N_opt ~ C^a, D_opt ~ C^b. Brackets: 90 % intervals; Hoffmann's: 10th to 90th percentile."
    return Table(columns=columns, rows=tuple(rows), caption=caption)


def _answer(answers: Sequence[Approach], methods: tuple[str, ...]) -> Approach | None:
    by_method = {each.method: each for each in answers if each.a is not None}
    return next((by_method[method] for method in methods if method in by_method), None)


PAPER = Paper(
    module=__name__,
    title="Training Compute-Optimal Large Language Models",
    citation="Hoffmann, Borgeaud, Mensch et al. 2022 (arXiv 2203.15556)",
    question="How should size and tokens grow with a compute budget?",
    sweep="configs/papers/hoffmann2022.yaml",
    claims=(
        Claim(
            slug="best-size-grows-as-square-root",
            text="If networks are trained to the end of their schedules, the best size grows more slowly: "
            "as C^0.5",
            source="approach 2, Table 2",
            quantity="exponent of N over slices of equal compute",
            paper="0.49 (Kaplan 0.73)",
            method="Losses after the learning rate came down. The upper bound is halfway between 0.5 and "
            "Kaplan's 0.73.",
            confirmed=(0.4, 0.615),
            needs="isoflop",
            measure=_cooled,
        ),
    ),
    figures={"three_approaches": "Fig. 1", "isoflop_slices": "Fig. 3"},
    tables=lambda study, laws: {"Table 2": table_2(laws), "Every approach side by side": approaches(laws)},
)
