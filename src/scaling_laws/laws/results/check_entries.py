"""What tests the laws as entries of `laws.json`: held-out runs, roll-outs, outliers, sensitivity, rates."""

from __future__ import annotations

from dataclasses import asdict

from scaling_laws.laws.checks.bracketing import learning_rates_bracketed
from scaling_laws.laws.checks.holdout import hold_out_largest
from scaling_laws.laws.checks.learning_curve import extrapolate_curves
from scaling_laws.laws.checks.outliers import find_outliers
from scaling_laws.laws.checks.rollout import roll_out
from scaling_laws.laws.checks.rollout_scores import Axis
from scaling_laws.laws.checks.sensitivity import sensitivity
from scaling_laws.laws.forms.joint import Chinchilla, KaplanND
from scaling_laws.laws.results.entries import Entry
from scaling_laws.laws.results.family_tables import FamilyTables

AXES: tuple[Axis, ...] = ("N", "D", "C")


def check_entries(tables: FamilyTables) -> dict[str, list[Entry]]:
    """`holdout`, `learning_curves`, `outliers`, `bracketing`, `sensitivity` of one family."""
    settings, runs, delta = tables.settings, tables.runs, tables.settings.delta
    rates = learning_rates_bracketed(tables.complete, n=settings.n)
    found = find_outliers(runs, form=Chinchilla, delta=delta, noise=tables.noise)
    return {
        "holdout": [asdict(hold_out_largest(form, runs, delta=delta)) for form in (KaplanND, Chinchilla)],
        "learning_curves": [_learning_curve_entry(tables)],
        "outliers": [{"flags": [asdict(flag) for flag in found.flags], "not_applied": found.not_applied}],
        "bracketing": [asdict(rates)],
        "sensitivity": [
            asdict(row)
            for row in sensitivity(runs, n=settings.n, c=settings.c, delta=delta, all_runs=tables.complete)
        ],
    }


def rollout_entries(tables: FamilyTables) -> dict[str, list[Entry]]:
    """`rollout` of one family: the joint forms over each axis, and the forms of that variable alone."""
    entries = []
    for axis in AXES:
        result = roll_out(tables.runs, axis, delta=tables.settings.delta)
        entries += [asdict(result.joint), asdict(result.single)]
    return {"rollout": entries}


def _learning_curve_entry(tables: FamilyTables) -> Entry:
    if tables.curves is None or tables.curves.empty:
        return {"scores": [], "left_out": [], "sentence": "", "reason": "the table has no learning curves"}
    # Runs of the laws alone: where tokens return, or the rate is far off, no power law ends the curve.
    longest = tables.runs.sort_values(["D", "run"], ascending=[False, True]).drop_duplicates("trunk")
    curves = tables.curves[tables.curves["run"].isin(longest["run"])]  # branches repeat their trunk
    result = extrapolate_curves(curves, loss="loss", delta=tables.settings.delta, seed=tables.settings.seed)
    return {
        "scores": [asdict(score) for score in result.scores],
        "left_out": [asdict(curve) for curve in result.left_out],
        "sentence": result.sentence,
        "reason": "",
    }
