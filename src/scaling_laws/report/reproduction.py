"""A paper, judged by runs: claims by fixed rules, its figures and tables from these runs, and one page.

A paper is a module that holds `PAPER`. This package's own lie in `scaling_laws.papers`, which is listed:
nothing here knows one by name.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.results.types import Laws
from scaling_laws.report import figures, tables
from scaling_laws.report.claims import (
    VERDICTS,
    Claim,
    Findings,
    claim_files,
    claims_table,
    counted,
    findings,
)
from scaling_laws.report.content import Chapter, Page, Titled, filled
from scaling_laws.report.figure import CHAPTERS, StudyFigure, figures_of
from scaling_laws.report.html import page_files
from scaling_laws.report.made_with import manifest
from scaling_laws.report.pictures import MissingFigure, Picture, draw_pictures, parted, picture_of
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.text import Table, short
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from scaling_laws.study.runs import Study

OURS = "scaling_laws.papers"
DEFAULT_SCALE = "cpu"


@dataclass(frozen=True, kw_only=True)
class ExperimentSettings:
    """What the command gives to a paper that is an experiment.

    Attributes:
        scale: a name of `configs/scales/`; what is quick at any scale may pass over it.
        logs, data: folders of all studies, and of all corpora.
    """

    scale: str
    logs: Path
    data: Path


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper and what reproduces it.

    Attributes:
        module: where it is declared (`__name__`), whose modules define its figures.
        title, citation: of the paper.
        question: what it asks.
        sweep: the file of `configs/papers/` that trains its runs; empty where they are simulated.
        simulate: makes its runs instead: a table as `scaling-laws laws` reads it.
        experiment: (settings) -> what figures, tables and claims read, in place of any runs.
        budget: what its trainings take, by scale; empty where it only simulates or its sweep says it.
        extent: (what an experiment returned) -> how much it trained, at which scale, in a sentence.
        kept_runs: a folder of the repository whose runs it judges where no others are given.
        fitted: whether claims, figures or tables read the laws of the runs, which take a minute to fit.
        claims: in the paper's order.
        figures: name -> number in the paper, in the page's order within a chapter; a name that is not
            defined by the paper's own modules is one of the report's. Its own others come last.
        tables: (study's tables, laws) -> the paper's tables by name.
        evidence: what figures, tables and claims read.
        says, done, trust: paragraphs for its page: what the paper says, what is done here, and how far to
            trust it.
    """

    module: str
    title: str
    citation: str
    question: str
    sweep: str = ""
    simulate: Callable[[], pd.DataFrame] | None = None
    experiment: Callable[[ExperimentSettings], Any] | None = None
    budget: Mapping[str, str] = field(default_factory=dict)
    extent: Callable[[Any], str] | None = None
    kept_runs: str = ""
    fitted: bool = True
    claims: tuple[Claim, ...] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    tables: Callable[[Any, Laws], Mapping[str, Table]] = lambda study, laws: {}
    evidence: type[StudyTables] = StudyTables
    says: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.module.rpartition(".")[2]

    def all_figures(self) -> list[StudyFigure[Any]]:
        """Its own figures and those of the report that it shows, by chapter."""
        own = {each.name: each for each in figures_of(importlib.import_module(self.module))}
        shown = {each.name: each for each in figures_of(figures)} | own
        if unknown := sorted(self.figures.keys() - shown.keys()):
            raise InputError(f"{self.module}: there is no figure {unknown[0]!r} to show")
        chapters = list(CHAPTERS)
        chosen = [shown[name] for name in dict.fromkeys([*self.figures, *own])]
        return sorted(chosen, key=lambda each: chapters.index(each.chapter))


def all_papers(more: str | None = None) -> dict[str, Paper]:
    """Every paper by name: those of this package, and those of a module of the user's own.

    Raises:
        InputError: there is no such module, or it holds no paper.
    """
    return {paper.name: paper for paper in (_paper_in(module) for module in _modules(more)) if paper}


def find_paper(name: str, more: str | None = None) -> Paper:
    """The paper of that name; no other is imported.

    Raises:
        InputError: there is none, or `more` is no module.
    """
    modules = _modules(more)
    for module in reversed(modules):
        if module.rpartition(".")[2] == name and (paper := _paper_in(module)) is not None:
            return paper
    known = ", ".join(sorted(module.rpartition(".")[2] for module in modules)) or "none"
    raise InputError(f"there is no paper {name!r}; there are: {known}; a module of your own: --from MODULE")


def _modules(more: str | None) -> list[str]:
    """Names of the modules that hold a paper each: ours, and those of a module or package of the user's."""
    found = _inside(importlib.import_module(OURS)) if importlib.util.find_spec(OURS) else []
    if more is None:
        return found
    try:
        module = importlib.import_module(more)
    except ImportError as error:
        raise InputError(f"--from {more}: cannot be imported: {error}") from error
    if hasattr(module, "PAPER"):
        return [*found, more]
    if not (theirs := [each for each in _inside(module) if _paper_in(each)]):
        raise InputError(f"--from {more}: holds no PAPER; CONTRIBUTING.md says what a paper is")
    return [*found, *theirs]


def _inside(package: ModuleType) -> list[str]:
    path = getattr(package, "__path__", ())
    return [each.name for each in pkgutil.iter_modules(path, f"{package.__name__}.")]


def _paper_in(module: str) -> Paper | None:
    return getattr(importlib.import_module(module), "PAPER", None)


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """A paper, judged by runs.

    Attributes:
        found: each claim, and what was found of it.
        pictures: its figures.
        files: contents of `claims.json`, `.csv` and `.md`, `page.html`, `page.md` and `figures/`, by name.
    """

    found: Findings
    pictures: tuple[Picture, ...]
    files: Mapping[str, str | bytes]


def reproduced(
    paper: Paper, study: Study, laws: Laws, settings: ExperimentSettings | None = None
) -> Reproduced:
    """Judge a paper by runs, and draw its figures from them.

    Args:
        settings: of a paper that is an experiment.

    Raises:
        InputError: the laws lack something.
    """
    if paper.experiment:
        assert settings is not None, paper.name
        evidence = paper.experiment(settings)
    else:
        evidence = paper.evidence.read(study, laws)
    found = findings(paper.claims, evidence, laws)
    judge = "the simulation" if paper.experiment else study.name
    claims = claim_files(f"{paper.title}: its claims, and what {judge} says", found)
    page = _page(paper, study, evidence, laws, found)
    return Reproduced(found=found, pictures=page.pictures, files={**claims, **page_files(page, "page")})


def _page(paper: Paper, study: Study, evidence: Any, laws: Laws, found: Findings) -> Page:
    n_runs, n_left_out = len(study.runs), len(laws.left_out)
    answer = [f"{paper.citation}."]
    if not paper.experiment:
        left_out = "in no law" if paper.fitted else "left out"
        answer.append(f"Judged by {n_runs} runs of {study.name}; {n_left_out} are {left_out}.")
        answer += _extent(study)
    elif paper.extent:
        answer.append(paper.extent(evidence))
    if found:
        answer.append(f"Its claims: {counted(found)}.")
    pictures, missing = _pictures(paper, evidence, laws)
    paper_tables = [Titled(name, table, "wrapped") for name, table in paper.tables(evidence, laws).items()]
    question = "Numbers" if paper.experiment else "The paper's tables, from these runs"
    chapter_left_out = Chapter(
        name="left-out",
        question="Which runs were left out?",
        sentences=() if n_left_out else ("None.",),
        tables=filled(Titled("", tables.left_out(laws), "wrapped", symbols=False)),
    )
    return Page(
        title=paper.title,
        question=paper.question,
        answer=tuple(answer),
        headline=_verdicts(found),
        chapters=(
            *_prose(says=("What the paper says", paper.says), done=("What was done here", paper.done)),
            *([_claims_chapter(found)] if found else []),
            *_figure_chapters(paper, pictures),
            Chapter(name="tables", question=question, tables=filled(*paper_tables)),
            *_prose(trust=("How far to trust it", paper.trust)),
            *([] if paper.experiment else [chapter_left_out]),
        ),
        manifest=(
            ("made by", f"scaling-laws paper {paper.name}"),
            *([] if paper.experiment else [("runs", str(study.folder))]),
            *(manifest(study, laws) if paper.fitted and not paper.experiment else []),
        ),
        missing=missing,
    )


def _extent(study: Study) -> list[str]:
    """How large the runs are, where they say so."""
    if study.runs.empty or not {"N", "D"} <= {*study.runs}:
        return []
    spans = [
        " to ".join(dict.fromkeys(short(float(end)) for end in (values.min(), values.max())))
        for values in (study.runs["N"], study.runs["D"])
    ]
    return [f"Their networks have {spans[0]} parameters and saw {spans[1]} tokens each."]


def _prose(**chapters: tuple[str, tuple[str, ...]]) -> list[Chapter]:
    """Chapters of words alone; those without a word are left out."""
    return [
        Chapter(name=name, question=heading, sentences=words)
        for name, (heading, words) in chapters.items()
        if words
    ]


def _pictures(
    paper: Paper, evidence: Any, laws: Laws
) -> tuple[tuple[Picture, ...], tuple[MissingFigure, ...]]:
    drawn = paper.all_figures()
    if paper.experiment:  # few figures, and an evidence that may be no study's tables
        return parted([picture_of(each, evidence, laws) for each in drawn])
    return draw_pictures(drawn, evidence, laws)


def _verdicts(found: Findings) -> Table:
    rows = tuple(
        (verdict, str(n))
        for verdict in VERDICTS
        if (n := sum(finding.verdict == verdict for _, finding in found))
    )
    return Table(columns=("verdict", "claims"), rows=rows)


def _claims_chapter(found: Findings) -> Chapter:
    rules = tuple(f"{place}. {claim.text}: {claim.rule}" for place, (claim, _) in enumerate(found, start=1))
    return Chapter(
        name="claims",
        question="What the paper claims, and what came out",
        list_heading="Rules",
        listed=rules,
        tables=(Titled("", claims_table(found), "claims"),),
    )


def _figure_chapters(paper: Paper, pictures: tuple[Picture, ...]) -> list[Chapter]:
    """The questions that have a figure, or one for all where the page is told in words; titles with the
    number in the paper."""
    numbered = [
        replace(each, title=f"{each.title} ({place})") if (place := paper.figures.get(each.name)) else each
        for each in pictures
    ]
    if paper.says:
        return [Chapter(name="figures", question="What came out, in figures", pictures=tuple(numbered))]
    return [
        Chapter(name=name, question=question, pictures=of_chapter)
        for name, question in CHAPTERS.items()
        if (of_chapter := tuple(each for each in numbered if each.chapter == name))
    ]
