"""One network by LightningCLI: our module, data and recorder, and what its verbs do in a run's folder."""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
from jsonargparse import ArgumentError
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from scaling_laws.study.bounds import Seed, check_bounds
from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted, StopSignals
from scaling_laws.study.names import require_run_name
from scaling_laws.study.own_files import refuse_links_in
from scaling_laws.study.records import (
    DISK_ERRORS,
    check_file,
    not_written,
    read_record,
    sha256_of,
    write_atomically,
)
from scaling_laws.training.checkpoint import (
    AtomicCheckpointIO,
    RunCheckpoints,
    newest_whole,
    written_identity,
)
from scaling_laws.training.event_log import forget_events
from scaling_laws.training.longer import go_on_longer
from scaling_laws.training.noise_scale import NoiseScale
from scaling_laws.training.recorder import RunRecorder
from scaling_laws.training.run_folder import (
    NEWEST,
    diverged,
    elsewhere,
    other_settings,
    require_run_folder,
    summary,
    weights_to_evaluate,
)
from scaling_laws.training.run_settings import decisive_settings, differences, flat_settings, identity_of
from scaling_laws.training.snapshots import Snapshots
from scaling_laws.training.trainer_arguments import trainer_arguments

SEED = {"seed_everything": Seed | bool | None}
"""Bounds of what Lightning takes as it comes."""


class TrainingCLI(LightningCLI):
    """One network: what a sweep does many times over, and what its `config.yaml` files are for."""

    _scratch: tempfile.TemporaryDirectory[str] | None = None
    """Where `--trainer.fast_dev_run` trains."""
    _parser_without_verbs: ClassVar[LightningArgumentParser | None] = None

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

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """Of the trainings of one process, which are called by their configurations, one parser is enough."""
        if add_subcommands:
            super().setup_parser(add_subcommands, main_kwargs, subparser_kwargs)
            return
        if TrainingCLI._parser_without_verbs is None:
            super().setup_parser(add_subcommands, main_kwargs, subparser_kwargs)
            TrainingCLI._parser_without_verbs = self.parser
        self.parser = TrainingCLI._parser_without_verbs

    def _add_instantiators(self) -> None:
        """Lightning would dump the configuration here for `save_hyperparameters`, which nobody calls."""

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        config = self._get(self.config_init, "trainer")
        self._checkpoint_io = AtomicCheckpointIO()
        kwargs |= trainer_arguments(config, self.subcommand, self._checkpoint_io)
        if config["fast_dev_run"] and self.subcommand == "fit":
            self._scratch = tempfile.TemporaryDirectory(prefix="scaling-laws-")
            kwargs["default_root_dir"] = self._scratch.name
        return super().instantiate_trainer(**kwargs)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        super().parse_arguments(parser, args)
        section = self.config.get(self.config.get("subcommand"), self.config)
        check_bounds(SEED, {"seed_everything": section.get("seed_everything")})

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
            require_run_folder(root)
        newest = newest_whole(root)
        if ckpt_path is None and newest:
            raise InputError(f"{root}: holds an unfinished run; resume it with --ckpt_path {NEWEST}")
        named = Path(ckpt_path) if ckpt_path and ckpt_path != NEWEST else None
        checkpoint = named or (newest if ckpt_path == NEWEST else None)
        changed = self._changed_settings(root) if checkpoint else {}
        own = checkpoint is not None and written_identity(checkpoint) == self.checkpoints.identity
        if changed and not own and ckpt_path == NEWEST:
            raise other_settings(root, changed)
        if named and named.exists() and not (root / "curve.csv").exists():
            raise elsewhere(root, named)
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
            raise diverged(root, record.reason)
        if self.trainer.is_global_zero:
            print(f"{root}: {summary(record)}")

    def _try_out(self, root: Path) -> None:
        """`--trainer.fast_dev_run`: the first steps and an evaluation, in a folder that goes afterwards."""
        assert self._scratch
        with self._scratch, StopSignals() as signals:
            self.train(None, signals, own=False)
            if self.trainer.is_global_zero:
                print(f"fast_dev_run: {summary(read_record(root / 'record.json'))}; nothing was kept")

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
                raise other_settings(root, changed)
            if self.trainer.world_size > 1:
                raise InputError(
                    f"{root}: goes on to a longer horizon on one device; give --trainer.devices 1"
                )
            print(go_on_longer(root, self.model.schedule, asked, self.checkpoints.identity))
            return True
        if record.status == "diverged":
            raise diverged(root, record.reason)
        print(f"{root}: the run is finished, {summary(record)}; nothing is left to train")
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
        self.trainer.validate(ckpt_path=self._weights(ckpt_path), **more)

    def test(self, ckpt_path: str | None = None, **more: Any) -> None:
        """The verb `test`, as `validate`."""
        self.trainer.test(ckpt_path=self._weights(ckpt_path), **more)

    def predict(self, ckpt_path: str | None = None, **more: Any) -> None:
        """The verb `predict`, as `validate`."""
        self.trainer.predict(ckpt_path=self._weights(ckpt_path), **more)

    def _weights(self, ckpt_path: str | None) -> str:
        return weights_to_evaluate(Path(self.trainer.default_root_dir), ckpt_path)

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


def _callback(trainer: pl.Trainer, kind: type[Any]) -> Any:
    return next(callback for callback in trainer.callbacks if isinstance(callback, kind))  # type: ignore[attr-defined]
