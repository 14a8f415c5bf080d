"""The fast paths compute what the plain ones do: losses and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from scaling_laws.models.attention import causal_attention
from scaling_laws.models.lstm import LSTM
from scaling_laws.models.memory import CHUNK_BYTES
from scaling_laws.models.precision import LONGEST_SQUARE
from scaling_laws.models.transformer import Transformer
from scaling_laws.training.loss import mean_loss, token_losses

N_VOCAB, N_CTX = 61, 24
TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 2e-2}
"""Relative to the largest number: sums are taken in another order, in bfloat16 of rounded factors."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks, the last one shorter: 5 rows of logits."""
    monkeypatch.setitem(CHUNK_BYTES, "cpu", 5 * 4 * N_VOCAB)


def networks() -> list[nn.Module]:
    torch.manual_seed(1)
    shapes: dict[str, Any] = dict(n_vocab=N_VOCAB, n_ctx=N_CTX, n_layer=2, d_model=16)
    built = [
        Transformer(**shapes, n_heads=2),
        Transformer(**shapes, n_heads=2, tied=False),
        LSTM(**shapes),
    ]
    for network in built:  # what begins at zero would hide a gradient
        for weight in network.parameters():
            nn.init.normal_(weight, std=0.3)
    return built


def windows() -> Tensor:
    return torch.randint(N_VOCAB, (3, N_CTX + 1), generator=torch.Generator().manual_seed(2))


def plain_losses(network: nn.Module, window: Tensor) -> Tensor:
    logits = network(window[:, :-1])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return functional.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten(), reduction="none")


def close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert found.shape == expected.shape
    error = (found.double() - expected.double()).abs().max() / expected.double().abs().max()
    assert error <= TOLERANCES[dtype], float(error)


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_losses_and_gradients_are_those_of_plain_logits(index: int, dtype: torch.dtype) -> None:
    network = networks()[index].to(dtype)
    window = windows()
    plain = plain_losses(network, window)
    plain_gradients = torch.autograd.grad(plain.mean(), list(network.parameters()))
    fast = mean_loss(network, window)
    close(fast, plain.mean(), dtype)
    close(token_losses(network, window).flatten(), plain, dtype)
    for found, expected in zip(
        torch.autograd.grad(fast, list(network.parameters())), plain_gradients, strict=True
    ):
        assert found.dtype == expected.dtype
        close(found, expected, dtype)


@pytest.mark.parametrize("index", range(3))
def test_autocast_multiplies_in_bfloat16_and_keeps_gradients_in_float32(index: int) -> None:
    network = networks()[index]
    window = windows()
    with torch.autocast("cpu", torch.bfloat16):
        plain, fast = plain_losses(network, window).mean(), mean_loss(network, window)
        close(token_losses(network, window).mean(), plain, torch.bfloat16)
    close(fast, plain, torch.bfloat16)
    for found, expected in zip(
        torch.autograd.grad(fast, list(network.parameters())),
        torch.autograd.grad(plain, list(network.parameters())),
        strict=True,
    ):
        assert found.dtype == torch.float32
        close(found, expected, torch.bfloat16)


def test_the_gradient_that_comes_in_is_handed_on() -> None:
    network, window = networks()[0], windows()
    once = torch.autograd.grad(mean_loss(network, window), list(network.parameters()))
    thrice = torch.autograd.grad(3 * mean_loss(network, window), list(network.parameters()))
    for found, expected in zip(thrice, once, strict=True):
        close(found, 3 * expected, torch.float32)


def test_logits_that_overflow_every_exponential_have_a_loss() -> None:
    network, window = networks()[1], windows()
    with torch.no_grad():
        network.head.weight.mul_(1000)  # type: ignore[operator, union-attr]
    assert plain_losses(network, window).max() > 1000
    close(token_losses(network, window).flatten(), plain_losses(network, window), torch.float32)
    close(mean_loss(network, window), plain_losses(network, window).mean(), torch.float32)


def test_logits_are_never_kept() -> None:
    """Nothing that the forward pass keeps has as many numbers as the logits."""
    network, window = networks()[0], windows()
    n_logits = window[:, 1:].numel() * N_VOCAB
    sizes: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        sizes.append(tensor.untyped_storage().nbytes() // tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        mean_loss(network, window)
        assert sizes and n_logits not in sizes
        plain_losses(network, window)
        assert n_logits in sizes


def test_a_network_that_shows_no_head_takes_the_plain_path() -> None:
    """As a user's own; one whose call is more than these; a compiled one, which is its call."""

    class Opaque(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = networks()[0]

        def forward(self, tokens: Tensor) -> Tensor:
            logits: Tensor = 2 * self.inside(tokens)
            return logits

    class Biased(Opaque):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(N_VOCAB, N_VOCAB)

        def before_head(self, tokens: Tensor) -> Tensor:
            hidden: Tensor = self.inside(tokens)
            return hidden

        def forward(self, tokens: Tensor) -> Tensor:
            logits: Tensor = self.head(self.before_head(tokens))
            return logits

    class Wrapped(Transformer):
        """Says more in `forward` than the `before_head` that it inherits."""

        def forward(self, tokens: Tensor) -> Tensor:
            return 2 * super().forward(tokens)

    wrapped = Wrapped(n_vocab=N_VOCAB, n_ctx=N_CTX, n_layer=1, d_model=8)
    hooked = networks()[0]
    hooked.register_forward_hook(lambda module, given, logits: 3 * logits)
    for network in (Opaque(), Biased(), wrapped, hooked):
        plain = plain_losses(network, windows())
        assert torch.equal(token_losses(network, windows()).flatten(), plain)
        close(mean_loss(network, windows()), plain.mean(), torch.float32)
    called = networks()[0]
    calls: list[int] = []
    called._compiled_call_impl = lambda tokens: calls.append(1) or called.forward(tokens)
    mean_loss(called, windows())
    assert calls == [1]


def test_in_float16_gradients_are_made_after_the_loss_was_scaled() -> None:
    """Autocast to float16: the loss is torch's, since what underflows cannot be scaled afterwards."""
    network, window = networks()[0], windows()
    with torch.autocast("cpu", torch.float16):
        plain, found = plain_losses(network, window).mean(), mean_loss(network, window)
    assert torch.equal(found, plain)
    assert "MeanLoss" not in type(found.grad_fn).__name__


def test_attributes_of_other_meaning_are_left_alone() -> None:
    """A module of the user's own that happens to have the name is no method of the protocol."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(N_VOCAB, 4)
            self.before_head, self.head = nn.Linear(4, 4), nn.Linear(4, N_VOCAB, bias=False)

        def forward(self, tokens: Tensor) -> Tensor:
            logits: Tensor = self.head(self.before_head(self.embedding(tokens)))
            return logits

    network = Own()
    close(mean_loss(network, windows()), plain_losses(network, windows()).mean(), torch.float32)


@pytest.mark.parametrize("n_tokens", [1, 24, LONGEST_SQUARE + 1])
def test_attention_in_bfloat16_is_that_in_float32(n_tokens: int) -> None:
    torch.manual_seed(3)
    parts = torch.randn(3, 2, 2, n_tokens, 8).to(torch.bfloat16)
    fast = [part.clone().requires_grad_() for part in parts]
    exact = [part.float().requires_grad_() for part in parts]
    out = torch.randn(2, 2, n_tokens, 8)
    mixed = causal_attention(*fast)
    expected = functional.scaled_dot_product_attention(*exact, is_causal=True)
    assert mixed.dtype == torch.bfloat16
    close(mixed, expected, torch.bfloat16)
    gradients = torch.autograd.grad(mixed, fast, out.to(torch.bfloat16))
    for found, wanted in zip(gradients, torch.autograd.grad(expected, exact, out), strict=True):
        if n_tokens > 1:  # a single token's queries and keys move nothing
            close(found, wanted, torch.bfloat16)


def test_later_tokens_are_not_seen_in_bfloat16() -> None:
    torch.manual_seed(4)
    query, key, value = torch.randn(3, 1, 2, 16, 8).to(torch.bfloat16)
    before = causal_attention(query, key, value)
    key[..., 9:, :], value[..., 9:, :] = 100.0, -100.0
    after = causal_attention(query, key, value)
    assert torch.equal(before[..., :9, :], after[..., :9, :])
    assert not torch.equal(before[..., 9:, :], after[..., 9:, :])
