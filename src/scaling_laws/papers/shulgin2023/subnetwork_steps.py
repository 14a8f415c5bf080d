"""Independent subnetwork training of a Transformer: a training step of one's own, by class path.

The hidden units of all feed-forward blocks are dealt to n workers. Each worker has the rest of the network
whole, sees its own units alone, their sum scaled by n (as the sketch of Shulgin & Richtarik 2023 is, and so
that the mean over deals is the whole block), and takes J steps of plain SGD, each on its own share of the
batch. Then units come from their owners, all else is averaged. With one worker this is J steps of SGD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from scaling_laws.models.transformer import Transformer
from scaling_laws.study.errors import InputError
from scaling_laws.training.loss import Objective, token_losses

EXPAND_WEIGHT, EXPAND_BIAS = ".feed_forward.expand.weight", ".feed_forward.expand.bias"
PROJECT_WEIGHT = ".feed_forward.project.weight"


class SubnetworkSteps(Objective):
    """A round of independent subnetwork training, as `model.objective`.

    The run's optimiser must be plain `torch.optim.SGD` at a constant `rate`: the round is handed to it as if
    its whole change were one gradient.

    Args:
        n_workers: that the hidden units are dealt to.
        local_steps: of each worker between two averages; a batch has n_workers x local_steps equal shares.
        rate: the learning rate, the run's own.

    Raises:
        InputError: a number makes no sense.
    """

    def __init__(self, n_workers: int, local_steps: int, rate: float) -> None:
        for name, value in (("n_workers", n_workers), ("local_steps", local_steps), ("rate", rate)):
            if value <= 0:
                raise InputError(f"objective.{name} is {value}; it must be positive")
        self.n_workers = n_workers
        self.local_steps = local_steps
        self.rate = rate

    def training_loss(self, network: nn.Module, window: Tensor) -> Tensor:
        """The mean loss of all local steps; its gradient is the round's change over -rate."""
        n, J = self.n_workers, self.local_steps
        if not isinstance(network, Transformer):
            raise InputError(f"objective: {type(network).__name__} is no Transformer of this program")
        if len(window) % (n * J):
            raise InputError(
                f"objective: {len(window)} windows are no multiple of {n} workers x {J} steps; change "
                "data.batch_sequences"
            )
        weights = dict(network.named_parameters())
        # The deal is a function of the batch, so that a resumed run goes on as it would have.
        draws = torch.Generator().manual_seed(int(window.sum()))
        hidden = network.config.feed_forward_width
        if hidden % n:
            raise InputError(f"objective: {hidden} hidden units are no multiple of {n} workers")
        deals = [torch.randperm(hidden, generator=draws).view(n, -1) for _ in network.blocks]
        new = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        losses = []
        for worker, shares in enumerate(window.view(n, J, -1, window.shape[1])):
            units = [deal[worker].to(window.device) for deal in deals]
            part, its_losses = self._worker(network, weights, units, shares)
            losses += its_losses
            _merge(new, part, units, n)
        loss = torch.stack(losses).mean()
        # Its value is the loss, its gradient (w - new) / rate: one step of SGD then makes w new.
        changes = [
            (((weight.detach() - new[name]) / self.rate) * (weight - weight.detach())).sum()
            for name, weight in weights.items()
        ]
        return loss + torch.stack(changes).sum()

    def token_losses(self, network: nn.Module, window: Tensor) -> Tensor:
        """Of the whole network."""
        return token_losses(network, window)

    def _worker(
        self, network: Transformer, weights: Mapping[str, Tensor], units: Sequence[Tensor], shares: Tensor
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The worker's weights after its steps, and the loss before each, of shares (J, B / n J, T + 1)."""
        part = {name: _own(name, weight.detach(), units).clone() for name, weight in weights.items()}
        losses = []
        for share in shares:
            for weight in part.values():
                weight.requires_grad_(True)
            seen = {
                name: weight * self.n_workers if name.endswith(PROJECT_WEIGHT) else weight
                for name, weight in part.items()
            }
            logits = functional_call(network, seen, (share[:, :-1],), tie_weights=True)
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), share[:, 1:].flatten())
            gradients = torch.autograd.grad(loss, list(part.values()))
            losses.append(loss.detach())
            part = {
                # The step is taken on what the worker sees, n times the owner's weight, and divided by n.
                name: (
                    weight
                    - self.rate * (gradient / self.n_workers if name.endswith(PROJECT_WEIGHT) else gradient)
                ).detach()
                for (name, weight), gradient in zip(part.items(), gradients, strict=True)
            }
        return part, losses


def _block_of(name: str) -> int:
    """The block of a parameter `blocks.<number>...`."""
    return int(name.split(".")[1])


def _own(name: str, weight: Tensor, units: Sequence[Tensor]) -> Tensor:
    """What a worker has of a parameter."""
    if name.endswith((EXPAND_WEIGHT, EXPAND_BIAS)):
        return weight[units[_block_of(name)]]
    if name.endswith(PROJECT_WEIGHT):
        return weight[:, units[_block_of(name)]]
    return weight


def _merge(new: dict[str, Tensor], part: Mapping[str, Tensor], units: Sequence[Tensor], n: int) -> None:
    """Add a worker's weights to the whole: its own units as they are, an n-th of the rest."""
    for name, weight in part.items():
        if name.endswith((EXPAND_WEIGHT, EXPAND_BIAS)):
            new[name][units[_block_of(name)]] = weight
        elif name.endswith(PROJECT_WEIGHT):
            new[name][:, units[_block_of(name)]] = weight
        else:
            new[name] += weight / n
