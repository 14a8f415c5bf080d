"""The built-in families of networks. A new one is a configuration, a network, and an entry here.

Standard library only: the planner counts and solves networks without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from scaling_laws.models.lstm_config import LSTMConfig
from scaling_laws.models.precision import Precision, Shape
from scaling_laws.models.solver import solve_lstm, solve_shape
from scaling_laws.models.transformer_config import TransformerConfig
from scaling_laws.study.errors import InputError


class NetworkConfig(Protocol):
    """A network's shape, and what follows from it."""

    @property
    def n_vocab(self) -> int: ...

    @property
    def n_ctx(self) -> int: ...

    @property
    def d_model(self) -> int: ...

    @property
    def family(self) -> str:
        """Runs of one family share a law."""

    def parameters_by_group(self) -> dict[str, int]:
        """Trainable parameters; the groups sum to the total."""

    def flops_per_token(self) -> dict[str, float]:
        """Forward FLOPs per token by row of Kaplan 2020, Table 1."""

    def tensor_shapes(self) -> tuple[Shape, ...]:
        """Of the trainable tensors."""

    def activation_bytes(self, windows: int, precision: Precision, on_cpu: bool) -> int:
        """What autograd keeps of the forward pass of so many windows besides the weights."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of network.

    Attributes:
        name: in a sweep file.
        labels: by the family that records and laws name: a kind may have several, and each is a law's.
        config: its shape.
        network_path: its nn.Module.
        wishes: what may be wished of a shape beside its size, and of which type.
        solve: the constructor's arguments of about N non-embedding parameters: (N, n_vocab, n_ctx, whether
            the nearest will do, wishes, the other arguments).
    """

    name: str
    labels: Mapping[str, str]
    config: Callable[..., NetworkConfig]
    network_path: str
    wishes: Mapping[str, Any]
    solve: Callable[[float, int, int, bool, Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]


def _transformer_of(
    N: float, n_vocab: int, n_ctx: int, nearest: bool, wishes: Mapping[str, Any], others: Mapping[str, Any]
) -> dict[str, Any]:
    bias = others.get("bias", True)
    config = solve_shape(N, n_vocab=n_vocab, n_ctx=n_ctx, bias=bias, nearest=nearest, **wishes).config
    arguments = {"n_layer": config.n_layer, "d_model": config.d_model, "n_heads": config.n_heads}
    if config.d_ff != 4 * config.d_model:
        arguments["d_ff"] = config.feed_forward_width
    return arguments


def _lstm_of(
    N: float, n_vocab: int, n_ctx: int, nearest: bool, wishes: Mapping[str, Any], others: Mapping[str, Any]
) -> dict[str, Any]:
    config = solve_lstm(N, n_vocab=n_vocab, n_ctx=n_ctx, nearest=nearest, **wishes)
    return {"n_layer": config.n_layer, "d_model": config.d_model}


FAMILIES = (
    Family(
        name="transformer",
        labels={"transformer": "Transformer", "recurrent_transformer": "recurrent Transformer"},
        config=TransformerConfig,
        network_path="scaling_laws.models.transformer.Transformer",
        wishes={
            "n_layer": int,
            "aspect_ratio": int | float,
            "head_width": int,
            "d_ff_ratio": int | float,
            "adjust_d_ff": bool,
            "rule": int,
        },
        solve=_transformer_of,
    ),
    Family(
        name="lstm",
        labels={"lstm": "LSTM"},
        config=LSTMConfig,
        network_path="scaling_laws.models.lstm.LSTM",
        wishes={"n_layer": int},
        solve=_lstm_of,
    ),
)
"""In the order in which reports name them; the first is drawn first."""
LABELS = {name: label for family in FAMILIES for name, label in family.labels.items()}


def family_named(name: str) -> Family:
    """One of `FAMILIES`.

    Raises:
        InputError: there is none of this name.
    """
    family = next((family for family in FAMILIES if family.name == name), None)
    if family is None:
        names = ", ".join(family.name for family in FAMILIES)
        raise InputError(f"family {name!r}: is not one of {names}; a network of your own has a class_path")
    return family
