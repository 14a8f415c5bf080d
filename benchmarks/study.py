"""A whole study by `scaling-laws sweep` against the same runs one after another, as one would first write it.

    python benchmarks/study.py [--shorter 4]        -> results/bench/study.json

The study is `configs/sweeps/quick.yaml` with its horizons divided by `--shorter`. The other side trains every
run of its plan from the start, in order, in the nanoGPT-style loop of `plain_gpt.py`, in float32, eager, on
as many threads as there are cores, with the same held-out evaluations at the same steps. Ours is run before
and after it, and both times are reported. `start` is a whole run of two steps in a process that has trained
before, on one core: its settings read, network, batches and logger made, its end evaluated and recorded. All
times are wall seconds: this wants a quiet machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "results/bench/study.json"
EVALUATION_SEQUENCES = 32
STARTS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shorter", type=int, default=4, help="divides the horizons (default: %(default)s)")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--start", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start:
        print(json.dumps(_starts()))
        return
    if options.plain:
        print(json.dumps({"wall_s": _train_plainly(options.plain)}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        sweep = Path(temporary) / "shorter.yaml"
        sweep.write_text(yaml.safe_dump(_shorter(options.shorter)), encoding="utf-8")
        first = _ours(sweep, Path(temporary) / "first")
        plain = _plain(sweep)
        second = _ours(sweep, Path(temporary) / "second")
    content = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "shorter": options.shorter,
        "ours": [first, second],
        "plain": plain,
        "start": _child("--start", threads=1),
        "times_faster": [plain["wall_s"] / each["wall_s"] for each in (first, second)],
    }
    from scaling_laws.study.records import write_atomically

    write_atomically(TARGET, json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


def _shorter(factor: int) -> dict[str, Any]:
    sweep: dict[str, Any] = yaml.safe_load((ROOT / "configs/sweeps/quick.yaml").read_text(encoding="utf-8"))
    for ladder in sweep["ladders"]:
        for model in ladder["models"]:
            model["horizons_tokens"] = [tokens // factor for tokens in model["horizons_tokens"]]
    return sweep


def _ours(sweep: Path, logs: Path) -> dict[str, float]:
    """Wall seconds of the whole command, and how busy workers and processors were.

    `workers_busy` is the share of the time between the start of the first and the end of the last training
    that workers had one; `processors_busy` what the kernel says of the whole command.
    """
    started, idle_s = time.perf_counter(), _idle_s()
    command = [sys.executable, "-m", "scaling_laws", "sweep", str(sweep), "--quiet"]
    subprocess.run([*command, "--logs", str(logs)], cwd=ROOT, check=True)
    wall_s, idle_s = time.perf_counter() - started, _idle_s() - idle_s
    n_cores = os.cpu_count() or 1
    with (logs / "quick" / "ledger.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    begins = [datetime.fromisoformat(row["started"]).timestamp() for row in rows]
    ends = [begin + float(row["elapsed_s"]) for begin, row in zip(begins, rows, strict=True)]
    span_s = max(ends) - min(begins)
    return {
        "wall_s": wall_s,
        "trainings": len(rows),
        "first_to_last_s": span_s,
        "workers_busy": sum(float(row["elapsed_s"]) for row in rows) / span_s / n_cores,
        "processors_busy": 1 - idle_s / wall_s / n_cores,
    }


def _idle_s() -> float:
    """Seconds that the processors of this (Linux) machine have been idle, all of them together."""
    idle, waiting = Path("/proc/stat").read_text(encoding="ascii").split()[4:6]
    return (int(idle) + int(waiting)) / os.sysconf("SC_CLK_TCK")


def _plain(sweep: Path) -> dict[str, float]:
    return _child("--plain", str(sweep), threads=os.cpu_count() or 1)


def _child(*arguments: str, threads: int) -> dict[str, float]:
    """In a process of its own, since the number of threads is one of a process."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, *arguments]
    result = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(result.stdout)
    return found


def _starts() -> dict[str, float]:
    from measured_run import measured_run

    from scaling_laws.data.corpus_file import load_config
    from scaling_laws.data.tokens import build_corpus
    from scaling_laws.models.families import family_named
    from scaling_laws.training.run import train_trunk, use_one_thread

    use_one_thread()
    corpus = build_corpus(load_config(ROOT / "configs/data/embedded.yaml"), ROOT / "data/embedded")
    shape = {"n_layer": 2, "d_model": 16, "n_heads": 2}
    seconds = []
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(1 + STARTS):
            config = measured_run(
                corpus,
                Path(temporary) / str(number),
                family_named("transformer").network_path,
                shape,
                steps=1,
            )
            config["recorder"]["run_id"] = str(number)
            started = time.perf_counter()
            train_trunk([config])
            seconds.append(time.perf_counter() - started)
    return {"first_s": seconds[0], "start_s": statistics.median(seconds[1:])}


def _train_plainly(path: Path) -> float:
    import torch
    from plain_gpt import PlainGPT, PlainLSTM, plain_steps
    from torch import nn
    from torch.nn import functional

    from scaling_laws.data.batches import held_out_windows
    from scaling_laws.data.corpus_file import load_config
    from scaling_laws.data.tokens import build_corpus
    from scaling_laws.study.records import MAIN_CORPUS
    from scaling_laws.study.schedule import evaluation_steps
    from scaling_laws.sweeps.plan.experiments import plan
    from scaling_laws.sweeps.plan.reading import load_sweep

    torch.set_num_threads(os.cpu_count() or 1)
    started = time.perf_counter()
    sweep = load_sweep(path)
    planned = plan(sweep)
    corpus = build_corpus(load_config(Path(sweep.corpus)), planned.corpus_folder)
    tokens = corpus.tokens("train")

    @torch.no_grad()
    def evaluate(network: nn.Module, *, final: bool) -> list[float]:
        """What the recorder measures: the test text on the way, and every corpus at the end."""
        losses = []
        for name in corpus.held_out if final else (MAIN_CORPUS,):
            n_windows = sweep.evaluation_windows
            if final:
                wanted = sweep.final_windows if name == MAIN_CORPUS else sweep.other_windows
                assert wanted != "all"
                n_windows = wanted
            windows, _ = held_out_windows(
                corpus.tokens(name), corpus.documents(name), n_windows=n_windows, n_ctx=sweep.n_ctx
            )
            total = 0.0
            for some in torch.from_numpy(windows).split(EVALUATION_SEQUENCES):
                logits = network(some[:, :-1]).flatten(0, 1)
                total += float(functional.cross_entropy(logits, some[:, 1:].flatten(), reduction="sum"))
            losses.append(total / windows[:, 1:].size)
        return losses

    for run in planned.runs:
        shape = dict(run.config["model"]["network"]["init_args"])
        network: nn.Module
        if run.family == "transformer":
            network = PlainGPT(corpus.n_vocab, sweep.n_ctx, **shape)
        else:
            network = PlainLSTM(corpus.n_vocab, **shape)
        steps = plain_steps(
            network, tokens, n_ctx=sweep.n_ctx, batch_sequences=sweep.batch_sequences, autocast=None
        )
        taken = 0
        for step in sorted(evaluation_steps(run.batch_tokens, run.steps, sweep.evaluations_per_doubling)):
            steps(step - taken)
            taken = step
            evaluate(network, final=step == run.steps)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
