"""Sizes and horizons that are shares of what a budget pays for, as numbers.

The *reference* is a network of N non-embedding parameters that is trained on D = `tokens_per_parameter` N
tokens, or on `most_tokens` where that is less. A sweep file gives every size and horizon as a share of it, so
that one file serves a laptop and a cluster.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict

from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.models.solver import solve_shape
from scaling_laws.study.artefacts import read_json, typed
from scaling_laws.study.bounds import PositiveNumber, check_bounds
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.networks import PlannedNetwork, planned_network
from scaling_laws.sweeps.plan.sweep_file import Ladder, Model, Sweep

HOFFMANN_EXPONENT = 0.5
"""N_opt ~ C^0.5: approaches 1 and 2 of Hoffmann et al. 2022."""


class OutOfSlice(InputError):
    """A point of a slice of equal compute that the text is too short for, or that is all warm-up."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """N_opt = coefficient C^exponent, C = 6 N D in FLOPs, and who says so."""

    coefficient: float
    exponent: float
    source: str

    def N(self, C: float) -> float:
        """The best size for a compute."""
        return float(self.coefficient * C**self.exponent)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The network and the horizon that a budget pays for.

    Attributes:
        N: its non-embedding parameters.
        D: its training tokens.
        optima: by family, where slices of equal compute are centred.
    """

    N: PositiveNumber
    D: PositiveNumber
    optima: dict[str, Optimum]

    def __post_init__(self) -> None:
        """Raises InputError: read from a plan, a number is none that a budget pays for."""
        check_bounds(self)

    @property
    def C(self) -> float:
        """6 N D, FLOPs."""
        return 6 * self.N * self.D

    def as_json(self) -> dict[str, Any]:
        """For the plan file."""
        return asdict(self)


def reference_of_size(study: Sweep, experiment: Sweep, N: float) -> Reference:
    """The reference of so many parameters, for an experiment of a study."""
    D = min(study.tokens_per_parameter * N, float(study.most_tokens or math.inf))
    families = {ladder.family or str(ladder.class_path) for ladder in experiment.ladders}
    return Reference(N=N, D=D, optima={family: _optimum(experiment, family) for family in sorted(families)})


def resolved(
    sweep: Sweep, ladder: Ladder, model: Model, reference: Reference | None, corpus: CorpusConfig
) -> Model:
    """The model with its size, its horizons and its batch given outright.

    Raises:
        OutOfSlice: a slice of equal compute has no such point here.
        InputError: a share has come to no network or to no token.
    """
    model = _with_batch(sweep, model)
    if not model.needs_reference:
        return model
    assert reference is not None
    shape = dict(model.shape)
    if model.size is not None:
        shape["N_about"] = model.size * reference.N
    elif model.reused_size is not None:
        shape["N_about"] = model.reused_size * reference.N / shape.get("n_reuse", 1)
    elif model.of_optimum is not None:
        optimum = reference.optima[ladder.family or str(ladder.class_path)]
        shape["N_about"] = model.of_optimum * optimum.N(model.compute[0] * reference.C)
    outright = replace(
        model,
        shape=shape,
        size=None,
        reused_size=None,
        of_optimum=None,
        horizons=(),
        compute=(),
        exact_compute=(),
        horizons_tokens=model.horizons_tokens or (1,),
    )
    return replace(outright, horizons_tokens=_horizons(sweep, ladder, model, outright, reference, corpus))


def _with_batch(sweep: Sweep, model: Model) -> Model:
    """A model with its own context has as many tokens per step as the others, if it says nothing else."""
    if model.n_ctx is None or model.batch_sequences is not None:
        return model
    batch_sequences, rest = divmod(sweep.n_ctx * sweep.batch_sequences, model.n_ctx)
    if rest:
        raise InputError(
            f"{dict(model.shape)}: n_ctx = {model.n_ctx} does not divide a step's "
            f"{sweep.n_ctx * sweep.batch_sequences} tokens; give the model its batch_sequences"
        )
    return replace(model, batch_sequences=batch_sequences)


def _horizons(
    sweep: Sweep, ladder: Ladder, model: Model, outright: Model, reference: Reference, corpus: CorpusConfig
) -> tuple[int, ...]:
    """Tokens, in whole batches."""
    if model.horizons_tokens:
        return model.horizons_tokens
    assert corpus.n_vocab is not None
    batch_tokens = (model.n_ctx or sweep.n_ctx) * (model.batch_sequences or sweep.batch_sequences)
    if model.horizons:
        tokens = [share * reference.D for share in model.horizons]
    else:
        network = planned_network(sweep, ladder, outright, corpus.n_vocab)
        tokens = _horizons_of_compute(model, network, reference, corpus.n_vocab, sweep.shape_rule)
        wrong = OutOfSlice if model.of_optimum else InputError
        if sweep.most_tokens and max(tokens) > sweep.most_tokens:
            raise wrong(
                f"{_rounded(outright.shape)}: a horizon of {max(tokens):.3g} tokens is longer than "
                f"most_tokens = {sweep.most_tokens}; give it less compute"
            )
        warmup_tokens = sweep.schedule.warmup_steps * batch_tokens
        if model.of_optimum and round(min(tokens) / batch_tokens) <= sweep.schedule.warmup_steps:
            raise OutOfSlice(
                f"{_rounded(outright.shape)}: a horizon of {min(tokens):.3g} tokens is all warm-up, "
                f"which takes {warmup_tokens:,}"
            )
    return tuple(max(1, round(each / batch_tokens)) * batch_tokens for each in tokens)


def _horizons_of_compute(
    model: Model, network: PlannedNetwork, reference: Reference, n_vocab: int, rule: int
) -> list[float]:
    """Tokens that shares of the reference's compute leave a network."""
    convention = "C" if model.compute else "C_exact"
    C = reference.C if model.compute else _exact_compute(reference, n_vocab, network.n_ctx, rule)
    per_token = network.compute_flops(1)[convention]
    if per_token <= 0:
        raise InputError(f"{dict(model.shape)}: has no parameters to spend compute on; give it horizons")
    return [share * C / per_token for share in model.compute or model.exact_compute]


def _rounded(shape: Mapping[str, Any]) -> dict[str, Any]:
    """A shape as a message shows it."""
    return {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in shape.items()}


@lru_cache(maxsize=64)
def _exact_flops_per_token(N: float, n_vocab: int, n_ctx: int, rule: int) -> float:
    shape = solve_shape(N, n_vocab=n_vocab, n_ctx=n_ctx, nearest=True, rule=rule).config
    return 3 * sum(shape.flops_per_token().values())


def _exact_compute(reference: Reference, n_vocab: int, n_ctx: int, rule: int) -> float:
    """Training FLOPs of a Transformer of the reference's N and D, head and context included."""
    return _exact_flops_per_token(reference.N, n_vocab, n_ctx, rule) * reference.D


def _optimum(sweep: Sweep, family: str) -> Optimum:
    """Where slices of equal compute are centred: by the last fit, or by Hoffmann's rule."""
    path = Path(sweep.laws)
    if sweep.laws and path.is_file():
        return _fitted_optimum(path, family)
    # C = 6 N D and D = r N: N = (C / 6 r)^0.5.
    return Optimum(
        coefficient=(6 * sweep.tokens_per_parameter) ** -HOFFMANN_EXPONENT,
        exponent=HOFFMANN_EXPONENT,
        source=f"{sweep.tokens_per_parameter:g} tokens per parameter",
    )


class _FittedOptimum(TypedDict):
    """What is read here of an entry of `allocation` in laws.json."""

    family: str
    method: str
    coefficient: float | None
    exponent: float | None


def _fitted_optimum(path: Path, family: str) -> Optimum:
    """The family's N_opt(C) in laws.json: of slices, or else of the envelope."""
    remedy = "leave it out to centre without a fit"
    content = read_json(path, kind="laws.json", remedy=remedy)
    entries = typed(content.get("allocation"), list[_FittedOptimum], path, "allocation", remedy=remedy)
    found = {entry["method"]: entry for entry in entries if entry["family"] == family}
    for method in ("isoflop", "akima", "envelope"):
        if method in found and found[method]["exponent"] is not None:
            coefficient, exponent = found[method]["coefficient"], found[method]["exponent"]
            if coefficient is None or exponent is None or coefficient <= 0:
                raise InputError(f"{path}: allocation: {method} of {family} has no coefficient; {remedy}")
            return Optimum(coefficient=coefficient, exponent=exponent, source=f"{path}, {method}")
    raise InputError(
        f"laws: {path} has no N_opt(C) of the family {family}; leave it out to centre without a fit"
    )
