"""Lightning's CSVLogger: `metrics.csv` a run, with `hparams.yaml` beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.readers.run_folders import (
    LoggedRun,
    along_table,
    folders_with,
    has_folder_with,
    run_name,
    settings_file,
)
from scaling_laws.laws.readers.table_files import read_cells
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

METRICS = "metrics.csv"
MISSING = {
    "N": "log it with save_hyperparameters (--n NAME)",
    "D": "log the tokens seen (--d COLUMN) or the tokens of a step (--batch NAME)",
    "loss": "name the column of the loss (--tag val_loss)",
}


class LightningCsvReader:
    """Reads the columns of every `metrics.csv`; rows of one step belong together."""

    def recognises(self, path: Path) -> bool:
        return has_folder_with(path, METRICS.__eq__)

    def read(self, path: Path) -> pd.DataFrame:
        return along_table(path, _runs(path), MISSING)


def _runs(root: Path) -> Iterator[LoggedRun]:
    for folder, _ in folders_with(root, METRICS.__eq__):
        path = folder / METRICS
        cells = read_cells(path)
        if "step" not in cells:
            raise InputError(f"{path}: no column 'step', which Lightning's CSVLogger writes")
        try:
            steps = [int(float(cell)) for cell in cells["step"]]
        except (ValueError, OverflowError):
            raise InputError(f"{path}, column 'step': a cell is not a number") from None
        points: dict[str, dict[int, Any]] = {}
        for tag in cells.columns.drop("step"):
            for step, cell in zip(steps, cells[tag], strict=True):
                if cell:
                    points.setdefault(tag, {})[step] = cell
        yield LoggedRun(
            name=run_name(root, folder), points=points, settings=settings_file(folder / "hparams.yaml")
        )
