"""From a sweep to its plan on this machine: what was planned before, else what the budget pays for now."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from scaling_laws.study.records import not_written
from scaling_laws.sweeps.budgeting import find_references, needs_time
from scaling_laws.sweeps.expected_time import expected_time
from scaling_laws.sweeps.experiments import Plan, begun, filled, rough_seconds, study_cells
from scaling_laws.sweeps.plan_file import read_kept, write_plan
from scaling_laws.sweeps.reference import Reference
from scaling_laws.sweeps.sweep_file import Sweep

TIMINGS = "throughput.json"
"""In the folder of all corpora: how fast this machine was, network by network."""
LOCK = ".plan.lock"


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
        return filled(study, expected_time(study_cells(study), study.corpus, data / TIMINGS))
    return filled(study, kept.cost if kept else None)


def settled(plan: Plan) -> Plan:
    """The plan, kept in the study's folder; or that of another machine that was there a moment earlier.

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        lock = open(plan.folder / LOCK, "w")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise not_written(plan.folder, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = read_kept(plan)
        if kept is None:
            write_plan(plan)
            return plan
    if kept.references == plan.references:
        return plan
    return filled(replace(plan, references=kept.references), kept.cost)


def _references(study: Plan, data: Path) -> Mapping[str, Reference]:
    """What the budget pays for, by the speed of this machine where it is one of time."""
    if not needs_time(study):
        return find_references(study, None)
    # Networks like those that a guess of the speed affords are timed first.
    guessed = replace(study, references=find_references(study, rough_seconds))
    return find_references(study, expected_time(study_cells(guessed), study.corpus, data / TIMINGS))
