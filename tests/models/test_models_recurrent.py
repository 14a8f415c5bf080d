"""The recurrent Transformer of Kaplan 2020, Fig. 17: a family of its own, whose compute counts every use."""

import dataclasses

import pytest
from tests.support.synthetic_study import write_synthetic_study

from scaling_laws.models.lstm import LSTM
from scaling_laws.models.lstm_config import LSTMConfig
from scaling_laws.models.network import require_accounting
from scaling_laws.models.transformer import Transformer
from scaling_laws.models.transformer_config import TransformerConfig
from scaling_laws.study.conventions import compute_flops, parameter_counts, times_reused
from scaling_laws.study.runs import load_study, runs_table

SIZE = {"n_vocab": 50, "n_ctx": 8, "n_layer": 2, "d_model": 16}


@pytest.mark.parametrize(("n_reuse", "family"), [(1, "transformer"), (4, "recurrent_transformer")])
def test_reuse_makes_a_family_of_its_own(n_reuse, family):
    network = Transformer(**SIZE, n_reuse=n_reuse)
    require_accounting(network)
    assert network.family == TransformerConfig(**SIZE, n_reuse=n_reuse).family == family
    assert LSTM(**SIZE).family == LSTMConfig(**SIZE).family == "lstm"


def counted(config):
    return config.parameters_by_group(), config.flops_per_token(), times_reused(dataclasses.asdict(config))


def test_each_parameter_counts_as_often_as_it_is_used():
    once, often = (counted(TransformerConfig(**SIZE, n_reuse=n)) for n in (1, 4))
    assert often[0] == once[0] and (once[2], often[2]) == (1, 4)
    counts = parameter_counts(*often)
    assert counts == parameter_counts(*once) | {"N_reused": 4 * counts["N"]}


def test_compute_is_that_of_the_unshared_network_of_as_many_layers():
    """Up to the norm before the head, which the unshared network has once and 4 N counts four times."""
    shared = counted(TransformerConfig(**SIZE, n_reuse=4))
    unshared = counted(TransformerConfig(**(SIZE | {"n_layer": 8})))
    C, expected = (compute_flops(*network[:2], 1000, network[2]) for network in (shared, unshared))
    final_norms = 3 * 2 * SIZE["d_model"]
    assert C["C"] == expected["C"] + 6 * 1000 * final_norms
    assert C["C_attention"] - C["C"] == expected["C_attention"] - expected["C"]
    assert C["C_exact"] == expected["C_exact"]


def test_without_reuse_c_is_6nd_whatever_the_network():
    for config in (TransformerConfig(**SIZE), LSTMConfig(**SIZE)):
        parameters, flops, n_reuse = counted(config)
        N = sum(parameters.values()) - sum(
            parameters.get(g, 0) for g in ("token_embedding", "position_embedding")
        )
        assert parameter_counts(parameters, flops, n_reuse)["N_reused"] == N
        assert compute_flops(parameters, flops, 1000, n_reuse)["C"] == 6.0 * N * 1000
        assert compute_flops(parameters, flops, 1000, n_reuse) == compute_flops(parameters, flops, 1000)


@pytest.mark.parametrize(("shape", "times"), [({}, 1), ({"n_reuse": 3}, 3), ({"n_reuse": None}, 1)])
def test_shapes_of_other_networks_need_not_say(shape, times):
    assert times_reused(shape) == times


def test_the_runs_table_has_both_counts(tmp_path):
    folder = write_synthetic_study(
        tmp_path / "s", families=("transformer",), max_sizes=1, curves=False, positions=False
    )
    record = load_study(folder).records[0]
    shared = dataclasses.replace(record, shape={**record.shape, "n_reuse": 4})
    once, often = (row for _, row in runs_table([record, shared]).iterrows())
    assert (once["n_reuse"], often["n_reuse"]) == (1, 4)
    assert once["N"] == once["N_reused"] == often["N"] and often["N_reused"] == 4 * once["N"]
    assert once["C"] == 6 * once["N"] * once["D"] and often["C"] == 4 * once["C"]
