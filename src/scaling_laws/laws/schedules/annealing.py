"""Two laws of the learning rate: the loss after t steps of any schedule.

Both are L(t) = L0 + A/S1(t)^alpha + B sum_k (eta_k - eta_(k-1)) G_k(t): a power law of the summed rates, less
what each fall of the rate has brought by now. They differ in G, which grows from 0 to 1 after the fall:

- `tissue` (Tissue et al. 2024, arXiv 2408.11029): with the steps since, 1 - lambda^(t - k + 1). Written as in
  the paper, L = L0 + A/S1^alpha - C S2, C = B (1 - lambda). Here the warm-up's rises count as none.
- `multi_power` (Luo et al. 2025, arXiv 2503.12811): with the summed rates since,
  1 - (1 + C eta_k^-gamma (S1(t) - S1(k - 1)))^-beta; the warm-up's rises count.

Shapes: S draws, n rows, E terms of all rows together (`falls.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from scaling_laws.laws.forms.terms import FloatArray, Law, Numbers
from scaling_laws.laws.schedules.falls import Falls

LARGEST_PART = 250_000
"""Terms times draws that are computed at a time: beyond it they leave the cache."""


class ScheduleLaw(Law):
    """A law of the schedule; `loss(S1)` is that of a rate which has never come down.

    `variables` has what a row's certificate can be shown against, the summed rates.
    """

    warm_up: ClassVar[bool]
    L0: Numbers
    A: Numbers
    alpha: Numbers
    B: Numbers

    def at(self, S1: FloatArray) -> FloatArray:
        return np.asarray(self.L0 + self.A * S1 ** -np.asarray(self.alpha))

    def losses(self, falls: Falls) -> FloatArray:
        """The loss of each row: (n,), or (S, n) where the parameters are draws."""
        parameters = {name: np.atleast_1d(np.asarray(value)) for name, value in vars(self).items()}
        parts = []
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for start in range(0, len(parameters["L0"]), most := max(LARGEST_PART // len(falls.change), 1)):
                some = {name: value[start : start + most, None] for name, value in parameters.items()}
                brought = np.add.reduceat(falls.change * self.grown(falls, some), falls.first, axis=1)
                constant = some["L0"] + some["A"] * falls.summed ** -some["alpha"]
                parts.append(constant + some["B"] * brought)
        losses = np.concatenate(parts)
        return losses if np.ndim(self.L0) else losses[0]

    @staticmethod
    @abstractmethod
    def grown(falls: Falls, parameters: dict[str, FloatArray]) -> FloatArray:
        """G, (S, E), the parameters being (S, 1)."""


SCHEDULE_UNITS = {"L0": "nats/token", "A": "nats/token * rate^alpha", "B": "nats/token / rate"}


class Tissue(
    ScheduleLaw,
    form="tissue",
    label="Tissue et al.'s",
    variables=("S1",),
    formula="L0 + A/S1^alpha - B (1 - lambda) S2",
    units=SCHEDULE_UNITS | {"memory_steps": "steps"},
):
    """S2(t) = sum_i sum_(k<=i) (eta_(k-1) - eta_k) lambda^(i-k), lambda = exp(-1/memory_steps)."""

    warm_up = False
    memory_steps: Numbers

    @property
    def momentum(self) -> Numbers:
        """lambda."""
        return np.exp(-1 / np.asarray(self.memory_steps))

    @staticmethod
    def grown(falls: Falls, parameters: dict[str, FloatArray]) -> FloatArray:
        return np.asarray(-np.expm1(-falls.lag_steps / parameters["memory_steps"]))


class MultiPower(
    ScheduleLaw,
    form="multi_power",
    label="the multi-power",
    variables=("S1",),
    formula="L0 + A/S1^alpha + B sum_k (eta_k - eta_k-1) [1 - (1 + C eta_k^-gamma (S1 - S1_k-1))^-beta]",
    units=SCHEDULE_UNITS | {"C": "rate^(gamma - 1)"},
):
    """Luo et al. 2025, equation (2)."""

    warm_up = True
    C: Numbers
    beta: Numbers
    gamma: Numbers

    @staticmethod
    def grown(falls: Falls, parameters: dict[str, FloatArray]) -> FloatArray:
        C, beta, gamma = (parameters[name] for name in ("C", "beta", "gamma"))
        x = C * np.exp(-gamma * falls.log_rate) * falls.lag_rates
        return np.asarray(-np.expm1(-beta * np.log1p(x)))


SCHEDULE_FORMS: tuple[type[ScheduleLaw], ...] = (Tissue, MultiPower)
