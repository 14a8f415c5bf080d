"""A copy of a network's weights on its own device, to go back to."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class KeptWeights:
    """The trained weights (where they are sharded, this rank's part) as they were at the last `keep`; at
    first, as they are now."""

    def __init__(self, network: nn.Module) -> None:
        self._weights = trained_weights(network)
        self.copies: list[Tensor] = [weight.clone() for weight in self._weights]

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the present weights."""
        torch._foreach_copy_(self.copies, self._weights)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the copy back into the network."""
        torch._foreach_copy_(self._weights, self.copies)


def trained_weights(network: nn.Module) -> list[Tensor]:
    """The trainable tensors; where they are sharded, this rank's part of each."""
    trained = [weight.detach() for weight in network.parameters() if weight.requires_grad]
    return [weight.to_local() if isinstance(weight, DTensor) else weight for weight in trained]


def are_finite(weights: list[Tensor]) -> bool:
    """Whether no weight is NaN or infinite (or so large that their sum is)."""
    return bool(torch.stack(torch._foreach_norm(weights, 1)).isfinite().all())
