"""What one GPU does: tokens a second and model-FLOPs utilisation by size, beside others; runs that share it.

    python benchmarks/gpu.py                  -> results/bench/gpu.json, gpu.md  (about half an hour)
    python benchmarks/gpu.py --device cpu     the same at toy sizes: proves the path, says nothing of speed

Ours is a run as a sweep trains it (bf16-mixed, every callback and logger on), eager and compiled. Beside it,
in turns of the same process: the nanoGPT-style loop of `plain_gpt.py` under autocast, eager and compiled;
and, where they are installed, Hugging Face's GPT-2 (`pip install -e .[benchmarks]`) and LitGPT's network in
that same loop, compiled. (LitGPT asks for an older jsonargparse than this project: its network alone wants
`pip install --no-deps litgpt lightning psutil`.) LSTMs are compared with `nn.LSTM`, which is cuDNN's.
Utilisation is exact FLOPs (backward = 2 x forward) over the bfloat16 matrix peak measured in the same
process. `sharing` trains several runs at once, one process each, and asks nvidia-smi how busy the GPU is.
Times are wall seconds, with the device waited for.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from measured_run import measured_run
from plain_gpt import PlainGPT, PlainLSTM, plain_steps
from torch import Tensor, nn
from turns import Steps, Turns, quartiles_tokens_per_s

from scaling_laws.data.corpus_file import load_config
from scaling_laws.data.tokens import TokenCorpus, build_corpus
from scaling_laws.study.conventions import parameter_counts
from scaling_laws.study.records import write_atomically
from scaling_laws.sweeps.plan.networks import CLASS_PATHS
from scaling_laws.training.device_peak import matrix_peak_flops, utilisation
from scaling_laws.training.verbs import training_cli

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "results/bench/gpu.json"
TURNS, WARM_UP_TURNS = 7, 2
OURS = ("ours eager", "ours compiled")


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and its batch; `steps` make a turn."""

    family: str
    shape: dict[str, int]
    n_ctx: int
    batch_sequences: int
    steps: int

    @property
    def tokens_a_turn(self) -> int:
        return self.steps * self.n_ctx * self.batch_sequences


def transformer(n_layer: int, d_model: int, n_heads: int, n_ctx: int, batch: int, steps: int = 10) -> Case:
    shape = {"n_layer": n_layer, "d_model": d_model, "n_heads": n_heads}
    return Case("transformer", shape, n_ctx, batch, steps)


def lstm(n_layer: int, d_model: int, n_ctx: int, batch: int, steps: int = 10) -> Case:
    return Case("lstm", {"n_layer": n_layer, "d_model": d_model}, n_ctx, batch, steps)


@dataclasses.dataclass(frozen=True)
class Bench:
    """What is measured on a kind of device.

    Attributes:
        n_vocab: of the corpus; GPT-2's on a GPU.
        cases: networks trained alone.
        shared: networks of which `n_processes` are trained at a time, `shared_s` seconds each.
    """

    n_vocab: int
    cases: tuple[Case, ...]
    shared: tuple[Case, ...]
    n_processes: tuple[int, ...]
    shared_s: float


BENCHES = {
    "cuda": Bench(
        n_vocab=50257,
        cases=(
            transformer(4, 128, 4, 1024, 16),
            transformer(6, 256, 4, 1024, 16),
            transformer(8, 512, 8, 1024, 16),
            transformer(12, 768, 12, 1024, 16),
            transformer(24, 1024, 16, 1024, 8),
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
    "cpu": Bench(
        n_vocab=1024,
        cases=(transformer(2, 16, 2, 32, 4, steps=2), lstm(2, 16, 32, 4, steps=2)),
        shared=(transformer(2, 16, 2, 32, 4, steps=2),),
        n_processes=(1, 2),
        shared_s=2.0,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=sorted(BENCHES), default="cuda")
    parser.add_argument("--target", type=Path, default=TARGET, help="default: %(default)s")
    parser.add_argument("--one-of", type=int, metavar="CASE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("error: no CUDA GPU is to be seen; --device cpu proves the path at toy sizes")
    if options.one_of is not None:
        _share(options.device, options.one_of)
        return
    bench = BENCHES[options.device]
    corpus = _corpus(bench)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for number, case in enumerate(bench.cases):
            rows.append(_alone(case, corpus, Path(temporary) / str(number), options.device))
            print(_line(rows[-1]), flush=True)
    sharing = []
    for number, case in enumerate(bench.shared):
        for n_processes in bench.n_processes:
            sharing.append(_shared(case, number, n_processes, bench.shared_s, options.device))
            print(json.dumps(sharing[-1]), flush=True)
    content = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "n_vocab": corpus.n_vocab,
        "peak_flops_per_s": _peak(options.device),
        "rows": rows,
        "sharing": sharing,
    }
    write_atomically(options.target, json.dumps(content, indent=1) + "\n")
    write_atomically(options.target.with_suffix(".md"), _markdown(content))


def _corpus(bench: Bench) -> TokenCorpus:
    """The embedded corpus in as many tokens as the benchmark wants."""
    name = f"embedded-{bench.n_vocab}"
    config = load_config(ROOT / "configs/data/embedded.yaml")
    return build_corpus(dataclasses.replace(config, name=name, n_vocab=bench.n_vocab), ROOT / "data" / name)


def _peak(device: str) -> float:
    return matrix_peak_flops(torch.device(device), torch.bfloat16)


# --- one network alone, in turns with others ------------------------------------------------------


def _alone(case: Case, corpus: TokenCorpus, folder: Path, device: str) -> dict[str, Any]:
    """Tokens a second and utilisation of everybody."""
    torch._dynamo.reset()
    others = _others(case, corpus, device)
    seconds: dict[str, list[float]] = {}
    for ours in OURS:
        cli = _cli(case, corpus, folder / ours.replace(" ", "-"), device, compiled=ours.endswith("compiled"))
        turns = Turns(
            ours,
            others,
            n_steps=case.steps,
            warm_up_turns=WARM_UP_TURNS,
            now_s=partial(_now_s, device),
        )
        cli.trainer.callbacks.append(turns)  # type: ignore[attr-defined]
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
        for name, found in turns.seconds.items():
            seconds.setdefault(name, []).extend(found)
        network: Any = cli.model.network
    per_token = network.flops_per_token()
    seconds = {name: seconds[name] for name in (*OURS, *others)}
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


def _cli(case: Case, corpus: TokenCorpus, folder: Path, device: str, *, compiled: bool) -> Any:
    steps = case.steps * (TURNS + WARM_UP_TURNS)
    config = measured_run(
        corpus, folder, CLASS_PATHS[case.family], case.shape, steps=steps, precision="bf16-mixed"
    )
    config["data"] |= {"n_ctx": case.n_ctx, "batch_sequences": case.batch_sequences}
    config["trainer"]["accelerator"] = device
    config["model"]["compile"] = compiled
    return training_cli(config)


def _others(case: Case, corpus: TokenCorpus, device: str) -> dict[str, Steps]:
    """The others' steps, by name."""
    n_vocab, shape = corpus.n_vocab, case.shape
    networks: dict[str, tuple[nn.Module, bool]] = {}
    if case.family == "lstm":
        networks["nn.LSTM"] = PlainLSTM(n_vocab, **shape), False
    else:
        networks["nanoGPT-style eager"] = PlainGPT(n_vocab, case.n_ctx, **shape), False
        networks["nanoGPT-style compiled"] = PlainGPT(n_vocab, case.n_ctx, **shape), True
        if importlib.util.find_spec("transformers"):
            networks["Hugging Face GPT-2"] = HuggingFace(n_vocab, case.n_ctx, **shape), True
        if importlib.util.find_spec("litgpt"):
            networks["LitGPT"] = _litgpt(n_vocab, case.n_ctx, **shape), True
    return {
        name: plain_steps(
            network,
            corpus.tokens("train"),
            n_ctx=case.n_ctx,
            batch_sequences=case.batch_sequences,
            autocast=True,
            compiled=compiled,
            device=device,
        )
        for name, (network, compiled) in networks.items()
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


def _now_s(device: str) -> float:
    """Once the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


# --- several networks at a time -------------------------------------------------------------------


def _shared(case: Case, number: int, n_processes: int, seconds: float, device: str) -> dict[str, Any]:
    """Tokens a second of `n_processes` trainings of a case together, and how busy the GPU was."""
    command = [sys.executable, __file__, "--device", device, "--one-of", str(number)]
    trainings = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for _ in range(n_processes)
    ]
    for training in trainings:
        _said(training)  # it has warmed up
    for training in trainings:
        _say(training, "go")
    busy = _busy_during(seconds, device)
    for training in trainings:
        _say(training, "stop")
    tokens_per_s = [float(_said(training)) for training in trainings]
    for training in trainings:
        training.wait()
    return {
        **dataclasses.asdict(case),
        "n_processes": n_processes,
        "tokens_per_s": sum(tokens_per_s),
        "gpu_busy": busy,
    }


def _said(training: subprocess.Popen[str]) -> str:
    assert training.stdout is not None
    line = training.stdout.readline()
    if not line:
        raise SystemExit("error: a training that shares the device has died; run its --one-of by hand")
    return line


def _say(training: subprocess.Popen[str], word: str) -> None:
    assert training.stdin is not None
    training.stdin.write(f"{word}\n")
    training.stdin.flush()


def _busy_during(seconds: float, device: str) -> float | None:
    """Mean of nvidia-smi's share of time in which a kernel ran; None without a GPU."""
    if device != "cuda":
        time.sleep(seconds)
        return None
    shares, end_s = [], time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        shares.append(float(subprocess.check_output(command, text=True).split()[0]))
        time.sleep(0.5)
    return statistics.mean(shares) / 100


def _share(device: str, number: int) -> None:
    """One of several trainings: says when it has warmed up, trains from "go" to "stop", says how fast."""
    bench = BENCHES[device]
    case = bench.shared[number]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        cli = _cli(
            dataclasses.replace(case, steps=10**6),
            _corpus(bench),
            Path(temporary) / "run",
            device,
            compiled=False,
        )
        cli.trainer.callbacks.append(Between(case, device))
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)


class Between(pl.Callback):
    """Times the steps between two words on standard input."""

    def __init__(self, case: Case, device: str) -> None:
        self.case, self.device = case, device
        self._first_step, self._start_s = -1, 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 2 * self.case.steps:
            _now_s(self.device)
            print("warm", flush=True)
            sys.stdin.readline()
            self._first_step, self._start_s = trainer.global_step, time.perf_counter()
        elif self._first_step > 0 and select.select([sys.stdin], [], [], 0)[0]:
            self._first_step, first_step = -1, self._first_step
            elapsed_s = _now_s(self.device) - self._start_s
            n_steps = trainer.global_step - first_step
            print(n_steps * self.case.n_ctx * self.case.batch_sequences / elapsed_s, flush=True)
            trainer.should_stop = True


# --- what is printed ------------------------------------------------------------------------------


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['family']} {row['shape']['n_layer']} × {row['shape']['d_model']}"


def _line(row: Mapping[str, Any]) -> str:
    speeds = "  ".join(
        f"{name} {speed / 1e3:.1f}k ({100 * row['utilisation'][name]:.1f} %)"
        for name, speed in row["tokens_per_s"].items()
    )
    return f"{_name(row)}  N {row['N']:,}  {speeds}"


def _markdown(content: Mapping[str, Any]) -> str:
    """Two tables: networks alone (thousand tokens a second, utilisation in brackets), and sharing."""
    lines = [
        f"{content['device']}, torch {content['torch']}, vocabulary {content['n_vocab']:,}, "
        f"bfloat16 matrix peak {content['peak_flops_per_s'] / 1e12:.3g} TFLOP/s. "
        "Thousand tokens a second (model-FLOPs utilisation).",
    ]
    for family in ("transformer", "lstm"):
        rows = [row for row in content["rows"] if row["family"] == family]
        names = list(rows[0]["tokens_per_s"])
        lines += ["", "| network | N | batch | " + " | ".join(names) + " |", "|---" * (3 + len(names)) + "|"]
        for row in rows:
            cells = [
                f"{row['tokens_per_s'][name] / 1e3:.1f} ({100 * row['utilisation'][name]:.1f} %)"
                for name in names
            ]
            batch = f"{row['batch_sequences']} × {row['n_ctx']}"
            lines.append("| " + " | ".join([_name(row), f"{row['N']:,}", batch, *cells]) + " |")
    lines += [
        "",
        "| network | runs at a time | thousand tokens/s, together | GPU busy |",
        "|---|---|---|---|",
    ]
    for row in content["sharing"]:
        busy = "" if row["gpu_busy"] is None else f"{100 * row['gpu_busy']:.0f} %"
        lines.append(f"| {_name(row)} | {row['n_processes']} | {row['tokens_per_s'] / 1e3:.1f} | {busy} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
