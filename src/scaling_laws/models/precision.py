"""Lightning's precisions in bytes. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...]
"""Of a tensor."""
LONGEST_SQUARE = 256
"""Tokens up to which attention in bfloat16 on a CPU keeps T x T probabilities (`models/attention.py`)."""


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Bytes of a number.

    Attributes:
        stream: of a weight, and of the residual stream.
        product: of what goes into and comes out of a matrix product: autocast halves it.
        bfloat16: whether products are in bfloat16.
    """

    stream: int
    product: int
    bfloat16: bool = False

    def mask(self, on_cpu: bool, of_stream: bool = False) -> int:
        """Of an element of a dropout's mask: numbers on CPUs, bytes on GPUs."""
        return (self.stream if of_stream else self.product) if on_cpu else 1

    def copies(self, n_weights: int) -> int:
        """Autocast keeps one half-precision copy of every weight of a matrix product."""
        return self.product * n_weights if self.product < self.stream else 0


PRECISIONS = {
    "32-true": Precision(stream=4, product=4),
    "bf16-mixed": Precision(stream=4, product=2, bfloat16=True),
    "16-mixed": Precision(stream=4, product=2),
    "bf16-true": Precision(stream=2, product=2, bfloat16=True),
    "16-true": Precision(stream=2, product=2),
    "64-true": Precision(stream=8, product=8),
}
"""By Lightning's name."""
