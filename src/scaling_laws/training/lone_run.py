"""A run in no sweep: configured in Python, trained on one processor, without a view of its training."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scaling_laws.study.records import RunRecord, read_record
from scaling_laws.training.run import train_trunk, use_one_thread
from scaling_laws.training.verbs import without_greetings

Section = Mapping[str, Any]


def lone_run(
    folder: Path,
    name: str,
    *,
    tag: str,
    seed: int,
    model: Section,
    data: Section,
    trainer: Section,
    recorder: Section,
) -> dict[str, Any]:
    """What `scaling-laws fit` would read.

    Args:
        folder: of all runs, whose name is the study's.
        name: of the run and of its folder in there.
        model, data: the sections as they are.
        trainer, recorder: what these sections have besides.
    """
    config: dict[str, Any] = {
        "seed_everything": seed,
        "model": {**model},
        "data": {**data},
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(folder / name),
            "logger": False,
            **trainer,
        },
        "recorder": {
            "study": folder.name,
            "name": name,
            "trunk": name,
            "tags": [tag],
            "evaluation_windows": 64,
            "probe_windows": 0,
            **recorder,
        },
        "noise_scale": {"every_n_steps": 0},
        "snapshots": {"histograms": False, "sample_tokens": 0},
    }
    run_id = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]
    config["recorder"]["run_id"] = run_id
    return config


def train_lone_run(config: Mapping[str, Any]) -> RunRecord:
    """Train it, unless it has a record, and read that.

    Raises:
        InputError, Interrupted: as `train_trunk`.
    """
    use_one_thread()
    with without_greetings():
        train_trunk([config])
    # Trainer and network hold each other: without this, the next of many runs finds all of them in memory.
    gc.collect()
    return read_record(Path(config["trainer"]["default_root_dir"]) / "record.json")
