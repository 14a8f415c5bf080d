"""What is asked of the planner, and what it answers."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.plan.compute_budget import DEFAULT_MFU, device_peak, hours_of_compute
from scaling_laws.study.errors import InputError

SIZE_RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Sizes around the optimum whose loss at equal compute is given (Kaplan 2020, Fig. 12)."""
QUESTIONS = (
    frozenset({"C"}),
    frozenset({"loss_nats"}),
    frozenset({"N"}),
    frozenset({"D"}),
    frozenset({"C", "N"}),
    frozenset({"C", "D"}),
    frozenset({"N", "loss_nats"}),
    frozenset({"N", "D"}),
)
ROUNDING = 1e-3
"""A plan this much beyond the runs is not."""
_NAMES = {"C": "compute", "N": "N", "D": "D", "loss_nats": "target loss"}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is fixed: compute, a target loss, N or D alone, or two of these (but D and a target loss).

    N alone asks for the compute at which it is the best size, D alone for that at which it is the best number
    of tokens.

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
                f"{asked} given: ask for compute, a target loss, N or D; compute or a target loss with N; "
                "compute with D; or N with D"
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


@dataclass(frozen=True, kw_only=True, repr=False)
class TrainingPlan:
    """What to train. None where the law says nothing.

    Attributes:
        C: compute, FLOPs.
        N: parameters, in the convention of the law's source.
        D: tokens.
        batch_tokens, steps: tokens per step, and steps.
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

    def device_hours(self, device: str = "h100", mfu: float = DEFAULT_MFU) -> float:
        """Hours that 6 N D FLOPs take on one device, at this share of its peak.

        Raises:
            InputError: the device is not known, or the share is none.
        """
        # Kaplan's C_min is half of what training at the critical batch takes; elsewhere C is 6 N D.
        spent = FLOPS_PER_PARAMETER_TOKEN * self.N * self.D
        return hours_of_compute(spent, device_peak(device).peak_flops_per_s, mfu)

    def cost(self, price_per_hour: float, device: str = "h100", mfu: float = DEFAULT_MFU) -> float:
        """What those hours cost, in the currency of the price."""
        return price_per_hour * self.device_hours(device, mfu)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        """In lines; an end that the law does not bound is `?`."""
        lines = [
            f"  {name:<5} {value:<10} {unit}{between and f', 90 %: {between}'}"
            for name, value, unit, between in self._answers()
        ]
        return "\n".join([self.source, *lines, *(f"  {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        """A table, and the notes as a list, which break where a notebook ends."""
        cells = [("", "", "", "90 %"), *self._answers()]
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in cells
        )
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return f"<p>{html.escape(self.source)}</p><table>{rows}</table><ul>{notes}</ul>"

    def _answers(self) -> Iterator[tuple[str, str, str, str]]:
        """What was asked for, its value, its unit, and its interval where there is one."""
        for name, unit in (
            ("N", "parameters"),
            ("D", "tokens"),
            ("C", "FLOPs"),
            ("loss_nats", "nats per token"),
        ):
            ends = ["?" if end is None else f"{end:.4g}" for end in self.intervals.get(name, ())]
            yield name.removesuffix("_nats"), f"{getattr(self, name):.4g}", unit, " to ".join(ends)

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


def reach(plan: TrainingPlan, ranges: Mapping[str, tuple[float, float]]) -> str:
    """How far N, D and C of a plan lie beyond the runs of the law, in words.

    Args:
        ranges: lowest and highest of N, D and C of the fitted runs; where C is not known, it is at most
            6 N D of the largest N and D.
    """
    known = dict(ranges)
    at_most = "C" not in ranges and {"N", "D"} <= ranges.keys()
    if at_most:
        (least_N, most_N), (least_D, most_D) = ranges["N"], ranges["D"]
        least, most = least_N * least_D, most_N * most_D
        known["C"] = (FLOPS_PER_PARAMETER_TOKEN * least, FLOPS_PER_PARAMETER_TOKEN * most)
    outside, inside = [], []
    for name in ("N", "D", "C"):
        if name not in known:
            continue
        value, (low, high) = getattr(plan, name), known[name]
        at_least = "at least " * (at_most and name == "C")
        if value > high * (1 + ROUNDING):
            outside.append(
                f"{name} = {value:.3g} is {at_least}{_times(value / high)} the largest ({high:.3g})"
            )
        elif value < low * (1 - ROUNDING):
            outside.append(f"{name} = {value:.3g} is below the smallest ({low:.3g}) by {_times(low / value)}")
        else:
            inside.append(f"{name} ({low:.3g} to {high:.3g})")
    within = f"inside the fitted runs: {', '.join(inside)}" if inside else ""
    if not outside:
        return within
    return f"extrapolation: of the fitted runs, {'; '.join(outside)}{'; ' * bool(within)}{within}"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if 10 <= ratio < 1e6 else f"{ratio:.2g} times"
