"""How N and C are counted: the one table of their conventions. Standard library only.

Runs store *parts*, parameters by group and FLOPs by row; the literature sums them in several ways, and the
analysis chooses. A convention is an entry below: a column of the run table, a choice of `laws --n` and `--c`,
and a label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

EMBEDDING_GROUPS = ("token_embedding", "position_embedding")
HEAD_GROUP = "head"
NConvention = Literal["N", "N_with_head", "N_total"]
"""Those that count a parameter once."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a network stores of itself: trainable parameters by group, forward FLOPs per token by row.

    Attributes:
        n_reuse: `times_reused` of the network's shape.
    """

    parameters: Mapping[str, int]
    flops_per_token: Mapping[str, float]
    n_reuse: int = 1

    @property
    def total(self) -> int:
        """Every trainable parameter."""
        return sum(self.parameters.values())

    @property
    def non_embedding(self) -> int:
        """Without token and position embeddings and without the head."""
        return self.total - sum(self.parameters.get(group, 0) for group in (*EMBEDDING_GROUPS, HEAD_GROUP))

    @property
    def head_matrix(self) -> int:
        """d_model x n_vocab, whether or not the embedding shares it."""
        return round(self.flops_per_token.get("de_embed", 2 * self.parameters.get(HEAD_GROUP, 0)) / 2)

    def six_nd(self, tokens: float) -> float:
        """6 N D, each parameter as often as it is used; backward = 2 x forward."""
        return 6.0 * (self.n_reuse * self.non_embedding) * tokens

    def rows(self, tokens: float) -> float:
        """Training FLOPs by every row, with the head and the context."""
        return 3.0 * sum(self.flops_per_token.values()) * tokens

    def attention(self, tokens: float) -> float:
        """Training FLOPs of the row that grows with the context."""
        return 3.0 * self.flops_per_token.get("attention_mask", 0.0) * tokens


@dataclass(frozen=True, kw_only=True)
class ParameterConvention:
    """One way to count N.

    Attributes:
        counts: what it counts, as one would say it.
        label: of an axis.
        count: from a network's parts.
    """

    counts: str
    label: str
    count: Callable[[Parts], int]


@dataclass(frozen=True, kw_only=True)
class ComputeConvention:
    """One way to count C, the training FLOPs.

    Attributes:
        label: of an axis.
        flops: of so many tokens, from a network's parts.
    """

    label: str
    flops: Callable[[Parts, float], float]


N_CONVENTIONS = {
    "N": ParameterConvention(  # Kaplan 2020
        counts="without embeddings and head",
        label="N, non-embedding parameters",
        count=lambda parts: parts.non_embedding,
    ),
    "N_with_head": ParameterConvention(  # Porian 2024: the head counts, tied or not
        counts="with the head, without the embedding",
        label="N, parameters with the head",
        count=lambda parts: parts.non_embedding + parts.head_matrix,
    ),
    "N_total": ParameterConvention(  # Hoffmann 2022
        counts="every parameter",
        label="N, all parameters",
        count=lambda parts: parts.total,
    ),
    # Kaplan 2020, Fig. 17. The norm before the head is not repeated, but counted as if it were.
    "N_reused": ParameterConvention(
        counts="without embeddings and head, each as often as it is used",
        label="N, non-embedding parameters, each as often as it is used",
        count=lambda parts: parts.n_reuse * parts.non_embedding,
    ),
}
"""By the column's name; of two that are equal the earlier is the usual one."""
COUNT_ONCE: tuple[NConvention, ...] = ("N", "N_with_head", "N_total")
C_CONVENTIONS = {
    "C": ComputeConvention(  # Kaplan 2020: C = 6NBS
        label="C = 6ND, training FLOPs",
        flops=lambda parts, tokens: parts.six_nd(tokens),
    ),
    "C_attention": ComputeConvention(
        label="C, training FLOPs with attention",
        flops=lambda parts, tokens: parts.six_nd(tokens) + parts.attention(tokens),
    ),
    "C_exact": ComputeConvention(  # every row of Kaplan 2020, Table 1
        label="C, exact training FLOPs",
        flops=lambda parts, tokens: parts.rows(tokens),
    ),
}
"""By the column's name."""


CONTEXT_AND_HEAD = ("embed", "attention_mask", "de_embed")
"""Rows of FLOPs that 6 N D leaves out."""
DOUBTFUL_SHARE = 0.5


def flops_doubt(
    name: str, parameters: Mapping[str, int], flops_per_token: Mapping[str, float], n_reuse: int = 1
) -> str:
    """A sentence where 6 N D is not what a network counts of itself, head and context aside; else empty.

    So it is of a mixture of experts, of which a token uses a part; or of a network that counts wrongly.
    """
    parts = Parts(parameters=parameters, flops_per_token=flops_per_token, n_reuse=n_reuse)
    counted = 3 * sum(flops for row, flops in flops_per_token.items() if row not in CONTEXT_AND_HEAD)
    six_n = parts.six_nd(1)
    if not six_n or abs(counted / six_n - 1) <= DOUBTFUL_SHARE:
        return ""
    return (
        f"{name}: 6 N is {six_n:.3g} FLOPs per token, and it counts {counted:.3g} of itself (head and "
        "context aside): compare it by --c C_exact, and by --n N_active where a token uses only a part of "
        "the parameters"
    )


def times_reused(shape: Mapping[str, Any]) -> int:
    """How often a network applies its stack of blocks: the `n_reuse` of its shape, 1 where it has none."""
    n_reuse = shape.get("n_reuse")
    return n_reuse if isinstance(n_reuse, int) and n_reuse >= 1 else 1


def parameter_counts(
    parameters: Mapping[str, int], flops_per_token: Mapping[str, float], n_reuse: int = 1
) -> dict[str, int]:
    """N by each of `N_CONVENTIONS`, from parameters by group and FLOPs by row.

    Args:
        n_reuse: `times_reused` of the network's shape.
    """
    parts = Parts(parameters=parameters, flops_per_token=flops_per_token, n_reuse=n_reuse)
    return {name: convention.count(parts) for name, convention in N_CONVENTIONS.items()}


def compute_flops(
    parameters: Mapping[str, int], flops_per_token: Mapping[str, float], tokens: int, n_reuse: int = 1
) -> dict[str, float]:
    """Training FLOPs of `tokens` by each of `C_CONVENTIONS`, with backward = 2 x forward.

    Args:
        n_reuse: `times_reused` of the network's shape.
    """
    parts = Parts(parameters=parameters, flops_per_token=flops_per_token, n_reuse=n_reuse)
    return {name: convention.flops(parts, tokens) for name, convention in C_CONVENTIONS.items()}
