"""The files of `scaling-laws plan --freeze` and `--score`: predictions written down, and scored."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws import __version__
from scaling_laws.study.artefacts import read_json
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import write_atomically

if TYPE_CHECKING:
    from scaling_laws.laws.plan.predictions import Score
    from scaling_laws.laws.plan.question import Question, TrainingPlan
    from scaling_laws.laws.results.types import Laws


def freeze(
    options: argparse.Namespace,
    found: TrainingPlan,
    question: Question,
    laws: Laws | None,
    family: str | None,
) -> None:
    """Write the prediction; never over another."""
    from scaling_laws.laws.plan.predictions import frozen_prediction

    content = frozen_prediction(
        found,
        question,
        now=datetime.now(UTC),
        version=__version__,
        laws=laws,
        family=family,
        laws_sha256=hashlib.sha256(options.laws.read_bytes()).hexdigest() if options.laws else None,
        published=options.published,
    )
    path: Path = options.freeze
    try:
        with open(path, "x", encoding="utf-8"):  # nothing is replaced, and no link followed
            pass
    except FileExistsError:
        raise InputError(f"{path}: already exists; a frozen prediction is never overwritten") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    except InputError:
        path.unlink(missing_ok=True)
        raise


def score(options: argparse.Namespace) -> tuple[Score, dict[str, Any]]:
    """The score, and the prediction."""
    from scaling_laws.laws.plan.predictions import score_prediction

    questions = ("laws", "published", "compute", "gpu_hours", "target_loss", "freeze")
    if given := [flag for flag in questions if getattr(options, flag)]:
        name = given[0].replace("_", "-")
        raise InputError(f"--score takes no new question: leave --{name} out; the frozen file has its own")
    if options.run is None and options.loss is None:
        raise InputError("--score needs the truth: --run RUN or --loss L")
    remedy = "write one with: scaling-laws plan --freeze"
    prediction = read_json(options.score, kind="prediction", remedy=remedy)
    try:
        if options.loss:
            fixed = {name: value for name, value in (("N", options.n), ("D", options.d)) if value}
            now = datetime.now(UTC)
            return score_prediction(prediction, loss_nats=options.loss, ended=now, **fixed), prediction
        if options.n or options.d:
            raise InputError("--n and --d belong to --loss: a run's record knows its own")
        return _score_run(options.run, prediction), prediction
    except InputError as error:
        raise InputError(f"{options.score}: {error}") from None


def _score_run(run: Path, prediction: Mapping[str, Any]) -> Score:
    """Score by a run's record; it ended when the record was written, by the file's date."""
    from scaling_laws.laws.plan.predictions import score_prediction
    from scaling_laws.study.conventions import parameter_counts, times_reused
    from scaling_laws.study.records import MAIN_CORPUS, read_record

    path = run / "record.json" if run.is_dir() else run
    if not path.is_file():
        raise InputError(f"{run}: no run is there; a finished run's folder holds record.json")
    record = read_record(path)
    if record.status != "complete":
        raise InputError(f"{path}: the run is not complete but {record.status}: there is no loss to score")
    counts = parameter_counts(record.parameters, record.flops_per_token, times_reused(record.shape))
    convention = prediction.get("convention", "N")
    if MAIN_CORPUS not in record.losses:
        raise InputError(f"{path}: has no loss on {MAIN_CORPUS!r}: there is none to score")
    if not isinstance(convention, str) or convention not in counts:
        raise InputError(
            f"its N is a column {convention!r}, which no record has; give --loss with --n and --d"
        )
    score = score_prediction(
        prediction,
        loss_nats=record.losses[MAIN_CORPUS]["loss_nats"],
        ended=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        N=counts[convention],
        D=record.tokens,
    )
    doubts = [score.warning] if score.warning else []
    if not record.after_cooldown:
        doubts.append("the run's loss was taken before its learning rate came down")
    if prediction.get("family") not in (None, "all", record.family):
        doubts.append(f"the prediction is of the family {prediction['family']}, the run a {record.family}")
    return replace(score, warning="; ".join(doubts))
