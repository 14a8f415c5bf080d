"""From a study's tables to the content of `laws.json` (docs/laws-json.md): every law of every family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from scaling_laws.laws.fit.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.intervals import DEFAULT_RESAMPLES
from scaling_laws.laws.fit.noise import SeedNoise, seed_noise
from scaling_laws.laws.fit.shared_exponents import SHARED_FORMS, fit_families
from scaling_laws.laws.positions import PositionLosses, losses_by_run
from scaling_laws.laws.results.allocation_entries import allocation_entries
from scaling_laws.laws.results.check_entries import check_entries, rollout_entries
from scaling_laws.laws.results.entries import (
    POSITION_CORPUS,
    Entry,
    late_positions_entry,
    position_entries,
)
from scaling_laws.laws.results.family_tables import FamilyTables, Settings
from scaling_laws.laws.results.fit_entries import fit_entries, fit_family
from scaling_laws.laws.results.skeleton import FAMILY_LISTS, blank_laws, finished_laws
from scaling_laws.laws.results.time_entries import time_entries
from scaling_laws.laws.selection import usable_runs
from scaling_laws.study.processes import clean_pool
from scaling_laws.study.records import CURVE_COLUMNS, MAIN_CORPUS, loss_column

if TYPE_CHECKING:
    import pandas as pd


def fit_study(
    name: str,
    runs: pd.DataFrame,
    positions: pd.DataFrame | None = None,
    left_out: pd.DataFrame | None = None,
    curves: pd.DataFrame | None = None,
    *,
    n: str = "N",
    c: str = "C",
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    processes: int = 1,
) -> Entry:
    """Fit every law of `docs/laws-json.md`, family by family.

    Args:
        name: of the study or of the CSV file.
        runs: columns run, trunk, family, D (tokens), loss (nats per token), `n` (parameters) and `c` (FLOPs);
            the other columns of `runs.Study.runs` are used where they are there.
        positions: columns run, corpus, fold, position, loss_sum_nats, count: the final evaluations.
        left_out: columns run, status, reason: runs that are not in `runs`, and why.
        curves: columns run, step, tokens, learning_rate and test_loss_nats: the runs' learning curves.
        n, c: which columns count as N and C.
        delta: of Huber's loss, in ln L.
        resamples: of each bootstrap.
        seed: of the bootstraps.
        processes: that share the work out (`processes.clean_pool`); the result is the same.

    Returns:
        Plain JSON values: no NaN, no infinity; `null` for what is not known.

    Raises:
        InputError: there are no runs, a column is missing, or a value is not a finite positive number.
    """
    settings = Settings(n=n, c=c, delta=delta, resamples=resamples, seed=seed)
    usable, unusable = usable_runs(runs, n=n, c=c)
    noise = seed_noise(usable)
    losses = {} if positions is None else losses_by_run(positions, POSITION_CORPUS)
    work: list[Callable[[], Entry]] = []
    # The largest family first, so that no process is left alone with it at the end.
    for family in usable["family"].value_counts().index:
        complete = runs[runs["family"] == family]
        tables = FamilyTables(
            family=family,
            complete=complete,
            runs=usable[usable["family"] == family],
            curves=_curves_of(curves, complete),
            noise=noise,
            settings=settings,
        )
        work += [partial(_of_family, part, tables) for part in (rollout_entries, check_entries, _law_entries)]
    work.append(partial(_shared_entries, usable, noise, settings))
    work.append(partial(_position_entries, usable, losses, settings))
    *of_families, shared, by_position = _all_of(work, processes)
    laws = blank_laws(name, settings, noise, left_out, unusable) | shared | by_position
    for found in of_families:
        for key, entries in found.items():
            laws[key] += entries
    for key in FAMILY_LISTS:
        laws[key].sort(key=lambda entry: entry["family"])
    return finished_laws(laws, usable, runs, positions, settings)


def _all_of(parts: Sequence[Callable[[], Entry]], n_processes: int) -> list[Entry]:
    """What each part returns, in their order."""
    if n_processes <= 1:
        return [part() for part in parts]
    with clean_pool(n_processes) as pool:
        return [future.result() for future in [pool.submit(part) for part in parts]]


def _of_family(
    part: Callable[[FamilyTables], dict[str, list[Entry]]], tables: FamilyTables
) -> dict[str, list[Entry]]:
    return {
        key: [{"family": tables.family, **entry} for entry in entries]
        for key, entries in part(tables).items()
    }


def _law_entries(tables: FamilyTables) -> dict[str, list[Entry]]:
    """One family's laws, and where they say that compute should go."""
    found = fit_family(tables)
    return {
        **fit_entries(tables, found),
        **allocation_entries(tables, found.curves, found.points, found.joint),
        **time_entries(tables, found.of_D),
    }


def _shared_entries(usable: pd.DataFrame, noise: SeedNoise, settings: Settings) -> Entry:
    """What one law of all families together says of each: `families`."""
    fits = (
        fit_families(
            form,
            usable,
            noise=noise,
            delta=settings.delta,
            resamples=settings.resamples,
            seed=settings.seed,
        )
        for form in SHARED_FORMS
    )
    return {"families": [asdict(fit) for fit in fits]}


def _position_entries(usable: pd.DataFrame, losses: dict[str, PositionLosses], settings: Settings) -> Entry:
    return {
        "positions": position_entries(usable, losses, settings.delta, settings.seed),
        "late_positions": late_positions_entry(usable, losses, settings.seed),
    }


def _curves_of(curves: pd.DataFrame | None, runs: pd.DataFrame) -> pd.DataFrame | None:
    """The learning curves of some runs, with the test loss as `loss`; None where it was not measured."""
    if curves is None or loss_column(MAIN_CORPUS) not in curves.columns:
        return None
    known = [column for column in ("run", *CURVE_COLUMNS) if column in curves.columns]
    of_runs = curves.loc[curves["run"].isin(runs["run"]), known].assign(loss=curves[loss_column(MAIN_CORPUS)])
    return None if of_runs["loss"].isna().all() else of_runs.dropna(subset=["loss"])
