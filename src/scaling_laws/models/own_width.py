"""The width that gives a network of the user's own its number of parameters: found by building and counting.

A network is built of fake tensors (`models/own.py`), which takes some 20 ms; a search builds about six.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from scaling_laws.models.own import constructor_defaults, without_memory
from scaling_laws.models.solver import TOLERANCE
from scaling_laws.study.errors import InputError

NOT_IN_N = ("token_embedding", "position_embedding", "head")
FIRST_WIDTH = 64
MOST_REFUSED = 64
"""Neighbours of a width that are tried where the network refuses it."""
MOST_BUILT = 40


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

    counts: dict[int, int] = {}

    def nearest_built(wanted: int) -> int:
        """The multiple of `step` next to the wanted one that the network takes, counted into `counts`."""
        refusal: InputError | None = None
        for distance in range(MOST_REFUSED):
            for multiple in sorted({wanted + distance, max(1, wanted - distance)}, reverse=True):
                if multiple in counts:
                    return multiple
                try:
                    with without_memory(
                        class_path, sized(multiple), n_vocab, n_ctx, torch.float32
                    ) as network:
                        groups = network.parameters_by_group()
                except InputError as error:
                    refusal = refusal or error
                else:
                    counts[multiple] = sum(groups[name] for name in groups.keys() - set(NOT_IN_N))
                    return multiple
        assert refusal is not None
        raise refusal

    low, high, wanted = 0, 0, max(1, FIRST_WIDTH // step)  # high = 0: no width is known to be too large
    while len(counts) < MOST_BUILT:
        before = len(counts)
        found = nearest_built(wanted)
        if len(counts) == before:
            break  # between the two widths around N the network takes none
        if counts[found] < N:
            low = max(low, found)
        else:
            high = min(high or found, found)
        # N grows about as d_model^2; where the guess leaves the bracket, its middle.
        wanted = round(found * min(math.sqrt(N / max(counts[found], 1)), 1e3))
        if high and not low < wanted < high:
            wanted = (low + high) // 2
        wanted = max(wanted, low + 1)
        if wanted == high:
            break
    best = min(counts, key=lambda multiple: abs(counts[multiple] - N))
    if abs(counts[best] / N - 1) > TOLERANCE and not nearest:
        raise InputError(
            f"no d_model gives {N:.4g} parameters; the nearest is {best * step} with {counts[best]:.4g}; "
            "change N, the depth or the heads"
        )
    return sized(best)
