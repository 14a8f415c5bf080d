"""What a report says, in order, before it is set as a page or as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from scaling_laws.laws.fit.level import at_level
from scaling_laws.laws.results.types import Laws
from scaling_laws.report import figures, findings, tables
from scaling_laws.report.decisions import decision_table
from scaling_laws.report.figure import CHAPTERS, ChapterName, figures_of
from scaling_laws.report.frozen_predictions import frozen_predictions
from scaling_laws.report.made_with import manifest
from scaling_laws.report.pictures import MissingFigure, Picture, draw_pictures
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.text import Table
from scaling_laws.study.runs import Study

ASKED = (
    "How does the loss of these networks fall with size, data and compute, and what should be trained next?"
)
"""The question of a study whose sweep file asks none."""
NO_PLAN = "The runs identify no joint law L(N, D), so there is no plan."
PAPERS = (
    "`scaling-laws paper NAME --runs FOLDER` judges the claims of a paper by these runs, and draws its "
    "figures; `scaling-laws paper` lists the papers."
)
FOLDED_ROWS = 12
"""A longer table is folded away until it is asked for."""


@dataclass(frozen=True)
class Titled:
    """A table with its heading.

    Attributes:
        look: how wide its columns are: a class of the page's style sheet.
        symbols: whether its cells hold the field's notation.
        open: shown whole, however long it is.
    """

    heading: str
    table: Table
    look: str = "numbers"
    symbols: bool = True
    open: bool = False

    @property
    def folded(self) -> bool:
        return len(self.table.rows) > FOLDED_ROWS and not self.open


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A question, and what answers it.

    Attributes:
        name: of its anchor.
        sentences: what is said before the tables.
        listed: points of a list, each a sentence.
        list_heading: over the list.
    """

    name: str
    question: str
    pictures: tuple[Picture, ...] = ()
    sentences: tuple[str, ...] = ()
    list_heading: str = ""
    listed: tuple[str, ...] = ()
    tables: tuple[Titled, ...] = ()

    @property
    def says_something(self) -> bool:
        return bool(self.pictures or self.sentences or self.listed or self.tables)


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page says.

    Attributes:
        question: what was to be found out.
        caution: why nothing can be concluded, the first line of all; empty where something can.
        answer: what was found out, in paragraphs.
        headline: the numbers to see first.
        chapters: figures by question, then all tables.
        missing: the figures that could not be drawn, listed at the end.
        manifest: what the runs and the fits were made with, by key.
    """

    title: str
    question: str
    caution: str = ""
    answer: tuple[str, ...]
    headline: Table
    chapters: tuple[Chapter, ...]
    missing: tuple[MissingFigure, ...] = ()
    manifest: tuple[tuple[str, str], ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(picture for chapter in self.chapters for picture in chapter.pictures)


@dataclass(frozen=True, kw_only=True)
class Content(Page):
    """A study's report."""

    study: Study
    laws: Laws
    tables: StudyTables


def content_of(study: Study, laws: Laws) -> Content:
    """Read the study's tables, draw its figures, say what they show."""
    with at_level(laws.level):
        return _content_of(study, laws)


def _content_of(study: Study, laws: Laws) -> Content:
    study_tables = StudyTables.read(study, laws)
    pictures, missing = draw_pictures(figures_of(figures), study_tables, laws)
    by_question = (
        replace(_words_and_tables(name, study_tables, laws), pictures=_of(name, pictures))
        for name in CHAPTERS
    )
    chapters = (chapter for chapter in by_question if chapter.says_something)
    return Content(
        title=study.name,
        study=study,
        laws=laws,
        tables=study_tables,
        question=study.question or ASKED,
        caution=findings.caution(study_tables, laws),
        answer=findings.answer(study_tables, laws),
        headline=tables.headline(laws),
        chapters=(*chapters, *_appendix(study_tables, laws)),
        missing=missing,
        manifest=tuple(manifest(study, laws)),
    )


def _of(name: ChapterName, pictures: Iterable[Picture]) -> tuple[Picture, ...]:
    return tuple(picture for picture in pictures if picture.chapter == name)


def _words_and_tables(name: ChapterName, study_tables: StudyTables, laws: Laws) -> Chapter:
    """The chapter of a question without its figures."""
    chapter = Chapter(name=name, question=CHAPTERS[name])
    if name == "scale":
        exponents = Titled("One exponent for all horizons?", tables.local_exponents(study_tables, laws))
        novel = Titled("Laws of the tokens that no network could copy", tables.novel_fits(laws), "fits")
        return replace(chapter, tables=filled(exponents, novel))
    if name == "compute":
        return replace(
            chapter,
            tables=filled(
                Titled("Every approach side by side", tables.approaches(laws), "ladder"),
            ),
        )
    if name == "family":
        worth = Titled("How much compute is another architecture worth?", tables.efficiencies(laws))
        floors = (
            Titled("Do data sets share an irreducible loss?", tables.shared_floors(found), symbols=False)
            for found in laws.shared_floors
        )
        late = Titled("Late positions", tables.late_positions(laws), symbols=False)
        return replace(chapter, tables=filled(late, worth, *floors))
    if name == "batch":
        batches = tables.critical_batch(laws)
        return replace(
            chapter,
            sentences=() if batches.rows or not batches.caption else (batches.caption,),
            tables=filled(Titled("The critical batch", batches)),
        )
    if name == "trust":
        return replace(
            chapter,
            sentences=tuple(_trust_sentences(laws)),
            list_heading="Warnings",
            listed=laws.warnings,
            tables=_trust_tables(study_tables, laws),
        )
    if name == "next":
        plans = findings.next_runs(study_tables, laws)
        return replace(
            chapter,
            sentences=(*(() if plans.table.rows else (NO_PLAN,)), PAPERS),
            listed=plans.caveats,
            tables=filled(
                Titled("", plans.table, symbols=False),
                Titled("Predicted losses of new runs", tables.asked_predictions(laws)),
                *_decisions(laws),
            ),
        )
    return chapter


def _decisions(laws: Laws) -> Iterator[Titled]:
    """Which of two settings to take, a table for each column and compute that was asked of these runs."""
    asked = dict.fromkeys((each.by, each.C) for each in laws.decisions)
    for by, C in asked:
        of_one = [each for each in laws.decisions if (each.by, each.C) == (by, C)]
        table = decision_table(of_one)
        scores = [each for each in laws.held_out_choices if each.by == by and each.n]
        words = (
            f" Of {each.n} choices from part of the scales, judged at the largest, laws were right in "
            f"{each.laws_right}, the ranking at the largest scale seen in {each.ranking_right}."
            for each in scores
        )
        table = replace(table, caption=table.caption + "".join(words))
        yield Titled(f"Which {by} to take", table, symbols=False, open=True)


def _trust_sentences(laws: Laws) -> Iterator[str]:
    noise = laws.noise
    if noise.sd_log_loss is None:
        reason = noise.reason or "no run was repeated with another seed"
        yield f"The noise between seeds is unknown: {reason}."
    else:
        yield (
            "Between runs that differ in their seed alone, ln loss has a standard deviation of "
            f"{100 * noise.sd_log_loss:.2f} % ({noise.n_runs} runs in {noise.n_groups} groups)."
        )
    fits = [fit for family in laws.families for fit in laws.of(family).fits]
    yield f"{sum(fit.identified for fit in fits)} of {len(fits)} fits are identified."


def _trust_tables(study_tables: StudyTables, laws: Laws) -> tuple[Titled, ...]:
    return filled(
        Titled("Forecasts that were frozen before their run", frozen_predictions(study_tables)),
        Titled(
            "The noise between seeds, by size and horizon",
            tables.noise_between_seeds(study_tables, laws.noise),
        ),
        Titled("Laws of your own, beside ours", tables.own_laws(laws), "wrapped"),
        Titled("The largest size, predicted from the smaller ones", tables.holdout(laws), symbols=False),
        Titled(
            "Every form, fitted below a cut, and its predictions of the runs beyond it",
            tables.rollout(laws, "joint"),
        ),
        Titled(
            "Laws of one variable, beside the joint laws on the same runs",
            tables.rollout(laws, "single"),
        ),
        Titled("The end of a run, predicted from its beginning", tables.learning_curves(laws)),
        Titled("Laws without rows of few tokens", tables.asked_cuts(laws), "wrapped"),
        Titled("Outliers: flagged, not dropped", tables.outliers(laws), "wrapped", symbols=False),
        Titled("How the exponents move with the choices of the analysis", tables.sensitivity(laws)),
    )


def _appendix(study_tables: StudyTables, laws: Laws) -> Iterator[Chapter]:
    """The runs that are in no fit, all fits, all runs."""
    left_out, fits, runs = tables.left_out(laws), tables.fits(laws), tables.runs(study_tables, laws)
    n_left_out = len(left_out.rows)
    yield Chapter(
        name="left-out",
        question="Which runs were left out?",
        sentences=(
            f"{n_left_out} of {n_left_out + len(runs.rows)} runs are in no fit."
            if n_left_out
            else "None: every run is complete.",
        ),
        tables=filled(Titled("", left_out, "wrapped", symbols=False)),
    )
    yield Chapter(
        name="fits",
        question="All fits",
        sentences=() if fits.rows else ("There is no fit.",),
        tables=filled(Titled("", fits, "fits")),
    )
    yield Chapter(
        name="runs",
        question="All runs",
        sentences=(f"{len(runs.rows)} complete runs." if runs.rows else "No run is complete.",),
        tables=filled(Titled("", runs, symbols=False)),
    )


def filled(*titled: Titled) -> tuple[Titled, ...]:
    """Those that have a row."""
    return tuple(one for one in titled if one.table.rows)
