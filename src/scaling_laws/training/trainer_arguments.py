"""What Lightning's trainer is given for a run; what would get in its own parts' way is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.callbacks import Checkpoint, GradientAccumulationScheduler, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger

from scaling_laws.study.bounds import NotNegative, check_bounds
from scaling_laws.study.errors import InputError
from scaling_laws.training.checkpoint import AtomicCheckpointIO
from scaling_laws.training.prediction_table import PredictionTable

BOUNDS = {"gradient_clip_val": NotNegative | None, "max_steps": int}
"""Of what Lightning takes as it comes."""
NEVER_STEPS = 2**62
MODEL_CHECKPOINTS = "model_checkpoints"
"""Where Lightning's ModelCheckpoint saves if it is given no `dirpath`: a folder in the run's."""


def trainer_arguments(config: Any, verb: str | None, checkpoint_io: AtomicCheckpointIO) -> dict[str, Any]:
    """Arguments of the trainer that stand for those of the configuration.

    Args:
        config: its section `trainer`, callbacks, loggers and plugins being objects. A ModelCheckpoint without
            a folder gets one.
        verb: of Lightning's; None in a sweep, which fits.
        checkpoint_io: of the run.

    Raises:
        InputError: no folder is named, a value is out of bounds, or something is asked for that a training
            here would pass over.
    """
    root = config["default_root_dir"]
    if root is None:
        raise InputError("trainer.default_root_dir is not set; name the folder that the run should fill")
    check_bounds(BOUNDS, {name: config[name] for name in BOUNDS}, what="trainer.")
    if config["fast_dev_run"] and verb is None:
        raise InputError("trainer.fast_dev_run: tries one network out with the verb fit, and no sweep")
    callbacks, plugins = _as_list(config["callbacks"]), _as_list(config["plugins"])
    arguments: dict[str, Any] = {}
    training = verb in (None, "fit")  # the other verbs leave a finished run's folder alone
    if config["logger"] is None:
        arguments["logger"] = training and TensorBoardLogger(root, "", "", default_hp_metric=False)
    if training:
        _refuse_ignored(config, callbacks)
        # Lightning's validation has no part in it: the recorder evaluates, and tells the callbacks.
        arguments |= {"check_val_every_n_epoch": None, "val_check_interval": NEVER_STEPS}
    checkpoints = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
    arguments["enable_checkpointing"] = bool(checkpoints)
    for callback in checkpoints:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(Path(root) / MODEL_CHECKPOINTS)  # beside RunCheckpoints' own
    slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
    if slurm and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        # Lightning would save and requeue by itself, into a file that any run of the folder may load.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    arguments["plugins"] = [*plugins, checkpoint_io]
    if verb == "predict":
        arguments["callbacks"] = [*callbacks, PredictionTable()]
    return arguments


def _refuse_ignored(config: Any, callbacks: list[pl.Callback]) -> None:
    """Refuse what Lightning's trainer offers and a training here would pass over.

    Raises:
        InputError: one of these is asked for.
    """
    if any(isinstance(callback, GradientAccumulationScheduler) for callback in callbacks):
        raise InputError(
            "trainer.callbacks: GradientAccumulationScheduler would change the batch on the way; "
            "set trainer.accumulate_grad_batches, which splits it"
        )
    if config["overfit_batches"]:
        raise InputError(
            "trainer.overfit_batches: a run here goes through its text in order; to train on little text "
            "again and again set data.train_halvings (the first 1 / 2^k of it)"
        )
    if config["val_check_interval"] is not None or config["check_val_every_n_epoch"] not in (None, 1):
        raise InputError(
            "trainer.val_check_interval and check_val_every_n_epoch: the steps of held-out evaluations are "
            "recorder.evaluations_per_doubling and recorder.evaluation_every_n_steps"
        )


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
