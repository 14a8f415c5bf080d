"""Where a training step's time goes on one core: shares by kind of operation, from torch's profiler.

    python benchmarks/where_time_goes.py        -> results/bench/where_time_goes.json, .md  (a minute)

Our network, loss and optimiser in bf16-mixed in a bare loop, at the shapes of `steps.py`, and for the LSTMs
the plain loop around `nn.LSTM` under autocast beside them: it is what says why a step is no faster there.
An operation counts once, with its own time; what is left of the clock is Python, autograd's engine and the
profiler itself, which makes small networks look worse than they are. The second table is the limit of the
LSTMs: what the plain step would be over ours if all but the layer and the products, which both have from
oneDNN, cost nothing.
"""

from __future__ import annotations

import json
import platform
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from steps import LSTMS, TRANSFORMERS, Shape, bare_steps, plain_contestants
from torch.profiler import ProfilerActivity, profile
from turns import Steps

from scaling_laws.data.corpus_file import load_config
from scaling_laws.data.tokens import build_corpus
from scaling_laws.study.records import write_atomically
from scaling_laws.training.run import reuse_freed_memory, use_one_thread

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "results/bench/where_time_goes.json"
WARM_UP_STEPS, STEPS, TURNS = 8, 8, 3
WITHIN = {"_MeanLoss": "loss", "Optimizer.step": "optimiser"}
"""Start of the name of an operation -> the kind of all that happens inside it, products aside."""
KINDS = {
    "products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::mkldnn_linear", "mkldnn::_linear"),
    "lstm layers": ("aten::mkldnn_rnn_layer", "aten::_thnn_fused_lstm", "aten::lstm"),
    "softmax": (
        "aten::_softmax",
        "aten::_log_softmax",
        "aten::nll_loss",
        "aten::scaled_dot",
        "aten::_scaled",
    ),
    "norms": ("aten::native_layer_norm",),
    "casts, copies": ("aten::copy_", "aten::_to_copy", "aten::to", "aten::clone", "aten::cat", "aten::fill_"),
    "embedding": ("aten::embedding", "aten::index", "aten::_index"),
}
SHARED = ("products", "lstm layers")
OTHER, OUTSIDE = "other operations", "outside operations"
COLUMNS = (*KINDS, *WITHIN.values(), OTHER, OUTSIDE)


def main() -> None:
    use_one_thread()
    reuse_freed_memory()
    corpus = build_corpus(load_config(ROOT / "configs/data/embedded.yaml"), ROOT / "data/embedded")
    tokens = corpus.tokens("train")
    rows: list[dict[str, Any]] = []
    for family, shapes in (("transformer", TRANSFORMERS), ("lstm", LSTMS)):
        for shape in shapes:
            contestants = {"ours": bare_steps(corpus, family, shape, "bf16-mixed", tokens)}
            if family == "lstm":
                plain = plain_contestants(family, shape, corpus.n_vocab, tokens, compiled=False)
                contestants["plain"] = plain["plain eager bf16"]
            rows += _rows(family, shape, contestants)
    content = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "rows": rows,
    }
    write_atomically(TARGET, json.dumps(content, indent=1) + "\n")
    write_atomically(TARGET.with_suffix(".md"), _markdown(rows))
    print(_markdown(rows))


def _rows(family: str, shape: Shape, contestants: dict[str, Steps]) -> list[dict[str, Any]]:
    """One a contestant; all in turns."""
    seconds: dict[str, Counter[str]] = {whose: Counter() for whose in contestants}
    wall_s: Counter[str] = Counter()
    for steps in contestants.values():
        steps(WARM_UP_STEPS)
    for _ in range(TURNS):
        for whose, steps in contestants.items():
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                start_s = time.perf_counter()
                steps(STEPS)
                wall_s[whose] += time.perf_counter() - start_s
            for event in profiler.events():
                seconds[whose][_kind(event)] += event.self_cpu_time_total / 1e6
    rows = []
    for whose, found in seconds.items():
        found[OUTSIDE] += wall_s[whose] - sum(found.values())
        shares = {kind: found[kind] / wall_s[whose] for kind in COLUMNS}
        step_ms = 1e3 * wall_s[whose] / (TURNS * STEPS)
        rows.append({"family": family, **shape, "whose": whose, "step_ms": step_ms, "shares": shares})
    return rows


def _kind(event: Any) -> str:
    """Of an operation: a product wherever it happens, else what it happens in, else its own kind."""
    name = event.name
    if name.startswith(KINDS["products"]):
        return "products"
    around = event
    while around is not None:
        for start, kind in WITHIN.items():
            if around.name.startswith(start):
                return kind
        around = around.cpu_parent
    return next((kind for kind, starts in KINDS.items() if name.startswith(starts)), OTHER)


def _markdown(rows: list[dict[str, Any]]) -> str:
    lines = ["| network | step, ms | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for row in rows:
        name = f"{row['family']} {row['n_layer']} × {row['d_model']}, {row['whose']}"
        shares = " | ".join(f"{100 * row['shares'][kind]:.0f} %" for kind in COLUMNS)
        lines.append(f"| {name} | {row['step_ms']:.1f} | {shares} |")
    lines += ["", "| network | layer and products, of our step | plain / ours | plain / ours at the limit |"]
    lines += ["|---|---|---|---|"]
    by_name = {(row["n_layer"], row["d_model"], row["whose"]): row for row in rows if row["family"] == "lstm"}
    for (n_layer, d_model, whose), row in by_name.items():
        if whose == "ours":
            plain_ms = by_name[n_layer, d_model, "plain"]["step_ms"]
            shared = sum(row["shares"][kind] for kind in SHARED)
            cells = (f"{100 * shared:.0f} %", f"{plain_ms / row['step_ms']:.2f}")
            limit = plain_ms / (shared * row["step_ms"])
            lines.append(f"| lstm {n_layer} × {d_model} | {' | '.join(cells)} | {limit:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
