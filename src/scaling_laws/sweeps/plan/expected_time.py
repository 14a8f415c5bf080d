"""What training and evaluating a run takes on this machine, by what was timed on it (`throughput.py`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scaling_laws.data.corpus_file import OWN_SPLITS, CorpusConfig
from scaling_laws.data.manifest import read_manifest
from scaling_laws.data.tasks import expected_tokens
from scaling_laws.study.bounds import Windows
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import EVERY_CORPUS
from scaling_laws.study.schedule import evaluation_steps
from scaling_laws.sweeps.plan.cost_model import Throughput, measured, probes_of
from scaling_laws.sweeps.plan.networks import PlannedNetwork
from scaling_laws.sweeps.plan.run_specs import RunSpec
from scaling_laws.sweeps.plan.timings import Probe

START_S = 0.7
"""Of a run besides its steps and evaluations: its process, the trainer, checkpoints and record
(`python benchmarks/dispatch.py`)."""
EMBEDDED_FOREIGN = ("prose", "packages")
"""Foreign corpora that the embedded corpus brings."""
ALL_WINDOWS = 4_000
"""A guess of `all` of a corpus that is not built yet."""

CHARACTERS_A_TOKEN = 2.7
"""Of text in 1,024 kinds of token, as in the default corpus."""

Setting = tuple[str, str, str, bool]
"""Accelerator, precision, optimiser in JSON, whether compiled."""


@dataclass(frozen=True, kw_only=True)
class ExpectedTime:
    """Seconds of a run on one device.

    Attributes:
        throughputs: by how runs are trained.
    """

    throughputs: dict[Setting, Throughput]

    def __call__(self, spec: RunSpec, tokens: int) -> float:
        """Of the last `tokens` of a run, and the evaluations that lie in them."""
        throughput, network = self.throughputs[_setting(spec)], spec.network
        training_s = throughput.seconds(network, tokens=tokens, batch_tokens=network.batch_tokens)
        return START_S + training_s + throughput.evaluation_seconds(network, self._held_out(spec, tokens))

    def _held_out(self, spec: RunSpec, tokens: int) -> float:
        """Held-out tokens whose losses are measured on the way, and those of questions."""
        recorder = spec.config["recorder"]
        before = spec.steps - tokens // spec.network.batch_tokens
        steps = evaluation_steps(
            spec.network.batch_tokens,
            spec.steps,
            recorder["evaluations_per_doubling"],
            recorder["evaluation_every_n_steps"],
        )
        n_between = sum(before < step < spec.steps for step in steps)
        corpora = _held_out_corpora(spec.corpus)
        watched = recorder["evaluation_corpora"]
        if EVERY_CORPUS in watched:
            watched = corpora
        windows = n_between * recorder["evaluation_windows"] * len(watched) + sum(
            _number(spec, corpus, recorder["final_windows" if corpus in watched else "other_windows"])
            for corpus in corpora
        )
        probes = (n_between + 1) * recorder["probe_windows"]
        held_out = float((windows + probes) * spec.network.n_ctx)
        asked, asked_last = (_of_tasks(spec, final=final) for final in (False, True))
        return held_out + n_between * asked + asked_last


def expected_time(specs: Iterable[RunSpec], cache: Path) -> ExpectedTime:
    """Time what is not known yet of a few networks like these, some seconds a family.

    Args:
        cache: file of the timings.

    Raises:
        InputError: the networks of some family cannot be trained here.
    """
    networks: dict[Setting, list[PlannedNetwork]] = {}
    for spec in specs:
        networks.setdefault(_setting(spec), []).append(spec.network)
    throughputs = {}
    for setting, planned in networks.items():
        device, precision, optimizer, compiled = setting
        probes = probes_of(planned, device=device, optimizer=json.loads(optimizer), compiled=compiled)
        throughputs[setting] = measured(cache, probes, device=device, precision=precision, watch=_say)
    return ExpectedTime(throughputs=throughputs)


def _held_out_corpora(corpus: CorpusConfig) -> list[str]:
    """The texts of which losses are measured."""
    foreign = EMBEDDED_FOREIGN if corpus.source == "embedded" else corpus.foreign
    return [*OWN_SPLITS[1:], *foreign]


def _number(spec: RunSpec, corpus: str, windows: Windows) -> int:
    if windows != "all":
        return windows
    try:
        n_tokens: int = read_manifest(Path(spec.config["data"]["corpus"]))["splits"][corpus]["n_tokens"]
    except (InputError, KeyError):
        return ALL_WINDOWS
    return n_tokens // spec.network.n_ctx


def _of_tasks(spec: RunSpec, *, final: bool) -> float:
    """Tokens of the questions of one evaluation."""
    characters = 1.0 if spec.corpus.tokenizer == "bytes" else CHARACTERS_A_TOKEN
    return expected_tokens(spec.corpus.tasks, spec.network.n_ctx, characters, final=final)


def _setting(spec: RunSpec) -> Setting:
    trainer, model = spec.config["trainer"], spec.config["model"]
    precision = str(trainer.get("precision") or "32-true")
    return str(trainer["accelerator"]), precision, json.dumps(model["optimizer"]), bool(model["compile"])


def _say(probe: Probe) -> None:
    network = probe.network
    size = f"{network.family}, N = {network.N:,}, {network.batch_tokens:,} tokens per step"
    print(f"timing this machine: {size}", file=sys.stderr, flush=True)
