"""`scaling-laws fit | validate | test | predict`: arguments, files, and errors in one line."""

from __future__ import annotations

import argparse
import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise, takewhile
from typing import Any

from jsonargparse import ArgumentError, DefaultHelpFormatter
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.exceptions import SIGTERMException

from scaling_laws.study.artefacts import read_yaml
from scaling_laws.study.configurations import find_config, missing_hint
from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted
from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.lightning_cli import TrainingCLI
from scaling_laws.training.module import LanguageModel

LOGGER_PACKAGES = ("mlflow", "wandb")


class HelpAsWritten(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of what a verb's help ends with: its example can be pasted."""


def main(arguments: list[str], *, ending: str = "") -> None:
    """Run one of Lightning's verbs with `arguments` (the verb first).

    Args:
        ending: what the verb's `--help` ends with.

    Raises:
        InputError: the configuration, the checkpoint or the machine cannot do what is asked for.
        Interrupted: a signal ended it.
    """
    _quieten()
    arguments = _found_files(_with_files(arguments))
    verb = arguments[0]
    # Errors are ours to print; and `--model.learning_rat` is not an abbreviation of anything.
    strict = {"exit_on_error": False, "allow_abbrev": False}
    whole = {"prog": "scaling-laws", "formatter_class": HelpAsWritten, **strict}

    class OneVerb(TrainingCLI):
        """Without the other verbs' parsers, each of which takes a third of a small training's start."""

        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            return {verb: TrainingCLI.subcommands()[verb]}

    try:
        with _loggers_errors_in_one_line():
            OneVerb(
                LanguageModel,
                TokenDataModule,
                args=arguments,
                seed_everything_default=0,
                auto_configure_optimizers=False,
                save_config_callback=None,  # `fit` writes it, atomically
                parser_kwargs={**whole, verb: {**strict, "epilog": ending}},
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


@contextmanager
def without_greetings() -> Iterator[None]:
    """Without what Lightning says of seeds and devices, once a run."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
