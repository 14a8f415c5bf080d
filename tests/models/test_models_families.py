"""One owner for each family and each optimiser: an entry that is forgotten, or unknown, is refused."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from scaling_laws.models.families import FAMILIES, LABELS, Family, family_named
from scaling_laws.models.memory import memory_of
from scaling_laws.models.optimizer_parts import BUILT, make_optimizer
from scaling_laws.models.optimizers import OPTIMIZERS, optimizer_named
from scaling_laws.report.style import families_of, family_name
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.sweep_file import Ladder


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_is_counted_solved_and_built(family: Family) -> None:
    arguments = family.solve(20_000.0, 64, 16, False, {}, {})
    config = family.config(n_vocab=64, n_ctx=16, **arguments)
    module, _, name = family.network_path.rpartition(".")
    network = getattr(importlib.import_module(module), name)(n_vocab=64, n_ctx=16, **arguments)
    weights = list(network.parameters())
    assert sum(config.parameters_by_group().values()) == sum(weight.numel() for weight in weights)
    assert sorted(config.tensor_shapes()) == sorted(tuple(weight.shape) for weight in weights)
    assert network.family == config.family and config.family in family.labels
    assert family_named(family.name) is family


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(InputError, match=r"family 'mamba': is not one of transformer, lstm"):
        Ladder(family="mamba", learning_rate=0.1, models=())


def test_labels_and_order() -> None:
    assert families_of(["lstm", "mine", "transformer"]) == ["transformer", "lstm", "mine"]
    assert family_name("recurrent_transformer") == LABELS["recurrent_transformer"] == "recurrent Transformer"
    assert family_name("mine") == "mine"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_keeps_what_is_counted(name: str) -> None:
    layer = nn.Linear(5, 3)
    optimizer = make_optimizer(
        name, layer, learning_rate=0.1, betas=(0.9, 0.9), weight_decay=0.0, fused=False
    )
    layer(torch.ones(5)).sum().backward()
    optimizer.step()
    states = [tensor for state in optimizer.state.values() for tensor in state.values() if tensor is not None]
    kept = sum(tensor.nbytes for tensor in states)
    shapes = [tuple(weight.shape) for weight in layer.parameters()]
    memory = memory_of(shapes, activations=0, loss=0, precision="32-true", optimizer=name)
    assert memory.optimizer == kept


def test_an_unknown_optimiser_is_refused() -> None:
    """64 x 64 of Muon were once counted as Adafactor's 516 bytes."""
    with pytest.raises(InputError, match=r"'muon': is not one of adamw, adafactor; any other is named by"):
        memory_of([(64, 64)], activations=0, loss=0, precision="32-true", optimizer="muon")
    assert OPTIMIZERS.keys() == BUILT.keys()
    assert optimizer_named("adafactor").state_bytes((64, 64), 4) == 516
