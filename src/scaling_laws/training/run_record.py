"""From a training that has ended to its `record.json`."""

from __future__ import annotations

import platform
import resource
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.models.network import SparseNetwork
from scaling_laws.models.optimizers import optimizer_label, optimizer_settings
from scaling_laws.study.conventions import compute_flops
from scaling_laws.study.records import MAIN_CORPUS, RunRecord
from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.device_peak import utilisation
from scaling_laws.training.module import LanguageModel

RECORDED_PACKAGES = ("torch", "pytorch-lightning", "numpy", "tokenizers")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in RECORDED_PACKAGES}}


def peak_memory_bytes() -> int:
    """Most memory this process has held: on the CUDA device where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    kilobytes_per_unit = 1 if platform.system() == "Linux" else 1 / 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobytes_per_unit * 1024)


def git_revision() -> str:
    """Revision of the code, with `+` where files differ from it; `unknown` without a checkout or git."""
    folder = Path(__file__).parent
    commands = (["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no", "."])
    try:
        answers = [
            subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            for command in commands
        ]
    except OSError:  # nodes of a cluster may have no git
        return "unknown"
    if any(answer.returncode for answer in answers):
        return "unknown"
    return answers[0].stdout.strip() + ("+" if answers[1].stdout else "")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a run is called; `RunRecord` says what each means. Empty names are filled in from the folder's."""

    study: str
    name: str
    trunk: str
    run_id: str
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the recorder has seen of a training."""

    status: str
    reason: str
    step: int
    """Steps taken."""
    shared_steps: int
    """Of these, the steps that a cooldown branch took over from its trunk."""
    elapsed_s: float
    """Wall seconds of the steps that the run took itself."""
    evaluation_s: float
    """Of these, on held-out text."""
    evaluated_step: int
    losses: Mapping[str, dict[str, float]]
    """As in the record."""
    lowest_losses_nats: Mapping[str, float]
    train_loss_nats: float | None
    summed_learning_rate: float
    stopped_early: bool
    peak_flops_per_s: float
    """Of one device."""
    initial_weights: str = ""
    """SHA-256 of the checkpoint that the run began with; empty where it began with random weights."""


def _path_of(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def make_record(
    trainer: pl.Trainer, module: LanguageModel, identity: Identity, outcome: Outcome
) -> RunRecord:
    """Everything that a run says about itself."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, TokenDataModule)
    folder = Path(trainer.default_root_dir).resolve()
    network: Any = module.network
    complete = outcome.status == "complete"
    tokens = outcome.step * data.batch_tokens
    trained_tokens = (outcome.step - outcome.shared_steps) * data.batch_tokens
    parameters, flops_per_token = network.parameters_by_group(), network.flops_per_token()
    own_settings = optimizer_settings(module.optimizer)
    return RunRecord(
        run_id=identity.run_id,
        name=identity.name or folder.name,
        study=identity.study or folder.parent.name,
        trunk=identity.trunk or identity.name or folder.name,
        status=outcome.status,
        reason=outcome.reason,
        family=network.family,
        shape=module.shape,
        parameters=parameters,
        flops_per_token=flops_per_token,
        tokens=tokens,
        unique_tokens=min(tokens, data.tokens_per_epoch),
        batch_tokens=data.batch_tokens,
        steps=outcome.step,
        optimizer={
            "name": optimizer_label(module.optimizer),
            "learning_rate": module.learning_rate,
            **({"betas": list(module.betas)} if "beta1" in own_settings else {}),
            **({"weight_decay": module.weight_decay} if "weight_decay" in own_settings else {}),
            **module.parametrization,
            "gradient_clip": trainer.gradient_clip_val,
            "precision": trainer.precision,
            "compiled": module.compiled,
            **({"objective": _path_of(module.objective)} if module.objective is not None else {}),
            **({"initial_weights": outcome.initial_weights} if outcome.initial_weights else {}),
        },
        schedule=asdict(module.schedule),
        after_cooldown=complete
        and outcome.step == trainer.max_steps
        and module.schedule.brings_down(trainer.max_steps),
        seed=data.seed,
        losses=dict(outcome.losses) if complete else {},
        best_losses=dict(outcome.lowest_losses_nats),
        train_loss_nats=outcome.train_loss_nats,
        corpus={
            "name": data.corpus.name,
            "manifest_hash": data.corpus.manifest_hash,
            **(
                {"test_text_hash": data.corpus.text_hash(MAIN_CORPUS)}
                if isinstance(data.corpus, TokenCorpus)
                else {}
            ),
            "train_halvings": data.train_halvings,
            "noise_suffix_tokens": data.noise_suffix_tokens,
        },
        elapsed_s=round(outcome.elapsed_s, 3),
        evaluation_s=round(outcome.evaluation_s, 3),
        trained_tokens=trained_tokens,
        tokens_per_s=round(trained_tokens / outcome.elapsed_s, 1),
        peak_memory_bytes=peak_memory_bytes(),
        git_revision=git_revision(),
        versions=versions(),
        host=platform.node(),
        tags=identity.tags,
        evaluated_step=outcome.evaluated_step,
        stopped_early=outcome.stopped_early,
        summed_learning_rate=outcome.summed_learning_rate,
        devices=trainer.world_size,
        active_parameters=network.active_parameters() if isinstance(network, SparseNetwork) else None,
        model_flops_utilisation=utilisation(
            compute_flops(parameters, flops_per_token, trained_tokens)["C_exact"] / outcome.elapsed_s,
            outcome.peak_flops_per_s,
            trainer.world_size,
        ),
    )
