"""The optimisers: what a setting names, what each takes, and what it keeps. Standard library only.

`optimizer` of a run or a sweep is a short name, a torch optimiser by its class path, or a list of such, each
for a part of the weights. `models/optimizer_parts.py` builds them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scaling_laws.models.precision import Shape
from scaling_laws.study.errors import InputError

Parametrization = Literal["standard", "mup", "completep"]
"""How rates and decays of weights follow from a base shape (`models/parametrization.py`)."""
OptimizerSetting = str | dict[str, Any] | list[str | dict[str, Any]]
"""`adamw`; `{class_path: torch.optim.SGD, init_args: {momentum: 0.9}}`; or a list of such, each with
`parameters` and, if wanted, a `learning_rate_factor`; `{name: adamw, parameters: rest}` is a short name."""
COUNTER_BYTES = 4
"""A step counter in float32 for each tensor."""
MATRICES, REST = "matrices", "rest"
"""As `parameters`: the weights of two dimensions but for embeddings and head; what no other part takes."""
KEYS = ("name", "class_path", "init_args", "parameters", "learning_rate_factor")
TORCH = "torch.optim."


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """One optimiser that has a short name.

    Attributes:
        settings: what it takes beside the rate, by the names of `LanguageModel`.
        moments: numbers that it keeps of a tensor of a shape, each as wide as a weight.
    """

    settings: tuple[str, ...]
    moments: Callable[[Shape], int]

    def state_bytes(self, shape: Shape, weight_bytes: int) -> int:
        """Of one tensor."""
        return weight_bytes * self.moments(shape) + COUNTER_BYTES


def _factored(shape: Shape) -> int:
    """The mean square of every row and of every column (Shazeer and Stern 2018); all of a vector's."""
    if len(shape) < 2:
        return math.prod(shape)
    *leading, n_rows, n_columns = shape
    return math.prod(leading) * (n_rows + n_columns)


OPTIMIZERS: dict[str, Optimizer] = {
    "adamw": Optimizer(
        settings=("weight_decay", "beta1", "beta2"), moments=lambda shape: 2 * math.prod(shape)
    ),
    "adafactor": Optimizer(settings=("weight_decay",), moments=_factored),
}
SHORT_NAMES_SETTINGS = tuple(
    dict.fromkeys(name for optimizer in OPTIMIZERS.values() for name in optimizer.settings)
)
"""What belongs to the short names; an optimiser by class path has init_args."""


@dataclass(frozen=True, kw_only=True)
class OptimizerPart:
    """One optimiser, and which weights it moves.

    Attributes:
        name: one of `OPTIMIZERS`, or a class path.
        arguments: of the class's constructor, but for weights and rate.
        parameters: `matrices`, `rest`, or a regular expression that is looked for in the weights' names.
        learning_rate_factor: its rate over the schedule's.
    """

    name: str
    arguments: Mapping[str, Any]
    parameters: str = REST
    learning_rate_factor: float = 1.0

    @property
    def is_class(self) -> bool:
        """Whether it is given by its class path."""
        return self.name not in OPTIMIZERS

    @property
    def label(self) -> str:
        """`SGD(momentum=0.9)`: everything but which weights it moves."""
        arguments = ", ".join(f"{key}={value}" for key, value in sorted(self.arguments.items()))
        factor = "" if self.learning_rate_factor == 1.0 else f" at {self.learning_rate_factor:g} of the rate"
        return self.name.removeprefix(TORCH) + (f"({arguments})" if arguments else "") + factor


def optimizer_parts(setting: OptimizerSetting) -> tuple[OptimizerPart, ...]:
    """What a setting names, in the order in which the parts take their weights.

    Raises:
        InputError: the setting is none, in one line.
    """
    entries = setting if isinstance(setting, list) else [setting]
    if not entries:
        raise InputError(f"optimizer: the list is empty; write {', '.join(OPTIMIZERS)}, or a class_path")
    parts = tuple(_part(entry, several=len(entries) > 1) for entry in entries)
    of_rest = [part.label for part in parts if part.parameters == REST]
    if len(of_rest) > 1:
        raise InputError(f"optimizer: {of_rest[0]} and {of_rest[1]} both take the rest of the weights")
    # What the others leave comes last.
    return tuple(sorted(parts, key=lambda part: part.parameters == REST))


def optimizer_label(setting: OptimizerSetting) -> str:
    """What tables and records call it: `adamw`, `SGD(momentum=0.9)`, `Muon for matrices + adamw for rest`."""
    parts = optimizer_parts(setting)
    if len(parts) == 1 and parts[0].parameters == REST:
        return parts[0].label
    return " + ".join(f"{part.label} for {part.parameters}" for part in parts)


def optimizer_settings(setting: OptimizerSetting) -> tuple[str, ...]:
    """Which of `weight_decay`, `beta1` and `beta2` its short names take."""
    names = {part.name for part in optimizer_parts(setting)}
    taken = {each for name in names & OPTIMIZERS.keys() for each in OPTIMIZERS[name].settings}
    return tuple(name for name in SHORT_NAMES_SETTINGS if name in taken)


def require_own_settings(setting: OptimizerSetting, changed: Mapping[str, bool]) -> None:
    """Refuse a setting of the short names beside an optimiser that has none of it.

    Args:
        changed: whether each of `SHORT_NAMES_SETTINGS` is other than by default.

    Raises:
        InputError: one is.
    """
    for name in SHORT_NAMES_SETTINGS:
        if changed[name] and name not in optimizer_settings(setting):
            by_class = any(part.is_class for part in optimizer_parts(setting))
            remedy = "write it into its init_args" if by_class else "leave it out"
            raise InputError(f"{name} is not a setting of optimizer: {optimizer_label(setting)}; {remedy}")


def optimizer_named(name: str) -> Optimizer:
    """One of `OPTIMIZERS`.

    Raises:
        InputError: there is none of this name: nothing is known of what it keeps.
    """
    if name not in OPTIMIZERS:
        raise InputError(
            f"optimizer {name!r}: is not one of {', '.join(OPTIMIZERS)}; any other is named by its class, "
            "as {class_path: torch.optim.SGD, init_args: {momentum: 0.9}}"
        )
    return OPTIMIZERS[name]


def _part(entry: Any, *, several: bool) -> OptimizerPart:
    if isinstance(entry, str):
        optimizer_named(entry)
        return OptimizerPart(name=entry, arguments={})
    if not isinstance(entry, dict):
        raise InputError(f"optimizer: {entry!r} is neither a name nor a mapping with a class_path")
    if unknown := [key for key in entry if key not in KEYS]:
        raise InputError(f"optimizer: no key {unknown[0]!r}; an optimiser has {', '.join(KEYS)}")
    name, class_path = entry.get("name"), entry.get("class_path")
    if (name is None) == (class_path is None):
        raise InputError(
            f"optimizer: {entry!r} needs either a name ({', '.join(OPTIMIZERS)}) or a class_path"
        )
    arguments = entry.get("init_args") or {}
    if name is not None:
        optimizer_named(str(name))
        if arguments:
            raise InputError(
                f"optimizer: {name} takes no init_args; {', '.join(SHORT_NAMES_SETTINGS)} are given beside it"
            )
    elif not isinstance(class_path, str) or "." not in class_path:
        raise InputError(f"optimizer: class_path is {class_path!r}; write it as module.Class")
    if not isinstance(arguments, dict) or not all(isinstance(key, str) for key in arguments):
        raise InputError(f"optimizer: init_args is {arguments!r}; it must be a mapping of names to values")
    if "lr" in arguments:
        raise InputError(
            f"optimizer: init_args of {class_path} has lr, but the rate is the schedule's: "
            "set learning_rate, and learning_rate_factor for this optimiser's share of it"
        )
    if several and "parameters" not in entry:
        raise InputError(
            f"optimizer: {name or class_path} is one of several; which weights are its own? "
            f"Give it parameters: {MATRICES}, {REST} or a regular expression"
        )
    parameters, factor = entry.get("parameters", REST), entry.get("learning_rate_factor", 1.0)
    _check_expression(parameters)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise InputError(f"optimizer: learning_rate_factor is {factor!r}; it must be a positive number")
    return OptimizerPart(
        name=str(name or class_path),
        arguments=arguments,
        parameters=parameters,
        learning_rate_factor=float(factor),
    )


def _check_expression(parameters: Any) -> None:
    try:
        re.compile(parameters)
    except (re.error, TypeError) as error:
        raise InputError(
            f"optimizer: parameters is {parameters!r}, which is not a regular expression ({error}); "
            f"write {MATRICES}, {REST}, or an expression that is looked for in the weights' names"
        ) from None
