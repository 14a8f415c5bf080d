"""Chosen forms fitted to all rows of a table: what `scaling-laws laws --form` writes.

Where `fit_study` decides which runs each law is fitted to, here every usable row of a family is used. The
schema is that of laws.json; the lists that are not fits stay empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.batch.batch_scan import LevelScan
from scaling_laws.laws.batch.critical_batch import BatchLaw, critical_batch_from_table
from scaling_laws.laws.checks.token_cut import choose_cut
from scaling_laws.laws.fit.coordinates import LEAST_SQUARES
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.level import at_level
from scaling_laws.laws.fit.moving_together import MOST_ROWS, groups_of, moving_together
from scaling_laws.laws.fit.noise import SeedNoise, seed_noise
from scaling_laws.laws.fit.pins import pinned_coordinates
from scaling_laws.laws.fit.rows import LARGE_ROWS, Rows, make_rows
from scaling_laws.laws.fit.shared_floor import SharedFloor, shared_floor
from scaling_laws.laws.fit.thinned import MANY_TRAININGS, PART_ROWS
from scaling_laws.laws.forms.catalogue import FORMS
from scaling_laws.laws.forms.declared import declaration_of, own_law
from scaling_laws.laws.forms.formula_law import FormulaLaw
from scaling_laws.laws.forms.terms import Law
from scaling_laws.laws.positions import losses_by_run
from scaling_laws.laws.results.finished import finished_laws, left_out_of
from scaling_laws.laws.results.fitted import (
    KEPT_RESAMPLES,
    POSITION_CORPUS,
    Settings,
    fitted_law,
    position_fits,
)
from scaling_laws.laws.results.types import Conventions, FamilyLaws, FittedLaw, LatePositions, Laws
from scaling_laws.laws.selection import usable_runs
from scaling_laws.study.errors import InputError
from scaling_laws.study.stages import Stage, silent_stages

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {"N": "N", "D": "D", "C": "C", "U": "unique_tokens", "B": "batch_tokens", "S": "steps"}
"""Column of the run table that holds each variable."""
SCANNED = {"time_data", "critical_batch", "kaplan_ns", "kaplan_c_min", "power_c_min"}
"""Forms that need steps to equal losses at several batches."""
TOGETHER = ("C", "N", "batch_tokens")
"""Columns within whose groups residuals may move together."""
LARGE_WORK, RESAMPLES_OF_A_FIT = 3_000_000, 200
"""Rows times resamples that take more than some seconds; a fit itself takes as long as so many of them."""
POLISHED_SHARE = 0.05
"""Of a large table all rows polish a few optima; that is less work than so many starts by this share."""
SAMPLE_ROWS, SAMPLE_RESAMPLES = 1_000, (1, 50)
"""What of a table is timed."""
NO_NOISE = SeedNoise(sd_log_loss=None, n_groups=0, n_runs=0, shared=None, reason="not of losses")


def more_variables(form: str | type[Any]) -> tuple[str, ...]:
    """Variables besides N, D, C and the loss that a form needs."""
    if form in SCANNED:
        return ("B", "S")
    return tuple(name for name in law_called(form).variables if name in COLUMNS.keys() - {"N", "D", "C"})


def axes_of(forms: Iterable[str | type[Any]]) -> set[str]:
    """Which of N, D and C there must be for the forms; a law of time converts between them."""
    found: set[str] = set()
    for form in forms:
        found |= {"N", "D", "C"} if form in (*SCANNED, "position") else {*law_called(form).variables}
    return found & {"N", "D", "C"}


def law_called(form: str | type[Any]) -> type[Any]:
    """A law by its name, or one of a user's own: the class, or `module.Class`, whose module is run.

    Raises:
        InputError: there is none.
    """
    if not isinstance(form, str):
        declaration_of(form)
        return form
    if form in FORMS:
        return FORMS[form]
    if "." in form.strip("."):
        return own_law(form)
    close = get_close_matches(form, FORMS, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    own = "or module.Class of your own"
    raise InputError(f"no law is called {form!r}; there are {', '.join(sorted(FORMS))}, {own}{hint}")


def fit_forms(
    name: str,
    runs: pd.DataFrame,
    forms: Sequence[str | type[Law]],
    positions: pd.DataFrame | None = None,
    left_out: pd.DataFrame | None = None,
    *,
    settings: Settings,
) -> Laws:
    """Fit the named forms, family by family, each to all rows that a law may use.

    Args:
        name: of the study or of the CSV file.
        runs: as in `fit_study`; also weight (of the row in the objective), and unique_tokens, batch_tokens,
            steps where a form needs them.
        forms: names of `forms.catalogue.FORMS`, or `module.Class` of a user's own.
        positions, left_out: as in `fit_study`.
        settings: conventions, delta, resamples, seed. S(B) and B_crit(L) are fitted as in `batch_scan.py` and
            `critical_batch.py`, by their own delta.

    Returns:
        Laws of which only the fits (and `positions` for the form position) are measured.

    Raises:
        InputError: an unknown form; a column that a form needs is missing; what `usable_runs` refuses.
    """
    for form in forms:
        _check_columns(form, runs, positions)
    usable, unusable = usable_runs(runs, n=settings.n, c=settings.c, needs=axes_of(forms))
    noise = seed_noise(usable)
    if settings.cluster:
        usable = usable.assign(trunk=groups_of(usable, settings.cluster))
    families, forms = sorted(usable["family"].unique()), list(dict.fromkeys(forms))
    what = f"fitting {len(usable):,} rows, with {settings.resamples} resamples for the intervals"
    time = timed(runs, forms, settings)
    expected_s = None if time is None else time.fit_s + time.refits_s
    by_family = []
    with (
        at_level(settings.level),
        Stage(what, len(families) * len(forms), expected_s=expected_s) as fitting,
    ):
        for family in families:
            of_family = usable[usable["family"] == family]
            n_runs = int((runs["family"] == family).sum())
            fits: list[FittedLaw] = []
            for form in forms:
                fits += _fits(form, of_family, n_runs, noise, settings)
                fitting.done()
            by_family.append(FamilyLaws(family=family, fits=tuple(fits)))
    losses = {} if "position" not in forms or positions is None else losses_by_run(positions, POSITION_CORPUS)
    laws = Laws(
        study=name,
        conventions=Conventions(N=settings.n, C=settings.c, loss="loss"),
        by_family=tuple(by_family),
        positions=position_fits(usable, losses, settings) if losses else (),
        noise=noise,
        late_positions=LatePositions(reason="only chosen forms were fitted"),
        left_out=left_out_of(left_out, unusable),
    )
    laws = finished_laws(laws, usable, runs, positions, settings)
    weights = "weight" if "weight" in runs.columns else None
    laws = replace(
        laws,
        shared_floors=_shared_floors(runs, forms, settings),
        warnings=(*laws.warnings, *_moving(usable, forms, settings)),
    )
    return replace(laws, manifest=replace(laws.manifest, weights=weights))


def _shared_floors(
    runs: pd.DataFrame, forms: Sequence[str | type[Any]], settings: Settings
) -> tuple[SharedFloor, ...]:
    """Of each chosen form, whether the values of a column may share its irreducible loss.

    Each value's runs have their own recipe and best rate.
    """
    by = settings.share_floor
    if not by:
        return ()
    if by not in runs:
        raise InputError(f"the runs have no column {by!r} to tell data sets apart")
    usable, _ = usable_runs(runs, n=settings.n, c=settings.c, by=by)
    return tuple(
        shared_floor(
            usable,
            by,
            law_called(form),
            delta=settings.delta,
            resamples=settings.resamples,
            seed=settings.seed,
        )
        for form in forms
    )


def _moving(runs: pd.DataFrame, forms: Sequence[str | type[Any]], settings: Settings) -> list[str]:
    """A sentence a form and column within whose groups residuals move together."""
    if settings.cluster or "weight" in runs:
        return []
    found = []
    for form in forms:
        if form in SCANNED or form == "position":
            continue
        kind = law_called(form)
        for family, of_family in runs.groupby("family"):
            rows = rows_of(kind, of_family)
            if rows.n > MOST_ROWS or rows.n_clusters < rows.n:
                continue
            coordinates = pinned_coordinates(kind, rows, dict(settings.pins)) if settings.pins else None
            fit = fit_law(kind, rows, delta=settings.delta, coordinates=coordinates, above=settings.above)
            columns = [name for name in TOGETHER if name in of_family]
            for by in columns if len(kind.variables) > 1 else ():
                together = moving_together(fit, groups_of(of_family, by), by, settings.seed)
                if together is not None:
                    named = kind.form if family == "all" else f"{family}, {kind.form}"
                    found.append(together.sentence(named))
    return found


class Timed(NamedTuple):
    """Seconds that a table takes: the fits themselves, and the refits for their intervals."""

    fit_s: float
    refits_s: float


def timed(runs: pd.DataFrame, forms: Sequence[str | type[Any]], settings: Settings) -> Timed | None:
    """What the forms will take, by the time that some of the rows take; None where that is little."""
    if len(runs) * (settings.resamples + RESAMPLES_OF_A_FIT) < LARGE_WORK:
        return None
    sample = runs.sample(min(SAMPLE_ROWS, len(runs)), random_state=0)
    taken_s = []
    for resamples in SAMPLE_RESAMPLES:
        began_s = monotonic()
        try:
            with silent_stages():
                fit_forms("", sample, forms, settings=replace(settings, resamples=resamples))
        except InputError:
            return None  # of the whole table it is said better
        taken_s.append(monotonic() - began_s)
    few, many = SAMPLE_RESAMPLES
    times = min(len(runs), PART_ROWS) / len(sample) if len(runs) > LARGE_ROWS else len(runs) / len(sample)
    refits_s = max(taken_s[1] - taken_s[0], 0.0) / (many - few) * (settings.resamples - few)
    if len(runs) <= LARGE_ROWS:
        return Timed(taken_s[0] * times, refits_s * times)
    few_trainings = runs["trunk"].nunique() <= MANY_TRAININGS
    fit_s = taken_s[0] * (times + POLISHED_SHARE * len(runs) / len(sample))
    return Timed(fit_s, refits_s * times if few_trainings else 0.0)


def _check_columns(form: str | type[Any], runs: pd.DataFrame, positions: pd.DataFrame | None) -> None:
    if form == "position":
        if positions is None:
            raise InputError(
                "the form position needs the loss at every position of the context, which a table with one"
                " row per run does not have: fit a study's folder"
            )
        return
    require_columns(law_called(form), runs, of=more_variables(form))


def rows_of(form: type[Law], runs: pd.DataFrame) -> Rows:
    """What a form is fitted to: its variables, the losses, and the training of each row.

    Raises:
        InputError: a column is missing, or a value is not finite and positive.
    """
    require_columns(form, runs)
    values = {name: runs[COLUMNS.get(name, name)] for name in form.variables}
    return make_rows(values, runs["loss"], runs["trunk"])


def require_columns(form: type[Law], runs: pd.DataFrame, of: Iterable[str] | None = None) -> None:
    """Raises InputError where a variable of the form, or one of those given, is no column of the runs."""
    for variable in form.variables if of is None else of:
        if (column := COLUMNS.get(variable, variable)) not in runs.columns:
            raise InputError(f"the form {form.form} needs {variable}: the runs have no column {column!r}")


def _fits(
    form: str | type[Any], runs: pd.DataFrame, n_runs: int, noise: SeedNoise, settings: Settings
) -> list[FittedLaw]:
    """One form's fits for one family: several for a law of each model and loss."""
    if form == "position":
        return []
    delta, resamples, seed = settings.delta, settings.resamples, settings.seed
    if isinstance(form, str) and form in SCANNED:
        batch_law = critical_batch_from_table(runs, batch="batch_tokens", resamples=resamples, seed=seed)
        if resamples == 0:
            raise InputError(f"the form {form} rests on resamples; leave --bootstrap 0 out")
        if form == "time_data":
            return [_of_level(level, settings) for level in batch_law.levels]
        if form == "critical_batch":
            return [_of_batches(batch_law, settings)]
        return [_far(form, runs, batch_law, n_runs, noise, settings)]
    weights = runs["weight"] if "weight" in runs.columns else None
    kind = law_called(form)
    cut = choose_cut(runs, kind, delta) if settings.cut_tokens else None
    if cut is not None:
        kept = runs["D"] >= cut.tokens
        weights = weights[kept] if weights is not None else None
        runs = runs[kept]
    rows = rows_of(kind, runs)
    coordinates = pinned_coordinates(kind, rows, dict(settings.pins)) if settings.pins else None
    fit: Any = fit_law(
        kind, rows, weights=weights, delta=delta, coordinates=coordinates, above=settings.above
    )
    sentence = which_rows(fit, weighted=weights is not None)
    sentence += "".join(f", {name} pinned at {value:g}" for name, value in settings.pins)
    if settings.above != 1:
        sentence += f", those above the law count {settings.above:g} times"
    if settings.cluster:
        sentence += f", clustered by {settings.cluster}"
    if cut is not None:
        sentence += f"; {cut.sentence()}"
    return [replace(fitted_law(fit, sentence, n_runs, noise, settings), token_cut=cut)]


def which_rows(fit: Fit[Any], *, weighted: bool = False) -> str:
    """What a chosen form was fitted to, and how its optimum was looked for where that is not as usual."""
    sentence = "all rows, weighted" if weighted else "all rows"
    if fit.rows.n > LARGE_ROWS:
        sentence += f"; starts on {PART_ROWS:,} of them"
    if issubclass(fit.form, FormulaLaw):
        sentence += "; starts at random, as nothing is known of the formula: a lower optimum is not ruled out"
    return sentence


def _of_level(level: LevelScan, settings: Settings) -> FittedLaw:
    """S(B) of one model to one loss."""
    sentence = f"{level.model}, steps to the loss {level.loss:.4g}, {level.n_batches} batches"
    if level.fit is None:
        return replace(_no_fit("time_data", level.reason, LEAST_SQUARES), rows=sentence)
    law = fitted_law(level.fit, sentence, level.fit.rows.n, NO_NOISE, settings)
    ranges = {"S" if name == "loss" else name: ends for name, ends in law.ranges.items()}
    law = replace(law, ranges=ranges, n_left_out=level.n_missed)
    if not law.identified:
        return law
    if level.reason:
        return replace(law, identified=False, reason=level.reason, intervals={}, resamples={})
    return replace(
        law,
        derived={"B_crit": level.B_crit},
        intervals=level.intervals,
        interval_method="parametric bootstrap, one error of ln S a training"
        f" ({settings.resamples} resamples)",
    )


def _of_batches(law: BatchLaw, settings: Settings) -> FittedLaw:
    """B_crit(L) through the critical batches of all models and losses."""
    if law.fit is None:
        return _no_fit("critical_batch", law.reason, LEAST_SQUARES)
    sentence = f"the critical batches of {law.fit.rows.n} models and losses"
    fitted = fitted_law(law.fit, sentence, law.fit.rows.n, NO_NOISE, settings)
    fitted = replace(fitted, ranges={"L": fitted.ranges["L"], "B": fitted.ranges["loss"]})
    if law.draws is None:
        return replace(fitted, identified=False, reason=law.reason, intervals={}, resamples={})
    draws = {name: np.asarray(getattr(law.draws, name), dtype=np.float64) for name in law.draws.units}
    finite = np.all([np.isfinite(values) & (values > 0) for values in draws.values()], axis=0)
    kept = {name: tuple(values[finite][:KEPT_RESAMPLES]) for name, values in draws.items()}
    return replace(fitted, intervals=law.intervals, interval_method=law.interval_method, resamples=kept)


def _far(
    form: str, runs: pd.DataFrame, batch_law: BatchLaw, n_runs: int, noise: SeedNoise, settings: Settings
) -> FittedLaw:
    """A law of S_min or C_min: steps and compute brought to batches far above and far below the critical."""
    if batch_law.law is None:
        reason = f"S_min and C_min need the critical batch, which is unknown: {batch_law.reason}"
        return _no_fit(form, reason, settings.delta)
    far = batch_law.law
    values: dict[str, ArrayLike] = {
        "N": runs["N"],
        "S_min": far.steps_min(runs["steps"], runs["batch_tokens"], runs["loss"]),
        "C_min": far.compute_min(runs["C"], runs["batch_tokens"], runs["loss"]),
    }
    rows = make_rows(
        {variable: values[variable] for variable in FORMS[form].variables}, runs["loss"], runs["trunk"]
    )
    fit: Any = fit_law(FORMS[form], rows, delta=settings.delta)
    sentence = "all rows, brought to batches far from the critical by the law fitted to them"
    return fitted_law(fit, sentence, n_runs, noise, settings)


def _no_fit(form: str, reason: str, delta: float) -> FittedLaw:
    """A law that had no rows to be fitted to."""
    fit: Any = fit_law(FORMS[form], make_rows({name: [] for name in FORMS[form].variables}, []), delta=delta)
    settings = Settings(n="N", c="C", delta=delta, resamples=1, seed=0)
    return replace(fitted_law(fit, "none", 0, NO_NOISE, settings), reason=reason)
