"""How long trainings take here: a few small networks are timed once, and a cost model predicts the others.

The seconds of a step are a sum of terms with coefficients that are not negative, fitted in relative error:
a start, one for each block that runs, and one each for what grows with the residual stream, the matrix
products, the pairs of positions in each head, and the logits. Timings are kept in a file and made again only
for other networks, another machine, device or precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from scaling_laws.models.optimizers import OptimizerSetting
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.networks import Kind, PlannedNetwork
from scaling_laws.sweeps.plan.timings import EVALUATION_SEQUENCES, Probe, Timing, timings

MOST_PROBES = 7
"""Timings a family: each takes about a second."""
NEAR = 0.3
"""Probes keep this distance, in natural logarithms of the terms of their costs."""
MOST_FLOPS = {"cpu": 1e10}
MOST_FLOPS_ELSEWHERE = 1e13
"""FLOPs of the largest step that is timed."""

Terms = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """A cost model a family.

    Attributes:
        step_costs: seconds of each of `step_terms`.
        evaluation_costs: the same of a batch of held-out windows.
    """

    step_costs: Mapping[Kind, Terms]
    evaluation_costs: Mapping[Kind, Terms]

    @classmethod
    def fitted(cls, timed: Sequence[Timing]) -> Self:
        """The models that come nearest to the timings, in relative error."""
        steps: dict[Kind, list[tuple[Terms, float]]] = {}
        evaluations: dict[Kind, list[tuple[Terms, float]]] = {}
        for timing in timed:
            network, kind = timing.network, timing.network.kind
            steps.setdefault(kind, []).append((step_terms(network, network.batch_tokens), timing.step_s))
            held_out = step_terms(network, timing.evaluation_tokens)
            evaluations.setdefault(kind, []).append((held_out, timing.evaluation_s))
        return cls(
            step_costs={kind: _fitted(rows) for kind, rows in steps.items()},
            evaluation_costs={kind: _fitted(rows) for kind, rows in evaluations.items()},
        )

    def seconds(self, network: PlannedNetwork, *, tokens: float, batch_tokens: int) -> float:
        """Expected wall seconds of training on so many tokens on one device, evaluations not included.

        Raises:
            InputError: no network of this family was timed.
        """
        a_step = _dot(self._costs(self.step_costs, network), step_terms(network, batch_tokens))
        return a_step * tokens / batch_tokens

    def evaluation_seconds(self, network: PlannedNetwork, tokens: float) -> float:
        """Expected wall seconds of the losses of so many held-out tokens.

        Raises:
            InputError: no network of this family was timed.
        """
        batch_tokens = EVALUATION_SEQUENCES * network.n_ctx
        a_batch = _dot(self._costs(self.evaluation_costs, network), step_terms(network, batch_tokens))
        return a_batch * tokens / batch_tokens

    def _costs(self, costs: Mapping[Kind, Terms], network: PlannedNetwork) -> Terms:
        if network.kind not in costs:
            raise InputError(f"{network.family} ({network.class_path}): no network of this family was timed")
        return costs[network.kind]


def step_terms(network: PlannedNetwork, batch_tokens: float) -> Terms:
    """What the seconds of a step are proportional to, term by term.

    A network of the user's own has the terms of blocks as far as its arguments are called as ours.
    """
    n_layer, d_model, n_heads = (
        value if isinstance(value := network.arguments.get(name, default), int) else default
        for name, default in (("n_layer", 0), ("d_model", 0), ("n_heads", 1))
    )
    blocks = n_layer * network.n_reuse
    return (
        1.0,
        float(blocks),
        float(batch_tokens * blocks * d_model),
        batch_tokens * sum(network.flops_per_token.values()),
        float(batch_tokens * blocks * n_heads * network.n_ctx),
        float(batch_tokens * network.n_vocab),
    )


def probes_of(
    networks: Iterable[PlannedNetwork],
    *,
    device: str,
    optimizer: OptimizerSetting = "adamw",
    compiled: bool = False,
) -> tuple[Probe, ...]:
    """A few probes that span the shapes, contexts, batches and vocabularies of a plan, family by family.

    Large networks are timed at small batches, or not at all; the cost model extrapolates to them.
    """
    most = MOST_FLOPS.get(device, MOST_FLOPS_ELSEWHERE)
    found: dict[Kind, dict[str, Probe]] = {}
    for network in networks:
        batches = (network.batch_sequences, max(1, network.batch_sequences // 4))
        for batch_sequences in batches:
            while batch_sequences > 1 and _flops(network, batch_sequences) > most:
                batch_sequences //= 2
            probe = Probe(
                network=replace(network, batch_sequences=batch_sequences),
                optimizer=optimizer,
                compiled=compiled,
            )
            found.setdefault(network.kind, {})[repr(probe.as_json())] = probe
    return tuple(probe for kind in sorted(found) for probe in _spanning(list(found[kind].values()), most))


def measured(
    path: Path,
    probes: Sequence[Probe],
    *,
    device: str,
    precision: str,
    watch: Callable[[Probe], None] = lambda probe: None,
) -> Throughput:
    """The throughput of this machine, from timings in the file `path` and new ones of what it lacks.

    New timings are made one after another in one process, a CPU's with one thread, and kept in `path`. A file
    that cannot be read is made anew; one that cannot be written is not.

    Args:
        device: Lightning's `accelerator`.
        precision: Lightning's.
        watch: called before a probe is timed.

    Raises:
        InputError: of some family no probe could be timed.
    """
    return Throughput.fitted(timings(path, probes, device=device, precision=precision, watch=watch))


def _fitted(rows: Sequence[tuple[Terms, float]]) -> Terms:
    """Coefficients >= 0 whose sums are nearest to the times, in relative error."""
    import numpy as np
    from scipy.optimize import nnls

    terms = np.array([row[0] for row in rows])
    seconds = np.array([row[1] for row in rows])
    scale = terms.max(axis=0)
    scale[scale == 0] = 1.0
    costs, _ = nnls(terms / scale / seconds[:, None], np.ones(len(rows)))
    return tuple(float(cost) for cost in costs / scale)


def _spanning(probes: list[Probe], most_flops: float) -> Iterator[Probe]:
    """The probe with the largest step, and again and again the one farthest from those chosen."""

    def flops(probe: Probe) -> float:
        return _flops(probe.network, probe.network.batch_sequences)

    affordable = [probe for probe in probes if flops(probe) <= most_flops] or [min(probes, key=flops)]
    places = {
        id(probe): [
            math.log(max(term, 1.0)) for term in step_terms(probe.network, probe.network.batch_tokens)
        ]
        for probe in affordable
    }
    chosen: list[Probe] = []
    distances = {id(probe): math.inf for probe in affordable}
    following = max(affordable, key=flops)
    while len(chosen) < MOST_PROBES and distances[id(following)] > NEAR:
        yield following
        chosen.append(following)
        for probe in affordable:
            distance = math.dist(places[id(probe)], places[id(following)])
            distances[id(probe)] = min(distances[id(probe)], distance)
        following = max(affordable, key=lambda probe: distances[id(probe)])


def _flops(network: PlannedNetwork, batch_sequences: int) -> float:
    """Of a step."""
    return 3 * batch_sequences * network.n_ctx * sum(network.flops_per_token.values())


def _dot(costs: Terms, terms: Terms) -> float:
    return sum(cost * term for cost, term in zip(costs, terms, strict=True))
