"""What the page's slider of budgets is given: each family's plans by compute and by tokens to serve.

The page's script (`budget_slider.js`) interpolates between these in the logarithm; no Python takes part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from scaling_laws.laws.fit.intervals import loss_interval
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.plan.choice import best_joint_fit, joint_draws
from scaling_laws.laws.plan.compute_budget import DEFAULT_MFU, DEVICES
from scaling_laws.laws.plan.inference import plan_served
from scaling_laws.laws.plan.question import Question, TrainingPlan
from scaling_laws.laws.plan.solve import answer
from scaling_laws.laws.results.types import FittedLaw, Laws
from scaling_laws.report import style as st
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.errors import InputError
from scaling_laws.study.names import one_line

BUDGETS, SERVINGS = 61, 25
BEYOND = 1e4
"""Times the largest run's compute up to which a budget may be chosen."""
SERVED_A_TOKEN = (1e-1, 1e5)
"""Tokens to serve, over the training tokens of the plan without serving."""
START = 10.0
"""Times the largest run's compute: what the slider shows first."""


def slider_of(tables: StudyTables, laws: Laws) -> dict[str, Any] | None:
    """The slider's data, plain JSON values; None where no family has a law to plan by.

    Returns:
        families: of each its name, law, `ranges` of N, D and C of its runs, and two tables of columns:
            `budgets` by C, and `served` by the tokens T to serve at the loss of `START` times the largest C.
            Columns N, D, C, loss, low and high (90 % of the loss of one new run).
        speeds: names and FLOP/s of devices: the largest run's own, where it is known, comes first.
    """
    families = [
        found for family in tables.families if (found := _of_family(tables, laws, family)) is not None
    ]
    return {"families": families, "speeds": _speeds(tables)} if families else None


def _of_family(tables: StudyTables, laws: Laws, family: str) -> dict[str, Any] | None:
    fit, _ = best_joint_fit(laws.of(family))
    if fit is None:
        return None
    runs = tables.of(family)
    C = FLOPS_PER_PARAMETER_TOKEN * runs["N"] * runs["D"]
    start = START * float(C.max())
    budgets = [_at_budget(fit, budget) for budget in np.geomspace(C.min(), BEYOND * C.max(), BUDGETS)]
    planned = [plan for plan in budgets if plan is not None]
    at_start = _at_budget(fit, start)
    if not planned or at_start is None:
        return None
    return {
        "family": one_line(st.family_name(family)),
        "law": fit.formula,
        "start": _plain(start),
        "ranges": {
            name: [_plain(values.min()), _plain(values.max())]
            for name, values in (("N", runs["N"]), ("D", runs["D"]), ("C", C))
        },
        "budgets": _columns(
            {"N": plan.N, "D": plan.D, "C": plan.C, "loss": plan.loss_nats}
            | _ends(plan.intervals.get("loss_nats"))
            for plan in planned
        ),
        "served": _columns(_served(fit, at_start)),
    }


def _at_budget(fit: FittedLaw, C: float) -> TrainingPlan | None:
    try:
        return answer(fit.law, Question(C=C), draws=joint_draws(fit), source="", convention="N", notes=())
    except InputError:  # less than one parameter
        return None


def _served(fit: FittedLaw, plan: TrainingPlan) -> Iterable[dict[str, Any]]:
    """The cheapest networks to train and serve that reach the plan's loss."""
    draws = joint_draws(fit)
    for served in plan.D * np.geomspace(*SERVED_A_TOKEN, SERVINGS):
        found = plan_served(fit.law, plan.loss_nats, float(served))
        interval = None if draws is None else loss_interval(draws, N=found.N, D=found.D)
        at = {"T": float(served), "N": found.N, "D": found.D, "C": found.training, "loss": found.loss_nats}
        yield at | _ends(interval)


def _ends(interval: tuple[float | None, float | None] | None) -> dict[str, float | None]:
    return dict(zip(("low", "high"), interval or (None, None), strict=True))


def _columns(rows: Iterable[dict[str, Any]]) -> dict[str, list[float | None]]:
    rows = list(rows)
    return {name: [_plain(row[name]) for row in rows] for name in (rows[0] if rows else {})}


def _speeds(tables: StudyTables) -> list[dict[str, Any]]:
    """FLOP/s that trainings reach."""
    speeds = []
    runs = tables.complete
    if "tokens_per_s" in runs and len(measured := runs[runs["tokens_per_s"] > 0]):
        largest = measured.assign(C=measured["N"] * measured["D"]).nlargest(1, "C")
        reached = FLOPS_PER_PARAMETER_TOKEN * float((largest["N"] * largest["tokens_per_s"]).iloc[0])
        speeds.append({"name": "as the largest run here", "flops_per_s": _plain(reached)})
    share = f"{100 * DEFAULT_MFU:.0f} % of its peak"
    speeds += [
        {"name": f"{device.name}, {share}", "flops_per_s": DEFAULT_MFU * device.peak_flops_per_s}
        for device in DEVICES.values()
    ]
    return speeds


def _plain(value: float | None) -> float | None:
    """Six digits; None where it is no number: JSON knows no NaN."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")
