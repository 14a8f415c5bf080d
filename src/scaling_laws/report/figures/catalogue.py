"""Every figure of the report, chapter by chapter."""

from __future__ import annotations

from scaling_laws.papers.kaplan2020.figures import (
    counting,
    data,
    frontier,
    growth,
    schedules,
    sizes,
    steps_and_tokens,
    stopping,
    transfer,
)
from scaling_laws.report.figures import (
    allocation,
    batch,
    compute,
    families,
    family_worth,
    fit_quality,
    held_out,
    learning_rate,
    position_sizes,
    positions,
    scale,
    sensitivity,
    shape,
    slices,
    spending,
)
from scaling_laws.report.figures.entry import QUESTIONS, Entry

ENTRIES: tuple[Entry, ...] = (
    *scale.FIGURES,
    *counting.FIGURES,
    *transfer.FIGURES,
    *data.FIGURES,
    *stopping.FIGURES,
    *compute.FIGURES,
    *frontier.FIGURES,
    *sizes.FIGURES,
    *slices.FIGURES,
    *allocation.FIGURES,
    *shape.FIGURES,
    *families.FIGURES,
    *family_worth.FIGURES,
    *batch.FIGURES,
    *steps_and_tokens.FIGURES,
    *learning_rate.FIGURES,
    *schedules.FIGURES,
    *positions.FIGURES,
    *position_sizes.FIGURES,
    *fit_quality.FIGURES,
    *held_out.FIGURES,
    *sensitivity.FIGURES,
    *spending.FIGURES,
    *growth.FIGURES,
)


def all_figures() -> tuple[Entry, ...]:
    """Chapter by chapter; within one, the paper's figures in the paper's order, then those beyond it."""
    order = list(QUESTIONS)
    return tuple(sorted(ENTRIES, key=lambda entry: (order.index(entry.question), *_place(entry))))


def _place(entry: Entry) -> tuple[bool, int]:
    """Whether the figure is beyond the paper's, and the first number in its `paper`."""
    digits = "".join(sign if sign.isdigit() else " " for sign in entry.paper).split()
    return not digits, int(digits[0]) if digits else 0
