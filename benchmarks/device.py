"""What a device is and can do, and its clock."""

from __future__ import annotations

import os
import platform
import time
from functools import cache
from typing import Any

import torch


def half_type(device: str) -> torch.dtype:
    """The type of two bytes to multiply in: bfloat16, but where a GPU would only emulate it."""
    if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


@cache
def compilation_error(device: str) -> str:
    """Why torch.compile cannot be used here (no compiler, no Triton, too old a card); "" where it can."""
    x = torch.ones(8, 8, device=device, requires_grad=True)
    try:
        torch.compile(lambda x: (x @ x).relu().sum())(x).backward()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
    return ""


def now_s(device: str) -> float:
    """Once the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def machine(device: str) -> dict[str, Any]:
    """For the head of a file of results."""
    found: dict[str, Any] = {
        "device": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "half_type": str(half_type(device)).removeprefix("torch."),
    }
    if device == "cuda":
        of_device = torch.cuda.get_device_properties(0)
        found |= {
            "device": of_device.name,
            "memory_bytes": of_device.total_memory,
            "multiprocessors": of_device.multi_processor_count,
            "compute_capability": f"{of_device.major}.{of_device.minor}",
            "cuda": torch.version.cuda,
        }
    return found
