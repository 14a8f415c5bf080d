"""What a plan can know of a network of the user's own before it is trained.

The network is built of torch's fake tensors: they have shapes and types, but no memory and no numbers, so
that a network of any size is counted in some 20 ms.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from scaling_laws.models.network import factored_network, require_accounting
from scaling_laws.models.precision import Shape
from scaling_laws.models.solver import TOLERANCE, widths_about
from scaling_laws.study.conventions import Parts
from scaling_laws.study.errors import InputError

TYPES = {"32": torch.float32, "64": torch.float64, "bf16": torch.bfloat16, "16": torch.float16}
"""First part of Lightning's `precision` -> the type of a matrix product."""
FIRST_WIDTH = 64
MOST_REFUSED = 64
"""Neighbours of a width that are tried where the network refuses it."""


@dataclass(frozen=True, kw_only=True)
class OwnNetwork:
    """What a plan knows of a network that was built without memory.

    Attributes:
        family: the class's own.
        parameters: trainable parameters by group.
        flops_per_token: forward, by row.
        tensors: shapes of the trainable tensors.
        activations: bytes that the forward pass keeps for the backward pass, as torch's CPU kernels keep
            them (less what oneDNN keeps of an nn.LSTM); None where a fake tensor cannot go through it.
        d_head: width of what the head multiplies; None where the network does not show its head.
    """

    family: str
    parameters: dict[str, int]
    flops_per_token: dict[str, float]
    tensors: tuple[Shape, ...]
    activations: int | None
    d_head: int | None


def count_own(
    class_path: str,
    arguments: Mapping[str, Any],
    *,
    n_vocab: int,
    n_ctx: int,
    windows: int,
    precision: str,
) -> OwnNetwork:
    """Build `class_path` without memory, and count it.

    Args:
        class_path: `module.Class`, importable from here.
        arguments: of its constructor, but for n_vocab and n_ctx.
        windows: B of one micro-batch on one device.
        precision: one of `models.precision.PRECISIONS`.

    Raises:
        InputError: no such module or class, the constructor refuses an argument, or the accounting is
            missing or wrong.
    """
    with without_memory(class_path, arguments, n_vocab, n_ctx, weight_type(precision)) as network:
        factored = factored_network(network)
        own = OwnNetwork(
            family=network.family,
            parameters=network.parameters_by_group(),
            flops_per_token=network.flops_per_token(),
            tensors=tuple(tuple(weight.shape) for weight in network.parameters() if weight.requires_grad),
            activations=_activation_bytes(network, torch.zeros(windows, n_ctx, dtype=torch.int64), precision),
            d_head=None if factored is None else factored.head.in_features,
        )
    return own


def weight_type(precision: str) -> torch.dtype:
    """Of the weights in one of `models.precision.PRECISIONS`."""
    name, _, mode = precision.partition("-")
    return TYPES[name] if mode == "true" else torch.float32


def solve_width(
    class_path: str,
    N: float,
    arguments: Mapping[str, Any],
    *,
    n_vocab: int,
    n_ctx: int,
    head_width: int | None = None,
    nearest: bool = False,
) -> dict[str, Any]:
    """The constructor's arguments with the `d_model` (and `n_heads`) that come nearest to N.

    Widths that the network refuses, as one that its heads do not divide, are passed over.

    Args:
        class_path: `module.Class`, importable from here.
        N: non-embedding parameters.
        arguments: of the constructor, but for n_vocab, n_ctx and d_model.
        head_width: d_model / n_heads; by default the heads are those of `arguments` or the constructor's.
        nearest: N is a wish: the nearest width is returned, however far off.

    Raises:
        InputError: the constructor has no d_model, or no n_heads for the head width; it refuses every width
            near the one wanted; or no width comes within 2 % and the nearest was not asked for.
    """
    if not (math.isfinite(N) and 0 < N <= 1e15):
        raise InputError(f"N is {N}; it must be positive, and 1e15 at most")
    defaults = constructor_defaults(class_path)
    if "d_model" not in defaults:
        raise InputError("the constructor has no d_model to solve for; give its arguments instead of a size")
    if head_width is not None and ("n_heads" not in defaults or "n_heads" in arguments):
        raise InputError("head_width needs a constructor with n_heads, and the shape must not give it, too")
    n_heads = arguments.get("n_heads", defaults.get("n_heads"))
    step = head_width or (n_heads if isinstance(n_heads, int) and n_heads > 0 else 1)

    def sized(multiple: int) -> dict[str, Any]:
        heads = {} if head_width is None else {"n_heads": multiple}
        return {**arguments, "d_model": multiple * step, **heads}

    known: dict[int, int] = {}

    def nearest_built(wanted: int) -> tuple[int, int]:
        """The multiple of `step` next to the wanted one that the network takes, and its N."""
        refusal: InputError | None = None
        for distance in range(MOST_REFUSED):
            for multiple in sorted({wanted + distance, max(1, wanted - distance)}, reverse=True):
                if multiple in known:
                    return multiple, known[multiple]
                try:
                    with without_memory(
                        class_path, sized(multiple), n_vocab, n_ctx, torch.float32
                    ) as network:
                        parts = Parts(parameters=network.parameters_by_group(), flops_per_token={})
                except InputError as error:
                    refusal = refusal or error
                else:
                    known[multiple] = parts.non_embedding
                    return multiple, known[multiple]
        assert refusal is not None
        raise refusal

    counts = widths_about(N, nearest_built, FIRST_WIDTH // step)
    best = min(counts, key=lambda multiple: abs(counts[multiple] - N))
    if abs(counts[best] / N - 1) > TOLERANCE and not nearest:
        raise InputError(
            f"no d_model gives {N:.4g} parameters; the nearest is {best * step} with {counts[best]:.4g}; "
            "change N, the depth or the heads"
        )
    return sized(best)


@contextmanager
def without_memory(
    class_path: str, arguments: Mapping[str, Any], n_vocab: int, n_ctx: int, dtype: torch.dtype
) -> Iterator[Any]:
    """The network of fake tensors, its accounting verified; tensors made inside the block are fake, too.

    Raises:
        InputError: see `count_own`; whatever fails inside the block becomes one line, too.
    """
    network_class = load_class(class_path)
    with in_one_line(f"{class_path} {dict(arguments)}"), FakeTensorMode(), _default_type(dtype):
        network = network_class(n_vocab=n_vocab, n_ctx=n_ctx, **arguments)
        require_accounting(network)
        yield network


def constructor_defaults(class_path: str) -> dict[str, Any]:
    """The constructor's arguments and their defaults; `inspect.Parameter.empty` where one has none.

    Raises:
        InputError: see `load_class`.
    """
    parameters = inspect.signature(load_class(class_path)).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def load_class(class_path: str) -> type[Any]:
    """The nn.Module class that `module.Class` names.

    Raises:
        InputError: there is no such module or class, or it is no nn.Module.
    """
    module_name, _, name = class_path.rpartition(".")
    if not module_name:
        raise InputError(f"class_path {class_path!r}: write it as module.Class")
    with in_one_line(f"class_path {class_path!r}: module {module_name!r} cannot be imported"):
        module = importlib.import_module(module_name)
    found = getattr(module, name, None)
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise InputError(f"class_path {class_path!r}: {module_name} has no nn.Module called {name!r}")
    return found


def kept_bytes(network: nn.Module, tokens: Tensor, precision: str) -> int:
    """Bytes that autograd keeps of a forward pass besides the weights.

    Args:
        tokens: token ids (B, T), on the network's device and as fake or as real as the network.
    """
    name, _, mode = precision.partition("-")
    weights = {weight.untyped_storage()._cdata for weight in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}  # held on to, lest an address be given out a second time

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast(tokens.device.type, TYPES[name], enabled=mode == "mixed"),
    ):
        network(tokens)
    return sum(storage.nbytes() for storage in kept.values())


def _activation_bytes(network: nn.Module, tokens: Tensor, precision: str) -> int | None:
    """`kept_bytes` of a fake network; None where it cannot be run."""
    try:
        return kept_bytes(network, tokens, precision)
    except Exception:  # kernels of the user's own need real numbers, or a GPU
        return None


@contextmanager
def _default_type(dtype: torch.dtype) -> Iterator[None]:
    """Build in this type, as Lightning does in its `true` precisions."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Whatever the user's code raises becomes one line that begins with `what`."""
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{what}: {' '.join(reason.split())}") from error
