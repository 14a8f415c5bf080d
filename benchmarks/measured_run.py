"""The run whose steps are timed: the quick study's settings, without evaluations before its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scaling_laws.data.tokens import TokenCorpus

N_CTX, BATCH_SEQUENCES = 128, 16


def measured_run(
    corpus: TokenCorpus,
    folder: Path,
    class_path: str,
    shape: dict[str, int],
    *,
    steps: int,
    precision: str = "32-true",
) -> dict[str, Any]:
    """Its LightningCLI configuration; one more step than `steps`, and then the final evaluation."""
    return {
        "seed_everything": 1,
        "model": {
            "network": {"class_path": class_path, "init_args": dict(shape)},
            "learning_rate": 1e-3,
            "schedule": {"decay": "constant"},
        },
        "data": {"corpus": str(corpus.folder), "n_ctx": N_CTX, "batch_sequences": BATCH_SEQUENCES, "seed": 1},
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "precision": precision,
            "max_steps": steps + 1,
            "gradient_clip_val": 1.0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(folder),
        },
        "recorder": {"evaluations_per_doubling": 0, "final_windows": 1},
    }
