"""Peak learning rates of a sweep's runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scaling_laws.study.bounds import Exponent, Rate, check_bounds
from scaling_laws.study.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LearningRateRule:
    """Peak learning rate of a run of N non-embedding parameters, D tokens and batches of B tokens.

    `power`: `at_1e5` (N / 1e5)^`exponent` (D / 1e6)^`exponent_D` (B / 2048)^`exponent_B`, at most `at_most`.
    `kaplan`: 0.003239 - 0.0001395 ln N (Kaplan et al. 2020, D.1), positive below N = 1.21e10.
    """

    rule: Literal["power", "kaplan"] = "power"
    at_1e5: Rate | None = None
    """Rate at N = 1e5, D = 1e6 tokens and B = 2048 tokens."""
    exponent: Exponent = 0.0
    exponent_D: Exponent = 0.0
    """Other than 0, it gives every horizon a training of its own."""
    exponent_B: Exponent = 0.0
    at_most: Rate = 1.0

    def check(self) -> None:
        """Refuse what makes no rule. (A sweep file's parser would garble an error of the constructor.)

        Raises:
            InputError: a number makes no sense, or does not belong to the rule.
        """
        check_bounds(self, what="learning_rate")
        if self.rule == "kaplan":
            if self != LearningRateRule(rule="kaplan"):
                raise InputError("learning_rate: rule: kaplan takes no other key")
        elif self.at_1e5 is None:
            raise InputError("learning_rate: at_1e5 is missing; it is the rate at N = 1e5")

    @property
    def depends_on_D(self) -> bool:
        """Whether runs of two horizons have different rates, and so no step in common."""
        return self.exponent_D != 0

    def rate(self, *, N: int, D: int, batch_tokens: int) -> float:
        """The rate, to three digits.

        Raises:
            InputError: the rule has no positive rate for this N.
        """
        if N <= 0:
            raise InputError(f"learning_rate: no rule for N = {N}; give the rate as a plain number")
        if self.rule == "kaplan":
            rate = 0.003239 - 0.0001395 * math.log(N)
            if rate <= 0:
                raise InputError(f"learning_rate: rule: kaplan ends at N = 1.21e10, and N is {N:.3g}")
        else:
            assert self.at_1e5 is not None
            powers = (N / 1e5) ** self.exponent * (D / 1e6) ** self.exponent_D
            powers *= (batch_tokens / 2048) ** self.exponent_B
            rate = min(self.at_most, self.at_1e5 * powers)
        return float(f"{rate:.3g}")
