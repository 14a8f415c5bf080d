"""What the paper claims, the rule that decides about it, and what a study finds.

Rules were written before a run was looked at. They compare 90 % intervals with thresholds; where an interval
reaches across one, or a range is too short to ask, the verdict is `not at this scale`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.report.evidence import Laws, StudyTables

Verdict = Literal["confirmed", "not at this scale", "contradicted", "not measured"]
VERDICTS: tuple[Verdict, ...] = ("confirmed", "not at this scale", "contradicted", "not measured")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a study says about a claim.

    Attributes:
        verdict: by the claim's rule.
        why: one sentence of numbers, or what is missing.
        value, interval: of the claim's quantity, 90 %; None where it was not measured.
    """

    verdict: Verdict
    why: str
    value: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement of the paper, or of those who corrected it.

    Attributes:
        number: its place in the list.
        text: the statement.
        source: where it is made.
        quantity: what is measured, with its unit.
        paper: the paper's value of that quantity; empty where it gives none.
        rule: what decides, in words.
        sweep: name of the file in `configs/sweeps/` that measures it.
        evaluate: applies the rule.
    """

    number: int
    text: str
    source: str
    quantity: str
    paper: str
    rule: str
    sweep: str
    evaluate: Callable[[StudyTables, Laws], Finding]


def judged(value: float, interval: Interval, low: float, high: float, context: str = "") -> Finding:
    """Confirmed where the whole interval lies from `low` to `high`, contradicted where none of it does.

    Args:
        low, high: may be infinite.
        context: what else to say of the number: of what it is made.
    """
    if interval == (None, None):
        return too_little(f"it has no interval; {context}", value)
    ends = (
        -np.inf if interval[0] is None else interval[0],
        np.inf if interval[1] is None else interval[1],
    )
    if low <= ends[0] and ends[1] <= high:
        verdict: Verdict = "confirmed"
        where = _band(low, high)
    elif ends[1] < low or ends[0] > high:
        verdict = "contradicted"
        where = f"below {low:.3g}" if ends[1] < low else f"above {high:.3g}"
    else:
        verdict = "not at this scale"
        where = "on both sides of " + " and ".join(
            f"{end:.3g}" for end in (low, high) if np.isfinite(end) and ends[0] <= end <= ends[1]
        )
    why = f"the interval lies {where}"
    return Finding(
        verdict=verdict, why=f"{why}; {context}" if context else why, value=value, interval=interval
    )


def too_little(why: str, value: float | None = None, interval: Interval | None = None) -> Finding:
    """The study asked, and its range or its precision does not suffice."""
    return Finding(verdict="not at this scale", why=why, value=value, interval=interval)


def not_measured(why: str) -> Finding:
    """The study has no runs for it."""
    return Finding(verdict="not measured", why=why)


def _band(low: float, high: float) -> str:
    if np.isinf(low):
        return f"below {high:.3g}"
    if np.isinf(high):
        return f"above {low:.3g}"
    return f"between {low:.3g} and {high:.3g}"
