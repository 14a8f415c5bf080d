"""Compute-optimal allocation as entries of `laws.json`: slices, approaches, the ladder, Kaplan's counting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.allocation.approaches import compare_approaches
from scaling_laws.laws.allocation.frontier import FrontierPoint, SizeCurve, slice_computes
from scaling_laws.laws.allocation.isoflop import Method, isoflop_slice
from scaling_laws.laws.allocation.power_lines import (
    akima_optima,
    allocation_bias,
    envelope_optima,
    fit_allocation,
    isoflop_optima,
)
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import bootstrap, residual_sd, run_noise_sd
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla, ChinchillaTied
from scaling_laws.laws.results.entries import Entry
from scaling_laws.laws.results.family_tables import FamilyTables
from scaling_laws.papers.pearce_song2024.closed_account import kaplan_counting
from scaling_laws.papers.porian2024.ladder import ladder, ladder_table

if TYPE_CHECKING:
    import pandas as pd

LADDER_RESAMPLES = 100


def allocation_entries(
    tables: FamilyTables,
    curves: list[SizeCurve],
    points: Sequence[FrontierPoint],
    joint: Sequence[Fit[Any]],
) -> dict[str, list[Entry]]:
    """`frontier`, `isoflop`, `isoflop_akima`, `allocation`, `allocation_bias`, `approaches`, `ladder`,
    `kaplan_counting` of one family.

    Args:
        curves: the family's sizes.
        points: their lower envelope.
        joint: fits of laws of N and D to its runs.
    """
    settings = tables.settings
    resamples, seed = settings.resamples, settings.seed
    identified = sorted((fit for fit in joint if fit.identified), key=residual_sd)
    law = identified[0].law if identified else None
    noise_sd = run_noise_sd(joint, tables.noise)

    def slices(method: Method) -> list[Entry]:
        computes = slice_computes(curves).tolist()
        return [
            asdict(
                isoflop_slice(
                    curves, C, method=method, law=law, noise_sd=noise_sd, resamples=resamples, seed=seed
                )
            )
            for C in computes
        ]

    optima = {"envelope": envelope_optima, "isoflop": isoflop_optima, "akima": akima_optima}
    allocations = {
        method: fit_allocation(curves, of, noise_sd=noise_sd, seed=seed) for method, of in optima.items()
    }
    biases = [] if law is None else [(name, allocation_bias(curves, of, law)) for name, of in optima.items()]
    return {
        "frontier": [frontier_entry(points, len(curves))],
        "isoflop": slices("parabola"),
        "isoflop_akima": slices("akima"),
        "allocation": [asdict(found) | {"method": method} for method, found in allocations.items()],
        "allocation_bias": [asdict(bias) | {"method": method} for method, bias in biases],
        "approaches": [_approaches_entry(tables, joint)],
        "ladder": ladder_table(
            ladder(tables.complete, delta=settings.delta, resamples=LADDER_RESAMPLES, seed=seed)
        ),
        "kaplan_counting": _kaplan_counting_entries(tables),
    }


def _approaches_entry(tables: FamilyTables, joint: Sequence[Fit[Any]]) -> Entry:
    measured = [fit for fit in joint if fit.form is not ChinchillaTied]  # its exponents are assumed
    found = compare_approaches(
        tables.runs,
        measured,
        learning_curves=tables.curves,
        noise=tables.noise,
        seed=tables.settings.seed,
    )
    return asdict(found)


def _kaplan_counting_entries(tables: FamilyTables) -> list[Entry]:
    """What exponent Kaplan's counting would have shown on these runs (Pearce & Song 2024)."""
    if "N_total" not in tables.runs.columns or "N" not in tables.complete.columns:
        return []
    runs: pd.DataFrame = tables.complete[tables.complete["run"].isin(tables.runs["run"])]
    rows = make_rows({"N": runs["N_total"], "D": runs["D"]}, runs["loss"], runs["trunk"])
    fit = fit_law(Chinchilla, rows, delta=tables.settings.delta)
    if not fit.identified or fit.law is None:
        return []
    draws = bootstrap(fit, noise=tables.noise, seed=tables.settings.seed).draws
    return [asdict(kaplan_counting(fit.law, runs["N"], runs["N_total"], draws=draws))]


def frontier_entry(points: Sequence[FrontierPoint], n_sizes: int) -> Entry:
    reason = ""
    if not points:
        reason = "one size" if n_sizes < 2 else "no two sizes were trained with overlapping compute"
    return {"points": [asdict(point) for point in points], "reason": reason}
