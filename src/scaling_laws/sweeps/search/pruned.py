"""The record of a run that a pruner has stopped: with it the run is done, and is never trained again."""

from __future__ import annotations

import csv
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

from scaling_laws.data.tokens import open_corpus
from scaling_laws.models.optimizers import optimizer_label
from scaling_laws.study.records import RunRecord, write_record
from scaling_laws.sweeps.plan.experiments import Plan
from scaling_laws.sweeps.plan.search_section import OBJECTIVE_CORPUS
from scaling_laws.sweeps.search.trials import TrialRun, held_out_losses


def write_pruned_record(plan: Plan, trial: TrialRun, reason: str) -> RunRecord:
    """Write the record in the place of the process that was stopped, from the rows it has left.

    Its checkpoints, which only a resume would need, are removed.

    Raises:
        InputError: the disk is full.
    """
    run, folder = trial.run, plan.folder / trial.run.name
    with open(folder / "curve.csv", newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    model, data = run.config["model"], run.config["data"]
    corpus = open_corpus(plan.corpus_folder)
    tokens, elapsed_s = int(last["tokens"]), float(last["elapsed_s"])
    record = RunRecord(
        run_id=run.run_id,
        name=run.name,
        study=plan.sweep.study,
        trunk=run.name,
        status="pruned",
        reason=reason,
        family=run.family,
        shape={
            **model["network"]["init_args"],
            "n_vocab": trial.shape.config.n_vocab,
            "n_ctx": trial.shape.config.n_ctx,
        },
        parameters=trial.shape.config.parameters_by_group(),
        flops_per_token=trial.shape.config.flops_per_token(),
        tokens=tokens,
        unique_tokens=min(tokens, corpus.manifest["splits"]["train"]["n_tokens"]),
        batch_tokens=run.batch_tokens,
        steps=int(last["step"]),
        optimizer={"name": optimizer_label(model["optimizer"]), "learning_rate": run.learning_rate},
        schedule=model["schedule"],
        after_cooldown=False,
        seed=run.seed,
        losses={},
        best_losses={OBJECTIVE_CORPUS: min(loss for _, loss in held_out_losses(folder))},
        train_loss_nats=float(last["train_loss_nats"]),
        corpus={
            "name": corpus.name,
            "manifest_hash": corpus.manifest_hash,
            "train_halvings": data["train_halvings"],
            "noise_suffix_tokens": data["noise_suffix_tokens"],
        },
        elapsed_s=elapsed_s,
        trained_tokens=tokens,
        tokens_per_s=round(tokens / elapsed_s, 1),
        peak_memory_bytes=0,  # the process that knew is gone
        git_revision="unknown",
        versions={"python": platform.python_version(), "optuna": version("optuna")},
        host=platform.node(),
        tags=run.tags,
        summed_learning_rate=float(last["summed_learning_rate"]),
        devices=run.devices,
    )
    _remove_checkpoints(folder)
    write_record(folder, record)
    return record


def _remove_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
