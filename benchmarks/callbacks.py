"""What measuring costs: a training step with all of our callbacks against the same Trainer without any.

    python benchmarks/callbacks.py            -> results/bench/callbacks.json

Both run in one process, in turns of `STEPS` steps; the ratio of a round is that of two neighbouring turns,
and the median over rounds is reported with its quartiles. Times are CPU seconds of this process, on one
thread. Held-out evaluations lie on a log-spaced grid and are no part of a step: what they add to a run of
1.0 M tokens is reported on its own.
"""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from measured_run import measured_run

from scaling_laws.data.config import load_config
from scaling_laws.data.tokens import TokenCorpus, build_corpus
from scaling_laws.records import write_atomically
from scaling_laws.runs import parameter_counts
from scaling_laws.training.lightning_cli import training_cli
from scaling_laws.training.run import reuse_freed_memory, use_one_thread

ROOT = Path(__file__).parents[1]
STEPS, ROUNDS = 128, 7
EVALUATED_STEPS = 512
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
        corpus = build_corpus(load_config(ROOT / "configs/data/tiny.yaml"), Path(temporary) / "tiny")
        for name, (class_path, shape) in NETWORKS.items():
            results[name] = row = _compare(corpus, Path(temporary) / name, class_path, shape)
            print(
                f"{name:<18} N {row['N']:>8,}  step {row['step_ms']:7.2f} ms  "
                f"callbacks {100 * (row['ratio'] - 1):+.2f} % "
                f"[{100 * (row['quartiles'][0] - 1):+.2f}, {100 * (row['quartiles'][1] - 1):+.2f}]  "
                f"evaluations {100 * row['evaluation_share']:+.1f} % over 1.0 M tokens"
            )
    content = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "rows": results,
    }
    write_atomically(ROOT / "results/bench/callbacks.json", json.dumps(content, indent=1) + "\n")


def _compare(corpus: TokenCorpus, folder: Path, class_path: str, shape: dict[str, int]) -> dict[str, Any]:
    bare, measured, ratios = [], [], []
    for turn in range(ROUNDS + 1):  # the first warms up
        bare_s = _seconds(_config(corpus, folder / f"bare{turn}", class_path, shape), measuring=False)
        measured_s = _seconds(_config(corpus, folder / f"all{turn}", class_path, shape), measuring=True)
        if turn:
            bare.append(bare_s)
            measured.append(measured_s)
            ratios.append(measured_s / bare_s)
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "N": _n_parameters(_config(corpus, folder / "n", class_path, shape)),
        "step_ms": 1e3 * statistics.median(bare) / STEPS,
        "ratio": statistics.median(ratios),
        "quartiles": [quartiles[0], quartiles[2]],
        "evaluation_share": _evaluation_share(_config(corpus, folder / "whole", class_path, shape)),
    }


def _config(corpus: TokenCorpus, folder: Path, class_path: str, shape: dict[str, int]) -> dict[str, Any]:
    return measured_run(corpus, folder, f"scaling_laws.models.{class_path}", shape, steps=STEPS)


def _seconds(config: dict[str, Any], *, measuring: bool) -> float:
    """CPU seconds of all steps but the last, with what the callbacks do after each."""
    cli = training_cli(config)
    trainer, module, data = cli.trainer, cli.model, cli.datamodule
    clock = Clock()
    trainer.callbacks = [*(trainer.callbacks if measuring else []), clock]  # type: ignore[attr-defined]
    if not measuring:
        trainer.loggers = []
    trainer.fit(module, datamodule=data)
    return clock.stop_s - clock.start_s


class Clock(pl.Callback):
    """Comes after all other callbacks."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 0:
            self.start_s = time.process_time()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == trainer.max_steps - 1:
            self.stop_s = time.process_time()


def _n_parameters(config: dict[str, Any]) -> int:
    network: Any = training_cli(config).model.network
    return parameter_counts(network.parameters_by_group(), network.flops_per_token())["N"]


def _evaluation_share(config: dict[str, Any]) -> float:
    """What held-out evaluations, the final one included, add to a run's steps at the default settings."""
    from scaling_laws.training import recorder

    config["trainer"]["max_steps"] = EVALUATED_STEPS
    config["recorder"] = {}
    evaluation_s = 0.0
    original = recorder.RunRecorder._evaluate

    def timed(*arguments: Any, **keywords: Any) -> Any:
        nonlocal evaluation_s
        start_s = time.process_time()
        try:
            return original(*arguments, **keywords)
        finally:
            evaluation_s += time.process_time() - start_s

    recorder.RunRecorder._evaluate = timed  # type: ignore[method-assign]
    try:
        steps_s = _seconds(config, measuring=True)
    finally:
        recorder.RunRecorder._evaluate = original  # type: ignore[method-assign]
    return evaluation_s / steps_s


if __name__ == "__main__":
    main()
