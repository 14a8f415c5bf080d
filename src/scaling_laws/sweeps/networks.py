"""What a plan knows of a network before it is trained: parameters, FLOPs and memory.

Built-in networks are counted from their configuration, without torch. A network of the user's own is built
without memory; torch is imported when a sweep has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scaling_laws.errors import InputError
from scaling_laws.models.config import LSTMConfig, NetworkConfig, TransformerConfig
from scaling_laws.models.count import flops_per_token, parameters_by_group
from scaling_laws.models.memory import PRECISIONS, Memory, memory_of, training_memory
from scaling_laws.models.solver import solve_lstm, solve_shape
from scaling_laws.runs import parameter_counts
from scaling_laws.sweeps.sweep_file import Ladder, Model, Sweep

CLASS_PATHS = {
    "transformer": "scaling_laws.models.transformer.Transformer",
    "lstm": "scaling_laws.models.lstm.LSTM",
}
CONFIGS = {"transformer": TransformerConfig, "lstm": LSTMConfig}
SHORT_PRECISIONS = {
    "None": "32-true",
    "32": "32-true",
    "64": "64-true",
    "16": "16-mixed",
    "bf16": "bf16-mixed",
}
"""Names that Lightning takes, too."""


@dataclass(frozen=True, kw_only=True)
class PlannedNetwork:
    """One network of a sweep.

    Attributes:
        arguments: of its constructor, but for n_vocab and n_ctx.
        parameters: trainable parameters by group.
        flops_per_token: forward, by row.
        memory: what one device needs for one micro-batch; None in a precision that is not known here.
    """

    family: str
    class_path: str
    arguments: dict[str, Any]
    n_ctx: int
    batch_sequences: int
    parameters: dict[str, int]
    flops_per_token: dict[str, float]
    memory: Memory | None

    @property
    def N(self) -> int:
        """Non-embedding parameters."""
        return parameter_counts(self.parameters, self.flops_per_token)["N"]

    @property
    def batch_tokens(self) -> int:
        """Target tokens an optimiser step."""
        return self.batch_sequences * self.n_ctx


def planned_network(sweep: Sweep, ladder: Ladder, model: Model, n_vocab: int) -> PlannedNetwork:
    """Count a model's network.

    Raises:
        InputError: the shape is impossible, a network of the user's own cannot be built or counted, or the
            batch does not divide into micro-batches.
    """
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
    if ladder.class_path is not None:
        from scaling_laws.models.own import count_own

        class_path, arguments = ladder.class_path, dict(model.shape)
        own = count_own(
            class_path, arguments, n_vocab=n_vocab, n_ctx=n_ctx, windows=windows, precision=counted_in
        )
        family, parameters, flops = own.family, own.parameters, own.flops_per_token
        memory = memory_of(
            own.tensors,
            activations=own.activations,
            predictions=windows * n_ctx * n_vocab,
            precision=counted_in,
            optimizer=sweep.optimizer,
        )
    else:
        assert ladder.family is not None
        class_path = CLASS_PATHS[ladder.family]
        arguments = _solved(ladder.family, model.shape, n_vocab, n_ctx)
        config = _config(ladder.family, arguments, n_vocab, n_ctx)
        family, parameters, flops = config.family, parameters_by_group(config), flops_per_token(config)
        memory = training_memory(
            config,
            windows=windows,
            precision=counted_in,
            optimizer=sweep.optimizer,
            on_cpu=sweep.trainer_arguments.get("accelerator") == "cpu",
        )
    return PlannedNetwork(
        family=family,
        class_path=class_path,
        arguments=arguments,
        n_ctx=n_ctx,
        batch_sequences=batch_sequences,
        parameters=parameters,
        flops_per_token=flops,
        memory=memory if precision in PRECISIONS else None,
    )


def _solved(family: str, shape: Mapping[str, Any], n_vocab: int, n_ctx: int) -> dict[str, Any]:
    """Constructor arguments: those given, or those of the shape that has the N given."""
    if "N" not in shape:
        return dict(shape)
    asked = f"{family} {dict(shape)}"
    keys = {"n_layer"} if family == "lstm" else {"n_layer", "aspect_ratio", "head_width", "d_ff_ratio"}
    wanted = {key: value for key, value in shape.items() if key in keys}
    rest = {key: value for key, value in shape.items() if key not in keys | {"N"}}
    if fixed := sorted(rest.keys() & {"d_model", "n_heads", "d_ff", "d_attn"}):
        raise InputError(f"{asked}: N decides {fixed[0]}; leave one of the two out")
    for key in ("N", *wanted):
        number = int if key in ("n_layer", "head_width") else int | float
        if not isinstance(shape[key], number):
            raise InputError(f"{asked}: {key} is {shape[key]!r}; it must be a number")
    try:
        if family == "lstm":
            lstm = solve_lstm(shape["N"], n_vocab=n_vocab, n_ctx=n_ctx, **wanted)
            return {"n_layer": lstm.n_layer, "d_model": lstm.d_model, **rest}
        bias = rest.get("bias", True)
        found = solve_shape(shape["N"], n_vocab=n_vocab, n_ctx=n_ctx, bias=bias, **wanted).config
    except InputError as error:
        raise InputError(f"{asked}: {error}") from error
    arguments = {"n_layer": found.n_layer, "d_model": found.d_model, "n_heads": found.n_heads}
    if found.d_ff != 4 * found.d_model:
        arguments["d_ff"] = found.feed_forward_width
    return {**arguments, **rest}


def _config(family: str, arguments: Mapping[str, Any], n_vocab: int, n_ctx: int) -> NetworkConfig:
    try:
        config: NetworkConfig = CONFIGS[family](n_vocab=n_vocab, n_ctx=n_ctx, **arguments)
        return config
    except TypeError as error:
        raise InputError(f"{family} {dict(arguments)}: {str(error).partition(' ')[2]}") from error


def _micro_batches(trainer: Mapping[str, Any]) -> int:
    """Into how many parts a batch falls: devices that are counted only on the machine are taken as one."""
    devices = trainer.get("devices")
    if isinstance(devices, list | tuple):
        devices = len(devices)
    if not isinstance(devices, int) or devices < 1:
        devices = 1
    return int(devices * trainer.get("num_nodes", 1) * trainer.get("accumulate_grad_batches", 1))
