"""The LSTM's shape, and what follows from it: parameters, FLOPs, tensors and memory. Without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from scaling_laws.models.precision import Precision, Shape
from scaling_laws.study.bounds import PositiveLayers, ShareBelowOne, Vocabulary, Width, check_bounds


@dataclass(frozen=True, kw_only=True)
class LSTMConfig:
    """Stacked LSTM layers of equal width between a token embedding and a head.

    Raises:
        InputError: a size is not positive, or the dropout is not in [0, 1).
    """

    family: ClassVar[str] = "lstm"

    n_vocab: Vocabulary
    n_ctx: Width
    """Length of the training windows, in tokens; the state is zero at the start of each."""
    n_layer: PositiveLayers
    d_model: Width
    dropout: ShareBelowOne = 0.0
    tied: bool = True
    """Whether the head shares the token embedding's matrix."""

    def __post_init__(self) -> None:
        check_bounds(self, what="lstm")

    def parameters_by_group(self) -> dict[str, int]:
        """Trainable parameters by group, biases and norms included; the groups sum to the total."""
        d_model = self.d_model
        # Four gates; each has a matrix from the input and one from the state, and (in torch) two biases.
        return {
            "token_embedding": self.n_vocab * d_model,
            "recurrent": self.n_layer * 4 * (2 * d_model * d_model + 2 * d_model),
            "head": 0 if self.tied else self.n_vocab * d_model,
        }

    def flops_per_token(self) -> dict[str, float]:
        """Forward FLOPs per token by row of Kaplan 2020, Table 1; a multiply-add counts as two."""
        d_model = self.d_model
        return {
            "recurrent": 2.0 * self.n_layer * 4 * 2 * d_model * d_model,
            "de_embed": 2.0 * d_model * self.n_vocab,
        }

    def tensor_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the trainable tensors."""
        d_model = self.d_model
        matrices_and_biases: list[Shape] = [(4 * d_model, d_model), (4 * d_model,)] * 2
        head: list[Shape] = [] if self.tied else [(self.n_vocab, d_model)]
        return ((self.n_vocab, d_model), *matrices_and_biases * self.n_layer, *head)

    def activation_bytes(self, windows: int, precision: Precision, on_cpu: bool) -> int:
        """What autograd keeps of the forward pass besides the weights, from the token ids up to the logits.

        It is what oneDNN keeps on a CPU (`_onednn_workspace`, within 3 %, or 7 % below a width of 32);
        cuDNN's own reserve on a GPU is not known here and taken to be the same.
        """
        product = precision.product
        d_model, n_layer = self.d_model, self.n_layer
        tokens = windows * self.n_ctx
        # The first layer's input, every layer's output, and the last one's in the order that the head takes.
        kept = product * d_model * (n_layer + 2)
        if self.dropout:
            # Masks of input and output; between layers the mask and the masked output.
            kept += d_model * (precision.mask(on_cpu, of_stream=True) + precision.mask(on_cpu))
            kept += d_model * (n_layer - 1) * (precision.mask(on_cpu) + product)
        states = (
            4 * n_layer * product * windows * d_model
        )  # hidden and cell, before the first token and after the last
        token_ids = 8
        workspaces = n_layer * _onednn_workspace(windows, self.n_ctx, d_model, product)
        layer_weights = 4 * (2 * d_model * d_model + 2 * d_model)
        copied = n_layer * layer_weights + d_model * self.n_vocab
        return tokens * (token_ids + kept) + states + workspaces + precision.copies(copied)


def _onednn_workspace(windows: int, n_ctx: int, d_model: int, product: int) -> int:
    """What oneDNN keeps of one LSTM layer: gates, states and room for their gradients.

    Found by measuring (x86-64, torch 2.13): four gates a token; eleven states a token, and one time more,
    seven of them in rows of whole cache lines that avoid multiples of 1 KiB. In half precision the gates and
    five of the states have two bytes.
    """
    gates = product * n_ctx * _row(4 * d_model, product)
    narrow, wide = (0, 7) if product >= 4 else (5, 2)
    width = max(4, product)
    states = (
        narrow * product * _row(d_model, product) + wide * width * _row(d_model, width) + 4 * width * d_model
    )
    return windows * (gates + (n_ctx + 1) * states)


def _row(n_elements: int, element_bytes: int) -> int:
    """Elements of a row of whole cache lines (64 bytes), one more where it would be a multiple of 1 KiB."""
    line = 64 // element_bytes
    padded = math.ceil(n_elements / line) * line
    return padded + line if padded * element_bytes % 1024 == 0 else padded
