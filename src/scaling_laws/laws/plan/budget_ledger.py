"""One ledger of runs that are trained in rounds: what each was planned for, what it costs, what it reached.

A ledger is a table, in a file a CSV: a row per run. Whoever trains fills in `loss`, and puts the N and D that
were really trained where they differ; everything else is the planner's. Further columns stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.plan.compute_budget import parse_count
from scaling_laws.laws.readers.table_files import read_cells
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = ("batch_tokens", "beta2", "epsilon")
"""What a training is given besides its learning rate; empty where nobody said."""
EXPECTED = ("expected_loss", "expected_low", "expected_high")
COLUMNS = ("run", "round", "point", "N", "D", "C", "learning_rate", *SETTINGS, "loss", *EXPECTED)
DIVERGED = ("inf", "nan", "diverged")
"""What `loss` may say of a run that has none; in the table it is infinite."""


@dataclass(frozen=True, kw_only=True)
class RoundRun:
    """One run of a round.

    Attributes:
        run: its name.
        round: from 1.
        point: runs of one point have one N and D, and differ in a setting.
        N, D: parameters, tokens.
        learning_rate: peak.
        batch_tokens, beta2, epsilon: None where nobody said.
        expected_loss, expected_low, expected_high: nats per token with its 90 % interval, of the last run.
    """

    run: str
    round: int
    point: str
    N: float
    D: float
    learning_rate: float
    batch_tokens: float | None = None
    beta2: float | None = None
    epsilon: float | None = None
    expected_loss: float | None = None
    expected_low: float | None = None
    expected_high: float | None = None

    @property
    def cost(self) -> float:
        """6 N D, FLOPs."""
        return FLOPS_PER_PARAMETER_TOKEN * self.N * self.D

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"C": self.cost}


def empty_ledger() -> pd.DataFrame:
    """A ledger without runs."""
    return checked_ledger(_frame([]), "the ledger")


def with_runs(ledger: pd.DataFrame, runs: Sequence[RoundRun]) -> pd.DataFrame:
    """The ledger with these runs below its own, still without a loss."""
    import pandas as pd

    if not runs:
        return ledger
    more = checked_ledger(_frame(runs), "the planner").reindex(columns=ledger.columns)
    return more if ledger.empty else pd.concat([ledger, more], ignore_index=True)


def read_ledger(path: Path) -> pd.DataFrame:
    """The ledger in a file.

    Raises:
        InputError: no such file, no ledger, or a cell that is none; one line that names it.
    """
    cells = read_cells(path)
    if missing := [name for name in ("run", "round", "N", "D", "learning_rate", "loss") if name not in cells]:
        raise InputError(
            f"{path}: is no ledger, it lacks {', '.join(missing)}; begin one with a name that is free"
        )
    cells = cells.reset_index(drop=True)
    table = cells.astype(object)
    for name in ("N", "D", "learning_rate", *SETTINGS, *EXPECTED, "loss"):
        if name not in cells:
            continue
        table[name] = [
            _number(text, name, f"{path}, {name} of {run}")
            for text, run in zip(cells[name], cells["run"], strict=True)
        ]
    try:
        table["round"] = [int(text) for text in cells["round"]]
    except ValueError:
        raise InputError(f"{path}: round is a whole number from 1 in every row") from None
    return checked_ledger(table, str(path))


def checked_ledger(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table with every column of a ledger, numbers as floats and C as 6 N D.

    Raises:
        InputError: a column is missing, or a number is not positive.
    """
    needed = ("run", "round", "N", "D", "learning_rate", "loss")
    if missing := [column for column in needed if column not in table]:
        raise InputError(f"{name}: is no ledger, it lacks {', '.join(missing)}")
    found = table.reset_index(drop=True).reindex(
        columns=[*COLUMNS, *(name for name in table.columns if name not in COLUMNS)]
    )
    numbers = ("N", "D", "learning_rate", *SETTINGS, "loss", *EXPECTED)
    for column in numbers:
        try:
            found[column] = found[column].astype(float)
        except (TypeError, ValueError):
            raise InputError(f"{name}: {column} holds something that is no number") from None
        needs_one = column in ("N", "D", "learning_rate")
        bad = ~(found[column] > 0) & (found[column].notna() | needs_one)
        if bad.any():
            row = found[bad].iloc[0]
            raise InputError(f"{name}: {column} of {row['run']} is {row[column]}: give a positive number")
    found["round"] = found["round"].astype(int)
    found["run"], found["point"] = found["run"].astype(str), found["point"].fillna("").astype(str)
    if (found["round"] < 1).any():
        raise InputError(f"{name}: round is a whole number from 1 in every row")
    if found["run"].duplicated().any():
        raise InputError(f"{name}: two runs are called {found['run'][found['run'].duplicated()].iloc[0]}")
    own = found["point"] == ""  # of a user's own
    found.loc[own, "point"] = "own " + found.loc[own, "run"]
    found["C"] = FLOPS_PER_PARAMETER_TOKEN * found["N"] * found["D"]
    return found


def ledger_csv(ledger: pd.DataFrame) -> str:
    """The text of the file; six digits, and nothing where nothing is known."""
    table = ledger.copy()
    for column in ("N", "D", "C", "learning_rate", *SETTINGS, "loss", *EXPECTED):
        table[column] = ["" if np.isnan(value) else f"{value:.10g}" for value in table[column]]
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text


def _frame(runs: Sequence[RoundRun]) -> pd.DataFrame:
    import pandas as pd

    rows = [asdict(run) | {"C": run.cost, "loss": np.nan} for run in runs]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _number(text: str, column: str, where: str) -> float:
    if text.strip() == "":
        return float("nan")
    if column == "loss" and text.strip().lower() in DIVERGED:
        return float("inf")
    return parse_count(text, where)
