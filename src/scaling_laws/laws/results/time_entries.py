"""Training time and batch as entries of `laws.json`: the critical batch, and Kaplan's way to the frontier."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from scaling_laws.laws.batch.constant_rate import curves_of_study
from scaling_laws.laws.batch.critical_batch import BatchLaw, critical_batch_from_curves
from scaling_laws.laws.fit.fit import Fit
from scaling_laws.laws.forms.single import KaplanD
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.results.entries import KEPT_RESAMPLES, Entry, describe
from scaling_laws.laws.results.family_tables import FamilyTables
from scaling_laws.papers.kaplan2020.route import KaplanRoute, kaplan_route, route_crossing
from scaling_laws.study.recipe import for_training_time

ROUTE_RESAMPLES = 200
NOT_IN_THE_LEVEL = {"fit", "draws"}


def time_entries(tables: FamilyTables, of_D: Fit[KaplanD] | None) -> dict[str, list[Entry]]:
    """`critical_batch` and `training_time` of one family.

    Args:
        tables: all complete runs of one recipe count, those of a lesser learning rate too: they belong to a
            batch scan.
        of_D: the family's L(D), for the crossing point (6.8).
    """
    if tables.curves is None or tables.curves.empty:
        reason = "the table has no learning curves"
        return {"critical_batch": [{"reason": reason}], "training_time": [{"reason": reason}]}
    settings = tables.settings
    runs = for_training_time(tables.complete)
    curves = curves_of_study(tables.curves, runs, loss="loss", n=settings.n)
    batch = critical_batch_from_curves(curves, resamples=settings.resamples, seed=settings.seed)
    route = kaplan_route(
        curves,
        batch,
        delta=settings.delta,
        resamples=min(settings.resamples, ROUTE_RESAMPLES),
        seed=settings.seed,
    )
    return {
        "critical_batch": [critical_batch_entry(batch)],
        "training_time": [training_time_entry(route) | {"crossing": _crossing_entry(route, of_D)}],
    }


def critical_batch_entry(law: BatchLaw) -> Entry:
    levels = [
        {key: value for key, value in vars(level).items() if key not in NOT_IN_THE_LEVEL}
        for level in law.levels
    ]
    draws = vars(law.draws) if law.draws else {}
    return {
        "levels": levels,
        "form": CriticalBatch.form,
        "formula": CriticalBatch.formula,
        "parameters": vars(law.law) if law.law else dict.fromkeys(CriticalBatch.units),
        "units": CriticalBatch.units,
        "intervals": law.intervals,
        "interval_method": law.interval_method,
        "ranges": {} if law.loss_range is None else {"L": law.loss_range},
        "size_dependence": asdict(law.size),
        "noise_scale": asdict(law.noise_scale),
        "warnings": law.warnings,
        "identified": law.law is not None,
        "reason": law.reason,
        "resamples": {name: np.asarray(values)[:KEPT_RESAMPLES] for name, values in draws.items()},
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
