"""What measuring costs: the time inside our callbacks, beside that of the steps that they watch.

    python benchmarks/callbacks.py            -> results/bench/callbacks.json

Each network is trained over 1.0 M tokens at the default settings, with a clock around every hook of every
callback: two runs with and without them differ by more for other reasons (by 5 to 10 % here) than for this
one. Held-out evaluations, and all five tasks of a corpus, are reported on their own. Times are CPU seconds of
this process, on one thread; shares are of the time spent outside hooks, the median of `RUNS` runs.
"""

from __future__ import annotations

import collections
import json
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from measured_run import measured_run

from scaling_laws.data.corpus_file import load_config
from scaling_laws.data.tasks import MADE
from scaling_laws.data.tokens import TokenCorpus, build_corpus
from scaling_laws.study.conventions import parameter_counts
from scaling_laws.study.records import write_atomically
from scaling_laws.training.recorder import RunRecorder
from scaling_laws.training.run import reuse_freed_memory, use_one_thread
from scaling_laws.training.snapshots import Snapshots
from scaling_laws.training.task_scores import TaskQuestions
from scaling_laws.training.verbs import training_cli

ROOT = Path(__file__).parents[1]
STEPS, RUNS = 512, 3
HOOKS = (
    "on_train_start",
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_train_end",
)
EVALUATIONS, TASKS = "evaluations", "tasks"
NETWORKS: dict[str, tuple[str, dict[str, int]]] = {
    "transformer 2x16": ("transformer.Transformer", {"n_layer": 2, "d_model": 16, "n_heads": 2}),
    "transformer 2x64": ("transformer.Transformer", {"n_layer": 2, "d_model": 64, "n_heads": 4}),
    "transformer 2x128": ("transformer.Transformer", {"n_layer": 2, "d_model": 128, "n_heads": 4}),
    "lstm 2x80": ("lstm.LSTM", {"n_layer": 2, "d_model": 80}),
}


def main() -> None:
    use_one_thread()
    reuse_freed_memory()
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        config = replace(load_config(ROOT / "configs/data/tiny.yaml"), tasks=tuple(MADE))
        corpus = build_corpus(config, Path(temporary) / "tiny")
        for name, (class_path, shape) in NETWORKS.items():
            runs = [_run(corpus, Path(temporary) / name / str(k), class_path, shape) for k in range(RUNS)]
            row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            evaluations, tasks = row.pop(EVALUATIONS), row.pop(TASKS)
            N, step_ms = row.pop("N"), row.pop("step_ms")
            results[name] = {
                "N": N,
                "step_ms": step_ms,
                "callbacks": sum(row.values()),
                "by_callback": row,
                EVALUATIONS: evaluations,
                TASKS: tasks,
            }
            print(
                f"{name:<18} N {N:>8,}  step {step_ms:7.2f} ms  callbacks {100 * sum(row.values()):.2f} % "
                f"({', '.join(f'{owner} {100 * share:.2f}' for owner, share in row.items())})  "
                f"evaluations {100 * evaluations:.1f} %  tasks {100 * tasks:.1f} %"
            )
    content = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "steps": STEPS,
        "rows": results,
    }
    write_atomically(ROOT / "results/bench/callbacks.json", json.dumps(content, indent=1) + "\n")


def _run(corpus: TokenCorpus, folder: Path, class_path: str, shape: dict[str, int]) -> dict[str, float]:
    """N, milliseconds a step, and the shares of each callback and of the evaluations, by name."""
    config = measured_run(corpus, folder, f"scaling_laws.models.{class_path}", shape, steps=STEPS - 1)
    config["recorder"] = {}
    cli = training_cli(config)
    clocks = Clocks()
    for callback in cli.trainer.callbacks:  # type: ignore[attr-defined]
        for hook in HOOKS:
            if getattr(type(callback), hook) is not getattr(pl.Callback, hook):
                clocks.put_around(callback, hook, type(callback).__name__)
        if isinstance(callback, RunRecorder):
            clocks.put_around(callback, "_evaluate", EVALUATIONS)
        if isinstance(callback, Snapshots):
            clocks.put_around(callback, "take", "Snapshots")
    untimed = TaskQuestions.score
    clocks.put_around(TaskQuestions, "score", TASKS)
    start_s = time.process_time()
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    TaskQuestions.score = untimed  # type: ignore[method-assign]
    outside_s = time.process_time() - start_s - sum(clocks.spent_s.values())
    network: Any = cli.model.network
    return {
        "N": parameter_counts(network.parameters_by_group(), network.flops_per_token())["N"],
        "step_ms": 1e3 * outside_s / STEPS,
        **{owner: spent_s / outside_s for owner, spent_s in clocks.spent_s.items()},
    }


class Clocks:
    """Time inside methods, by owner; that of a method within another's is the inner one's alone."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = collections.defaultdict(float)
        self._within: list[str] = []

    def put_around(self, instance: Any, method: str, owner: str) -> None:
        inner = getattr(instance, method)

        def timed(*arguments: Any, **keywords: Any) -> Any:
            start_s = time.process_time()
            self._within.append(owner)
            try:
                return inner(*arguments, **keywords)
            finally:
                self._within.pop()
                elapsed_s = time.process_time() - start_s
                self.spent_s[owner] += elapsed_s
                if self._within:
                    self.spent_s[self._within[-1]] -= elapsed_s

        setattr(instance, method, timed)


if __name__ == "__main__":
    main()
