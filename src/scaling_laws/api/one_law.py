"""One law fitted to a table of runs, for notebooks: `read_runs`, `fit`, `plot_fit`."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scaling_laws.laws import Keep, LossUnit, run_tables
from scaling_laws.laws.checks.token_cut import choose_cut
from scaling_laws.laws.fit import DEFAULT_DELTA, DEFAULT_RESAMPLES
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import (
    Bootstrap,
    Interval,
    bootstrap,
    loss_interval,
    optimum_interval,
    parameter_intervals,
)
from scaling_laws.laws.fit.level import LEVEL, interval_percentiles
from scaling_laws.laws.fit.moving_together import groups_of
from scaling_laws.laws.fit.noise import SeedNoise, seed_noise
from scaling_laws.laws.fit.pins import pinned_coordinates
from scaling_laws.laws.fit.predictive import profile_prediction
from scaling_laws.laws.forms.declared import declaration_of
from scaling_laws.laws.forms.terms import FloatArray, Law, in_columns
from scaling_laws.laws.plan.compute_budget import parse_compute, parse_count
from scaling_laws.laws.plan.planner import with_reach
from scaling_laws.laws.plan.question import Question, TrainingPlan
from scaling_laws.laws.plan.solve import answer
from scaling_laws.laws.results.chosen_forms import law_called, require_columns, rows_of, which_rows
from scaling_laws.laws.results.fitted import Settings, fitted_law
from scaling_laws.laws.results.types import FittedLaw, LawCertificate
from scaling_laws.laws.selection import usable_runs
from scaling_laws.report import style as st
from scaling_laws.report.formulas import latex_with_values
from scaling_laws.report.text import Table, with_interval
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Runs = pd.DataFrame | str | Path
LINE_POINTS = 200
BEYOND, ONE_POINT = 3.0, 1.02
"""How far beyond the runs a law is drawn; what one run alone covers of its line."""
NOTE_SIGNS = 60
MOST_LINES = 12
"""Sizes of a joint law that a figure tells apart."""


def read_runs(
    source: Runs | Sequence[Runs],
    N: str | None = None,
    D: str | None = None,
    C: str | None = None,
    loss: str | None = None,
    run: str | None = None,
    where: str | Sequence[str] | None = None,
    keep: Keep | None = None,
    loss_unit: LossUnit = "nats",
    bytes_per_token: float | None = None,
    with_unfinished: bool = False,
    **columns: str,
) -> pd.DataFrame:
    """Runs as the fits read them: a table with a row each.

    Args:
        source: a file (CSV or similar, JSON, Parquet, Excel; gzipped or not); a folder of runs (a study,
            TensorBoard events, Lightning's metrics.csv, Hugging Face's trainer_state.json, MLflow's mlruns,
            or what another package reads); a DataFrame; or several, whose rows are put below one another.
        N, D, C, loss, run: the names of its columns: parameters, tokens, training FLOPs, loss, name of the
            run. By default those of these names, and of what a tracker logged those with usual names. D or C
            may be missing (C = 6 N D); a law of one of them needs that one alone.
        where: conditions that rows must satisfy, as in `"State == finished and N > 1e8"`.
        keep: of several rows of one run: "all" (the default of a table), the "last" (that of a folder of
            runs), or the "best".
        loss_unit: of the column: "nats" (per token), "bits", "bits/byte" or "perplexity".
        bytes_per_token: for a loss in bits per byte.
        with_unfinished: keep runs that did not finish; by default they are left out and named.
        columns: further columns, as `unique_tokens="uniq"`, `batch_tokens=...`, `steps=...`, `weight=...`.

    Returns:
        Columns run, trunk, family, N, D, C, loss (nats per token) and what else is known. `attrs["notes"]`
        says what was left out and what was read in another unit.

    Raises:
        InputError: whatever is wrong with the table, in one line.

    Examples:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"size": ["1B", "2B"], "tokens": [2e10, 2e10], "final": [3.0, None]})
        >>> runs = read_runs(table, N="size", D="tokens", loss="final")
        >>> runs[["run", "N", "D", "loss"]].values.tolist()
        [['row 1', 1000000000.0, 20000000000.0, 3.0]]
        >>> runs.attrs["left_out"]
        (('row 2', 'no finite loss'),)
    """
    sources = [source] if isinstance(source, str | Path | pd.DataFrame) else list(source)
    if not sources:
        raise InputError("read_runs: no table is given")
    tables = [
        run_tables.read_runs(
            each,
            n=N,
            d=D,
            c=C,
            loss=loss,
            run=run,
            where=where,
            more=columns,
            keep=keep,
            loss_unit=loss_unit,
            bytes_per_token=bytes_per_token,
            with_unfinished=with_unfinished,
            needs=None,
        )
        for each in sources
    ]
    if len(tables) == 1:
        return tables[0]
    attributes: dict[Hashable | None, Any] = {
        "name": " and ".join(table.attrs["name"] for table in tables),
        "notes": tuple(note for table in tables for note in table.attrs["notes"]),
        "left_out": tuple(each for table in tables for each in table.attrs["left_out"]),
    }
    for place, table in enumerate(tables, start=1):  # "row 2" of two files is two runs
        table.attrs = {}
        table[["run", "trunk"]] = table[["run", "trunk"]].map(lambda name, place=place: f"{place}: {name}")
    runs = pd.concat(tables, ignore_index=True)
    runs.attrs = attributes
    return runs


def fit(
    runs: Runs,
    form: str | type[Law] = "chinchilla",
    *,
    family: str | None = None,
    weights: ArrayLike | None = None,
    pins: Mapping[str, float] | None = None,
    cluster: str = "",
    above: float = 1.0,
    cut_tokens: bool = False,
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> LawFit:
    """Fit one law to the runs: the sum of Huber losses of ln L, at its certified optimum.

    Args:
        runs: from `read_runs`, the `runs` of a study, or what `read_runs` reads without further arguments.
        form: a law's name (`chinchilla`, `kaplan_nd`, `power_n`, ...; a wrong one lists all), or a class of
            your own: a `SumOfPowers`, a `JointLaw` of N and D, a `FormulaLaw`; or its name,
            "my_module.MyLaw".
        family: which networks, where the table holds several families.
        weights: one a row, positive.
        pins: parameters that are known, as {"E": 1.69}: they are held, and the others fitted.
        cluster: the column whose groups the bootstrap resamples instead of trainings; "C" are slices of
            equal compute.
        above: how many times rows count that lie above the law, at most 1: where some runs were under-tuned,
            which only raises a loss, 0.3 keeps them from lifting the law.
        cut_tokens: leave out rows of few tokens, such as early checkpoints; from where on is chosen by the
            error at larger sizes (`result.token_cut`).
        delta: where Huber's loss turns from quadratic to linear, in ln L (Hoffmann 2022: 1e-3).
        resamples: of the bootstrap behind every interval; 0 for the law alone.
        seed: of its random numbers.

    Raises:
        InputError: no such form or family, a column that the form needs is missing, no usable rows.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> N, D = np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6))
        >>> noise = np.random.default_rng(0).normal(scale=0.005, size=N.shape)
        >>> loss = 1.8 + 400 / N**0.34 + 1800 / D**0.36 + noise
        >>> table = pd.DataFrame({"N": N.ravel(), "D": D.ravel(), "loss": loss.ravel()})
        >>> law = fit(read_runs(table), "chinchilla", resamples=100)
        >>> law.identified
        True
        >>> low, high = law.interval("alpha")
        >>> low < 0.34 < high
        True
    """
    table = read_runs(runs) if isinstance(runs, str | Path) else runs
    kind: type[Law] = law_called(form) if isinstance(form, str) else form
    declaration_of(kind)
    families = sorted(set(table["family"])) if "family" in table else []
    if family is None and len(families) > 1:
        raise InputError(f"the runs are of {', '.join(families)}: name one with family=")
    if family is not None:
        if family not in families:
            raise InputError(f"no run is of the family {family!r}; there are {', '.join(families)}")
        table = table[table["family"] == family]
    require_columns(kind, table)
    usable, _ = usable_runs(table, needs={*kind.variables} & {"N", "D", "C"})
    if weights is not None:
        given = np.asarray(weights, dtype=np.float64)
        if given.shape != (len(table),):
            raise InputError(f"weights have shape {given.shape}; give one a row of the {len(table)} runs")
        weights = pd.Series(given, index=table.index)[table.index.isin(usable.index)].to_numpy()
    noise = seed_noise(usable)
    cut = choose_cut(usable, kind, delta) if cut_tokens else None  # type: ignore[arg-type]
    if cut is not None:
        kept = (usable["D"] >= cut.tokens).to_numpy()
        weights = None if weights is None else np.asarray(weights)[kept]
        usable = usable[kept]
    if cluster:
        usable = usable.assign(trunk=groups_of(usable, cluster))
    rows = rows_of(kind, usable)
    coordinates = pinned_coordinates(kind, rows, pins) if pins else None
    found: Fit[Any] = fit_law(kind, rows, weights=weights, delta=delta, coordinates=coordinates, above=above)
    settings = Settings(
        n="N",
        c="C",
        delta=delta,
        resamples=resamples,
        seed=seed,
        pins=tuple((pins or {}).items()),
        cluster=cluster,
        above=above,
        cut_tokens=cut_tokens,
    )
    sentence = which_rows(found) + (f"; {cut.sentence()}" if cut is not None else "")
    result = fitted_law(found, sentence, len(table), noise, settings)
    return LawFit(
        name=str(table.attrs.get("name", "runs")),
        fit=found,
        result=replace(result, token_cut=cut),
        names=tuple(map(str, usable["run"])),
        noise=noise,
        settings=settings,
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class LawFit:
    """One law fitted to one table.

    Attributes:
        name: of the table.
        fit: the fitter's own result.
        result: what `laws.json` keeps of it.
        names: (n,): the run of each row.
        noise: between seeds, where the table shows it.
        settings: of the fit and its intervals.

    N is in parameters, D in tokens, C in FLOPs, losses in nats per token. Arrays go in and come out in one
    shape. What the runs do not determine is an `InputError` with the reason.

    Examples:
        >>> import pandas as pd
        >>> sizes = [(N, D) for N in (1e7, 1e8, 1e9) for D in (1e9, 1e10, 1e11)]
        >>> rows = [(N, D, 1.8 + 400 / N**0.34 + 1800 / D**0.36) for N, D in sizes]
        >>> law = fit(read_runs(pd.DataFrame(rows, columns=["N", "D", "loss"])), resamples=10)
        >>> float(law.predict(N=7e9, D=[1e11, 1e12])[1].round(3))
        2.066
        >>> [f"{float(each):.2e}" for each in law.optimum("1e22 FLOPs")]
        ['8.82e+09', '1.89e+11']
        >>> law.latex()
        'L(N,D) = 1.8 + 400/N^{0.34} + 1800/D^{0.36}'
    """

    name: str
    fit: Fit[Any]
    result: FittedLaw
    names: tuple[str, ...]
    noise: SeedNoise
    settings: Settings

    @property
    def law(self) -> Any:
        """The law at the optimum: `law.loss(N, D)`, and more for a law of N and D."""
        return self.fit.law

    @property
    def parameters(self) -> Mapping[str, float]:
        """By name; units in `result.units`."""
        return dict(vars(self.law))

    @property
    def identified(self) -> bool:
        """Whether the runs determine the parameters; `reason` says why not."""
        return self.result.identified

    @property
    def reason(self) -> str:
        return self.result.reason

    @property
    def certificate(self) -> LawCertificate | None:
        """How far the optimum can be believed: starts, gradient, conditioning, profiles."""
        return self.result.certificate

    @cached_property
    def draws(self) -> Bootstrap[Any]:
        """The law refitted to resampled trainings.

        Raises:
            InputError: the law is not identified.
        """
        self._require_intervals()
        return bootstrap(
            self.fit, noise=self.noise, resamples=self.settings.resamples, seed=self.settings.seed
        )

    def interval(self, name: str, level: float = LEVEL) -> Interval:
        """The central interval of a parameter, or of `a_opt` or `b_opt` of a law of N and D.

        Raises:
            InputError: no such parameter, the law is not identified, or it was fitted with resamples=0.
        """
        self._require_intervals()
        known = self.result.intervals  # those of LEVEL need no second bootstrap
        if name not in known:
            raise InputError(f"{self.result.form} has no parameter {name!r}; it has {', '.join(known)}")
        if checked_level(level) == LEVEL:
            return known[name]
        return parameter_intervals(self.draws, level)[name]

    def predict(self, **at: ArrayLike) -> FloatArray:
        """The loss, nats per token, at values of the law's variables: `predict(N=7e9, D=1.4e12)`.

        Raises:
            InputError: other variables than the law's.
        """
        self._require_variables(at)
        return np.asarray(self.law.loss(**at))

    def predict_interval(
        self,
        level: float = LEVEL,
        method: Literal["bootstrap", "profile"] = "bootstrap",
        **at: float,
    ) -> Interval:
        """The interval of the loss that one new run would reach there, its own noise included.

        Args:
            level: of it.
            method: "profile" refits the law with each candidate loss (`laws.fit.predictive`), for few runs;
                an end that it does not reach is None.
            at: the law's variables.

        Raises:
            InputError: other variables, no such method, or the law is not identified.
        """
        self._require_variables(at)
        if method not in ("bootstrap", "profile"):
            raise InputError(f"method is {method!r}; there are bootstrap and profile")
        if method == "profile":
            return profile_prediction(self.fit, noise=self.noise, level=checked_level(level), **at)
        return loss_interval(self.draws, checked_level(level), self.settings.seed, **at)

    def optimum(self, C: ArrayLike | str) -> tuple[FloatArray, FloatArray]:
        """(N, D) of the lowest loss at C = 6 N D FLOPs.

        Raises:
            InputError: the law is not one of N and D.
        """
        found: tuple[FloatArray, FloatArray] = self._joint.optimum(flops(C))
        return found

    def optimum_interval(self, C: float | str, level: float = LEVEL) -> tuple[Interval, Interval]:
        """The intervals of `optimum`."""
        self._joint  # noqa: B018 (refuses others)
        return optimum_interval(self.draws.draws, flops(C), checked_level(level))

    def plan(
        self,
        *,
        compute: float | str | None = None,
        n: float | str | None = None,
        d: float | str | None = None,
        loss: float | None = None,
    ) -> TrainingPlan:
        """What to train, by this law: see `scaling_laws.plan`."""
        self._require_identified()
        plan = answer(
            self._joint,
            question(compute=compute, n=n, d=d, loss=loss),
            draws=self.draws if self.settings.resamples else None,
            source=f"{self.name}: {self.result.formula}",
            convention="N",
            notes=("C = 6 N D, with N and D as the table counts them",),
        )
        return with_reach(plan, self.result.ranges)

    def latex(self, digits: int = 3) -> str:
        r"""The law with its numbers, for a paper: `L(N,D) = 1.8 + 400/N^{0.34} + 1800/D^{0.36}`."""
        return latex_with_values(self.result.formula, self.parameters, digits)

    @property
    def residuals(self) -> pd.DataFrame:
        """run, the law's variables, loss, predicted, relative_error (loss over predicted, less 1)."""
        rows = self.fit.rows
        predicted = np.asarray(self.law.loss(**rows.values))
        columns = {"run": self.names, **rows.values, "loss": rows.loss, "predicted": predicted}
        return pd.DataFrame(columns).assign(relative_error=rows.loss / predicted - 1)

    def table(self, level: float = LEVEL) -> Table:
        """Parameters with their intervals, where there are some."""
        intervals = self.result.intervals
        if intervals and checked_level(level) != LEVEL:
            intervals = parameter_intervals(self.draws, level)
        rows = tuple(
            (name, with_interval(value, intervals.get(name)), self.result.units.get(name, ""))
            for name, value in [*self.parameters.items(), *self.result.derived.items()]
        )
        value = f"value and {100 * level:g} % interval" if intervals else "value"
        return Table(columns=("parameter", value, "unit"), rows=rows)

    def summary(self, level: float = LEVEL) -> str:
        """The law, its parameters, how many rows it rests on, and whether to believe it.

        Args:
            level: of the intervals.
        """
        head = f"{self.result.formula}, fitted to {self.result.n_rows} rows of {self.name}"
        if self.law is None:
            return f"{head}: {self.reason}"
        lines = [head, "", self.table(level).text(), ""]
        if not self.identified:
            lines.append(f"Not identified: {self.reason}.")
        if self.certificate is not None and self.certificate.rms_log_residual is not None:
            lines.append(
                f"{100 * self.certificate.rms_log_residual:.2g} % rms of ln L about the law; "
                f"{100 * self.certificate.share_at_best:.0f} % of {self.certificate.starts} starts "
                "ended at this optimum."
            )
        if self.identified:
            lines.append(f"Intervals: {self.result.interval_method}.")
        if self.result.rows != "all rows":
            lines.append(f"Fitted to {self.result.rows}.")
        return "\n".join(lines)

    def plot(self) -> Figure:
        """`plot_fit` of this fit."""
        return plot_fit(self)

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"

    @property
    def _joint(self) -> Any:
        if self.fit.form.variables != ("N", "D") or not hasattr(self.law, "optimum"):
            raise InputError(
                f"{self.result.form} is a law of {', '.join(self.fit.form.variables)}; "
                "an optimum needs one of N and D"
            )
        return self.law

    def _require_identified(self) -> None:
        if not self.identified:
            raise InputError(f"{self.result.form} is not identified: {self.reason}")

    def _require_intervals(self) -> None:
        self._require_identified()
        if self.settings.resamples == 0:
            raise InputError(f"{self.result.form} has no intervals: it was fitted with resamples=0")

    def _require_variables(self, at: Mapping[str, Any]) -> None:
        if set(at) != set(self.fit.form.variables):
            raise InputError(
                f"{self.result.form} is a law of {', '.join(self.fit.form.variables)}; "
                f"{', '.join(at) or 'nothing'} is given"
            )


def plot_fit(fitted: LawFit) -> Figure:
    """The runs and the law through them: loss against the first variable, a line for each size of the other.

    A line is dashed where it goes beyond its runs; that of a law of one variable has its 90 % band between
    them. A law that is not identified says so in the figure, and has no band.

    Raises:
        InputError: there was no row to fit.

    Examples:
        >>> import pandas as pd
        >>> runs = pd.DataFrame({"N": [1e6, 1e7, 1e8, 1e9], "D": 1e10, "loss": [5.2, 4.0, 3.1, 2.6]})
        >>> plot_fit(fit(read_runs(runs), "power_n", resamples=10)).axes[0].get_xscale()
        'log'
    """
    if fitted.law is None:
        raise InputError(f"{fitted.result.form} has no law to draw: {fitted.reason}")
    figure: Figure = st.styled(_drawn)(fitted)
    return figure


def _drawn(fitted: LawFit) -> Figure:
    rows, variables = fitted.fit.rows, fitted.fit.form.variables
    across = "D" if "D" in variables else variables[0]
    others = [name for name in variables if name != across]
    figure, (axes,) = st.panels(1, width=6.4, height=4.4)
    low, high = float(rows.values[across].min()), float(rows.values[across].max())
    x = np.geomspace(low / BEYOND, high * BEYOND, LINE_POINTS)
    if not others:
        axes.plot(rows.values[across], rows.loss, "o", color=st.INK, markersize=4, label="runs")
        _line(axes, x, fitted.law.loss(x), (low, high), st.FIT, fitted.result.formula)
        if fitted.identified and fitted.settings.resamples:
            between = np.geomspace(low, high, LINE_POINTS)
            curves = in_columns(fitted.draws.draws).loss(between)
            ends = np.nanpercentile(curves, interval_percentiles(), axis=0)
            axes.fill_between(between, *ends, color=st.FIT, alpha=st.BAND_ALPHA, linewidth=0)
        st.legend_below(axes)
    else:
        other = rows.values[others[0]]
        colours = st.SizeColours(other)
        axes.scatter(rows.values[across], rows.loss, c=[colours(value) for value in other], s=16, zorder=3)
        sizes = np.unique(other)
        for size in sizes[np.linspace(0, len(sizes) - 1, min(len(sizes), MOST_LINES)).astype(int)]:
            at = {name: np.full(LINE_POINTS, np.median(rows.values[name])) for name in others}
            at |= {across: x, others[0]: np.full(LINE_POINTS, size)}
            own = rows.values[across][other == size]
            _line(axes, x, fitted.law.loss(**at), (own.min(), own.max()), colours(float(size)), "")
        colours.bar(figure, [axes], others[0])
    axes.set_title(fitted.result.formula)
    if not fitted.identified:
        words = textwrap.fill(f"not identified: {fitted.reason}", NOTE_SIGNS)
        axes.text(
            0.98, 0.97, words, transform=axes.transAxes, ha="right", va="top", color=st.FIT, parse_math=False
        )
    st.log_x(axes, x, across, margin=0.0)
    st.log_y(axes, rows.loss, st.LOSS_LABEL, margin=0.2)
    return figure


def _line(
    axes: Axes, x: FloatArray, y: FloatArray, runs: tuple[float, float], colour: Any, label: str
) -> None:
    """Through the runs, and dashed beyond them."""
    inside = np.where((x >= runs[0] / ONE_POINT) & (x <= runs[1] * ONE_POINT), y, np.nan)
    axes.plot(x, y, color=colour, linewidth=1, linestyle=(0, (4, 3)), alpha=0.7)
    axes.plot(x, inside, color=colour, linewidth=1.4, label=label)


def question(
    *, compute: float | str | None, n: float | str | None, d: float | str | None, loss: float | None
) -> Question:
    """The question, from numbers or texts such as "1e22 FLOPs", "3 PF-days", "7B".

    Raises:
        InputError: a text that is no number, or another combination than `Question` takes.
    """
    return Question(
        C=None if compute is None else float(flops(compute)),
        N=None if n is None else counted(n, "n"),
        D=None if d is None else counted(d, "d"),
        loss_nats=loss,
    )


def flops(C: Any) -> Any:
    """FLOPs as numbers, or from a text."""
    return parse_compute(C) if isinstance(C, str) else C


def counted(value: float | str, name: str) -> float:
    """A count as a number, or from a text."""
    return parse_count(value, name) if isinstance(value, str) else float(value)


def checked_level(level: float) -> float:
    if not 0 < level < 1:
        raise InputError(f"the level is {level}: give a share between 0 and 1, as 0.9")
    return level
