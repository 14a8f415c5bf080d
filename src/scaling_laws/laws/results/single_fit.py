"""Chosen forms fitted to all rows of a table: what `scaling-laws laws --form` writes.

Where `fit_study` decides which runs each law is fitted to, here every usable row of a family is used. The
schema is that of laws.json; the lists that are not fits stay empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.batch.batch_scan import LEAST_SQUARES, LevelScan
from scaling_laws.laws.batch.critical_batch import BatchLaw, critical_batch_from_table
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.noise import SeedNoise, seed_noise
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.catalogue import FORMS
from scaling_laws.laws.positions import losses_by_run
from scaling_laws.laws.results.entries import (
    KEPT_RESAMPLES,
    POSITION_CORPUS,
    Entry,
    fit_entry,
    position_entries,
)
from scaling_laws.laws.results.family_tables import Settings
from scaling_laws.laws.results.skeleton import blank_laws, finished_laws
from scaling_laws.laws.selection import usable_runs
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {"N": "N", "D": "D", "C": "C", "U": "unique_tokens", "B": "batch_tokens", "S": "steps"}
"""Column of the run table that holds each variable."""
NEEDED = {
    "muennighoff": ("U",),
    "time_data": ("B", "S"),
    "critical_batch": ("B", "S"),
    "kaplan_ns": ("B", "S"),
    "kaplan_c_min": ("B", "S"),
    "power_c_min": ("B", "S"),
}
"""Variables besides N, D, C and the loss that a form needs."""
SCANNED = {"time_data", "critical_batch", "kaplan_ns", "kaplan_c_min", "power_c_min"}
"""Forms that need steps to equal losses at several batches."""
NO_NOISE = SeedNoise(sd_log_loss=None, n_groups=0, n_runs=0, shared=None, reason="not of losses")


def check_form(form: str) -> None:
    """Raises InputError unless there is such a form."""
    if form not in FORMS:
        close = get_close_matches(form, FORMS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"no law is called {form!r}; there are {', '.join(sorted(FORMS))}{hint}")


def fit_forms(
    name: str,
    runs: pd.DataFrame,
    forms: Sequence[str],
    positions: pd.DataFrame | None = None,
    left_out: pd.DataFrame | None = None,
    *,
    settings: Settings,
) -> Entry:
    """Fit the named forms, family by family, each to all rows that a law may use.

    Args:
        name: of the study or of the CSV file.
        runs: as in `fit_study`; also weight (of the row in the objective), and unique_tokens, batch_tokens,
            steps where a form needs them.
        forms: names of `forms.catalogue.FORMS`.
        positions, left_out: as in `fit_study`.
        settings: conventions, delta, resamples, seed. S(B) and B_crit(L) are fitted as in `batch_scan.py` and
            `critical_batch.py`, by their own delta.

    Returns:
        The content of laws.json: only `fits` (and `positions` for the form position) are not empty.

    Raises:
        InputError: an unknown form; a column that a form needs is missing; what `usable_runs` refuses.
    """
    for form in forms:
        check_form(form)
        _check_columns(form, runs, positions)
    usable, unusable = usable_runs(runs, n=settings.n, c=settings.c)
    noise = seed_noise(usable)
    laws = blank_laws(name, settings, noise, left_out, unusable, reason="only chosen forms were fitted")
    if "position" in forms and positions is not None:
        losses = losses_by_run(positions, POSITION_CORPUS)
        laws["positions"] = position_entries(usable, losses, settings.delta, settings.seed)
    for family in sorted(usable["family"].unique()):
        of_family = usable[usable["family"] == family]
        n_runs = int((runs["family"] == family).sum())
        for form in dict.fromkeys(forms):
            entries = _entries(form, of_family, n_runs, noise, settings)
            laws["fits"] += [{"family": family, **entry} for entry in entries]
    laws = finished_laws(laws, usable, runs, positions, settings)
    laws["manifest"]["weights"] = "weight" if "weight" in runs.columns else None
    return laws


def _check_columns(form: str, runs: pd.DataFrame, positions: pd.DataFrame | None) -> None:
    if form == "position":
        if positions is None:
            raise InputError(
                "the form position needs the loss at every position of the context, which a table with one"
                " row a run does not have: fit a study's folder"
            )
        return
    for variable in NEEDED.get(form, ()):
        if COLUMNS[variable] not in runs.columns:
            raise InputError(
                f"the form {form} needs {variable}: the runs have no column {COLUMNS[variable]!r}"
            )


def _entries(form: str, runs: pd.DataFrame, n_runs: int, noise: SeedNoise, settings: Settings) -> list[Entry]:
    """One form's entries for one family: several for a law of each model and loss."""
    if form == "position":
        return []
    delta, resamples, seed = settings.delta, settings.resamples, settings.seed
    if form in SCANNED:
        batch_law = critical_batch_from_table(runs, batch="batch_tokens", resamples=resamples, seed=seed)
        if form == "time_data":
            return [_level_entry(level, settings) for level in batch_law.levels]
        if form == "critical_batch":
            return [_batch_entry(batch_law, settings)]
        return [_far_entry(form, runs, batch_law, n_runs, noise, settings)]
    values = {variable: runs[COLUMNS[variable]] for variable in FORMS[form].variables}
    weights = runs["weight"] if "weight" in runs.columns else None
    rows = make_rows(values, runs["loss"], runs["trunk"])
    fit: Any = fit_law(FORMS[form], rows, weights=weights, delta=delta)
    sentence = "all rows" if weights is None else "all rows, weighted"
    return [fit_entry(fit, sentence, n_runs, noise, resamples, seed)]


def _level_entry(level: LevelScan, settings: Settings) -> Entry:
    """S(B) of one model to one loss."""
    sentence = f"{level.model}, steps to the loss {level.loss:.4g}, {level.n_batches} batches"
    if level.fit is None:
        return {**_no_fit("time_data", level.reason, LEAST_SQUARES), "rows": sentence}
    entry = fit_entry(level.fit, sentence, level.fit.rows.n, NO_NOISE, settings.resamples, settings.seed)
    entry["ranges"]["S"] = entry["ranges"].pop("loss")
    entry["n_left_out"] = level.n_missed
    if level.reason:
        return entry | {"identified": False, "reason": level.reason, "intervals": {}, "resamples": {}}
    entry["derived"] = {"B_crit": level.B_crit}
    entry["intervals"] = level.intervals
    entry["interval_method"] = (
        f"parametric bootstrap, one error of ln S a training ({settings.resamples} resamples)"
    )
    return entry


def _batch_entry(law: BatchLaw, settings: Settings) -> Entry:
    """B_crit(L) through the critical batches of all models and losses."""
    if law.fit is None:
        return _no_fit("critical_batch", law.reason, LEAST_SQUARES)
    sentence = f"the critical batches of {law.fit.rows.n} models and losses"
    entry = fit_entry(law.fit, sentence, law.fit.rows.n, NO_NOISE, settings.resamples, settings.seed)
    entry["ranges"] = {"L": entry["ranges"]["L"], "B": entry["ranges"]["loss"]}
    if law.draws is None:
        return entry
    draws = {name: np.asarray(getattr(law.draws, name), dtype=np.float64) for name in law.draws.units}
    finite = np.all([np.isfinite(values) & (values > 0) for values in draws.values()], axis=0)
    kept = {name: values[finite][:KEPT_RESAMPLES] for name, values in draws.items()}
    return entry | {"intervals": law.intervals, "interval_method": law.interval_method, "resamples": kept}


def _far_entry(
    form: str, runs: pd.DataFrame, batch_law: BatchLaw, n_runs: int, noise: SeedNoise, settings: Settings
) -> Entry:
    """A law of S_min or C_min: steps and compute brought to batches far above and far below the critical."""
    if batch_law.law is None:
        reason = f"S_min and C_min need the critical batch, and there is none: {batch_law.reason}"
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
    return fit_entry(fit, sentence, n_runs, noise, settings.resamples, settings.seed)


def _no_fit(form: str, reason: str, delta: float) -> Entry:
    """The entry of a law that had no rows to be fitted to."""
    fit: Any = fit_law(FORMS[form], make_rows({name: [] for name in FORMS[form].variables}, []), delta=delta)
    entry = fit_entry(fit, "none", 0, NO_NOISE, 1, 0)
    return entry | {"reason": reason}
