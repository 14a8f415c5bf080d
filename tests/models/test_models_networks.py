"""Our networks against plain hand-written ones that share their weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from scaling_laws.models import lstm
from scaling_laws.models.lstm import LSTM
from scaling_laws.models.transformer import Transformer
from scaling_laws.study.conventions import parameter_counts
from scaling_laws.study.errors import InputError

N_VOCAB, N_CTX = 37, 12

TRANSFORMERS = [
    dict(n_layer=0, d_model=8),
    dict(n_layer=1, d_model=8, n_heads=2),
    dict(n_layer=2, d_model=12, n_heads=3, d_ff=20, d_attn=6),
    dict(n_layer=2, d_model=8, n_heads=1, n_reuse=3, tied=False),
    dict(n_layer=3, d_model=8, n_heads=4, bias=False),
]
LSTMS = [dict(n_layer=1, d_model=9), dict(n_layer=2, d_model=8), dict(n_layer=4, d_model=6, tied=False)]


def network(shape: dict, seed: int = 0) -> Transformer | LSTM:
    torch.manual_seed(seed)
    family = Transformer if shape in TRANSFORMERS else LSTM
    net = family(n_vocab=N_VOCAB, n_ctx=N_CTX, **shape)
    with torch.no_grad():  # biases start at zero: give every weight a part in the comparison
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return net


def plain_attention(x: Tensor, attention: torch.nn.Module) -> Tensor:
    """Attention one head and one query at a time, as a textbook writes it."""
    width = attention.project.in_features
    qkv = x @ attention.query_key_value.weight.T
    if attention.query_key_value.bias is not None:
        qkv = qkv + attention.query_key_value.bias
    query, key, value = qkv.split(width, dim=-1)
    mixed = torch.zeros_like(query)
    size = width // attention.n_heads
    for head in range(attention.n_heads):
        part = slice(head * size, (head + 1) * size)
        for t in range(x.shape[1]):
            scores = torch.einsum("bd,bsd->bs", query[:, t, part], key[:, : t + 1, part]) / math.sqrt(size)
            mixed[:, t, part] = torch.einsum("bs,bsd->bd", scores.softmax(-1), value[:, : t + 1, part])
    out = mixed @ attention.project.weight.T
    return out if attention.project.bias is None else out + attention.project.bias


def plain_norm(x: Tensor, norm: torch.nn.Module) -> Tensor:
    scaled = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5)
    scaled = scaled * norm.weight
    return scaled if norm.bias is None else scaled + norm.bias


def plain_transformer(net: Transformer, tokens: Tensor) -> Tensor:
    x = torch.stack(
        [
            net.token_embedding.weight[tokens[:, t]] + net.position_embedding.weight[t]
            for t in range(tokens.shape[1])
        ],
        dim=1,
    )
    for _ in range(net.config.n_reuse):
        for block in net.blocks:
            x = x + plain_attention(plain_norm(x, block.attention_norm), block.attention)
            hidden = plain_norm(x, block.feed_forward_norm) @ block.feed_forward.expand.weight.T
            if net.config.bias:
                hidden = hidden + block.feed_forward.expand.bias
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
            x = x + hidden @ block.feed_forward.project.weight.T
            if net.config.bias:
                x = x + block.feed_forward.project.bias
    return plain_norm(x, net.norm) @ net.head.weight.T


def plain_lstm(net: LSTM, tokens: Tensor) -> Tensor:
    x = net.token_embedding.weight[tokens]
    for layer in range(net.config.n_layer):
        weights = [
            getattr(net.recurrent, f"{name}_l{layer}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        hidden = cell = torch.zeros(tokens.shape[0], net.config.d_model)
        outputs = []
        for t in range(tokens.shape[1]):
            gates = x[:, t] @ weights[0].T + hidden @ weights[1].T + weights[2] + weights[3]
            enter, forget, new, leave = gates.chunk(4, dim=-1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
            outputs.append(hidden)
        x = torch.stack(outputs, dim=1)
    return x @ net.head.weight.T


@pytest.mark.parametrize("shape", TRANSFORMERS + LSTMS, ids=str)
def test_equals_the_hand_written_network(shape: dict) -> None:
    net = network(shape)
    tokens = torch.randint(0, N_VOCAB, (3, N_CTX))
    plain = plain_transformer if isinstance(net, Transformer) else plain_lstm
    torch.testing.assert_close(net(tokens), plain(net, tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", TRANSFORMERS + LSTMS, ids=str)
def test_no_position_sees_a_later_token(shape: dict) -> None:
    net = network(shape)
    tokens = torch.randint(0, N_VOCAB, (2, N_CTX))
    changed = tokens.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % N_VOCAB
    before, after = net(tokens), net(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, 7:], after[:, 7:])


@pytest.mark.parametrize("shape", TRANSFORMERS + LSTMS, ids=str)
def test_groups_sum_to_numel(shape: dict) -> None:
    net = network(shape)
    groups = net.config.parameters_by_group()
    assert sum(groups.values()) == sum(weight.numel() for weight in net.parameters())
    assert groups["token_embedding"] == net.token_embedding.weight.numel()
    assert groups["head"] == (0 if net.config.tied else net.head.weight.numel())
    inner = net.blocks if isinstance(net, Transformer) else net.recurrent
    norm = sum(weight.numel() for weight in net.norm.parameters()) if isinstance(net, Transformer) else 0
    assert parameter_counts(groups, net.flops_per_token())["N"] == norm + sum(
        weight.numel() for weight in inner.parameters()
    )


def matrix_product_flops(shape: dict) -> float:
    """FLOPs per token that torch counts in a plain network: it sees neither nn.LSTM nor fused attention."""
    net = network(shape)
    tokens = torch.randint(0, N_VOCAB, (1, N_CTX))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        if isinstance(net, LSTM):
            plain_lstm(net, tokens)
        else:
            full_attention_transformer(net, tokens)
    return counter.get_total_flops() / N_CTX


def full_attention_transformer(net: Transformer, tokens: Tensor) -> None:
    """The matrix products of the network with attention over all pairs, masked afterwards."""
    x = net.token_embedding.weight[tokens]
    for _ in range(net.config.n_reuse):
        for block in net.blocks:
            attention = block.attention
            qkv = functional.linear(x, attention.query_key_value.weight)
            query, key, value = qkv.view(1, N_CTX, 3, net.config.n_heads, -1).permute(2, 0, 3, 1, 4)
            mixed = torch.tril(query @ key.transpose(-1, -2)) @ value
            x = functional.linear(mixed.transpose(1, 2).reshape(1, N_CTX, -1), attention.project.weight)
            x = functional.linear(
                functional.linear(x, block.feed_forward.expand.weight), block.feed_forward.project.weight
            )
    functional.linear(x, net.head.weight)


@pytest.mark.parametrize("shape", TRANSFORMERS, ids=str)
def test_transformer_flops_against_torch_with_the_causal_factor_of_two(shape: dict) -> None:
    rows = network(shape).config.flops_per_token()
    counted = sum(value for row, value in rows.items() if row != "embed")
    # Torch counts all pairs of positions; half of them lie in the future, which a causal kernel skips.
    assert matrix_product_flops(shape) == counted + rows["attention_mask"]


@pytest.mark.parametrize("shape", LSTMS, ids=str)
def test_lstm_flops_against_torch(shape: dict) -> None:
    assert matrix_product_flops(shape) == sum(network(shape).config.flops_per_token().values())


def test_table_1_of_the_paper() -> None:
    """Standard shape: N = 12 n_layer d_model^2 (2.1), C_forward = 2N + 2 n_layer n_ctx d_model (2.2)."""
    net = Transformer(n_vocab=50, n_ctx=64, n_layer=3, d_model=16, n_heads=2, bias=False)
    groups, rows = net.config.parameters_by_group(), net.config.flops_per_token()
    n_parameters = groups["attention"] + groups["feed_forward"]
    assert n_parameters == 12 * 3 * 16**2
    forward = sum(value for row, value in rows.items() if row not in ("embed", "de_embed"))
    assert forward == 2 * n_parameters + 2 * 3 * 64 * 16


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (dict(n_layer=1, d_model=8, n_heads=3), "n_heads = 3 does not divide d_attn = 8"),
        (dict(n_layer=-1, d_model=8), "n_layer is -1"),
        (dict(n_layer=1, d_model=0), "d_model is 0"),
        (dict(n_layer=1, d_model=8, dropout=1.0), "dropout is 1.0"),
    ],
)
def test_impossible_shapes_are_refused(shape: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Transformer(n_vocab=N_VOCAB, n_ctx=N_CTX, **shape)


def test_too_long_a_context_is_refused() -> None:
    with pytest.raises(InputError, match=f"do not fit into n_ctx = {N_CTX}"):
        network(TRANSFORMERS[0])(torch.zeros(1, N_CTX + 1, dtype=torch.int64))


def test_an_lstm_trains_under_autocast_where_the_processor_has_none_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """oneDNN has no such layer without AVX-512: the layers are then those of float32, bit for bit."""
    monkeypatch.setattr(lstm, "BFLOAT16_LAYERS", False)
    net = LSTM(n_vocab=13, n_ctx=8, n_layer=2, d_model=12)
    tokens = torch.arange(16).reshape(2, 8) % 13
    plain = net.recurrent(net.token_embedding(tokens))[0]
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(tokens)
        hidden = net.before_head(tokens)
    assert torch.equal(hidden, plain)
    assert logits.dtype == torch.bfloat16
    functional.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())
