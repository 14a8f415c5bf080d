"""A copy of a network's weights on its own device, to go back to."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class KeptWeights:
    """The trained weights as they were at the last `keep`; at first, as they are now."""

    def __init__(self, network: nn.Module) -> None:
        self._weights: list[Tensor] = [weight for weight in network.parameters() if weight.requires_grad]
        self.copies: list[Tensor] = [weight.detach().clone() for weight in self._weights]

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the present weights."""
        torch._foreach_copy_(self.copies, self._weights)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the copy back into the network."""
        torch._foreach_copy_(self._weights, self.copies)
