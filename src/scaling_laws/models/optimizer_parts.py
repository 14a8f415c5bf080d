"""Optimisers of torch's kind, built of a setting; what they keep, and whether a resume can restore it."""

from __future__ import annotations

import importlib
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from scaling_laws.models.optimizers import (
    MATRICES,
    OPTIMIZERS,
    REST,
    OptimizerPart,
    OptimizerSetting,
    optimizer_parts,
)
from scaling_laws.models.own import in_one_line, without_memory
from scaling_laws.models.parametrization import Factors, Scaling
from scaling_laws.models.precision import Shape
from scaling_laws.study.errors import InputError

BUILT: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adafactor": torch.optim.Adafactor,
}
"""By the names of `models/optimizers.py`."""
HEADS = ("head", "lm_head")
"""Names of the layer that makes logits: its matrix is none of the `matrices`."""
STEPS_BEFORE, STEPS_AFTER = 7, 12
"""Steps of the trial resume: what an optimiser does every tenth step only is seen, too."""
TRIAL_RATE = 0.01
ADAM_EPSILON = 1e-8
"""torch's default."""
TRIAL_LENGTHS = (3, 5, 7)
"""Of every dimension of the small weights whose states are counted: what is kept of a weight is a polynomial
of its lengths, of degree two in each at most."""


class JoinedOptimizer(torch.optim.Optimizer):
    """Several optimisers as one: Lightning, checkpoints and sharding see one list of groups, one state."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers
        super().__init__([group for each in optimizers for group in each.param_groups], {})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        """Have every optimiser work on its groups of this one, and on this one's state."""
        first = 0
        for each in self.optimizers:
            last = first + len(each.param_groups)
            each.param_groups, each.state = self.param_groups[first:last], self.state
            first = last

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of each; the closure, which computes the gradients, is called once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for each in self.optimizers:
            each.step()
        return loss


def make_optimizer(
    setting: OptimizerSetting,
    network: nn.Module,
    *,
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
    fused: bool = True,
    scaling: Scaling | None = None,
) -> torch.optim.Optimizer:
    """The optimiser of a network's trained weights.

    The decay of a short name falls on matrices only: it would pull a norm's weight away from 1. A class's own
    `weight_decay` falls where the class lets it fall.

    Adafactor (Shazeer and Stern 2018) keeps a row and a column of second moments a matrix and no first
    moment: Kaplan et al. used it above 1e9 parameters. Its rate is relative to the size of a weight, and
    torch caps it at 1 / sqrt(step).

    Args:
        betas: of AdamW; Adafactor has none.
        fused: one kernel for AdamW's whole step.
        scaling: how rate, decay and epsilon of a weight follow from the network's shape; of Adam and AdamW.

    Raises:
        InputError: the setting is none, a class cannot be imported or refuses its arguments, or the parts do
            not take every weight exactly once.
    """
    built = []
    for part, weights in parts_of(setting, network):
        groups: list[dict[str, Any]]
        if part.is_class:
            groups = [{"params": list(weights.values())}]
            own = dict(part.arguments)
        else:
            trained = weights.values()
            groups = [
                {"params": [weight for weight in trained if weight.ndim >= 2], "weight_decay": weight_decay},
                {"params": [weight for weight in trained if weight.ndim < 2], "weight_decay": 0.0},
            ]
            groups = [group for group in groups if group["params"]]
            own = {"betas": betas, "fused": fused} if "beta1" in OPTIMIZERS[part.name].settings else {}
        if part.learning_rate_factor != 1.0:
            groups = [{**group, "learning_rate_factor": part.learning_rate_factor} for group in groups]
        if scaling is not None:
            groups = [each for group in groups for each in _scaled(group, scaling, network, own)]
        with in_one_line(f"optimizer {part.label}"):
            built.append(_class_of(part)(groups, lr=learning_rate * part.learning_rate_factor, **own))
    return built[0] if len(built) == 1 else JoinedOptimizer(built)


def _scaled(
    group: dict[str, Any], scaling: Scaling, network: nn.Module, own: dict[str, Any]
) -> list[dict[str, Any]]:
    """A group of weights as one for hidden matrices and one for the others, or as it is where both agree."""
    outside = _embeddings_and_head(network)
    by_factors: dict[Factors, list[nn.Parameter]] = {}
    for weight in group["params"]:
        hidden = weight.ndim == 2 and id(weight) not in outside
        by_factors.setdefault(scaling.hidden if hidden else scaling.others, []).append(weight)
    if set(by_factors) == {Factors()}:
        return [group]
    decay = group.get("weight_decay", own.get("weight_decay"))
    return [
        {
            **group,
            "params": weights,
            "learning_rate_factor": factors.rate * group.get("learning_rate_factor", 1.0),
            "eps": factors.epsilon * own.get("eps", ADAM_EPSILON),
            **({} if decay is None else {"weight_decay": factors.decay * decay}),
        }
        for factors, weights in by_factors.items()
    ]


def parts_of(
    setting: OptimizerSetting, network: nn.Module
) -> list[tuple[OptimizerPart, dict[str, nn.Parameter]]]:
    """Which of a network's trained weights each optimiser moves, by their names; the first that takes one.

    Raises:
        InputError: an optimiser gets no weight, or a weight no optimiser.
    """
    left = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    outside = _embeddings_and_head(network)
    found = []
    for part in optimizer_parts(setting):
        if part.parameters == REST:
            taken = dict(left)
        elif part.parameters == MATRICES:
            taken = {
                name: weight
                for name, weight in left.items()
                if weight.ndim == 2 and id(weight) not in outside
            }
        else:
            taken = {name: weight for name, weight in left.items() if re.search(part.parameters, name)}
        if not taken:
            raise InputError(
                f"optimizer {part.label}: parameters: {part.parameters} takes none of the weights"
            )
        left = {name: weight for name, weight in left.items() if name not in taken}
        found.append((part, taken))
    if left:
        raise InputError(
            f"optimizer: none takes {next(iter(left))} and {len(left) - 1} more weights; "
            f"give one of them parameters: {REST}"
        )
    return found


def _embeddings_and_head(network: nn.Module) -> set[int]:
    """Identities of the weights between tokens and the residual stream; a tied head is its embedding."""
    modules = [module for module in network.modules() if isinstance(module, nn.Embedding)]
    heads = [getattr(network, name, None) for name in HEADS]
    weights = [getattr(module, "weight", None) for module in (*modules, *heads)]
    return {id(weight) for weight in weights if weight is not None}


def _class_of(part: OptimizerPart) -> Callable[..., torch.optim.Optimizer]:
    """The class that a part names.

    Raises:
        InputError: there is none, or it is no optimiser that trains as these do.
    """
    if not part.is_class:
        return BUILT[part.name]
    module_name, _, name = part.name.rpartition(".")
    with in_one_line(f"optimizer {part.name}: module {module_name!r} cannot be imported"):
        module = importlib.import_module(module_name)
    found = getattr(module, name, None)
    if not isinstance(found, type) or not issubclass(found, torch.optim.Optimizer):
        raise InputError(f"optimizer {part.name}: {module_name} has no torch.optim.Optimizer called {name!r}")
    if hasattr(found, "train") and hasattr(found, "eval"):
        raise InputError(
            f"optimizer {part.name}: keeps other weights for training than for evaluation (train, eval); "
            "held-out losses would be of the wrong ones"
        )
    return found


# --- before anything is trained --------------------------------------------------------------------


def require_resumable(setting: OptimizerSetting, dtype: torch.dtype = torch.float32) -> None:
    """Refuse an optimiser by class path that cannot be trained with, or not resumed bit for bit.

    Each takes some steps on a small weight, is saved and read back, and must go on as if nothing had been.

    Args:
        dtype: of the weights.

    Raises:
        InputError: one cannot.
    """
    for part in optimizer_parts(setting):
        if part.is_class:
            _require_resumable(part, dtype)


def _require_resumable(part: OptimizerPart, dtype: torch.dtype) -> None:
    with in_one_line(f"optimizer {part.label}"), torch.random.fork_rng(devices=[]):
        shapes: list[Shape] = [(5, 4), (3,)]
        try:
            _trial(part, shapes, dtype)
        except ValueError:  # as Muon, which takes matrices only
            shapes = shapes[:1]
        whole, optimizer = _trial(part, shapes, dtype)
        _steps(whole, optimizer, range(STEPS_BEFORE))
        again, resumed = _trial(part, shapes, dtype)
        for weight, value in zip(again, whole, strict=True):
            weight.data.copy_(value.data)
        resumed.load_state_dict(_read_back(optimizer.state_dict()))
        for weights, each in ((whole, optimizer), (again, resumed)):
            torch.manual_seed(0)
            _steps(weights, each, range(STEPS_BEFORE, STEPS_BEFORE + STEPS_AFTER))
        same = all(torch.equal(one, other) for one, other in zip(whole, again, strict=True))
        if not same or not all(torch.isfinite(weight).all() for weight in whole):
            raise InputError(
                "what it keeps is not all in its state_dict: resumed, it goes on differently"
                if not same
                else "its first steps on a small weight are not finite"
            )


def _trial(
    part: OptimizerPart, shapes: list[Shape], dtype: torch.dtype
) -> tuple[list[nn.Parameter], torch.optim.Optimizer]:
    weights = [
        nn.Parameter(torch.linspace(-1, 1, math.prod(shape)).reshape(shape).to(dtype)) for shape in shapes
    ]
    return weights, _class_of(part)(weights, lr=TRIAL_RATE, **part.arguments)


def _steps(weights: list[nn.Parameter], optimizer: torch.optim.Optimizer, numbers: range) -> None:
    for number in numbers:
        for weight in weights:
            angles = torch.arange(weight.numel(), dtype=torch.float32).reshape(weight.shape)
            weight.grad = torch.sin(angles * (1 + number)).to(weight.dtype)
        optimizer.step()


def _read_back(state: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint gives back of a state: tensors and plain values."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


# --- what it keeps ---------------------------------------------------------------------------------


def state_bytes(
    setting: OptimizerSetting,
    class_path: str,
    arguments: Mapping[str, Any],
    *,
    n_vocab: int,
    n_ctx: int,
    dtype: torch.dtype,
) -> int:
    """Bytes that an optimiser keeps of a network, which is built without memory.

    Raises:
        InputError: the network or the optimiser cannot be built, or could not be resumed.
    """
    require_resumable(setting, dtype)
    with without_memory(class_path, arguments, n_vocab, n_ctx, dtype) as network:
        parts = [
            (part, [tuple(weight.shape) for weight in weights.values()])
            for part, weights in parts_of(setting, network)
        ]
    total = 0
    for part, shapes in parts:
        if part.is_class:
            counted = {
                n_dims: _small_states(part, n_dims, dtype) for n_dims in {len(each) for each in shapes}
            }
            total += sum(_interpolated(shape, counted[len(shape)]) for shape in shapes)
        else:
            weight_bytes = torch.finfo(dtype).bits // 8
            total += sum(OPTIMIZERS[part.name].state_bytes(shape, weight_bytes) for shape in shapes)
    return total


def _small_states(part: OptimizerPart, n_dims: int, dtype: torch.dtype) -> dict[Shape, int]:
    """Bytes that one step leaves of small weights, by their shapes: every combination of `TRIAL_LENGTHS`."""
    shapes = list(product(TRIAL_LENGTHS, repeat=n_dims))
    with in_one_line(f"optimizer {part.label}"), torch.random.fork_rng(devices=[]):
        weights, optimizer = _trial(part, shapes, dtype)
        _steps(weights, optimizer, range(1))
        return {
            shape: sum(tensor.nbytes for tensor in _tensors(optimizer.state[weight]))
            for shape, weight in zip(shapes, weights, strict=True)
        }


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _interpolated(shape: Shape, counted: Mapping[Shape, int]) -> int:
    """Lagrange's polynomial through the counts of the small shapes, at this one."""
    return int(
        sum(
            n_bytes * math.prod(_basis(length, at) for length, at in zip(shape, small, strict=True))
            for small, n_bytes in counted.items()
        )
    )


def _basis(length: int, at: int) -> Fraction:
    """1 where the length is `at`, 0 at the other trial lengths."""
    others = [each for each in TRIAL_LENGTHS if each != at]
    return math.prod((Fraction(length - each, at - each) for each in others), start=Fraction(1))


# --- sharded weights -------------------------------------------------------------------------------


def require_sharded(setting: OptimizerSetting, mesh: Any) -> None:
    """Refuse an optimiser that cannot move weights that are split over a device mesh, or moves them wrongly.

    Every rank of the mesh must call it.

    Raises:
        InputError: one cannot.
    """
    from torch.distributed.tensor import Shard, distribute_tensor

    for part in optimizer_parts(setting):
        if part.name == "adamw":
            continue
        reason = ""
        try:
            weights, optimizer = _trial(part, [(8, 6)], torch.float32)
            _steps(weights, optimizer, range(3))
            (start,), _ = _trial(part, [(8, 6)], torch.float32)
            split = nn.Parameter(distribute_tensor(start.data.to(mesh.device_type), mesh, [Shard(0)]))
            optimizer = _class_of(part)([split], lr=TRIAL_RATE, **part.arguments)
            for number in range(3):
                angles = torch.arange(48, dtype=torch.float32).reshape(8, 6)
                gradient = torch.sin(angles * (1 + number)).to(mesh.device_type)
                split.grad = distribute_tensor(gradient, mesh, [Shard(0)])
                optimizer.step()
            moved = split.detach().full_tensor().cpu()  # type: ignore[attr-defined]
            if not torch.allclose(moved, weights[0].detach(), rtol=1e-3, atol=1e-4):
                reason = " (it moves them differently from whole ones)"
        except Exception as error:  # whatever the optimiser's author did not foresee
            reason = f" ({type(error).__name__})"
        if reason:
            raise InputError(f"model.optimizer: {part.label} cannot take sharded weights{reason}; use adamw")
