"""What a study began with: the precision that `auto` came to on its machine, and its rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scaling_laws.study.artefacts import read_json
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import EVERY_CORPUS, PLAN_FILE
from scaling_laws.sweeps.plan.sweep_file import Sweep

AUTO = "auto"
PROCESSOR = Path("/proc/cpuinfo")
FLAGS = {"avx512_bf16", "amx_bf16"}
"""Either multiplies in bfloat16; without them torch emulates it, several times slower than float32."""


def with_precision(sweep: Sweep, kept: str | None) -> Sweep:
    """A sweep whose `auto` is settled.

    Args:
        kept: what it came to when the study began, maybe on another machine: its runs share one precision.
    """
    if sweep.trainer_arguments.get("precision") != AUTO:
        return sweep
    precision = kept or native_precision(str(sweep.trainer_arguments["accelerator"]))
    return replace(sweep, trainer={**sweep.trainer, "precision": precision})


def kept_precision(folder: Path) -> str | None:
    """What the study of this folder began with; None before."""
    try:
        kept = read_json(folder / PLAN_FILE, kind="plan", remedy="").get("precision")
    except InputError:  # not there, or unreadable: `read_kept` plans anew, too
        return None
    return kept if isinstance(kept, str) else None


def with_kept_rules(sweep: Sweep, folder: Path) -> Sweep:
    """A sweep whose study goes on by the rules that it began with.

    Plans of earlier versions do not name them: shapes of before they had four heads, and every corpus
    measured at each evaluation.
    """
    try:
        begun = read_json(folder / PLAN_FILE, kind="plan", remedy="")
    except InputError:  # not there, or unreadable: `read_kept` plans anew, too
        return sweep
    if "shape_rule" not in begun:
        sweep = replace(sweep, shape_rule=1)
    return sweep if "evaluation_corpora" in begun else replace(sweep, evaluation_corpora=(EVERY_CORPUS,))


def native_precision(accelerator: str) -> str:
    """`bf16-mixed` on GPUs and on CPUs that multiply in bfloat16, else `32-true`."""
    if accelerator in ("gpu", "cuda"):
        return "bf16-mixed"
    try:
        flags = set(PROCESSOR.read_text(encoding="ascii", errors="replace").split())
    except OSError:  # no Linux
        flags = set()
    return "bf16-mixed" if accelerator == "cpu" and flags & FLAGS else "32-true"
