"""Training time and batch as entries of `laws.json`: the critical batch, and Kaplan's way to the frontier."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from scaling_laws.laws.batch.constant_rate import curves_of_study
from scaling_laws.laws.batch.critical_batch import critical_batch_from_curves
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.single import KaplanD
from scaling_laws.laws.results.family import FamilyTables
from scaling_laws.laws.results.fitted import KEPT_RESAMPLES
from scaling_laws.laws.selection import of_largest_size
from scaling_laws.papers.kaplan2020.route import KaplanRoute, kaplan_route, route_crossing
from scaling_laws.study.recipe import for_training_time

Entry = dict[str, Any]
ROUTE_RESAMPLES = 200


def time_entries(tables: FamilyTables) -> dict[str, Any]:
    """The route of one family, for the readers that do not make it themselves yet."""
    if tables.curves is None or tables.curves.empty:
        return {"family": tables.family, "reason": "the table has no learning curves"}
    settings = tables.settings
    table, _ = of_largest_size(tables.runs)
    of_D = fit_law(KaplanD, make_rows({"D": table["D"]}, table["loss"], table["trunk"]), delta=settings.delta)
    curves = curves_of_study(tables.curves, for_training_time(tables.complete), loss="loss", n=settings.n)
    batch = critical_batch_from_curves(curves, resamples=settings.resamples, seed=settings.seed)
    route = kaplan_route(
        curves,
        batch,
        delta=settings.delta,
        resamples=min(settings.resamples, ROUTE_RESAMPLES),
        seed=settings.seed,
    )
    entry = training_time_entry(route) | {"crossing": _crossing_entry(route, of_D)}
    return {"family": tables.family, **entry}


def describe(fit: Fit[Any]) -> Entry:
    return {
        "form": fit.form.form,
        "formula": fit.form.formula,
        "parameters": vars(fit.law) if fit.law is not None else dict.fromkeys(fit.form.units),
        "units": fit.form.units,
        "n_rows": fit.rows.n,
        "n_clusters": fit.rows.n_clusters,
        "identified": fit.identified,
        "reason": fit.reason,
        "certificate": asdict(fit.certificate) if fit.certificate else None,
    }


def training_time_entry(route: KaplanRoute) -> Entry:
    envelope = route.envelope
    points = [] if envelope is None else zip(envelope.C_min, envelope.loss, envelope.N, strict=True)
    estimates = {
        "alpha_C_min": route.alpha_C_min,
        "predicted_alpha_C_min": route.predicted_alpha_C_min,
        "difference": route.difference,
        "exponent_sum": route.exponent_sum,
    }
    return {
        "rows": route.rows,
        "steps": describe(route.steps) | {"intervals": route.steps_intervals} if route.steps else None,
        "envelope": [{"C_min": C_min, "loss": loss, "N": N} for C_min, loss, N in points],
        "frontier": [
            describe(fit) | {"intervals": route.frontier_intervals.get(fit.form.form, {})}
            for fit in route.frontier
        ],
        "optimal": {name: asdict(power) for name, power in route.optimal.items()},
        "predicted_exponents": {
            name: {"value": value, "interval": route.predicted_intervals[name]}
            for name, value in route.predicted_exponents.items()
        },
        **{name: None if value is None else asdict(value) for name, value in estimates.items()},
        "agrees": route.agrees,
        "identity": route.identity,
        "interval_method": route.method,
        "reason": route.reason,
        "resamples": {name: values[:KEPT_RESAMPLES] for name, values in route.draws.items()},
    }


def _crossing_entry(route: KaplanRoute, of_D: Fit[KaplanD] | None) -> Entry:
    """Where the frontier would need more than the data can give: Kaplan 2020, (6.8)."""
    if of_D is None or of_D.law is None or not of_D.identified:
        return {"reason": "no law L(D) is identified", "C_interval": None}
    crossing, interval = route_crossing(route, of_D.law.loss)
    return {**asdict(crossing), "C_interval": interval}
