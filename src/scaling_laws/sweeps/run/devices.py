"""What a machine gives its jobs: slots of its processor, or GPUs. No torch."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scaling_laws.study.errors import InputError

GPU_ACCELERATORS = ("gpu", "cuda")
"""Values of Lightning's `trainer.accelerator`; `auto` means a GPU where there is one."""
NVIDIA_SMI_S = 20


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one job has of the machine."""

    slots: int
    gpus: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """What its process must be told before CUDA starts."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {}


class Slots:
    """Hands the machine out.

    On the processor there are `workers` slots, and a job of d devices takes d of them. On GPUs at most
    `workers` jobs run at a time: those of one device share GPUs evenly, those of d > 1 have d GPUs to
    themselves.

    Args:
        workers: jobs of one device at a time.
        gpus: identifiers as CUDA_VISIBLE_DEVICES takes them; empty trains on the processor.
    """

    def __init__(self, *, workers: int, gpus: Sequence[str] = ()) -> None:
        self.workers = workers
        self._tenants: dict[str, list[Share]] = {gpu: [] for gpu in gpus}
        self._per_gpu = -(-self.workers // len(gpus)) if gpus else 0
        self._n_used = 0

    @property
    def n_free(self) -> int:
        """Slots left."""
        return self.workers - self._n_used

    def require(self, job: str, devices: int) -> None:
        """Refuse a job that wants more than the whole machine.

        Raises:
            InputError: it does.
        """
        if self._tenants and devices > len(self._tenants):
            raise InputError(f"{job} needs {devices} GPUs, and this machine has {len(self._tenants)}")
        if not self._tenants and devices > self.workers:
            raise InputError(
                f"{job} needs {devices} devices, and this machine has {self.workers} workers; "
                f"give --workers {devices} or more"
            )

    def take(self, devices: int) -> Share | None:
        """A share for a job; None while there is no room for it."""
        if not self._tenants:
            if devices > self.n_free:
                return None
            share = Share(slots=devices)
        else:
            if self.n_free < 1:
                return None
            gpus = self._gpus_for(devices)
            if len(gpus) < devices:
                return None
            share = Share(slots=1, gpus=gpus)
            for gpu in gpus:
                self._tenants[gpu].append(share)
        self._n_used += share.slots
        return share

    def _gpus_for(self, devices: int) -> tuple[str, ...]:
        if devices > 1:
            return tuple(gpu for gpu, tenants in self._tenants.items() if not tenants)[:devices]
        shared = [
            gpu
            for gpu, tenants in self._tenants.items()
            if len(tenants) < self._per_gpu and not any(len(tenant.gpus) > 1 for tenant in tenants)
        ]
        return tuple(sorted(shared, key=lambda gpu: len(self._tenants[gpu]))[:1])

    def give_back(self, share: Share) -> None:
        """What `take` gave."""
        self._n_used -= share.slots
        for gpu in share.gpus:
            self._tenants[gpu] = [tenant for tenant in self._tenants[gpu] if tenant is not share]


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(accelerator: str) -> int:
    """Jobs at a time: one per GPU, or one per core."""
    on_gpus = accelerator in (*GPU_ACCELERATORS, "auto")
    return (len(find_gpus()) if on_gpus else 0) or n_cores()


def gpus_for(accelerator: str, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The GPUs that jobs of this `trainer.accelerator` may have; none for the processor.

    Raises:
        InputError: they need one, and there is none.
    """
    if accelerator not in (*GPU_ACCELERATORS, "auto"):
        return ()
    gpus = find_gpus(environment)
    if not gpus and accelerator != "auto":
        raise InputError(
            f"trainer.accelerator is {accelerator}, and this machine shows no GPU "
            "(nvidia-smi -L, CUDA_VISIBLE_DEVICES); sweep on another one, or set it to cpu"
        )
    return gpus


def find_gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Identifiers of the GPUs that this process may use, found without CUDA."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        # As CUDA reads it: the list ends at the first entry that names none.
        end = next((n for n, name in enumerate(names) if name in ("", "-1")), len(names))
        return tuple(names[:end])
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=NVIDIA_SMI_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    # By their UUIDs: CUDA's own numbers go by speed. Of a GPU that is cut up, its parts.
    return tuple(re.findall(r"UUID: (MIG-[^)\s]+)", listed) or re.findall(r"UUID: (GPU-[^)\s]+)", listed))
