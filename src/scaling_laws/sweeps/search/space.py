"""From a trial's parameters to the network of N parameters that they stand for.

A depth, a ratio d_ff / d_model and a width of heads leave one size of freedom, and N takes it: d_model is
the multiple of the head width that comes nearest, and d_ff makes up the rest (`models/solver.py`). What a
trial is judged by afterwards are the network's own ratios, not those that were asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from scaling_laws.models.solver import D_FF_TOLERANCE, TOLERANCE, Shape, solve_shape
from scaling_laws.study.bounds import Layers, PositiveCount, PositiveNumber, check_bounds
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.search_section import ShapeSearch


@dataclass(frozen=True, kw_only=True)
class Point:
    """What Optuna suggests: the parameters of one trial, by their names in the storage."""

    n_layer: Layers
    d_ff_ratio: PositiveNumber
    head_width: PositiveCount
    learning_rate_factor: PositiveNumber = 1.0

    def __post_init__(self) -> None:
        """Raises InputError: read from a folder, a number makes no network."""
        check_bounds(self)

    @property
    def params(self) -> dict[str, Any]:
        """By name, for a storage whose search tunes the learning rate."""
        return asdict(self)


def distributions(search: ShapeSearch) -> dict[str, BaseDistribution]:
    """The space that is searched. A learning rate that is left to its rule is no part of it."""
    space: dict[str, BaseDistribution] = {
        "n_layer": IntDistribution(*search.n_layer, log=True),
        "d_ff_ratio": FloatDistribution(*search.d_ff_ratio, log=True),
        "head_width": CategoricalDistribution(sorted(set(search.head_width))),
    }
    if search.tunes_learning_rate:
        space["learning_rate_factor"] = FloatDistribution(*search.learning_rate_factor, log=True)
    return space


def point_of(params: Mapping[str, Any], search: ShapeSearch) -> Point:
    """The point that a trial's parameters name."""
    return Point(**({"learning_rate_factor": search.learning_rate_factor[0]} | dict(params)))


def shape_at(point: Point, N: float, *, n_vocab: int, n_ctx: int) -> Shape:
    """The network nearest to N parameters and to what the point asks for; `violations` says how near."""
    wanted: dict[str, Any] = {
        "n_vocab": n_vocab,
        "n_ctx": n_ctx,
        "n_layer": point.n_layer,
        "head_width": point.head_width,
        "d_ff_ratio": point.d_ff_ratio,
        "adjust_d_ff": True,
    }
    try:
        return solve_shape(N, **wanted)
    except InputError:  # none within the tolerances
        return solve_shape(N, **wanted, nearest=True)


def violations(shape: Shape, point: Point) -> dict[str, float]:
    """Optuna's constraints, by name: above 0 the shape is not what was asked for, and is not trained.

    `N`          the relative error of N, less the 2 % that are allowed
    `d_ff_ratio` the logarithm by which the network misses the ratio asked for, less that of a factor of two:
                 beyond it there is no network of N parameters with these layers and heads
    """
    return {
        "N": abs(shape.relative_error) - TOLERANCE,
        "d_ff_ratio": abs(math.log(shape.d_ff_ratio / point.d_ff_ratio)) - math.log(D_FF_TOLERANCE),
    }


def is_feasible(shape: Shape, point: Point) -> bool:
    """Whether the network is one of N parameters and of the point's ratios."""
    return max(violations(shape, point).values()) <= 0
