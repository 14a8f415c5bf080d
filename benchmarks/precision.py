"""Speed, memory and loss of every precision, family and compilation: on the GPU, or on the CPU without one.

    OMP_NUM_THREADS=1 python benchmarks/precision.py [--steps 200] [--d-model 64] [--n-layer 2]

needs `data/embedded` (scaling-laws data build configs/data/embedded.yaml) and writes
results/bench/precision.json, after each of its rows. Each is a run of its own in a process of its own; one
that fails says so in its row. Speed is that of the curve's median interval: what a compilation takes at the
start is a column of its own. Without --only, every family, precision and way.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import multiprocessing
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from device import half_type, machine

from scaling_laws.study.records import read_record, write_atomically
from scaling_laws.training.run import train_trunk
from scaling_laws.training.run_record import versions

FAMILIES = {"transformer": "transformer.Transformer", "lstm": "lstm.LSTM"}
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")
WITHOUT_BFLOAT16 = ("32-true", "16-mixed")
WAYS = {"eager": False, "compiled": True}
TARGET = Path(__file__).parents[1] / "results" / "bench" / "precision.json"


def plan(
    options: argparse.Namespace, folder: Path, family: str, precision: str, compiled: bool
) -> dict[str, Any]:
    """A run's configuration, at the quick study's batch and schedule."""
    shape = {"n_layer": options.n_layer, "d_model": options.d_model}
    if family == "transformer":
        shape["n_heads"] = max(1, options.d_model // 32)
    return {
        "seed_everything": 1,
        "model": {
            "network": {"class_path": f"scaling_laws.models.{FAMILIES[family]}", "init_args": shape},
            "learning_rate": 6e-3,
            "schedule": {"warmup_steps": 20, "cooldown_share": 0.2},
            "compile": compiled,
        },
        "data": {
            "corpus": str(options.corpus),
            "n_ctx": options.n_ctx,
            "batch_sequences": options.batch,
            "seed": 1,
        },
        "trainer": {
            "accelerator": "cuda" if torch.cuda.is_available() else "cpu",
            "devices": 1,
            "precision": precision,
            "max_steps": options.steps,
            "gradient_clip_val": 1.0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(folder),
        },
        "recorder": {"run_id": "benchmark", "log_every_n_steps": 10, "evaluations_per_doubling": 0},
        "noise_scale": {"every_n_steps": 0},
    }


def measured(folder: Path) -> dict[str, Any]:
    """One row of the table, from what the run has left."""
    record = read_record(folder / "record.json")
    with open(folder / "curve.csv", encoding="utf-8") as file:
        intervals = [float(row["tokens_per_s"]) for row in csv.DictReader(file)]
    usual = statistics.median(intervals[1:])
    interval_tokens = 10 * record.batch_tokens
    return {
        "family": record.family,
        "precision": record.optimizer["precision"],
        "compiled": record.optimizer["compiled"],
        "tokens_per_s": round(usual),
        "start_s": round(interval_tokens / intervals[0] - interval_tokens / usual, 1),
        "peak_memory_MB": round(record.peak_memory_bytes / 1e6),
        "test_loss_nats": round(record.losses["test"]["loss_nats"], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, default=Path("data/embedded"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--n-layer", type=int, default=2)
    parser.add_argument("--d-model", type=int, default=64)
    parser.add_argument("--n-ctx", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16, help="windows a step")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="FAMILY:PRECISION:WAY",
        help="transformer:bf16-mixed:compiled ...; half: the precision in two bytes that the device has",
    )
    parser.add_argument("--target", type=Path, default=TARGET, help="default: %(default)s")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    has_bfloat16 = half_type(device) == torch.bfloat16
    precisions = PRECISIONS if has_bfloat16 else WITHOUT_BFLOAT16
    cells: list[tuple[str, ...]] = list(itertools.product(FAMILIES, precisions, WAYS))
    if options.only:
        half = "bf16-mixed" if has_bfloat16 else "16-mixed"
        cells = [tuple(each.replace(":half:", f":{half}:").split(":")) for each in options.only]
    rows: list[dict[str, Any]] = []
    chosen = {name: value for name, value in vars(options).items() if name not in ("only", "target")}
    result = {
        "command": "python benchmarks/precision.py",
        **machine(device),
        "options": {**chosen, "corpus": options.corpus.name},
        "versions": versions(),
        "rows": rows,
    }
    # Spawned, not forked: CUDA does not survive a fork, and the peak of a process's memory is its own.
    context = multiprocessing.get_context("spawn")
    for family, precision, way in cells:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "run"
            run = context.Process(
                target=train_trunk, args=([plan(options, folder, family, precision, WAYS[way])],)
            )
            run.start()
            run.join()
            if run.exitcode == 0:
                rows.append(measured(folder))
            else:
                failed = f"ended with exit status {run.exitcode}"
                asked = {"family": family, "precision": precision, "compiled": WAYS[way]}
                rows.append({**asked, "failed": failed})
        print(" ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
        write_atomically(options.target, json.dumps(result, indent=1) + "\n")


def table(result: Mapping[str, Any]) -> str:
    """Thousand tokens per second, memory and loss of every row."""
    head = ("family", "precision", "", "thousand tokens/s", "start, s", "memory, MB", "test loss, nats")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in result["rows"]:
        way = "compiled" if row["compiled"] else "eager"
        cells: tuple[str, ...] = (row.get("failed", ""), "", "", "")
        if "failed" not in row:
            numbers = (row["start_s"], row["peak_memory_MB"], row["test_loss_nats"])
            cells = (f"{row['tokens_per_s'] / 1e3:.1f}", *map(str, numbers))
        lines.append("| " + " | ".join([row["family"], row["precision"], way, *cells]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
