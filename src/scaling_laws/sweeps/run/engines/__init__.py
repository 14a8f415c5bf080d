"""Where jobs run. An engine is one small class; `--engine NAME` chooses it.

The engine is never believed: what is done, failed or held stands in the jobs' folders (`record.json`,
`attempts.jsonl`, the lease), whoever ran them. So an engine only starts processes and says when one is over.

A third party's engine is an entry point of the group `scaling_laws.engines`: its name, and a class that is
called with an `EngineContext`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from scaling_laws.study.artefacts import read_yaml
from scaling_laws.study.configurations import find_config
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.experiments import Job
from scaling_laws.sweeps.run.forks import Train

GROUP = "scaling_laws.engines"
OWN = {
    "local": "scaling_laws.sweeps.run.engines.local:LocalEngine",
    "slurm": "scaling_laws.sweeps.run.engines.slurm:SlurmEngine",
    "ray": "scaling_laws.sweeps.run.engines.ray:RayEngine",
}
"""Those of this package: module and class."""

OPTIONS = {"sbatch": str, "setup": str, "max_jobs": int, "address": str, "elastic": bool}
"""Keys of a file of `configs/cluster/`, and what their values are."""

Bundle = Sequence[Job]
"""Jobs for one process, one after the other."""


@dataclass(frozen=True, kw_only=True)
class EngineContext:
    """What an engine may know when it is made."""

    folder: Path
    """The study's folder."""
    accelerator: str
    """`trainer.accelerator` of its jobs."""
    workers: int | None = None
    """`--workers`: jobs of one device at a time on one machine; None where it was not given."""
    command: tuple[str, ...] = ()
    """The command line that works on the same study, without its engine: what a batch job repeats."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The engine's own: of the file that the sweep names as `cluster`, and of the command line."""
    note: Callable[[str], None] = print
    """Tells the user one line."""
    train: Train | None = None
    """Stands for the training itself in tests and benchmarks."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A job whose process is over, for whatever reason."""

    job: str
    """Its name."""
    attempt: str
    """The name of this attempt in `attempts.jsonl`; the process that trains has it from its engine."""
    outcome: str | None = None
    """What the process said last, one of `attempts.py`; None where it was killed before it could."""
    reason: str = ""
    exit_status: int | None = None
    """Below 0 the number of the signal that ended it; None where nobody knows."""
    pid: int = 0
    elapsed_s: float = 0.0


class Engine(Protocol):
    """Runs jobs: for each `job_process.train_in_own_process` in a process of its own, wherever it likes."""

    @property
    def stays(self) -> bool:
        """Whether the sweep waits for its jobs; else it submits all there is, says so and returns."""

    def require(self, job: Job) -> None:
        """Refuse a job that it can never run.

        Raises:
            InputError: it wants more than there is, in one line.
        """

    def room(self) -> int:
        """How many more bundles it would take now, if each were of one device."""

    def submit(self, bundles: Sequence[Bundle]) -> int:
        """Start bundles in this order, and return how many; the first that does not fit ends it.

        Raises:
            InputError: nothing can be started any more.
        """

    def ended(self, wait_s: float) -> list[Ended]:
        """Jobs that are over since the last call; waits up to `wait_s` seconds for the first."""

    def end(self, job: str) -> None:
        """Have one job save and end; `ended` says when it has."""

    def stop(self, *, now: bool = False) -> list[Ended]:
        """Have all jobs save and end, and wait for them; `now` kills them instead, and waits for nothing."""

    def preview(self, jobs: Sequence[Job]) -> list[str]:
        """Lines that `--dry-run` prints below the plan: what would be submitted."""

    def status(self) -> list[str]:
        """Lines that `--status` prints below the ledger: what is queued or requeued, and why."""


def make_engine(name: str, context: EngineContext) -> Engine:
    """The engine of that name.

    Raises:
        InputError: there is none, or it cannot be used here.
    """
    if name in OWN:
        module, _, kind = OWN[name].partition(":")
        made: Engine = getattr(import_module(module), kind)(context)
        return made
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        raise InputError(f"--engine is {name!r}; known are {', '.join(sorted({*OWN, *found}))}")
    try:
        kind = found[name].load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"--engine {name}: {found[name].value} cannot be loaded ({error}); install it again"
        ) from error
    return kind(context)  # type: ignore[no-any-return]


def read_options(path: Path) -> dict[str, Any]:
    """What a file of `configs/cluster/` holds.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    keys = f"its keys may be {', '.join(sorted(OPTIONS))}"
    try:
        content = read_yaml(find_config(path, "cluster"))
    except InputError as error:
        raise InputError(f"cluster {path}: {error}; {keys}") from None
    if not content.keys() <= OPTIONS.keys():
        raise InputError(f"cluster {path}: {keys}")
    for name, value in content.items():
        if type(value) is not OPTIONS[name]:
            raise InputError(
                f"cluster {path}: {name} is {value!r}; it must be of type {OPTIONS[name].__name__}"
            )
    return content
