"""What every `laws.json` has, whichever laws it holds: its keys at the start, its last words at the end."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.results.entries import Entry, plain_json
from scaling_laws.laws.results.family_tables import Settings
from scaling_laws.laws.results.manifest import manifest, warnings

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
FAMILY_LISTS = (
    "fits",
    "learning_rates",
    "frontier",
    "isoflop",
    "isoflop_akima",
    "allocation",
    "allocation_bias",
    "approaches",
    "ladder",
    "kaplan_counting",
    "critical_batch",
    "training_time",
    "holdout",
    "rollout",
    "learning_curves",
    "outliers",
    "bracketing",
    "sensitivity",
)
"""Keys of `laws.json` whose entries belong to one family each."""


def blank_laws(
    name: str,
    settings: Settings,
    noise: SeedNoise,
    left_out: pd.DataFrame | None,
    unusable: list[dict[str, Any]],
    reason: str = "",
) -> Entry:
    """The keys of `laws.json`, all lists empty.

    Args:
        left_out: run, status, reason: runs that are not in the table.
        unusable: the same of runs that are, and that no law may use.
        reason: why nothing is known of late positions.
    """
    return {
        "schema": SCHEMA,
        "study": name,
        "conventions": {"N": settings.n, "C": settings.c, "loss": "loss"},
        **{key: [] for key in FAMILY_LISTS},
        "families": [],
        "positions": [],
        "noise": asdict(noise),
        "late_positions": {"position_from": None, "pairs": [], "reason": reason},
        "left_out": ([] if left_out is None else left_out.to_dict("records")) + unusable,
    }


def finished_laws(
    laws: Entry, usable: pd.DataFrame, runs: pd.DataFrame, positions: pd.DataFrame | None, settings: Settings
) -> Entry:
    """Plain JSON values, with the warnings and the manifest."""
    laws = plain_json(laws)
    laws["warnings"] = warnings(laws, usable)
    laws["manifest"] = manifest(laws, runs, positions, settings)
    json.dumps(laws, allow_nan=False)  # ours to keep: a reader of laws.json never meets NaN
    return laws
