"""What training and evaluating a run takes on this machine, by what was measured on it."""

from __future__ import annotations

from scaling_laws.sweeps.experiments import Cost, Plan


def expected_time(study: Plan, *, measure: bool) -> Cost | None:
    """Seconds on one device; None where nothing was measured."""
    return None
