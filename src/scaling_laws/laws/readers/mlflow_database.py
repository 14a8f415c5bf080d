"""MLflow's runs in a SQLite file, as `sqlite:///mlflow.db` makes it; read-only, and without MLflow."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.readers.mlflow_reader import MISSING
from scaling_laws.laws.readers.run_folders import LoggedRun, along_table
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

FIRST_BYTES = b"SQLite format 3\0"
SERVER = re.compile(r"(postgresql|mysql|mssql|oracle|https?|databricks)(\+\w+)?:")
LARGEST_FLOAT = 1e308
"""MLflow keeps infinities as the largest numbers."""


class MlflowDatabaseReader:
    """Reads the metrics and parameters of every run that nobody deleted, and its state."""

    def recognises(self, path: Path) -> bool:
        if SERVER.match(str(path)):
            return True
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(FIRST_BYTES)) == FIRST_BYTES

    def read(self, path: Path) -> pd.DataFrame:
        if SERVER.match(str(path)):
            raise InputError(
                f"{path}: a server's runs are not read here; export them with "
                "`mlflow experiments csv -x ID -o runs.csv`, and give runs.csv"
            )
        try:
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
                database.execute("PRAGMA trusted_schema = OFF")
                runs = list(_runs(database))
        except sqlite3.Error as error:
            raise InputError(f"{path}: is not a database of MLflow's runs ({error})") from error
        return along_table(path, runs, MISSING)


def _runs(database: sqlite3.Connection) -> Iterator[LoggedRun]:
    asked = "SELECT run_uuid, name, status FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time"
    found = [(str(run), str(name or run), str(state)) for run, name, state in database.execute(asked)]
    often = Counter(name for _, name, _ in found)
    for run, name, state in found:
        points: dict[str, dict[int, Any]] = {}
        asked = "SELECT key, step, value, is_nan FROM metrics WHERE run_uuid = ? ORDER BY step, timestamp"
        for key, step, value, is_nan in database.execute(asked, (run,)):
            if is_nan:
                value = "nan"
            elif abs(value) > LARGEST_FLOAT:
                value = "inf" if value > 0 else "-inf"
            points.setdefault(str(key), {})[int(step)] = value
        settings = dict(database.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run,)))
        yield LoggedRun(
            name=name if often[name] == 1 else f"{name} ({run[:8]})",
            points=points,
            settings=settings | {"State": state.lower()},
        )
