"""The optimisers: their names, what each takes, and what it keeps. Standard library only.

`training/optim.py` builds them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from scaling_laws.models.precision import Shape
from scaling_laws.study.errors import InputError

OptimizerName = Literal["adamw", "adafactor"]
COUNTER_BYTES = 4
"""A step counter in float32 for each tensor."""


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """One optimiser.

    Attributes:
        settings: what it takes beside the rate and the weight decay, by the names of `LanguageModel`.
        moments: numbers that it keeps of a tensor of a shape, each as wide as a weight.
    """

    settings: tuple[str, ...]
    moments: Callable[[Shape], int]

    def state_bytes(self, shape: Shape, weight_bytes: int) -> int:
        """Of one tensor."""
        return weight_bytes * self.moments(shape) + COUNTER_BYTES


def _factored(shape: Shape) -> int:
    """The mean square of every row and of every column (Shazeer and Stern 2018); all of a vector's."""
    if len(shape) < 2:
        return math.prod(shape)
    *leading, n_rows, n_columns = shape
    return math.prod(leading) * (n_rows + n_columns)


OPTIMIZERS: dict[str, Optimizer] = {
    "adamw": Optimizer(settings=("beta1", "beta2"), moments=lambda shape: 2 * math.prod(shape)),
    "adafactor": Optimizer(settings=(), moments=_factored),
}


def optimizer_named(name: str) -> Optimizer:
    """One of `OPTIMIZERS`.

    Raises:
        InputError: there is none of this name: nothing is known of what it keeps.
    """
    if name not in OPTIMIZERS:
        raise InputError(f"optimizer {name!r}: is none of {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]
