"""TensorBoard's event files: a folder a run, with what its hyperparameters, its name or a table say of N."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.readers.run_folders import (
    LoggedRun,
    along_table,
    folders_with,
    has_folder_with,
    run_name,
    settings_file,
)
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

EVENTS = "events.out.tfevents."
HPARAMS_FOLDER = re.compile(r"[0-9]{9,}(\.[0-9]+)?")
"""`SummaryWriter.add_hparams` writes into a folder below the run's that is called by the time."""
PARTS = {"train", "validation", "val", "valid", "eval", "test"}
"""Folders below a run's that hold one split of it, as Keras writes them."""
MISSING = {
    "N": "log it as a hyperparameter (--n NAME)",
    "D": "log the tokens seen (--d TAG) or the tokens of a step (--batch NAME)",
    "loss": "name the tag of the loss (--tag val/loss)",
}


class TensorBoardReader:
    """Reads scalars of both kinds of summaries, and hyperparameters, with TensorBoard's own parser."""

    def recognises(self, path: Path) -> bool:
        return has_folder_with(path, _is_events)

    def read(self, path: Path) -> pd.DataFrame:
        return along_table(path, _runs(path), MISSING)


def _is_events(name: str) -> bool:
    return EVENTS in name


def _runs(root: Path) -> Iterator[LoggedRun]:
    points: dict[Path, dict[str, dict[int, Any]]] = {}
    settings: dict[Path, dict[str, Any]] = {}
    for folder, _ in folders_with(root, _is_events):
        scalars, hparams = _events(folder)
        run, prefix = folder, ""
        if folder != root and HPARAMS_FOLDER.fullmatch(folder.name):
            run = folder.parent
        elif folder != root and folder.name.lower() in PARTS:
            run, prefix = folder.parent, f"{folder.name}/"
        of_run = points.setdefault(run, {})
        for tag, values in scalars.items():
            of_run.setdefault(prefix + tag, {}).update(values)
        settings.setdefault(run, settings_file(run / "hparams.yaml")).update(hparams)
    for run in points:
        yield LoggedRun(name=run_name(root, run), points=points[run], settings=settings[run])


def _as_written(value: float) -> float:
    """The shortest number that single precision, which the files have, does not tell from this one."""
    return float(str(np.float32(value)))


def _events(folder: Path) -> tuple[dict[str, dict[int, Any]], dict[str, Any]]:
    """Scalars by tag and step, and hyperparameters, of all event files in a folder.

    Raises:
        InputError: TensorBoard is not installed, or cannot read them.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.plugins.hparams import metadata
        from tensorboard.util import tensor_util
    except ImportError:
        raise InputError(
            f"{folder}: event files need the package tensorboard: pip install tensorboard"
        ) from None
    try:
        log = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
        log.Reload()
        tags = log.Tags()
        scalars = {
            tag: {event.step: _as_written(event.value) for event in log.Scalars(tag)}
            for tag in tags["scalars"]
        }
        of_kind = {tag: data.plugin_data for tag, data in log.summary_metadata.items()}
        for tag in tags["tensors"]:  # scalars of TensorFlow 2
            if tag in of_kind and of_kind[tag].plugin_name == "scalars":
                scalars[tag] = {
                    event.step: _as_written(tensor_util.make_ndarray(event.tensor_proto).item())
                    for event in log.Tensors(tag)
                }
        hparams: dict[str, Any] = {}
        if session := of_kind.get(metadata.SESSION_START_INFO_TAG):
            start = metadata.parse_session_start_info_plugin_data(session.content)
            for name, value in start.hparams.items():
                hparams[name] = getattr(value, value.WhichOneof("kind") or "string_value")
    except Exception as error:  # the parser has many of its own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{folder}: its event files cannot be read ({reason})") from error
    return scalars, hparams
