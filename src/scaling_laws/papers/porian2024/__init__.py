"""Porian et al. 2024: from Kaplan's exponent to Chinchilla's by one correction after another."""

from __future__ import annotations

from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.porian2024.ladder import LadderStep, MeasuredExponent, ladder
from scaling_laws.report.reproduction import Paper
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.style import family_name
from scaling_laws.report.text import NOTHING, Table, with_interval


def ladder_table(study: StudyTables, laws: Laws) -> Table:
    """Why Kaplan and Chinchilla disagree: the exponent a after each correction, and the paper's numbers."""
    settings = laws.manifest
    rows = tuple(
        (family_name(family), *_cells(correction))
        for family in study.families
        for correction in ladder(
            study.complete[study.complete["family"] == family],
            delta=settings.delta or DEFAULT_DELTA,
            seed=settings.seed or 0,
        )
    )
    columns = (
        *("family", "change", "a, slices (parabola)", "a, slices (Akima)", "a, law of N and D"),
        *("a of Porian 2024", "what the runs lack"),
    )
    caption = (
        "N_opt ~ C^a, each correction one change. Porian 2024: RefinedWeb; OpenWebText2; 95 % intervals."
    )
    return Table(columns=columns, rows=rows, caption=caption)


def _cells(correction: LadderStep) -> tuple[str, ...]:
    ours = [_exponent(found) for found in (correction.parabola, correction.akima, correction.parametric)]
    theirs = "; ".join(with_interval(each.a, each.interval) for each in correction.published)
    return (correction.change, *ours, theirs or NOTHING, correction.reason or NOTHING)


def _exponent(found: MeasuredExponent) -> str:
    return with_interval(found.a, found.interval)


PAPER = Paper(
    module=__name__,
    title="Resolving Discrepancies in Compute-Optimal Scaling of Language Models",
    citation="Porian, Wortsman, Jitsev, Schmidt & Carmon 2024 (arXiv 2406.19146)",
    question="Which corrections lead from Kaplan's exponent to Chinchilla's?",
    sweep="configs/papers/porian2024.yaml",
    figures={"isoflop_slices": ""},
    tables=lambda study, laws: {"Why Kaplan and Chinchilla disagree": ladder_table(study, laws)},
)
