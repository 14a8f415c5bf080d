"""What is asked of the planner, and what it answers."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.study.errors import InputError

SIZE_RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Sizes around the optimum whose loss at equal compute is given (Kaplan 2020, Fig. 12)."""
QUESTIONS = (
    frozenset({"C"}),
    frozenset({"loss_nats"}),
    frozenset({"C", "N"}),
    frozenset({"C", "D"}),
    frozenset({"N", "loss_nats"}),
    frozenset({"N", "D"}),
)
_NAMES = {"C": "compute", "N": "N", "D": "D", "loss_nats": "target loss"}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is fixed: compute, a target loss, compute and N, compute and D, N and a target loss, or N and D.

    Attributes:
        C: FLOPs.
        N: parameters.
        D: tokens.
        loss_nats: nats per token, to be reached.

    Raises:
        InputError: another combination, or a value that is not a positive number.
    """

    C: float | None = None
    N: float | None = None
    D: float | None = None
    loss_nats: float | None = None

    def __post_init__(self) -> None:
        for name in self.given:
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                if name == "C":
                    raise InputError(f"the budget is {value}: give a positive number of FLOPs")
                raise InputError(f"{_NAMES[name]} is {value}: give a positive number")
        if self.given not in QUESTIONS:
            asked = " and ".join(text for name, text in _NAMES.items() if name in self.given) or "nothing"
            raise InputError(
                f"{asked} given: ask for compute or a target loss, alone or with N; compute and D; or N and D"
            )

    @property
    def given(self) -> frozenset[str]:
        return frozenset(name for name in _NAMES if getattr(self, name) is not None)

    def words(self) -> str:
        """What is fixed, in words."""
        texts = {
            "C": f"C = {self.C or 0:.3e} FLOPs",
            "N": f"N = {self.N or 0:.4g} parameters",
            "D": f"D = {self.D or 0:.4g} tokens",
            "loss_nats": f"a loss of {self.loss_nats or 0:.4g} nats per token",
        }
        return " and ".join(text for name, text in texts.items() if name in self.given)


@dataclass(frozen=True, kw_only=True)
class SizeCost:
    """A size around the optimum, at the optimum's compute.

    Attributes:
        size_ratio: N over the optimum's.
        N, D: parameters, tokens.
        loss_nats: nats per token; None where the source gives its excess alone.
        relative_excess: loss over the optimum's, less 1.
    """

    size_ratio: float
    N: float
    D: float
    loss_nats: float | None
    relative_excess: float


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What to train. None where the law says nothing.

    Attributes:
        C: compute, FLOPs.
        N: parameters, in the convention of the law's source.
        D: tokens.
        batch_tokens, steps: tokens a step, and steps.
        learning_rate: peak.
        loss_nats: nats per token.
        intervals: 90 %, of what was asked for (N, D, C), of loss_nats (the loss of one new run, its noise
            included), batch_tokens, steps and learning_rate, where the law has draws.
        compute_over_optimal: C over the least compute that reaches the same loss; 1 at the optimum.
        compute_ratio_half_N: compute to reach the optimum's loss with half of its N, over C; None if never.
        compute_ratio_double_N: the same with twice N.
        size_costs: the loss at other sizes around the optimum, at equal compute.
        source: where the law comes from.
        convention: what N counts: a column of the run table.
        origins: where batch_tokens and learning_rate come from, or why they are not known.
        notes: sentences that belong to the numbers; the first says what N and C are.
    """

    C: float
    N: float
    D: float
    batch_tokens: float | None
    steps: float | None
    learning_rate: float | None = None
    loss_nats: float
    intervals: Mapping[str, Interval]
    compute_over_optimal: float | None = None
    compute_ratio_half_N: float | None
    compute_ratio_double_N: float | None
    size_costs: tuple[SizeCost, ...] = ()
    source: str
    convention: str = "N"
    origins: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """In lines; an end that the law does not bound is `?`."""
        lines = [self.source]
        for name, unit in (
            ("N", "parameters"),
            ("D", "tokens"),
            ("C", "FLOPs"),
            ("loss_nats", "nats per token"),
        ):
            text = f"  {name.removesuffix('_nats'):<5} {getattr(self, name):<10.4g} {unit}"
            if name in self.intervals:
                low, high = ("?" if end is None else f"{end:.4g}" for end in self.intervals[name])
                text += f", 90 %: {low} to {high}"
            lines.append(text)
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "N": self.N,
            "D": self.D,
            "C": self.C,
            "batch_tokens": self.batch_tokens,
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "loss_nats": self.loss_nats,
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "compute_over_optimal": self.compute_over_optimal,
            "compute_ratio_half_N": self.compute_ratio_half_N,
            "compute_ratio_double_N": self.compute_ratio_double_N,
            "size_costs": [asdict(cost) for cost in self.size_costs],
            "source": self.source,
            "convention": self.convention,
            "origins": dict(self.origins),
            "notes": list(self.notes),
        }
