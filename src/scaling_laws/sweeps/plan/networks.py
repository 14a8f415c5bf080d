"""What a plan knows of a network before it is trained: parameters, FLOPs and memory.

Built-in networks are counted from their configuration, without torch. A network of the user's own is built
without memory; torch is imported when a sweep has one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from inspect import signature
from typing import Any

from scaling_laws.models.families import FAMILIES, Family, NetworkConfig, family_named
from scaling_laws.models.memory import Memory, loss_bytes, memory_of, training_memory
from scaling_laws.models.optimizers import OptimizerSetting
from scaling_laws.models.precision import PRECISIONS
from scaling_laws.study.conventions import compute_flops, flops_doubt, parameter_counts, times_reused
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.sweep_file import Ladder, Model, Sweep

Kind = tuple[str, str]
"""Family and class path."""
SHORT_PRECISIONS = {
    "None": "32-true",
    "32": "32-true",
    "64": "64-true",
    "16": "16-mixed",
    "bf16": "bf16-mixed",
}
"""Names that Lightning takes, too."""
LARGEST_N = 1e15
SIZES = ("N", "N_about", "N_reused")
"""Keys of a shape that give a size instead of a width: N within 2 %, the nearest, n_reuse N within 2 %."""


@dataclass(frozen=True, kw_only=True)
class PlannedNetwork:
    """One network of a sweep.

    Attributes:
        arguments: of its constructor, but for n_vocab and n_ctx.
        n_reuse: how often the stack of blocks is applied.
        parameters: trainable parameters by group.
        flops_per_token: forward, by row.
        memory: what one device needs for one micro-batch; None in a precision that is not known here.
    """

    family: str
    class_path: str
    arguments: dict[str, Any]
    n_reuse: int
    n_vocab: int
    n_ctx: int
    batch_sequences: int
    parameters: dict[str, int]
    flops_per_token: dict[str, float]
    memory: Memory | None

    @property
    def kind(self) -> Kind:
        """What it shares with networks whose times tell of its own."""
        return self.family, self.class_path

    @property
    def N(self) -> int:
        """Non-embedding parameters."""
        return parameter_counts(self.parameters, self.flops_per_token)["N"]

    @property
    def doubt(self) -> str:
        """A sentence where its FLOPs are far from 6 N D; empty for built-in networks, which count right."""
        if any(self.class_path == family.network_path for family in FAMILIES):
            return ""
        return flops_doubt(self.class_path, self.parameters, self.flops_per_token, self.n_reuse)

    @property
    def N_reused(self) -> int:
        """Non-embedding parameters, each as often as it is used: C = 6 N_reused D."""
        return self.n_reuse * self.N

    def compute_flops(self, tokens: float) -> dict[str, float]:
        """Training FLOPs of so many tokens, by each convention of `runs.compute_flops`."""
        a_token = compute_flops(self.parameters, self.flops_per_token, 1, self.n_reuse)
        return {convention: flops * tokens for convention, flops in a_token.items()}

    @property
    def batch_tokens(self) -> int:
        """Target tokens an optimiser step."""
        return self.batch_sequences * self.n_ctx


def planned_network(sweep: Sweep, ladder: Ladder, model: Model, n_vocab: int) -> PlannedNetwork:
    """Count a model's network.

    Raises:
        InputError: the shape is impossible, a network of the user's own cannot be built or counted, the
            optimiser cannot be used, or the batch does not divide into micro-batches.
    """
    sweep = sweep.for_model(ladder, model)
    asked = f"{ladder.family or ladder.class_path} {dict(model.shape)}"
    if given := [key for key in ("n_vocab", "n_ctx") if key in model.shape]:
        raise InputError(f"{asked}: {given[0]} is given by the sweep; leave it out")
    n_ctx = model.n_ctx or sweep.n_ctx
    batch_sequences = model.batch_sequences or sweep.batch_sequences
    n_parts = _micro_batches(sweep.trainer_arguments)
    windows, rest = divmod(batch_sequences, n_parts)
    if rest:
        raise InputError(
            f"{asked}: batch_sequences = {batch_sequences} is not a multiple of the {n_parts} micro-batches "
            "(devices x accumulate_grad_batches)"
        )
    precision = str(sweep.trainer_arguments.get("precision"))
    precision = SHORT_PRECISIONS.get(precision, precision)
    counted_in = precision if precision in PRECISIONS else "32-true"
    on_cpu = sweep.trainer_arguments.get("accelerator") == "cpu"
    if ladder.class_path is not None:
        from scaling_laws.models.own import constructor_defaults, count_own

        class_path = ladder.class_path
        arguments = _solved_own(class_path, model.shape, n_vocab, n_ctx)
        own = count_own(
            class_path, arguments, n_vocab=n_vocab, n_ctx=n_ctx, windows=windows, precision=counted_in
        )
        family, parameters, flops = own.family, own.parameters, own.flops_per_token
        n_reuse = times_reused({**constructor_defaults(class_path), **arguments})
        memory = memory_of(
            own.tensors,
            activations=own.activations,
            loss=loss_bytes(windows * n_ctx, n_vocab, d_head=own.d_head, precision=counted_in, on_cpu=on_cpu),
            precision=counted_in,
            optimizer=_short_name(sweep.optimizer),
        )
    else:
        assert ladder.family is not None
        kind = family_named(ladder.family)
        class_path = kind.network_path
        arguments = _solved(kind, model.shape, n_vocab, n_ctx, sweep.shape_rule)
        config = _config(kind, arguments, n_vocab, n_ctx)
        family, parameters, flops = config.family, config.parameters_by_group(), config.flops_per_token()
        n_reuse = times_reused(arguments)
        memory = training_memory(
            config,
            windows=windows,
            precision=counted_in,
            optimizer=_short_name(sweep.optimizer),
            on_cpu=on_cpu,
        )
    if sweep.parametrization != "standard":
        base = [sweep.base_width, sweep.base_depth, sweep.base_head_width]
        rules = [sweep.parametrization, sweep.optimizer, *base]
        _require_rules(json.dumps([rules, class_path, arguments, n_vocab, n_ctx]))
    if not isinstance(sweep.optimizer, str):
        asked_for = json.dumps([sweep.optimizer, class_path, arguments, n_vocab, n_ctx, counted_in])
        memory = replace(memory, optimizer=_counted_state(asked_for))
    return PlannedNetwork(
        family=family,
        class_path=class_path,
        arguments=arguments,
        n_reuse=n_reuse,
        n_vocab=n_vocab,
        n_ctx=n_ctx,
        batch_sequences=batch_sequences,
        parameters=parameters,
        flops_per_token=flops,
        memory=memory if precision in PRECISIONS else None,
    )


def _short_name(optimizer: OptimizerSetting) -> str:
    """The optimiser's name; of one that has none the state is counted by a step."""
    return optimizer if isinstance(optimizer, str) else "adamw"


@lru_cache(maxsize=4096)
def _require_rules(asked_for: str) -> None:
    """Raises InputError: a parametrisation has no rules for a network or optimiser; arguments in JSON."""
    from scaling_laws.models.own import weight_type, without_memory
    from scaling_laws.models.parametrization import parametrised

    (name, optimizer, width, depth, head_width), class_path, arguments, n_vocab, n_ctx = json.loads(asked_for)
    with without_memory(class_path, arguments, n_vocab, n_ctx, weight_type("32-true")) as network:
        parametrised(network, name, optimizer, base_width=width, base_depth=depth, base_head_width=head_width)


@lru_cache(maxsize=4096)
def _counted_state(asked_for: str) -> int:
    """`optimizer_parts.state_bytes` of arguments in JSON."""
    from scaling_laws.models.optimizer_parts import state_bytes
    from scaling_laws.models.own import weight_type

    optimizer, class_path, arguments, n_vocab, n_ctx, precision = json.loads(asked_for)
    return state_bytes(
        optimizer, class_path, arguments, n_vocab=n_vocab, n_ctx=n_ctx, dtype=weight_type(precision)
    )


def _solved(family: Family, shape: Mapping[str, Any], n_vocab: int, n_ctx: int, rule: int) -> dict[str, Any]:
    """Constructor arguments: those given, or those of the shape that has the size given."""
    asked = f"{family.name} {dict(shape)}"
    size = _size(shape, asked)
    if size is None:
        return dict(shape)
    N, nearest = size
    wishes = {key: value for key, value in shape.items() if key in family.wishes}
    rest = {key: value for key, value in shape.items() if key not in {*family.wishes, *SIZES}}
    if fixed := sorted(rest.keys() & {"d_model", "n_heads", "d_ff", "d_attn"}):
        raise InputError(f"{asked}: N decides {fixed[0]}; leave one of the two out")
    for key, value in wishes.items():
        if not isinstance(value, family.wishes[key]):
            kind = "true or false" if family.wishes[key] is bool else "a number"
            raise InputError(f"{asked}: {key} is {value!r}; it must be {kind}")
    if "rule" in family.wishes:
        wishes.setdefault("rule", rule)
    try:
        return {**family.solve(N, n_vocab, n_ctx, nearest, wishes, rest), **rest}
    except InputError as error:
        raise InputError(f"{asked}: {error}") from error


def _solved_own(class_path: str, shape: Mapping[str, Any], n_vocab: int, n_ctx: int) -> dict[str, Any]:
    """The same of a network of the user's own: its width is found by counting."""
    from scaling_laws.models.own import constructor_defaults, solve_width

    defaults = constructor_defaults(class_path)
    ours = {*SIZES, "head_width"} - defaults.keys()  # a constructor may have an argument of such a name
    asked = f"{class_path} {dict(shape)}"
    n_reuse = times_reused({**defaults, **shape})
    size = _size({key: shape[key] for key in shape.keys() & ours} | {"n_reuse": n_reuse}, asked)
    if size is None:
        return dict(shape)
    N, nearest = size
    if "d_model" in shape:
        raise InputError(f"{asked}: N decides d_model; leave one of the two out")
    wanted = {key: shape[key] for key in ("head_width",) if key in shape and key in ours}
    if not isinstance(wanted.get("head_width", 1), int):
        raise InputError(f"{asked}: head_width is {shape['head_width']!r}; it must be a number")
    rest = {key: value for key, value in shape.items() if key not in ours}
    try:
        return solve_width(class_path, N, rest, n_vocab=n_vocab, n_ctx=n_ctx, nearest=nearest, **wanted)
    except InputError as error:
        raise InputError(f"{asked}: {error}") from error


def _size(shape: Mapping[str, Any], asked: str) -> tuple[float, bool] | None:
    """N of a shape that gives a size, and whether the nearest will do."""
    given = [key for key in SIZES if key in shape]
    if not given:
        return None
    if len(given) > 1:
        raise InputError(f"{asked}: {given[0]} and {given[1]} are two sizes; leave one of them out")
    size = shape[given[0]]
    if not isinstance(size, int | float) or isinstance(size, bool) or not 0 < size <= LARGEST_N:
        raise InputError(f"{asked}: {given[0]} is {size!r}; it must be a number, at most {LARGEST_N:g}")
    n_reuse = times_reused(shape) if given[0] == "N_reused" else 1
    return size / n_reuse, given[0] == "N_about"


def _config(family: Family, arguments: Mapping[str, Any], n_vocab: int, n_ctx: int) -> NetworkConfig:
    known = [name for name in signature(family.config).parameters if name not in ("n_vocab", "n_ctx")]
    for key in arguments:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"a shape has {', '.join(known)}"
            raise InputError(f"{family.name} {dict(arguments)}: there is no {key}; {hint}")
    try:
        return family.config(n_vocab=n_vocab, n_ctx=n_ctx, **arguments)
    except TypeError as error:
        raise InputError(f"{family.name} {dict(arguments)}: {str(error).partition(' ')[2]}") from error


def _micro_batches(trainer: Mapping[str, Any]) -> int:
    """Into how many parts a batch falls: devices that are counted only on the machine are taken as one."""
    devices = trainer.get("devices")
    if isinstance(devices, list | tuple):
        devices = len(devices)
    if not isinstance(devices, int) or devices < 1:
        devices = 1
    return int(devices * trainer.get("num_nodes", 1) * trainer.get("accumulate_grad_batches", 1))
