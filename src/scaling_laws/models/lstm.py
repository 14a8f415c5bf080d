"""An LSTM language model: token embedding, stacked LSTM layers of equal width, tied head.

Shapes: B sequences, T tokens, V vocabulary, d = d_model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from scaling_laws.models.lstm_config import LSTMConfig

BFLOAT16_LAYERS = not torch._C._has_mkldnn or torch.ops.mkldnn._is_mkldnn_bf16_supported()
"""Without AVX-512 oneDNN has no LSTM in bfloat16, and under autocast torch asks for it and fails."""


class LSTM(nn.Module):
    """Maps token ids (B, T) to logits (B, T, V); the state is zero at the start of each sequence.

    The arguments are those of `LSTMConfig`, which says what each means. Under autocast to bfloat16 the
    layers compute in float32 on a processor that has no LSTM in bfloat16.

    Raises:
        InputError: the shape is impossible.
    """

    family = LSTMConfig.family

    def __init__(
        self,
        n_vocab: int,
        n_ctx: int,
        n_layer: int,
        d_model: int,
        dropout: float = 0.0,
        tied: bool = True,
    ) -> None:
        super().__init__()
        self.config = LSTMConfig(
            n_vocab=n_vocab, n_ctx=n_ctx, n_layer=n_layer, d_model=d_model, dropout=dropout, tied=tied
        )
        self.token_embedding = nn.Embedding(n_vocab, d_model)
        self.input_dropout = nn.Dropout(dropout)
        # nn.LSTM applies its dropout between layers and warns when there is but one.
        between = dropout if n_layer > 1 else 0.0
        self.recurrent = nn.LSTM(d_model, d_model, n_layer, batch_first=True, dropout=between)
        self.output_dropout = nn.Dropout(dropout)
        self.head = nn.Linear(d_model, n_vocab, bias=False)
        if tied:
            self.head.weight = self.token_embedding.weight
        initialise(self)

    def forward(self, tokens: Tensor) -> Tensor:
        # Not by `before_head`: torch.compile stops at nn.LSTM, and goes on only where it began.
        x = self.input_dropout(self.token_embedding(tokens))  # (B, T, d)
        x = self._in_float32(x) if _lacks_bfloat16(x) else self.recurrent(x)[0]
        logits: Tensor = self.head(self.output_dropout(x))  # (B, T, V)
        return logits

    def before_head(self, tokens: Tensor) -> Tensor:
        """What the head multiplies, (B, T, d), of token ids (B, T)."""
        x = self.input_dropout(self.token_embedding(tokens))  # (B, T, d)
        x = self._in_float32(x) if _lacks_bfloat16(x) else self.recurrent(x)[0]
        dropped: Tensor = self.output_dropout(x)
        return dropped

    def _in_float32(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            hidden: Tensor = self.recurrent(x)[0]
        return hidden

    def parameters_by_group(self) -> dict[str, int]:
        """Trainable parameters by group."""
        return self.config.parameters_by_group()

    def flops_per_token(self) -> dict[str, float]:
        """Forward FLOPs per token by row."""
        return self.config.flops_per_token()


def _lacks_bfloat16(x: Tensor) -> bool:
    """Whether autocast asks for a layer in bfloat16 that this processor does not have."""
    return (
        not BFLOAT16_LAYERS
        and x.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


@torch.no_grad()
def initialise(network: LSTM) -> None:
    """Set every weight; the paper does not describe its LSTMs' insides.

    | weight                    | value                                                        |
    |---------------------------|--------------------------------------------------------------|
    | token embedding, head     | normal, std 0.5: nothing rescales the input of the gates     |
    | gate matrices             | uniform within 1 / sqrt(d_model) (torch's default)           |
    | gate biases               | 0, and 1 for the forget gate (Jozefowicz et al. 2015)        |

    The embedding's std was chosen by trial (docs/log.md, 2026-11-21).
    """
    d_model = network.config.d_model
    nn.init.normal_(network.token_embedding.weight, std=0.5)
    if not network.config.tied:
        nn.init.normal_(network.head.weight, std=0.5)
    bound = 1 / math.sqrt(d_model)
    for name, weight in network.recurrent.named_parameters():
        if name.startswith("weight"):
            nn.init.uniform_(weight, -bound, bound)
        else:
            nn.init.zeros_(weight)
            if name.startswith("bias_ih"):
                weight[d_model : 2 * d_model] = 1.0  # torch's order of gates: input, forget, cell, output
