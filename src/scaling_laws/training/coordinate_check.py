"""How activations grow with width, and whether a parametrisation keeps them equal (Yang et al. 2022, D.1).

Networks of several widths take a few steps on the same random tokens; the mean of |activation| over a few
seeds is measured after each layer. Under muP it does not depend on the width at any step; under the standard
parametrisation what Adam adds to a sum over the width grows with the width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from scaling_laws.models.optimizer_parts import make_optimizer
from scaling_laws.models.own import load_class
from scaling_laws.models.parametrization import parametrised
from scaling_laws.study.errors import InputError
from scaling_laws.training.loss import mean_loss

MEASURED = {
    "embedding": "token_embedding",
    "attention": "attention",
    "feed-forward": "feed_forward",
    "read-out": "",
}
"""What is measured, and how the names of modules end whose outputs it is; "" is the network's own."""
WINDOWS = 4


def activations(
    networks: Mapping[int, Mapping[str, Any]],
    model: Mapping[str, Any],
    *,
    n_vocab: int,
    n_ctx: int,
    n_steps: int = 4,
    seeds: Sequence[int] = (0, 1),
) -> list[dict[str, float | str]]:
    """Mean |activation| after each step, by width.

    Args:
        networks: `class_path` and `init_args` but for n_vocab and n_ctx, by width.
        model: the section `model` of a run's configuration, but for its network.
        n_ctx: of the windows.

    Returns:
        A row each of width, step (0 is before the first) and layer: `mean_abs`.

    Raises:
        InputError: a network cannot be built or parametrised, or has none of the layers that are measured.
    """
    rows: list[dict[str, float | str]] = []
    for width, described in networks.items():
        sums: dict[tuple[int, str], float] = {}
        for seed in seeds:
            for key, value in _one(described, model, n_vocab, n_ctx, n_steps, seed).items():
                sums[key] = sums.get(key, 0.0) + value / len(seeds)
        rows += [
            {"width": width, "step": step, "layer": layer, "mean_abs": value}
            for (step, layer), value in sums.items()
        ]
    return rows


def _one(
    described: Mapping[str, Any], model: Mapping[str, Any], n_vocab: int, n_ctx: int, n_steps: int, seed: int
) -> dict[tuple[int, str], float]:
    """Of one network and seed, by step and layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        window = torch.randint(n_vocab, (WINDOWS, n_ctx + 1))
        arguments = copy.deepcopy(dict(described.get("init_args", {})))
        network = load_class(described["class_path"])(n_vocab=n_vocab, n_ctx=n_ctx, **arguments)
        optimizer_setting = model.get("optimizer", "adamw")
        scaling = parametrised(
            network,
            model.get("parametrization", "standard"),
            optimizer_setting,
            base_width=model.get("base_width"),
            base_depth=model.get("base_depth"),
            base_head_width=model.get("base_head_width"),
        )
        rate = model["learning_rate"]
        optimizer = make_optimizer(
            optimizer_setting,
            network,
            learning_rate=rate,
            betas=(model.get("beta1", 0.9), model.get("beta2", 0.95)),
            weight_decay=model.get("weight_decay", 0.1),
            scaling=scaling,
        )
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("learning_rate_factor", 1.0)
        found: dict[tuple[int, str], float] = {}
        for step in range(n_steps + 1):
            for layer, value in _measured(network, window[:, :-1]).items():
                found[step, layer] = value
            optimizer.zero_grad()
            torch.autograd.backward(mean_loss(network, window))
            optimizer.step()
        return found


@torch.no_grad()
def _measured(network: nn.Module, tokens: Tensor) -> dict[str, float]:
    """Mean |output| of each kind of layer, over all layers of the kind."""
    found: dict[str, list[float]] = {}

    def hook(layer: str) -> Callable[..., None]:
        return lambda module, inputs, output: found.setdefault(layer, []).append(float(output.abs().mean()))

    with ExitStack() as hooks:
        for layer, ending in MEASURED.items():
            for name, module in network.named_modules():
                if name.rpartition(".")[2] == ending:
                    hooks.callback(module.register_forward_hook(hook(layer)).remove)
        network(tokens)
    if len(found) < len(MEASURED):
        missing = next(layer for layer in MEASURED if layer not in found)
        raise InputError(f"{type(network).__name__}: has no module {MEASURED[missing]!r} to measure")
    return {layer: sum(values) / len(values) for layer, values in found.items()}


def growth(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By layer the slope of ln mean |activation| against ln width at the last step: 0 is flat."""
    last = max(int(row["step"]) for row in rows)
    slopes = {}
    for layer in MEASURED:
        points = [
            (float(row["width"]), float(row["mean_abs"]))
            for row in rows
            if row["layer"] == layer and row["step"] == last
        ]
        x = torch.tensor([point[0] for point in points], dtype=torch.float64).log()
        y = torch.tensor([point[1] for point in points], dtype=torch.float64).log()
        slopes[layer] = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return slopes
