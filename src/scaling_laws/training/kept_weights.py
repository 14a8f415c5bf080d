"""A copy of a network's weights on its own device, to go back to."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class KeptWeights:
    """The trained weights (where they are sharded, this rank's part) as they were at the last `keep`; at
    first, as they are now."""

    def __init__(self, network: nn.Module) -> None:
        trained = [weight.detach() for weight in network.parameters() if weight.requires_grad]
        self._weights: list[Tensor] = [
            weight.to_local() if isinstance(weight, DTensor) else weight for weight in trained
        ]
        self.copies: list[Tensor] = [weight.clone() for weight in self._weights]

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the present weights."""
        torch._foreach_copy_(self.copies, self._weights)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the copy back into the network."""
        torch._foreach_copy_(self._weights, self.copies)
