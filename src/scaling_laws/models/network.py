"""What every network must offer, ours and a user's own."""

from __future__ import annotations

from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from scaling_laws.study.conventions import Parts
from scaling_laws.study.errors import InputError

PROBE_NOISE = 0.05
"""By which weights are moved to see whether a network is causal."""
LEAK = 1e-3
"""Of what later logits move by: less than this is rounding. (Half precision rounds more, but alike.)"""


@runtime_checkable
class Network(Protocol):
    """What a network must offer: ours do, and a user's own does (README, "Your own network").

    Its constructor takes `n_vocab` and `n_ctx`, which the corpus and the data module give, and whatever
    else it likes.
    """

    family: str
    """One word for plots and fits: runs of one family share a law."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Token ids (B, T) to logits (B, T, V); position t must not see tokens after t."""

    def parameters_by_group(self) -> dict[str, int]:
        """Trainable parameters by group; N leaves out token_embedding, position_embedding and head."""

    def flops_per_token(self) -> dict[str, float]:
        """Forward FLOPs per token by row; the conventions of C know attention_mask and de_embed."""


class FactoredNetwork(Protocol):
    """A network that also shows the two factors of its logits; ours do, and a user's own may.

    Its logits are `head(before_head(tokens))`, nothing else: the loss need not keep them
    (`training/loss.py`).
    """

    head: nn.Linear
    """(d, V), without bias."""

    def before_head(self, tokens: Tensor) -> Tensor:
        """Token ids (B, T) to what the head multiplies, (B, T, d)."""


def factored_network(network: nn.Module) -> FactoredNetwork | None:
    """The network, where calling it is its `before_head` and `head`, and nothing else.

    Not where sharded weights are gathered by hooks, where a compiled network is its call, where a class has a
    `forward` of its own above an inherited `before_head`, or where the head is more than a matrix.
    """
    hooked = isinstance(network, FSDPModule) or network._forward_hooks or network._forward_pre_hooks
    replaced = network._compiled_call_impl is not None or "forward" in vars(network)
    # Not by isinstance with a protocol: since Python 3.12 that does not see submodules, and `head` is one.
    head = getattr(network, "head", None)
    shown = callable(getattr(network, "before_head", None)) and type(head) is nn.Linear and head.bias is None
    if hooked or replaced or not shown or _definer(network, "forward") < _definer(network, "before_head"):
        return None
    return cast(FactoredNetwork, network)


@runtime_checkable
class SparseNetwork(Protocol):
    """A network of which a token uses a part, as a mixture of experts; not asked for."""

    def active_parameters(self) -> int:
        """Parameters that one token uses, counted as N: without embeddings and head."""


@runtime_checkable
class RegularisedNetwork(Protocol):
    """A network that wants more than the cross-entropy to be small; not asked for."""

    def auxiliary_loss(self) -> Tensor:
        """Of the last forward pass: what is added to the loss that is trained with; a scalar."""


def _definer(network: nn.Module, name: str) -> int:
    """How far up the network's classes a method is defined; 0 is its own class, beyond all if in none."""
    classes = type(network).__mro__
    return next((place for place, kind in enumerate(classes) if name in vars(kind)), len(classes))


def require_accounting(network: nn.Module) -> None:
    """Refuse a network that does not count itself, or counts wrongly.

    Raises:
        InputError: the accounting is missing, or its groups do not sum to the network's parameters.
    """
    name = type(network).__name__
    if not isinstance(network, Network):
        raise InputError(
            f"{name}: a network needs `family`, `parameters_by_group()` and `flops_per_token()`; "
            "README, 'Your own network', shows them"
        )
    counted = sum(network.parameters_by_group().values())
    actual = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    if counted != actual:
        raise InputError(f"{name}: parameters_by_group() sums to {counted}, but it has {actual} parameters")
    if isinstance(network, SparseNetwork):
        active, N = network.active_parameters(), _non_embedding(network)
        if not 0 < active <= N:
            raise InputError(f"{name}: active_parameters() is {active}; it must be 1 to N = {N}")


def _non_embedding(network: Network) -> int:
    return Parts(parameters=network.parameters_by_group(), flops_per_token={}).non_embedding


@torch.no_grad()
def require_causal(network: nn.Module, n_vocab: int, n_ctx: int) -> None:
    """Refuse a network in which a position sees later tokens: they are changed, and earlier logits compared.

    Weights that start at zero would hide it, so all are moved a little for the moment, and then put back bit
    for bit. Nothing is drawn at random. Of sharded weights every rank must call it.

    Args:
        n_ctx: length of the windows.

    Raises:
        InputError: an earlier logit moves.
    """
    if n_ctx < 2:
        return
    weights = [_local(weight) for weight in network.parameters()]
    before = [weight.clone() for weight in weights]
    was_training = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        for number, weight in enumerate(weights):
            angles = torch.arange(weight.numel(), device=weight.device, dtype=torch.float32)
            weight.add_((PROBE_NOISE * torch.sin(angles * (1.3 + number))).view_as(weight).to(weight.dtype))
        device = weights[0].device
        tokens = (torch.arange(n_ctx, device=device)[None] * 7 + 3) % n_vocab
        logits = network(tokens).float()
        for first in sorted({1, n_ctx // 2, n_ctx - 1}):
            changed = tokens.clone()
            changed[:, first:] = (changed[:, first:] + 1 + n_vocab // 3) % n_vocab
            moved = (network(changed).float() - logits).abs().amax(-1)[0]  # (T,)
            earlier, later = moved[:first], moved[first:]
            if earlier.max() > LEAK * later.max():
                position = int(earlier.argmax())
                raise InputError(
                    f"{type(network).__name__}: sees later tokens: with others from position {first} on, "
                    f"the logits of position {position} change; position t must see tokens 0 to t only"
                )
    finally:
        for weight, value in zip(weights, before, strict=True):
            weight.copy_(value)
        for module, training in was_training:
            module.training = training


def _local(weight: Tensor) -> Tensor:
    """The numbers themselves; of a sharded weight this rank's."""
    data = weight.detach()
    return data.to_local() if isinstance(data, DTensor) else data
