"""A sweep file, and the runs that it plans. No torch: a plan is previewed in a second.

A *trunk* is one training at one size, seed and learning rate. Its longest run is trained from the start;
every shorter run leaves it where its own cooldown begins (Hägele et al. 2024). One trunk is one trial of the
queue, and one cluster of the bootstrap.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentError, ArgumentParser

from scaling_laws.data.config import CorpusConfig, load_config
from scaling_laws.errors import InputError
from scaling_laws.models.config import LSTMConfig, NetworkConfig, TransformerConfig
from scaling_laws.models.count import flops_per_token, parameters_by_group
from scaling_laws.runs import parameter_counts

CLASS_PATHS = {
    "transformer": "scaling_laws.models.transformer.Transformer",
    "lstm": "scaling_laws.models.lstm.LSTM",
}
CONFIGS = {"transformer": TransformerConfig, "lstm": LSTMConfig}


@dataclass(frozen=True, kw_only=True)
class LearningRateRule:
    """Peak learning rate of a model: `at_1e5` (N / 1e5)^`exponent`, at most `at_most`."""

    at_1e5: float
    """Learning rate at N = 1e5 non-embedding parameters."""
    exponent: float = 0.0
    at_most: float = 1.0

    def rate(self, n_parameters: int) -> float:
        """The rule's learning rate for N non-embedding parameters, to three digits."""
        rate = min(self.at_most, self.at_1e5 * (n_parameters / 1e5) ** self.exponent)
        return float(f"{rate:.3g}")


@dataclass(frozen=True, kw_only=True)
class Model:
    """One size, and how long it is trained."""

    shape: dict[str, Any]
    """Constructor arguments of the network but for n_vocab and n_ctx."""
    horizons_tokens: tuple[int, ...]
    """D of each run: the longest is the trunk, the others are its cooldown branches."""
    seeds: tuple[int, ...] = (1,)


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Sizes of one family that share a learning-rate rule."""

    family: Literal["transformer", "lstm"]
    learning_rate: LearningRateRule
    models: tuple[Model, ...]
    learning_rate_factors: tuple[float, ...] = (1.0,)
    """Multiples of the rule to train every model with: for a sweep that looks for the rule."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One study: what a file in `configs/sweeps/` holds."""

    study: str
    """Name of the study and of its folder."""
    question: str
    """What the study is to find out: the report begins with it."""
    corpus: str
    """A file of `configs/data/`; the tokens are built into `data/<its name>` when they are not there."""
    ladders: tuple[Ladder, ...]
    n_ctx: int = 128
    batch_sequences: int = 16
    warmup_steps: int = 40
    cooldown_share: float = 0.2
    weight_decay: float = 0.1
    gradient_clip: float = 1.0
    log_every_n_steps: int = 20
    evaluations_per_doubling: int = 2
    evaluation_windows: int = 64
    final_windows: int = 512
    trainer: dict[str, Any] = field(default_factory=lambda: {"accelerator": "cpu", "devices": 1})
    """Lightning Trainer arguments of every run."""


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


def load_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        InputError: the file is missing or not YAML, a key is unknown or lacking, or a value makes no sense.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Sweep)
    try:
        return Sweep(**vars(parser.instantiate(parser.parse_path(str(path)))))
    except (ArgumentError, InputError, OSError, TypeError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error


def plan(sweep: Sweep, *, logs: Path = Path("lightning_logs"), data: Path = Path("data")) -> Plan:
    """Plan every run of a sweep.

    Args:
        logs: folder of all studies.
        data: folder of all corpora.

    Raises:
        InputError: a shape, a horizon, a name or the corpus file is wrong.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", sweep.study):
        raise InputError(f"study {sweep.study!r}: a name has letters, digits, '-', '_' and '.' only")
    corpus = load_config(Path(sweep.corpus))
    trunks = [
        _trunk(sweep, corpus, data / corpus.name, logs / sweep.study, ladder, model, seed, factor)
        for ladder in sweep.ladders
        for model in ladder.models
        for seed in model.seeds
        for factor in ladder.learning_rate_factors
    ]
    names = [run.name for trunk in trunks for run in trunk.runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"study {sweep.study!r}: {twice[0]} is planned twice; remove one of them")
    if not trunks:
        raise InputError(f"study {sweep.study!r}: plans no run; give its ladders models")
    return Plan(
        sweep=sweep,
        corpus=corpus,
        corpus_folder=data / corpus.name,
        folder=logs / sweep.study,
        trunks=tuple(sorted(trunks, key=lambda trunk: (-trunk.expected_s, trunk.name))),
    )


def _trunk(
    sweep: Sweep,
    corpus: CorpusConfig,
    corpus_folder: Path,
    folder: Path,
    ladder: Ladder,
    model: Model,
    seed: int,
    factor: float,
) -> Trunk:
    assert corpus.n_vocab is not None  # load_config has filled it in
    network = _network(ladder.family, model.shape, corpus.n_vocab, sweep.n_ctx)
    n_parameters = parameter_counts(parameters_by_group(network), flops_per_token(network))["N"]
    rate = float(f"{ladder.learning_rate.rate(n_parameters) * factor:.3g}")
    batch_tokens = sweep.batch_sequences * sweep.n_ctx
    name = f"{ladder.family}-{model.shape['n_layer']}x{model.shape['d_model']}"
    name += f"h{model.shape['n_heads']}" if "n_heads" in model.shape else ""
    # Shapes that differ in something else, or learning rates, need more of a name.
    extra = {key: value for key, value in model.shape.items() if key not in ("n_layer", "d_model", "n_heads")}
    name += "".join(f"-{key.replace('_', '')}{value}" for key, value in sorted(extra.items())) + f"-s{seed}"
    if len(ladder.learning_rate_factors) > 1:
        name += f"-lr{rate:g}"
    horizons = sorted(set(model.horizons_tokens), reverse=True)
    if not horizons or horizons[-1] < 10 * batch_tokens:
        raise InputError(
            f"{name}: horizons_tokens must each be at least ten batches of {batch_tokens} tokens"
        )
    trunk_name = f"{name}-{_short(horizons[0])}"
    runs = []
    for horizon in horizons:
        steps = round(horizon / batch_tokens)
        run_name = f"{name}-{_short(horizon)}"
        config = {
            "seed_everything": seed,
            "model": {
                "network": {"class_path": CLASS_PATHS[ladder.family], "init_args": dict(model.shape)},
                "learning_rate": rate,
                "schedule": {"warmup_steps": sweep.warmup_steps, "cooldown_share": sweep.cooldown_share},
                "weight_decay": sweep.weight_decay,
            },
            "data": {
                "corpus": str(corpus_folder),
                "n_ctx": sweep.n_ctx,
                "batch_sequences": sweep.batch_sequences,
                "seed": seed,
            },
            "trainer": {
                **sweep.trainer,
                "max_steps": steps,
                "gradient_clip_val": sweep.gradient_clip,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "default_root_dir": str(folder / run_name),
            },
            "recorder": {
                "study": sweep.study,
                "name": run_name,
                "trunk": trunk_name,
                "tags": [sweep.study],
                "log_every_n_steps": sweep.log_every_n_steps,
                "evaluations_per_doubling": sweep.evaluations_per_doubling,
                "evaluation_windows": sweep.evaluation_windows,
                "final_windows": sweep.final_windows,
            },
        }
        config["recorder"]["run_id"] = _run_id(config, corpus)  # type: ignore[index]
        runs.append(
            PlannedRun(
                name=run_name,
                family=ladder.family,
                N=n_parameters,
                D=steps * batch_tokens,
                C=6.0 * n_parameters * steps * batch_tokens,
                batch_tokens=batch_tokens,
                steps=steps,
                learning_rate=rate,
                seed=seed,
                config=config,
            )
        )
    trained_tokens = runs[0].D + sum(sweep.cooldown_share * run.D for run in runs[1:])
    return Trunk(
        name=trunk_name, runs=tuple(runs), expected_s=trained_tokens * _expected_s_per_token(network)
    )


def _network(family: str, shape: Mapping[str, Any], n_vocab: int, n_ctx: int) -> NetworkConfig:
    if given := [key for key in ("n_vocab", "n_ctx") if key in shape]:
        raise InputError(f"{family} {dict(shape)}: {given[0]} is given by the sweep; leave it out")
    try:
        network: NetworkConfig = CONFIGS[family](n_vocab=n_vocab, n_ctx=n_ctx, **shape)
        return network
    except TypeError as error:
        raise InputError(f"{family} {dict(shape)}: {str(error).partition(' ')[2]}") from error


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
    }
    canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _short(tokens: int) -> str:
    """1048576 as `1.05M`."""
    return f"{tokens / 1e6:.3g}M"


def _expected_s_per_token(network: NetworkConfig) -> float:
    """A guess for one CPU core in fp32: 5 us a token, and its training FLOPs at 60 GFLOP/s."""
    return 5e-6 + 3 * sum(flops_per_token(network).values()) / 60e9
