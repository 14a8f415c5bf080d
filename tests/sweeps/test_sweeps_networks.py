"""Networks of a plan whose size is given instead of their width: the network, built, is the truth."""

from __future__ import annotations

from typing import Any

import pytest
from examples.modern_decoder import ModernDecoder

from scaling_laws.models.lstm import LSTM
from scaling_laws.models.transformer import Transformer
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.networks import PlannedNetwork, planned_network
from scaling_laws.sweeps.plan.sweep_file import Ladder, Model, Sweep

DECODER = "examples.modern_decoder.ModernDecoder"
CLASSES = {"transformer": Transformer, "recurrent_transformer": Transformer, "lstm": LSTM}


def planned(shape: dict[str, Any], family: str = "transformer") -> PlannedNetwork:
    """Of a built-in family, or of a class path."""
    names: dict[str, Any] = {"class_path": family} if "." in family else {"family": family}
    ladder = Ladder(learning_rate=0.01, models=(Model(shape=shape, horizons_tokens=(10_000,)),), **names)
    sweep = Sweep(study="s", question="?", corpus="c.yaml", ladders=(ladder,), n_ctx=16, batch_sequences=4)
    return planned_network(sweep, ladder, ladder.models[0], n_vocab=64)


def built(network: PlannedNetwork) -> Any:
    return CLASSES.get(network.family, ModernDecoder)(n_vocab=64, n_ctx=16, **network.arguments)


@pytest.mark.parametrize("n_reuse", [1, 2, 8])
def test_the_recurrent_transformer_is_a_family_with_its_own_count(n_reuse: int) -> None:
    network = planned({"N": 1e5, "n_layer": 2, "n_reuse": n_reuse})
    assert network.family == built(network).family
    assert network.family == ("transformer" if n_reuse == 1 else "recurrent_transformer")
    assert pytest.approx(1e5, rel=0.02) == network.N and network.N_reused == n_reuse * network.N
    assert network.compute_flops(1000)["C"] == 6 * network.N_reused * 1000


def test_equal_flops_a_token_by_n_reused() -> None:
    shared = planned({"N_reused": 4e5, "n_layer": 2, "n_reuse": 4})
    unshared = planned({"N_reused": 4e5, "n_layer": 8})
    assert (shared.arguments["n_reuse"], unshared.n_reuse) == (4, 1)
    assert shared.N_reused == pytest.approx(unshared.N_reused, rel=0.04)
    C, expected = shared.compute_flops(1)["C_exact"], unshared.compute_flops(1)["C_exact"]
    assert pytest.approx(expected, rel=0.04) == C


@pytest.mark.parametrize("family", ["transformer", "lstm", DECODER])
def test_a_wish_takes_the_nearest(family: str) -> None:
    shape = {"n_layer": 2}
    with pytest.raises(InputError, match="the nearest is"):
        planned({"N": 777, **shape}, family)
    network = planned({"N_about": 777, **shape}, family)
    assert network.arguments["n_layer"] == 2 and 400 < network.N < 1500
    assert sum(weight.numel() for weight in built(network).parameters()) == sum(network.parameters.values())


def test_a_network_of_ones_own_that_shows_its_head_needs_the_memory_of_a_built_in_one() -> None:
    shape = {"n_layer": 2, "d_model": 16}
    own = planned(shape, "scaling_laws.models.transformer.Transformer")
    assert own.memory == planned(shape).memory


def test_d_ff_may_fill_a_hole_in_the_sizes() -> None:
    shape = {"N": 3e4, "n_layer": 3, "head_width": 8}
    with pytest.raises(InputError, match="the nearest is"):
        planned(shape)
    network = planned({**shape, "adjust_d_ff": True})
    assert network.arguments == {"n_layer": 3, "d_model": 32, "n_heads": 4, "d_ff": 86}
    assert pytest.approx(3e4, rel=0.02) == network.N


def test_a_network_of_ones_own_is_solved_for() -> None:
    network = planned({"N": 5.5e4, "n_layer": 2, "tied": False, "head_width": 6}, DECODER)
    assert network.arguments["d_model"] == 6 * network.arguments["n_heads"]
    assert pytest.approx(5.5e4, rel=0.02) == network.N and network.arguments["tied"] is False
    assert network.n_reuse == 1 and network.N_reused == network.N


class Looped(ModernDecoder):
    """Says that it applies its blocks twice; has an argument that is called as our size."""

    family = "looped"

    def __init__(self, n_vocab: int, n_ctx: int, d_model: int = 8, n_reuse: int = 2, N: int = 1) -> None:
        super().__init__(n_vocab, n_ctx, N, d_model)


def test_arguments_of_ones_own_network_keep_their_names() -> None:
    name = "test_sweeps_networks.Looped"
    network = planned({"N": 3}, name)
    assert (network.arguments, network.n_reuse) == ({"N": 3}, 2)
    assert network.parameters["norm"] == 7 * 8
    assert pytest.approx(2e4, rel=0.02) == planned({"N_reused": 4e4}, name).N


@pytest.mark.parametrize(
    ("shape", "family", "says"),
    [
        ({"N": 1e5, "N_about": 1e5}, "transformer", "N and N_about are two sizes"),
        ({"N_reused": 1e5, "N": 1e5}, DECODER, "are two sizes"),
        ({"N_about": "much"}, "lstm", "N_about is 'much'; it must be a number"),
        ({"N_about": True}, "transformer", "N_about is True; it must be a number"),
        ({"N": 1e5, "adjust_d_ff": 1}, "transformer", "adjust_d_ff is 1; it must be true or false"),
        ({"N_reused": 1e5, "d_model": 8}, "transformer", "N decides d_model"),
        ({"N": 1e5, "n_layer": 1, "d_model": 8}, DECODER, "N decides d_model"),
        ({"N": 1e5, "n_layer": 1, "head_width": "wide"}, DECODER, "head_width is 'wide'"),
        ({"N": 1e5, "n_layers": 1}, DECODER, "n_layers"),
        ({"d_model": 8, "n_head": 1}, "transformer", r"there is no n_head; did you mean n_heads\?"),
        ({"d_model": 8, "width": 9}, "lstm", "there is no width; a shape has .*d_model"),
    ],
)
def test_wrong_sizes_get_one_line(shape: dict[str, Any], family: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        planned(shape, family)
    assert "\n" not in str(raised.value)
