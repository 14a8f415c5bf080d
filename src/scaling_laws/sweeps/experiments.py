"""The runs that a sweep file plans. No torch, as long as its networks are built-in: a plan takes a second.

A *trunk* is one training at one size, seed and learning rate. Its longest run is trained from the start;
every shorter run leaves it where its own cooldown begins (Hägele et al. 2024). Where the schedule or the
learning rate depends on the horizon from the first step on, each horizon is a trunk of its own. One trunk is
one trial of the queue, and one cluster of the bootstrap.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scaling_laws.data.config import CorpusConfig, load_config
from scaling_laws.errors import InputError
from scaling_laws.models.memory import Memory
from scaling_laws.schedule import Schedule
from scaling_laws.sweeps.learning_rates import LearningRateRule
from scaling_laws.sweeps.networks import PlannedNetwork, planned_network
from scaling_laws.sweeps.sweep_file import Ladder, Model, Sweep


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run to be trained: what is known of it beforehand."""

    name: str
    family: str
    N: int
    """Non-embedding parameters."""
    D: int
    """Training tokens."""
    C: float
    """6 N D, FLOPs."""
    batch_tokens: int
    steps: int
    learning_rate: float
    seed: int
    trained_tokens: int
    """Tokens that it trains itself: a branch does not train its trunk's."""
    memory: Memory | None
    """What one device needs; None where it is not known."""
    config: dict[str, Any]
    """The LightningCLI configuration that trains it from the start."""

    @property
    def run_id(self) -> str:
        """Hash of everything that decides the result."""
        return str(self.config["recorder"]["run_id"])


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """The runs of one training, the longest first."""

    name: str
    runs: tuple[PlannedRun, ...]
    expected_s: float
    """A rough guess of its seconds on one core: it orders the queue and weighs the progress bar."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a sweep will train, the longest trunk first."""

    sweep: Sweep
    corpus: CorpusConfig
    corpus_folder: Path
    folder: Path
    """The study's folder: lightning_logs/<study>."""
    trunks: tuple[Trunk, ...]

    @property
    def runs(self) -> tuple[PlannedRun, ...]:
        """Every run, trunk by trunk."""
        return tuple(run for trunk in self.trunks for run in trunk.runs)


def plan(sweep: Sweep, *, logs: Path = Path("lightning_logs"), data: Path = Path("data")) -> Plan:
    """Plan every run of a sweep.

    Args:
        logs: folder of all studies.
        data: folder of all corpora.

    Raises:
        InputError: a network, a horizon, a learning rate, a name or the corpus file is wrong.
    """
    corpus = load_config(Path(sweep.corpus))
    study = Plan(
        sweep=sweep, corpus=corpus, corpus_folder=data / corpus.name, folder=logs / sweep.study, trunks=()
    )
    trunks = [
        trunk
        for ladder in sweep.ladders
        for model in ladder.models
        for trunk in _trunks(study, ladder, model)
    ]
    names = [run.name for trunk in trunks for run in trunk.runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"study {sweep.study!r}: {twice[0]} is planned twice; remove one of them")
    if not trunks:
        raise InputError(f"study {sweep.study!r}: plans no run; give its ladders models")
    return replace(study, trunks=tuple(sorted(trunks, key=lambda trunk: (-trunk.expected_s, trunk.name))))


def _trunks(study: Plan, ladder: Ladder, model: Model) -> Iterator[Trunk]:
    """The trainings of one model: one a seed and learning rate, or one a horizon, too."""
    assert study.corpus.n_vocab is not None  # load_config has filled it in
    network = planned_network(study.sweep, ladder, model, study.corpus.n_vocab)
    horizons = sorted(set(model.horizons_tokens), reverse=True)
    # A trunk that is stopped early may never come to where its branches leave it.
    shared = not (ladder.depends_on_D or study.sweep.patience) and all(
        _leaves_trunk(study.sweep.schedule, round(horizon / network.batch_tokens)) for horizon in horizons
    )
    for seed in model.seeds:
        for factor in ladder.learning_rate_factors:
            for together in [horizons] if shared else [[horizon] for horizon in horizons]:
                yield _trunk(study, ladder, model, network, together, seed, factor)


def _leaves_trunk(schedule: Schedule, steps: int) -> bool:
    """Whether a run shares steps with longer ones and has steps of its own: a branch trains at least one."""
    return schedule.shares_trunk and schedule.cooldown_start(steps) < steps


def _trunk(
    study: Plan,
    ladder: Ladder,
    model: Model,
    network: PlannedNetwork,
    horizons: Sequence[int],
    seed: int,
    factor: float,
) -> Trunk:
    """One training of `horizons`, the longest first."""
    sweep = study.sweep
    rate = _learning_rate(ladder, network, horizons[0]) * factor
    rate = float(f"{rate:.3g}")
    name = f"{_network_name(sweep, model, network)}-s{seed}"
    if len(ladder.learning_rate_factors) > 1:
        name += f"-lr{rate:g}"
    runs: list[PlannedRun] = []
    for horizon in horizons:
        steps = round(horizon / network.batch_tokens)
        run_name = f"{name}-{_short(horizon)}"
        if horizon < 10 * network.batch_tokens:
            raise InputError(
                f"{name}: horizons_tokens must each be at least ten batches of {network.batch_tokens} tokens"
            )
        if sweep.schedule.warmup_steps >= steps:
            raise InputError(
                f"{run_name}: has {steps} steps, and the warm-up takes {sweep.schedule.warmup_steps}; "
                "shorten the warm-up or lengthen the horizon"
            )
        own_steps = steps - sweep.schedule.cooldown_start(steps) if runs else steps
        trunk_name = runs[0].name if runs else run_name
        config = _config(study, model, network, rate, seed, steps, run_name, trunk_name)
        runs.append(
            PlannedRun(
                name=run_name,
                family=network.family,
                N=network.N,
                D=steps * network.batch_tokens,
                C=6.0 * network.N * steps * network.batch_tokens,
                batch_tokens=network.batch_tokens,
                steps=steps,
                learning_rate=rate,
                seed=seed,
                trained_tokens=own_steps * network.batch_tokens,
                memory=network.memory,
                config=config,
            )
        )
    trained_tokens = sum(run.trained_tokens for run in runs)
    return Trunk(
        name=runs[0].name, runs=tuple(runs), expected_s=trained_tokens * _expected_s_per_token(network)
    )


def _learning_rate(ladder: Ladder, network: PlannedNetwork, horizon: int) -> float:
    rule = ladder.learning_rate
    if not isinstance(rule, LearningRateRule):
        return rule
    return rule.rate(N=network.N, D=horizon, batch_tokens=network.batch_tokens)


def _network_name(sweep: Sweep, model: Model, network: PlannedNetwork) -> str:
    """`transformer-2x16h2`, and whatever else tells this model from others of the study."""
    extra = dict(network.arguments)
    name = network.family
    if "n_layer" in extra and "d_model" in extra:
        name += f"-{extra.pop('n_layer')}x{extra.pop('d_model')}"
        name += f"h{extra.pop('n_heads')}" if "n_heads" in extra else ""
    name += "".join(f"-{key.replace('_', '')}{value}" for key, value in sorted(extra.items()))
    if network.n_ctx != sweep.n_ctx:
        name += f"-ctx{network.n_ctx}"
    if network.batch_sequences != sweep.batch_sequences:
        name += f"-batch{network.batch_sequences}"
    if model.train_halvings:
        name += f"-halved{model.train_halvings}"
    return re.sub(r"[^\w.+-]+", "_", name)  # a folder's name


def _config(
    study: Plan,
    model: Model,
    network: PlannedNetwork,
    rate: float,
    seed: int,
    steps: int,
    run_name: str,
    trunk_name: str,
) -> dict[str, Any]:
    """The LightningCLI configuration of one run."""
    sweep = study.sweep
    config: dict[str, Any] = {
        "seed_everything": seed,
        "model": {
            "network": {"class_path": network.class_path, "init_args": dict(network.arguments)},
            "learning_rate": rate,
            "schedule": asdict(sweep.schedule),
            "optimizer": sweep.optimizer,
            "weight_decay": sweep.weight_decay,
            "compile": sweep.compile,
        },
        "data": {
            "corpus": str(study.corpus_folder),
            "n_ctx": network.n_ctx,
            "batch_sequences": network.batch_sequences,
            "seed": seed,
            "train_halvings": model.train_halvings,
            "noise_suffix_tokens": sweep.noise_suffix_tokens,
        },
        "trainer": {
            **sweep.trainer_arguments,
            "max_steps": steps,
            "gradient_clip_val": sweep.gradient_clip,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(study.folder / run_name),
        },
        "recorder": {
            "study": sweep.study,
            "name": run_name,
            "trunk": trunk_name,
            "tags": [sweep.study],
            "log_every_n_steps": sweep.log_every_n_steps,
            "evaluations_per_doubling": sweep.evaluations_per_doubling,
            "evaluation_every_n_steps": sweep.evaluation_every_n_steps,
            "evaluation_windows": sweep.evaluation_windows,
            "final_windows": sweep.final_windows,
            "probe_windows": sweep.probe_windows,
            "patience": sweep.patience,
            "patience_corpus": sweep.patience_corpus,
        },
        "noise_scale": sweep.noise_scale,
    }
    if sweep.optimizer == "adamw":
        config["model"] |= {"beta1": sweep.beta1, "beta2": sweep.beta2}
    config["recorder"]["run_id"] = _run_id(config, study.corpus)
    return config


def _run_id(config: Mapping[str, Any], corpus: CorpusConfig) -> str:
    """Hash of what decides a run's result: not of where it lies, nor of the study that asked for it."""
    decisive = {
        "seed": config["seed_everything"],
        "model": config["model"],
        "data": {**config["data"], "corpus": asdict(corpus)},
        "trainer": {key: value for key, value in config["trainer"].items() if key != "default_root_dir"},
        "evaluation": {
            key: value
            for key, value in config["recorder"].items()
            if key not in ("study", "name", "trunk", "tags", "run_id")
        },
        "noise_scale": config["noise_scale"],
    }
    canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _short(tokens: int) -> str:
    """1048576 as `1.05M`."""
    return f"{tokens / 1e6:.3g}M"


def _expected_s_per_token(network: PlannedNetwork) -> float:
    """A guess for one CPU core in fp32: 5 us a token, and its training FLOPs at 60 GFLOP/s."""
    return 5e-6 + 3 * sum(network.flops_per_token.values()) / 60e9
