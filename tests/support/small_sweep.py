"""Sweep files of the tests, changed and called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def write_corpus(folder: Path, text_folder: Path) -> None:
    """`corpus.yaml` of that text as bytes."""
    corpus = {
        "name": "small",
        "source": "text",
        "paths": [str(text_folder)],
        "piece_bytes": 2000,
        "val_share": 0.1,
        "test_share": 0.1,
        "tokenizer": "bytes",
        "n_vocab": 256,
    }
    (folder / "corpus.yaml").write_text(yaml.safe_dump(corpus), encoding="utf-8")


def write_sweep(folder: Path, text_folder: Path) -> Path:
    """Two sizes of two families, a fraction of a second of training each."""
    write_corpus(folder, text_folder)
    sweep = {
        "study": "s",
        "question": "Does it work?",
        "corpus": str(folder / "corpus.yaml"),
        "n_ctx": 16,
        "batch_sequences": 4,
        "schedule": {"warmup_steps": 3},
        "evaluation_windows": 4,
        "final_windows": 16,
        "ladders": [
            {
                "family": "transformer",
                "learning_rate": {"at_1e5": 0.01},
                "models": [
                    {"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": [1280, 2560]},
                    {"shape": {"n_layer": 1, "d_model": 12}, "horizons_tokens": [1280, 2560]},
                ],
            },
            {
                "family": "lstm",
                "learning_rate": {"at_1e5": 0.01},
                "models": [
                    {"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": [1280], "seeds": [1, 2]}
                ],
            },
        ],
    }
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep), encoding="utf-8")
    return path


def edited(path: Path, **changes: Any) -> Path:
    content = yaml.safe_load(path.read_text(encoding="utf-8")) | changes
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def arguments(sweep_file: Path, *more: str) -> list[str]:
    folder = sweep_file.parent
    return ["sweep", str(sweep_file), "--logs", str(folder / "logs"), "--data", str(folder / "data"), *more]
