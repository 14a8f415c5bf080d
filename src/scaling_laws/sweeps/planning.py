"""From a sweep to its plan on this machine: what was planned before, else what the budget pays for now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scaling_laws.sweeps.budgeting import find_references, needs_time
from scaling_laws.sweeps.expected_time import expected_time
from scaling_laws.sweeps.experiments import Plan, begun, filled
from scaling_laws.sweeps.plan_file import kept_references
from scaling_laws.sweeps.sweep_file import Sweep


def plan_study(sweep: Sweep, *, logs: Path, data: Path, timed: bool) -> Plan:
    """Plan every run; nothing is written.

    Args:
        logs, data: folders of all studies, and of all corpora.
        timed: measure how fast this machine is where that is not known yet (seconds a family): expected times
            then rest on it.

    Raises:
        InputError: something in the sweep is wrong or impossible, or the budget does not suffice.
    """
    study = begun(sweep, logs=logs, data=data)
    references = kept_references(study)
    measure = timed or (references is None and needs_time(study))
    cost = expected_time(study, measure=measure)
    if references is None:
        references = find_references(study, cost)
    return filled(replace(study, references=references), cost)
