"""One run of an experiment: its configuration, and the hash and the name that it has because of it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.models.optimizers import (
    OptimizerSetting,
    optimizer_label,
    optimizer_parts,
    optimizer_settings,
)
from scaling_laws.study.bounds import Windows
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import EVERY_CORPUS
from scaling_laws.study.schedule import Schedule
from scaling_laws.sweeps.plan.learning_rates import LearningRateRule
from scaling_laws.sweeps.plan.networks import PlannedNetwork, planned_network
from scaling_laws.sweeps.plan.sweep_file import BASE, INSTEAD_OF_THE_SWEEPS, Ladder, Model, Sweep

FEWEST_STEPS = 10
LONGEST_OPTIMIZER = 40
"""Characters of a run's name that say its optimiser."""
NAMES = ("study", "name", "trunk", "tags", "run_id")
"""Keys of a configuration's recorder that say what a run is called, and decide nothing."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One run that an experiment asks for.

    Attributes:
        network: what is trained.
        base_name: its name but for the horizon: all horizons of one training have it.
        short_D: the horizon in its name, as `1.05M`.
        schedule, steps, learning_rate, seed: how it is trained.
        corpus: on which.
        config: the LightningCLI configuration, but for what the run and its folder are called.
        run_id: hash of everything that decides the result.
        trunk_key: runs of one key are one training up to where their cooldowns begin.
        experiments: that ask for it.
    """

    network: PlannedNetwork
    base_name: str
    short_D: str
    schedule: Schedule
    steps: int
    learning_rate: float
    seed: int
    corpus: CorpusConfig
    config: dict[str, Any]
    run_id: str
    trunk_key: str
    experiments: tuple[str, ...]

    @property
    def D(self) -> int:
        """Training tokens."""
        return self.steps * self.network.batch_tokens

    @property
    def devices(self) -> int:
        """How many devices train it; those that are counted only on the machine are taken as one."""
        trainer = self.config["trainer"]
        return n_devices(trainer["devices"]) * int(trainer.get("num_nodes", 1))


@dataclass(frozen=True, kw_only=True)
class _Training:
    """How a network is trained, but for how long."""

    sweep: Sweep
    model: Model
    network: PlannedNetwork
    schedule: Schedule
    learning_rate: float
    seed: int
    corpus: CorpusConfig
    corpus_folder: Path

    def spec(self, horizon: int, base_name: str) -> RunSpec:
        """The run of so many tokens."""
        batch_tokens, warmup_steps = self.network.batch_tokens, self.schedule.warmup_steps
        steps, short_D = round(horizon / batch_tokens), f"{horizon / 1e6:.3g}M"
        if steps < FEWEST_STEPS:
            raise InputError(
                f"{base_name}: horizons_tokens must each be at least ten batches of {batch_tokens} tokens"
            )
        if warmup_steps >= steps:
            raise InputError(
                f"{base_name}-{short_D}: has {steps} steps, and the warm-up takes {warmup_steps}; "
                "shorten the warm-up or lengthen the horizon"
            )
        config = self.config(steps)
        # A trunk that is stopped early may never come to where its branches leave it; and a branch trains at
        # least one step of its own.
        has_branches = self.schedule.shares_trunk and self.schedule.cooldown_start(steps) < steps
        shares = has_branches and not self.sweep.patience
        keep = "weights" if self.sweep.keep == "trunk" and not shares else self.sweep.keep
        config["checkpoints"] = {"keep": keep}  # no part of the hash
        of_all_horizons = config | {"trainer": {**config["trainer"], "max_steps": None}}
        return RunSpec(
            network=self.network,
            base_name=base_name,
            short_D=short_D,
            schedule=self.schedule,
            steps=steps,
            learning_rate=self.learning_rate,
            seed=self.seed,
            corpus=self.corpus,
            config=config,
            run_id=_hash(config, self.corpus),
            trunk_key=_hash(of_all_horizons if shares else config, self.corpus),
            experiments=(self.sweep.study,),
        )

    @property
    def _parametrization(self) -> dict[str, Any]:
        """Nothing where it is the standard one: the base shapes of others are none of its own."""
        if self.sweep.parametrization == "standard":
            return {}
        return {name: value for name in BASE if (value := getattr(self.sweep, name)) is not None}

    def config(self, steps: int) -> dict[str, Any]:
        """The LightningCLI configuration, but for what the run and its folder are called."""
        own_settings = optimizer_settings(self.sweep.optimizer)
        config: dict[str, Any] = {
            "seed_everything": self.seed,
            "model": {
                "network": {"class_path": self.network.class_path, "init_args": dict(self.network.arguments)},
                "learning_rate": self.learning_rate,
                "schedule": asdict(self.schedule),
                "optimizer": self.sweep.optimizer,
                **({"weight_decay": self.sweep.weight_decay} if "weight_decay" in own_settings else {}),
                "compile": self.sweep.compile,
                **self._parametrization,
                **{name: getattr(self.sweep, name) for name in own_settings if name != "weight_decay"},
            },
            "data": {
                "corpus": str(self.corpus_folder),
                "n_ctx": self.network.n_ctx,
                "batch_sequences": self.network.batch_sequences,
                "seed": self.seed,
                "train_halvings": self.model.train_halvings,
                "noise_suffix_tokens": self.sweep.noise_suffix_tokens,
            },
            "trainer": {
                **self.sweep.trainer_arguments,
                **({} if self.model.devices is None else {"devices": self.model.devices}),
                "max_steps": steps,
                "gradient_clip_val": self.sweep.gradient_clip,
                "enable_progress_bar": False,
                "enable_model_summary": False,
            },
            "recorder": {
                "log_every_n_steps": self.sweep.log_every_n_steps,
                "evaluations_per_doubling": self.sweep.evaluations_per_doubling,
                "evaluation_every_n_steps": self.sweep.evaluation_every_n_steps,
                "evaluation_corpora": list(self.sweep.corpora_on_the_way),
                "evaluation_windows": _windows(self.sweep, self.network, self.sweep.evaluation_windows),
                "final_windows": _windows(self.sweep, self.network, self.sweep.final_windows),
                "other_windows": _windows(self.sweep, self.network, self.sweep.other_windows),
                "probe_windows": _windows(self.sweep, self.network, self.sweep.probe_windows),
                "patience": self.sweep.patience,
                "patience_corpus": self.sweep.patience_corpus,
            },
            "noise_scale": self.sweep.noise_scale,
        }
        return config


def specs_of(
    sweep: Sweep, corpora: Mapping[str, CorpusConfig], data: Path, ladder: Ladder, model: Model
) -> Iterator[RunSpec]:
    """Every run of a model whose size and horizons are given outright.

    Args:
        corpora: by what the sweep and its models call them.
        data: folder of all corpora.

    Raises:
        InputError: the network, a horizon or the learning rate is impossible.
    """
    corpus = corpora[model.corpus or sweep.corpus]
    assert corpus.n_vocab is not None and not model.needs_reference
    network = planned_network(sweep, ladder, model, corpus.n_vocab)
    schedule = model.schedule or sweep.schedule
    base = _network_name(sweep, model, network, corpora)
    trained_as = sweep.for_model(ladder, model)
    for seed in model.seeds:
        for factor in ladder.learning_rate_factors:
            for horizon in sorted(set(model.horizons_tokens), reverse=True):
                rate = float(f"{_learning_rate(ladder, model, network, horizon) * factor:.3g}")
                name = f"{base}-s{seed}" + (f"-lr{rate:g}" if len(ladder.learning_rate_factors) > 1 else "")
                training = _Training(
                    sweep=trained_as,
                    model=model,
                    network=network,
                    schedule=schedule,
                    learning_rate=rate,
                    seed=seed,
                    corpus=corpus,
                    corpus_folder=data / corpus.name,
                )
                yield training.spec(horizon, name)


def n_devices(devices: Any) -> int:
    """Lightning's `devices` as a number."""
    if isinstance(devices, list | tuple):
        return len(devices)
    text = str(devices)
    return max(1, int(text)) if text.lstrip("-").isdigit() else 1


def merged(specs: list[RunSpec]) -> list[RunSpec]:
    """What several experiments ask for, once."""
    found: dict[str, RunSpec] = {}
    for spec in specs:
        first = found.setdefault(spec.run_id, spec)
        experiments = dict.fromkeys((*first.experiments, *spec.experiments))
        found[spec.run_id] = replace(first, experiments=tuple(experiments))
    return list(found.values())


def _learning_rate(ladder: Ladder, model: Model, network: PlannedNetwork, horizon: int) -> float:
    rule = ladder.learning_rate if model.learning_rate is None else model.learning_rate
    if not isinstance(rule, LearningRateRule):
        return rule
    return rule.rate(N=network.N, D=horizon, batch_tokens=network.batch_tokens)


def _network_name(
    sweep: Sweep, model: Model, network: PlannedNetwork, corpora: Mapping[str, CorpusConfig]
) -> str:
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
    if model.schedule:
        usual = asdict(sweep.schedule)
        for key, value in asdict(model.schedule).items():
            if value != usual[key]:
                name += f"-{value}" if key == "decay" else f"-{key.replace('_', '')}{value:g}"
    for key in INSTEAD_OF_THE_SWEEPS:
        value = getattr(model, key)
        if value is None or (key != "precision" and value == getattr(sweep, key)):
            continue
        if key in BASE and (model.parametrization or sweep.parametrization) == "standard":
            continue  # it has no base shape
        if key == "corpus":
            name += "" if corpora[value] == corpora[sweep.corpus] else f"-{corpora[value].name}"
            continue
        word = "" if key in ("optimizer", "parametrization") else key.replace("_", "")
        name += f"-{word}{_optimizer_name(value) if key == 'optimizer' else value}"
    if model.learning_rate is not None and not isinstance(model.learning_rate, LearningRateRule):
        name += f"-lr{model.learning_rate:g}"
    return re.sub(r"[^\w.+-]+", "_", name)  # a folder's name


def _optimizer_name(optimizer: OptimizerSetting) -> str:
    """Its label as a part of a folder's name; of a long one the classes, and a hash of the rest."""
    name = re.sub(r"[^\w.+-]+", "_", optimizer_label(optimizer)).strip("_")
    if len(name) <= LONGEST_OPTIMIZER:
        return name
    classes = "+".join(part.name.rpartition(".")[2] for part in optimizer_parts(optimizer))
    return f"{classes[:LONGEST_OPTIMIZER]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _windows(sweep: Sweep, network: PlannedNetwork, windows: Windows) -> Windows:
    """As many held-out tokens for a network with a context of its own: its losses are as exact."""
    if windows == "all":
        return windows
    return math.ceil(windows * sweep.n_ctx / network.n_ctx)


def _hash(config: Mapping[str, Any], corpus: CorpusConfig) -> str:
    """Of what decides a run's result: not of where it lies, nor of the study that asked for it."""
    evaluation = {key: value for key, value in config["recorder"].items() if key not in NAMES}
    if evaluation["evaluation_corpora"] == [EVERY_CORPUS]:  # as runs of versions before these keys
        del evaluation["evaluation_corpora"], evaluation["other_windows"]
    decisive = {
        "seed": config["seed_everything"],
        "model": config["model"],
        "data": {**config["data"], "corpus": corpus.decisive()},
        "trainer": config["trainer"],
        "evaluation": evaluation,
        "noise_scale": config["noise_scale"],
    }
    canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
