"""Anybody's table of runs as the table that the fits read.

What can be read in one way alone is read (`1.3B`, `1_000`); what pandas would guess, mend or drop is an error
here, in one line that names the file, the rows and the columns. What can be read but is probably not what was
meant is a sentence of `doubts`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws import KEEP, LOSS_UNITS, Keep, LossUnit
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.plan.compute_budget import SUFFIXES
from scaling_laws.laws.row_conditions import satisfying
from scaling_laws.laws.table_files import DECIMAL_COMMA, SHOWN_CHARACTERS, cells_of, read_cells
from scaling_laws.study.conventions import C_CONVENTIONS, N_CONVENTIONS
from scaling_laws.study.errors import InputError
from scaling_laws.study.recipe import recipe_columns

if TYPE_CHECKING:
    import pandas as pd

# float() also takes "nan", "infinity" and the digits of other scripts, which no measurement means.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
NOT_FINITE = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)
MISSING = {"", "na", "n/a", "none", "null", "<na>"}
"""A loss that was never measured, as programs write it."""
COUNT = re.compile(
    rf"(?P<number>{NUMBER.pattern}"
    r"|[0-9]{1,3}([_,' \u00a0\u2019\u202f])[0-9]{3}(\4[0-9]{3})*|[0-9]+(_[0-9]+)+)"
    r"\s*(?P<scale>[kmbgt]?)\s*(flops?|tokens?|toks?|param(eter)?s?)?",
    re.IGNORECASE,
)
"""A count as people write it: 1.3B, 125m, 1_000, 1,000,000, 3e9 FLOPs."""
SCALES = {**SUFFIXES, "g": 1e9}
THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}([,' \u00a0\u2019\u202f][0-9]{3})+(\.[0-9]+)?")
WITH_UNIT = re.compile(NUMBER.pattern + r"\s*(?!e$)[a-zA-Z%][a-zA-Z%/ -]*", re.IGNORECASE)
ROLES = {
    "loss": "the loss",
    "run": "the run",
    "unique_tokens": "U, unique tokens (--unique)",
    "batch_tokens": "B, tokens a step (--batch)",
    "steps": "S, steps (--steps)",
    "weight": "the weight (--weight)",
}
"""What a column is for, where it has no letter of its own."""
USUAL_NAMES = {
    "N": ("params", "nparams", "numparams", "parameters", "nparameters", "modelsize", "paramcount", "ntotal"),
    "D": ("tokens", "ntokens", "numtokens", "traintokens", "trainingtokens", "tokensseen", "datasetsize"),
    "C": ("flops", "compute", "trainflops", "trainingflops", "totalflops", "flop"),
    "loss": ("valloss", "evalloss", "testloss", "validationloss", "finalloss", "lossnats", "lmloss"),
}
"""Names without signs and in lower case, the likeliest first."""
STATES = {"finished", "crashed", "failed", "killed", "running", "preempted", "scheduled", "pending"}
"""What Weights & Biases and MLflow say of a run in the column `State` or `status`."""
STEPS = ("step", "_step", "global_step", "Step", "steps", "iteration")
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
LOSSES = (1e-9, 1e9)
"""Beyond these a loss is not even another measure, and its powers leave the floating-point numbers."""
SHOWN_COLUMNS = 12
SHOWN_CELLS = 5

UNTRAINED_NATS = 14.0
"""ln of a vocabulary of a million: no language model has a higher loss per token but by a mistake."""
LOWEST_NATS = 0.5
"""Text has more than this left to guess per token, unless tokens are characters of very regular text."""
COMPUTE_RATIO = 10.0
"""Embeddings, head and attention move C from 6 N D by less than this; another unit moves it by more."""
FEWEST_TOKENS = 1e4
"""Nobody trains on less: D is in millions or billions then."""
MOST_TOKENS_A_PARAMETER = 1e5
FEWEST_RANKS = 10
FEWEST_ROWS_ALONG = 4
"""Rows of one run, all of one size, that look like its learning curve."""
KINDS = {"N": "parameters", "D": "tokens", "C": "FLOPs"}


def read_runs(
    source: str | Path | pd.DataFrame,
    n: str = "N",
    d: str | None = None,
    c: str | None = None,
    loss: str = "loss",
    run: str | None = None,
    where: str | Sequence[str] | None = None,
    more: Mapping[str, str] | None = None,
    keep: Keep = "all",
    loss_unit: LossUnit = "nats",
    bytes_per_token: float | None = None,
) -> pd.DataFrame:
    """Read a table with one row a run.

    Counts may be written as people do: 1.3B, 125m, 1_000, "1,000". Rows without a finite loss, and those of
    runs that their `State` calls crashed or unfinished, are left out and named.

    Args:
        source: a file (`table_files.read_cells`), or a DataFrame.
        n, d, c, loss, run: its columns of N (parameters), D (tokens), C (training FLOPs), loss and the
            run's name. `d`, `c` and `run` are by default the columns D, C and run, if there
            are any; a missing D is C/(6 N), or batch times steps; a missing C is 6 N D, a missing name is the
            line number. A name may return: its rows are one training. Columns trunk, family, seed,
            after_cooldown and stopped_early are kept (an early-stopped loss is a final one where D is
            unique_tokens); those of `STUDY_COLUMNS` too, where they hold positive numbers; those
            of `OTHER_CONVENTIONS` unless N or C come from a column of another name.
        where: keep only some rows: conditions (`row_conditions`), all of which must hold.
        more: further columns of positive numbers: their name in the table (unique_tokens, batch_tokens,
            steps, weight, ...), and in the file.
        keep: of several rows of one run, all, the last (most steps or tokens) or the best (lowest loss).
        loss_unit: of the column: nats per token, bits per token, bits per byte, or perplexity.
        bytes_per_token: of the tokenizer on the evaluated text; needed for bits per byte.

    Returns:
        Columns run, trunk, family ("all" if absent), N, D, C, loss (nats per token); seed, after_cooldown
        where the file has them; those of `more`; those that are kept. `attrs` has `name`, `notes`
        (sentences: what was read in another unit, what was left out) and `left_out` (run and reason).

    Raises:
        InputError: whatever is wrong with the file or with the arguments.
    """
    import pandas as pd

    name = "the table" if isinstance(source, pd.DataFrame) else str(source)
    cells = cells_of(source) if isinstance(source, pd.DataFrame) else read_cells(Path(source))
    more, to_nats = dict(more or {}), _to_nats(loss_unit, bytes_per_token)
    if cells.empty:
        raise InputError(f"{name}: a header and no rows")
    d, c = d or ("D" if "D" in cells else None), c or ("C" if "C" in cells else None)
    run = run or ("run" if "run" in cells else None)
    numbers = {"N": n, "D": d, "C": c, "loss": loss, **more}
    _check_columns(name, cells.columns.tolist(), {**numbers, "run": run})
    from_batches = d is None and c is None and {"batch_tokens", "steps"} <= set(more)
    if d is None and c is None and not from_batches:
        raise InputError(
            f"{name}: neither a column of D nor of C; name one; it has {_names(cells.columns.tolist())}"
            + _suggestion(cells.columns.tolist(), ("D", "C"))
        )
    read_cell = partial(_number, name)
    for condition in [where] if isinstance(where, str) else where or ():
        cells = satisfying(name, cells, condition, read_cell)
    names = cells[run] if run else pd.Series([f"row {line}" for line in cells.index], index=cells.index)
    cells, left_out = _with_a_loss(name, cells, names, loss)
    table = _who(name, cells, run)
    bad: list[str] = []
    scaled: dict[str, str] = {}
    for role, column in numbers.items():
        if column is not None:
            table[role] = _positive(name, cells[column], role, bad, scaled)
    if bad:
        hidden = f"; and {len(bad) - SHOWN_CELLS} more cells" if len(bad) > SHOWN_CELLS else ""
        raise InputError(f"{name}, " + "; ".join(bad[:SHOWN_CELLS]) + hidden)
    table["loss"] = [to_nats(value) for value in table["loss"]]
    _add_missing(name, table, from_batches)
    if "seed" in cells:
        table["seed"] = cells["seed"]
    _add_endings(name, table, cells, of_unique_tokens=d == "unique_tokens")
    known = [*STUDY_COLUMNS, *(OTHER_CONVENTIONS if n == "N" and c in (None, "C") else ())]
    for column in known:
        if column in cells and column not in table and _all_positive(cells[column]):
            table[column] = cells[column].astype(float)
    table = _kept(name, table, cells, keep)
    order = ["run", "trunk", "family", "N", "D", "C", "loss", "seed", "after_cooldown", "stopped_early"]
    order = list(dict.fromkeys([*order, *more, *known]))
    runs = table[[column for column in order if column in table]].reset_index(drop=True)
    notes = [f"{role} is written with a unit or separators: {example}." for role, example in scaled.items()]
    notes += _of_loss_unit(loss, loss_unit) + _left_out_note(left_out)
    runs.attrs = {"name": Path(name).name, "notes": tuple(notes), "left_out": tuple(left_out)}
    return runs


def left_out_of_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows that `read_runs` left out: run, status, reason."""
    import pandas as pd

    rows = [(run, "left out", reason) for run, reason in runs.attrs.get("left_out", ())]
    return pd.DataFrame(rows, columns=["run", "status", "reason"])


def doubts(runs: pd.DataFrame) -> list[str]:
    """Sentences about a table of runs (columns family, N, D, C, loss) that looks like something else."""
    sentences = list(runs.attrs.get("notes", ()))
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
    D = runs["D"].to_numpy(dtype=np.float64)
    if 1 <= D.max() < FEWEST_TOKENS:
        sentences.append(
            f"D reaches {D.max():.4g} only: is it counted in tokens, or in millions or billions?"
        )
    per_parameter = float(np.median(D / runs["N"].to_numpy(dtype=np.float64)))
    if per_parameter > MOST_TOKENS_A_PARAMETER:
        sentences.append(f"D is {per_parameter:.3g} times N in the middle run: is N counted in parameters?")
    six_N_D = (
        FLOPS_PER_PARAMETER_TOKEN * runs["N"].to_numpy(dtype=np.float64) * runs["D"].to_numpy(np.float64)
    )
    ratios = np.exp(np.log(runs["C"].to_numpy(dtype=np.float64)) - np.log(six_N_D))
    ratio = float(np.exp(np.median(np.log(ratios))))
    off = np.abs(np.log(ratios / ratio))
    if not 1 / COMPUTE_RATIO < ratio < COMPUTE_RATIO:
        sentences.append(f"C is {ratio:.3g} times 6 N D in the middle run: are the units FLOPs and tokens?")
    elif off.max() > np.log(COMPUTE_RATIO):
        worst = runs.iloc[int(off.argmax())]
        sentences.append(
            f"C is {ratios.min():.3g} to {ratios.max():.3g} times 6 N D, farthest from the others in "
            f"{worst.get('run', 'one row')}: are N, D and C of the same run?"
        )
    by_family = runs.groupby("family")[recipe_columns(runs)].nunique().max()
    if mixed := sorted(by_family[by_family > 1].index):
        sentences.append(
            f"The runs of one law differ in {', '.join(mixed)}, too: keep those of one recipe with --where."
        )
    if along := _rows_along_runs(runs):
        sentences.append(along)
    if n_copies := int(runs.duplicated(["family", "N", "D", "C", "loss"]).sum()):
        rows = "row repeats" if n_copies == 1 else "rows repeat"
        sentences.append(f"{n_copies} {rows} the N, D, C and loss of another: copies count as measurements.")
    return sentences


def _rows_along_runs(runs: pd.DataFrame) -> str:
    """A sentence, where the rows of a run look like its learning curve: one size, ever more tokens."""
    if "run" not in runs or "after_cooldown" in runs:
        return ""
    of_run = runs.groupby("run").agg(rows=("D", "size"), sizes=("N", "nunique"), tokens=("D", "nunique"))
    along = of_run[(of_run["rows"] >= FEWEST_ROWS_ALONG) & (of_run["sizes"] == 1)]
    along = along[along["tokens"] == along["rows"]]
    if not len(along) or len(along) < len(of_run) / 2:
        return ""
    return (
        f"{len(along)} runs have {int(along['rows'].median())} rows each, of one N and ever more tokens: if "
        "these are points along a training, keep its end with --keep last."
    )


def _to_nats(unit: LossUnit, bytes_per_token: float | None) -> Any:
    """A loss in this unit -> nats per token."""
    if unit not in LOSS_UNITS:
        raise InputError(f"no unit of loss {unit!r}; there are {', '.join(LOSS_UNITS)}")
    if (unit == "bits/byte") != (bytes_per_token is not None):
        raise InputError("bytes per token (--bytes-per-token) go with a loss in bits/byte, and only with it")
    if unit == "perplexity":
        return lambda value: math.log(value) if value > 1 else math.nan
    factor = {"nats": 1.0, "bits": math.log(2)}.get(unit, math.log(2) * (bytes_per_token or 0.0))
    if not 0 < factor < math.inf:
        raise InputError(f"bytes per token is {bytes_per_token}: give a positive number, as 4.2")
    return lambda value: value * factor


def _of_loss_unit(column: str, unit: LossUnit) -> list[str]:
    """What was done to the loss, or what its name says against nats per token."""
    if unit != "nats":
        return [f"The loss was read in {unit} and is in nats per token here."]
    name = _normal(column)
    for sign, of in (("bpb", "bits/byte"), ("bitsperbyte", "bits/byte"), ("bits", "bits"), ("bpt", "bits")):
        if sign in name:
            return [f"The column {column} sounds like a loss in {of}: if it is, say --loss-unit {of}."]
    if "ppl" in name or "perplexity" in name:
        return [f"The column {column} sounds like a perplexity: if it is, say --loss-unit perplexity."]
    return []


def _with_a_loss(
    name: str, cells: pd.DataFrame, names: pd.Series[str], loss: str
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The rows that can be fitted, and run and reason of the others."""
    reasons = {}
    state = next((column for column in ("State", "state", "status") if column in cells), None)
    if state is not None and set(cells[state].str.lower()) <= STATES:
        for line, cell in cells[state].items():
            if cell.lower() != "finished":
                reasons[line] = f"its {state} is {cell}"
    for line, cell in cells[loss].items():
        if cell.lower() in MISSING or NOT_FINITE.fullmatch(cell) or _is_infinite(cell):
            reasons.setdefault(line, "no finite loss")
    kept = cells[[line not in reasons for line in cells.index]]
    if kept.empty:
        first = next(iter(reasons.values()))
        raise InputError(f"{name}: no row is left: {first} in row {next(iter(reasons))}, column {loss!r}")
    of_line = dict(names.items())
    return kept, [(str(of_line[line]), reason) for line, reason in reasons.items()]


def _is_infinite(cell: str) -> bool:
    return bool(NUMBER.fullmatch(cell)) and math.isinf(float(cell))


def _left_out_note(left_out: Sequence[tuple[str, str]]) -> list[str]:
    if not left_out:
        return []
    shown = "; ".join(f"{_short(run, quote=False)}: {reason}" for run, reason in left_out[:SHOWN_CELLS])
    rows = "1 row was" if len(left_out) == 1 else f"{len(left_out)} rows were"
    return [f"{rows} left out ({shown}{'; ...' if len(left_out) > SHOWN_CELLS else ''})."]


def _kept(name: str, table: pd.DataFrame, cells: pd.DataFrame, keep: Keep) -> pd.DataFrame:
    """One row a run, or all."""
    if keep not in KEEP:
        raise InputError(f"keep is {keep!r}; there are {', '.join(KEEP)}")
    if keep == "all":
        return table
    if keep == "best":
        order = -table["loss"]
    else:
        steps = next((column for column in STEPS if column in cells and _all_numbers(cells[column])), None)
        order = cells[steps].astype(float) if steps else table["D"]
    last = order.groupby(table["run"]).idxmax()
    return table.loc[sorted(last)]


def _all_numbers(cells: pd.Series[str]) -> bool:
    return all(NUMBER.fullmatch(cell) for cell in cells)


def _who(name: str, cells: pd.DataFrame, run: str | None) -> pd.DataFrame:
    """The columns run, trunk and family."""
    for column in (run, "trunk", "family"):
        if column in cells and (empty := cells.index[cells[column] == ""]).size:
            raise InputError(f"{name}, row {empty[0]}, column {column!r}: empty")
    table = cells[[]].assign(run=cells[run] if run else [f"row {line}" for line in cells.index])
    table["trunk"] = cells["trunk"] if "trunk" in cells else table["run"]
    return table.assign(family=cells.get("family", "all"))


def _add_missing(name: str, table: pd.DataFrame, from_batches: bool) -> None:
    """D and C where the file has none; both are checked."""
    if from_batches:
        table["D"] = table["batch_tokens"] * table["steps"]
    elif "D" not in table:
        table["D"] = table["C"] / (FLOPS_PER_PARAMETER_TOKEN * table["N"])
    if "C" not in table:
        table["C"] = table["D"] * (FLOPS_PER_PARAMETER_TOKEN * table["N"])
    for role, formula in (("D", "D = B S" if from_batches else "D = C/(6 N)"), ("C", "C = 6 N D")):
        for line, value in table[role].items():
            if not 0 < value < math.inf:
                raise InputError(
                    f"{name}, row {line}: {formula} is {value:g}; check the units of its columns"
                )


def _add_endings(name: str, table: pd.DataFrame, cells: pd.DataFrame, of_unique_tokens: bool) -> None:
    """The columns after_cooldown and stopped_early.

    Where D is the unique tokens, early stopping makes the loss a final one of the tokens that limited it
    (Kaplan 2020, section 4).
    """
    for column in ("after_cooldown", "stopped_early"):
        if column in cells:
            table[column] = [_truth(name, line, column, cell) for line, cell in cells[column].items()]
    if of_unique_tokens and {"after_cooldown", "stopped_early"} <= set(table):
        table["after_cooldown"] |= table.pop("stopped_early")


def _check_columns(name: str, header: list[str], columns: Mapping[str, str | None]) -> None:
    """Every column that was asked for is there, is no other's twin, and has one role alone."""
    roles: dict[str, str] = {}
    for role, column in columns.items():
        if column is None:
            continue
        what = ROLES.get(role, role)
        twins = [each for each in header if each != column and each.lower() == column.lower()]
        if column not in header:
            hint = f"; is it {twins[0]!r}? name it on the command line" if twins else ""
            suggestion = "" if hint else _suggestion(header, tuple(columns))
            raise InputError(
                f"{name}: no column {column!r} for {what}; it has {_names(header)}{hint}{suggestion}"
            )
        if twins:
            raise InputError(f"{name}: columns {column!r} and {twins[0]!r} differ in case alone; rename one")
        if role != "run" and column in roles:
            raise InputError(f"{name}: the column {column!r} cannot be both {roles[column]} and {what}")
        roles[column] = what


def _number(name: str, line: Any, column: str, cell: str, *, count: bool = True) -> float:
    """The cell as a number, NaN and infinities included; one of a count may have a unit."""
    if NUMBER.fullmatch(cell) or NOT_FINITE.fullmatch(cell):
        return float(cell)
    if count and (value := counted(cell)) is not None:
        return value
    raise InputError(f"{name}, row {line}, column {column!r}: {_no_number(cell)}")


def counted(cell: str) -> float | None:
    """A count as people write it: 1.3B, 125m, 1_000, 1,000; None where it is something else."""
    match = COUNT.fullmatch(cell)
    if match is None:
        return None
    return float(re.sub("[^0-9.eE+-]", "", match["number"])) * SCALES[match["scale"].lower()]


def _no_number(cell: str) -> str:
    if not cell:
        return "empty"
    if THOUSANDS.fullmatch(cell):
        return f"{_short(cell)} has thousands separators or a decimal comma; write 1234.5"
    if DECIMAL_COMMA.fullmatch(cell):
        return f"{_short(cell)} has a decimal comma; use a point"
    if WITH_UNIT.fullmatch(cell):
        return f"{_short(cell)} has a unit; write the number alone, as in 1.25e8"
    return f"{_short(cell)} is not a number"


def _positive(
    name: str, cells: pd.Series[str], role: str, bad: list[str], scaled: dict[str, str]
) -> list[float]:
    """The cells of a column as numbers, each finite and positive; losses within reason.

    Args:
        bad: gains a sentence for every cell that is none; its number is NaN.
        scaled: gains an example for a column of counts that are not written as plain numbers.
    """
    numbers = []
    for line, cell in cells.items():
        value = math.nan
        where = f"row {line}, column {cells.name!r}"
        try:
            value = _number(name, line, str(cells.name), cell, count=role not in ("loss", "weight"))
        except InputError:
            bad.append(f"{where}: {_no_number(cell)}")
            numbers.append(value)
            continue
        shown = _short(cell, quote=False)
        if not (math.isfinite(value) and value > 0):
            bad.append(
                f"{where}: {shown} is not a finite positive number; drop the row, or leave it out with"
                " `where`"
            )
        elif role == "loss" and not LOSSES[0] <= value <= LOSSES[1]:
            bad.append(f"{where}: {shown} is no loss in nats per token, nor a perplexity")
        elif not NUMBER.fullmatch(cell):
            scaled.setdefault(role, f"{cell} is {value:.6g}")
        numbers.append(value)
    return numbers


def _all_positive(cells: pd.Series) -> bool:
    return all(NUMBER.fullmatch(cell) and 0 < float(cell) < math.inf for cell in cells)


def _truth(name: str, line: Any, column: str, cell: str) -> bool:
    truths = {"true": True, "1": True, "false": False, "0": False}
    if cell.lower() not in truths:
        where = f"{name}, row {line}, column {column!r}"
        raise InputError(f"{where}: {_short(cell)} is neither True nor False")
    return truths[cell.lower()]


def _suggestion(header: Sequence[str], roles: Sequence[str]) -> str:
    """The options to type, where the names of the columns are obvious."""
    found = {}
    for role in roles:
        usual = {_normal(column): column for column in reversed(header)}
        wanted = (role.lower(), *USUAL_NAMES.get(role, ()))
        column = next((usual[each] for each in wanted if each in usual), None)
        if column is not None and column != role:
            found[role] = column
    options = " ".join(f"--{role.lower()} {_quoted(column)}" for role, column in found.items())
    return f"; try {options}" if options else ""


def _normal(column: str) -> str:
    return re.sub("[^a-z0-9]", "", column.lower())


def _quoted(column: str) -> str:
    return f'"{column}"' if re.search(r"[^\w./-]", column) else column


def _names(header: Sequence[str]) -> str:
    """The columns for a message of one line."""
    shown = ", ".join(" ".join(column.split())[:SHOWN_CHARACTERS] for column in header[:SHOWN_COLUMNS])
    return shown + (f" and {len(header) - SHOWN_COLUMNS} more" if len(header) > SHOWN_COLUMNS else "")


def _short(cell: str, quote: bool = True) -> str:
    """A cell for a message of one line."""
    shown = cell if len(cell) <= SHOWN_CHARACTERS else cell[: SHOWN_CHARACTERS - 3] + "..."
    return repr(shown) if quote else shown
