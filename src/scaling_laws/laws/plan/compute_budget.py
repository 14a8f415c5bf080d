"""What a user has to spend, and plain counts: text -> FLOPs, parameters, tokens.

FLOPs are counted as 6 N D, the convention of every law here. What a device spends on attention over the
context, the head and recomputation is not in it, so that a measured utilisation must be of 6 N D as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.study.errors import InputError
from scaling_laws.study.units import PF_DAY_FLOPS

SECONDS_PER_HOUR = 3600.0
DEFAULT_MFU = 0.4
"""Model FLOPs utilisation that a decent training of a large Transformer reaches."""
_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?inf|nan)"
_PF_DAYS = r"(?:pf|pflops?|pflop/s|petaflops?|petaflop/s)[- ]?(?:d|days?)"
SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


@dataclass(frozen=True, kw_only=True)
class Device:
    """An accelerator's peak.

    Attributes:
        name: as users write it.
        peak_flops_per_s: dense bf16 matrix products, FLOP/s.
        source: where the vendor prints it; figures "with sparsity" are halved.
    """

    name: str
    peak_flops_per_s: float
    source: str


DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        Device(
            name="b200",
            peak_flops_per_s=2250e12,
            source="NVIDIA Blackwell datasheet (HGX B200): 4.5 PFLOP/s with sparsity",
        ),
        Device(
            name="h200",
            peak_flops_per_s=989.5e12,
            source="NVIDIA H200 datasheet: 1,979 TFLOP/s with sparsity",
        ),
        Device(
            name="h100",
            peak_flops_per_s=989.5e12,
            source="NVIDIA H100 SXM datasheet: 1,979 TFLOP/s with sparsity",
        ),
        Device(
            name="h100-pcie",
            peak_flops_per_s=756.5e12,
            source="NVIDIA H100 PCIe datasheet: 1,513 TFLOP/s with sparsity",
        ),
        Device(name="a100", peak_flops_per_s=312e12, source="NVIDIA A100 datasheet: 312 TFLOP/s dense"),
        Device(name="l40s", peak_flops_per_s=362e12, source="NVIDIA L40S datasheet: 362.05 TFLOP/s dense"),
        Device(name="a10", peak_flops_per_s=125e12, source="NVIDIA A10 datasheet: 125 TFLOP/s dense"),
        Device(
            name="rtx4090",
            peak_flops_per_s=165.2e12,
            source="NVIDIA Ada whitepaper: 165.2 TFLOP/s dense, fp32 accumulate",
        ),
        Device(
            name="rtx3090",
            peak_flops_per_s=71e12,
            source="NVIDIA GA102 whitepaper: 71 TFLOP/s dense, fp32 accumulate",
        ),
        Device(
            name="mi300x", peak_flops_per_s=1307.4e12, source="AMD MI300X datasheet: 1,307.4 TFLOP/s dense"
        ),
        Device(
            name="mi250x",
            peak_flops_per_s=383e12,
            source="AMD MI250X datasheet: 383 TFLOP/s, both dies",
        ),
        Device(name="tpu-v4", peak_flops_per_s=275e12, source="Google Cloud TPU v4: 275 TFLOP/s a chip"),
        Device(name="tpu-v5e", peak_flops_per_s=197e12, source="Google Cloud TPU v5e: 197 TFLOP/s a chip"),
        Device(name="tpu-v5p", peak_flops_per_s=459e12, source="Google Cloud TPU v5p: 459 TFLOP/s a chip"),
    )
}


def parse_compute(text: str) -> float:
    """FLOPs from `1e21`, `1e21 FLOPs`, `3 PF-days` or `3PFd`.

    Raises:
        InputError: not such a text, or not a positive number.
    """
    match = re.fullmatch(rf"{_NUMBER}\s*(?:(flops?)|({_PF_DAYS}))?", text.strip(), flags=re.IGNORECASE)
    if match is None:
        raise InputError(f"the budget is {text!r}: give FLOPs, as in 1e21, or petaFLOP/s-days, as in 3PFd")
    value = float(match[1]) * (PF_DAY_FLOPS if match[3] else 1.0)
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"the budget is {text}: give a positive number of FLOPs")
    return value


def parse_count(text: str, what: str) -> float:
    """A positive number from `1.5e9`, or with a suffix: `70M`, `1.5B`, `2T`.

    Raises:
        InputError: not such a text, or not positive; it begins with `what`.
    """
    match = re.fullmatch(rf"{_NUMBER}\s*([kmbt]?)", text.strip(), flags=re.IGNORECASE)
    value = float(match[1]) * SUFFIXES[match[2].lower()] if match else float("nan")
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"{what} is {text}: give a positive number, as in 1.5e9 or 1.5B")
    return value


def device_peak(name: str) -> Device:
    """A known device.

    Raises:
        InputError: unknown; the message lists those that are known.
    """
    if name.lower() not in DEVICES:
        raise InputError(
            f"no device {name!r}; known are {', '.join(DEVICES)}; for any other give --peak-tflops"
        )
    return DEVICES[name.lower()]


def compute_of_hours(hours: float, peak_flops_per_s: float, mfu: float) -> float:
    """FLOPs that `hours` device-hours buy at the utilisation `mfu` of the peak.

    Raises:
        InputError: mfu is not in (0, 1].
    """
    return hours * SECONDS_PER_HOUR * peak_flops_per_s * checked_mfu(mfu)


def hours_of_compute(C: float, peak_flops_per_s: float, mfu: float) -> float:
    """Device-hours that C FLOPs take: the inverse of `compute_of_hours`, with its errors."""
    return C / (SECONDS_PER_HOUR * peak_flops_per_s * checked_mfu(mfu))


def compute_of_throughput(hours: float, N: float, tokens_per_second: float) -> float:
    """FLOPs (6 N D) that `hours` buy at a throughput measured on a model of N parameters."""
    return FLOPS_PER_PARAMETER_TOKEN * N * tokens_per_second * SECONDS_PER_HOUR * hours


def checked_mfu(mfu: float) -> float:
    """The utilisation itself.

    Raises:
        InputError: it is not in (0, 1].
    """
    if not 0 < mfu <= 1:
        raise InputError(f"--mfu is {mfu:g}: a utilisation lies above 0 and at most at 1, as in 0.4")
    return mfu
