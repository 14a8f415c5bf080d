"""Every law of one family as entries of `laws.json`, each fitted to the runs that it speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scaling_laws.laws.allocation.frontier import FrontierPoint, SizeCurve, envelope, size_curves
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.catalogue import FITTED_JOINT_FORMS, FORMS_OF_ONE_VARIABLE
from scaling_laws.laws.forms.repeated import Muennighoff
from scaling_laws.laws.forms.single import KaplanD
from scaling_laws.laws.results.entries import Entry, fit_entry, learning_rate_entries
from scaling_laws.laws.results.family_tables import FamilyTables
from scaling_laws.laws.selection import at_common_horizon, of_largest_size, on_envelope


@dataclass(frozen=True, kw_only=True)
class FamilyFits:
    """The fits of one family.

    Attributes:
        fits: each with the sentence that says which runs it was fitted to.
        curves, points: its sizes, and their lower envelope.
    """

    fits: tuple[tuple[Fit[Any], str], ...]
    curves: list[SizeCurve]
    points: list[FrontierPoint]

    @property
    def joint(self) -> list[Fit[Any]]:
        """The laws of N and D."""
        return [fit for fit, _ in self.fits if fit.form in FITTED_JOINT_FORMS]

    @property
    def of_D(self) -> Fit[KaplanD]:
        return next(fit for fit, _ in self.fits if fit.form is KaplanD)


def fit_family(tables: FamilyTables) -> FamilyFits:
    """Fit every law of N, D, C, of N and D, and of repeated data."""
    runs, delta = tables.runs, tables.settings.delta
    curves = size_curves(runs)
    points = envelope(curves)
    selected = {
        "N": at_common_horizon(runs),
        "D": of_largest_size(runs),
        "C": on_envelope(runs, points),
    }
    fits: list[tuple[Fit[Any], str]] = []
    for variable, forms in FORMS_OF_ONE_VARIABLE.items():
        table, sentence = selected[variable]
        rows = make_rows({variable: table[variable]}, table["loss"], table["trunk"])
        fits += [(fit_law(form, rows, delta=delta), sentence) for form in forms]
    rows = make_rows({"N": runs["N"], "D": runs["D"]}, runs["loss"], runs["trunk"])
    fits += [(fit_law(form, rows, delta=delta), "all runs") for form in FITTED_JOINT_FORMS]
    if "unique_tokens" in runs.columns:
        values = {"N": runs["N"], "D": runs["D"], "U": runs["unique_tokens"]}
        repeated = fit_law(Muennighoff, make_rows(values, runs["loss"], runs["trunk"]), delta=delta)
        fits.append((repeated, "all runs"))
    return FamilyFits(fits=tuple(fits), curves=curves, points=points)


def fit_entries(tables: FamilyTables, found: FamilyFits) -> dict[str, list[Entry]]:
    """`fits` and `learning_rates` of one family."""
    settings, n_runs = tables.settings, len(tables.complete)
    return {
        "fits": [
            fit_entry(fit, sentence, n_runs, tables.noise, settings.resamples, settings.seed)
            for fit, sentence in found.fits
        ],
        "learning_rates": learning_rate_entries(tables.runs),
    }
