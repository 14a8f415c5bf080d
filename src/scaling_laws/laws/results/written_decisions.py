"""Decisions between settings as `laws.json` holds them: plain numbers, None for what is not known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.allocation.worth import WorthCurve
from scaling_laws.laws.fit.intervals import Interval

if TYPE_CHECKING:
    from scaling_laws.laws.results.decision import Decision


@dataclass(frozen=True, kw_only=True)
class WorthPoint:
    """FLOPs of the reference that one FLOP of the value is worth at one compute, with its 90 % interval."""

    C: float
    worth: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class WrittenWorth:
    """`allocation.worth.WorthCurve`, point by point."""

    points: tuple[WorthPoint, ...]
    crossing: float | None
    crossing_interval: Interval
    share_crossing: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is said of one setting against the reference at one compute, in plain numbers.

    Attributes:
        family: whose runs; "" where families are compared.
        by: the column.
        value, reference: its two values.
        C: FLOPs.
        form: of the laws.
        shared: whether the two share their exponents.
        sharing_p: of the test that they may; None where a separate law is not identified.
        losses: of value and reference at their best sizes, nats per token.
        chance: that one run of `value` ends below one of the reference.
        better: the value to take now.
        regret: nats per token that this choice is expected to lose: the mean over draws of what the other is
            better by, where it is.
        regret_high: 95 % of the draws lose no more.
        run_sd: standard deviation of ln loss of one run.
        percent: difference of the losses that `seeds` is for, per cent.
        seeds: runs of each that show such a difference with a chance of 80 % (two-sided test at 10 %).
        settling: compute and seeds of the cheapest pair of runs after which the 90 % interval of the
            difference at C is expected to leave out 0; None where none below C does, or it does already.
        settled: whether it does already.
    """

    family: str
    by: str
    value: str
    reference: str
    C: float
    form: str
    shared: bool
    sharing_p: float | None
    losses: tuple[float, float]
    chance: float
    better: str
    regret: float
    regret_high: float
    run_sd: float
    percent: float
    seeds: int
    settling: tuple[float, int] | None
    settled: bool


@dataclass(frozen=True, kw_only=True)
class WrittenDecision(Answer):
    """`decision.Decision`, field by field; `settling` is compute and seeds of the cheapest pair."""

    worth: WrittenWorth
    measured: WrittenWorth | None

    @property
    def key(self) -> tuple[str, str, str, str, float]:
        """What was asked: a second answer takes the place of the first."""
        return (self.family, self.by, self.value, self.reference, self.C)


@dataclass(frozen=True, kw_only=True)
class HeldOutChoices:
    """Choices from a part of the scales that were judged at the largest (`decision.HeldOutScore`).

    Attributes:
        by: the column whose values were chosen between.
        n: choices.
        laws_right, ranking_right: of them, by the laws, and by the ranking at the largest scale seen.
    """

    by: str
    n: int
    laws_right: int
    ranking_right: int


def written(decisions: Iterable[Decision]) -> tuple[WrittenDecision, ...]:
    """What the file holds of them."""
    found = []
    for decision in decisions:
        content = {item.name: getattr(decision, item.name) for item in fields(decision)}
        measured = decision.measured
        content |= {
            "worth": _written_worth(decision.worth),
            "measured": None if measured is None else _written_worth(measured),
        }
        found.append(WrittenDecision(**content))
    return tuple(found)


def _written_worth(curve: WorthCurve) -> WrittenWorth:
    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return WrittenWorth(
        points=tuple(
            WorthPoint(C=float(C), worth=number(worth), low=number(low), high=number(high))
            for C, worth, low, high in zip(curve.C, curve.worth, curve.low, curve.high, strict=True)
        ),
        crossing=curve.crossing,
        crossing_interval=curve.crossing_interval,
        share_crossing=float(curve.share_crossing),
    )
