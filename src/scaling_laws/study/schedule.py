"""The learning rate, and when to evaluate, as pure functions of the step.

Standard library only: plans are made without torch. A schedule object holds no state, so there is none to
resume. Steps are numbered from 0; the horizon is the number of steps of the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from scaling_laws.study.bounds import Amount, Share, check_bounds
from scaling_laws.study.errors import InputError

FIRST_EVALUATION_TOKENS = 2**15
SAME_RATE = 1e-6
"""Relative difference up to which a recorded rate is the peak's: what a table's digits lose, and less than
the first step of a decay takes away."""
Decay = Literal["cooldown", "linear_cooldown", "cosine", "linear", "constant"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warm-up, then one of five ways to end.

    | decay             | after the warm-up                                                                |
    |-------------------|----------------------------------------------------------------------------------|
    | `cooldown`        | constant, then 1 - sqrt(x) over the last `cooldown_share` (Hägele et al. 2024)   |
    | `linear_cooldown` | constant, then 1 - x over the last `cooldown_share`                              |
    | `cosine`          | half a cosine down to `final_share`: Kaplan 2020 trains with this one, to 0      |
    | `linear`          | a straight line down to `final_share`                                            |
    | `constant`        | constant to the end                                                              |

    Raises:
        InputError: a value makes no sense.
    """

    decay: Decay = "cooldown"
    """How the rate falls after the warm-up."""
    warmup_steps: Amount = 40
    """Steps in which the rate rises linearly to its peak."""
    cooldown_share: Share = 0.2
    """Share of all steps that a cooldown takes; 0 keeps the rate constant to the end."""
    final_share: Share = 0.0
    """`cosine` and `linear`: share of the peak that is left at the horizon."""

    def __post_init__(self) -> None:
        if self.decay not in get_args(Decay):
            raise InputError(f"schedule: decay is {self.decay!r}; it is one of {', '.join(get_args(Decay))}")
        check_bounds(self, what="schedule")

    @property
    def shares_trunk(self) -> bool:
        """Whether runs of all horizons are one training up to where each cooldown begins."""
        return self.decay in ("cooldown", "linear_cooldown", "constant")

    def cooldown_start(self, steps: int) -> int:
        """First step whose rate depends on the horizon `steps`."""
        if self.decay == "constant":
            return steps
        if not self.shares_trunk:
            return 0
        return steps - round(self.cooldown_share * steps)

    def brings_down(self, steps: int) -> bool:
        """Whether the rate has been brought down by the end: a loss taken then is a final one."""
        if self.shares_trunk:
            return self.cooldown_start(steps) < steps
        return self.final_share <= 0.1

    def factor(self, step: int, steps: int) -> float:
        """Share of the peak learning rate at `step` (0-based) of `steps`: eta(n) / eta_max."""
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.shares_trunk:
            start = self.cooldown_start(steps)
            if step < start:
                return warmup
            left = (step - start) / (steps - start)
            return warmup * (1 - (math.sqrt(left) if self.decay == "cooldown" else left))
        if step < self.warmup_steps:
            return warmup
        done = (step - self.warmup_steps) / max(1, steps - self.warmup_steps)
        falling = (1 + math.cos(math.pi * done)) / 2 if self.decay == "cosine" else 1 - done
        return self.final_share + (1 - self.final_share) * falling


def evaluation_steps(batch_tokens: int, steps: int, per_doubling: int, every_n_steps: int = 0) -> set[int]:
    """Log-spaced steps after which held-out losses are measured, every n-th step, and the last.

    The grid is anchored at a fixed number of tokens, not at the horizon: runs of all horizons and sizes
    are then measured at the same points, and a cooldown branch shares those of its trunk.

    Args:
        per_doubling: evaluations each time the tokens double; 0 for none of these.
        every_n_steps: 0 for none of these.
    """
    chosen = {steps}
    k = 0
    while (
        per_doubling
        and (step := round(FIRST_EVALUATION_TOKENS * 2 ** (k / per_doubling) / batch_tokens)) < steps
    ):
        if step >= 1:
            chosen.add(step)
        k += 1
    if every_n_steps:
        chosen.update(range(every_n_steps, steps, every_n_steps))
    return chosen
