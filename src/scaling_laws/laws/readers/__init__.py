"""Where runs come from: a reader a format, found by asking each whether it recognises what lies there.

A package adds its own by the entry point group `scaling_laws.readers`, each a class as `Reader` describes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

GROUP = "scaling_laws.readers"
OWN = (
    "study_reader:StudyReader",
    "mlflow_reader:MlflowReader",
    "mlflow_database:MlflowDatabaseReader",
    "hugging_face_reader:HuggingFaceReader",
    "lightning_csv_reader:LightningCsvReader",
    "tensorboard_reader:TensorBoardReader",
    "table_files:TableReader",
)
"""Ours, in the order in which they are asked: the first that recognises a path reads it."""


class Reader(Protocol):
    """Reads one format. A class of this kind is made without arguments."""

    def recognises(self, path: Path) -> bool:
        """Whether `path`, a file or a folder, is of this format; looks at little, and raises nothing."""

    def read(self, path: Path) -> pd.DataFrame:
        """The runs, a row each, or a row for each evaluation of a run.

        Columns of any names; `run` names the run; N, D, C and loss need no option. Cells are numbers or text.
        `attrs` may hold

        - `along`: True where rows are points along a run, in order: then only the last counts by default,
          and a cell that is empty has the value of the row before;
        - `usual_names`: True where the columns of N, D, C and the loss may be found by their usual names;
        - `notes`: sentences for the user;
        - `left_out`: pairs of run and reason;
        - `missing`: for a role (`N`, `D`, `loss`) what a user can do where there is no such column.

        Raises:
            InputError: what is wrong, in one line that begins with the path.
        """


def runs_path(source: str | Path) -> Path:
    """The file or folder; of `sqlite:///mlflow.db` the file."""
    text = str(source)
    if not text.startswith("sqlite:/"):
        return Path(source)
    return Path(text.removeprefix("sqlite:///" if text.startswith("sqlite:///") else "sqlite:/"))


def reader_of(path: Path) -> Reader:
    """The reader that recognises a path; those of other packages are asked first.

    Raises:
        InputError: none does, or a package's reader cannot be loaded.
    """
    for reader in _readers():
        if reader.recognises(path):
            return reader
    raise InputError(
        f"{path}: neither a study (no record.json in any run's folder) nor runs of another kind: there are "
        "no TensorBoard events, no metrics.csv, no trainer_state.json and no mlruns of MLflow"
    )


def _readers() -> Iterator[Reader]:
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            kind = entry.load()
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"reader {entry.name}: {entry.value} cannot be loaded ({error}); install its package again"
            ) from error
        yield kind()
    for place in OWN:
        module, _, name = place.partition(":")
        yield getattr(import_module(f"{__name__}.{module}"), name)()
