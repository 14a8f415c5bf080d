"""From a trial's parameters to a network of N parameters."""

from __future__ import annotations

import math

import pytest

from scaling_laws.sweeps.search.space import Point, is_feasible, shape_at, violations


@pytest.mark.parametrize("N", [5e4, 1e6, 1e8])
def test_every_feasible_point_has_N_within_two_per_cent_and_its_ratios(N: float) -> None:
    """Counted here anew; three networks in four or more are there at every depth but the deepest."""
    n_feasible = n_points = 0
    for n_layer in (1, 2, 3, 4, 6, 8):
        for head_width in (8, 16, 32, 64):
            for step in range(11):
                point = Point(n_layer=n_layer, d_ff_ratio=0.5 * 2 ** (step / 2), head_width=head_width)
                shape = shape_at(point, N, n_vocab=1024, n_ctx=128)
                n_points += 1
                if not is_feasible(shape, point):
                    continue
                n_feasible += 1
                network = shape.config
                groups = network.parameters_by_group()
                counted = groups["attention"] + groups["feed_forward"] + groups["norm"]
                assert abs(counted / N - 1) <= 0.02
                assert network.n_layer == n_layer and network.d_model == network.n_heads * head_width
                ratio = network.feed_forward_width / network.d_model
                assert abs(math.log(ratio / point.d_ff_ratio)) <= math.log(2)
    assert n_feasible > (0.5 if N < 1e6 else 0.9) * n_points


def test_what_does_not_exist_is_infeasible_and_says_by_how_much() -> None:
    """Eight layers of heads 64 wide have at least 8 x 4 x 64^2 = 131,072 weights in their attention alone."""
    point = Point(n_layer=8, d_ff_ratio=4.0, head_width=64)
    shape = shape_at(point, 5e4, n_vocab=1024, n_ctx=128)
    assert not is_feasible(shape, point)
    assert violations(shape, point)["N"] > 131_072 / 5e4 - 1 - 0.02


def test_a_ratio_that_whole_heads_cannot_have_is_infeasible() -> None:
    """One layer of 64 or of 128: at N = 1e5 d_ff / d_model is about 10 or 1, and nothing between."""
    between = Point(n_layer=1, d_ff_ratio=3.5, head_width=64)
    shape = shape_at(between, 1e5, n_vocab=1024, n_ctx=128)
    assert not is_feasible(shape, between)
    there = Point(n_layer=1, d_ff_ratio=10.0, head_width=64)
    assert is_feasible(shape_at(there, 1e5, n_vocab=1024, n_ctx=128), there)
