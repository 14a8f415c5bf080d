"""Widths of a network of one's own: the network, built in earnest, is the truth."""

import time

import pytest
import torch
from examples.modern_decoder import ModernDecoder

from scaling_laws.models.own import solve_width
from scaling_laws.study.errors import InputError

DECODER = "examples.modern_decoder.ModernDecoder"
WORLD = {"n_vocab": 64, "n_ctx": 8}


def decoders_N(arguments):
    network = ModernDecoder(**WORLD, **arguments)
    return sum(weight.numel() for part in (network.blocks, network.norm) for weight in part.parameters())


@pytest.mark.parametrize(
    ("N", "arguments"),
    [(1e4, {"n_layer": 2}), (1e5, {"n_layer": 1, "n_heads": 4, "n_kv_heads": 2}), (1e6, {"n_layer": 3})],
)
def test_the_network_has_the_parameters_asked_for(N, arguments):
    solved = solve_width(DECODER, N, arguments, **WORLD)
    assert solved == {**arguments, "d_model": solved["d_model"]}
    assert decoders_N(solved) == pytest.approx(N, rel=0.02)


def test_no_neighbour_is_nearer():
    solved = solve_width(DECODER, 54_321, {"n_layer": 2, "n_heads": 3}, **WORLD, nearest=True)
    misses = {
        d_model: abs(decoders_N(solved | {"d_model": d_model}) - 54_321) for d_model in range(6, 120, 6)
    }
    assert min(misses, key=misses.__getitem__) == solved["d_model"]


def test_heads_of_a_width():
    solved = solve_width(DECODER, 1.9e5, {"n_layer": 2}, **WORLD, head_width=8)
    assert solved["d_model"] == 8 * solved["n_heads"]
    assert decoders_N(solved) == pytest.approx(1.9e5, rel=0.02)


def test_the_nearest_is_found_where_nothing_is_near():
    with pytest.raises(InputError, match="the nearest is 64 with 1"):
        solve_width(DECODER, 2e4, {"n_layer": 2}, **WORLD, head_width=64)
    assert solve_width(DECODER, 2e4, {"n_layer": 2}, **WORLD, head_width=64, nearest=True)["n_heads"] == 1


class Picky(torch.nn.Linear):
    """Takes widths that are multiples of 24 only."""

    family = "picky"

    def __init__(self, n_vocab: int, n_ctx: int, d_model: int) -> None:
        if d_model % 24:
            raise ValueError(f"{d_model} is no multiple of 24")
        super().__init__(d_model, d_model, bias=False)

    def parameters_by_group(self) -> dict[str, int]:
        return {"all": self.weight.numel()}

    def flops_per_token(self) -> dict[str, float]:
        return {"all": 2.0 * self.weight.numel()}


class Narrow(torch.nn.Linear):
    family = "narrow"

    def __init__(self, n_vocab: int, n_ctx: int, width: int = 4) -> None:
        super().__init__(width, width)


@pytest.mark.parametrize(("N", "d_model"), [(1, 24), (100.0**2, 96), (109.0**2, 120), (2400.0**2, 2400)])
def test_widths_that_the_network_refuses_are_passed_over(N, d_model):
    solved = solve_width("test_models_own_width.Picky", N, {}, **WORLD, nearest=True)
    assert solved == {"d_model": d_model}


@pytest.mark.parametrize(
    ("name", "arguments", "options", "says"),
    [
        ("test_models_own_width.Narrow", {}, {}, "no d_model to solve for"),
        ("test_models_own_width.Picky", {}, {"head_width": 4}, "head_width needs a constructor with n_heads"),
        (DECODER, {"n_layer": 1, "n_heads": 2}, {"head_width": 4}, "must not give it, too"),
        (DECODER, {"n_layers": 1}, {}, "n_layers"),
        (DECODER, {"n_layer": 0}, {}, "n_layer is 0"),
        ("nowhere.Net", {}, {}, "cannot be imported"),
    ],
)
def test_what_cannot_be_solved_gets_one_line(name, arguments, options, says):
    with pytest.raises(InputError, match=says) as raised:
        solve_width(name, 1e4, arguments, **WORLD, **options)
    assert "\n" not in str(raised.value)


def test_a_size_that_makes_no_sense():
    for N in (0, -1.0, float("nan"), 1e18):
        with pytest.raises(InputError, match="it must be positive"):
            solve_width(DECODER, N, {"n_layer": 1}, **WORLD)


def test_a_large_network_is_solved_in_a_moment():
    start_s = time.perf_counter()
    solved = solve_width(DECODER, 6.9e9, {"n_layer": 32}, n_vocab=32_000, n_ctx=2048, head_width=128)
    assert time.perf_counter() - start_s < 5
    assert solved["d_model"] == 4224 and solved["n_heads"] == 33
