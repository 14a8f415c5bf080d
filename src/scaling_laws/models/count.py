"""Parameters by group and FLOPs by row, from the configuration alone. Standard library only.

Groups and rows are stored, never sums: the literature counts N and C in several ways, and the analysis
chooses (`runs.py`). The tests hold the groups equal to `numel()` and the rows equal to a count of the
matrix products of plain hand-written networks.
"""

from __future__ import annotations

from scaling_laws.models.config import LSTMConfig, NetworkConfig, TransformerConfig


def parameters_by_group(config: NetworkConfig) -> dict[str, int]:
    """Trainable parameters by group, biases and norms included; the groups sum to the total."""
    if isinstance(config, TransformerConfig):
        return _transformer_parameters(config)
    return _lstm_parameters(config)


def flops_per_token(config: NetworkConfig) -> dict[str, float]:
    """Forward FLOPs per token by row of Table 1 of Kaplan et al. 2020; a multiply-add counts as two.

    Training costs three times as much (backward = 2 x forward). Biases, norms and nonlinearities are
    dropped, as in the paper. `de_embed` counts whether or not the head is tied: it is computed either way.
    """
    if isinstance(config, TransformerConfig):
        return _transformer_flops(config)
    return _lstm_flops(config)


def _transformer_parameters(config: TransformerConfig) -> dict[str, int]:
    d_model, d_attn, d_ff = config.d_model, config.attention_width, config.feed_forward_width
    attention = d_model * 3 * d_attn + d_attn * d_model
    feed_forward = 2 * d_model * d_ff
    norm = d_model
    if config.bias:
        attention += 3 * d_attn + d_model
        feed_forward += d_ff + d_model
        norm += d_model
    return {
        "token_embedding": config.n_vocab * d_model,
        "position_embedding": config.n_ctx * d_model,
        "attention": config.n_layer * attention,
        "feed_forward": config.n_layer * feed_forward,
        "norm": (2 * config.n_layer + 1) * norm,  # two a block, one before the head
        "head": 0 if config.tied else config.n_vocab * d_model,
    }


def _transformer_flops(config: TransformerConfig) -> dict[str, float]:
    d_model, d_attn, d_ff = config.d_model, config.attention_width, config.feed_forward_width
    blocks = config.n_layer * config.n_reuse
    return {
        "embed": 4.0 * d_model,
        "attention_qkv": 2.0 * blocks * d_model * 3 * d_attn,
        # Scores and values cost 2 + 2 per pair of positions; causality halves the pairs.
        "attention_mask": 2.0 * blocks * config.n_ctx * d_attn,
        "attention_project": 2.0 * blocks * d_attn * d_model,
        "feed_forward": 2.0 * blocks * 2 * d_model * d_ff,
        "de_embed": 2.0 * d_model * config.n_vocab,
    }


def _lstm_parameters(config: LSTMConfig) -> dict[str, int]:
    d_model = config.d_model
    # Four gates; each has a matrix from the input and one from the state, and (in torch) two biases.
    return {
        "token_embedding": config.n_vocab * d_model,
        "recurrent": config.n_layer * 4 * (2 * d_model * d_model + 2 * d_model),
        "head": 0 if config.tied else config.n_vocab * d_model,
    }


def _lstm_flops(config: LSTMConfig) -> dict[str, float]:
    d_model = config.d_model
    return {
        "recurrent": 2.0 * config.n_layer * 4 * 2 * d_model * d_model,
        "de_embed": 2.0 * d_model * config.n_vocab,
    }
