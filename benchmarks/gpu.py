"""What one GPU does: tokens/s and model-FLOPs utilisation by size, beside others; runs that share it.

    python benchmarks/gpu.py                  -> results/bench/gpu.json, gpu.md  (about half an hour)
    python benchmarks/gpu.py --size quick     fewer networks and turns: three minutes (on_a_gpu.sh)
    python benchmarks/gpu.py --device cpu     the same at toy sizes: proves the path, says nothing of speed

Ours is a run as a sweep trains it (bf16-mixed where the device has bfloat16, every callback and logger on),
eager and compiled. Beside it, in turns of the same process: the nanoGPT-style loop of `plain_gpt.py` under
autocast, eager and compiled; and, in the whole benchmark, where they are installed, Hugging Face's GPT-2
(`pip install -e .[benchmarks]`) and LitGPT's network in that same loop, compiled. (LitGPT asks for an older
jsonargparse than this project: its network alone wants `pip install --no-deps litgpt lightning psutil`.)
LSTMs are compared with `nn.LSTM`, which is cuDNN's. Utilisation is exact FLOPs (backward = 2 x forward) over
the matrix peak measured in the same process. `sharing` trains several runs at once, one process each, and
asks nvidia-smi how busy the GPU is. Times are wall seconds, with the device waited for. Files are written
after each network; one that fails is a row with its error.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from device import compilation_error, half_type, machine, now_s
from measured_run import measured_run
from plain_gpt import PlainGPT, PlainLSTM, plain_steps
from torch import Tensor, nn
from turns import Steps, Turns, quartiles_tokens_per_s

from scaling_laws.data.corpus_file import load_config
from scaling_laws.data.tokens import TokenCorpus, build_corpus
from scaling_laws.models.families import family_named
from scaling_laws.study.conventions import parameter_counts
from scaling_laws.study.records import write_atomically
from scaling_laws.training.device_peak import matrix_peak_flops, utilisation
from scaling_laws.training.verbs import training_cli

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "results/bench/gpu.json"
WARM_UP_TURNS = 2
OURS = ("ours eager", "ours compiled")
WARM, SPEED = "training has warmed up", "training at tokens/s:"
"""What a training that shares the device says."""
LARGE_BYTES = 80e9
"""Memory of a card that has the batches as they are below; a smaller one has smaller batches."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and its batch; `steps` make a turn, and `compiled` adds the compiled contestants."""

    family: str
    shape: dict[str, int]
    n_ctx: int
    batch_sequences: int
    steps: int
    compiled: bool = True

    @property
    def tokens_a_turn(self) -> int:
        return self.steps * self.n_ctx * self.batch_sequences


def transformer(n_layer: int, d_model: int, n_heads: int, n_ctx: int, batch: int, steps: int = 10) -> Case:
    shape = {"n_layer": n_layer, "d_model": d_model, "n_heads": n_heads}
    return Case("transformer", shape, n_ctx, batch, steps)


def lstm(n_layer: int, d_model: int, n_ctx: int, batch: int, steps: int = 10) -> Case:
    return Case("lstm", {"n_layer": n_layer, "d_model": d_model}, n_ctx, batch, steps)


def eager(case: Case) -> Case:
    return dataclasses.replace(case, compiled=False)


@dataclasses.dataclass(frozen=True)
class Bench:
    """What is measured.

    Attributes:
        n_vocab: of the corpus; GPT-2's on a GPU.
        train_bytes: of the corpus' text.
        turns: of every contestant, after those that warm up.
        libraries: whether Hugging Face's and LitGPT's networks take part.
        cases: networks trained alone.
        shared: networks of which `n_processes` are trained at a time, `shared_s` seconds each.
    """

    n_vocab: int
    train_bytes: int
    turns: int
    libraries: bool
    cases: tuple[Case, ...]
    shared: tuple[Case, ...]
    n_processes: tuple[int, ...]
    shared_s: float


GPT2 = transformer(12, 768, 12, 1024, 32, steps=5)
"""The shape of 124 M parameters."""
BENCHES = {
    "whole": Bench(
        n_vocab=50257,
        train_bytes=32_000_000,
        turns=7,
        libraries=True,
        cases=(
            GPT2,
            transformer(4, 128, 4, 1024, 16),
            transformer(6, 256, 4, 1024, 16),
            transformer(8, 512, 8, 1024, 16),
            transformer(24, 1024, 16, 1024, 16),
            lstm(2, 512, 1024, 16),
            lstm(2, 1024, 1024, 16),
        ),
        shared=(
            transformer(2, 64, 4, 256, 64),
            transformer(4, 256, 4, 256, 64),
            transformer(6, 384, 6, 256, 64),
        ),
        n_processes=(1, 2, 4, 8),
        shared_s=20.0,
    ),
    "quick": Bench(
        n_vocab=50257,
        train_bytes=16_000_000,
        turns=4,
        libraries=False,
        cases=(
            GPT2,
            eager(transformer(24, 1024, 16, 1024, 16, steps=4)),
            eager(transformer(8, 512, 8, 1024, 32, steps=5)),
            eager(transformer(6, 256, 4, 1024, 32, steps=5)),
            eager(transformer(4, 128, 4, 1024, 32, steps=5)),
            eager(lstm(2, 512, 256, 64, steps=5)),
        ),
        shared=(transformer(2, 64, 4, 256, 32), transformer(6, 384, 6, 256, 32)),
        n_processes=(1, 4, 12),
        shared_s=4.0,
    ),
    "toy": Bench(
        n_vocab=512,
        train_bytes=400_000,
        turns=2,
        libraries=False,
        cases=(
            transformer(2, 16, 2, 32, 4, steps=2),
            eager(lstm(2, 16, 32, 4, steps=2)),
        ),
        shared=(transformer(2, 16, 2, 32, 4, steps=2),),
        n_processes=(1, 2),
        shared_s=1.0,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--size", choices=sorted(BENCHES), help="default: whole on a GPU, toy on a CPU")
    parser.add_argument("--part", choices=("alone", "sharing"), help="default: both")
    parser.add_argument("--target", type=Path, default=TARGET, help="default: %(default)s")
    parser.add_argument("--corpus-only", action="store_true", help="build the corpus and end")
    parser.add_argument("--one-of", type=int, metavar="CASE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("error: no CUDA GPU is to be seen; --device cpu proves the path at toy sizes")
    size = options.size or ("whole" if options.device == "cuda" else "toy")
    bench = _fitting(BENCHES[size], options.device)
    corpus = _corpus(bench)
    if options.corpus_only:
        return
    if options.one_of is not None:
        _share(bench.shared[options.one_of], corpus, options.device)
        return
    rows: list[dict[str, Any]] = []
    sharing: list[dict[str, Any]] = []
    content = {
        **machine(options.device),
        "command": " ".join(["python", "benchmarks/gpu.py", *sys.argv[1:]]),
        "n_vocab": corpus.n_vocab,
        "peak_flops_per_s": _peak(options.device),
        "not_compiled": compilation_error(options.device),
        "rows": rows,
        "sharing": sharing,
    }
    if options.part != "sharing":
        with tempfile.TemporaryDirectory() as temporary:
            for number, case in enumerate(bench.cases):
                place = Path(temporary) / str(number)
                rows.append(_or_failed(case, partial(_alone, bench, case, corpus, place, options.device)))
                print(_line(rows[-1]), flush=True)
                _write(content, options)
    if options.part != "alone":
        for number, case in enumerate(bench.shared):
            for n_processes in bench.n_processes:
                share = partial(_shared, bench, case, number, n_processes, options.device)
                sharing.append(_or_failed(case, share) | {"n_processes": n_processes})
                print(json.dumps(sharing[-1]), flush=True)
                _write(content, options)


def _fitting(bench: Bench, device: str) -> Bench:
    """With batches that this card's memory may hold."""
    if device != "cuda":
        return bench
    share = min(1.0, torch.cuda.get_device_properties(0).total_memory / LARGE_BYTES)

    def smaller(case: Case) -> Case:
        return dataclasses.replace(case, batch_sequences=max(1, int(share * case.batch_sequences)))

    return dataclasses.replace(bench, cases=tuple(map(smaller, bench.cases)))


def _or_failed(case: Case, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured, or the case with its error: on another card, others may still run."""
    try:
        return measure()
    except Exception as error:
        traceback.print_exc()
        return {**dataclasses.asdict(case), "failed": f"{type(error).__name__}: {str(error)[:300]}"}


def _write(content: Mapping[str, Any], options: argparse.Namespace) -> None:
    write_atomically(options.target, json.dumps(content, indent=1) + "\n")
    if not options.part:  # the tables of one part go into the documents
        write_atomically(
            options.target.with_suffix(".md"), f"{alone_table(content)}\n{sharing_table(content)}"
        )


def _corpus(bench: Bench) -> TokenCorpus:
    """The embedded corpus in as many tokens as the benchmark wants."""
    name = f"embedded-{bench.n_vocab}-{bench.train_bytes // 1_000_000}"
    config = dataclasses.replace(
        load_config(ROOT / "configs/data/embedded.yaml"),
        name=name,
        n_vocab=bench.n_vocab,
        max_train_bytes=bench.train_bytes,
    )
    return build_corpus(config, ROOT / "data" / name)


def _peak(device: str) -> float:
    return matrix_peak_flops(torch.device(device), half_type(device))


# --- one network alone, in turns with others ------------------------------------------------------


def _alone(bench: Bench, case: Case, corpus: TokenCorpus, folder: Path, device: str) -> dict[str, Any]:
    """Tokens a second and utilisation of everybody."""
    torch._dynamo.reset()
    compiled = case.compiled and not compilation_error(device)
    others = _others(bench, case, corpus, device, compiled=compiled)
    seconds: dict[str, list[float]] = {}
    all_ours = OURS if compiled else OURS[:1]
    n_steps = case.steps * (bench.turns + WARM_UP_TURNS)
    for ours in all_ours:
        place = folder / ours.replace(" ", "-")
        cli = _cli(case, corpus, place, device, n_steps=n_steps, compiled=ours.endswith("compiled"))
        turns = Turns(
            ours,
            others,
            n_steps=case.steps,
            warm_up_turns=WARM_UP_TURNS,
            now_s=partial(now_s, device),
        )
        cli.trainer.callbacks.append(turns)
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
        for name, found in turns.seconds.items():
            seconds.setdefault(name, []).extend(found)
        network: Any = cli.model.network
    per_token = network.flops_per_token()
    seconds = {name: seconds[name] for name in (*all_ours, *others)}
    speeds = {name: case.tokens_a_turn / statistics.median(found) for name, found in seconds.items()}
    return {
        **dataclasses.asdict(case),
        "N": parameter_counts(network.parameters_by_group(), per_token)["N"],
        "tokens_per_s": speeds,
        "quartiles_tokens_per_s": quartiles_tokens_per_s(case.tokens_a_turn, seconds),
        # The exact count of our network; the others of a case have the same products but for LitGPT's
        # rotary positions, which are none.
        "utilisation": {
            name: utilisation(3 * sum(per_token.values()) * speed, _peak(device), 1)
            for name, speed in speeds.items()
        },
    }


def _cli(case: Case, corpus: TokenCorpus, folder: Path, device: str, *, n_steps: int, compiled: bool) -> Any:
    precision = "bf16-mixed" if half_type(device) == torch.bfloat16 else "16-mixed"
    class_path = family_named(case.family).network_path
    config = measured_run(corpus, folder, class_path, case.shape, steps=n_steps, precision=precision)
    config["data"] |= {"n_ctx": case.n_ctx, "batch_sequences": case.batch_sequences}
    config["trainer"]["accelerator"] = device
    config["model"]["compile"] = compiled
    return training_cli(config)


def _others(
    bench: Bench, case: Case, corpus: TokenCorpus, device: str, *, compiled: bool
) -> dict[str, Steps]:
    """The others' steps, by name."""
    n_vocab, shape = corpus.n_vocab, case.shape
    networks: dict[str, tuple[nn.Module, bool]] = {}
    if case.family == "lstm":
        networks["nn.LSTM"] = PlainLSTM(n_vocab, **shape), False
    else:
        networks["nanoGPT-style eager"] = PlainGPT(n_vocab, case.n_ctx, **shape), False
        if compiled:
            networks["nanoGPT-style compiled"] = PlainGPT(n_vocab, case.n_ctx, **shape), True
        if compiled and bench.libraries and importlib.util.find_spec("transformers"):
            networks["Hugging Face GPT-2"] = HuggingFace(n_vocab, case.n_ctx, **shape), True
        if compiled and bench.libraries and importlib.util.find_spec("litgpt"):
            networks["LitGPT"] = _litgpt(n_vocab, case.n_ctx, **shape), True
    return {
        name: plain_steps(
            network,
            corpus.tokens("train"),
            n_ctx=case.n_ctx,
            batch_sequences=case.batch_sequences,
            autocast=half_type(device),
            compiled=in_one,
            device=device,
        )
        for name, (network, in_one) in networks.items()
    }


class HuggingFace(nn.Module):
    """transformers' GPT-2 with torch's attention kernel and without dropout: tokens (B, T) to logits."""

    def __init__(self, n_vocab: int, n_ctx: int, n_layer: int, d_model: int, n_heads: int) -> None:
        from transformers import GPT2Config, GPT2LMHeadModel

        super().__init__()
        config = GPT2Config(
            vocab_size=n_vocab,
            n_positions=n_ctx,
            n_embd=d_model,
            n_layer=n_layer,
            n_head=n_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
            use_cache=False,
            attn_implementation="sdpa",
        )
        self.gpt2 = GPT2LMHeadModel(config)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.gpt2(tokens).logits
        return logits


def _litgpt(n_vocab: int, n_ctx: int, n_layer: int, d_model: int, n_heads: int) -> nn.Module:
    """LitGPT's network with its defaults (GPT-NeoX blocks, rotary positions, a head of its own)."""
    from litgpt import GPT, Config

    config = Config(
        n_layer=n_layer,
        n_head=n_heads,
        n_embd=d_model,
        block_size=n_ctx,
        vocab_size=n_vocab,
        padded_vocab_size=n_vocab,
    )
    network: nn.Module = GPT(config)
    return network


# --- several networks at a time -------------------------------------------------------------------


def _shared(bench: Bench, case: Case, number: int, n_processes: int, device: str) -> dict[str, Any]:
    """Tokens a second of `n_processes` trainings of a case together, and how busy the GPU was."""
    size = next(name for name, each in BENCHES.items() if each.shared is bench.shared)
    command = [sys.executable, __file__, "--device", device, "--size", size, "--one-of", str(number)]
    trainings = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for _ in range(n_processes)
    ]
    try:
        for training in trainings:
            _said(training, WARM)
        for training in trainings:
            _say(training, "go")
        busy = _busy_during(bench.shared_s, device)
        for training in trainings:
            _say(training, "stop")
        tokens_per_s = [float(_said(training, SPEED)) for training in trainings]
        for training in trainings:
            training.communicate()
    finally:
        for training in trainings:
            training.kill()  # no harm to one that has ended
            training.wait()
    return {
        **dataclasses.asdict(case),
        "tokens_per_s": sum(tokens_per_s),
        "gpu_busy": busy,
    }


def _said(training: subprocess.Popen[str], word: str) -> str:
    """What follows the word on the next line that begins with it; libraries may print others."""
    assert training.stdout is not None
    for line in training.stdout:
        if line.startswith(word):
            return line.removeprefix(word)
    raise RuntimeError("a training that shares the device has died; its error is in the log")


def _say(training: subprocess.Popen[str], word: str) -> None:
    assert training.stdin is not None
    training.stdin.write(f"{word}\n")
    training.stdin.flush()


def _busy_during(seconds: float, device: str) -> float | None:
    """Mean of nvidia-smi's share of time in which a kernel ran; None without a GPU."""
    if device != "cuda" or not shutil.which("nvidia-smi"):
        time.sleep(seconds)
        return None
    shares, end_s = [], time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        said = subprocess.run(command, capture_output=True, text=True).stdout.split()
        if said and said[0].isdigit():  # a slice of a GPU says [N/A]
            shares.append(float(said[0]))
        time.sleep(0.5)
    return statistics.mean(shares) / 100 if shares else None


def _share(case: Case, corpus: TokenCorpus, device: str) -> None:
    """One of several trainings: says when it has warmed up, trains from "go" to "stop", says how fast."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        cli = _cli(case, corpus, Path(temporary) / "run", device, n_steps=10**7, compiled=False)
        cli.trainer.callbacks.append(Between(case, device))
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)


class Between(pl.Callback):
    """Times the steps between two words on standard input."""

    def __init__(self, case: Case, device: str) -> None:
        self.case, self.device = case, device
        self._first_step, self._start_s = -1, 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 2 * self.case.steps:
            now_s(self.device)
            print(WARM, flush=True)
            sys.stdin.readline()
            self._first_step, self._start_s = trainer.global_step, time.perf_counter()
        elif self._first_step > 0 and select.select([sys.stdin], [], [], 0)[0]:
            self._first_step, first_step = -1, self._first_step
            elapsed_s = now_s(self.device) - self._start_s
            n_steps = trainer.global_step - first_step
            print(SPEED, n_steps * self.case.n_ctx * self.case.batch_sequences / elapsed_s, flush=True)
            trainer.should_stop = True


# --- what is printed ------------------------------------------------------------------------------


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['family']} {row['shape']['n_layer']} × {row['shape']['d_model']}"


def _line(row: Mapping[str, Any]) -> str:
    if "failed" in row:
        return f"{_name(row)}  failed: {row['failed']}"
    speeds = "  ".join(
        f"{name} {speed / 1e3:.1f}k ({100 * row['utilisation'][name]:.1f} %)"
        for name, speed in row["tokens_per_s"].items()
    )
    return f"{_name(row)}  N {row['N']:,}  {speeds}"


def alone_table(content: Mapping[str, Any]) -> str:
    """Networks alone: thousand tokens per second, utilisation in brackets."""
    lines = [
        f"{content['device']}, torch {content['torch']}, vocabulary {content['n_vocab']:,}, "
        f"matrix peak {content['peak_flops_per_s'] / 1e12:.3g} TFLOP/s in {content['half_type']}. "
        "Thousand tokens per second (model-FLOPs utilisation).",
    ]
    for family in ("transformer", "lstm"):
        rows = [row for row in content["rows"] if row["family"] == family and "failed" not in row]
        names = list(dict.fromkeys(name for row in rows for name in row["tokens_per_s"]))
        if names:
            lines += ["", "| network | N | batch | " + " | ".join(names) + " |"]
            lines += ["|---" * (3 + len(names)) + "|"]
        for row in rows:
            cells = [
                f"{row['tokens_per_s'][name] / 1e3:.1f} ({100 * row['utilisation'][name]:.1f} %)"
                if name in row["tokens_per_s"]
                else ""
                for name in names
            ]
            batch = f"{row['batch_sequences']} × {row['n_ctx']}"
            lines.append("| " + " | ".join([_name(row), f"{row['N']:,}", batch, *cells]) + " |")
    lines += ["", *(_line(row) for row in content["rows"] if "failed" in row)]
    return "\n".join(lines).rstrip() + "\n"


def sharing_table(content: Mapping[str, Any]) -> str:
    """Several at a time."""
    lines = ["| network | runs at a time | thousand tokens/s, together | GPU busy |", "|---|---|---|---|"]
    for row in content["sharing"]:
        busy = f"{100 * row['gpu_busy']:.0f} %" if row.get("gpu_busy") is not None else ""
        speed = f"{row['tokens_per_s'] / 1e3:.1f}" if "failed" not in row else row["failed"]
        lines.append(f"| {_name(row)} | {row['n_processes']} | {speed} | {busy} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
