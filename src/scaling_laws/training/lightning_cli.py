"""`scaling-laws fit | validate | test | predict`: LightningCLI with our module, data and recorder."""

from __future__ import annotations

import json
import logging
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import ArgumentError
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Checkpoint, GradientAccumulationScheduler, ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from scaling_laws.study.artefacts import read_yaml
from scaling_laws.study.bounds import NotNegative, Seed, check_bounds
from scaling_laws.study.configurations import find_config, missing_hint
from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted, StopSignals
from scaling_laws.study.names import require_run_name
from scaling_laws.study.own_files import CHECKPOINTS, refuse_links_in
from scaling_laws.study.records import (
    CURVE_COLUMNS,
    DISK_ERRORS,
    RunRecord,
    check_file,
    not_written,
    read_record,
    sha256_of,
    write_atomically,
)
from scaling_laws.training.checkpoint import (
    AtomicCheckpointIO,
    RunCheckpoints,
    final_checkpoint,
    is_whole,
    newest_whole,
    written_identity,
)
from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.event_log import forget_events
from scaling_laws.training.longer import go_on_longer
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.noise_scale import NoiseScale
from scaling_laws.training.prediction_table import PredictionTable
from scaling_laws.training.recorder import RunRecorder
from scaling_laws.training.run_settings import decisive_settings, differences, flat_settings, identity_of
from scaling_laws.training.snapshots import Snapshots

VERBS = ("fit", "validate", "test", "predict")
LIGHTNING = {"seed_everything": Seed | bool | None, "gradient_clip_val": NotNegative | None, "max_steps": int}
"""Bounds of what Lightning takes as it comes."""
NEWEST = "newest"
"""As `--ckpt_path`: the newest whole checkpoint of the run's folder; for `fit` otherwise the start."""
LOGGER_PACKAGES = ("mlflow", "wandb")
NEVER_STEPS = 2**62
MODEL_CHECKPOINTS = "model_checkpoints"
"""Where Lightning's ModelCheckpoint saves if it is given no `dirpath`: a folder in the run's."""


class TrainingCLI(LightningCLI):
    """One network: what a sweep does many times over, and what its `config.yaml` files are for."""

    _scratch: tempfile.TemporaryDirectory[str] | None = None
    """Where `--trainer.fast_dev_run` trains."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(RunRecorder, "recorder")
        parser.add_lightning_class_args(NoiseScale, "noise_scale")
        parser.add_lightning_class_args(Snapshots, "snapshots")
        parser.add_lightning_class_args(RunCheckpoints, "checkpoints")
        parser.add_argument(
            "--initial_weights",
            type=Path | None,
            default=None,
            help="checkpoint of another run, whose weights this one begins with",
        )
        # The corpus knows its vocabulary: a network of another one cannot be asked for.
        parser.link_arguments("data.n_vocab", "model.network.init_args.n_vocab", apply_on="instantiate")
        parser.link_arguments("data.n_ctx", "model.network.init_args.n_ctx", apply_on="instantiate")
        # RunCheckpoints saves; a ModelCheckpoint that nobody asked for would do it a second time.
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
        clip = {"gradient_clip_val": config["gradient_clip_val"], "max_steps": config["max_steps"]}
        check_bounds(LIGHTNING, clip, what="trainer.")
        training = self.subcommand in (None, "fit")  # the other verbs leave a finished run's folder alone
        callbacks = _as_list(config["callbacks"])
        if config["logger"] is None:
            kwargs["logger"] = training and TensorBoardLogger(root, "", "", default_hp_metric=False)
        if training:
            _refuse_ignored(config, callbacks)
            # Lightning's validation has no part in it: the recorder evaluates, and tells the callbacks.
            kwargs |= {"check_val_every_n_epoch": None, "val_check_interval": NEVER_STEPS}
        if config["fast_dev_run"] and self.subcommand is None:
            raise InputError("trainer.fast_dev_run: tries one network out with the verb fit, and no sweep")
        if config["fast_dev_run"] and self.subcommand == "fit":
            self._scratch = tempfile.TemporaryDirectory(prefix="scaling-laws-")
            kwargs["default_root_dir"] = self._scratch.name
        checkpoints = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
        kwargs["enable_checkpointing"] = bool(checkpoints)
        for callback in checkpoints:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(Path(root) / MODEL_CHECKPOINTS)  # beside RunCheckpoints' own
        plugins = _as_list(config["plugins"])
        slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
        if slurm and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
            # Lightning would save and requeue by itself, into a file that any run of the folder may load.
            plugins.append(SLURMEnvironment(auto_requeue=False))
        self._checkpoint_io = AtomicCheckpointIO()
        kwargs["plugins"] = [*plugins, self._checkpoint_io]
        if self.subcommand == "predict":
            kwargs["callbacks"] = [*callbacks, PredictionTable()]
        return super().instantiate_trainer(**kwargs)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        super().parse_arguments(parser, args)
        section = self.config.get(self.config.get("subcommand"), self.config)
        check_bounds(LIGHTNING, {"seed_everything": section.get("seed_everything")})

    def before_instantiate_classes(self) -> None:
        for path in self._get(self.config, "config") or ():
            file = Path(str(path))
            record = file.parent / "record.json"
            if file.name == "config.yaml" and record.exists():
                check_file(file, read_record(record))

    def after_instantiate_classes(self) -> None:
        self.recorder = _callback(self.trainer, RunRecorder)
        self.checkpoints = _callback(self.trainer, RunCheckpoints)
        settings = self._settings()
        self.checkpoints.identity = identity_of(settings)
        self.recorder.settings = flat_settings(settings)
        self.recorder.initial_weights = settings.get("initial_weights", "")
        # Records say how a network without a `config` of its own was built.
        given = self._get(self.config, "model").as_dict()
        network = given["network"]
        arguments = {
            **(network.get("init_args") or {}),
            "n_vocab": self.datamodule.n_vocab,
            "n_ctx": self.datamodule.n_ctx,
        }
        built = {**given, "network": {"class_path": network["class_path"], "init_args": arguments}}
        self.model.settings = json.loads(json.dumps(built, default=str))
        self.model.network_arguments = self.model.settings["network"]["init_args"]

    def _settings(self) -> dict[str, Any]:
        """What of the configuration decides the run's weights and rows."""
        config = self.config.get(str(self.subcommand), self.config).as_dict()
        initial = _sha256_of_file(config["initial_weights"]) if self.subcommand in (None, "fit") else None
        return decisive_settings(config, self.datamodule.corpus.manifest_hash, initial)

    def _changed_settings(self, root: Path) -> dict[str, tuple[Any, Any]]:
        """By setting, what is asked for and what the run in `root` had, where that can be read."""
        try:
            trained = self._parser("fit").parse_path(root / "config.yaml").as_dict()
        except (ArgumentError, OSError, TypeError, KeyError):
            return {}
        try:
            corpus_hash = read_record(root / "record.json").corpus["manifest_hash"]
        except InputError:
            corpus_hash = self.datamodule.corpus.manifest_hash
        initial = _sha256_of_file(trained["initial_weights"])
        return differences(self._settings(), decisive_settings(trained, corpus_hash, initial))

    def _parse_ckpt_path(self) -> None:
        """Lightning would load the whole checkpoint here to look for hyperparameters; ours hold none."""

    def fit(self, ckpt_path: str | None = None, **_: Any) -> None:
        """The verb `fit`: from the start, from a checkpoint, or from the folder's newest one.

        Raises:
            InputError: the folder holds another run, or this one ended or ends by diverging.
            Interrupted: a signal ended the training; it is saved.
        """
        root = Path(self.trainer.default_root_dir)
        if self._scratch:
            self._try_out(root)
            return
        require_run_name(root.resolve().name)
        refuse_links_in(root)
        if (root / "record.json").exists() and not self._goes_on_longer(root, ckpt_path):
            return
        if self.trainer.is_global_zero:
            _require_run_folder(root)
        newest = newest_whole(root)
        if ckpt_path is None and newest:
            raise InputError(f"{root}: holds an unfinished run; resume it with --ckpt_path {NEWEST}")
        named = Path(ckpt_path) if ckpt_path and ckpt_path != NEWEST else None
        checkpoint = named or (newest if ckpt_path == NEWEST else None)
        changed = self._changed_settings(root) if checkpoint else {}
        own = checkpoint is not None and written_identity(checkpoint) == self.checkpoints.identity
        if changed and not own and ckpt_path == NEWEST:
            raise _other_settings(root, changed)
        if named and named.exists() and not (root / "curve.csv").exists():
            raise _elsewhere(root, named)
        if (not checkpoint or (changed and own)) and self.trainer.is_global_zero:
            # A resumed run keeps the configuration that it began with; one that goes on longer has a new one.
            config = self.config["fit"].clone()
            config["ckpt_path"] = None
            write_atomically(root / "config.yaml", self._parser("fit").dump(config, skip_none=False))
        if not checkpoint:
            self._take_initial_weights()
        with StopSignals() as signals:
            self.train(checkpoint, signals, own=checkpoint is not None)
        record = read_record(root / "record.json")  # the recorder of this process may not be the one that ran
        if record.status == "diverged":
            raise _diverged(root, record.reason)
        if self.trainer.is_global_zero:
            print(f"{root}: {_summary(record)}")

    def _try_out(self, root: Path) -> None:
        """`--trainer.fast_dev_run`: the first steps and an evaluation, in a folder that goes afterwards."""
        assert self._scratch
        with self._scratch, StopSignals() as signals:
            self.train(None, signals, own=False)
            if self.trainer.is_global_zero:
                print(f"fast_dev_run: {_summary(read_record(root / 'record.json'))}; nothing was kept")

    def _goes_on_longer(self, root: Path, ckpt_path: str | None) -> bool:
        """Whether a finished run is to be trained on, to a longer horizon; else say that nothing is left.

        Raises:
            InputError: the folder's run has other settings, diverged, or cannot go on.
        """
        if ckpt_path != NEWEST:
            raise InputError(
                f"{root}: holds a finished run; give another --trainer.default_root_dir, or go on to more "
                f"--trainer.max_steps with --ckpt_path {NEWEST}"
            )
        record = read_record(root / "record.json")
        if changed := self._changed_settings(root):
            asked, trained = changed.get("trainer.max_steps", (0, 0))
            if list(changed) != ["trainer.max_steps"] or asked < trained or record.steps != trained:
                raise _other_settings(root, changed)
            if self.trainer.world_size > 1:
                raise InputError(
                    f"{root}: goes on to a longer horizon on one device; give --trainer.devices 1"
                )
            print(go_on_longer(root, self.model.schedule, asked, self.checkpoints.identity))
            return True
        if record.status == "diverged":
            raise _diverged(root, record.reason)
        print(f"{root}: the run is finished, {_summary(record)}; nothing is left to train")
        return False

    def _take_initial_weights(self) -> None:
        """`--initial_weights`: begin with what another run has learned, with a new optimiser, at step 0."""
        path = self._get(self.config, "initial_weights")
        if path is None:
            return
        state = AtomicCheckpointIO().load_checkpoint(Path(path), map_location="cpu")["state_dict"]
        self.model.load_state_dict(state)

    def validate(self, ckpt_path: str | None = None, **more: Any) -> None:
        """The verb `validate`: of the run's own weights, where no others are named."""
        self.trainer.validate(ckpt_path=self._own_weights(ckpt_path), **more)

    def test(self, ckpt_path: str | None = None, **more: Any) -> None:
        """The verb `test`, as `validate`."""
        self.trainer.test(ckpt_path=self._own_weights(ckpt_path), **more)

    def predict(self, ckpt_path: str | None = None, **more: Any) -> None:
        """The verb `predict`, as `validate`."""
        self.trainer.predict(ckpt_path=self._own_weights(ckpt_path), **more)

    def _own_weights(self, ckpt_path: str | None) -> str:
        """The checkpoint to evaluate: the one named, or the final weights of the folder's run.

        Raises:
            InputError: none is named, and the folder holds no finished run.
        """
        if ckpt_path not in (None, NEWEST):
            return ckpt_path
        root = Path(self.trainer.default_root_dir)
        if is_whole(final := final_checkpoint(root)):
            return str(final)
        newest = newest_whole(root)
        if newest and ckpt_path == NEWEST:
            return str(newest)
        raise InputError(
            f"{root}: holds no final weights of a run; name a checkpoint with --ckpt_path, or the run's "
            "folder with --trainer.default_root_dir"
            + (f" (the run is unfinished: --ckpt_path {NEWEST})" if newest else "")
        )

    def train(self, checkpoint: Path | None, signals: StopSignals, *, own: bool) -> None:
        """`Trainer.fit` that ends in good order on a signal, on a full disk and inside SLURM.

        Args:
            checkpoint: where to go on from; None is the start.
            signals: entered by the caller.
            own: whether the checkpoint must be of this very configuration.

        Raises:
            InputError: the checkpoint cannot be used, or the disk is full.
            Interrupted: a signal ended the training; it is saved.
            KeyboardInterrupt: the second Ctrl-C.
        """
        root = Path(self.trainer.default_root_dir)
        if self.trainer.is_global_zero:
            forget_events(root)
        self.checkpoints.signals = signals
        self._checkpoint_io.identity = self.checkpoints.identity if own else None
        if checkpoint is None:
            # Inside SLURM, Lightning would load any `hpc_ckpt_<n>.ckpt` that it finds in the folder.
            self.trainer._checkpoint_connector._user_managed = True
        report_failed_thread = threading.excepthook
        # TensorBoard writes in a thread of its own, and raises its error here, too, at the next write.
        threading.excepthook = lambda failed: (
            None if failed.exc_type is OSError else report_failed_thread(failed)
        )
        try:
            self.trainer.fit(self.model, datamodule=self.datamodule, ckpt_path=checkpoint, weights_only=True)
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            raise not_written(Path(error.filename or root), error) from error
        except RuntimeError as error:
            if "conditioned on metric" not in str(error):  # EarlyStopping's, with the metrics that there are
                raise
            raise InputError(f"trainer.callbacks: {' '.join(str(error).split())}") from error
        except Interrupted:
            if self.trainer.is_global_zero:
                raise
            # Lightning kills rank 0, which may still be saving, where another rank ends with an error.
            raise SystemExit(0) from None
        except SystemExit as ended:
            if isinstance(ended.__context__, KeyboardInterrupt):  # Lightning makes it an exit with status 1
                raise KeyboardInterrupt from None
            raise
        finally:
            threading.excepthook = report_failed_thread

    def before_predict(self) -> None:
        if self.trainer.world_size > 1:
            raise InputError("predict writes one table: give --trainer.devices 1")


def _require_run_folder(root: Path) -> None:
    """Refuse to train over files that a run would replace, where no run wrote them.

    Raises:
        InputError: there are such files.
    """
    tables = ("curve.csv", "position_losses.csv", "token_classes.csv")
    replaced = ("config.yaml", "hparams.yaml", *tables, "events.out.tfevents.*")
    found = [path.name for pattern in (*replaced, CHECKPOINTS) for path in sorted(root.glob(pattern))]
    if found and not (_is_run_curve(root / "curve.csv") or _is_run_config(root / "config.yaml")):
        raise InputError(f"{root}: holds {found[0]}, which no run wrote; name an empty folder")


def _is_run_curve(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.readline(200).startswith(",".join(CURVE_COLUMNS[:2]).encode())
    except OSError:
        return False


def _is_run_config(path: Path) -> bool:
    """Whether a run wrote it: a configuration with every part, as nobody writes it by hand."""
    parts = ("recorder", "noise_scale", "snapshots", "checkpoints", "ckpt_path")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    return all(any(line.startswith(f"{part}:") for line in lines) for part in parts)


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


def _sha256_of_file(path: Path | str | None) -> str | None:
    """Of the checkpoint that a run begins with, if it does.

    Raises:
        InputError: it cannot be read.
    """
    if path is None:
        return None
    try:
        return sha256_of(Path(path))
    except OSError as error:
        raise InputError(f"initial_weights {path}: could not be read ({error.strerror})") from error


def _summary(record: RunRecord) -> str:
    """What a run came out with, in one line."""
    losses = ", ".join(f"{losses['loss_nats']:.4f} on {corpus}" for corpus, losses in record.losses.items())
    return f"{record.steps} steps, {record.tokens:,} tokens; loss in nats per token: {losses or 'none'}"


def _elsewhere(root: Path, checkpoint: Path) -> InputError:
    """A checkpoint of a run that is not this folder's."""
    run = checkpoint.resolve().parents[1]
    return InputError(
        f"{checkpoint}: is a checkpoint of the run {run.name!r}, and {root} holds none of its rows; go on "
        f"in its folder ({run}), or begin with its weights alone by --initial_weights {checkpoint}"
    )


def _other_settings(root: Path, changed: Mapping[str, tuple[Any, Any]]) -> InputError:
    phrases = [
        f"{key} is {json.dumps(asked)}, and the run's was {json.dumps(trained)}"
        for key, (asked, trained) in changed.items()
    ]
    more = f" (and {len(phrases) - 3} more)" if len(phrases) > 3 else ""
    return InputError(
        f"{root}: was trained from another configuration: {'; '.join(phrases[:3])}{more}; "
        "give the run another folder, or move that one away"
    )


def _diverged(root: Path, reason: str) -> InputError:
    return InputError(f"{root}: diverged: {reason}; lower the learning rate")


def _callback(trainer: pl.Trainer, kind: type[Any]) -> Any:
    return next(callback for callback in trainer.callbacks if isinstance(callback, kind))  # type: ignore[attr-defined]


def main(arguments: list[str]) -> None:
    """Run one of Lightning's verbs with `arguments` (the verb first).

    Raises:
        InputError: the configuration, the checkpoint or the machine cannot do what is asked for.
        Interrupted: a signal ended it.
    """
    _quieten()
    arguments = _found_files(_with_files(arguments))
    verb = arguments[0]
    # Errors are ours to print; and `--model.learning_rat` is not an abbreviation of anything.
    strict = {"exit_on_error": False, "allow_abbrev": False}
    try:
        with _loggers_errors_in_one_line():
            TrainingCLI(
                LanguageModel,
                TokenDataModule,
                args=arguments,
                seed_everything_default=0,
                auto_configure_optimizers=False,
                save_config_callback=None,  # `fit` writes it, atomically
                parser_kwargs={"prog": "scaling-laws", **strict, **dict.fromkeys(VERBS, strict)},
            )
    except (ArgumentError, MisconfigurationException) as error:
        raise InputError(f"{verb}: {' '.join(str(error).split())}") from error
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        reason = " ".join(str(error).split())
        raise InputError(f"{verb}: the checkpoint is of another network or vocabulary: {reason}") from error
    except SIGTERMException:
        # Of validate, test and predict: Lightning would end with status 0.
        raise Interrupted(signal.SIGTERM, f"{verb}: stopped; nothing was written") from None


def _with_files(arguments: list[str]) -> list[str]:
    """`fit FILE ...` as `fit --config FILE ...`."""
    verb, *rest = arguments
    files = list(takewhile(lambda word: not word.startswith("-"), rest))
    named = [word for file in files for word in ("--config", file)]
    return [verb, *named, *rest[len(files) :]]


def _found_files(arguments: list[str]) -> list[str]:
    """The arguments with the files that the names of `--config` mean.

    Raises:
        InputError: a configuration is not there, gives a key twice, or is none that can be read.
    """
    found = arguments[:1]
    for before, argument in pairwise(arguments):
        name = argument.removeprefix("--config=")
        if before == "--config" or name != argument:
            path = find_config(name, "train", "trainer")
            try:
                read_yaml(path)
            except InputError as error:
                raise InputError(f"{name}: {error}{missing_hint(name, 'train', 'trainer')}") from None
            argument = argument.removesuffix(name) + str(path)
        found.append(argument)
    return found


def training_cli(config: dict[str, Any]) -> TrainingCLI:
    """What `scaling-laws fit --config` would build of a configuration, without running it."""
    _quieten()
    with _loggers_errors_in_one_line():
        return TrainingCLI(
            LanguageModel,
            TokenDataModule,
            args=config,
            run=False,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_callback=None,
        )


@contextmanager
def _loggers_errors_in_one_line() -> Iterator[None]:
    """Turn the error of a logger whose package is not installed, or refuses, however deep it lies."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            reason = " ".join(str(cause).split())
            if isinstance(cause, ModuleNotFoundError):
                raise InputError(
                    f"a package is missing: {reason}; pip install '.[loggers]' in the clone has those of "
                    "W&B and MLflow"
                ) from error
            if type(cause).__module__.partition(".")[0] in LOGGER_PACKAGES:
                raise InputError(f"trainer.logger: {reason}") from error
            cause = cause.__cause__
        raise


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
        ".*LearningRateMonitor.*no learning rate schedulers.*",  # ours is a function of the step
        ".*`srun` command is available.*",  # most machines that have SLURM train here without it
    ):
        warnings.filterwarnings("ignore", message=message)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
