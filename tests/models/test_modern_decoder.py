"""The example of a network of one's own, against plain arithmetic."""

from __future__ import annotations

import cmath
import math
from typing import Any

import pytest
import torch
from examples.modern_decoder import ModernDecoder, RMSNorm, SwiGLU, rotate, rotation_angles
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from scaling_laws.study.conventions import parameter_counts
from scaling_laws.study.errors import InputError

N_VOCAB, N_CTX = 37, 12
SHAPES: list[dict[str, Any]] = [
    dict(n_layer=1, d_model=8),
    dict(n_layer=2, d_model=24, n_heads=4, n_kv_heads=2, tied=False),
    dict(n_layer=2, d_model=16, n_heads=4, n_kv_heads=1, d_ff=10),
]


def decoder(shape: dict[str, Any]) -> ModernDecoder:
    torch.manual_seed(0)
    network = ModernDecoder(n_vocab=N_VOCAB, n_ctx=N_CTX, **shape)
    with torch.no_grad():  # the matrices back to the residual stream start at zero
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network


def test_rotations_are_products_of_complex_numbers() -> None:
    """Su et al. 2021: the pair (x_i, x_i+w/2) times exp(i t / base^(2i/w))."""
    width, base = 6, 100.0
    x = torch.randn(1, 1, 5, width, dtype=torch.float64)
    angles = rotation_angles(5, width, base).double()
    turned = rotate(x, angles.cos(), angles.sin())
    for t in range(5):
        for i in range(width // 2):
            pair = complex(x[0, 0, t, i], x[0, 0, t, i + width // 2])
            expected = pair * cmath.exp(1j * t / base ** (2 * i / width))
            found = complex(turned[0, 0, t, i], turned[0, 0, t, i + width // 2])
            assert found == pytest.approx(expected, abs=1e-6)


def test_a_rotated_product_depends_on_the_distance_alone() -> None:
    angles = rotation_angles(20, 8, 10_000.0).double()
    query, key = torch.randn(2, 8, dtype=torch.float64)
    queries, keys = (
        rotate(each.expand(1, 1, 20, 8), angles.cos(), angles.sin())[0, 0] for each in (query, key)
    )
    scores = queries @ keys.T
    for distance in range(-5, 6):
        diagonal = scores.diagonal(distance)
        # Angles of up to 20 are kept in float32.
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-4)
    assert scores[0, 0] == pytest.approx(float(query @ key), abs=1e-4)


def test_norm_and_feed_forward_as_written_down() -> None:
    x = torch.randn(2, 3, 8)
    norm, feed_forward = RMSNorm(8), SwiGLU(8, 10)
    torch.nn.init.normal_(norm.weight)
    expected = x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * norm.weight
    torch.testing.assert_close(norm(x), expected)
    gate, expand = x @ feed_forward.gate.weight.T, x @ feed_forward.expand.weight.T
    expected = (gate / (1 + torch.exp(-gate)) * expand) @ feed_forward.project.weight.T
    torch.testing.assert_close(feed_forward(x), expected)


def plain_attention(x: Tensor, attention: Any, angles: Tensor) -> Tensor:
    """One head and one query at a time; heads share keys and values in groups."""
    n_tokens, width = x.shape[1], attention.query.out_features // attention.n_heads
    mixed = []
    for head in range(attention.n_heads):
        shared = head * attention.n_kv_heads // attention.n_heads
        part, shared_part = (slice(n * width, (n + 1) * width) for n in (head, shared))
        query = rotate(x @ attention.query.weight[part].T, angles.cos(), angles.sin())
        key = rotate(x @ attention.key.weight[shared_part].T, angles.cos(), angles.sin())
        value = x @ attention.value.weight[shared_part].T
        rows = [
            torch.softmax(query[:, t, None] @ key[:, : t + 1].mT / math.sqrt(width), -1) @ value[:, : t + 1]
            for t in range(n_tokens)
        ]
        mixed.append(torch.cat(rows, dim=1))
    return torch.cat(mixed, dim=-1) @ attention.project.weight.T


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_hand_written_network(shape: dict[str, Any]) -> None:
    network = decoder(shape)
    tokens = torch.randint(0, N_VOCAB, (3, N_CTX))
    angles = rotation_angles(N_CTX, shape["d_model"] // shape.get("n_heads", 1), 10_000.0)
    x = network.token_embedding.weight[tokens]
    for block in network.blocks:
        x = x + plain_attention(block.attention_norm(x), block.attention, angles)  # type: ignore[operator]
        x = x + block.feed_forward(block.feed_forward_norm(x))  # type: ignore[operator]
    expected = network.norm(x) @ network.head.weight.T
    torch.testing.assert_close(network(tokens), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_position_sees_a_later_token(shape: dict[str, Any]) -> None:
    network = decoder(shape)
    tokens = torch.randint(0, N_VOCAB, (2, N_CTX))
    changed = tokens.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % N_VOCAB
    before, after = network(tokens), network(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, 7:], after[:, 7:])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_groups_sum_to_numel(shape: dict[str, Any]) -> None:
    network = decoder(shape)
    groups = network.parameters_by_group()
    assert sum(groups.values()) == sum(weight.numel() for weight in network.parameters())
    assert parameter_counts(groups, network.flops_per_token())["N"] == sum(
        weight.numel() for part in (network.blocks, network.norm) for weight in part.parameters()
    )


def test_it_has_about_the_size_of_the_built_in_transformer() -> None:
    """12 n_layer d_model^2, up to the norms: three matrices of 8/3 d_model for two of 4 d_model."""
    network = ModernDecoder(n_vocab=N_VOCAB, n_ctx=N_CTX, n_layer=3, d_model=48, n_heads=4)
    counts = parameter_counts(network.parameters_by_group(), network.flops_per_token())
    assert counts["N"] == 12 * 3 * 48**2 + 7 * 48


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_flops_against_torch_with_the_causal_factor_of_two(shape: dict[str, Any]) -> None:
    network = decoder(shape)
    rows = network.flops_per_token()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.randint(0, N_VOCAB, (1, N_CTX)))
        matrix_products = counter.get_total_flops()
        heads = torch.randn(1, network.blocks[0].attention.n_heads, N_CTX, 1)  # type: ignore[union-attr]
        # Torch does not look into the causal kernel: all pairs of positions, half of which lie in the future.
        pairs = functional.scaled_dot_product_attention(heads, heads, heads).numel() * N_CTX
    all_pairs = 4 * pairs * (shape["d_model"] // heads.shape[1]) * shape["n_layer"]
    assert rows["attention_mask"] * N_CTX == all_pairs / 2
    assert sum(rows.values()) * N_CTX - rows["attention_mask"] * N_CTX == matrix_products


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (dict(n_layer=0, d_model=8), "n_layer is 0"),
        (dict(n_layer=1, d_model=12, n_heads=4), "no even width"),
        (dict(n_layer=1, d_model=24, n_heads=4, n_kv_heads=3), "does not divide"),
    ],
)
def test_impossible_shapes_are_refused(shape: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ModernDecoder(n_vocab=N_VOCAB, n_ctx=N_CTX, **shape)


def test_too_long_a_context_is_refused() -> None:
    with pytest.raises(InputError, match=f"do not fit into n_ctx = {N_CTX}"):
        decoder(SHAPES[0])(torch.zeros(1, N_CTX + 1, dtype=torch.int64))
