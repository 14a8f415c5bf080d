"""From a sweep to its plan on this machine: what was planned before, else what the budget pays for now.

`plan.json` in a study's folder keeps what was planned, so that the same command goes on with the same plan: a
budget of time comes to other sizes on another machine, and slices around the last fit move with it. What they
came to when the study began is kept, for as long as the sweep's file and budget stay what they were.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypedDict

from scaling_laws.study.artefacts import read_json, typed
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import refuse_links_in, require_own_folder
from scaling_laws.study.records import EVERY_CORPUS, PLAN_FILE, not_written, write_atomically
from scaling_laws.sweeps.plan.budgeting import find_references, needs_time
from scaling_laws.sweeps.plan.expected_time import expected_time
from scaling_laws.sweeps.plan.experiments import Plan, begun, filled, rough_seconds, study_specs
from scaling_laws.sweeps.plan.reference import Reference
from scaling_laws.sweeps.plan.run_specs import RunSpec
from scaling_laws.sweeps.plan.sweep_file import BASE, INSTEAD_OF_THE_SWEEPS, Sweep
from scaling_laws.sweeps.run import lease

SCHEMA = 1
TIMINGS = "throughput.json"
"""In the folder of all corpora: how fast this machine was, network by network."""
POLL_S = 0.05


def write_plan(plan: Plan) -> None:
    """Keep what is planned: every run's spec, and what the budgets came to.

    Raises:
        InputError: the folder cannot be written to.
    """
    content = {
        "schema": SCHEMA,
        "study": plan.sweep.study,
        "asked": _fingerprint(plan),
        "precision": plan.sweep.trainer_arguments.get("precision", "32-true"),
        "shape_rule": plan.sweep.shape_rule,
        "evaluation_corpora": plan.sweep.corpora_on_the_way,
        "references": {name: reference.as_json() for name, reference in plan.references.items()},
        "runs": [
            {
                "name": run.name,
                "run_id": run.run_id,
                "trunk": job.name,
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
            for job in plan.jobs
            for run in job.runs
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

    def cost(self, spec: RunSpec, tokens: int) -> float:
        """Seconds that were expected then; a rough guess of a run that was not planned."""
        return self.expected_s.get(spec.run_id) or rough_seconds(spec, tokens)


def read_kept(plan: Plan) -> Kept | None:
    """What a study began with; None where it asked for something else then, or never began.

    An unreadable file keeps nothing: the budget is then spent anew.
    """
    try:
        content = read_json(plan.folder / PLAN_FILE, kind="plan", remedy="")
        if content.get("asked") != _fingerprint(plan):
            return None
        kept = typed(content, _PlanFile, PLAN_FILE)
    except InputError:
        return None
    expected_s = {run["run_id"]: run["expected_s"] for run in kept["runs"]}
    return Kept(references=kept["references"], expected_s=expected_s)


class _KeptRun(TypedDict):
    run_id: str
    expected_s: float


class _PlanFile(TypedDict):
    """What is read here of `plan.json`."""

    references: dict[str, Reference]
    runs: list[_KeptRun]


SINCE_0_2 = (*INSTEAD_OF_THE_SWEEPS, "learning_rate")
"""Keys of a model that studies begun before did not have: where they say nothing, they change nothing."""


def _fingerprint(plan: Plan) -> str:
    """Hash of what decides the sizes and horizons of a study."""
    asked = [{**asdict(each), "question": ""} for each in (plan.sweep, *plan.experiments)]
    for each in asked:
        del each["keep"], each["cluster"], each["shape_rule"]
        if EVERY_CORPUS in each["evaluation_corpora"]:  # as studies begun before these keys
            del each["evaluation_corpora"], each["other_windows"]
        for key in BASE:
            if each[key] in (None, "standard"):
                del each[key]
        for ladder in each["ladders"]:
            for model in ladder["models"]:
                for key in SINCE_0_2:
                    if model[key] is None:
                        del model[key]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:16]


def plan_study(sweep: Sweep, *, logs: Path, data: Path, timed: bool, folder_name: str = "") -> Plan:
    """Plan every run; nothing is trained, and nothing is written but what was timed.

    Args:
        logs, data: folders of all studies, and of all corpora.
        timed: have expected times rest on measurements of this machine (made once, seconds a family); else
            they do where the budget is one of time, and are rough guesses elsewhere.
        folder_name: of the study's folder; by default the study's name.

    Raises:
        InputError: something in the sweep is wrong or impossible, or the budget does not suffice.
    """
    study = begun(sweep, logs=logs, data=data, folder_name=folder_name)
    kept = read_kept(study)
    references = kept.references if kept else _references(study, data)
    study = replace(study, references=references)
    if timed or (not kept and needs_time(study)):
        return filled(study, expected_time(study_specs(study), data / TIMINGS))
    return filled(study, kept.cost if kept else None)


def settled(plan: Plan) -> Plan:
    """The plan, kept in the study's folder; or that of another machine that was there a moment earlier.

    Raises:
        InputError: the folder cannot be written to.
    """
    _require_own(plan)
    try:
        while (held := lease.take(plan.folder)) is None:
            time.sleep(POLL_S)  # another machine settles its plan
    except OSError as error:
        raise not_written(plan.folder, error) from error
    with closing(held):
        kept = read_kept(plan)
        if kept is None:
            write_plan(plan)
            return plan
    if kept.references == plan.references:
        return plan
    return filled(replace(plan, references=kept.references), kept.cost)


def _require_own(plan: Plan) -> None:
    """Refuse to keep a study among somebody's own files, or where links lead elsewhere."""
    folder = plan.folder
    for each in (folder, *(folder / run.name for run in plan.runs)):
        if each.is_dir():
            refuse_links_in(each.resolve() if each == folder else each)
    begun_before = (folder / lease.LOCK_FILE).exists() or next(folder.glob("*/record.json"), None) is not None
    require_own_folder(folder, earlier=(PLAN_FILE,), shared=begun_before)


def _references(study: Plan, data: Path) -> Mapping[str, Reference]:
    """What the budget pays for, by the speed of this machine where it is one of time."""
    if not needs_time(study):
        return find_references(study, None)
    # Networks like those that a guess of the speed affords are timed first.
    guessed = replace(study, references=find_references(study, rough_seconds))
    return find_references(study, expected_time(study_specs(guessed), data / TIMINGS))
