"""A training step in our Trainer against a plain loop, on one core and at the quick study's shapes.

    python benchmarks/steps.py                  -> results/bench/steps.json  (about ten minutes)
    python benchmarks/steps.py --no-compiled    without the compiled baselines: a third of the time
    python benchmarks/steps.py --losses         -> results/bench/losses.json: what bf16-mixed does to the loss

Ours is a run as a sweep trains it, with every callback and logger on (held-out evaluations left out: they
are counted by benchmarks/callbacks.py). The baselines are `plain_gpt.py`: a nanoGPT-style loop, or one around
`nn.LSTM`, in float32 and under autocast, eager and compiled; and our own network and loss in a bare loop,
which tells what Lightning and the callbacks cost. All train in one process, in turns of `STEPS` steps: a
callback, the last of the run's, lets the others take their turns, so whatever the machine does meanwhile
falls on all. The baselines profit from `reuse_freed_memory`, too. Times are seconds of this process (one
thread); medians over the turns, with their quartiles.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured_run import BATCH_SEQUENCES, N_CTX, measured_run
from plain_gpt import PlainGPT, PlainLSTM, plain_steps
from torch import nn
from turns import Steps, Turns, quartiles_tokens_per_s

from scaling_laws.data.batches import training_batch
from scaling_laws.data.corpus_file import load_config
from scaling_laws.data.tokens import TokenCorpus, build_corpus
from scaling_laws.models.families import family_named
from scaling_laws.models.optimizer_parts import make_optimizer
from scaling_laws.models.own import load_class
from scaling_laws.study.conventions import parameter_counts
from scaling_laws.study.records import read_record, write_atomically
from scaling_laws.training.gradients import clip_gradients, gradient_norm
from scaling_laws.training.loss import mean_loss
from scaling_laws.training.run import reuse_freed_memory, train_trunk, use_one_thread
from scaling_laws.training.verbs import training_cli

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "results/bench/steps.json"
STEPS, TURNS, WARM_UP_TURNS = 8, 9, 2
Shape = dict[str, int]
TRANSFORMERS: list[Shape] = [
    {"n_layer": 2, "d_model": 16, "n_heads": 2},
    {"n_layer": 2, "d_model": 36, "n_heads": 3},
    {"n_layer": 2, "d_model": 64, "n_heads": 4},
    {"n_layer": 3, "d_model": 96, "n_heads": 4},
    {"n_layer": 4, "d_model": 128, "n_heads": 4},
]
LOSS_STEPS, LOSS_SEEDS = 500, (1, 2, 3)
LOSS_RUNS: list[tuple[str, Shape, float]] = [
    ("transformer", {"n_layer": 2, "d_model": 36, "n_heads": 3}, 9e-3),
    ("lstm", {"n_layer": 2, "d_model": 40}, 2e-2),
]
LSTMS: list[Shape] = [{"n_layer": 2, "d_model": d_model} for d_model in (20, 40, 80, 156)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--no-compiled", action="store_true", help="leave the compiled baselines out")
    parser.add_argument("--corpus", default="embedded", help="of configs/data/ (default: %(default)s)")
    parser.add_argument("--target", type=Path, default=TARGET, help="default: %(default)s")
    parser.add_argument("--losses", action="store_true", help="compare losses instead of speeds")
    options = parser.parse_args()
    use_one_thread()
    reuse_freed_memory()
    if options.losses:
        _compare_losses(options.corpus)
        return
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        corpus = build_corpus(
            load_config(ROOT / f"configs/data/{options.corpus}.yaml"), ROOT / "data" / options.corpus
        )
        for family, shapes in (("transformer", TRANSFORMERS), ("lstm", LSTMS)):
            for shape in shapes:
                row = _row(corpus, Path(temporary), family, shape, compiled=not options.no_compiled)
                rows.append(row)
                print(_line(row), flush=True)
    content = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "n_vocab": corpus.n_vocab,
        "n_ctx": N_CTX,
        "batch_sequences": BATCH_SEQUENCES,
        "rows": rows,
    }
    write_atomically(options.target, json.dumps(content, indent=1) + "\n")
    write_atomically(options.target.with_suffix(".md"), _markdown(rows))


def _markdown(rows: list[dict[str, Any]]) -> str:
    """The table of docs/performance.md: thousand tokens per second, and ratios."""
    plain = [name for name in rows[0]["tokens_per_s"] if name.startswith("plain")]
    ours = ["trainer fp32", "trainer bf16"]
    head = ["network", "N", *plain, *ours, "× eager fp32", "× its best", "of a bare loop, fp32", "bf16"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        speeds = [f"{row['tokens_per_s'][name] / 1e3:.1f}" for name in (*plain, *ours)]
        ratios = [
            f"{row[name]:.2f}"
            for name in ("against_eager_fp32", "against_best_plain", "of_bare_fp32", "of_bare_bf16")
        ]
        name = f"{row['family']} {row['n_layer']} × {row['d_model']}"
        lines.append("| " + " | ".join([name, f"{row['N']:,}", *speeds, *ratios]) + " |")
    return "\n".join(lines) + "\n"


def _row(corpus: TokenCorpus, folder: Path, family: str, shape: Shape, *, compiled: bool) -> dict[str, Any]:
    """Tokens a second of everybody, one shape."""
    tokens = corpus.tokens("train")
    others = plain_contestants(family, shape, corpus.n_vocab, tokens, compiled=compiled)
    seconds: dict[str, list[float]] = {name: [] for name in others}
    for precision, short in (("32-true", "fp32"), ("bf16-mixed", "bf16")):
        turns = Turns(
            f"trainer {short}",
            others | {f"bare {short}": bare_steps(corpus, family, shape, precision, tokens)},
            n_steps=STEPS,
            warm_up_turns=WARM_UP_TURNS,
            now_s=time.process_time,
        )
        folder_name = f"{family}-{shape['n_layer']}x{shape['d_model']}-{short}"
        cli = training_cli(
            measured_run(
                corpus,
                folder / folder_name,
                family_named(family).network_path,
                shape,
                steps=STEPS * (TURNS + WARM_UP_TURNS),
                precision=precision,
            )
        )
        cli.trainer.callbacks.append(turns)  # type: ignore[attr-defined]
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
        for name, found in turns.seconds.items():
            seconds.setdefault(name, []).extend(found)
        network: Any = cli.model.network
    tokens_a_turn = STEPS * N_CTX * BATCH_SEQUENCES
    plain = [name for name in others if name != "plain eager fp32"]
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    best_plain = min(plain, key=lambda name: medians[name])
    best_ours = min(("trainer fp32", "trainer bf16"), key=lambda name: medians[name])
    return {
        "family": family,
        **shape,
        "N": parameter_counts(network.parameters_by_group(), network.flops_per_token())["N"],
        "tokens_per_s": {name: tokens_a_turn / median for name, median in medians.items()},
        "quartiles_tokens_per_s": quartiles_tokens_per_s(tokens_a_turn, seconds),
        "against_eager_fp32": medians["plain eager fp32"] / medians[best_ours],
        "best_plain": best_plain,
        "against_best_plain": min(medians["plain eager fp32"], medians[best_plain]) / medians[best_ours],
        "best_ours": best_ours,
        "of_bare_fp32": medians["bare fp32"] / medians["trainer fp32"],
        "of_bare_bf16": medians["bare bf16"] / medians["trainer bf16"],
    }


def _compare_losses(name: str) -> None:
    """Validation losses after `LOSS_STEPS` steps in both precisions, seed by seed."""
    corpus = build_corpus(load_config(ROOT / f"configs/data/{name}.yaml"), ROOT / "data" / name)
    rows = []
    for family, shape, learning_rate in LOSS_RUNS:
        for seed in LOSS_SEEDS:
            losses = {}
            for precision in ("32-true", "bf16-mixed"):
                with tempfile.TemporaryDirectory() as temporary:
                    config = measured_run(
                        corpus,
                        Path(temporary) / "run",
                        family_named(family).network_path,
                        shape,
                        steps=LOSS_STEPS - 1,
                        precision=precision,
                    )
                    config["seed_everything"] = config["data"]["seed"] = seed
                    config["model"] |= {
                        "learning_rate": learning_rate,
                        "schedule": {"warmup_steps": 40, "cooldown_share": 0.2},
                    }
                    config["recorder"] = {"run_id": "losses"}
                    train_trunk([config])
                    record = read_record(Path(temporary) / "run" / "record.json")
                    losses[precision] = record.losses["val"]["loss_nats"]
            difference = losses["bf16-mixed"] - losses["32-true"]
            rows.append({"family": family, **shape, "seed": seed, **losses, "difference": difference})
            print(
                f"{family} seed {seed}: {losses['32-true']:.4f} nats, bf16-mixed {difference:+.4f}",
                flush=True,
            )
    write_atomically(TARGET.with_name("losses.json"), json.dumps({"rows": rows}, indent=1) + "\n")


def _line(row: Mapping[str, Any]) -> str:
    speeds = "  ".join(f"{name} {value / 1e3:.1f}k" for name, value in row["tokens_per_s"].items())
    return (
        f"{row['family']} {row['n_layer']}x{row['d_model']}  N {row['N']:,}\n  tokens/s: {speeds}\n"
        f"  ours ({row['best_ours']}): {row['against_eager_fp32']:.2f} x eager fp32, "
        f"{row['against_best_plain']:.2f} x its best setting; Trainer {row['of_bare_fp32']:.3f} (fp32), "
        f"{row['of_bare_bf16']:.3f} (bf16) of a bare loop"
    )


def plain_contestants(
    family: str, shape: Shape, n_vocab: int, tokens: np.ndarray, *, compiled: bool
) -> dict[str, Steps]:
    found = {}
    # One code object serves all shapes, and after eight versions of it torch.compile goes back to eager.
    torch._dynamo.reset()
    for way in ("eager", "compiled") if compiled else ("eager",):
        for short, autocast in (("fp32", None), ("bf16", torch.bfloat16)):
            network: nn.Module
            if family == "transformer":
                network = PlainGPT(n_vocab, N_CTX, **shape)
            else:
                network = PlainLSTM(n_vocab, **shape)
            found[f"plain {way} {short}"] = plain_steps(
                network,
                tokens,
                n_ctx=N_CTX,
                batch_sequences=BATCH_SEQUENCES,
                autocast=autocast,
                compiled=way == "compiled",
            )
    return found


def bare_steps(corpus: TokenCorpus, family: str, shape: Shape, precision: str, tokens: np.ndarray) -> Steps:
    """Our network, loss and optimiser in a loop without a trainer; the batches are those of a run."""
    network = load_class(family_named(family).network_path)(n_vocab=corpus.n_vocab, n_ctx=N_CTX, **shape)
    optimizer = make_optimizer("adamw", network, learning_rate=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    weights = list(network.parameters())
    taken = 0

    def steps(n_steps: int) -> float:
        nonlocal taken
        for _ in range(n_steps):
            windows = training_batch(
                tokens, seed=1, batch=taken, batch_sequences=BATCH_SEQUENCES, n_ctx=N_CTX
            )
            taken += 1
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = mean_loss(network, torch.from_numpy(windows))
            loss.backward()
            clip_gradients(weights, gradient_norm(weights), 1.0, "norm")
            optimizer.step()
        return float(loss.detach())

    return steps


if __name__ == "__main__":
    main()
