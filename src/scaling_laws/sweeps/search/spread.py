"""Networks that are trained before a sampler suggests any: spread evenly over the space.

A sampler that looks for the best soon suggests hardly anything else. How much a ratio matters is told by the
other values, so that a few trials are laid out beforehand.
"""

from __future__ import annotations

import math

from scipy.stats import qmc

from scaling_laws.sweeps.plan.experiments import Plan
from scaling_laws.sweeps.plan.search_section import ShapeSearch
from scaling_laws.sweeps.search.follow_up import network_key
from scaling_laws.sweeps.search.space import Point, is_feasible
from scaling_laws.sweeps.search.trials import TrialRun, network_at, planned_trial, search_of

POINTS_PER_NETWORK = 50
"""Points that are looked at for each network asked for: some are infeasible, and others name one network."""


def spread_trials(plan: Plan) -> list[TrialRun]:
    """Different networks of N parameters from a Halton sequence, `spread` of them or as many as there are.

    Depth and d_ff / d_model are spread by their logarithm; the learning rate is in the middle of its range.
    """
    search = search_of(plan)
    found: dict[tuple[int, ...], TrialRun] = {}
    sequence = qmc.Halton(d=3, scramble=True, rng=search.seed)
    for place in sequence.random(POINTS_PER_NETWORK * search.spread) if search.spread else ():
        point = _point(search, *(float(share) for share in place))
        shape = network_at(plan, point)
        if len(found) < search.spread and is_feasible(shape, point):
            found.setdefault(network_key(shape), planned_trial(plan, point))
    return list(found.values())


def _point(search: ShapeSearch, depth: float, ratio: float, width: float) -> Point:
    """The point at a place of the unit cube."""
    shallowest, deepest = search.n_layer
    low, high = search.d_ff_ratio
    widths = sorted(set(search.head_width))
    # Every depth has the share of the logarithmic axis from halfway below it to halfway above.
    n_layer = round((shallowest - 0.5) * ((deepest + 0.5) / (shallowest - 0.5)) ** depth)
    return Point(
        n_layer=min(deepest, max(shallowest, n_layer)),
        d_ff_ratio=low * (high / low) ** ratio,
        head_width=widths[int(width * len(widths))],
        learning_rate_factor=math.sqrt(math.prod(search.learning_rate_factor)),
    )
