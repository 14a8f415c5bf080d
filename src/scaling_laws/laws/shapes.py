"""Losses of networks of one size and several shapes: what each ratio costs, and which differences are noise.

As in Figure 5 of Kaplan et al. 2020, losses are compared at equal N: what is left of the 2 % is taken out
through L(N). The lowest loss of each bin of a ratio is its envelope, over all else that was tuned along.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.study.artefacts import read_json, typed
from scaling_laws.study.errors import InputError

RATIOS = {
    "d_ff_ratio": "d_ff / d_model",
    "aspect_ratio": "d_model / n_layer",
    "head_width": "d_model / n_heads",
    "n_layer": "n_layer",
}
"""What a shape is judged by, and its name in tables and figures."""
BINNED = ("d_ff_ratio", "aspect_ratio")
"""Their bins are factors of two, around powers of two; the others' are their values."""


@dataclass(frozen=True, kw_only=True)
class Correction:
    """How losses are brought to equal N: loss (N / N_target)^alpha_N."""

    alpha_N: float
    source: str

    def at(self, N_target: float, loss: float, N: float) -> float:
        """The loss of a network of N parameters as it would be at exactly N_target, nats."""
        return float(loss * (N / N_target) ** self.alpha_N)


@dataclass(frozen=True, kw_only=True)
class ShapeRatios:
    """A network by its ratios.

    Attributes:
        run: that trained it.
        N: its parameters; None in files of older versions.
    """

    run: str
    d_ff_ratio: float
    aspect_ratio: float
    head_width: int
    n_layer: int
    N: int | None = None


@dataclass(frozen=True, kw_only=True)
class ShapeTrial(ShapeRatios):
    """One network that a search trained.

    Attributes:
        loss: nats per token on the text that chooses; None where the run was pruned or diverged.
        test_loss: on the text that laws are made of.
        corrected_loss: `loss` brought to the search's N.
        increase_percent: of that over the best of all.
    """

    N: int
    status: str
    d_model: int
    n_heads: int
    d_ff: int
    tokens: int
    learning_rate: float
    learning_rate_factor: float
    loss: float | None
    corrected_loss: float | None = None
    increase_percent: float | None = None
    test_loss: float | None
    tokens_per_s: float | None

    def ratio(self, name: str) -> float:
        """One of `RATIOS`."""
        return float(getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class RatioBin:
    """One bin of a ratio.

    Attributes:
        low, high: its ends.
        n_trials: complete trials in it.
        increase_percent: of the best of them over the best of all.
        run: that trial's.
    """

    low: float
    high: float
    n_trials: int
    increase_percent: float
    run: str


@dataclass(frozen=True, kw_only=True)
class ShapeNoise:
    """The noise between seeds of the shapes that were trained again.

    Attributes:
        sd_log_loss, band_percent: see `SeedNoise`.
        sd_by_shape: the deviation of each shape, the best first.
        n_shapes, n_runs: that it was measured with.
    """

    sd_log_loss: float
    sd_by_shape: tuple[float, ...]
    n_shapes: int
    n_runs: int
    band_percent: float


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The share that each ratio has in telling better trials from worse ones; None with the reason why."""

    shares: dict[str, float] | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class EnlargedShape:
    """A shape at the search's N and one of the same ratios at the larger N, with their losses in nats."""

    small: ShapeRatios
    large: ShapeRatios
    loss_small: float
    loss_large: float


@dataclass(frozen=True, kw_only=True)
class ShapeTransfer:
    """The order of some shapes at the study's N and at a larger one.

    Attributes:
        N, tokens: the larger size, and how long it was trained.
        n_pairs, n_pairs_kept: pairs of shapes, and those of one order at both sizes.
    """

    N: float
    tokens: int
    n_pairs: int
    n_pairs_kept: int
    best_stays_best: bool
    shapes: tuple[EnlargedShape, ...]


@dataclass(frozen=True, kw_only=True)
class ShapeResult:
    """What a shape study found: the content of `shape.json`.

    Attributes:
        N: parameters of every network, met within 2 %.
        tokens: that each was trained for; `constant_rate_tokens`: between which its rate was constant.
        n_shapes: different networks among the complete trials.
        counts: trials by how they ended, and `infeasible` suggestions, which no network of N parameters has.
        trained_tokens: of all trials.
        trials: by their corrected loss, the best first; those without a loss last.
    """

    schema: int = 1
    study: str
    question: str
    N: float
    tokens: int
    constant_rate_tokens: tuple[int, ...]
    n_shapes: int
    counts: dict[str, int]
    trained_tokens: int
    optuna: str
    correction: Correction
    best: ShapeTrial
    noise: ShapeNoise | None
    envelopes: dict[str, tuple[RatioBin, ...]]
    importance: Importance
    transfer: ShapeTransfer | None
    trials: tuple[ShapeTrial, ...]

    def __post_init__(self) -> None:
        """Raises InputError: the best of a bin is none of the trials."""
        known = {trial.run for trial in self.trials}
        for ratio, bins in self.envelopes.items():
            for number, each in enumerate(bins):
                if each.run not in known:
                    raise InputError(f"envelopes.{ratio}[{number}].run is not one of the trials")

    @property
    def complete(self) -> tuple[ShapeTrial, ...]:
        """The trials with a loss, the best first."""
        return tuple(trial for trial in self.trials if trial.corrected_loss is not None)


def ranked(trials: Sequence[ShapeTrial], correction: Correction, N: float) -> tuple[ShapeTrial, ...]:
    """The trials with their losses at N parameters and above the best, the best first; without a loss last.

    Raises:
        InputError: no trial has a loss.
    """
    corrected = {
        trial.run: correction.at(N, trial.loss, trial.N) for trial in trials if trial.loss is not None
    }
    if not corrected:
        raise InputError("no trial is complete; see the reasons in their folders' log.txt")
    best = min(corrected.values())
    rows = [
        replace(trial, corrected_loss=loss, increase_percent=100 * (loss / best - 1))
        for trial in trials
        if (loss := corrected.get(trial.run)) is not None
    ]
    rows.sort(key=lambda trial: (trial.corrected_loss, trial.run))
    return *rows, *sorted((trial for trial in trials if trial.loss is None), key=lambda trial: trial.run)


def envelope(trials: Sequence[ShapeTrial], ratio: str) -> tuple[RatioBin, ...]:
    """The best trial of each bin of a ratio, in order of the ratio.

    Args:
        trials: complete ones, ranked.
    """
    bins: dict[tuple[float, float], list[ShapeTrial]] = {}
    for trial in trials:
        low = high = getattr(trial, ratio)
        if ratio in BINNED:
            power = round(math.log2(low))
            low, high = 2 ** (power - 0.5), 2 ** (power + 0.5)
        bins.setdefault((low, high), []).append(trial)
    return tuple(
        RatioBin(
            low=low,
            high=high,
            n_trials=len(members),
            increase_percent=members[0].increase_percent or 0.0,
            run=members[0].run,
        )
        for (low, high), members in sorted(bins.items())
    )


def noise_between_shapes(losses: Sequence[Sequence[float]]) -> ShapeNoise | None:
    """The noise, from losses of several seeds of each of some shapes; None where no shape has two."""
    groups = [np.log(np.asarray(group)) for group in losses if len(group) > 1]
    n_runs = sum(len(group) for group in groups)
    if n_runs == len(groups):
        return None
    squares = sum(float(np.sum((group - group.mean()) ** 2)) for group in groups)
    sd = math.sqrt(squares / (n_runs - len(groups)))
    band = SeedNoise(sd_log_loss=sd, n_groups=len(groups), n_runs=n_runs).band_percent
    assert band is not None
    return ShapeNoise(
        sd_log_loss=sd,
        sd_by_shape=tuple(float(np.std(group, ddof=1)) for group in groups),
        n_shapes=len(groups),
        n_runs=n_runs,
        band_percent=band,
    )


def transfer_of(shapes: Sequence[EnlargedShape], N: float, tokens: int) -> ShapeTransfer | None:
    """Whether the order of the shapes is the same at both sizes; None for less than two."""
    if len(shapes) < 2:
        return None
    before = np.array([shape.loss_small for shape in shapes])
    after = np.array([shape.loss_large for shape in shapes])
    pairs = [(i, j) for i in range(len(shapes)) for j in range(i)]
    return ShapeTransfer(
        N=N,
        tokens=tokens,
        n_pairs=len(pairs),
        n_pairs_kept=sum(bool((before[i] < before[j]) == (after[i] < after[j])) for i, j in pairs),
        best_stays_best=bool(np.argmin(before) == np.argmin(after)),
        shapes=tuple(shapes),
    )


def read_shape_result(path: Path) -> ShapeResult:
    """The content of a `shape.json`.

    Raises:
        InputError: it cannot be read, or is none.
    """
    remedy = "run the study again"
    content = read_json(path, kind="result of a shape study", remedy=remedy)
    return typed(content, ShapeResult, path, remedy=remedy)
