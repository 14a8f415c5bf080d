"""What the options of `scaling-laws plan` mean: numbers, the question, the device, the law's file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    from scaling_laws.laws.plan.planner import Question

NEEDED_OF_A_FIT = (
    "form",
    "family",
    "formula",
    "parameters",
    "identified",
    "reason",
    "resamples",
    "interval_method",
)


def check_flags(options: argparse.Namespace) -> None:
    """Refuse flags that need or exclude each other.

    Raises:
        InputError: the first that do.
    """
    if (options.laws is None) == (options.published is None):
        given = "both are given" if options.laws else "none is given"
        raise InputError(f"give a law, --laws FILE or --published NAME: {given}")
    from scaling_laws.laws.plan.planner import SOURCES

    if options.published and options.published not in SOURCES:
        raise InputError(f"no published law {options.published!r}; there are {', '.join(SOURCES)}")
    if options.family and not options.laws:
        raise InputError("--family is of a laws.json: a published law has none")
    if options.run or options.loss:
        raise InputError(f"{'--run' if options.run else '--loss'} belongs to --score FILE")
    if (options.cost or options.target) and not options.next_rung:
        raise InputError(f"{'--cost' if options.cost else '--target'} belongs to --next-rung")
    if options.next_rung and not options.laws:
        raise InputError("--next-rung needs --laws FILE: a published law has no draws to narrow")
    if options.device and options.peak_tflops:
        raise InputError("--device and --peak-tflops both name a peak; give one")
    if options.tokens_per_second and (options.device or options.peak_tflops or options.mfu):
        raise InputError("--tokens-per-second is measured: leave --device, --peak-tflops and --mfu out")
    if options.mfu and not (options.device or options.peak_tflops):
        raise InputError("--mfu is a share of a peak; give --device NAME or --peak-tflops P")


def read_question(options: argparse.Namespace) -> tuple[Question, dict[str, Any]]:
    """What is asked, and the device-hours, where those are the budget.

    Raises:
        InputError: two budgets, a number that is none, or hours of an unknown device.
    """
    from scaling_laws.laws.plan.compute_budget import compute_of_hours, compute_of_throughput, parse_compute
    from scaling_laws.laws.plan.planner import Question

    if options.compute and options.gpu_hours:
        raise InputError("--compute and --gpu-hours are both given: two budgets; give one")
    N, D = optional(options, "n"), optional(options, "d")
    loss = optional(options, "target_loss")
    C = parse_compute(options.compute) if options.compute else None
    budget: dict[str, Any] = {}
    if options.gpu_hours:
        hours = count(options, "gpu_hours")
        if options.tokens_per_second:
            if N is None:
                raise InputError("--tokens-per-second needs --n: the size that it was measured at")
            C = compute_of_throughput(hours, N, count(options, "tokens_per_second"))
        else:
            peak, mfu, _ = read_peak(options)
            C = compute_of_hours(hours, peak, mfu)
        budget = {"gpu_hours": hours}
    elif options.tokens_per_second:
        raise InputError("--tokens-per-second belongs to --gpu-hours H")
    return Question(C=C, N=N, D=D, loss_nats=loss), budget


def read_peak(options: argparse.Namespace) -> tuple[float, float, str]:
    """FLOP/s, utilisation, and where the peak comes from.

    Raises:
        InputError: no device or an unknown one; a utilisation that is not in (0, 1].
    """
    from scaling_laws.laws.plan.compute_budget import DEFAULT_MFU, checked_mfu, device_peak

    mfu = checked_mfu(number(options.mfu, "--mfu")) if options.mfu else DEFAULT_MFU
    if options.peak_tflops:
        return count(options, "peak_tflops") * 1e12, mfu, "--peak-tflops"
    if not options.device:
        raise InputError("--gpu-hours of what? give --device NAME, --peak-tflops P or --tokens-per-second T")
    device = device_peak(options.device)
    return device.peak_flops_per_s, mfu, device.source


def read_laws(path: Path) -> dict[str, Any]:
    """The content of a laws.json.

    Raises:
        InputError: not readable, of another schema, or lacking what a plan needs.
    """
    from scaling_laws.laws.results.skeleton import SCHEMA

    laws = read_json(path, "laws.json", "make one with: scaling-laws laws")
    if laws.get("schema") != SCHEMA:
        raise InputError(f"{path}: not a laws.json of schema {SCHEMA}; make one with: scaling-laws laws")
    kinds = {"conventions": dict, "fits": list}
    lacks = [key for key, kind in kinds.items() if not isinstance(laws.get(key), kind)]
    if not lacks and "N" not in laws["conventions"]:
        lacks = ["conventions.N"]
    if not lacks:
        lacks = [f"{key} of a fit" for key in NEEDED_OF_A_FIT if any(key not in fit for fit in laws["fits"])]
    if lacks:
        raise InputError(f"{path}: lacks {', '.join(lacks)}; make it again with: scaling-laws laws")
    return laws


def count(options: argparse.Namespace, flag: str) -> float:
    """A positive number, as `parse_count` reads it, with its errors."""
    from scaling_laws.laws.plan.compute_budget import parse_count

    return parse_count(getattr(options, flag), f"--{flag.replace('_', '-')}")


def optional(options: argparse.Namespace, flag: str) -> float | None:
    """`count`; None where the flag is not given."""
    return None if getattr(options, flag) is None else count(options, flag)


def whole(options: argparse.Namespace, flag: str) -> int | None:
    """`optional`, without a fraction."""
    value = optional(options, flag)
    if value is not None and value != int(value):
        raise InputError(f"--{flag.replace('_', '-')} is {getattr(options, flag)}: give a whole number")
    return None if value is None else int(value)


def number(text: str, what: str) -> float:
    """Any number, with an error that begins with `what`."""
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{what} is {text!r}: give a number") from None


def read_json(path: Path, kind: str, remedy: str) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        InputError: not readable, not JSON, or no object; it ends with `remedy`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: not a readable {kind} ({error.strerror}); {remedy}") from error
    except ValueError as error:
        raise InputError(f"{path}: not a readable {kind} ({error}); {remedy}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a {kind}; {remedy}")
    return content
