"""What held-out evaluations cost, and how much text they need.

    python benchmarks/evaluations.py            -> results/bench/evaluations.json

Cost: each network is trained over 1.0 M tokens on the embedded corpus, in the quick study's precision, and at
each of its evaluations measured by the settings of now and, right after, by those of before: every corpus at
each evaluation, and 512 windows of each at the end. Processor seconds of this process, on one thread; shares
are of the time of the run's steps. Text: the loss of the finished network, and by how much it differs from
another's, over so many windows, with the standard error between documents.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured_run import N_CTX, measured_run

from scaling_laws.data.corpus_file import load_config
from scaling_laws.data.tokens import TokenCorpus, build_corpus
from scaling_laws.study.records import MAIN_CORPUS, write_atomically
from scaling_laws.sweeps.plan.kept_settings import native_precision
from scaling_laws.training.evaluation import N_FOLDS, evaluate, token_losses
from scaling_laws.training.recorder import RunRecorder
from scaling_laws.training.run import reuse_freed_memory, use_one_thread
from scaling_laws.training.verbs import training_cli

ROOT = Path(__file__).parents[1]
STEPS = 512
BEFORE_WINDOWS, BEFORE_FINAL_WINDOWS = 64, 512
NETWORKS: dict[str, tuple[str, dict[str, int], float]] = {
    "transformer 2x16": ("transformer.Transformer", {"n_layer": 2, "d_model": 16, "n_heads": 2}, 1.6e-2),
    "transformer 2x56": ("transformer.Transformer", {"n_layer": 2, "d_model": 56, "n_heads": 4}, 1.0e-2),
    "transformer 2x128": ("transformer.Transformer", {"n_layer": 2, "d_model": 128, "n_heads": 4}, 6.0e-3),
    "lstm 2x80": ("lstm.LSTM", {"n_layer": 2, "d_model": 80}, 2.2e-2),
}
COMPARED = ("transformer 2x56", "lstm 2x80")


def main() -> None:
    use_one_thread()
    reuse_freed_memory()
    costs, losses = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        config = load_config(ROOT / "configs/data/embedded.yaml")
        corpus = build_corpus(config, Path(os.environ.get("CORPUS", f"{temporary}/embedded")))
        for name, (class_path, shape, rate) in NETWORKS.items():
            run = measured_run(
                corpus,
                Path(temporary) / name,
                f"scaling_laws.models.{class_path}",
                shape,
                steps=STEPS - 1,
                precision=native_precision("cpu"),
            )
            run["model"] |= {"learning_rate": rate, "schedule": {"warmup_steps": 40, "cooldown_share": 0.2}}
            run["recorder"] = {}
            costs[name], losses[name] = _trained(run)
            print(f"{name:<18}" + "".join(f"  {key} {value:.4g}" for key, value in costs[name].items()))
        by_windows = _by_windows(corpus, *(losses[name] for name in COMPARED))
    for row in by_windows:
        print("  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    content = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "steps": STEPS,
        "cost": costs,
        "compared": COMPARED,
        "test_text": by_windows,
    }
    write_atomically(ROOT / "results/bench/evaluations.json", json.dumps(content, indent=1) + "\n")


def _trained(config: dict[str, Any]) -> tuple[dict[str, float], np.ndarray]:
    """Seconds and shares of one run, and the losses (W,) of every window of the test text."""
    cli = training_cli(config)
    trainer, module, data = cli.trainer, cli.model, cli.datamodule
    spent_s = dict.fromkeys(("now", "before"), 0.0)
    (recorder,) = (each for each in trainer.callbacks if isinstance(each, RunRecorder))  # type: ignore[attr-defined]
    measure = recorder._evaluate

    def both(*arguments: Any, final: bool) -> dict[str, float]:
        start_s = time.process_time()
        measured = measure(*arguments, final=final)
        between_s = time.process_time()
        windows = dict.fromkeys(data.corpus.held_out, BEFORE_FINAL_WINDOWS if final else BEFORE_WINDOWS)
        evaluate(trainer, module, data, windows=windows, n_folds=N_FOLDS if final else 1)
        spent_s["now"] += between_s - start_s
        spent_s["before"] += time.process_time() - between_s
        return measured

    recorder._evaluate = both  # type: ignore[method-assign, assignment]
    start_s = time.process_time()
    trainer.fit(module, datamodule=data)
    steps_s = time.process_time() - start_s - sum(spent_s.values())
    cost = {
        "steps_s": steps_s,
        **{f"evaluations_{when}_s": each for when, each in spent_s.items()},
        **{f"share_{when}": each / steps_s for when, each in spent_s.items()},
    }
    text, _ = data.held_out(MAIN_CORPUS, 10**9)
    return cost, token_losses(trainer, module, text).double().mean(1).numpy()


def _by_windows(corpus: TokenCorpus, one: np.ndarray, other: np.ndarray) -> list[dict[str, float]]:
    """Of the test text: loss, difference of the two, and standard errors between documents."""
    n_windows = len(one)
    starts = np.arange(n_windows) * N_CTX
    holders = np.searchsorted(corpus.documents(MAIN_CORPUS), starts, side="right") - 1
    rows = []
    for n_taken in (32, 64, 128, 256, 512, 1024, 2048, n_windows):
        places = (2 * np.arange(n_taken) + 1) * n_windows // (2 * n_taken)
        row: dict[str, float] = {"windows": n_taken}
        for name, values in (("loss", one), ("difference", one - other)):
            row[f"{name}_nats"] = float(values[places].mean())
            row[f"{name}_error_nats"] = _error(values[places], holders[places])
        rows.append(row)
    return rows


def _error(values: np.ndarray, documents: np.ndarray) -> float:
    sums = np.bincount(documents, values - values.mean())
    n_documents = len(np.unique(documents))
    return float(np.sqrt((sums**2).sum() * n_documents / (n_documents - 1)) / len(values))


if __name__ == "__main__":
    main()
