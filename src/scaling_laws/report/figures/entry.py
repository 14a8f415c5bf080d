"""A figure of the old shape, until all are declared by `figure`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from scaling_laws.report.evidence import Laws, StudyTables
from scaling_laws.report.figure import ChapterName


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One figure: `paper` is the paper's figure that it answers to, as `Fig. 4`, or empty."""

    name: str
    title: str
    paper: str
    question: ChapterName
    draw: Callable[[StudyTables, Laws], Figure]
    describe: Callable[[StudyTables, Laws], str]

    @property
    def chapter(self) -> ChapterName:
        return self.question

    @property
    def order(self) -> int:
        digits = "".join(sign if sign.isdigit() else " " for sign in self.paper).split()
        return int(digits[0]) if digits else 99
