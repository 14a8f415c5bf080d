"""What the report knows of a figure: where it belongs, and how it is drawn and said in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure

from scaling_laws.report.evidence import Laws, StudyTables

Question = Literal["scale", "data", "compute", "shape", "family", "batch", "position", "trust", "next"]

QUESTIONS: dict[Question, str] = {
    "scale": "Does the loss scale with size?",
    "data": "Does it scale with data, and when does a network overfit?",
    "compute": "Does it scale with compute, and which size is best for a budget?",
    "shape": "Does the shape matter?",
    "family": "Which family scales better?",
    "batch": "Which batch, and which learning rate?",
    "position": "How does the loss depend on the position in the context?",
    "trust": "How far to trust it?",
    "next": "What to train next?",
}
"""The report's chapters, in order."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One figure.

    Attributes:
        name: of its files, as `fig04_data_and_steps`.
        title: what it shows.
        paper: the paper's figure that it answers to, as `Fig. 4`; empty for those beyond the paper.
        question: the chapter that it stands in.
        draw: the figure; where the runs cannot support it, a note that says which sweep would.
        describe: what it shows in this study, in one sentence of numbers computed from the data.
    """

    name: str
    title: str
    paper: str
    question: Question
    draw: Callable[[StudyTables, Laws], Figure]
    describe: Callable[[StudyTables, Laws], str]
