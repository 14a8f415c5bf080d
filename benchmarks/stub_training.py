"""Trainings that train nothing: what is left is the dispatch. For `dispatch.py` and the tests."""

from __future__ import annotations

import copy
import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.study.records import RunRecord, write_record

if TYPE_CHECKING:
    from scaling_laws.sweeps.plan.experiments import Plan

STARTED = "started.txt"
"""In a run's folder: a line a process that trained it, `time pid`."""


def stub_plan(plan: Plan, n_jobs: int, *, devices: Sequence[int] = (1,)) -> Plan:
    """A plan of `n_jobs` jobs of one run each, all alike but for their names.

    Args:
        plan: any plan, whose first run is copied.
        devices: of the jobs, in turns.
    """
    from scaling_laws.sweeps.plan.experiments import Job

    template = plan.jobs[0].runs[-1]
    all_tokens = template.steps * template.batch_tokens
    jobs = []
    for number in range(n_jobs):
        config = copy.deepcopy(template.config)
        name = f"stub-{number:05d}"
        config["trainer"]["default_root_dir"] = str(plan.folder / name)
        config["recorder"] |= {"name": name, "trunk": name, "run_id": f"id-{number:05d}"}
        wanted = devices[number % len(devices)]
        run = dataclasses.replace(
            template, name=name, config=config, devices=wanted, trained_tokens=all_tokens
        )
        jobs.append(Job(name=name, runs=(run,)))
    return dataclasses.replace(plan, jobs=tuple(jobs))


def train_nothing(configs: Sequence[Mapping[str, Any]]) -> None:
    """Note that it has been here, and write a record."""
    for config in configs:
        folder = Path(config["trainer"]["default_root_dir"])
        with open(folder / STARTED, "a", encoding="utf-8") as file:
            file.write(f"{time.time():.6f} {os.getpid()}\n")
        write_record(folder, stub_record(config))


def stub_record(config: Mapping[str, Any]) -> RunRecord:
    """The record of a run that trained nothing."""
    recorder = config["recorder"]
    return RunRecord(
        run_id=recorder["run_id"],
        name=recorder["name"],
        study=recorder["study"],
        trunk=recorder["trunk"],
        status="complete",
        family="transformer",
        shape={"n_layer": 1, "d_model": 8, "n_ctx": 16, "n_vocab": 256},
        parameters={"attention": 1},
        flops_per_token={"attention": 2.0},
        tokens=1,
        unique_tokens=1,
        batch_tokens=1,
        steps=1,
        optimizer={"learning_rate": 0.01},
        schedule={},
        after_cooldown=True,
        seed=1,
        losses={"test": {"loss_nats": 1.0, "bits_per_byte": 1.0, "tokens": 1}},
        best_losses={"test": 1.0},
        train_loss_nats=1.0,
        corpus={},
        elapsed_s=0.0,
        trained_tokens=1,
        tokens_per_s=1.0,
        peak_memory_bytes=0,
        git_revision="",
        versions={},
        host="",
    )


def started(folder: Path) -> list[float]:
    """When each process began that trained a run, in order (seconds since 1970)."""
    path = folder / STARTED
    if not path.exists():
        return []
    return [float(line.split()[0]) for line in path.read_text(encoding="utf-8").splitlines()]
