"""A shape study whose trainings are a formula: losses known beforehand, and no time spent."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import yaml
from tests.support.small_sweep import write_corpus

from scaling_laws.laws.shapes import Correction
from scaling_laws.models.transformer_config import TransformerConfig
from scaling_laws.study.conventions import parameter_counts
from scaling_laws.study.records import RunRecord, write_record
from scaling_laws.sweeps.plan.experiments import Job, Plan, plan
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.sweeps.run import attempts
from scaling_laws.sweeps.run.engines import Bundle, Ended
from scaling_laws.sweeps.search.follow_up import best_of_each_shape, replicates, transferred
from scaling_laws.sweeps.search.search import run_search
from scaling_laws.sweeps.search.storage import open_storage
from scaling_laws.sweeps.search.trials import FinishedTrial

N, TOKENS = 20_000, 6400
ALPHA_N = 0.076
COOLDOWN_GAIN = 0.97
"""Final loss over the one that the curve at a constant rate leads to."""
SEARCH: dict[str, Any] = {
    "N": N,
    "tokens": TOKENS,
    "learning_rate": 0.01,
    "learning_rate_factor": [0.5, 2.0],
    "n_layer": [1, 4],
    "d_ff_ratio": [0.5, 16],
    "head_width": [4, 8, 16],
    "trials": 12,
    "replicates": 1,
}
LossOf = Callable[[TransformerConfig, float, int], float]
"""Final loss of a network, a learning rate and a seed, in nats."""


def write_shape_sweep(folder: Path, text_folder: Path, **search: Any) -> Path:
    """A sweep file with the search above, changed."""
    write_corpus(folder, text_folder)
    sweep = {
        "study": "shapes",
        "question": "Which shape is best?",
        "corpus": str(folder / "corpus.yaml"),
        "n_ctx": 16,
        "batch_sequences": 4,
        "schedule": {"warmup_steps": 3},
        "evaluation_every_n_steps": 10,
        "evaluation_windows": 4,
        "final_windows": 16,
        "noise_scale_every_n_steps": 0,
        "search": SEARCH | search,
    }
    path = folder / "shape.yaml"
    path.write_text(yaml.safe_dump(sweep), encoding="utf-8")
    return path


def shape_plan(folder: Path, text_folder: Path, **search: Any) -> Plan:
    """Its plan."""
    path = write_shape_sweep(folder, text_folder, **search)
    return plan(load_sweep(path), logs=folder / "logs", data=folder / "data")


def bowl(network: TransformerConfig, learning_rate: float, seed: int = 1) -> float:
    """Least at d_ff / d_model = 4, two layers and a rate of 0.012; falls with N as L(N) does."""
    ratio = network.feed_forward_width / network.d_model
    cost = 0.03 * math.log(ratio / 4) ** 2 + 0.02 * math.log(network.n_layer / 2) ** 2
    cost += 0.02 * math.log(learning_rate / 0.012) ** 2
    n_parameters = parameter_counts(network.parameters_by_group(), network.flops_per_token())["N"]
    return 3 * math.exp(cost + 0.001 * (seed - 1)) * (n_parameters / N) ** -ALPHA_N


class StubTrainings:
    """An engine whose jobs take a step each time it is asked what has ended.

    Args:
        loss_of: what they come to.
        fails: names of runs whose process ends with an error.
        every: tokens between two evaluations.
        workers: jobs at a time.
    """

    stays = True

    def __init__(
        self,
        loss_of: LossOf = bowl,
        fails: Callable[[str], bool] = lambda name: False,
        every: int = 1600,
        workers: int = 2,
    ) -> None:
        self.loss_of = loss_of
        self.fails = fails
        self.every = every
        self.workers = workers
        self.started: list[str] = []
        self._active: dict[str, StubProcess] = {}

    def require(self, job: Job) -> None:
        """Takes all."""

    def room(self) -> int:
        return self.workers - len(self._active)

    def submit(self, bundles: Sequence[Bundle]) -> int:
        for (job,) in bundles:
            self.started.append(job.name)
            self._active[job.name] = StubProcess(job.runs[0].config, self)
        return len(bundles)

    def ended(self, wait_s: float) -> list[Ended]:
        over = [name for name, process in self._active.items() if not process.is_alive()]
        return [self._see_off(name) for name in over]

    def end(self, job: str) -> None:
        self._active[job].terminate()

    def stop(self, *, now: bool = False) -> list[Ended]:
        for process in self._active.values():
            process.terminate()
        return [self._see_off(name) for name in list(self._active)]

    def preview(self, jobs: Sequence[Job]) -> list[str]:
        return []

    def status(self) -> list[str]:
        return []

    def _see_off(self, name: str) -> Ended:
        process, attempt = self._active.pop(name), attempts.new_id()
        outcome = {0: attempts.DONE, 1: attempts.FAILED, 143: attempts.INTERRUPTED}[process.exitcode or 0]
        place = attempts.Place(records=0, step=0)
        attempts.begin(process.folder, attempt, start=place, split=1)
        attempts.end(process.folder, attempt, outcome, reason="as it was to", saved=place)
        return Ended(job=name, attempt=attempt, outcome=outcome, exit_status=process.exitcode)


class StubProcess:
    """One training: its evaluations lie on a curve L(D) = E + B/D^0.5 up to the cooldown."""

    def __init__(self, config: dict[str, Any], trainings: StubTrainings) -> None:
        self.exitcode: int | None = None
        self._config, self._trainings = config, trainings
        self.folder = Path(config["trainer"]["default_root_dir"])
        arguments = config["model"]["network"]["init_args"]
        self._network = TransformerConfig(n_vocab=256, n_ctx=16, **arguments)
        self._loss = trainings.loss_of(
            self._network, config["model"]["learning_rate"], config["data"]["seed"]
        )
        self._tokens = 0

    def is_alive(self) -> bool:
        if self.exitcode is not None:
            return False
        if self._trainings.fails(self._config["recorder"]["name"]):
            self.exitcode = 1
            return False
        self._tokens += self._trainings.every
        final = self._tokens >= TOKENS
        self._write_row(self._loss if final else curve_at(self._tokens, self._loss))
        if final:
            write_record(self.folder, self._record())
            self.exitcode = 0
        return self.exitcode is None

    def terminate(self) -> None:
        self.exitcode = 143

    def _write_row(self, loss: float) -> None:
        path = self.folder / "curve.csv"
        row = {
            "step": self._tokens // 64,
            "tokens": self._tokens,
            "summed_learning_rate": 0.1,
            "train_loss_nats": loss,
            "elapsed_s": 0.01 * self._tokens,
            "val_loss_nats": loss,
        }
        rows = [*read_curve(path), row] if self._tokens > self._trainings.every else [row]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def _record(self) -> RunRecord:
        named = self._config["recorder"]
        return RunRecord(
            run_id=named["run_id"],
            name=named["name"],
            study=named["study"],
            trunk=named["trunk"],
            status="complete",
            family="transformer",
            shape={**self._config["model"]["network"]["init_args"], "n_vocab": 256, "n_ctx": 16},
            parameters=self._network.parameters_by_group(),
            flops_per_token=self._network.flops_per_token(),
            tokens=TOKENS,
            unique_tokens=TOKENS,
            batch_tokens=64,
            steps=100,
            optimizer={"learning_rate": self._config["model"]["learning_rate"]},
            schedule={},
            after_cooldown=True,
            seed=self._config["data"]["seed"],
            losses={"val": {"loss_nats": self._loss}, "test": {"loss_nats": self._loss + 0.1}},
            best_losses={"val": self._loss},
            train_loss_nats=self._loss,
            corpus={},
            elapsed_s=1.0,
            trained_tokens=TOKENS,
            tokens_per_s=6400.0,
            peak_memory_bytes=1,
            git_revision="",
            versions={},
            host="",
            tags=tuple(named["tags"]),
        )


def curve_at(tokens: int, final_loss: float) -> float:
    """The loss on the way: at the horizon it would be the final one without its cooldown."""
    return final_loss / COOLDOWN_GAIN * (0.7 + 0.3 * (TOKENS / tokens) ** 0.5)


def read_curve(path: Path) -> list[dict[str, Any]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def finished_search(plan: Plan, trainings: StubTrainings) -> list[FinishedTrial]:
    """The search, and then what follows it, trained by the formula."""
    search = run_search(plan, trainings, storage=None, watch=lambda _: None)
    finished = list(search.finished.values())
    ranked = best_of_each_shape(finished, Correction(alpha_N=ALPHA_N, source=""), N)
    more = [run for runs in replicates(plan, ranked) for run in runs]
    for trial in [*more, *(run for _, run in transferred(plan, ranked))]:
        folder = plan.folder / trial.run.name
        folder.mkdir(parents=True, exist_ok=True)
        trainings.submit([[trial.job]])
        while not trainings.ended(0):
            pass
        assert not (folder / "trial.json").exists()  # no trial of the search
    return finished


def stored_study(folder: Path) -> optuna.Study:
    """What Optuna finds in a search's folder."""
    return open_storage(
        f"sqlite:///{folder / 'shape.sqlite3'}",
        lambda storage: optuna.load_study(storage=storage, study_name="shapes"),
    )
