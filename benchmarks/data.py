"""How fast text becomes tokens, and tokens become batches.

    python benchmarks/data.py            -> results/bench/data.json

windows     batches of 16 x 128 as training reads them, in random order out of shards of 1e7 and 1e9 random
            tokens that were just written, their pages cold or warm as the machine has them
encoding    the sources of the default corpus by its vocabulary of 1,024, on one core and on all of them, each
            in a process of its own, in turns; the median of `ROUNDS`
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "results/bench/data.json"
N_CTX, BATCH_SEQUENCES = 128, 16
BATCHES = 4096
ROUNDS = 5
SHARDS = (10**7, 10**9)


def main() -> None:
    if len(sys.argv) > 1:
        print(_encoding(Path(sys.argv[1])))
        return
    from scaling_laws.training.run import use_one_thread

    use_one_thread()
    with tempfile.TemporaryDirectory() as temporary:
        folder = _corpus(Path(temporary))
        windows = [_windows(folder, n_tokens) for n_tokens in SHARDS]
        one, all_cores = [], []
        for _ in range(ROUNDS):
            one.append(_timed_encoding(folder, threads=1))
            all_cores.append(_timed_encoding(folder, threads=os.cpu_count() or 1))
    content: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "windows": windows,
    }
    content["encoding"] = {
        "megabytes_per_s_one_core": statistics.median(one),
        "megabytes_per_s_all_cores": statistics.median(all_cores),
        "times": statistics.median(many / single for many, single in zip(all_cores, one, strict=True)),
        "cores": os.cpu_count(),
    }
    for row in windows:
        print(f"windows   {row['tokens_per_s'] / 1e6:8.0f} M tokens/s out of {row['n_tokens']:,}")
    found = content["encoding"]
    print(
        f"encoding  {found['megabytes_per_s_one_core']:8.1f} MB/s on one core, "
        f"{found['megabytes_per_s_all_cores']:.1f} on {found['cores']} ({found['times']:.2f} times)"
    )
    from scaling_laws.study.records import write_atomically

    write_atomically(TARGET, json.dumps(content, indent=1) + "\n")


def _windows(folder: Path, n_tokens: int) -> dict[str, float]:
    """Tokens a second of `BATCHES` batches, as a run's data module hands them out."""
    from scaling_laws.training.datamodule import TokenDataModule, TrainingBatches

    data = TokenDataModule(folder, n_ctx=N_CTX, batch_sequences=BATCH_SEQUENCES, seed=1)
    with tempfile.TemporaryDirectory() as temporary:
        with Path(temporary, "train.bin").open("wb") as file:
            for start in range(0, n_tokens, 10**7):
                file.write(np.random.default_rng(start).integers(0, 1024, 10**7, dtype=np.uint16).tobytes())
        data.corpus = replace(
            data.corpus, folder=Path(temporary), manifest={**data.corpus.manifest, "dtype": "uint16"}
        )
        data.trainer = SimpleNamespace(  # type: ignore[assignment]
            world_size=1, global_rank=0, accumulate_grad_batches=1, global_step=0, max_steps=BATCHES
        )
        started = time.perf_counter()
        total = sum(window[:, 1:].numel() for window in TrainingBatches(data))
        seconds = time.perf_counter() - started
    return {"n_tokens": n_tokens, "batches": BATCHES, "tokens_per_s": total / seconds}


def _corpus(folder: Path) -> Path:
    from scaling_laws.data.corpus_file import load_config
    from scaling_laws.data.tokens import build_corpus

    return build_corpus(load_config(ROOT / "configs/data/embedded.yaml"), folder / "embedded").folder


def _timed_encoding(folder: Path, *, threads: int) -> float:
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, str(folder)]
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(result.stdout)


def _encoding(folder: Path) -> float:
    """Megabytes a second: `build_corpus`'s own pieces of text, through the corpus's tokenizer."""
    from scaling_laws.data.corpus import split_documents
    from scaling_laws.data.corpus_file import load_config
    from scaling_laws.data.tokenizer import load_tokenizer
    from scaling_laws.data.tokens import _batches

    tokenizer = load_tokenizer(folder / "tokenizer.json")
    documents = split_documents(load_config(ROOT / "configs/data/embedded.yaml"))["train"]
    pieces = [[text for _, _, text in batch] for batch in _batches(documents, tokenizer)]
    started = time.perf_counter()
    for texts in pieces:
        for _ids in tokenizer.encode(texts):
            pass
    return sum(document.n_bytes for document in documents) / 1e6 / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
