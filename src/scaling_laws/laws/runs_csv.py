"""Anybody's CSV of runs as the table that the fits read.

The file is read strictly: what pandas would guess, mend or drop is an error here, in one line that names the
file, the row and the column. Row numbers are line numbers of the file; the header is line 1. What can be read
but is probably not what was meant is a sentence of `doubts`.
"""

from __future__ import annotations

import csv
import io
import math
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.study.conventions import C_CONVENTIONS, N_CONVENTIONS
from scaling_laws.study.errors import InputError
from scaling_laws.study.recipe import recipe_columns

if TYPE_CHECKING:
    import pandas as pd

# float() also takes "1_000", "nan", "infinity" and the digits of other scripts, which no measurement means.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
NOT_A_NUMBER = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)
THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}([,' \u00a0\u2019\u202f][0-9]{3})+(\.[0-9]+)?")
DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?")
WITH_UNIT = re.compile(NUMBER.pattern + r"\s*(?!e$)[a-zA-Z%][a-zA-Z%/ -]*", re.IGNORECASE)
CONDITION = re.compile(r"\s*(?:`([^`]+)`|([^\s<>=!`]+))\s*(<=|>=|==|!=|<|>)\s*(\S.*?)\s*")
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
ROLES = {
    "loss": "the loss",
    "run": "the run",
    "unique_tokens": "U, unique tokens (--unique)",
    "batch_tokens": "B, tokens a step (--batch)",
    "steps": "S, steps (--steps)",
    "weight": "the weight (--weight)",
}
"""What a column is for, where it has no letter of its own."""
OTHER_CONVENTIONS = tuple(name for name in (*N_CONVENTIONS, *C_CONVENTIONS) if name not in ("N", "C"))
STUDY_COLUMNS = (
    "n_layer",
    "d_model",
    "n_heads",
    "n_ctx",
    "unique_tokens",
    "batch_tokens",
    "steps",
    "learning_rate",
    "warmup_tokens",
)
"""Columns of our own run tables (`runs.Study.runs`) that a law's analysis knows what to do with."""
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
LOSSES = (1e-9, 1e9)
"""Beyond these a loss is not even another measure, and its powers leave the floating-point numbers."""
SHOWN_COLUMNS = 12
SHOWN_CHARACTERS = 40

UNTRAINED_NATS = 14.0
"""ln of a vocabulary of a million: no language model has a higher loss per token but by a mistake."""
LOWEST_NATS = 0.5
"""Text has more than this left to guess per token, unless tokens are characters of very regular text."""
COMPUTE_RATIO = 10.0
"""Embeddings, head and attention move C from 6 N D by less than this; another unit moves it by more."""
FEWEST_RANKS = 10
KINDS = {"N": "parameters", "D": "tokens", "C": "FLOPs"}


def read_runs_csv(
    path: str | Path,
    n: str = "N",
    d: str | None = None,
    c: str | None = None,
    loss: str = "loss",
    run: str | None = None,
    where: str | None = None,
    more: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read a comma-separated table with one row a run.

    Args:
        path: the file, UTF-8 (with or without a byte-order mark), with a header.
        n, d, c, loss, run: its columns of N (parameters), D (tokens), C (training FLOPs), loss (nats per
            token) and the run's name. `d`, `c` and `run` are by default the columns D, C and run, if there
            are any; a missing D is C/(6 N), or batch times steps; a missing C is 6 N D, a missing name is the
            line number. A name may return: its rows are one training. Columns trunk, family, seed,
            after_cooldown and stopped_early are kept (an early-stopped loss is a final one where D is
            unique_tokens); those of `STUDY_COLUMNS` too, where they hold positive numbers; those
            of `OTHER_CONVENTIONS` unless N or C come from a column of another name.
        where: keep only some rows: comparisons `column < number` or `column == text` (also <= > >= !=),
            joined by `and`; a column of several words stands in backticks.
        more: further columns of positive numbers: their name in the table (unique_tokens, batch_tokens,
            steps, weight, ...), and in the file.

    Returns:
        Columns run, trunk, family ("all" if absent), N, D, C, loss; seed, after_cooldown where the file has
        them; those of `more`; those that are kept.

    Raises:
        InputError: whatever is wrong with the file or with the arguments.
    """
    path, more = Path(path), dict(more or {})
    cells = _read(path)
    d, c = d or ("D" if "D" in cells else None), c or ("C" if "C" in cells else None)
    run = run or ("run" if "run" in cells else None)
    numbers = {"N": n, "D": d, "C": c, "loss": loss, **more}
    _check_columns(path, cells.columns.tolist(), {**numbers, "run": run})
    from_batches = d is None and c is None and {"batch_tokens", "steps"} <= set(more)
    if d is None and c is None and not from_batches:
        raise InputError(
            f"{path}: neither a column of D nor of C; name one; it has {_names(cells.columns.tolist())}"
        )
    if where is not None:
        cells = _satisfying(path, cells, where)
    table = _who(path, cells, run)
    for name, column in numbers.items():
        if column is not None:
            table[name] = _positive(path, cells[column], name)
    _add_missing(path, table, from_batches)
    if "seed" in cells:
        table["seed"] = cells["seed"]
    _add_endings(path, table, cells, of_unique_tokens=d == "unique_tokens")
    known = [*STUDY_COLUMNS, *(OTHER_CONVENTIONS if n == "N" and c in (None, "C") else ())]
    for name in known:
        if name in cells and name not in table and _all_positive(cells[name]):
            table[name] = cells[name].astype(float)
    order = ["run", "trunk", "family", "N", "D", "C", "loss", "seed", "after_cooldown", "stopped_early"]
    order = list(dict.fromkeys([*order, *more, *known]))
    return table[[name for name in order if name in table]].reset_index(drop=True)


def doubts(runs: pd.DataFrame) -> list[str]:
    """Sentences about a table of runs (columns family, N, D, C, loss) that looks like something else."""
    sentences = []
    loss = runs["loss"].to_numpy(dtype=np.float64)
    if loss.max() > UNTRAINED_NATS:
        sentences.append(
            f"Losses reach {loss.max():.4g}, more than an untrained model has in nats per token: if these are"
            " perplexities, give their logarithms."
        )
    elif loss.max() <= LOWEST_NATS:
        sentences.append(
            f"No loss is above {loss.max():.2g} nats per token: are these error rates, or losses per byte?"
        )
    # NaN, and no sentence, where one of the two never varies.
    if len(runs) >= FEWEST_RANKS and runs[["C", "loss"]].corr(method="spearman").to_numpy()[0, 1] > 0.5:
        sentences.append("The loss grows with compute: is it an accuracy, or another measure to maximise?")
    for name, unit in KINDS.items():
        values = runs[name].to_numpy(dtype=np.float64)
        if values.min() < 1:
            sentences.append(f"{name} is below one ({values.min():.3g}): is it counted in {unit}?")
    six_N_D = (
        FLOPS_PER_PARAMETER_TOKEN * runs["N"].to_numpy(dtype=np.float64) * runs["D"].to_numpy(np.float64)
    )
    ratio = float(np.exp(np.median(np.log(runs["C"].to_numpy(dtype=np.float64)) - np.log(six_N_D))))
    if not 1 / COMPUTE_RATIO < ratio < COMPUTE_RATIO:
        sentences.append(f"C is {ratio:.3g} times 6 N D in the middle run: are the units FLOPs and tokens?")
    by_family = runs.groupby("family")[recipe_columns(runs)].nunique().max()
    if mixed := sorted(by_family[by_family > 1].index):
        sentences.append(
            f"The runs of one law differ in {', '.join(mixed)}, too: keep those of one recipe with --where."
        )
    if n_copies := int(runs.duplicated(["family", "N", "D", "C", "loss"]).sum()):
        rows = "row repeats" if n_copies == 1 else "rows repeat"
        sentences.append(f"{n_copies} {rows} the N, D, C and loss of another: copies count as measurements.")
    return sentences


def _who(path: Path, cells: pd.DataFrame, run: str | None) -> pd.DataFrame:
    """The columns run, trunk and family."""
    for column in (run, "trunk", "family"):
        if column in cells and (empty := cells.index[cells[column] == ""]).size:
            raise InputError(f"{path}, row {empty[0]}, column {column!r}: empty")
    table = cells[[]].assign(run=cells[run] if run else [f"row {line}" for line in cells.index])
    table["trunk"] = cells["trunk"] if "trunk" in cells else table["run"]
    return table.assign(family=cells.get("family", "all"))


def _add_missing(path: Path, table: pd.DataFrame, from_batches: bool) -> None:
    """D and C where the file has none; both are checked."""
    if from_batches:
        table["D"] = table["batch_tokens"] * table["steps"]
    elif "D" not in table:
        table["D"] = table["C"] / (FLOPS_PER_PARAMETER_TOKEN * table["N"])
    if "C" not in table:
        table["C"] = table["D"] * (FLOPS_PER_PARAMETER_TOKEN * table["N"])
    for name, formula in (("D", "D = B S" if from_batches else "D = C/(6 N)"), ("C", "C = 6 N D")):
        for line, value in table[name].items():
            if not 0 < value < math.inf:
                raise InputError(
                    f"{path}, row {line}: {formula} is {value:g}; check the units of its columns"
                )


def _add_endings(path: Path, table: pd.DataFrame, cells: pd.DataFrame, of_unique_tokens: bool) -> None:
    """The columns after_cooldown and stopped_early.

    Where D is the unique tokens, early stopping makes the loss a final one of the tokens that limited it
    (Kaplan 2020, section 4).
    """
    for name in ("after_cooldown", "stopped_early"):
        if name in cells:
            table[name] = [_truth(path, line, name, cell) for line, cell in cells[name].items()]
    if of_unique_tokens and {"after_cooldown", "stopped_early"} <= set(table):
        table["after_cooldown"] |= table.pop("stopped_early")


def _read(path: Path) -> pd.DataFrame:
    """The rows that are not blank, as text stripped of surrounding spaces; the index is the line."""
    import pandas as pd

    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, row {line}: not UTF-8 text; save the table as CSV (UTF-8)") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{path}, row {line}: a NUL byte; this is no CSV, or not UTF-8 text")
    reader = csv.reader(io.StringIO(text), strict=True)
    header: list[str] = []
    rows: dict[int, list[str]] = {}
    line = 1  # where the row begins: a quoted cell may hold several lines
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                pass
            elif not header:
                header = cells
                _check_header(path, line, header)
            elif len(cells) != len(header):
                raise InputError(
                    f"{path}, row {line}: {len(cells)} cells under {len(header)} columns"
                    " (a torn row, or a decimal comma?)"
                )
            else:
                rows[line] = cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, row {line}: not CSV ({error})") from error
    if not header:
        raise InputError(f"{path}: empty")
    if not rows:
        raise InputError(f"{path}: a header and no rows")
    last = next(reversed(rows))
    if text.endswith(".") and NUMBER.fullmatch(rows[last][-1]):  # "3.51" cut to "3."; "3.5" would pass
        raise InputError(f"{path}, row {last}: the file ends within a number; is it torn?")
    return pd.DataFrame(rows.values(), index=list(rows), columns=header)


def _check_header(path: Path, line: int, header: list[str]) -> None:
    if len(header) == 1:
        for separator, name in SEPARATORS.items():
            if separator in header[0]:
                raise InputError(f"{path}, row {line}: columns separated by {name}; separate them by commas")
    for i, column in enumerate(header, start=1):
        if not column:
            raise InputError(f"{path}, row {line}: column {i} has no name")
    if duplicates := sorted({column for column in header if header.count(column) > 1}):
        raise InputError(f"{path}, row {line}: the column {_short(duplicates[0])} occurs twice; rename one")


def _check_columns(path: Path, header: list[str], columns: Mapping[str, str | None]) -> None:
    """Every column that was asked for is there, is no other's twin, and has one role alone."""
    roles: dict[str, str] = {}
    for role, column in columns.items():
        if column is None:
            continue
        what = ROLES.get(role, role)
        twins = [name for name in header if name != column and name.lower() == column.lower()]
        if column not in header:
            hint = f"; is it {twins[0]!r}? name it on the command line" if twins else ""
            raise InputError(f"{path}: no column {column!r} for {what}; it has {_names(header)}{hint}")
        if twins:
            raise InputError(f"{path}: columns {column!r} and {twins[0]!r} differ in case alone; rename one")
        if role != "run" and column in roles:
            raise InputError(f"{path}: the column {column!r} cannot be both {roles[column]} and {what}")
        roles[column] = what


def _number(path: Path, line: Any, column: str, cell: str) -> float:
    """The cell as a number, NaN and infinities included."""
    if NUMBER.fullmatch(cell) or NOT_A_NUMBER.fullmatch(cell):
        return float(cell)
    where = f"{path}, row {line}, column {column!r}"
    if not cell:
        raise InputError(f"{where}: empty")
    if THOUSANDS.fullmatch(cell):
        raise InputError(f"{where}: {_short(cell)} has thousands separators or a decimal comma; write 1234.5")
    if DECIMAL_COMMA.fullmatch(cell):
        raise InputError(f"{where}: {_short(cell)} has a decimal comma; use a point")
    if WITH_UNIT.fullmatch(cell):
        raise InputError(f"{where}: {_short(cell)} has a unit; write the number alone, as in 1.25e8")
    raise InputError(f"{where}: {_short(cell)} is not a number")


def _positive(path: Path, cells: pd.Series, name: str) -> list[float]:
    """The cells of a column as numbers, each finite and positive; losses within reason."""
    numbers = []
    for line, cell in cells.items():
        value = _number(path, line, str(cells.name), cell)
        where = f"{path}, row {line}, column {cells.name!r}: {_short(cell, quote=False)}"
        if not (math.isfinite(value) and value > 0):
            raise InputError(
                f"{where} is not a finite positive number; drop the row, or leave it out with `where`"
            )
        if name == "loss" and not LOSSES[0] <= value <= LOSSES[1]:
            raise InputError(f"{where} is no loss in nats per token, nor a perplexity")
        numbers.append(value)
    return numbers


def _all_positive(cells: pd.Series) -> bool:
    return all(NUMBER.fullmatch(cell) and 0 < float(cell) < math.inf for cell in cells)


def _truth(path: Path, line: Any, column: str, cell: str) -> bool:
    truths = {"true": True, "1": True, "false": False, "0": False}
    if cell.lower() not in truths:
        where = f"{path}, row {line}, column {column!r}"
        raise InputError(f"{where}: {_short(cell)} is neither True nor False")
    return truths[cell.lower()]


def _satisfying(path: Path, cells: pd.DataFrame, where: str) -> pd.DataFrame:
    """The rows that satisfy every comparison of `where`; NaN and empty cells satisfy none but !=."""
    for part in re.split(r"\s+and\s+", where.strip()):
        match = CONDITION.fullmatch(part)
        if match is None:
            raise InputError(
                f"where {where!r}: {part!r} is not `column < value` (or <= > >= == !=, joined by and)"
            )
        column, sign, value = match[1] or match[2], match[3], match[4]
        if column not in cells:
            raise InputError(
                f"where {where!r}: {path} has no column {column!r}; it has {_names(cells.columns.tolist())}"
            )
        values: list[Any] = cells[column].tolist()
        wanted: float | str = value.strip("'\"")
        if NUMBER.fullmatch(value):
            wanted = float(value)
            values = [
                _number(path, line, column, cell) if cell else math.nan
                for line, cell in cells[column].items()
            ]
        elif sign not in ("==", "!="):
            raise InputError(f"where {where!r}: {value!r} is not a number; compare text with == or !=")
        cells = cells[[COMPARE[sign](cell, wanted) for cell in values]]
    if cells.empty:
        raise InputError(f"{path}: no row satisfies {where!r}")
    return cells


def _names(header: list[str]) -> str:
    """The columns for a message of one line."""
    shown = ", ".join(" ".join(column.split())[:SHOWN_CHARACTERS] for column in header[:SHOWN_COLUMNS])
    return shown + (f" and {len(header) - SHOWN_COLUMNS} more" if len(header) > SHOWN_COLUMNS else "")


def _short(cell: str, quote: bool = True) -> str:
    """A cell for a message of one line."""
    shown = cell if len(cell) <= SHOWN_CHARACTERS else cell[: SHOWN_CHARACTERS - 3] + "..."
    return repr(shown) if quote else shown
