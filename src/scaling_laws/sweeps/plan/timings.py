"""Networks timed on this machine, and the file that keeps the times."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from scaling_laws.models.optimizers import OptimizerSetting
from scaling_laws.study.artefacts import read_json, typed
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import write_atomically
from scaling_laws.sweeps.plan.networks import PlannedNetwork
from scaling_laws.sweeps.run.forks import clean_processes

METHOD = 2
"""Raised when what is timed changes: timings of another method are made again."""
EVALUATION_SEQUENCES = 32
"""Most windows of a held-out batch, as in `training/evaluation.py`."""

Seconds = tuple[float, float]
"""Of a step, and of an evaluation."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A network to be timed, at `network.batch_sequences` windows a step.

    Attributes:
        optimizer, compiled: as the sweep's `optimizer` and `compile`.
    """

    network: PlannedNetwork
    optimizer: OptimizerSetting = "adamw"
    compiled: bool = False

    def as_json(self) -> dict[str, Any]:
        """Everything that decides how long it takes, but for the machine."""
        network = self.network
        return {
            "family": network.family,
            "class_path": network.class_path,
            "arguments": network.arguments,
            "n_vocab": network.n_vocab,
            "n_ctx": network.n_ctx,
            "batch_sequences": network.batch_sequences,
            "optimizer": self.optimizer,
            "compiled": self.compiled,
        }


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What a probe took, in seconds.

    Attributes:
        step_s: of one optimiser step of `network.batch_sequences` windows.
        evaluation_s: of the losses of as many windows, `EVALUATION_SEQUENCES` at most.
    """

    network: PlannedNetwork
    step_s: float
    evaluation_s: float

    @property
    def evaluation_tokens(self) -> int:
        """Predicted tokens of the evaluation."""
        return min(self.network.batch_sequences, EVALUATION_SEQUENCES) * self.network.n_ctx


def timings(
    path: Path,
    probes: Sequence[Probe],
    *,
    device: str,
    precision: str,
    watch: Callable[[Probe], None] = lambda probe: None,
) -> list[Timing]:
    """The probes' timings: those that the file `path` has, and new ones of the others, which it then keeps.

    `throughput.measured` says more, and what is raised.
    """
    here = {"method": METHOD, "machine": machine(device), "device": device, "precision": precision}
    asked = {_canonical(here | probe.as_json()): probe for probe in probes}
    known = _read(path)
    failures: dict[str, str] = {}
    if missing := {key: probe for key, probe in asked.items() if key not in known}:
        try:
            for key, answer in _timed(missing, device, precision, watch):
                if isinstance(answer, str):
                    failures[key] = answer
                else:
                    known[key] = answer
        finally:
            with suppress(InputError):  # a file that cannot be kept
                write_atomically(path, _as_text(known))
    found = [
        Timing(network=probe.network, step_s=known[key][0], evaluation_s=known[key][1])
        for key, probe in asked.items()
        if key in known
    ]
    kinds = {timing.network.kind for timing in found}
    for key, reason in failures.items():
        network = asked[key].network
        if network.kind not in kinds:
            raise InputError(f"{network.family}: no network of this family could be timed: {reason}")
    return found


@cache
def machine(device: str) -> dict[str, str]:
    """Host, processor, GPUs where the device is none of the CPU's, and the version of torch."""
    found = {"host": platform.node(), "processor": platform.processor(), "torch": version("torch")}
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        found["processor"] = names[0] if names else found["processor"]
    if device != "cpu":
        for number, path in enumerate(sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))):
            with suppress(OSError):
                found[f"gpu_{number}"] = (
                    path.read_text(encoding="utf-8").partition("\n")[0].split(":")[-1].strip()
                )
    return found


def _timed(
    probes: Mapping[str, Probe], device: str, precision: str, watch: Callable[[Probe], None]
) -> Iterator[tuple[str, Seconds | str]]:
    """Each probe's key and its seconds, or why it has none; all timed in one process."""
    context = clean_processes()
    ours, theirs = context.Pipe(duplex=False)
    asked = [probe.as_json() for probe in probes.values()]
    process = context.Process(target=_time, args=(asked, device, precision, theirs), name="timings")
    process.start()
    theirs.close()
    try:
        for key, probe in probes.items():
            watch(probe)
            try:
                answer = ours.recv()
            except EOFError:
                process.join()
                answer = f"its process ended with exit status {process.exitcode}"
            yield key, answer
    finally:
        process.terminate()
        process.join()


def _time(probes: list[dict[str, Any]], device: str, precision: str, answers: Connection) -> None:
    """In a process of its own: time each probe and send its seconds, or one line of what went wrong."""
    from scaling_laws.training.run import reuse_freed_memory, use_one_thread
    from scaling_laws.training.step_time import measure_step_time

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    reuse_freed_memory()
    if device == "cpu":
        use_one_thread()
    for probe in probes:
        probe = {key: value for key, value in probe.items() if key != "family"}
        try:
            found = measure_step_time(**probe, device=device, precision=precision)
            answers.send((found.step_s, found.evaluation_s))
        except Exception as error:
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            answers.send(" ".join(reason.split()))


def _read(path: Path) -> dict[str, Seconds]:
    """Seconds by what was timed; nothing of a file that is not as written here."""
    found = {}
    with suppress(InputError):
        content = read_json(path, kind="file of timings", remedy="")
        for entry in typed(content.get("timings"), list[dict[str, Any]], path, "timings"):
            seconds = typed(
                (entry.pop("step_s", None), entry.pop("evaluation_s", None)), tuple[float, float], path
            )
            if all(0 < value < math.inf for value in seconds):
                found[_canonical(entry)] = seconds
    return found


def _as_text(entries: Mapping[str, Seconds]) -> str:
    timings = [
        json.loads(key) | {"step_s": step_s, "evaluation_s": evaluation_s}
        for key, (step_s, evaluation_s) in entries.items()
    ]
    return json.dumps({"timings": timings}, indent=1)


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, default=str)
