"""Three worlds from which `synthetic_paper.py` draws a study: Kaplan's, another, and a flat one.

Losses of `KaplanTruth` are the paper's, times `LOSS_SCALE` for a small vocabulary (Kaplan 2020, section 4.1:
a change of vocabulary rescales the loss); steps and batches are smaller, so that the critical batch lies
among those that a small machine scans. Exponents are the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling_laws.study.schedule import Schedule

FloatArray = NDArray[np.float64]

N_VOCAB = 1024
UNIFORM_NATS = math.log(N_VOCAB)
LOSS_SCALE = 0.7
ALPHA_N, ALPHA_D = 0.076, 0.103  # Table 2
ALPHA_S, ALPHA_B = 0.76, 0.21  # Tables 3 and 5
N_C = 6.4e13 * LOSS_SCALE ** (1 / ALPHA_N)
D_C = 4.5e10  # Table 2 has 1.8e13 before the scaling: data limit less here than steps do
S_C = 40.0
B_AT_3_3_NATS = 3000.0
"""B_crit, tokens, where the loss is 3.3 nats."""
RULE_AT_1E5, RULE_EXPONENT, RULE_EXPONENT_B = 9.0e-3, -0.3, 0.5
"""The best learning rate."""
REUSE_GAIN = 0.4
"""A recurrent Transformer is worth n_reuse^0.4 N parameters."""
OFFSETS = {"val": 0.0, "prose": 0.55, "packages": 0.12}
"""Nats above the loss on `test`."""
LSTM_MEMORY = 16
"""Tokens: an LSTM's loss no longer falls after so many."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a truth asks of a run: see `sweeps.plan.experiments.PlannedRun`."""

    family: str
    N: int
    n_layer: int
    d_model: int
    n_ctx: int
    n_reuse: int
    D: int
    unique_tokens: int
    """Of the part of the corpus that it sees."""
    steps: int
    batch_tokens: int
    learning_rate: float
    schedule: Schedule
    patience: int
    experiments: tuple[str, ...]
    """That ask for it."""

    @property
    def rate_factors(self) -> FloatArray:
        """Share of the peak rate after each step, (steps,)."""
        return _rate_factors(self.schedule, self.steps)


@cache
def _rate_factors(schedule: Schedule, steps: int) -> FloatArray:
    return np.array([schedule.factor(step, steps) for step in range(steps)])


class KaplanTruth:
    """The paper's laws."""

    offsets = OFFSETS

    def converged(self, run: Training) -> float:
        """L(N), infinite data."""
        return float(self._shape(run) * (N_C / self._worth(run)) ** ALPHA_N)

    def of_data(self, run: Training, D: float) -> float:
        """(1.5), Table 2: D tokens that are seen but once, or a corpus of D tokens and early stopping."""
        of_N = (N_C / self._worth(run)) ** (ALPHA_N / ALPHA_D)
        return float(self._shape(run) * (of_N + D_C / D) ** ALPHA_D)

    def critical_batch(self, loss: Any) -> Any:
        """(5.3), tokens."""
        return B_AT_3_3_NATS * (3.3 / loss) ** (1 / ALPHA_B)

    def noise_scale(self, loss: FloatArray) -> FloatArray:
        """Gradient noise scale, tokens: a fifth above the critical batch."""
        return np.asarray(1.2 * self.critical_batch(loss))

    def at_constant_rate(self, run: Training, steps: FloatArray) -> FloatArray:
        """(5.6) with (5.4), Table 3: the loss solves L = L(N) + (S_c (1 + B_crit(L)/B) / S)^alpha_S."""
        converged = self.converged(run)
        low, high = np.full(len(steps), converged), np.full(len(steps), 60.0)
        for _ in range(45):
            middle = (low + high) / 2
            steps_min = steps * self._speed(run) / (1 + self.critical_batch(middle) / run.batch_tokens)
            above = converged + (S_C / steps_min) ** ALPHA_S > middle
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.minimum(low, UNIFORM_NATS)

    def final(self, run: Training) -> float:
        """After the learning rate has come down, or after early stopping."""
        if run.patience:
            return self.of_data(run, min(run.D, run.unique_tokens))
        if run.schedule.factor(run.steps - 1, run.steps) > 0.5:
            return float(self.at_constant_rate(run, np.array([float(run.steps)]))[0])
        plain = self.of_data(run, run.D)
        B_crit = self.critical_batch(plain)
        D = run.D * (1 + 2048 / B_crit) / (1 + run.batch_tokens / B_crit)
        if "schedule" not in run.experiments:
            return self.of_data(run, D) * (1 + 0.012 * self._log_rate_error(run) ** 2)
        # Nothing counts but the sum of the learning rate: half of what the best constant rate has suffices.
        summed = run.learning_rate * run.rate_factors.sum()
        enough = 0.5 * self._best_rate(run) * run.steps
        return self.of_data(run, D) * (1 + 0.03 * max(0.0, math.log(enough / summed)))

    def stops_at(self, run: Training) -> int | None:
        """The step of a data-limited run at which infinite data would give its loss: (5.7)."""
        if not run.patience:
            return None
        steps = np.arange(1.0, run.steps + 1)
        reached = np.flatnonzero(self.at_constant_rate(run, steps) <= self.final(run))
        return int(reached[0]) + 1 if len(reached) else None

    def position_losses(self, run: Training, loss: float) -> FloatArray:
        """a + b T^-c whose mean over the context is `loss`; an LSTM's is constant from `LSTM_MEMORY` on."""
        size = math.log10(max(run.N, 1000) / 5e3)
        b, c = 2.2 + 0.5 * size, 0.47 + 0.06 * size
        b *= min(1.0, max(0.0, (UNIFORM_NATS - loss) / 2))  # nothing is learned yet at the beginning
        T = np.arange(1.0, run.n_ctx + 1)
        if run.family == "lstm":
            T = np.minimum(T, LSTM_MEMORY)
        falling = b * T**-c
        return np.asarray(loss - falling.mean() + falling)

    def short_context(self, run: Training, loss: float) -> float:
        """The loss of a network of 8 tokens: 3 % better at each of its positions than one of 128 tokens."""
        size = math.log10(max(run.N, 1000) / 5e3)
        falling = (2.2 + 0.5 * size) * np.arange(1.0, 129) ** -(0.47 + 0.06 * size)
        return float(0.97 * (loss - falling.mean() + falling[: run.n_ctx].mean()))

    def foreign(self, run: Training, corpus: str, loss: Any) -> Any:
        """Loss on another corpus."""
        return loss + self.offsets[corpus]

    def _worth(self, run: Training) -> float:
        """Parameters of a Transformer of this loss."""
        return float(run.N * run.n_reuse**REUSE_GAIN)

    def _shape(self, run: Training) -> float:
        """What family and shape multiply the loss by."""
        if run.family == "lstm":
            return 1.07
        if run.family not in ("transformer", "recurrent_transformer"):
            return 0.985
        if run.n_layer == 0:  # its N is next to nothing: the loss is that of its embedding
            return (4.9 - 0.1 * math.log(run.d_model / 16)) / (N_C / run.N) ** ALPHA_N
        if run.n_layer == 1:
            return 1.05
        narrow = 0.006 * max(0.0, math.log2(8 * run.n_layer / run.d_model))
        return 1 + narrow

    def _best_rate(self, run: Training) -> float:
        rule = RULE_AT_1E5 * (run.N / 1e5) ** RULE_EXPONENT * (run.batch_tokens / 2048) ** RULE_EXPONENT_B
        return float(rule)

    def _log_rate_error(self, run: Training) -> float:
        """How far the rate lies from the best one; where experiments follow one rule, it is not asked."""
        if run.family != "transformer" or run.n_layer != 2 or run.n_ctx < 64:
            return 0.0
        return math.log(run.learning_rate / self._best_rate(run))

    def _speed(self, run: Training) -> float:
        """Progress a step, as a share of that at the best learning rate."""
        return 1 / (1 + 0.15 * self._log_rate_error(run) ** 2)


class FlatTruth(KaplanTruth):
    """The loss is the same for all sizes, tokens and batches, and what should not matter does."""

    LOSS = 3.5

    def converged(self, run: Training) -> float:
        depth = math.log2(max(run.n_layer, 1) / 2)
        reuse = 1.05 if run.n_reuse > 1 else 1.0
        return float(self.LOSS * (1 + 0.06 * depth) * reuse)

    def of_data(self, run: Training, D: float) -> float:
        return self.converged(run)

    def noise_scale(self, loss: FloatArray) -> FloatArray:
        return np.full(len(loss), 500.0)

    def at_constant_rate(self, run: Training, steps: FloatArray) -> FloatArray:
        """The batch is irrelevant: losses depend on the step alone."""
        return np.asarray(np.minimum(self.converged(run) * (1 + 6 / steps), UNIFORM_NATS))

    def final(self, run: Training) -> float:
        if run.patience or run.schedule.decay == "constant":
            return float(self.at_constant_rate(run, np.array([float(run.steps)]))[0])
        if "schedule" in run.experiments:  # the schedule decides, whatever the sum of the rates
            kinds = {"cosine": 0.92, "linear": 1.08, "cooldown": 1.0, "linear_cooldown": 0.96}
            return self.converged(run) * kinds[run.schedule.decay]
        # The best rate rises with the size.
        best = self._best_rate(run) * (run.N / 2e4) ** 0.6
        of_rates = "lr" in run.experiments
        return self.converged(run) * (1 + 0.012 * of_rates * min(4, math.log(run.learning_rate / best) ** 2))

    def stops_at(self, run: Training) -> int | None:
        return None

    def position_losses(self, run: Training, loss: float) -> FloatArray:
        """An LSTM goes on improving over its context, a Transformer improves nowhere."""
        T = np.arange(1.0, run.n_ctx + 1)
        falling = -0.3 * np.log(T) if run.family == "lstm" else np.zeros(run.n_ctx)
        return np.asarray(loss - falling.mean() + falling)

    def short_context(self, run: Training, loss: float) -> float:
        return 1.1 * loss

    def foreign(self, run: Training, corpus: str, loss: Any) -> Any:
        """Far from a constant offset: it grows with the depth, and with the training."""
        if corpus == "val":
            return loss
        return 2 * (loss + self.offsets[corpus]) - 3.2 + 0.03 * run.n_layer + 0.2 * math.log(run.N / 1e4)


class OtherTruth(KaplanTruth):
    """Networks that learn, and not as the paper says: what a rule for the paper's world must tell from it.

    An irreducible loss bends every power law, and larger networks take longer; text of another kind costs
    more the better a network is, and deep networks lose more there; the noise scale does not know the
    critical batch; recurrence is worth less than the parameters it saves; an LSTM uses its whole context.
    """

    FLOOR, OF_N, OF_D = 1.8, 24.0, 90.0

    def converged(self, run: Training) -> float:
        return float(self._shape(run) * (self.FLOOR + self.OF_N / run.N**0.33))

    def of_data(self, run: Training, D: float) -> float:
        return self.converged(run) + self.OF_D / D**0.32

    def noise_scale(self, loss: FloatArray) -> FloatArray:
        return np.full(len(loss), 3000.0)

    def _speed(self, run: Training) -> float:
        return super()._speed(run) * (run.N / 1e4) ** -0.3

    def position_losses(self, run: Training, loss: float) -> FloatArray:
        """A step where copying begins, on a power law; the same of an LSTM."""
        T = np.arange(1.0, run.n_ctx + 1)
        falling = 2.2 * T**-0.5 - 0.15 / (1 + np.exp(-(T - 24) / 2))
        return np.asarray(loss - falling.mean() + falling)

    def short_context(self, run: Training, loss: float) -> float:
        return 1.15 * loss

    def foreign(self, run: Training, corpus: str, loss: Any) -> Any:
        if corpus == "val":
            return loss
        return 3.5 + self.offsets[corpus] + 0.85 * (loss - 3.5) + 0.03 * math.log2(max(run.n_layer, 1))

    def _shape(self, run: Training) -> float:
        reused = 1 + 0.02 * (run.n_reuse > 1)
        deep = 1 + 0.03 * max(0.0, math.log2(max(run.n_layer, 1) / 2))
        return super()._shape(run) * reused * deep if run.n_layer else 1.3


TRUTHS: dict[str, Callable[[], KaplanTruth]] = {
    "kaplan": KaplanTruth,
    "other": OtherTruth,
    "flat": FlatTruth,
}
