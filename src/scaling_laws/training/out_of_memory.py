"""Training with less memory: the same batch in more micro-batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

SAID = ("can't allocate memory", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""By torch of the processor's memory, and by CUDA's libraries."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left for a tensor."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAID)


def with_micro_batches(config: Mapping[str, Any], factor: int) -> dict[str, Any] | None:
    """A LightningCLI configuration whose steps are accumulated over `factor` times as many micro-batches.

    What is trained stays the same, and so does the run's id. None where a step has too few windows.
    """
    trainer = config["trainer"]
    n_micro_batches = trainer.get("accumulate_grad_batches", 1) * factor
    devices = trainer.get("devices", 1)
    n_devices = (devices if isinstance(devices, int) else 1) * trainer.get("num_nodes", 1)
    if config["data"]["batch_sequences"] % (n_devices * n_micro_batches):
        return None
    return {**config, "trainer": {**trainer, "accumulate_grad_batches": n_micro_batches}}
