"""How time and memory grow: with runs planned, rows fitted, tokens on disk, context, and layers.

    python benchmarks/growth.py        -> results/bench/growth.json, growth.png  (two minutes)

Each point is measured in a process of its own: processor seconds of the work alone (the median of a few), and
the process's largest memory. The exponent printed is the slope between the last two points in log-log: what
the growth tends to.

    plans     `plan`: every run of a sweep of so many seeds, as `--dry-run` makes it
    fits      Chinchilla's form, certified, on so many rows
    tokens    batches of 16 x 128 random tokens out of a sparse file of so many
    context   a training step of 2,048 tokens in windows of so many, 2 x 32, bf16-mixed
    layers    a training step of 16 x 128 tokens, so many layers of width 32, bf16-mixed
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "results/bench/growth.json"
POINTS: dict[str, list[int]] = {
    "plans": [10, 100, 1000, 10_000],
    "fits": [10, 100, 1000, 10_000],
    "tokens": [10**6, 10**7, 10**8, 10**9, 10**10],
    "context": [32, 64, 128, 256, 512, 1024, 2048],
    "layers": [1, 2, 4, 8, 16, 32, 64],
}
LABELS = {
    "plans": "runs planned",
    "fits": "rows fitted",
    "tokens": "tokens of the corpus",
    "context": "n_ctx, 2,048 tokens",
    "layers": "layers of width 32",
}
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--point", nargs=2, metavar=("WHAT", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        what, size = options.point
        print(json.dumps(_measured(what, int(size))))
        return
    rows = []
    for what, sizes in POINTS.items():
        for size in sizes:
            command = [sys.executable, __file__, "--point", what, str(size)]
            result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            rows.append({"what": what, "size": size, **json.loads(result.stdout)})
        last = [row for row in rows if row["what"] == what]
        slopes = {key: _slope(last[-2], last[-1], key) for key in ("seconds", "peak_bytes")}
        print(
            f"{what:<8} {last[-1]['seconds']:10.4f} s at {last[-1]['size']:,}; exponents {slopes}", flush=True
        )
    content = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "exponents": {
            what: {
                key: _slope(*[row for row in rows if row["what"] == what][-2:], key)
                for key in ("seconds", "peak_bytes")
            }
            for what in POINTS
        },
        "rows": rows,
    }
    from scaling_laws.study.records import write_atomically

    write_atomically(TARGET, json.dumps(content, indent=1) + "\n")
    _draw(content)


def _slope(before: dict[str, Any], after: dict[str, Any], key: str) -> float:
    return round(math.log(after[key] / before[key]) / math.log(after["size"] / before["size"]), 3)


def _measured(what: str, size: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as temporary:
        work = WORKS[what](size, Path(temporary))
        seconds = []
        for _ in range(REPEATS):
            started = time.process_time()
            work()
            seconds.append(time.process_time() - started)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": statistics.median(seconds), "peak_bytes": peak}


def _plans(size: int, folder: Path) -> Callable[[], object]:
    import yaml

    from scaling_laws.sweeps.plan.experiments import plan
    from scaling_laws.sweeps.plan.reading import load_sweep

    content = yaml.safe_load((ROOT / "configs/sweeps/tiny.yaml").read_text(encoding="utf-8"))
    model = {**content["ladders"][0]["models"][0], "seeds": list(range(size))}
    model["horizons_tokens"] = model["horizons_tokens"][:1]
    content["ladders"] = [{**content["ladders"][0], "models": [model]}]
    (folder / "many.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    sweep = load_sweep(folder / "many.yaml")

    def work() -> None:
        assert len(plan(sweep, logs=folder).runs) == size

    return work


def _fits(size: int, folder: Path) -> Callable[[], object]:
    import numpy as np

    from scaling_laws.laws.fit.fit import fit_law
    from scaling_laws.laws.fit.rows import make_rows
    from scaling_laws.laws.forms.joint import Chinchilla

    random = np.random.default_rng(1)
    N, D = (10 ** random.uniform(low, low + 3, size) for low in (6, 8))
    loss = (1.69 + 406.4 / N**0.34 + 410.7 / D**0.28) * np.exp(random.normal(0, 0.005, size))
    rows = make_rows({"N": N, "D": D}, loss)
    return lambda: fit_law(Chinchilla, rows)


def _tokens(size: int, folder: Path) -> Callable[[], object]:
    from scaling_laws.data.batches import training_batch
    from scaling_laws.data.tokens import TokenCorpus

    with (folder / "train.bin").open("wb") as file:
        file.truncate(2 * size)
    corpus = TokenCorpus(
        folder=folder,
        name="sparse",
        n_vocab=1024,
        manifest_hash="",
        held_out=(),
        manifest={"dtype": "uint16"},
    )
    tokens = corpus.tokens("train")
    taken = 0

    def work() -> None:
        nonlocal taken
        for _ in range(200):
            training_batch(tokens, seed=1, batch=taken, batch_sequences=16, n_ctx=128)
            taken += 1

    return work


def _context(size: int, folder: Path) -> Callable[[], object]:
    return _step(n_layer=2, n_ctx=size, windows=max(1, 2048 // size))


def _layers(size: int, folder: Path) -> Callable[[], object]:
    return _step(n_layer=size, n_ctx=128, windows=16)


def _step(*, n_layer: int, n_ctx: int, windows: int) -> Callable[[], object]:
    import torch

    from scaling_laws.models.optimizer_parts import make_optimizer
    from scaling_laws.models.transformer import Transformer
    from scaling_laws.training.loss import mean_loss
    from scaling_laws.training.run import reuse_freed_memory, use_one_thread

    use_one_thread()
    reuse_freed_memory()
    network = Transformer(n_vocab=1024, n_ctx=n_ctx, n_layer=n_layer, d_model=32, n_heads=2)
    optimizer = make_optimizer("adamw", network, learning_rate=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    window = torch.randint(1024, (windows, n_ctx + 1))

    def work() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = mean_loss(network, window)
        loss.backward()
        optimizer.step()

    for _ in range(3):
        work()
    return work


WORKS: dict[str, Callable[[int, Path], Callable[[], object]]] = {
    "plans": _plans,
    "fits": _fits,
    "tokens": _tokens,
    "context": _context,
    "layers": _layers,
}


def _draw(content: dict[str, Any]) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    from scaling_laws.report.pictures import PNG_DPI, smaller_png
    from scaling_laws.report.style import INK, STYLE, rendered

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 5.4), layout="constrained")
        panels = figure.subplots(2, len(POINTS), sharex="col", sharey="row")
        for column, what in enumerate(POINTS):
            rows = [row for row in content["rows"] if row["what"] == what]
            sizes = [row["size"] for row in rows]
            for axes, key, scale in zip(
                panels[:, column], ("seconds", "peak_bytes"), (1.0, 2.0**-20), strict=True
            ):
                axes.loglog(sizes, [scale * row[key] for row in rows], "o-", color=INK, markersize=4)
                axes.set_title(f"exponent {content['exponents'][what][key]:.2f}", fontsize=9)
            panels[1, column].set_xlabel(LABELS[what])
        panels[0, 0].set_ylabel("processor seconds")
        panels[1, 0].set_ylabel("peak memory, MiB")
    TARGET.with_suffix(".png").write_bytes(smaller_png(rendered(figure, "png", dpi=PNG_DPI)))


if __name__ == "__main__":
    main()
