"""What the section `search:` of a sweep file holds: with it the sweep is a study of shapes at one N."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scaling_laws.study.bounds import (
    Count,
    Parameters,
    PositiveCount,
    PositiveLayers,
    PositiveNumber,
    Rate,
    Seed,
    Tokens,
    Width,
    check_bounds,
)
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.learning_rates import LearningRateRule

OBJECTIVE_CORPUS = "val"
"""Held-out text that chooses, here shapes, elsewhere learning rates; `test` stays unseen."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Whether what is best at the study's N is best at a larger one: a few shapes are trained there, too."""

    N: Parameters
    """Non-embedding parameters."""
    tokens: Tokens | None = None
    """D of these runs; by default as many tokens per parameter as in the search."""
    shapes: PositiveCount = 3
    """How many, by rank at the study's N: the best, the worst, and evenly between them."""


@dataclass(frozen=True, kw_only=True)
class ShapeSearch:
    """Transformers of one N, trained for one D: which depth, width, heads and feed-forward width are best?

    A trial is a depth, a ratio d_ff / d_model, a width of heads and a factor of the learning rate; d_model
    and n_heads follow from N. Its run is one of the study's, in a folder of its own, and data of no law.

    `check` raises InputError where a value makes no sense. (A sweep file's parser would garble an error of
    the constructor.)
    """

    N: Parameters
    """Non-embedding parameters, met within 2 %; a trial whose shape cannot meet it is infeasible and not
    trained."""
    tokens: Tokens
    """D of every trial."""
    learning_rate: LearningRateRule | Rate
    """A rule, or one rate for all."""
    learning_rate_factor: tuple[PositiveNumber, PositiveNumber] = (0.5, 2.0)
    """Range of the factor that every trial multiplies the rate by, searched on a logarithmic scale; (1, 1)
    leaves the rate to the rule."""
    n_layer: tuple[PositiveLayers, PositiveLayers] = (1, 8)
    """Range of the depth."""
    d_ff_ratio: tuple[PositiveNumber, PositiveNumber] = (0.5, 16.0)
    """Range of d_ff / d_model, searched on a logarithmic scale."""
    head_width: tuple[Width, ...] = (8, 16, 32, 64)
    """Values of d_model / n_heads."""
    trials: PositiveCount = 40
    """Networks to train; infeasible trials, and those that ask for a network once more, do not count."""
    spread: Count = 0
    """So many of these are laid out first, evenly over the space and at the middle of the rate's range: a
    sampler alone soon looks at hardly anything but the best."""
    sampler: dict[str, Any] = field(default_factory=lambda: {"class_path": "optuna.samplers.TPESampler"})
    """Class and arguments of an Optuna sampler. One that takes a seed and has none gets `seed`."""
    pruner: dict[str, Any] | None = None
    """Class and arguments of a pruner: Optuna's, or `scaling_laws.sweeps.search.pruner.CurvePruner`. Tokens
    are the steps of its reports. None trains every trial to its end."""
    seed: Seed = 1
    """Of weights and data of every trial, and of the sampler."""
    replicates: PositiveCount = 3
    """Seeds in all for the best shape and one other: the noise band. 1 for no noise band."""
    transfer: Transfer | None = None
    laws: str | None = None
    """A laws.json whose L(N) corrects losses to equal N; by default Kaplan's exponent 0.076."""

    @property
    def tunes_learning_rate(self) -> bool:
        """Whether the factor of the learning rate is searched."""
        return self.learning_rate_factor[0] < self.learning_rate_factor[1]

    @property
    def transfer_tokens(self) -> int:
        """D of the runs at the larger N."""
        assert self.transfer is not None
        return self.transfer.tokens or round(self.tokens * self.transfer.N / self.N)

    def check(self) -> None:
        """Refuse what makes no search.

        Raises:
            InputError: a value makes no sense.
        """
        if isinstance(self.learning_rate, LearningRateRule):
            self.learning_rate.check()
        check_bounds(self, what="search")
        if not 0 <= self.spread <= self.trials:
            raise InputError(f"search: spread is {self.spread}; it must lie between 0 and trials")
        for name in ("learning_rate_factor", "n_layer", "d_ff_ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise InputError(f"search: {name} is {low} to {high}; the first must not be the larger")
        if not self.head_width:
            raise InputError("search: head_width must be one positive number or more")
        for name, given in (("sampler", self.sampler), ("pruner", self.pruner)):
            if given is not None:
                _check_class(name, given)
        if self.transfer is not None:
            check_bounds(self.transfer, what="search: transfer")
            if self.transfer.shapes < 2:
                raise InputError(
                    f"search: transfer.shapes is {self.transfer.shapes}; an order needs two or more"
                )
            if self.transfer.N <= self.N:
                raise InputError(
                    f"search: transfer.N is {self.transfer.N:g}; it must be above N = {self.N:g}"
                )


def _check_class(name: str, given: dict[str, Any]) -> None:
    if unknown := sorted(given.keys() - {"class_path", "init_args"}):
        raise InputError(f"search: {name} has {unknown[0]!r}; it takes class_path and init_args")
    if not isinstance(given.get("class_path"), str):
        raise InputError(f"search: {name} lacks its class_path, as optuna.samplers.TPESampler")
    if not isinstance(given.get("init_args", {}), dict):
        raise InputError(f"search: {name}.init_args must be arguments by name")
