"""Everything that runs say, for notebooks: `analyse`, `load_study`, `plot_isoflops`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scaling_laws.api.one_law import Runs, checked_level, question
from scaling_laws.laws import run_tables
from scaling_laws.laws.fit import DEFAULT_DELTA, DEFAULT_RESAMPLES
from scaling_laws.laws.fit.level import LEVEL, at_level
from scaling_laws.laws.forms.terms import Law
from scaling_laws.laws.plan.planner import answer_from_laws
from scaling_laws.laws.plan.question import TrainingPlan
from scaling_laws.laws.readers import runs_path
from scaling_laws.laws.readers.study_reader import StudyReader
from scaling_laws.laws.results.study import fit_folder, fit_study, processes_for
from scaling_laws.laws.results.types import FittedLaw, Laws
from scaling_laws.laws.run_tables import doubts, left_out_of_table
from scaling_laws.report import figures
from scaling_laws.report.content import content_of
from scaling_laws.report.figure import StudyFigure, figures_of
from scaling_laws.report.formulas import latex_with_values
from scaling_laws.report.html import page_files, write_content
from scaling_laws.report.pictures import printed_files
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.tables import headline
from scaling_laws.report.two_studies import compared_page, summary, two_sides
from scaling_laws.study import runs as studies
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import write_own_files
from scaling_laws.study.runs import Study, study_of_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def load_study(folder: str | Path) -> Study:
    """A study's folder, or what `report --export` wrote: `runs`, `curves()`, `positions()`, `left_out`.

    Raises:
        InputError: there is no study.

    Examples:
        >>> study = load_study("results/quick")  # of a clone of scaling_laws
        >>> len(study.runs), sorted(set(study.runs["family"]))
        (50, ['lstm', 'transformer'])
    """
    return studies.load_study(Path(folder))


def analyse(
    runs: Runs | Study,
    *,
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    forms: Sequence[str | type[Law]] = (),
) -> Analysis:
    """Every law that `scaling-laws laws` fits, with everything that is made of them.

    Args:
        runs: a study, its folder, a table from `read_runs`, or what that reads without further arguments.
        delta, resamples, seed: as `fit`.
        level: of every interval, in the page and the figures, too.
        forms: laws of your own, which the page shows beside ours: classes, or "my_module.MyLaw".

    Raises:
        InputError: whatever is wrong with the runs, or a level that is no share.

    Examples:
        >>> import pandas as pd, scaling_laws as sl
        >>> sizes = [(N, D) for N in (1e7, 1e8, 1e9) for D in (1e9, 1e10, 1e11)]
        >>> rows = [(N, D, 1.8 + 400 / N**0.34 + 1800 / D**0.36) for N, D in sizes]
        >>> runs = sl.read_runs(pd.DataFrame(rows, columns=["N", "D", "loss"]))
        >>> found = analyse(runs, resamples=5)
        >>> round(found.fit("chinchilla").parameters["alpha"], 3)
        0.34
    """
    if isinstance(runs, str | Path):
        is_study = StudyReader().recognises(runs_path(runs))
        runs = load_study(runs) if is_study else run_tables.read_runs(runs)
    checked_level(level)
    if isinstance(runs, Study):
        laws = fit_folder(runs, delta=delta, resamples=resamples, seed=seed, level=level, forms=forms)
        return Analysis(study=runs, laws=laws)
    return analysed_table(runs, delta=delta, resamples=resamples, seed=seed, level=level, forms=forms)


def analysed_table(
    runs: pd.DataFrame,
    *,
    delta: float,
    resamples: int,
    seed: int,
    level: float = LEVEL,
    forms: Sequence[str | type[Law]] = (),
) -> Analysis:
    """`analyse` of a table from `read_runs`."""
    name = str(runs.attrs.get("name", "runs"))
    left_out = left_out_of_table(runs)
    laws = fit_study(
        name,
        runs,
        left_out=left_out,
        delta=delta,
        resamples=resamples,
        seed=seed,
        level=level,
        forms=forms,
        processes=processes_for(runs),
    )
    study = replace(study_of_table(name, runs), left_out=left_out)
    return Analysis(study=study, laws=replace(laws, warnings=(*doubts(runs), *laws.warnings)))


@dataclass(frozen=True, kw_only=True, repr=False)
class Analysis:
    """The laws of some runs.

    Attributes:
        study: the runs; `study.runs` is their table.
        laws: everything that was fitted, as `laws.json` holds it.

    N is in parameters, D in tokens, C in FLOPs, losses in nats per token; intervals are of `laws.level`. What
    cannot be said of these runs is an `InputError` with the reason.

    Examples:
        >>> from scaling_laws.laws.results.types import read_laws
        >>> laws = read_laws(Path("results/quick/laws.json"))
        >>> found = Analysis(study=load_study("results/quick"), laws=laws)
        >>> print(found.summary().splitlines()[0])
        quick: scaling laws with 90 % intervals
        >>> f"{found.plan(compute=1e15, family='transformer').N:.1e}"
        '7.1e+06'
        >>> found.figure_names[0]
        'power_laws'
    """

    study: Study
    laws: Laws

    def fit(self, form: str, family: str | None = None) -> FittedLaw:
        """One of the fitted laws.

        Raises:
            InputError: no such law, or several families and none named.
        """
        family = self._family(family)
        found = self.laws.of(family).fit(form)
        if found is None:
            forms = ", ".join(each.form for each in self.laws.of(family).fits)
            raise InputError(f"no law {form!r} was fitted to {family}; there are {forms}")
        return found

    def tasks(self) -> pd.DataFrame:
        """Do tasks follow the loss? A row per family and task, with the columns of `TaskLaw`.

        Raises:
            InputError: the runs have no scores of tasks, and the table no column `accuracy`.

        Examples:
            >>> import numpy as np, scaling_laws as sl
            >>> sizes = [(N, D) for N in (1e6, 1e7, 1e8, 1e9) for D in (1e8, 1e9, 1e10)]
            >>> runs = pd.DataFrame(sizes, columns=["N", "D"])
            >>> runs["loss"] = 1.8 + 400 / runs["N"] ** 0.34 + 1800 / runs["D"] ** 0.36
            >>> runs["accuracy"] = 0.25 + 0.75 / (1 + np.exp(2 * (runs["loss"] - 4)))
            >>> runs["chance"] = 0.25
            >>> found = sl.analyse(sl.read_runs(runs), resamples=0).tasks()
            >>> float(found["loss_half"][0].round(2)), float(found["two_steps"][0].round(3))
            (4.0, 0.0)
        """
        if not self.laws.tasks:
            raise InputError(
                "these runs have no scores of tasks (tasks: in the corpus file), nor a column accuracy"
            )
        return pd.DataFrame([vars(law) for law in self.laws.tasks])

    def plan(
        self,
        *,
        compute: float | str | None = None,
        n: float | str | None = None,
        d: float | str | None = None,
        loss: float | None = None,
        family: str | None = None,
    ) -> TrainingPlan:
        """What to train, by the law of N and D that predicts best: see `scaling_laws.plan`."""
        return answer_from_laws(self.laws, question(compute=compute, n=n, d=d, loss=loss), family=family)

    @property
    def figure_names(self) -> list[str]:
        """What `figure` draws."""
        return [each.name for each in figures_of(figures)]

    def figure(self, name: str) -> Figure:
        """One figure of the report.

        Raises:
            InputError: no such figure, or the runs do not support it; the message says what is missing.
        """
        chosen = next((each for each in figures_of(figures) if each.name == name), None)
        if chosen is None:
            raise InputError(f"no figure is called {name!r}; there are {', '.join(self.figure_names)}")
        return _drawn(chosen, StudyTables.read(self.study, self.laws), self.laws)

    def figures(self, folder: str | Path, columns: int | None = None) -> list[Path]:
        """Draw every figure that the runs support, as PNG, SVG and PDF into a folder; returns the files.

        Args:
            folder: made where it is missing.
            columns: how wide: as in the page, or of a journal's columns 1 (3.4 inches, panels below one
                another) or 2 (7 inches).

        Raises:
            InputError: another width; the folder holds files of these names that were not written by this.
        """
        if columns not in (None, 1, 2):
            raise InputError(f"columns is {columns}: a figure is 1 or 2 columns wide")
        tables = StudyTables.read(self.study, self.laws)
        with at_level(self.laws.level):
            files = printed_files(figures_of(figures), tables, self.laws, columns)
        write_own_files(Path(folder), dict(files), writer="figures", shared=True)
        return [Path(folder) / name for name in files]

    def report(self, page: str | Path) -> Path:
        """Write the page, which holds everything, the same in Markdown, and `figures/`; returns the page."""
        with at_level(self.laws.level):
            return write_content(content_of(self.study, self.laws), Path(page))

    def report_beside(self, other: Analysis, page: str | Path, *, force: bool = False) -> str:
        """Write one page of both: runs, laws, and differences of the laws' parameters with intervals.

        Returns:
            What it says first, in lines.

        Raises:
            InputError: no family is in both; the folder holds files that are not ours.
        """
        page = Path(page)
        with at_level(self.laws.level):
            compared = compared_page(two_sides((self.study, self.laws), (other.study, other.laws)))
        files = page_files(compared, page.stem)
        write_own_files(page.parent, files, writer=page.stem, shared=True, force=force)
        return summary(compared)

    def latex(self, form: str = "chinchilla", family: str | None = None, digits: int = 3) -> str:
        """One of the fitted laws with its numbers, for a paper.

        Raises:
            InputError: as `fit`; or the law is not identified.
        """
        found = self.fit(form, family)
        if not found.identified:
            raise InputError(f"{form} is not identified: {found.reason}")
        known = {name: value for name, value in found.parameters.items() if value is not None}
        return latex_with_values(found.formula, known, digits)

    def to_json(self) -> dict[str, Any]:
        """The content of a `laws.json`."""
        return self.laws.to_json()

    def summary(self) -> str:
        """The headline table and the warnings."""
        what = f"with {100 * self.laws.level:g} % intervals"
        if not self.laws.manifest.resamples:
            what = "without intervals"
        lines = [f"{self.laws.study}: scaling laws {what}", "", headline(self.laws).text()]
        return "\n".join([*lines, *(f"warning: {each}" for each in self.laws.warnings)])

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"

    def _family(self, family: str | None) -> str:
        families = [each.family for each in self.laws.by_family if each.fits]
        if family is None and len(families) != 1:
            raise InputError(f"{self.laws.study} holds laws of {', '.join(families) or 'nothing'}: name one")
        if family is not None and family not in families:
            raise InputError(f"no law of the family {family!r}; there are {', '.join(families)}")
        return family or families[0]


def plot_isoflops(runs: Runs | Study | Analysis) -> Figure:
    """Slices of equal compute: the loss of each size, and the best size between them (Hoffmann 2022).

    Raises:
        InputError: as `analyse`; or no compute has three sizes.

    Examples:
        >>> from scaling_laws.laws.results.types import read_laws
        >>> laws = read_laws(Path("results/quick/laws.json"))
        >>> figure = plot_isoflops(Analysis(study=load_study("results/quick"), laws=laws))
        >>> figure.axes[0].get_xscale()
        'log'
    """
    return (runs if isinstance(runs, Analysis) else analyse(runs)).figure("isoflop_slices")


def _drawn(chosen: StudyFigure[Any], tables: StudyTables, laws: Laws) -> Figure:
    with at_level(laws.level):
        data = chosen.prepare(tables, laws)
        if isinstance(data, str):
            raise InputError(f"{chosen.name}: {data}")
        return chosen.draw(data)
