"""What a study may cost: time on one machine's cores or GPUs, or training FLOPs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from scaling_laws.study.errors import InputError

Device = Literal["core", "GPU"]

SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
EXAMPLES = '"30 core-minutes", "2 GPU-hours" or "1e18 FLOPs"'


@dataclass(frozen=True, kw_only=True)
class Budget:
    """An amount of device-seconds, or of FLOPs.

    Attributes:
        amount: seconds of one core or of one GPU; or training FLOPs by every row of Kaplan's Table 1.
        device: whose seconds; None for FLOPs.
    """

    amount: float
    device: Device | None

    def __str__(self) -> str:
        if self.device is None:
            return f"{self.amount:.3g} FLOPs"
        unit = next(name for name in reversed(SECONDS) if self.amount >= SECONDS[name] or name == "second")
        return f"{self.amount / SECONDS[unit]:.3g} {self.device}-{unit}s"


def parse_budget(text: str) -> Budget:
    """`30 core-minutes`, `2 GPU-hours`, `1e18 FLOPs`.

    Raises:
        InputError: it is none of these.
    """
    found = re.fullmatch(
        r"\s*(\S+)\s*(?:(core|gpu)[- ](second|minute|hour|day)s?|flops?)\s*", text, re.IGNORECASE
    )
    try:
        amount = float(found[1].replace("_", "")) if found else 0.0
    except ValueError:
        amount = 0.0
    if not found or not 0 < amount < float("inf"):
        raise InputError(f"budget {text!r}: is not an amount of compute; write {EXAMPLES}")
    if found[2] is None:
        return Budget(amount=amount, device=None)
    device: Device = "core" if found[2].lower() == "core" else "GPU"
    return Budget(amount=amount * SECONDS[found[3].lower()], device=device)
