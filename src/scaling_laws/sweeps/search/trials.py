"""Trials as runs of the study: what trains a point of the space, and what its folder tells of it.

The run's folder is the truth, as in any study. Beside its record stands `trial.json`, the point: a storage
that is lost is filled again from the folders.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scaling_laws.models.solver import Shape
from scaling_laws.study.artefacts import read_json, typed
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import SEARCH_TAG, RunRecord, finished_record, write_atomically
from scaling_laws.sweeps.plan.experiments import Job, Plan, PlannedRun, trunks_of
from scaling_laws.sweeps.plan.learning_rates import LearningRateRule
from scaling_laws.sweeps.plan.search_section import OBJECTIVE_CORPUS, ShapeSearch
from scaling_laws.sweeps.plan.sweep_file import Ladder, Model
from scaling_laws.sweeps.search.space import Point, shape_at

TRIAL_FILE = "trial.json"


@dataclass(frozen=True, kw_only=True)
class TrialRun:
    """A point, the network that it stands for, and the run that trains it."""

    point: Point
    shape: Shape
    run: PlannedRun

    @property
    def job(self) -> Job:
        """The run as a sweep trains it."""
        return Job(name=self.run.name, runs=(self.run,))


@dataclass(frozen=True, kw_only=True)
class FinishedTrial:
    """A trial's run with its record."""

    trial: TrialRun
    record: RunRecord

    @property
    def loss(self) -> float | None:
        """Nats per token on `OBJECTIVE_CORPUS`; None where the run was pruned or diverged."""
        return self.record.losses.get(OBJECTIVE_CORPUS, {}).get("loss_nats")


def search_of(plan: Plan) -> ShapeSearch:
    """The plan's search."""
    assert plan.sweep.search is not None
    return plan.sweep.search


def network_at(plan: Plan, point: Point) -> Shape:
    """The network of a point."""
    assert plan.corpus.n_vocab is not None  # load_config has filled it in
    return shape_at(point, search_of(plan).N, n_vocab=plan.corpus.n_vocab, n_ctx=plan.sweep.n_ctx)


def planned_trial(
    plan: Plan,
    point: Point,
    *,
    seed: int | None = None,
    N: float | None = None,
    tokens: int | None = None,
    shape: Shape | None = None,
) -> TrialRun:
    """The run that trains a point.

    Args:
        seed: another than the search's.
        N, tokens, shape: a larger network of the point's ratios, and how long it is trained; by default the
            search's N and D and the network that the point stands for.

    Raises:
        InputError: the horizon is shorter than the warm-up or ten batches, or the rule has no rate for N.
    """
    search = search_of(plan)
    N, tokens, seed = N or search.N, tokens or search.tokens, seed or search.seed
    shape = shape or network_at(plan, point)
    rate = search.learning_rate
    if isinstance(rate, LearningRateRule):
        rate = rate.rate(N=round(N), D=tokens, batch_tokens=plan.sweep.batch_sequences * plan.sweep.n_ctx)
    network = shape.config
    model = Model(
        shape={
            "n_layer": network.n_layer,
            "d_model": network.d_model,
            "n_heads": network.n_heads,
            "d_ff": network.feed_forward_width,
        },
        horizons_tokens=(tokens,),
        seeds=(seed,),
    )
    rate = float(f"{rate * point.learning_rate_factor:.3g}")
    ladder = Ladder(family="transformer", learning_rate=rate, models=(model,))
    (trunk,) = trunks_of(plan, ladder, model)
    return TrialRun(point=point, shape=shape, run=_named_by_rate(plan, trunk.runs[0], rate))


def _named_by_rate(plan: Plan, run: PlannedRun, rate: float) -> PlannedRun:
    """The same run, called by its learning rate, too, and tagged as one that feeds no law."""
    name, tags = f"{run.name}-lr{rate:g}", (*run.tags, SEARCH_TAG)
    config: dict[str, Any] = dict(run.config)
    config["trainer"] = {**config["trainer"], "default_root_dir": str(plan.folder / name)}
    config["recorder"] = {**config["recorder"], "name": name, "trunk": name, "tags": list(tags)}
    return replace(run, name=name, tags=tags, config=config)


def write_point(folder: Path, point: Point) -> None:
    """Say in a run's folder which point it is of."""
    write_atomically(folder / TRIAL_FILE, json.dumps(point.params) + "\n")


def trial_folders(plan: Plan) -> list[Path]:
    """The folders of the study's trials, whether they are done or not."""
    return sorted(path.parent for path in plan.folder.glob(f"*/{TRIAL_FILE}"))


def trial_in(plan: Plan, folder: Path) -> TrialRun:
    """The trial of one of these folders.

    Raises:
        InputError: the folder was trained with other settings than the plan's, or cannot be read.
    """
    path = folder / TRIAL_FILE
    remedy = f"delete {folder} to have it trained again"
    point = typed(read_json(path, kind="point of a trial", remedy=remedy), Point, path, remedy=remedy)
    trial = planned_trial(plan, point)
    if trial.run.name != folder.name:
        raise InputError(
            f"{folder}: was searched with other settings; "
            "give the study another name, or move its folder away"
        )
    return trial


def with_trials(plan: Plan) -> Plan:
    """The plan of a search, with the trials that its folder holds so far: what the ledger counts.

    Raises:
        InputError: as `trial_in`.
    """
    return replace(plan, jobs=tuple(trial_in(plan, folder).job for folder in trial_folders(plan)))


def finished_trial(plan: Plan, trial: TrialRun) -> FinishedTrial | None:
    """The trial with its record; None where it has none yet.

    Raises:
        InputError: the record is damaged, or of another configuration.
    """
    record = finished_record(plan.folder / trial.run.name, trial.run.run_id)
    return None if record is None else FinishedTrial(trial=trial, record=record)


def held_out_losses(folder: Path) -> list[tuple[int, float]]:
    """Tokens and loss (nats, `OBJECTIVE_CORPUS`) of each evaluation that a run has written so far."""
    try:
        text = (folder / "curve.csv").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    whole_lines = text[: text.rfind("\n") + 1].splitlines()
    rows = csv.DictReader(whole_lines)
    found = [
        (int(row["tokens"]), float(row[f"{OBJECTIVE_CORPUS}_loss_nats"]))
        for row in rows
        if row.get(f"{OBJECTIVE_CORPUS}_loss_nats")
    ]
    return [(tokens, loss) for tokens, loss in found if math.isfinite(loss)]
