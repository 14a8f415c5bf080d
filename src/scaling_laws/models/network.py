"""What every network must offer, ours and a user's own."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from scaling_laws.study.errors import InputError


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


@runtime_checkable
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
    if hooked or replaced or not isinstance(network, FactoredNetwork):
        return None
    if _definer(network, "forward") < _definer(network, "before_head"):
        return None
    return network if type(network.head) is nn.Linear and network.head.bias is None else None


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
