"""`scaling-laws fit | validate | test | predict`: LightningCLI with our module, data and recorder."""

from __future__ import annotations

import csv
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import ArgumentError
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.loggers import TensorBoardLogger

from scaling_laws.errors import InputError
from scaling_laws.training.checkpoint import AtomicCheckpointIO, RunCheckpoints, newest_whole
from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.event_log import forget_events
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.noise_scale import NoiseScale
from scaling_laws.training.recorder import RunRecorder
from scaling_laws.training.strategies import StopTogether

VERBS = ("fit", "validate", "test", "predict")


class TrainingCLI(LightningCLI):
    """One network: what a sweep does many times over, and what its `config.yaml` files are for."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(RunRecorder, "recorder")
        parser.add_lightning_class_args(NoiseScale, "noise_scale")
        parser.add_lightning_class_args(RunCheckpoints, "checkpoints")
        # The corpus knows its vocabulary: a network of another one cannot be asked for.
        parser.link_arguments("data.n_vocab", "model.network.init_args.n_vocab", apply_on="instantiate")
        parser.link_arguments("data.n_ctx", "model.network.init_args.n_ctx", apply_on="instantiate")
        # RunCheckpoints saves; Lightning's own ModelCheckpoint would do it a second time.
        # The number of steps is the horizon; Lightning's epochs have no part in it.
        # The data module shares windows out over the ranks; Lightning's sampler would repeat some to fill up.
        parser.set_defaults(
            {
                "trainer.enable_checkpointing": False,
                "trainer.max_epochs": -1,
                "trainer.use_distributed_sampler": False,
            }
        )

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        config = self._get(self.config_init, "trainer")
        root = config["default_root_dir"]
        if root is None:
            raise InputError("trainer.default_root_dir is not set; name the folder that the run shall fill")
        if config["logger"] is None:
            training = self.subcommand in (None, "fit")  # the other verbs leave a finished run's folder alone
            kwargs["logger"] = training and TensorBoardLogger(root, "", "", default_hp_metric=False)
        kwargs["plugins"] = [*_as_list(config["plugins"]), AtomicCheckpointIO()]
        own = PredictionTable() if self.subcommand == "predict" else StopTogether()
        kwargs["callbacks"] = [*_as_list(config["callbacks"]), own]
        return super().instantiate_trainer(**kwargs)

    def after_instantiate_classes(self) -> None:
        """Tell the module how its network was built: records say it of networks without a `config`."""
        given = self._get(self.config, "model").network.get("init_args")
        arguments = {
            **(given.as_dict() if given else {}),
            "n_vocab": self.datamodule.n_vocab,
            "n_ctx": self.datamodule.n_ctx,
        }
        self.model.network_arguments = json.loads(json.dumps(arguments, default=str))

    def _parse_ckpt_path(self) -> None:
        """Lightning would load the whole checkpoint here to look for hyperparameters; ours hold none."""

    def before_fit(self) -> None:
        root = Path(self.trainer.default_root_dir)
        if (root / "record.json").exists():
            raise InputError(f"{root}: holds a finished run; give another --trainer.default_root_dir")
        if self._get(self.config, "ckpt_path") is None and (unfinished := newest_whole(root)):
            raise InputError(f"{root}: holds an unfinished run; resume it with --ckpt_path {unfinished}")
        forget_events(root)

    def before_predict(self) -> None:
        if self.trainer.world_size > 1:
            raise InputError("predict writes one table: give --trainer.devices 1")

    def after_fit(self) -> None:
        recorder = next(c for c in self.trainer.callbacks if isinstance(c, RunRecorder))  # type: ignore[attr-defined]
        if recorder.status == "diverged":
            raise InputError(
                f"{self.trainer.default_root_dir}: diverged: {recorder.reason}; lower the learning rate"
            )


class PredictionTable(pl.Callback):
    """Writes `predictions.csv` into the run's folder: one row a predicted token of the file."""

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        self._tokenizer = data.corpus.tokenizer()
        self.path = Path(trainer.default_root_dir) / "predictions.csv"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "w", newline="", encoding="utf-8")  # noqa: SIM115 (closed at the end)
        self._writer = csv.writer(self._file)
        self._writer.writerow(("token_index", "position", "token_id", "text", "loss_nats"))
        self._n_tokens, self._loss_sum_nats = 0, 0.0

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for position, (token, loss) in enumerate(zip(batch[0, 1:], outputs[0], strict=True), start=1):
            self._n_tokens += 1
            self._loss_sum_nats += float(loss)
            text = json.dumps(self._tokenizer.decode([int(token)]), ensure_ascii=False)
            self._writer.writerow((self._n_tokens, position, int(token), text, round(float(loss), 6)))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._file.close()
        mean = self._loss_sum_nats / self._n_tokens
        print(f"{self._n_tokens} tokens, mean loss {mean:.4f} nats per token: {self.path}")


def main(arguments: list[str]) -> None:
    """Run one of Lightning's verbs with `arguments` (the verb first).

    Raises:
        InputError: the configuration, the checkpoint or the machine cannot do what is asked for.
    """
    _quieten()
    verb = arguments[0]
    resumed = any(argument.startswith("--ckpt_path") for argument in arguments)
    # Errors are ours to print; and `--model.learning_rat` is not an abbreviation of anything.
    strict = {"exit_on_error": False, "allow_abbrev": False}
    try:
        TrainingCLI(
            LanguageModel,
            TokenDataModule,
            args=arguments,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            # A resumed run keeps the configuration that it began with; other verbs leave no trace.
            save_config_callback=SaveConfigCallback if verb == "fit" and not resumed else None,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"prog": "scaling-laws", **strict, **dict.fromkeys(VERBS, strict)},
        )
    except (ArgumentError, MisconfigurationException) as error:
        raise InputError(f"{verb}: {' '.join(str(error).split())}") from error
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        reason = " ".join(str(error).split())
        raise InputError(f"{verb}: the checkpoint is of another network or vocabulary: {reason}") from error


def instantiate(config: dict[str, Any]) -> tuple[pl.Trainer, LanguageModel, TokenDataModule]:
    """The objects that `scaling-laws fit --config` would build of a configuration, without running them."""
    _quieten()
    cli = TrainingCLI(
        LanguageModel,
        TokenDataModule,
        args=config,
        run=False,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        save_config_callback=None,
    )
    return cli.trainer, cli.model, cli.datamodule


def _quieten() -> None:
    """Keep advertisements and hints that do not apply to us off the screen."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(
        lambda record: "litlogger" not in record.getMessage() and "litmodels" not in record.getMessage()
    )
    for message in (
        ".*does not have many workers.*",
        ".*LightningCLI's args parameter.*",
        ".*Total length of `list` across ranks is zero.*",  # while training, the recorder evaluates
        ".*treespec, LeafSpec.*",
        ".*is not supported by the model summary.*",  # the size in MB that it prints for bf16-mixed is right
    ):
        warnings.filterwarnings("ignore", message=message)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
