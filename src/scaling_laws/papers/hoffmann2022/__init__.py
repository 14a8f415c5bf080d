"""Hoffmann et al. 2022: three approaches to the best size of a compute budget, on one set of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.published import (
    HOFFMANN_ENVELOPE,
    HOFFMANN_ISOFLOP,
    HOFFMANN_PARAMETRIC,
    ReportedExponent,
)
from scaling_laws.report.claims import Claim, Finding, Measured, not_measured
from scaling_laws.report.evidence import Laws, StudyTables, find_allocation
from scaling_laws.report.paper import Paper
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
    entry = find_allocation(laws, "isoflop", study.main_family)
    if entry["exponent"] is None:
        return not_measured(entry["reason"] or "no slices of equal compute")
    context = f"{entry.get('n_points', 0)} slices of equal compute"
    return Measured(value=entry["exponent"], interval=_ends(entry["exponent_interval"]), context=context)


def _ends(interval: Sequence[float | None] | None) -> Interval:
    return (None, None) if interval is None else (interval[0], interval[1])


def table_2(laws: Laws) -> Table:
    """Their Table 2: the exponents of N_opt ~ C^a and D_opt ~ C^b by each approach."""
    rows = []
    for number, (name, methods, theirs) in THEIRS.items():
        printed = f"{theirs.a:.2f} [{theirs.low:.3f}, {theirs.high:.3f}]"
        for entry in laws.get("approaches", ()):
            ours = _answer(entry["approaches"], methods)
            cells = (
                (NOTHING, NOTHING)
                if ours is None
                else tuple(with_interval(ours[each], ours[f"{each}_interval"]) for each in ("a", "b"))
            )
            rows.append(
                (f"{number}: {name}", family_name(entry["family"]), *cells, printed, f"{theirs.b:.2f}")
            )
    columns = ("approach", "family", "a", "b", "a, Hoffmann 2022", "b, Hoffmann 2022")
    caption = "N_opt ~ C^a, D_opt ~ C^b. Brackets: 90 % intervals; Hoffmann's: 10th to 90th percentile."
    return Table(columns=columns, rows=tuple(rows), caption=caption)


def _answer(found: list[dict[str, Any]], methods: tuple[str, ...]) -> dict[str, Any] | None:
    by_method = {each["method"]: each for each in found if each["a"] is not None}
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
            text="Trained to the end of their schedules, networks should grow more slowly: as C^0.5",
            source="approach 2, Table 2",
            quantity="exponent of N over slices of equal compute",
            paper="0.49 (Kaplan 0.73)",
            method="Losses after the learning rate came down; Kaplan's 0.73 is outside.",
            confirmed=(0.4, 0.65),
            needs="isoflop",
            measure=_cooled,
        ),
    ),
    figures={"three_approaches": "Fig. 1", "isoflop_slices": "Fig. 3"},
    tables=lambda study, laws: {"Table 2": table_2(laws), "Every approach side by side": approaches(laws)},
)
