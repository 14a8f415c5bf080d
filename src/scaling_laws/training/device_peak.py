"""How much of a device's arithmetic a training uses: model-FLOPs utilisation against a measured peak.

Model FLOPs are those of `flops_per_token()` times three, whatever the hardware does beside them (recomputed
activations count for nothing). The peak is measured, not a data sheet's: the best of several matrix products
in the run's precision, on the device and with the threads that the run has.
"""

from __future__ import annotations

import time
from functools import lru_cache

import torch

from scaling_laws.models.own import TYPES

N_TIMINGS = 8
SIZE_CPU, SIZE_CUDA = 512, 8192
"""Width of the square matrices: in a core's cache; large enough for every multiprocessor."""


def matrix_dtype(precision: str) -> torch.dtype:
    """Type in which a run of this Lightning precision multiplies matrices."""
    return TYPES.get(precision.partition("-")[0], torch.float32)


def utilisation(flops_per_s: float, peak_flops_per_s: float, n_devices: int) -> float:
    """Share of the devices' peak, to four digits."""
    return float(f"{flops_per_s / (peak_flops_per_s * n_devices):.4g}")


@lru_cache(maxsize=4)
def matrix_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of several square matrix products; 30 ms on a core, measured once a process."""
    size = SIZE_CUDA if device.type == "cuda" else SIZE_CPU
    # Not ones: a GPU that toggles few bits draws less power and runs faster than it ever will in training.
    generator = torch.Generator(device).manual_seed(0)
    left, right = torch.randn(2, size, size, generator=generator, dtype=torch.float32, device=device).to(
        dtype
    )
    best_s = min(_seconds(left, right) for _ in range(N_TIMINGS))
    return float(2 * size**3 / best_s)


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    if left.device.type != "cuda":
        start_s = time.perf_counter()
        left @ right
        return time.perf_counter() - start_s
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    left @ right
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1000
