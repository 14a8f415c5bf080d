"""Parametrisations by which the best learning rate of a small network is that of a large one (AdamW, Adam).

With m_d = width / base width and m_L = depth / base depth, and all that is tuned tuned at the base shape:

|                                | standard       | mup                     | completep                    |
|--------------------------------|----------------|-------------------------|------------------------------|
| embedding, head: deviation     | 1 / sqrt(d)    | 1 / sqrt(base d)        | 1 / sqrt(base d)             |
| hidden matrix: deviation       | 1 / sqrt(fan-in), which falls as m_d^(-1/2) by itself                   |
| hidden matrix: rate            | eta            | eta / m_d               | eta / m_d                    |
| hidden matrix: decoupled decay | lambda         | lambda                  | lambda m_d                   |
| all else: rate                 | eta            | eta                     | eta                          |
| logits                         | x W'           | x W' / m_d              | x W' / m_d                   |
| attention                      | q.k / sqrt(h)  | q.k sqrt(base h) / h    | q.k sqrt(base h) / h         |
| residual branch                | x + f(x)       | x + f(x)                | x + f(x) / m_L               |
| Adam's epsilon                 | eps            | eps                     | eps / (m_d m_L)              |

Sources: Yang et al. 2022 (arXiv 2203.03466); Dey, Anthony and Hestness 2024, "The Practitioner's Guide to
the Maximal Update Parameterization"; Dey et al. 2025 (arXiv 2505.01618), Table 1 with alpha = 1. At the base
shape all three are one network, bit for bit: every factor is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from torch import nn

from scaling_laws.models.optimizers import (
    OptimizerSetting,
    Parametrization,
    optimizer_label,
    optimizer_parts,
)
from scaling_laws.study.errors import InputError

OPTIMIZERS = ("adamw", "torch.optim.AdamW", "torch.optim.Adam")
"""Whose steps do not grow with the gradient, as the rules suppose."""


class ScaledShape(NamedTuple):
    """What of a network's shape the rules are about."""

    width: int
    """d: of the residual stream."""
    depth: int
    head_width: int
    """h."""


@runtime_checkable
class ScalableNetwork(Protocol):
    """A network that can be parametrised; ours do but for LSTMs, and a user's own may."""

    def scaled_shape(self) -> ScaledShape:
        """Its width, depth and width of heads."""

    def scale(self, *, embedding: float, query: float, branch: float, logits: float) -> None:
        """Multiply the initial embedding and untied head, and from now on queries, branches and logits."""


@dataclass(frozen=True, kw_only=True)
class Factors:
    """What a weight has of the settings.

    Attributes:
        rate, decay, epsilon: multiples of learning rate, weight decay and Adam's epsilon.
    """

    rate: float = 1.0
    decay: float = 1.0
    epsilon: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """A parametrisation at one shape.

    Attributes:
        name: `mup` or `completep`.
        m_d, m_L: width and depth over the base's.
        head_ratio: base h / h.
    """

    name: Literal["mup", "completep"]
    m_d: float
    m_L: float
    head_ratio: float

    @property
    def forward(self) -> dict[str, float]:
        """What `scale` multiplies in every forward pass."""
        branch = 1 / self.m_L if self.name == "completep" else 1.0
        return {"query": math.sqrt(self.head_ratio), "branch": branch, "logits": 1 / self.m_d}

    @property
    def hidden(self) -> Factors:
        """Of a matrix between two layers of width d."""
        if self.name == "mup":
            return Factors(rate=1 / self.m_d)
        return Factors(rate=1 / self.m_d, decay=self.m_d, epsilon=self._epsilon)

    @property
    def others(self) -> Factors:
        """Of embeddings, the head, biases and norms."""
        return Factors(epsilon=1.0 if self.name == "mup" else self._epsilon)

    @property
    def _epsilon(self) -> float:
        return 1 / (self.m_d * self.m_L)


def parametrised(
    network: nn.Module,
    name: Parametrization,
    optimizer: OptimizerSetting,
    *,
    base_width: int | None,
    base_depth: int | None,
    base_head_width: int | None = None,
) -> Scaling | None:
    """Scale a network that was just initialised; None where it is the standard one.

    Args:
        base_width, base_depth: of the shape at which rate and decay were tuned; mup needs no depth.
        base_head_width: of that shape; by default it has as many heads as this one.

    Raises:
        InputError: the network, the optimiser or the base is none that the rules are for.
    """
    if name == "standard":
        return None
    where = f"parametrization: {name}"
    if base_width is None or (name == "completep" and base_depth is None):
        missing = "base_width" if base_width is None else "base_depth"
        raise InputError(f"{where} needs {missing}: that of the network whose learning rate was tuned")
    if not isinstance(network, ScalableNetwork):
        raise InputError(
            f"{where} is not for {type(network).__name__}: it needs `scaled_shape()` and `scale(...)`, as "
            "the built-in Transformer and examples/modern_decoder.py have them"
        )
    config = getattr(network, "config", None)
    if getattr(config, "n_reuse", 1) != 1:
        raise InputError(f"{where} has no rules for blocks that are used more than once; leave n_reuse 1")
    parts = optimizer_parts(optimizer)
    if len(parts) > 1 or parts[0].name not in OPTIMIZERS:
        raise InputError(
            f"{where} has rules for Adam and AdamW only, and the optimizer is {optimizer_label(optimizer)}"
        )
    shape = network.scaled_shape()
    m_d = shape.width / base_width
    scaling = Scaling(
        name=name,
        m_d=m_d,
        m_L=shape.depth / (base_depth or shape.depth),
        head_ratio=(base_head_width or shape.head_width / m_d) / shape.head_width,
    )
    network.scale(embedding=math.sqrt(m_d), **scaling.forward)
    return scaling
