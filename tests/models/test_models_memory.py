"""Bytes foreseen from the configuration against the tensors that torch keeps."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from scaling_laws.models.families import NetworkConfig
from scaling_laws.models.lstm import BFLOAT16_LAYERS, LSTM
from scaling_laws.models.lstm_config import LSTMConfig
from scaling_laws.models.memory import CHUNK_BYTES, loss_bytes, training_memory
from scaling_laws.models.optimizer_parts import make_optimizer
from scaling_laws.models.own import count_own, kept_bytes
from scaling_laws.models.precision import LONGEST_SQUARE, PRECISIONS
from scaling_laws.models.transformer import Transformer
from scaling_laws.models.transformer_config import TransformerConfig
from scaling_laws.training.loss import _MeanLoss

N_VOCAB, N_CTX, WINDOWS = 37, 64, 4
TYPES = {"bf16-true": torch.bfloat16, "64-true": torch.float64}
TRANSFORMERS: list[dict[str, Any]] = [
    dict(n_layer=0, d_model=8),
    dict(n_layer=2, d_model=12, n_heads=3, d_ff=20, d_attn=6),
    dict(n_layer=2, d_model=16, n_heads=2, n_reuse=3, tied=False, bias=False),
    dict(n_layer=2, d_model=16, n_heads=4, dropout=0.1),
    dict(n_layer=1, d_model=16, n_reuse=2, dropout=0.1),
]
LSTMS: list[dict[str, Any]] = [
    dict(n_layer=1, d_model=80),
    dict(n_layer=3, d_model=40, dropout=0.1),
    dict(n_layer=2, d_model=156, tied=False),
    dict(n_layer=1, d_model=256),
]


def built(family: type[nn.Module], shape: dict[str, Any], precision: str = "32-true") -> Any:
    return family(n_vocab=N_VOCAB, n_ctx=N_CTX, **shape).to(TYPES.get(precision))


def kept(network: nn.Module, precision: str, windows: int = WINDOWS) -> int:
    return kept_bytes(network, torch.zeros(windows, N_CTX, dtype=torch.int64), precision)


def test_what_is_kept_of_a_small_network_by_hand() -> None:
    """An embedding keeps the token ids; a product its input; a sigmoid its output; a sum nothing."""

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.linear = nn.Embedding(5, 3), nn.Linear(3, 7)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.linear(self.embedding(tokens) + 1)) + 2

    tokens = torch.zeros(2, 4, dtype=torch.int64)
    assert kept_bytes(Small(), tokens, "32-true") == 8 * 8 + 8 * 3 * 4 + 8 * 7 * 4
    # Autocast: input and output in two bytes, and a copy of the product's weights.
    assert kept_bytes(Small(), tokens, "bf16-mixed") == 8 * 8 + 8 * 3 * 2 + 8 * 7 * 2 + 3 * 7 * 2


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
@pytest.mark.parametrize("shape", TRANSFORMERS, ids=str)
def test_activations_of_a_transformer_are_exact(shape: dict[str, Any], precision: str) -> None:
    network = built(Transformer, shape, precision)
    for windows in (1, WINDOWS):
        foreseen = network.config.activation_bytes(windows, PRECISIONS[precision], True)
        assert foreseen == kept(network, precision, windows)


@pytest.mark.parametrize("n_ctx", [LONGEST_SQUARE, LONGEST_SQUARE + 1])
def test_activations_of_long_and_short_contexts_in_bfloat16_are_exact(n_ctx: int) -> None:
    network = Transformer(n_vocab=N_VOCAB, n_ctx=n_ctx, n_layer=2, d_model=12, n_heads=3)
    foreseen = network.config.activation_bytes(2, PRECISIONS["bf16-mixed"], True)
    assert foreseen == kept_bytes(network, torch.zeros(2, n_ctx, dtype=torch.int64), "bf16-mixed")


def test_dropout_costs_bytes_on_a_gpu_and_no_square_of_the_context() -> None:
    """Against the same network without dropout, whose kernels are the same: a byte for each masked number."""
    shape = dict(n_vocab=N_VOCAB, n_ctx=N_CTX, n_layer=2, d_model=16)
    plain, masked = TransformerConfig(**shape), TransformerConfig(**shape, dropout=0.1)
    foreseen = [config.activation_bytes(1, PRECISIONS["bf16-mixed"], False) for config in (plain, masked)]
    assert foreseen[1] - foreseen[0] == N_CTX * 16 * (1 + 2 * 2)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="oneDNN is not in this build of torch")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("shape", LSTMS, ids=str)
def test_activations_of_an_lstm_are_within_three_percent(shape: dict[str, Any], precision: str) -> None:
    if precision != "32-true" and not BFLOAT16_LAYERS:
        pytest.skip("this processor has no LSTM in bfloat16")
    network = built(LSTM, shape, precision)
    foreseen = network.config.activation_bytes(WINDOWS, PRECISIONS[precision], True)
    assert foreseen == pytest.approx(kept(network, precision), rel=0.03)


@pytest.mark.parametrize(
    ("family", "shape"),
    [(Transformer, shape) for shape in TRANSFORMERS] + [(LSTM, shape) for shape in LSTMS],
    ids=str,
)
@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_weights_gradients_and_optimiser_are_exact(
    family: type[nn.Module], shape: dict[str, Any], optimizer: Any
) -> None:
    network = built(family, shape)
    weights = list(network.parameters())
    assert sorted(network.config.tensor_shapes()) == sorted(tuple(weight.shape) for weight in weights)
    used = make_optimizer(optimizer, network, learning_rate=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    logits = network(torch.zeros(WINDOWS, N_CTX, dtype=torch.int64))
    functional.cross_entropy(logits.flatten(0, 1), torch.zeros(WINDOWS * N_CTX, dtype=torch.int64)).backward()
    used.step()
    memory = training_memory(network.config, windows=WINDOWS, optimizer=optimizer)
    assert memory.weights == sum(weight.nbytes for weight in weights)
    assert memory.gradients == sum(weight.grad.nbytes for weight in weights)
    assert memory.optimizer == sum(value.nbytes for state in used.state.values() for value in state.values())


def test_the_loss_has_its_log_probabilities_and_two_gradients() -> None:
    """What lives at once in the backward pass of cross-entropy: seen by hooks at its two steps."""
    logits = torch.randn(WINDOWS * N_CTX, N_VOCAB, requires_grad=True)
    log_probabilities = logits.log_softmax(-1)
    loss = functional.nll_loss(log_probabilities, torch.zeros(len(logits), dtype=torch.int64))
    arriving: list[torch.Tensor] = []
    log_probabilities.register_hook(arriving.append)
    (leaving,) = torch.autograd.grad(loss, logits)
    at_once = log_probabilities.nbytes + arriving[0].nbytes + leaving.nbytes
    foreseen = loss_bytes(len(logits), N_VOCAB, d_head=None, precision="32-true", on_cpu=True)
    assert foreseen == at_once


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_loss_of_a_network_that_shows_its_head_has_a_chunk_and_two_gradients(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond what the network itself keeps: the gradients, by hooks; the chunk's work, by its makers."""
    monkeypatch.setitem(CHUNK_BYTES, "cpu", 4 * N_VOCAB * 10)
    network = built(Transformer, dict(n_layer=0, d_model=8))
    window = torch.zeros(WINDOWS, N_CTX + 1, dtype=torch.int64)
    kept: list[torch.Tensor] = []
    asked: list[int] = []
    empty_like = torch.empty_like

    def noted_empty_like(tensor: torch.Tensor, **options: Any) -> torch.Tensor:
        made = empty_like(tensor, **options)
        if made.shape == (10, N_VOCAB):
            asked.append(made.nbytes + tensor.nbytes)
        return made

    monkeypatch.setattr(torch, "empty_like", noted_empty_like)
    mixed = precision == "bf16-mixed"
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        hidden = network.before_head(window[:, :-1])
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
            _MeanLoss.apply(hidden.flatten(0, 1), network.head.weight, window[:, 1:].flatten())
    chunk = asked[0] if mixed else 4 * 10 * N_VOCAB
    found = chunk + sum(tensor.nbytes for tensor in kept)
    assert training_memory(network.config, windows=WINDOWS, precision=precision).loss == found


def test_half_precision_and_smaller_batches_need_less() -> None:
    config = TransformerConfig(n_vocab=N_VOCAB, n_ctx=N_CTX, n_layer=4, d_model=64)
    needs = {name: training_memory(config, windows=8, precision=name) for name in PRECISIONS}
    full, mixed, true = needs["32-true"], needs["bf16-mixed"], needs["bf16-true"]
    assert mixed.weights == full.weights == 2 * true.weights and true.gradients == true.weights
    assert full.activations is not None and mixed.activations is not None and true.activations is not None
    assert full.activations > mixed.activations > true.activations
    halved = training_memory(config, windows=4).activations
    assert halved == full.activations / 2
    assert full.total == math.fsum(
        (full.weights, full.gradients, full.optimizer, full.activations, full.loss)
    )


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
@pytest.mark.parametrize("shape", TRANSFORMERS, ids=str)
def test_a_network_without_memory_is_counted_as_one_with(shape: dict[str, Any], precision: str) -> None:
    """The way of a user's own network, on a network that the configuration counts, too."""
    own = count_own(
        "scaling_laws.models.transformer.Transformer",
        shape,
        n_vocab=N_VOCAB,
        n_ctx=N_CTX,
        windows=WINDOWS,
        precision=precision,
    )
    config: NetworkConfig = TransformerConfig(n_vocab=N_VOCAB, n_ctx=N_CTX, **shape)
    assert own.activations == config.activation_bytes(WINDOWS, PRECISIONS[precision], True)
    assert sorted(own.tensors) == sorted(config.tensor_shapes())
    assert own.d_head == config.d_model
    assert torch.get_default_dtype() == torch.float32


class NeedsNumbers(LSTM):
    """Looks at its input, which a tensor without numbers does not stand."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return super().forward(tokens[:, : int(tokens.sum()) + 1])


def test_activations_of_a_network_that_needs_numbers_are_not_known() -> None:
    own = count_own(
        "test_models_memory.NeedsNumbers",
        dict(n_layer=1, d_model=8),
        n_vocab=N_VOCAB,
        n_ctx=N_CTX,
        windows=1,
        precision="32-true",
    )
    assert own.activations is None and own.d_head is None  # its call is not its `before_head` and its head
    config = LSTMConfig(n_vocab=N_VOCAB, n_ctx=N_CTX, n_layer=1, d_model=8)
    assert sorted(own.tensors) == sorted(config.tensor_shapes())
