"""`plan.json` in a study's folder: what was planned, so that the same command goes on with the same plan.

A budget of time comes to other sizes on another machine, and slices around the last fit move with it. What
they came to when the study began is kept, for as long as the sweep's file and budget stay what they were.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from scaling_laws.study.records import PLAN_FILE, write_atomically
from scaling_laws.sweeps.cells import Cell
from scaling_laws.sweeps.experiments import Plan, rough_seconds
from scaling_laws.sweeps.reference import Reference

SCHEMA = 1


def write_plan(plan: Plan) -> None:
    """Keep what is planned: every run's cell, and what the budgets came to.

    Raises:
        InputError: the folder cannot be written to.
    """
    content = {
        "schema": SCHEMA,
        "study": plan.sweep.study,
        "asked": _fingerprint(plan),
        "precision": plan.sweep.trainer_arguments.get("precision", "32-true"),
        "references": {name: reference.as_json() for name, reference in plan.references.items()},
        "runs": [
            {
                "name": run.name,
                "run_id": run.run_id,
                "trunk": trunk.name,
                "experiments": list(run.tags),
                "family": run.family,
                "N": run.N,
                "D": run.D,
                "C": run.C,
                "C_exact": run.C_exact,
                "batch_tokens": run.batch_tokens,
                "steps": run.steps,
                "learning_rate": run.learning_rate,
                "seed": run.seed,
                "devices": run.devices,
                "trained_tokens": run.trained_tokens,
                "expected_s": round(run.expected_s, 3),
            }
            for trunk in plan.trunks
            for run in trunk.runs
        ],
    }
    write_atomically(plan.folder / PLAN_FILE, json.dumps(content, indent=1) + "\n")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a study began with.

    Attributes:
        references: what its budget came to.
        expected_s: of each run, by its id.
    """

    references: dict[str, Reference]
    expected_s: dict[str, float]

    def cost(self, cell: Cell, tokens: int) -> float:
        """Seconds that were expected then; a rough guess of a run that was not planned."""
        return self.expected_s.get(cell.run_id) or rough_seconds(cell, tokens)


def read_kept(plan: Plan) -> Kept | None:
    """What a study began with; None where it asked for something else then, or never began.

    An unreadable file keeps nothing: the budget is then spent anew.
    """
    try:
        content = json.loads((plan.folder / PLAN_FILE).read_text(encoding="utf-8"))
        if content["asked"] != _fingerprint(plan):
            return None
        return Kept(
            references={name: Reference.from_json(entry) for name, entry in content["references"].items()},
            expected_s={run["run_id"]: float(run["expected_s"]) for run in content["runs"]},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _fingerprint(plan: Plan) -> str:
    """Hash of what decides the sizes and horizons of a study."""
    asked = [{**asdict(each), "question": ""} for each in (plan.sweep, *plan.experiments)]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:16]
