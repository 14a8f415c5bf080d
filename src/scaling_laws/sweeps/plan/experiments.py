"""The runs that a sweep file plans. No torch, as long as its networks are built-in: a plan takes a second.

A *trunk* is one training at one size, seed and learning rate. Its longest run is trained from the start;
every shorter run leaves it where its own cooldown begins (Hägele et al. 2024). Where the schedule or the
learning rate depends on the horizon from the first step on, each horizon is a trunk of its own. A trunk with
its branches is one *job*, which one process trains, and one cluster of the bootstrap.

A run that several experiments ask for is trained once. Its name says what is trained; its `run_id` is the
hash of all that decides the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scaling_laws.data.corpus_file import CorpusConfig, load_config
from scaling_laws.models.memory import Memory
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.kept_settings import kept_precision, with_kept_rules, with_precision
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.sweeps.plan.reference import OutOfSlice, Reference, resolved
from scaling_laws.sweeps.plan.run_specs import RunSpec, merged, specs_of
from scaling_laws.sweeps.plan.sweep_file import Ladder, Model, Sweep

Cost = Callable[[RunSpec, int], float]
"""What training so many tokens of a run costs: seconds on one device."""


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
    C_exact: float
    """Training FLOPs by every row of Kaplan's Table 1."""
    batch_tokens: int
    steps: int
    learning_rate: float
    seed: int
    trained_tokens: int
    """Tokens that it trains itself: a branch does not train its trunk's."""
    expected_s: float
    """Seconds that these take on one device."""
    memory: Memory | None
    """What one device needs; None where it is not known."""
    devices: int
    """How many it is trained on."""
    tags: tuple[str, ...]
    """Experiments that ask for it."""
    config: dict[str, Any]
    """The LightningCLI configuration that trains it from the start."""
    doubt: str = ""
    """Why its C = 6ND may not be what it costs."""

    @property
    def run_id(self) -> str:
        """Hash of everything that decides the result."""
        return str(self.config["recorder"]["run_id"])


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process trains: a trunk, and its branches after it."""

    name: str
    runs: tuple[PlannedRun, ...]

    @property
    def expected_s(self) -> float:
        """Its seconds on one device: they order the jobs and weigh the progress bar."""
        return sum(run.expected_s for run in self.runs)

    @property
    def devices(self) -> int:
        """How many it is trained on."""
        return self.runs[0].devices

    @property
    def nodes(self) -> int:
        """On how many machines these devices are: `trainer.num_nodes`."""
        return int(self.runs[0].config["trainer"].get("num_nodes", 1))

    @property
    def kind(self) -> str:
        """What it needs, as text: `2x4` is four devices on each of two nodes."""
        return f"{self.nodes}x{self.devices // self.nodes}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a sweep will train: experiment after experiment, of each the longest job first."""

    sweep: Sweep
    experiments: tuple[Sweep, ...]
    """The sweep itself, or those that it includes."""
    references: Mapping[str, Reference]
    """What the budget of each experiment pays for; none for those that give sizes and horizons outright."""
    corpora: Mapping[str, CorpusConfig]
    """By what the sweep and its models call them."""
    data: Path
    """Folder of all corpora."""
    folder: Path
    """The study's folder: lightning_logs/<study>."""
    jobs: tuple[Job, ...]

    @property
    def corpus(self) -> CorpusConfig:
        """Of every run that names no other."""
        return self.corpora[self.sweep.corpus]

    @property
    def corpus_folder(self) -> Path:
        """Where the tokens of that one are."""
        return self.data / self.corpus.name

    @property
    def runs(self) -> tuple[PlannedRun, ...]:
        """Every run, job by job."""
        return tuple(run for job in self.jobs for run in job.runs)

    def left(self, job: Job) -> tuple[PlannedRun, ...]:
        """Those of a job's runs that the study's folder has no record of."""
        return tuple(run for run in job.runs if not (self.folder / run.name / "record.json").exists())


def experiments_of(sweep: Sweep) -> tuple[Sweep, ...]:
    """The sweep itself, or those that it includes, at its scale.

    Raises:
        InputError: an included file cannot be read, includes others, is a search, or has another corpus.
    """
    if not sweep.include:
        return (sweep,)
    experiments = tuple(
        replace(load_sweep(Path(name), scale=sweep.scale or None, budget=sweep.budget), keep=sweep.keep)
        for name in sweep.include
    )
    for name, experiment in zip(sweep.include, experiments, strict=True):
        if not experiment.ladders:
            raise InputError(f"include: {name} is not a sweep with ladders; run it by itself")
        if experiment.corpus != sweep.corpus:
            raise InputError(
                f"include: {name} has the corpus {experiment.corpus} and the study {sweep.corpus}; "
                "the experiments of one study share one (a ladder may vary corpus)"
            )
    names = [experiment.study for experiment in experiments]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"include: two experiments are called {twice.pop()!r}; leave one of them out")
    return experiments


def plan(sweep: Sweep, *, logs: Path = Path("lightning_logs"), data: Path = Path("data")) -> Plan:
    """Plan a sweep whose sizes and horizons are given outright (`planning.plan_study` knows budgets, too).

    Args:
        logs: folder of all studies.
        data: folder of all corpora.

    Raises:
        InputError: a network, a horizon, a learning rate, a name or the corpus file is wrong.
    """
    return filled(begun(sweep, logs=logs, data=data), None)


def filled(study: Plan, cost: Cost | None) -> Plan:
    """A plan with its runs.

    Args:
        study: with what its budget pays for.
        cost: seconds of training; a rough guess where it is None.

    Raises:
        InputError: a network, a horizon or a learning rate is wrong.
    """
    specs = study_specs(study)
    if not specs and study.sweep.search is None:
        raise InputError(f"study {study.sweep.study!r}: plans no run; give its ladders models")
    trunks = _trunks(study, specs, cost or rough_seconds)
    order = {experiment.study: number for number, experiment in enumerate(study.experiments)}

    def rank(job: Job) -> tuple[int, float, str]:
        """The first experiment is whole first; in it the longest jobs, so that all workers end together."""
        return min(order[tag] for run in job.runs for tag in run.tags), -job.expected_s, job.name

    return replace(study, jobs=tuple(sorted(trunks, key=rank)))


def begun(
    sweep: Sweep,
    *,
    logs: Path = Path("lightning_logs"),
    data: Path = Path("data"),
    folder_name: str = "",
) -> Plan:
    """A plan without runs, in the precision that the study began with.

    Args:
        logs: folder of all studies.
        data: folder of all corpora.
        folder_name: of the study's folder; by default the study's name.

    Raises:
        InputError: the corpus file or an included sweep is wrong.
    """
    folder = logs / (folder_name or sweep.study)
    precision = kept_precision(folder)
    experiments = experiments_of(sweep)
    return Plan(
        sweep=with_kept_rules(with_precision(sweep, precision), folder),
        experiments=tuple(with_kept_rules(with_precision(each, precision), folder) for each in experiments),
        references={},
        corpora=_corpora(sweep, experiments),
        data=data,
        folder=folder,
        jobs=(),
    )


def _corpora(sweep: Sweep, experiments: Iterable[Sweep]) -> dict[str, CorpusConfig]:
    """Every corpus that a study names, by what it calls it.

    Raises:
        InputError: a file is wrong, or two that differ have one name, and so one folder.
    """
    models = [model for each in experiments for ladder in each.ladders for model in ladder.models]
    found: dict[str, CorpusConfig] = {}
    for file in dict.fromkeys((sweep.corpus, *(model.corpus for model in models if model.corpus))):
        config = load_config(Path(file))
        for other, known in found.items():
            if known.name == config.name and known != config:
                raise InputError(
                    f"corpus: {file} and {other} differ and are both called {config.name!r}; "
                    "give one of them another name"
                )
        found[file] = config
    return found


def study_specs(study: Plan) -> list[RunSpec]:
    """Every run of every experiment, once.

    Raises:
        InputError: something in an experiment is impossible.
    """
    return merged([spec for experiment in study.experiments for spec in _experiment_specs(study, experiment)])


def _experiment_specs(study: Plan, experiment: Sweep) -> list[RunSpec]:
    """What one experiment asks for.

    Raises:
        InputError: something in it is impossible, or a run is asked for twice.
    """
    found: dict[str, RunSpec] = {}
    for ladder in experiment.ladders:
        for model in ladder.models:
            outright = _outright(study, experiment, ladder, model)
            if isinstance(outright, OutOfSlice):
                continue
            for spec in specs_of(experiment, study.corpora, study.data, ladder, outright):
                # Shares of a reference may come to one network; who writes sizes out meant two.
                if spec.run_id in found and not model.needs_reference:
                    raise InputError(
                        f"study {experiment.study!r}: {spec.base_name}-{spec.short_D} is planned twice; "
                        "remove one of them"
                    )
                found.setdefault(spec.run_id, spec)
    return list(found.values())


def _outright(study: Plan, experiment: Sweep, ladder: Ladder, model: Model) -> Model | OutOfSlice:
    """The model in numbers; or why its slice of equal compute has no such point."""
    corpus = study.corpora[model.corpus or experiment.corpus]
    try:
        return resolved(experiment, ladder, model, study.references.get(experiment.study), corpus)
    except OutOfSlice as reason:
        return reason


def points_left_out(study: Plan) -> dict[str, list[OutOfSlice]]:
    """By experiment: points of slices of equal compute that are not planned, and why."""
    return {
        experiment.study: [
            reason
            for ladder in experiment.ladders
            for model in ladder.models
            if isinstance(reason := _outright(study, experiment, ladder, model), OutOfSlice)
        ]
        for experiment in study.experiments
    }


def trunks_of(study: Plan, ladder: Ladder, model: Model) -> list[Job]:
    """The trainings of one model that is given outright, as runs of the study."""
    specs = specs_of(study.sweep, study.corpora, study.data, ladder, model)
    return _trunks(study, merged(list(specs)), rough_seconds)


def trained_tokens(specs: Iterable[RunSpec]) -> Iterator[tuple[RunSpec, int]]:
    """The runs of one training, the longest first, and what each trains itself."""
    for number, spec in enumerate(sorted(specs, key=lambda spec: -spec.steps)):
        own_steps = spec.steps - spec.schedule.cooldown_start(spec.steps) if number else spec.steps
        yield spec, own_steps * spec.network.batch_tokens


def by_trunk(specs: Iterable[RunSpec]) -> list[list[RunSpec]]:
    """Runs that share a training, together."""
    groups: dict[str, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.trunk_key, []).append(spec)
    return list(groups.values())


def _trunks(study: Plan, specs: list[RunSpec], cost: Cost) -> list[Job]:
    names = _names(specs)
    return [_trunk(study, group, names, cost) for group in by_trunk(specs)]


def _names(specs: list[RunSpec]) -> dict[str, str]:
    """A name for each run id: what differs between experiments alone is told by the experiment's name."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for spec in specs:
        usual = f"{spec.base_name}-{spec.short_D}"
        choices = (usual, f"{spec.base_name}-{spec.experiments[0]}-{spec.short_D}", f"{usual}-{spec.run_id}")
        names[spec.run_id] = next(name for name in choices if name not in taken)
        taken.add(names[spec.run_id])
    return names


def _trunk(study: Plan, specs: list[RunSpec], names: Mapping[str, str], cost: Cost) -> Job:
    runs: list[PlannedRun] = []
    for spec, tokens in trained_tokens(specs):
        name = names[spec.run_id]
        runs.append(_run(study, spec, name, runs[0].name if runs else name, tokens, cost(spec, tokens)))
    return Job(name=runs[0].name, runs=tuple(runs))


def _run(
    study: Plan, spec: RunSpec, name: str, trunk_name: str, own_tokens: int, expected_s: float
) -> PlannedRun:
    config = dict(spec.config)
    config["trainer"] = {**config["trainer"], "default_root_dir": str(study.folder / name)}
    config["recorder"] = {
        "study": study.sweep.study,
        "name": name,
        "trunk": trunk_name,
        "tags": list(spec.experiments),
        **config["recorder"],
        "run_id": spec.run_id,
    }
    network = spec.network
    return PlannedRun(
        name=name,
        family=network.family,
        N=network.N,
        D=spec.D,
        C=network.compute_flops(spec.D)["C"],
        C_exact=network.compute_flops(spec.D)["C_exact"],
        batch_tokens=network.batch_tokens,
        steps=spec.steps,
        learning_rate=spec.learning_rate,
        seed=spec.seed,
        trained_tokens=own_tokens,
        expected_s=expected_s,
        memory=network.memory,
        devices=spec.devices,
        tags=spec.experiments,
        config=config,
        doubt=network.doubt,
    )


def rough_seconds(spec: RunSpec, tokens: int) -> float:
    """A guess for one CPU core in fp32: 5 us a token, and its training FLOPs at 60 GFLOP/s."""
    return tokens * (5e-6 + 3 * sum(spec.network.flops_per_token.values()) / 60e9)
